-- A track that the application wrote, or one that has the id of a post that it wrote (deleted: the track then counts as
-- one that was not made from a post).
SELECT w.key
FROM written AS w
WHERE w.table_name IN ('public.tracks', 'public.posts')
