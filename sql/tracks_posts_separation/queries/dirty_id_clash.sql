-- Tracks under the id of a post of their own user: a migrated track would look like that. Under the id of another user's post a
-- track is no migrated one, and the post's track gets another id: who inserts such a row stops nobody.
-- While migration 1 is half applied or half undone, a track under the id of a post with its user and file is one of ours.
SELECT t.id, t.user_id AS track_user_id, p.user_id AS post_user_id, t.title
FROM public.tracks AS t
JOIN public.posts AS p ON p.id = t.id AND p.user_id = t.user_id
WHERE NOT (
    pg_catalog.to_regclass('tracks_posts_separation.track_under_other_id') IS NOT NULL
    AND (
        p.audio_url COLLATE "C" = t.file_url COLLATE "C"
        -- The column is not there before migration 1: then the name means that of absent.
        OR (SELECT (SELECT track_id FROM (SELECT p.*) AS whole) FROM (SELECT NULL::uuid AS track_id) AS absent) = t.id
    ) IS TRUE
)
ORDER BY t.id
