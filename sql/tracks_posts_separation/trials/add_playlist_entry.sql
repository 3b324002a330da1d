-- Old application: add to a playlist, by the id of a post, first what was uploaded long ago, then a new upload.

-- pick: a playlist
SELECT
    l.id::text AS playlist_id,
    l.user_id::text AS user_id,
    (SELECT coalesce(max(e.position), 0) FROM public.playlist_tracks AS e WHERE e.playlist_id = l.id) AS last_position,
    gen_random_uuid()::text AS old_entry_id,
    gen_random_uuid()::text AS new_entry_id,
    gen_random_uuid()::text AS new_post_id,
    'https://cdn.example.org/trial-' || gen_random_uuid() || '.mp3' AS file_url
FROM public.playlists AS l
WHERE EXISTS (SELECT FROM public.profiles AS u WHERE u.id = l.user_id)
ORDER BY l.id
LIMIT 1
FOR UPDATE OF l SKIP LOCKED;

-- pick: an audio post whose file no other post or track of its user has, and that is not in the playlist
SELECT p.id::text AS old_post_id
FROM (
    SELECT id
    FROM public.posts
    WHERE post_type = 'audio' AND btrim(audio_url) <> ''
    ORDER BY id
    LIMIT 40
) AS few
JOIN public.posts AS p ON p.id = few.id
WHERE EXISTS (SELECT FROM public.profiles AS u WHERE u.id = p.user_id)
  AND NOT EXISTS (
      SELECT FROM public.posts AS o WHERE o.user_id = p.user_id AND o.audio_url = p.audio_url AND o.id <> p.id
  )
  AND NOT EXISTS (
      SELECT FROM public.tracks AS t WHERE t.user_id = p.user_id AND t.file_url = p.audio_url AND t.id <> p.id
  )
  -- Before migration 1 a post has no track_id: then the name means that of absent.
  AND NOT EXISTS (
      SELECT
      FROM public.playlist_tracks AS e
      WHERE e.playlist_id = %(playlist_id)s AND e.track_id IN (
          p.id, (SELECT (SELECT track_id FROM (SELECT p.*) AS whole) FROM (SELECT NULL::uuid AS track_id) AS absent)
      )
  )
LIMIT 1
FOR KEY SHARE OF p SKIP LOCKED;

-- expect: 1 row
INSERT INTO public.playlist_tracks (id, playlist_id, track_id, position)
VALUES (%(old_entry_id)s, %(playlist_id)s, %(old_post_id)s, %(last_position)s + 1)
RETURNING id, track_id;

-- expect: 1 row
INSERT INTO public.posts (id, user_id, content, post_type, audio_url, audio_filename)
VALUES (%(new_post_id)s, %(user_id)s, 'A new upload', 'audio', %(file_url)s, 'trial.mp3')
RETURNING *;

-- expect: 1 row
INSERT INTO public.playlist_tracks (id, playlist_id, track_id, position)
VALUES (%(new_entry_id)s, %(playlist_id)s, %(new_post_id)s, %(last_position)s + 2)
RETURNING id, track_id;

-- effect: both entries are in the playlist
SELECT count(*) = 2 AS both_entries_are_there
FROM public.playlist_tracks
WHERE playlist_id = %(playlist_id)s AND id IN (%(old_entry_id)s, %(new_entry_id)s);
