-- What the demo database holds: one row.
SELECT
    (SELECT count(*) FROM auth.users) AS users,
    (SELECT count(*) FROM public.posts WHERE post_type = 'audio') AS audio_posts,
    (SELECT count(*) FROM public.posts WHERE post_type = 'text') AS text_posts,
    (SELECT count(*) FROM public.comments) AS comments,
    (SELECT count(*) FROM public.tracks) AS tracks,
    (SELECT count(*) FROM public.playlists) AS playlists,
    (SELECT count(*) FROM public.playlist_tracks) AS playlist_entries
