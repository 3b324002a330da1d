-- Rows that cannot be migrated, each with the precondition that must find it.
SELECT 'blank_audio_url', id::text FROM public.posts WHERE post_type = 'audio' AND pg_catalog.translate(audio_url, E' \t', '') = ''
UNION ALL
SELECT 'long_title', id::text FROM public.posts WHERE pg_catalog.length(audio_filename) > 255
UNION ALL
SELECT 'size_or_duration_not_positive', id::text FROM public.posts WHERE audio_file_size = 0 OR audio_duration = 0
UNION ALL
SELECT 'audio_post_without_profile', id::text
FROM public.posts
WHERE post_type = 'audio' AND user_id NOT IN (SELECT id FROM public.profiles)
UNION ALL
SELECT 'track_with_id_of_a_post', tracks.id::text FROM public.tracks INNER JOIN public.posts USING (id)
UNION ALL
SELECT 'playlist_entry_of_text_post', playlist_tracks.id::text
FROM public.playlist_tracks
INNER JOIN public.posts ON posts.id = playlist_tracks.track_id AND posts.post_type = 'text';
