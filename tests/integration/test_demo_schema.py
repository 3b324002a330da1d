"""The base schema is the one a Supabase project has: what a plan may rely on, read back from the catalog."""

from __future__ import annotations

import uuid

import psycopg2
import pytest
from support.servers import Options, application_session, connect, load_demo, query, value

TABLES = ["comments", "playlist_tracks", "playlists", "posts", "profiles", "tracks"]


def test_owner_is_no_superuser_and_may_set_replica_role(database: Options) -> None:
    attributes = query(
        database,
        "SELECT rolsuper, rolcreatedb, rolbypassrls, rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = current_user",
    )
    assert attributes == [(False, True, True, True)]
    assert value(database, "SELECT has_parameter_privilege('session_replication_role', 'SET')") is True


def test_roles_carry_their_statement_timeouts(server) -> None:
    found = query(
        server.superuser_options,
        "SELECT setrole::regrole::text, setconfig FROM pg_catalog.pg_db_role_setting WHERE setdatabase = 0 ORDER BY 1",
    )
    assert dict(found) == {
        "anon": ["statement_timeout=3s"],
        "authenticated": ["statement_timeout=8s"],
        "authenticator": ["statement_timeout=8s"],
        "postgres": ["statement_timeout=2min"],
    }


def test_owner_has_the_tables_of_public_and_others_have_theirs(database: Options) -> None:
    owners = query(
        database,
        "SELECT schemaname, tablename, tableowner FROM pg_catalog.pg_tables "
        "WHERE schemaname IN ('public', 'auth', 'moderation', 'supabase_migrations') ORDER BY 1, 2",
    )
    assert owners == [
        ("auth", "users", "supabase_auth_admin"),
        ("moderation", "featured_playlists", "moderation_admin"),
        ("moderation", "reported_posts", "moderation_admin"),
        *[("public", table, "postgres") for table in TABLES],
        ("supabase_migrations", "schema_migrations", "postgres"),
    ]


def test_row_level_security_is_on_with_policies_everywhere(database: Options) -> None:
    found = query(
        database,
        "SELECT relname, relrowsecurity, EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = c.oid) "
        "FROM pg_catalog.pg_class AS c WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1",
    )
    assert found == [(table, True, True) for table in TABLES]


def test_four_tables_are_published_to_realtime(database: Options) -> None:
    members = query(
        database,
        "SELECT tablename FROM pg_catalog.pg_publication_tables WHERE pubname = 'supabase_realtime' ORDER BY 1",
    )
    assert members == [("comments",), ("playlist_tracks",), ("playlists",), ("posts",)]


def test_keys_are_those_of_the_field(database: Options) -> None:
    keys = query(
        database,
        "SELECT conname, conrelid::regclass::text, confrelid::regclass::text, confdeltype::text, convalidated "
        "FROM pg_catalog.pg_constraint WHERE contype = 'f' ORDER BY 2, 1",
    )
    assert keys == [
        ("comments_parent_comment_id_fkey", "comments", "comments", "c", True),
        ("comments_post_id_fkey", "comments", "posts", "c", True),
        ("comments_user_id_fkey", "comments", "auth.users", "c", True),
        ("featured_playlists_playlist_id_fkey", "moderation.featured_playlists", "playlists", "c", True),
        ("reported_posts_post_id_fkey", "moderation.reported_posts", "posts", "c", True),
        ("playlist_tracks_playlist_id_fkey", "playlist_tracks", "playlists", "c", True),
        ("playlist_tracks_track_id_fkey", "playlist_tracks", "posts", "c", True),
        ("playlists_user_id_fkey", "playlists", "auth.users", "c", True),
        ("posts_user_id_fkey", "posts", "auth.users", "c", True),
        ("profiles_id_fkey", "profiles", "auth.users", "c", True),
        ("tracks_user_id_fkey", "tracks", "profiles", "c", True),
    ]


def test_times_are_not_null_and_default_to_now(database: Options) -> None:
    odd = query(
        database,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type LIKE 'timestamp%%' AND (data_type <> 'timestamp with time zone' OR is_nullable = 'YES' "
        "OR column_default NOT LIKE '%%utc%%now()%%')",
        (),
    )
    assert odd == []


def test_indexes_are_those_of_the_field(database: Options) -> None:
    found = query(
        database, "SELECT indexdef FROM pg_catalog.pg_indexes WHERE schemaname = 'public' AND indexname ~ '^idx_'"
    )
    columns = sorted(row[0].split(" ON public.")[1].replace(" USING btree ", " ") for row in found)
    assert columns == [
        "comments (parent_comment_id)",
        "comments (post_id)",
        "comments (user_id)",
        "playlist_tracks (playlist_id)",
        'playlist_tracks (playlist_id, "position")',
        "playlist_tracks (track_id)",
        "playlists (user_id)",
        "posts (created_at DESC)",
        "posts (post_type)",
        "posts (user_id)",
    ]


@pytest.mark.parametrize("table", ["posts", "comments", "playlists"])
def test_a_row_trigger_stamps_updated_at(database: Options, table: str) -> None:
    column = "name" if table == "playlists" else "content"
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE public.{table} SET {column} = {column} || '!' "
            f"WHERE id = (SELECT id FROM public.{table} ORDER BY id LIMIT 1) RETURNING updated_at = now()"
        )
        assert cursor.fetchall() == [(True,)]


def test_signing_up_makes_the_profile(database: Options) -> None:
    user = str(uuid.uuid4())
    query(
        database,
        "INSERT INTO auth.users (id, email, raw_user_meta_data) VALUES (%s, 'new@example.org', %s)",
        (user, '{"username": "newcomer"}'),
    )
    assert query(database, "SELECT username FROM public.profiles WHERE id = %s", (user,)) == [("newcomer",)]


def test_a_signed_in_user_writes_own_rows_only(database: Options) -> None:
    mine, other = (row[0] for row in query(database, "SELECT id FROM public.profiles ORDER BY id LIMIT 2"))
    insert = "INSERT INTO public.posts (user_id, content) VALUES (%s, 'hello')"
    with application_session(database, mine) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT auth.uid()")
        assert cursor.fetchone() == (mine,)
        cursor.execute(insert, (mine,))
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="row-level security policy"):
            cursor.execute(insert, (other,))
        cursor.execute("UPDATE public.posts SET content = 'taken' WHERE user_id = %s", (other,))
        assert cursor.rowcount == 0


def test_a_visitor_reads_and_does_not_write(database: Options) -> None:
    user = value(database, "SELECT id FROM public.profiles LIMIT 1")
    with application_session(database, None, role="anon") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) > 0 FROM public.posts")
        assert cursor.fetchone() == (True,)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="row-level security policy"):
            cursor.execute("INSERT INTO public.posts (user_id, content) VALUES (%s, 'hello')", (user,))


def test_new_functions_in_public_are_open_to_the_api(database: Options) -> None:
    """The default that a plan has to know: what it makes in public is callable by everybody."""
    query(database, "CREATE FUNCTION public.made_by_a_plan() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    assert value(database, "SELECT has_function_privilege('anon', 'public.made_by_a_plan()', 'EXECUTE')") is True
    roles = query(database, "SELECT DISTINCT defaclrole::regrole::text FROM pg_catalog.pg_default_acl ORDER BY 1")
    assert roles == [("postgres",), ("supabase_admin",)]


def test_history_knows_one_earlier_migration(database: Options) -> None:
    assert query(database, "SELECT version, name FROM supabase_migrations.schema_migrations") == [
        ("20240101000000", "base_schema")
    ]


@pytest.mark.parametrize("present", [True, False])
def test_what_differs_between_deployments_is_a_switch(empty_database: Options, present: bool) -> None:
    load_demo(empty_database, rows=False, user_keys=present, audio_fields_check=present)
    found = query(
        empty_database,
        "SELECT conname FROM pg_catalog.pg_constraint "
        "WHERE conname IN ('posts_user_id_fkey', 'comments_user_id_fkey', 'posts_audio_fields_check') ORDER BY 1",
    )
    expected = [("comments_user_id_fkey",), ("posts_audio_fields_check",), ("posts_user_id_fkey",)]
    assert found == (expected if present else [])
