SELECT key, rows_without_parent
FROM tracks_posts_separation.foreign_keys()
WHERE rows_without_parent > 0
ORDER BY key
