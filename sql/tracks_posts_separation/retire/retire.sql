-- Removes the compatibility with the old application. What a rollback and the checks need stays: the archive, the lists of made
-- tracks, and the functions that they call.

-- step: drop the triggers of posts, and their index
-- lock: public.posts ACCESS EXCLUSIVE
DROP TRIGGER IF EXISTS zz_tracks_posts_separation_decide_insert ON public.posts;
DROP TRIGGER IF EXISTS zz_tracks_posts_separation_decide_update ON public.posts;
DROP TRIGGER IF EXISTS "A_tracks_posts_separation_follow_insert" ON public.posts;
DROP TRIGGER IF EXISTS "A_tracks_posts_separation_follow_update" ON public.posts;
DROP TRIGGER IF EXISTS "A_tracks_posts_separation_forget" ON public.posts;
DROP TRIGGER IF EXISTS "A_tracks_posts_separation_1_note" ON public.posts;
DROP INDEX IF EXISTS public.tracks_posts_separation_posts_file;
INSERT INTO tracks_posts_separation.setting (name, value) VALUES ('compatibility_retired', 'true')
ON CONFLICT (name) DO NOTHING;

-- step: drop the trigger of playlist entries, and the function that joins their posts
-- lock: public.playlist_tracks ACCESS EXCLUSIVE
DROP TRIGGER IF EXISTS zz_tracks_posts_separation_translate ON public.playlist_tracks;
DROP FUNCTION IF EXISTS public.posts(public.playlist_tracks);
NOTIFY pgrst, 'reload schema';

-- step: drop the trigger and the index of tracks that only the triggers of posts need
-- lock: public.tracks ACCESS EXCLUSIVE
DROP TRIGGER IF EXISTS zz_tracks_posts_separation_note ON public.tracks;
DROP INDEX IF EXISTS public.tracks_posts_separation_tracks_file;

-- step: drop the functions of the triggers
DROP FUNCTION IF EXISTS tracks_posts_separation.decide_track_of_post();
DROP FUNCTION IF EXISTS tracks_posts_separation.follow_post();
DROP FUNCTION IF EXISTS tracks_posts_separation.forget_post();
DROP FUNCTION IF EXISTS tracks_posts_separation.translate_entry();
DROP FUNCTION IF EXISTS tracks_posts_separation.note_uploaded_track();
