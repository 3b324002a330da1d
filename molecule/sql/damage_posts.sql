-- After the migration, delete, change and add rows in every table as both applications do.
DELETE FROM public.posts WHERE id IN (SELECT id FROM public.posts WHERE post_type = 'audio' ORDER BY id LIMIT 20);
DELETE FROM public.playlists WHERE id IN (SELECT id FROM public.playlists ORDER BY created_at, id LIMIT 1);
UPDATE public.posts SET content = 'overwritten' WHERE id IN (SELECT id FROM public.posts ORDER BY id DESC LIMIT 30);
UPDATE public.tracks SET title = 'overwritten', play_count = 7 WHERE id IN (SELECT id FROM public.tracks ORDER BY id LIMIT 15);
DELETE FROM public.comments WHERE id IN (SELECT id FROM public.comments ORDER BY id LIMIT 10);
WITH made AS (
    INSERT INTO public.tracks (user_id, title, file_url)
    SELECT id, 'A song of the new application', 'https://cdn.example.org/audio/new.mp3'
    FROM public.profiles ORDER BY id LIMIT 1
    RETURNING id, user_id
)
INSERT INTO public.posts (user_id, content, post_type, track_id)
SELECT user_id, 'A post of the new application', 'audio', id FROM made;
