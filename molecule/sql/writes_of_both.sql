-- After the migration, the new application adds a post and edits a title.
WITH made AS (
    INSERT INTO public.tracks (user_id, title, file_url)
    SELECT id, 'A song of the new application', 'https://cdn.example.org/audio/of_both.mp3'
    FROM public.profiles ORDER BY id LIMIT 1
    RETURNING id, user_id
)
INSERT INTO public.posts (user_id, content, post_type, track_id)
SELECT user_id, 'A post of the new application', 'audio', id FROM made;
UPDATE public.tracks SET title = 'An edited title', updated_at = now()
WHERE id = (SELECT id FROM public.posts WHERE track_id = id ORDER BY id LIMIT 1);
