-- What move_entries_of_reposts would still move.
SELECT entry::text AS key
FROM tracks_posts_separation.entries_of_reposts(false) AS entry
LIMIT 1000
