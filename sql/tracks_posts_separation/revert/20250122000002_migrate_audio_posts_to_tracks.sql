-- Takes migration 2 back: posts lose their track_id, tracks made from posts go, real uploads stay.
-- The compatibility triggers of migration 1 stay: what the application writes meanwhile gets its track from them.

-- step: take the tracks away from their posts
-- data
SELECT tracks_posts_separation.unmigrate_audio_posts(NULL, NULL);

-- step: functions of the backfill
DROP FUNCTION IF EXISTS tracks_posts_separation.migrate_audio_posts(uuid, uuid);
DROP FUNCTION IF EXISTS tracks_posts_separation.find_exceptions();
DROP TABLE IF EXISTS tracks_posts_separation.exception;
