-- What move_listed_entries would still move.
SELECT entry::text AS key
FROM tracks_posts_separation.entries_of_reposts(false) AS entry
JOIN tracks_posts_separation.entry_of_repost AS listed ON listed.id = entry
LIMIT 1000
