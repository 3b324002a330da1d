-- A track that the application wrote, or one that has the id of a post that it wrote (deleted: the track then counts as
-- one that was not made from a post).
SELECT w.key
FROM written AS w
WHERE w.table_name IN ('public.tracks', 'public.posts')
UNION
-- A track that the plan made under another id, because another user's row has the post's: nothing but this list tells it
-- from an upload.
SELECT o.track_id::text
FROM tracks_posts_separation.track_under_other_id AS o
