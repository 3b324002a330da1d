-- A realistic data set, made set-based: every value is a hash of (seed, row number), so the same settings give the
-- same rows on every server and nothing has to be joined. Run after base_schema.sql, as the superuser.
-- Settings (text, set before on the session):
--   demo.audio_posts   how many audio posts (N); 70 % of all posts are audio
--   demo.seed          another seed gives other rows
-- Times lie in 2023 and 2024, whenever this runs.

-- Keys are right by construction (a test checks every one); the sign-up trigger would fire once per user.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET work_mem = '256MB';
SET maintenance_work_mem = '512MB';

-- Building an index once is faster than growing it: those that are no constraint are taken away and put back.
CREATE TEMPORARY TABLE demo_index AS
SELECT indexrelid::regclass::text AS name, pg_catalog.pg_get_indexdef(indexrelid) AS definition
FROM pg_catalog.pg_index
INNER JOIN pg_catalog.pg_class AS class ON class.oid = indexrelid
WHERE class.relnamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conindid = indexrelid);

DO $indexes$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT name FROM demo_index LOOP
        EXECUTE 'DROP INDEX ' || found.name;
    END LOOP;
END
$indexes$;

CREATE TEMPORARY TABLE demo_size AS
SELECT
    audio_posts,
    seed,
    pg_catalog.round(audio_posts * 3.0 / 7)::bigint AS text_posts,
    greatest(20, audio_posts / 50) AS users,
    greatest(8, audio_posts / 40) AS playlists,
    pg_catalog.round(audio_posts * 0.3)::bigint AS playlist_rows,
    pg_catalog.round(audio_posts * 0.3)::bigint AS comments
FROM (
    SELECT
        pg_catalog.current_setting('demo.audio_posts')::bigint AS audio_posts,
        pg_catalog.current_setting('demo.seed')::bigint AS seed
) AS setting;

-- The server inlines these functions (each is declared no stricter than its body); OFFSET 0 below has a value computed
-- once per row and not once per use. Without either, a million posts take minutes.
-- A number in [0, 1) that depends on the seed, a row number and what it is for.
CREATE FUNCTION pg_temp.chance(seed bigint, n bigint, purpose bigint) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (pg_catalog.hashint8extended(n, seed * 1000 + purpose) & 4294967295)::double precision / 4294967296 $$;

CREATE FUNCTION pg_temp.id_of(seed bigint, kind text, n bigint) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.md5(kind || ':' || seed || ':' || n)::uuid $$;

-- Few users write much: the share of the first falls off with the third power.
CREATE FUNCTION pg_temp.writer(seed bigint, n bigint, users bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.floor(users * pg_catalog.pow(pg_temp.chance(seed, n, 1), 3))::bigint $$;

-- The file of an audio post is named by the number of the post that brought it:
-- of 100 posts, number 49 is another user's upload of the same file, number 99 a repost by the same user.
CREATE FUNCTION pg_temp.original_post(seed bigint, n bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN n % 100 = 99 THEN
            pg_catalog.floor(pg_temp.chance(seed, n, 2) * (n / 100 + 1))::bigint * 100
            + pg_catalog.floor(pg_temp.chance(seed, n, 3) * 99)::bigint
        ELSE n
    END
$$;

CREATE FUNCTION pg_temp.file_number(seed bigint, original bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN original % 100 = 49 THEN
            original - 49 + pg_catalog.floor(pg_temp.chance(seed, original, 4) * 49)::bigint
        ELSE original
    END
$$;

CREATE FUNCTION pg_temp.uploader(seed bigint, original bigint, users bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN original % 100 = 49 THEN
            (pg_temp.writer(seed, pg_temp.file_number(seed, original), users) + 1) % users
        ELSE pg_temp.writer(seed, original, users)
    END
$$;

CREATE FUNCTION pg_temp.file_url(seed bigint, file_number bigint) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT 'https://cdn.example.org/audio/' || pg_catalog.md5('file:' || seed || ':' || file_number)
        || (ARRAY['.mp3', '.mp3', '.wav', '.flac'])[1 + file_number % 4]
$$;

-- Posts in the order of their creation: of ten, numbers 2, 5 and 8 are text.
CREATE FUNCTION pg_temp.place_of_audio(n bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT n / 7 * 10 + (ARRAY[0, 1, 3, 4, 6, 7, 9])[1 + n % 7] $$;

CREATE FUNCTION pg_temp.posted_at(seed bigint, place bigint, posts bigint) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT timestamptz '2023-01-10 00:00:00+00'
        + interval '1 microsecond'
        * pg_catalog.floor((place + 0.9 * pg_temp.chance(seed, place, 5)) / posts * 6.0e13)::bigint
$$;

-- One row in seven was edited, up to a month later.
CREATE FUNCTION pg_temp.edited_at(seed bigint, n bigint, made timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN pg_temp.chance(seed, n, 6) < 0.15
        THEN made + interval '1 microsecond' * pg_catalog.floor(1 + 2.6e12 * pg_temp.chance(seed, n, 7))::bigint
        ELSE made
    END
$$;

CREATE FUNCTION pg_temp.playlist_made_at(seed bigint, playlist bigint) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT timestamptz '2023-02-01 00:00:00+00'
        + interval '1 microsecond' * pg_catalog.floor(pg_temp.chance(seed, playlist, 14) * 5.8e13)::bigint
$$;

-- ------------------------------------------------------------------ people

INSERT INTO auth.users (id, email, raw_user_meta_data, created_at, updated_at)
SELECT
    pg_temp.id_of(size.seed, 'user', n),
    'listener' || n || '@example.org',
    pg_catalog.jsonb_build_object('username', 'listener' || n, 'full_name', 'Listener ' || n),
    joined,
    joined
FROM demo_size AS size
CROSS JOIN pg_catalog.generate_series(0, size.users - 1) AS n
CROSS JOIN LATERAL (
    SELECT timestamptz '2023-01-01 00:00:00+00' + interval '1 second' * (n % 700000) AS joined
    OFFSET 0
) AS moment;

INSERT INTO public.profiles (id, username, full_name, bio, avatar_url, created_at, updated_at)
SELECT
    id,
    raw_user_meta_data ->> 'username',
    raw_user_meta_data ->> 'full_name',
    CASE WHEN pg_catalog.hashtext(email) % 3 = 0 THEN 'I make music with machines.' END,
    CASE WHEN pg_catalog.hashtext(email) % 2 = 0 THEN 'https://cdn.example.org/avatars/' || id || '.png' END,
    created_at,
    created_at
FROM auth.users;

-- ------------------------------------------------------------------ posts

INSERT INTO public.posts (
    id, user_id, content, post_type, audio_url, audio_filename, audio_mime_type, audio_file_size, audio_duration,
    created_at, updated_at
)
SELECT
    pg_temp.id_of(size.seed, 'post', place),
    pg_temp.id_of(size.seed, 'user', CASE
        WHEN is_audio THEN pg_temp.uploader(size.seed, original, size.users)
        ELSE pg_temp.writer(size.seed, place + 1000000000, size.users)
    END),
    CASE
        WHEN original <> n THEN 'Once more, because you asked: number ' || place
        WHEN is_audio THEN 'My new song, take ' || (1 + place % 9) || '. What do you think? #' || place
        ELSE 'Thoughts of the day, number ' || place || '. '
            || pg_catalog.repeat('More words about music. ', (pg_temp.chance(size.seed, place, 8) * 12)::integer)
    END,
    CASE WHEN is_audio THEN 'audio' ELSE 'text' END,
    CASE WHEN is_audio THEN pg_temp.file_url(size.seed, file_number) END,
    CASE
        WHEN NOT is_audio THEN NULL
        WHEN file_number % 200 = 7 THEN ''
        WHEN file_number % 200 = 8 THEN '   '
        WHEN file_number % 50 = 9 THEN '  Über den Wolken ' || file_number || '.mp3 '
        ELSE 'Song ' || file_number || ' - ' || (ARRAY['demo', 'final', 'remix', 'live'])[1 + file_number % 4] || '.mp3'
    END,
    CASE WHEN is_audio THEN (ARRAY['audio/mpeg', 'audio/mpeg', 'audio/wav', 'audio/flac'])[1 + file_number % 4] END,
    CASE
        WHEN is_audio AND file_number % 20 <> 3
        THEN 500000 + pg_catalog.floor(pg_temp.chance(size.seed, file_number, 9) * 20000000)::integer
    END,
    CASE
        WHEN is_audio AND file_number % 10 <> 3
        THEN 30 + pg_catalog.floor(pg_temp.chance(size.seed, file_number, 10) * 570)::integer
    END,
    made,
    pg_temp.edited_at(size.seed, place, made)
FROM demo_size AS size
CROSS JOIN pg_catalog.generate_series(0, (size.audio_posts + 6) / 7 * 10 - 1) AS place
CROSS JOIN LATERAL (
    SELECT
        place % 10 NOT IN (2, 5, 8) AS is_audio,
        CASE
            WHEN place % 10 IN (2, 5, 8) THEN place / 10 * 3 + place % 10 / 3
            ELSE place / 10 * 7 + (ARRAY[0, 1, NULL, 2, 3, NULL, 4, 5, NULL, 6])[1 + place % 10]
        END AS n
    OFFSET 0
) AS kind
CROSS JOIN LATERAL (
    SELECT CASE WHEN is_audio THEN pg_temp.original_post(size.seed, n) ELSE n END AS original
    OFFSET 0
) AS source
CROSS JOIN LATERAL (
    SELECT pg_temp.file_number(size.seed, original) AS file_number
    OFFSET 0
) AS file
CROSS JOIN LATERAL (
    SELECT pg_temp.posted_at(size.seed, place, size.audio_posts + size.text_posts) AS made
    OFFSET 0
) AS moment
WHERE n < CASE WHEN is_audio THEN size.audio_posts ELSE size.text_posts END;

-- ------------------------------------------------------------------ comments: threads of five under one post

INSERT INTO public.comments (id, post_id, user_id, content, parent_comment_id, created_at, updated_at)
SELECT
    pg_temp.id_of(size.seed, 'comment', n),
    pg_temp.id_of(size.seed, 'post', place),
    pg_temp.id_of(size.seed, 'user', pg_temp.writer(size.seed, n + 2000000000, size.users)),
    (ARRAY['Love it.', 'The bass is too loud.', 'Which software is this?', 'More please!'])[1 + n % 4] || ' (' || n || ')',
    CASE WHEN n % 5 > 0 THEN pg_temp.id_of(size.seed, 'comment', n - n % 5) END,
    made,
    pg_temp.edited_at(size.seed, n + 2000000000, made)
FROM demo_size AS size
CROSS JOIN pg_catalog.generate_series(0, size.comments - 1) AS n
CROSS JOIN LATERAL (
    SELECT pg_temp.place_of_audio(post) AS place
    FROM (
        SELECT pg_catalog.floor(
            size.audio_posts * pg_catalog.pow(pg_temp.chance(size.seed, n / 5, 11), 2)
        )::bigint AS post
        OFFSET 0
    ) AS chosen
    OFFSET 0
) AS target
CROSS JOIN LATERAL (
    SELECT pg_temp.posted_at(size.seed, place, size.audio_posts + size.text_posts)
        + interval '1 minute' * (1 + n % 5 * 7) AS made
    OFFSET 0
) AS moment;

-- ------------------------------------------------------------------ tracks that exist already

-- One in fifty: half of them are the file of an audio post, half were only ever in the library.
INSERT INTO public.tracks (
    id, user_id, title, description, file_url, duration, genre, tags, is_public, play_count, created_at, updated_at
)
SELECT
    pg_temp.id_of(size.seed, 'track', n),
    pg_temp.id_of(size.seed, 'user', pg_temp.writer(size.seed, post, size.users)),
    'Library song ' || n,
    CASE WHEN n % 3 > 0 THEN 'Uploaded to the library before anybody posted it.' END,
    CASE WHEN n % 2 = 0 THEN pg_temp.file_url(size.seed, post) ELSE pg_temp.file_url(size.seed, n + 1000000000) END,
    CASE WHEN n % 10 <> 3 THEN 30 + pg_catalog.floor(pg_temp.chance(size.seed, n, 12) * 570)::integer END,
    (ARRAY['ambient', 'techno', 'folk', NULL])[1 + n % 4],
    CASE WHEN n % 2 = 0 THEN 'slow,night' END,
    n % 4 > 0,
    pg_catalog.floor(1000 * pg_catalog.pow(pg_temp.chance(size.seed, n, 13), 4))::integer,
    made,
    pg_temp.edited_at(size.seed, n + 3000000000, made)
FROM demo_size AS size
CROSS JOIN pg_catalog.generate_series(0, size.audio_posts / 50 - 1) AS n
CROSS JOIN LATERAL (SELECT n / 2 * 100 + 10 AS post OFFSET 0) AS source
CROSS JOIN LATERAL (
    SELECT pg_temp.posted_at(size.seed, pg_temp.place_of_audio(post), size.audio_posts + size.text_posts)
        - interval '1 second' * (60 + n % 100000) AS made
    OFFSET 0
) AS moment;

-- ------------------------------------------------------------------ playlists

INSERT INTO public.playlists (id, user_id, name, description, is_public, cover_image_url, created_at, updated_at)
SELECT
    pg_temp.id_of(size.seed, 'playlist', n),
    pg_temp.id_of(size.seed, 'user', pg_temp.writer(size.seed, n + 4000000000, size.users)),
    (ARRAY['Morning', 'Evening', 'Work', 'Run', 'Sleep'])[1 + n % 5] || ' ' || n,
    CASE WHEN n % 3 = 0 THEN 'A list of songs.' END,
    n % 3 > 0,
    CASE WHEN n % 4 = 0 THEN 'https://cdn.example.org/covers/' || n || '.png' END,
    made,
    pg_temp.edited_at(size.seed, n + 4000000000, made)
FROM demo_size AS size
CROSS JOIN pg_catalog.generate_series(0, size.playlists - 1) AS n
CROSS JOIN LATERAL (
    SELECT pg_temp.playlist_made_at(size.seed, n) AS made
    OFFSET 0
) AS moment;

-- The first lists are long, the last ones hold a few songs or none. Every second repost shares a list with its original.
-- Some lists have gaps in their positions, some have positions twice: nothing in the schema forbids it.
INSERT INTO public.playlist_tracks (id, playlist_id, track_id, position, added_at, created_at)
SELECT
    pg_temp.id_of(size.seed, 'entry:' || playlist, post),
    pg_temp.id_of(size.seed, 'playlist', playlist),
    pg_temp.id_of(size.seed, 'post', pg_temp.place_of_audio(post)),
    CASE playlist % 11
        WHEN 3 THEN 3 * place
        WHEN 5 THEN place / 2
        ELSE place
    END,
    added,
    added
FROM demo_size AS size
CROSS JOIN LATERAL (
    SELECT
        playlist,
        post,
        pg_catalog.row_number() OVER (
            PARTITION BY playlist ORDER BY pg_temp.chance(size.seed, post * 31 + playlist, 15), post
        ) - 1 AS place
    FROM (
        SELECT
            pg_catalog.floor(size.playlists * pg_catalog.pow(pg_temp.chance(size.seed, n, 16), 3))::bigint AS playlist,
            pg_catalog.floor(size.audio_posts * pg_catalog.pow(pg_temp.chance(size.seed, n, 17), 1.3))::bigint AS post
        FROM pg_catalog.generate_series(0, size.playlist_rows - 1) AS n
        UNION
        SELECT
            pg_catalog.floor(size.playlists * pg_temp.chance(size.seed, hundred, 18))::bigint,
            unnested.post
        FROM pg_catalog.generate_series(0, size.audio_posts / 100 - 1, 2) AS hundred
        CROSS JOIN LATERAL pg_catalog.unnest(ARRAY[
            hundred * 100 + 99, pg_temp.original_post(size.seed, hundred * 100 + 99)
        ]) AS unnested (post)
    ) AS entry
) AS placed
CROSS JOIN LATERAL (
    SELECT greatest(
            pg_temp.playlist_made_at(size.seed, playlist),
            pg_temp.posted_at(size.seed, pg_temp.place_of_audio(post), size.audio_posts + size.text_posts)
        )
        + interval '1 microsecond'
        * pg_catalog.floor(1 + 1.2e12 * pg_temp.chance(size.seed, post * 31 + playlist, 19))::bigint AS added
    OFFSET 0
) AS moment;

-- ------------------------------------------------------------------ what others keep about our rows

INSERT INTO moderation.reported_posts (post_id, reason, created_at)
SELECT
    pg_temp.id_of(size.seed, 'post', n * 97 + 13),
    (ARRAY['spam', 'copyright', 'other'])[1 + n % 3],
    timestamptz '2024-12-10 00:00:00+00' + interval '1 minute' * n
FROM demo_size AS size
CROSS JOIN pg_catalog.generate_series(0, least(500, size.audio_posts / 100) - 1) AS n
ORDER BY n;

INSERT INTO moderation.featured_playlists (playlist_id, featured_from)
SELECT
    pg_temp.id_of(size.seed, 'playlist', n),
    timestamptz '2024-12-10 00:00:00+00' + interval '1 day' * n
FROM demo_size AS size
CROSS JOIN pg_catalog.generate_series(0, least(5, size.playlists) - 1) AS n;

DO $indexes$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT definition FROM demo_index ORDER BY name LOOP
        EXECUTE found.definition;
    END LOOP;
END
$indexes$;

DROP TABLE demo_index;
DROP TABLE demo_size;
RESET session_replication_role;
RESET synchronous_commit;
RESET work_mem;
RESET maintenance_work_mem;
