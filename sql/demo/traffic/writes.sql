-- What both applications write as a signed-in user. See reads.sql for the form of this file.

-- statement: post_old
INSERT INTO public.posts (
    id, user_id, content, post_type, audio_url, audio_filename, audio_mime_type, audio_file_size, audio_duration
)
VALUES (
    %(post)s, %(user)s, %(content)s, 'audio', %(file)s, %(filename)s, 'audio/mpeg', %(size)s, %(duration)s
)
RETURNING *

-- statement: post_text
INSERT INTO public.posts (id, user_id, content, post_type) VALUES (%(post)s, %(user)s, %(content)s, 'text') RETURNING id

-- statement: edit_text
UPDATE public.posts SET content = %(content)s WHERE id = %(post)s RETURNING id

-- statement: edit_audio_url
UPDATE public.posts SET audio_url = %(file)s, audio_filename = %(filename)s WHERE id = %(post)s RETURNING id

-- statement: delete_post
DELETE FROM public.posts WHERE id = %(post)s RETURNING id

-- statement: comment
INSERT INTO public.comments (id, post_id, user_id, content) VALUES (%(comment)s, %(post)s, %(user)s, %(content)s)
RETURNING id

-- statement: playlist_make
INSERT INTO public.playlists (id, user_id, name, is_public) VALUES (%(playlist)s, %(user)s, %(content)s, true)
RETURNING id

-- statement: playlist_delete
DELETE FROM public.playlists WHERE id = %(playlist)s RETURNING id

-- statement: playlist_add
-- The old application sends the id of a post here, the new one the id of a track.
INSERT INTO public.playlist_tracks (id, playlist_id, track_id, position)
VALUES (%(entry)s, %(playlist)s, %(track)s, %(position)s)
RETURNING id, track_id

-- statement: playlist_remove
DELETE FROM public.playlist_tracks WHERE playlist_id = %(playlist)s AND track_id = %(track)s RETURNING id

-- statement: playlist_reorder
UPDATE public.playlist_tracks SET position = %(position)s
WHERE playlist_id = %(playlist)s AND track_id = %(track)s
RETURNING id

-- statement: track_new
INSERT INTO public.tracks (id, user_id, title, file_url, duration, file_size, mime_type, is_public)
VALUES (%(track)s, %(user)s, %(filename)s, %(file)s, %(duration)s, %(size)s, 'audio/mpeg', true)
RETURNING id

-- statement: post_new
INSERT INTO public.posts (id, user_id, content, post_type, track_id)
VALUES (%(post)s, %(user)s, %(content)s, 'audio', %(track)s)
RETURNING id, track_id

-- statement: track_edit
UPDATE public.tracks SET title = %(filename)s, genre = 'edited', updated_at = now() WHERE id = %(track)s RETURNING id

-- statement: track_replace_file
UPDATE public.tracks SET file_url = %(file)s, updated_at = now() WHERE id = %(track)s RETURNING id
