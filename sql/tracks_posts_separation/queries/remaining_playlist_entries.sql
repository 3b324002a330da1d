-- What move_listed_entries would still move.
SELECT listed.place_and_entry AS key
FROM tracks_posts_separation.entries_of_reposts(false) AS entry
JOIN tracks_posts_separation.entry_of_repost AS listed ON listed.id = entry
LIMIT 1000
