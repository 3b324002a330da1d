-- Rows as years of bugs leave them: what a migration must find before it changes anything. Run after data.sql.
-- Of every kind up to three rows (from 221 audio posts on), in audio posts that data.sql made.
-- Settings: demo.audio_posts, demo.seed, demo.dirty (on: add them; anything else: nothing is done).

SET session_replication_role = replica;

CREATE TEMPORARY TABLE dirty_post AS
SELECT
    kind,
    pg_catalog.md5('post:' || seed || ':' || number / 7 * 10 + (ARRAY[0, 1, 3, 4, 6, 7, 9])[1 + number % 7])::uuid AS id,
    pg_catalog.md5('user:' || seed || ':no profile ' || number)::uuid AS lost_user,
    number
FROM (
    SELECT
        pg_catalog.current_setting('demo.seed')::bigint AS seed,
        pg_catalog.current_setting('demo.audio_posts')::bigint AS audio_posts,
        coalesce(nullif(pg_catalog.current_setting('demo.dirty', true), ''), 'off')::boolean AS wanted
) AS setting
CROSS JOIN pg_catalog.unnest(ARRAY[
    'long file name', 'duration of zero', 'size of zero', 'empty address', 'blank address', 'no profile', 'id clash',
    'repost in one playlist', 'entry at a text post', 'entry at nothing', 'track of nobody'
]) WITH ORDINALITY AS kinds (kind, place)
CROSS JOIN pg_catalog.generate_series(0, 2) AS hundred
CROSS JOIN LATERAL (SELECT hundred * 100 + 20 + place AS number) AS numbered
WHERE wanted AND number < audio_posts;

-- Titles end at 255 characters.
UPDATE public.posts SET audio_filename = pg_catalog.repeat('a very long name ', 18) || number || '.mp3'
FROM dirty_post WHERE posts.id = dirty_post.id AND kind = 'long file name';

-- The new columns demand positive numbers.
UPDATE public.posts SET audio_duration = 0
FROM dirty_post WHERE posts.id = dirty_post.id AND kind = 'duration of zero';
UPDATE public.posts SET audio_file_size = 0
FROM dirty_post WHERE posts.id = dirty_post.id AND kind = 'size of zero';

-- Present, and no address.
UPDATE public.posts SET audio_url = ''
FROM dirty_post WHERE posts.id = dirty_post.id AND kind = 'empty address';
UPDATE public.posts SET audio_url = E' \t '
FROM dirty_post WHERE posts.id = dirty_post.id AND kind = 'blank address';

-- The account exists, its profile is gone: a track cannot belong to it.
INSERT INTO auth.users (id, email, created_at, updated_at)
SELECT lost_user, lost_user || '@example.org', timestamptz '2023-01-02 00:00:00+00', timestamptz '2023-01-02 00:00:00+00'
FROM dirty_post WHERE kind = 'no profile';
UPDATE public.posts SET user_id = lost_user
FROM dirty_post WHERE posts.id = dirty_post.id AND kind = 'no profile';

-- A track of another file carries the id of an audio post.
INSERT INTO public.tracks (id, user_id, title, file_url, created_at, updated_at)
SELECT posts.id, posts.user_id, 'Same id, other song', 'https://cdn.example.org/audio/clash-' || number || '.mp3',
    posts.created_at, posts.created_at
FROM dirty_post INNER JOIN public.posts ON posts.id = dirty_post.id WHERE kind = 'id clash';

-- The same file by the same user a second time, both in one playlist.
INSERT INTO public.posts (
    id, user_id, content, post_type, audio_url, audio_filename, audio_mime_type, audio_file_size, audio_duration,
    created_at, updated_at
)
SELECT
    pg_catalog.md5('repost:' || posts.id)::uuid, user_id, 'Posted twice', post_type, audio_url, audio_filename,
    audio_mime_type, audio_file_size, audio_duration, created_at + interval '1 day', created_at + interval '1 day'
FROM dirty_post INNER JOIN public.posts ON posts.id = dirty_post.id WHERE kind = 'repost in one playlist';

CREATE TEMPORARY TABLE dirty_playlist AS SELECT id FROM public.playlists ORDER BY created_at, id LIMIT 1;

INSERT INTO public.playlist_tracks (id, playlist_id, track_id, position, added_at, created_at)
SELECT
    pg_catalog.md5('entry:' || entry.track_id)::uuid, dirty_playlist.id, entry.track_id,
    100000 + pg_catalog.row_number() OVER (ORDER BY entry.track_id), entry.added_at, entry.added_at
FROM dirty_playlist
CROSS JOIN (
    SELECT pg_catalog.unnest(ARRAY[dirty_post.id, pg_catalog.md5('repost:' || dirty_post.id)::uuid]) AS track_id,
        timestamptz '2024-12-20 00:00:00+00' AS added_at
    FROM dirty_post WHERE kind = 'repost in one playlist'
    UNION ALL
    SELECT text_post.id, timestamptz '2024-12-20 00:00:00+00'
    FROM (SELECT count(*) AS wanted FROM dirty_post WHERE kind = 'entry at a text post') AS number
    CROSS JOIN LATERAL (
        SELECT id FROM public.posts WHERE post_type = 'text' ORDER BY created_at, id LIMIT number.wanted
    ) AS text_post
    UNION ALL
    -- Behind a key that is marked valid, as a load with keys switched off leaves it.
    SELECT lost_user, timestamptz '2024-12-20 00:00:00+00' FROM dirty_post WHERE kind = 'entry at nothing'
) AS entry
ON CONFLICT (playlist_id, track_id) DO NOTHING;

INSERT INTO public.tracks (id, user_id, title, file_url, created_at, updated_at)
SELECT pg_catalog.md5('track of nobody:' || number)::uuid, lost_user, 'Nobody''s song',
    'https://cdn.example.org/audio/nobody-' || number || '.mp3',
    timestamptz '2024-12-20 00:00:00+00', timestamptz '2024-12-20 00:00:00+00'
FROM dirty_post WHERE kind = 'track of nobody';

DROP TABLE dirty_playlist;
DROP TABLE dirty_post;
RESET session_replication_role;
