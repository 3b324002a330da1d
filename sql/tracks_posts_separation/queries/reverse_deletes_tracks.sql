-- Tracks that a reverse deletes: those that the migration made.
SELECT id AS key FROM tracks_posts_separation.made_track
