-- Tracks that a reverse deletes: those that the migration made.
SELECT tracks_posts_separation.made_tracks() AS key
