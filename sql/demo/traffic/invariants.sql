-- What must be true after a load, whatever was migrated meanwhile. Own words on purpose: nothing here comes from the
-- plan's checks. Each statement returns one row: rows that are wrong, rows looked at, up to five examples.
-- Temporary tables of the session:
--   before_post (id, user_id, hash), before_track (id, user_id, hash), before_entry (id, playlist_id, track_id),
--   before_playlist (id, user_id)                  as it was before the load
--   ledger (kind, key, playlist, sent)             what the load wrote, from its own notes
-- A track was made by the migration when it was not there before and the load did not insert it as the new application.

-- statement: untouched_posts_unchanged
-- Every post that the load did not write is there, in all columns it had before.
SELECT
    count(*) FILTER (WHERE now.hash IS DISTINCT FROM b.hash), count(*),
    (array_agg(b.id::text ORDER BY b.id) FILTER (WHERE now.hash IS DISTINCT FROM b.hash))[1:5]
FROM before_post AS b
LEFT JOIN now_post AS now ON now.id = b.id
WHERE NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind IN ('posts_edited', 'posts_deleted') AND l.key = b.id)
  AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'users_deleted' AND l.key = b.user_id)

-- statement: no_post_from_nowhere
-- A post was there before, or the load made it; and what the load deleted is gone.
SELECT count(*) FILTER (WHERE wrong), count(*), (array_agg(id::text ORDER BY id) FILTER (WHERE wrong))[1:5]
FROM (
    SELECT
        p.id,
        (b.id IS NULL AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'posts_made' AND l.key = p.id))
        OR EXISTS (
            SELECT FROM ledger AS l
            WHERE ((l.kind = 'posts_deleted' AND l.key = p.id) OR (l.kind = 'users_deleted' AND l.key = p.user_id))
              -- With the connection lost nobody knows whether a deletion was committed.
              AND NOT EXISTS (SELECT FROM ledger AS f WHERE f.kind = 'deletions_failed' AND f.key = l.key)
        ) AS wrong
    FROM public.posts AS p
    LEFT JOIN before_post AS b ON b.id = p.id
) AS post

-- statement: library_tracks_unchanged
-- A track that was there before belongs to its uploader: nothing of the load or the migration writes it.
SELECT
    count(*) FILTER (WHERE now.hash IS DISTINCT FROM b.hash), count(*),
    (array_agg(b.id::text ORDER BY b.id) FILTER (WHERE now.hash IS DISTINCT FROM b.hash))[1:5]
FROM before_track AS b
LEFT JOIN now_track AS now ON now.id = b.id
WHERE NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'tracks_edited' AND l.key = b.id)
  AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'users_deleted' AND l.key = b.user_id)

-- statement: every_audio_post_has_its_track
-- Of the same user, and of the same file where the post names one. The load notes the tracks that the new application
-- gave another file: only those may differ.
SELECT count(*) FILTER (WHERE wrong), count(*), (array_agg(id::text ORDER BY id) FILTER (WHERE wrong))[1:5]
FROM (
    SELECT
        p.id,
        t.id IS NULL
        OR t.user_id IS DISTINCT FROM p.user_id
        OR (
            coalesce(btrim(p.audio_url, E' \t\r\n'), '') <> ''
            AND t.file_url <> p.audio_url
            AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'tracks_edited' AND l.key = t.id)
        ) AS wrong
    FROM public.posts AS p
    LEFT JOIN public.tracks AS t ON t.id = p.track_id
    WHERE p.post_type = 'audio'
) AS post

-- statement: tracks_tell_what_their_posts_tell
-- A track that carries the id of a post was made from it and follows it.
SELECT count(*) FILTER (WHERE wrong), count(*), (array_agg(id::text ORDER BY id) FILTER (WHERE wrong))[1:5]
FROM (
    SELECT
        p.id,
        (t.description, t.duration, t.file_size, t.mime_type, t.file_url, t.created_at) IS DISTINCT FROM (
            p.content, nullif(p.audio_duration, 0), nullif(p.audio_file_size, 0), p.audio_mime_type, p.audio_url,
            p.created_at
        )
        OR t.title NOT IN (
            left(btrim(p.audio_filename, E' \t\r\n'), 255), 'Audio from ' || to_char(p.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')
        ) AS wrong
    FROM public.posts AS p
    JOIN public.tracks AS t ON t.id = p.id AND p.track_id = t.id
    WHERE NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'tracks_edited' AND l.key = t.id)
) AS post

-- statement: one_made_track_per_file
-- No two tracks made for one user and file, and none made where the library had one.
SELECT
    count(*) FILTER (WHERE made > 1 OR (made > 0 AND before > 0)), sum(tracks),
    (array_agg(user_id || ' ' || file_url) FILTER (WHERE made > 1 OR (made > 0 AND before > 0)))[1:5]
FROM (
    SELECT
        t.user_id, t.file_url, count(*) AS tracks,
        count(*) FILTER (WHERE b.id IS NOT NULL) AS before,
        count(*) FILTER (
            WHERE b.id IS NULL AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'tracks_made' AND l.key = t.id)
        ) AS made
    FROM public.tracks AS t
    LEFT JOIN before_track AS b ON b.id = t.id
    WHERE NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'tracks_edited' AND l.key = t.id)
    GROUP BY t.user_id, t.file_url
) AS file

-- statement: every_made_track_is_used
SELECT count(*) FILTER (WHERE wrong), count(*), (array_agg(id::text ORDER BY id) FILTER (WHERE wrong))[1:5]
FROM (
    SELECT t.id, NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id) AS wrong
    FROM public.tracks AS t
    WHERE NOT EXISTS (SELECT FROM before_track AS b WHERE b.id = t.id)
      AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'tracks_made' AND l.key = t.id)
) AS track

-- statement: entries_point_at_tracks_once
SELECT count(*) FILTER (WHERE wrong), count(*), (array_agg(id::text ORDER BY id) FILTER (WHERE wrong))[1:5]
FROM (
    SELECT
        e.id,
        NOT EXISTS (SELECT FROM public.tracks AS t WHERE t.id = e.track_id)
        OR count(*) OVER (PARTITION BY e.playlist_id, e.track_id) > 1 AS wrong
    FROM public.playlist_tracks AS e
) AS entry

-- statement: entries_play_their_post
-- An entry that was made by the id of a post plays what that post plays, unless the load wrote the post since; one
-- that the new application made by the id of a track plays that track.
SELECT count(*) FILTER (WHERE wrong), count(*), (array_agg(id::text ORDER BY id) FILTER (WHERE wrong))[1:5]
FROM (
    SELECT e.id, e.track_id IS DISTINCT FROM coalesce(p.track_id, k.sent) AS wrong
    FROM known_entry AS k
    JOIN public.playlist_tracks AS e ON e.id = k.id
    LEFT JOIN public.posts AS p ON p.id = k.sent
    WHERE NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind IN ('posts_edited', 'posts_deleted') AND l.key = k.sent)
      AND (p.id IS NOT NULL OR EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'tracks_made' AND l.key = k.sent))
) AS entry

-- statement: entries_lost_without_archive
-- An entry is gone only when the load removed it, its playlist, its post or one of their accounts. MIGRATED adds: or
-- when the archive holds it, with the reason.
SELECT count(*) FILTER (WHERE wrong), count(*), (array_agg(id::text ORDER BY id) FILTER (WHERE wrong))[1:5]
FROM (
    SELECT
        k.id,
        NOT EXISTS (SELECT FROM public.playlist_tracks AS e WHERE e.id = k.id)
        AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'entries_removed' AND l.key = k.id)
        AND NOT EXISTS (
            SELECT FROM ledger AS l WHERE l.kind = 'removals_failed' AND l.key = k.playlist AND l.sent = k.sent
        )
        AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'playlists_deleted' AND l.key = k.playlist)
        AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.kind = 'posts_deleted' AND l.key = k.sent)
        AND NOT EXISTS (
            SELECT FROM ledger AS l
            WHERE l.kind = 'users_deleted' AND l.key IN (
                (SELECT b.user_id FROM before_playlist AS b WHERE b.id = k.playlist),
                (SELECT b.user_id FROM before_post AS b WHERE b.id = k.sent)
            )
        )
        -- What the load made itself goes otherwise only with its account.
        AND NOT EXISTS (
            SELECT FROM ledger AS l
            WHERE (l.kind = 'playlists_made' AND l.key = k.playlist AND NOT EXISTS (
                      SELECT FROM public.playlists AS o WHERE o.id = k.playlist
                  ))
               OR (l.kind = 'posts_made' AND l.key = k.sent AND NOT EXISTS (
                      SELECT FROM public.posts AS p WHERE p.id = k.sent
                  ))
               OR (l.kind = 'tracks_made' AND l.key = k.sent AND NOT EXISTS (
                      SELECT FROM public.tracks AS t WHERE t.id = k.sent
                  ))
        )
        AND NOT EXISTS (SELECT FROM archived_entry AS a WHERE a.id = k.id AND a.reason <> '')
        AS wrong
    FROM known_entry AS k
) AS entry
