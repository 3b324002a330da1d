-- A Supabase-like database as the migration finds it. Run once per database, as a superuser, after roles.sql.
-- Settings (text, set before on the session):
--   demo.user_keys           on: posts.user_id and comments.user_id reference auth.users (some deployments have no key)
--   demo.audio_fields_check  on: posts carries posts_audio_fields_check (older deployments do)

DO $database$
BEGIN
    EXECUTE pg_catalog.format('ALTER DATABASE %I OWNER TO postgres', pg_catalog.current_database());
END
$database$;

GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
GRANT CREATE, USAGE ON SCHEMA public TO postgres;

-- Whatever these roles make in public, the API may use: so it is on every hosted project.
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public
    GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public
    GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public
    GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public
    GRANT ALL ON TABLES TO postgres, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public
    GRANT ALL ON FUNCTIONS TO postgres, anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE supabase_admin IN SCHEMA public
    GRANT ALL ON SEQUENCES TO postgres, anon, authenticated, service_role;

-- ------------------------------------------------------------------ auth: owned by Supabase, not ours to change

CREATE SCHEMA auth AUTHORIZATION supabase_auth_admin;
GRANT USAGE ON SCHEMA auth TO postgres, anon, authenticated, service_role;

SET ROLE supabase_auth_admin;

CREATE TABLE auth.users (
    id uuid PRIMARY KEY,
    email text UNIQUE,
    raw_user_meta_data jsonb NOT NULL DEFAULT '{}'::jsonb,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now())
);
ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE, REFERENCES, TRIGGER ON auth.users TO postgres;

CREATE FUNCTION auth.uid() RETURNS uuid
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(
        nullif(pg_catalog.current_setting('request.jwt.claim.sub', true), ''),
        nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
    )::uuid
$$;

CREATE FUNCTION auth.role() RETURNS text
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(
        nullif(pg_catalog.current_setting('request.jwt.claim.role', true), ''),
        nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
    )
$$;

RESET ROLE;

-- ------------------------------------------------------------------ public: the application's tables

SET ROLE postgres;

CREATE FUNCTION public.update_updated_at_column() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.updated_at = pg_catalog.timezone('utc', pg_catalog.now());
    RETURN NEW;
END
$$;

CREATE TABLE public.profiles (
    id uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE,
    username text UNIQUE,
    full_name text,
    bio text,
    avatar_url text,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now())
);

CREATE TABLE public.posts (
    id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    user_id uuid NOT NULL,
    content text NOT NULL,
    post_type text NOT NULL DEFAULT 'text',
    audio_url text,
    audio_filename text,
    audio_mime_type text,
    audio_file_size integer,
    audio_duration integer,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    CONSTRAINT posts_content_not_blank CHECK (pg_catalog.length(pg_catalog.btrim(content)) > 0),
    CONSTRAINT posts_post_type_check CHECK (post_type IN ('text', 'audio'))
);

CREATE TABLE public.comments (
    id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    post_id uuid NOT NULL REFERENCES public.posts (id) ON DELETE CASCADE,
    user_id uuid NOT NULL,
    content text NOT NULL,
    parent_comment_id uuid REFERENCES public.comments (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now())
);

CREATE TABLE public.tracks (
    id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES public.profiles (id) ON DELETE CASCADE,
    title text NOT NULL,
    description text,
    file_url text NOT NULL,
    duration integer,
    genre text,
    tags text,
    is_public boolean DEFAULT true,
    play_count integer DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now())
);

CREATE TABLE public.playlists (
    id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
    name text NOT NULL,
    description text,
    is_public boolean DEFAULT false,
    cover_image_url text,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    CONSTRAINT playlists_name_not_blank CHECK (pg_catalog.length(pg_catalog.btrim(name)) > 0)
);

-- track_id is the id of a post here: that is what the migration is about.
CREATE TABLE public.playlist_tracks (
    id uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
    playlist_id uuid NOT NULL REFERENCES public.playlists (id) ON DELETE CASCADE,
    track_id uuid NOT NULL REFERENCES public.posts (id) ON DELETE CASCADE,
    position integer NOT NULL,
    added_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now()),
    CONSTRAINT playlist_tracks_playlist_id_track_id_key UNIQUE (playlist_id, track_id),
    CONSTRAINT playlist_tracks_position_check CHECK (position >= 0)
);

DO $switches$
BEGIN
    IF coalesce(nullif(pg_catalog.current_setting('demo.user_keys', true), ''), 'on')::boolean THEN
        ALTER TABLE public.posts ADD CONSTRAINT posts_user_id_fkey
            FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE;
        ALTER TABLE public.comments ADD CONSTRAINT comments_user_id_fkey
            FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE;
    END IF;
    IF coalesce(nullif(pg_catalog.current_setting('demo.audio_fields_check', true), ''), 'on')::boolean THEN
        ALTER TABLE public.posts ADD CONSTRAINT posts_audio_fields_check CHECK (
            (post_type = 'audio' AND audio_url IS NOT NULL AND audio_filename IS NOT NULL)
            OR (post_type = 'text' AND audio_url IS NULL AND audio_filename IS NULL)
        );
    END IF;
END
$switches$;

CREATE INDEX idx_posts_user_id ON public.posts (user_id);
CREATE INDEX idx_posts_created_at ON public.posts (created_at DESC);
CREATE INDEX idx_posts_post_type ON public.posts (post_type);
CREATE INDEX idx_comments_post_id ON public.comments (post_id);
CREATE INDEX idx_comments_user_id ON public.comments (user_id);
CREATE INDEX idx_comments_parent_comment_id ON public.comments (parent_comment_id);
CREATE INDEX idx_playlists_user_id ON public.playlists (user_id);
CREATE INDEX idx_playlist_tracks_playlist_id ON public.playlist_tracks (playlist_id);
CREATE INDEX idx_playlist_tracks_track_id ON public.playlist_tracks (track_id);
CREATE INDEX idx_playlist_tracks_position ON public.playlist_tracks (playlist_id, position);

CREATE TRIGGER update_posts_updated_at BEFORE UPDATE ON public.posts
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE TRIGGER update_comments_updated_at BEFORE UPDATE ON public.comments
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();
CREATE TRIGGER update_playlists_updated_at BEFORE UPDATE ON public.playlists
    FOR EACH ROW EXECUTE FUNCTION public.update_updated_at_column();

-- Signing up makes the profile: a trigger on a table that is not ours calls a function that is.
CREATE FUNCTION public.handle_new_user() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
BEGIN
    INSERT INTO public.profiles (id, username, full_name, created_at, updated_at)
    VALUES (
        NEW.id,
        coalesce(NEW.raw_user_meta_data ->> 'username', NEW.id::text),
        NEW.raw_user_meta_data ->> 'full_name',
        NEW.created_at,
        NEW.created_at
    );
    RETURN NEW;
END
$$;

CREATE TRIGGER on_auth_user_created AFTER INSERT ON auth.users
    FOR EACH ROW EXECUTE FUNCTION public.handle_new_user();

ALTER TABLE public.profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.posts ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.comments ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.tracks ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.playlists ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.playlist_tracks ENABLE ROW LEVEL SECURITY;

CREATE POLICY profiles_read ON public.profiles FOR SELECT USING (true);
CREATE POLICY profiles_update_own ON public.profiles FOR UPDATE
    USING (auth.uid() = id) WITH CHECK (auth.uid() = id);

CREATE POLICY posts_read ON public.posts FOR SELECT USING (true);
CREATE POLICY posts_insert_own ON public.posts FOR INSERT WITH CHECK (auth.uid() = user_id);
CREATE POLICY posts_update_own ON public.posts FOR UPDATE
    USING (auth.uid() = user_id) WITH CHECK (auth.uid() = user_id);
CREATE POLICY posts_delete_own ON public.posts FOR DELETE USING (auth.uid() = user_id);

CREATE POLICY comments_read ON public.comments FOR SELECT USING (true);
CREATE POLICY comments_insert_own ON public.comments FOR INSERT WITH CHECK (auth.uid() = user_id);
CREATE POLICY comments_update_own ON public.comments FOR UPDATE
    USING (auth.uid() = user_id) WITH CHECK (auth.uid() = user_id);
CREATE POLICY comments_delete_own ON public.comments FOR DELETE USING (auth.uid() = user_id);

CREATE POLICY tracks_read_public_or_own ON public.tracks FOR SELECT USING (is_public OR auth.uid() = user_id);
CREATE POLICY tracks_insert_own ON public.tracks FOR INSERT WITH CHECK (auth.uid() = user_id);
CREATE POLICY tracks_update_own ON public.tracks FOR UPDATE
    USING (auth.uid() = user_id) WITH CHECK (auth.uid() = user_id);
CREATE POLICY tracks_delete_own ON public.tracks FOR DELETE USING (auth.uid() = user_id);

CREATE POLICY playlists_read_public_or_own ON public.playlists FOR SELECT
    USING (is_public OR auth.uid() = user_id);
CREATE POLICY playlists_insert_own ON public.playlists FOR INSERT WITH CHECK (auth.uid() = user_id);
CREATE POLICY playlists_update_own ON public.playlists FOR UPDATE
    USING (auth.uid() = user_id) WITH CHECK (auth.uid() = user_id);
CREATE POLICY playlists_delete_own ON public.playlists FOR DELETE USING (auth.uid() = user_id);

CREATE POLICY playlist_tracks_read ON public.playlist_tracks FOR SELECT USING (
    EXISTS (SELECT FROM public.playlists
            WHERE playlists.id = playlist_tracks.playlist_id
              AND (playlists.is_public OR playlists.user_id = auth.uid()))
);
CREATE POLICY playlist_tracks_insert_own ON public.playlist_tracks FOR INSERT WITH CHECK (
    EXISTS (SELECT FROM public.playlists
            WHERE playlists.id = playlist_tracks.playlist_id AND playlists.user_id = auth.uid())
);
CREATE POLICY playlist_tracks_update_own ON public.playlist_tracks FOR UPDATE USING (
    EXISTS (SELECT FROM public.playlists
            WHERE playlists.id = playlist_tracks.playlist_id AND playlists.user_id = auth.uid())
);
CREATE POLICY playlist_tracks_delete_own ON public.playlist_tracks FOR DELETE USING (
    EXISTS (SELECT FROM public.playlists
            WHERE playlists.id = playlist_tracks.playlist_id AND playlists.user_id = auth.uid())
);

CREATE PUBLICATION supabase_realtime
    FOR TABLE public.posts, public.comments, public.playlists, public.playlist_tracks;

-- Hosted tables of the API are open to its roles; row-level security is what guards them.
GRANT REFERENCES ON public.posts, public.playlists TO moderation_admin;
GRANT USAGE ON SCHEMA public TO moderation_admin;

-- The ledger of `supabase migration`, with the migration that made all this.
CREATE SCHEMA supabase_migrations;
CREATE TABLE supabase_migrations.schema_migrations (
    version text NOT NULL PRIMARY KEY,
    statements text[],
    name text
);
INSERT INTO supabase_migrations.schema_migrations (version, statements, name)
VALUES ('20240101000000', ARRAY['-- the tables as they were'], 'base_schema');

RESET ROLE;

-- ------------------------------------------------------------------ a schema of somebody else, hanging on ours

CREATE SCHEMA moderation AUTHORIZATION moderation_admin;

SET ROLE moderation_admin;

CREATE TABLE moderation.reported_posts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post_id uuid NOT NULL REFERENCES public.posts (id) ON DELETE CASCADE,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now())
);
CREATE INDEX idx_reported_posts_post_id ON moderation.reported_posts (post_id);

CREATE TABLE moderation.featured_playlists (
    playlist_id uuid PRIMARY KEY REFERENCES public.playlists (id) ON DELETE CASCADE,
    featured_from timestamptz NOT NULL DEFAULT pg_catalog.timezone('utc', pg_catalog.now())
);

-- As with Supabase's own schemas: the owner of public may look, and changes nothing.
GRANT USAGE ON SCHEMA moderation TO postgres;
GRANT SELECT ON ALL TABLES IN SCHEMA moderation TO postgres;

RESET ROLE;
