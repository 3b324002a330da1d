-- What the sign-in service sends for either application: delete an account.

-- pick: a small account, with an audio post where one can be found
-- Without a key that deletes the posts of an account, one with posts cannot be deleted after the migration: preflight
-- says so (posts_user_without_key).
-- tracks.user_id has no index before migration 4: the tracks of all these accounts are counted in one pass.
WITH few AS MATERIALIZED (
    SELECT id FROM auth.users ORDER BY id LIMIT 40
),
small AS MATERIALIZED (
    SELECT few.id
    FROM few
    WHERE (SELECT count(*) FROM (SELECT FROM public.posts AS p WHERE p.user_id = few.id LIMIT 21) AS p) <= 20
      AND (SELECT count(*) FROM (SELECT FROM public.comments AS c WHERE c.user_id = few.id LIMIT 51) AS c) <= 50
      AND (
          SELECT count(*)
          FROM (
              SELECT
              FROM public.playlists AS l
              JOIN public.playlist_tracks AS e ON e.playlist_id = l.id
              WHERE l.user_id = few.id
              LIMIT 201
          ) AS e
      ) <= 200
),
with_many_tracks AS MATERIALIZED (
    SELECT t.user_id
    FROM public.tracks AS t
    WHERE t.user_id IN (SELECT id FROM small)
    GROUP BY t.user_id
    HAVING count(*) > 20
)
SELECT a.id::text AS user_id
FROM small
JOIN auth.users AS a ON a.id = small.id
WHERE NOT EXISTS (SELECT FROM with_many_tracks AS t WHERE t.user_id = a.id)
  -- What others wrote below its posts, and what they keep of it in playlists, goes with it.
  AND NOT EXISTS (
      SELECT
      FROM public.posts AS p
      WHERE p.user_id = a.id
        AND (
            (SELECT count(*) FROM (SELECT FROM public.comments AS c WHERE c.post_id = p.id LIMIT 21) AS c) > 20
            OR (
                SELECT count(*) FROM (SELECT FROM public.playlist_tracks AS e WHERE e.track_id = p.id LIMIT 21) AS e
            ) > 20
        )
  )
  AND (
      EXISTS (
          SELECT
          FROM pg_constraint
          WHERE conrelid = 'public.posts'::regclass AND confrelid = 'auth.users'::regclass
            AND contype = 'f' AND confdeltype = 'c'
      )
      OR NOT EXISTS (SELECT FROM public.posts AS p WHERE p.user_id = a.id)
  )
ORDER BY EXISTS (SELECT FROM public.posts AS p WHERE p.user_id = a.id AND p.post_type = 'audio') DESC, a.id
LIMIT 1
FOR UPDATE OF a SKIP LOCKED;

-- expect: 1 row
DELETE FROM auth.users WHERE id = %(user_id)s RETURNING id;

-- effect: the account is gone
SELECT NOT EXISTS (SELECT FROM auth.users WHERE id = %(user_id)s) AS account_is_gone;
