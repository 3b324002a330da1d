-- Posts get their tracks as a trigger decides it; no trigger sees the update, so updated_at stays.
INSERT INTO pg_temp.to_archive (reason, table_name, key)
SELECT 'constraint_violation: ' || reason, table_name, key FROM pg_temp.found WHERE fix = 'archived';

CREATE TEMPORARY TABLE changed (rows bigint) ON COMMIT DROP;

DO $repair$
DECLARE
    posts uuid[] := ARRAY(SELECT key::uuid FROM pg_temp.found WHERE fix = 'its track is made' ORDER BY key);
    post record;
    track uuid;
    number bigint;
BEGIN
    IF pg_catalog.cardinality(posts) > 0 THEN
        PERFORM FROM public.posts AS p WHERE p.id = ANY (posts) ORDER BY p.id FOR NO KEY UPDATE;
        FOR post IN
            SELECT p.id, p.user_id, p.audio_url FROM public.posts AS p WHERE p.id = ANY (posts) ORDER BY p.created_at, p.id
        LOOP
            PERFORM tracks_posts_separation.lock_slots(
                'file', tracks_posts_separation.file_key(post.user_id, post.audio_url)
            );
            track := coalesce(
                tracks_posts_separation.known_track(post.id, post.user_id, post.audio_url),
                tracks_posts_separation.free_track_id(post.id)
            );
            PERFORM FROM public.tracks AS t WHERE t.id = track FOR KEY SHARE;
            IF NOT FOUND THEN
                PERFORM tracks_posts_separation.make_track(track, post.id, post.user_id);
            END IF;
            PERFORM tracks_posts_separation.quiet_posts(true);
            UPDATE public.posts SET track_id = track WHERE id = post.id;
            PERFORM tracks_posts_separation.quiet_posts(false);
        END LOOP;
        INSERT INTO pg_temp.changed (rows) VALUES (pg_catalog.cardinality(posts));
    END IF;
    IF EXISTS (SELECT FROM pg_temp.found WHERE fix = 'set to NULL') THEN
        UPDATE public.tracks AS t SET file_size = NULL
        FROM pg_temp.found AS f
        WHERE f.fix = 'set to NULL' AND t.id = f.key::uuid;
        GET DIAGNOSTICS number = ROW_COUNT;
        INSERT INTO pg_temp.changed (rows) VALUES (number);
    END IF;
END
$repair$;

SELECT coalesce(pg_catalog.sum(rows), 0)::bigint FROM pg_temp.changed
