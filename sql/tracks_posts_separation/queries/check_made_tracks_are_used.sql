-- Tracks that no post points at are few; only of those it is asked whether the migration made them. Asked for by a query
-- per track: it is never planned as a hash table of all posts.
SELECT
    (
        SELECT pg_catalog.count(*)
        FROM (
            SELECT t.id
            FROM public.tracks AS t
            WHERE NOT EXISTS (SELECT FROM public.posts AS p WHERE p.track_id = t.id)
            OFFSET 0
        ) AS unused
        WHERE coalesce(
            (SELECT true FROM public.posts AS p WHERE p.id = unused.id),
            (SELECT true FROM tracks_posts_separation.deleted_post AS d WHERE d.post_id = unused.id LIMIT 1),
            (SELECT true FROM tracks_posts_separation.track_under_other_id AS o WHERE o.track_id = unused.id LIMIT 1)
        )
    ) AS unused_tracks,
    (SELECT pg_catalog.count(*) FROM public.tracks) AS rows_examined
