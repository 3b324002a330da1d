-- Tracks that were not created from a post. They are unchanged, apart from new columns.
SELECT
    id, user_id, title, description, file_url, duration, genre, tags, is_public, play_count, created_at, updated_at
FROM public.tracks
WHERE NOT EXISTS (SELECT FROM public.posts WHERE posts.id = tracks.id)
ORDER BY id;
