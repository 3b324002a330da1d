-- Indexes that have one of our names and say something else.
SELECT found.relname AS index_name, pg_catalog.pg_get_indexdef(found.oid) AS definition, wanted.definition AS wanted
FROM (VALUES
    ('idx_posts_track_id', 'CREATE INDEX idx_posts_track_id ON public.posts USING btree (track_id)'),
    ('idx_tracks_user_id', 'CREATE INDEX idx_tracks_user_id ON public.tracks USING btree (user_id)'),
    ('idx_tracks_created_at', 'CREATE INDEX idx_tracks_created_at ON public.tracks USING btree (created_at DESC)'),
    ('idx_tracks_is_public', 'CREATE INDEX idx_tracks_is_public ON public.tracks USING btree (is_public) WHERE (is_public = true)')
) AS wanted (name, definition)
JOIN pg_catalog.pg_class AS found
    ON found.relname = wanted.name AND found.relnamespace = pg_catalog.to_regnamespace('public')
WHERE found.relkind <> 'i'
   -- "WHERE is_public" says the same as "WHERE (is_public = true)".
   OR pg_catalog.replace(pg_catalog.pg_get_indexdef(found.oid), 'WHERE is_public', 'WHERE (is_public = true)')
       <> wanted.definition
ORDER BY 1
