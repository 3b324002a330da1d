-- Tracks that no post points at are few; only of those it is asked whether the migration made them. Asked for by a query
-- per track: it is never planned as a hash table of all posts. Once the compatibility is retired, a post that goes leaves its
-- track, as with an upload.
SELECT
    (
        SELECT pg_catalog.count(*)
        FROM (
            SELECT t.id, t.user_id
            FROM public.tracks AS t
            WHERE NOT EXISTS (SELECT FROM tracks_posts_separation.setting WHERE name = 'compatibility_retired')
              AND NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id)
            OFFSET 0
        ) AS unused
        WHERE coalesce(
            -- Somebody's upload, which has the id of a post.
            (SELECT false FROM tracks_posts_separation.uploaded_track AS u WHERE u.track_id = unused.id),
            (SELECT true FROM public.posts AS p WHERE p.id = unused.id AND p.user_id = unused.user_id),
            (
                SELECT true FROM tracks_posts_separation.deleted_post AS d
                WHERE d.post_id = unused.id AND d.user_id = unused.user_id
            ),
            (
                SELECT true FROM tracks_posts_separation.track_under_other_id AS o
                WHERE o.track_id = unused.id AND o.user_id = unused.user_id
            )
        )
    ) AS unused_tracks,
    (SELECT pg_catalog.count(*) FROM public.tracks) AS rows_examined
