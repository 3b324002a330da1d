"""The four files: each applies, again, by psql, in one transaction; and each says what is missing."""

from __future__ import annotations

from collections.abc import Callable

import psycopg2
import pytest
from application import INSERT_POST, assert_sound_after_migration_2, execute, make_user, post_values
from plan_sql import (
    FINALIZE,
    IS_PUBLIC,
    MIGRATE,
    PLAYLISTS,
    PREPARE,
    VERSIONS,
    apply,
    apply_before_backfill,
    catalogue,
    make_revert_functions,
    migration,
    one_row,
    owner_session,
    plan,
    posts_without_track_id,
    psql,
    revert,
    run_step,
    schema_text,
    steps_of,
    table,
)
from support.servers import Options, Server, load_demo, query, value

DatabaseAt = Callable[[str], Options]


def test_every_step_can_run_twice(server: Server, database: Options, database_at: DatabaseAt) -> None:
    once = database_at(FINALIZE)
    apply(database, *VERSIONS, each_step_twice=True)
    assert schema_text(server, database) == schema_text(server, once)
    assert catalogue(database) == catalogue(once)
    assert table(database, "public.tracks") == table(once, "public.tracks")
    assert table(database, "public.posts") == table(once, "public.posts")
    assert table(database, "public.playlist_tracks") == table(once, "public.playlist_tracks")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_file_can_run_twice(database_at: DatabaseAt, version: str) -> None:
    options = database_at(version)
    names = ("public.posts", "public.tracks", "public.playlist_tracks", "public.comments", "public.playlists")
    before = {name: table(options, name) for name in names}, catalogue(options)
    apply(options, version)
    assert ({name: table(options, name) for name in names}, catalogue(options)) == before


def test_psql_applies_the_files_and_the_schema_is_the_same(
    server: Server, database: Options, database_at: DatabaseAt
) -> None:
    for entry in plan()["migrations"] * 2:
        done = psql(server, database, entry["file"])
        assert done.returncode == 0, done.stderr
    assert catalogue(database) == catalogue(database_at(FINALIZE))
    assert table(database, "public.posts") == table(database_at(FINALIZE), "public.posts")


def test_statements_between_concurrent_ones_may_share_a_transaction(database: Options, database_at: DatabaseAt) -> None:
    """So the command line tool of the hosted service sends a file."""
    for version in VERSIONS:
        with owner_session(database) as connection, connection.cursor() as cursor:
            open_transaction = False
            for step in steps_of(version):
                if step.kind == "concurrently":
                    cursor.execute("COMMIT" if open_transaction else "SELECT")
                    cursor.execute(step.statements[0])
                    open_transaction = False
                    continue
                if not open_transaction:
                    cursor.execute("BEGIN")
                    open_transaction = True
                for statement in step.statements:
                    cursor.execute(statement)
            if open_transaction:
                cursor.execute("COMMIT")
    assert catalogue(database) == catalogue(database_at(FINALIZE))
    assert table(database, "public.posts") == table(database_at(FINALIZE), "public.posts")


def test_psql_is_told_how_to_give_the_missing_setting(server: Server, database: Options) -> None:
    done = psql(server, database, migration(PREPARE)["file"], environment={})
    assert done.returncode != 0
    assert "the setting migrated_tracks_are_public is missing: are tracks made from posts public?" in done.stderr
    assert f"PGOPTIONS='-c {IS_PUBLIC}=true'" in done.stderr
    assert "migration_plan_settings in the inventory" in done.stderr
    assert (
        query(database, "SELECT 1 FROM pg_attribute WHERE attrelid = 'public.posts'::regclass AND attname = 'track_id'")
        == []
    )


def test_a_setting_that_is_no_boolean_is_refused(database: Options) -> None:
    with pytest.raises(psycopg2.errors.RaiseException, match="is perhaps, which is neither true nor false"):
        apply(database, PREPARE, settings={IS_PUBLIC: "perhaps"})


@pytest.mark.parametrize("answer", ["true", "false"])
def test_the_setting_becomes_is_public_of_migrated_tracks_only(database: Options, answer: str) -> None:
    before = dict(query(database, "SELECT id, is_public FROM public.tracks"))
    apply(database, PREPARE, MIGRATE, settings={IS_PUBLIC: answer})
    after = dict(query(database, "SELECT id, is_public FROM public.tracks"))
    assert {key: after[key] for key in before} == before
    assert {is_public for key, is_public in after.items() if key not in before} == {answer == "true"}


@pytest.mark.parametrize("function", ["migrate_audio_posts", "unmigrate_audio_posts"])
def test_a_call_for_the_whole_table_is_refused_on_a_full_one(database_at: DatabaseAt, function: str) -> None:
    options = database_at(PREPARE if function == "migrate_audio_posts" else MIGRATE)
    if function == "migrate_audio_posts":
        apply_before_backfill(options)
    else:
        make_revert_functions(options)
    limit = {"tracks_posts_separation.whole_table_limit_rows": "200"}
    with owner_session(options, limit) as connection, connection.cursor() as cursor:
        call = psycopg2.sql.Identifier("tracks_posts_separation", function)
        with pytest.raises(psycopg2.errors.RaiseException) as refused:
            cursor.execute(psycopg2.sql.SQL("SELECT {}(NULL, NULL)").format(call))
        assert "more than 200 posts are left: too many for one transaction" in str(refused.value)
        assert "ansible-playbook migrate.yml" in (refused.value.diag.message_hint or "")
        cursor.execute(
            psycopg2.sql.SQL("SELECT rows_moved FROM {}(NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff')").format(call)
        )
        assert cursor.fetchone() == (300,)


def test_ranges_have_an_open_lower_and_a_closed_upper_bound(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    apply_before_backfill(options)
    keys = [row[0] for row in query(options, "SELECT id::text FROM public.posts WHERE post_type = 'audio' ORDER BY id")]
    call = "SELECT rows_moved FROM tracks_posts_separation.migrate_audio_posts(%s, %s)"
    assert value(options, call, (None, keys[0])) == 1
    assert value(options, call, (keys[0], keys[2])) == 2
    assert value(options, call, (keys[0], keys[2])) == 0
    assert value(options, call, (keys[2], keys[2])) == 0
    assert value(options, call, (keys[2], None)) == 297


@pytest.mark.parametrize("function", ["migrate_audio_posts", "unmigrate_audio_posts"])
def test_a_batch_takes_the_first_rows_of_its_range_and_says_where_it_ended(
    database_at: DatabaseAt, function: str
) -> None:
    options = database_at(PREPARE if function == "migrate_audio_posts" else MIGRATE)
    if function == "migrate_audio_posts":
        apply_before_backfill(options)
        query(options, "DELETE FROM tracks_posts_separation.exception")
    else:
        make_revert_functions(options)
    keys = [row[0] for row in query(options, "SELECT id::text FROM public.posts WHERE post_type = 'audio' ORDER BY id")]
    call = f"SELECT rows_moved, last_key::text FROM tracks_posts_separation.{function}(%s, %s, %s)"
    assert query(options, call, (None, None, 7)) == [(7, keys[6])]
    assert query(options, call, (keys[6], keys[10], 4)) == [(4, keys[10])]
    # What is done is not counted, and not where the batch ends.
    assert query(options, call, (None, keys[20], 5)) == [(5, keys[15])]
    assert query(options, call, (keys[15], keys[20], 6)) == [(5, None)]
    assert query(options, call, (None, keys[20], 5)) == [(0, None)]


def test_exceptions_are_left_aside_by_a_batch_with_a_limit(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    apply_before_backfill(options)
    listed = [
        row[0] for row in query(options, "SELECT place_and_post FROM tracks_posts_separation.exception ORDER BY 1")
    ]
    left = "SELECT id::text FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL ORDER BY id"
    call = "SELECT rows_moved, last_key::text FROM tracks_posts_separation.{}(%s, %s, %s)"
    assert len(listed) > 3
    assert query(options, call.format("migrate_audio_posts"), (None, None, 1000)) == [(300 - len(listed), None)]
    assert [row[0] for row in query(options, left)] == sorted(key[5:] for key in listed)
    assert query(options, call.format("migrate_exceptions"), (None, None, 2)) == [(2, listed[1])]
    assert query(options, call.format("migrate_exceptions"), (listed[1], None, 1000)) == [(len(listed) - 2, None)]
    assert query(options, left) == []
    assert_sound_after_migration_2(options)


def test_the_range_includes_the_lowest_and_highest_possible_id(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    user = make_user(options)
    for key in ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"):
        with owner_session(options) as connection:
            execute(connection, "SET session_replication_role = replica")
            execute(connection, INSERT_POST, post_values(user, f"https://cdn.example.org/{key}.mp3", id=key))
    apply(options, MIGRATE)
    assert value(options, "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL") == 0


def test_an_invalid_index_of_an_aborted_attempt_is_built_again(server: Server, database: Options) -> None:
    superuser = {**database, "user": "supabase_admin"}
    with owner_session(database) as connection:
        for step in steps_of(PREPARE):
            run_step(connection, step)
            if step.kind == "concurrently":
                break
    query(superuser, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.idx_posts_track_id'::regclass")
    apply(database, PREPARE)
    assert one_row(database, migration(PREPARE)["checks"][1]["query"])["is_valid"] is True


@pytest.mark.parametrize(
    ("version", "existing"),
    [
        (PREPARE, "CREATE INDEX idx_posts_track_id ON public.posts (created_at)"),
        (FINALIZE, "CREATE INDEX idx_tracks_created_at ON public.tracks (created_at)"),
    ],
)
def test_an_index_of_our_name_with_another_definition_stops_the_file(
    database: Options, version: str, existing: str
) -> None:
    query(database, existing)
    with pytest.raises(psycopg2.errors.RaiseException, match="exists with another definition: CREATE INDEX") as refused:
        apply(database, *[each for each in VERSIONS if each <= version])
    assert "Rename the existing one (ALTER INDEX public.idx_" in (refused.value.diag.message_hint or "")


def test_what_a_deployment_has_already_is_kept_by_the_revert(server: Server, empty_database: Options) -> None:
    load_demo(empty_database, 30)
    query(empty_database, "ALTER TABLE public.tracks ADD COLUMN file_size integer, ADD COLUMN mime_type text")
    query(empty_database, "CREATE INDEX idx_tracks_user_id ON public.tracks (user_id)")
    query(empty_database, "COMMENT ON COLUMN public.posts.audio_url IS 'where the song is'")
    before = schema_text(server, empty_database), catalogue(empty_database)
    apply(empty_database, *VERSIONS)
    revert(empty_database, *VERSIONS)
    query(empty_database, "DROP SCHEMA IF EXISTS tracks_posts_separation_kept CASCADE")
    assert (schema_text(server, empty_database), catalogue(empty_database)) == before


def test_the_key_to_swap_must_have_its_usual_name(database_at: DatabaseAt) -> None:
    options = database_at(MIGRATE)
    query(options, "ALTER TABLE public.playlist_tracks RENAME CONSTRAINT playlist_tracks_track_id_fkey TO old_key")
    with pytest.raises(psycopg2.errors.RaiseException, match="no key playlist_tracks_track_id_fkey to swap") as refused:
        apply(options, PLAYLISTS)
    assert "RENAME CONSTRAINT" in (refused.value.diag.message_hint or "")


@pytest.mark.parametrize("with_check", [True, False])
@pytest.mark.parametrize("with_keys", [True, False])
def test_every_kind_of_deployment_is_migrated(empty_database: Options, with_check: bool, with_keys: bool) -> None:
    load_demo(empty_database, 100, user_keys=with_keys, audio_fields_check=with_check)
    before = posts_without_track_id(empty_database)
    apply(empty_database, *VERSIONS)
    assert posts_without_track_id(empty_database) == before
    assert (
        value(empty_database, "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL") == 0
    )
    definition = query(
        empty_database,
        "SELECT pg_get_constraintdef(oid), convalidated FROM pg_constraint WHERE conname = 'posts_audio_fields_check'",
    )
    assert bool(definition) == with_check
    if with_check:
        assert "track_id IS NOT NULL" in definition[0][0]
        assert definition[0][1]


@pytest.mark.parametrize("what", ["blank", "without profile"])
def test_posts_that_cannot_move_stop_migration_2_and_are_named(empty_database: Options, what: str) -> None:
    load_demo(empty_database, 30, user_keys=False)
    apply(empty_database, PREPARE)
    superuser = {**empty_database, "user": "supabase_admin"}
    post = value(empty_database, "SELECT id FROM public.posts WHERE post_type = 'audio' ORDER BY id LIMIT 1")
    change = "audio_url = ' '" if what == "blank" else "user_id = gen_random_uuid()"
    query(
        superuser,
        "SET session_replication_role = replica; UPDATE public.posts SET " + change + " WHERE id = %s",
        (post,),
    )
    with pytest.raises(psycopg2.errors.RaiseException) as refused:
        apply(empty_database, MIGRATE)
    assert f"1 audio posts have no track, for example {{{post}}}" in str(refused.value)
    assert "blank audio_url, or their user has no profile" in (refused.value.diag.message_hint or "")
    assert (
        value(empty_database, "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL") == 1
    )


def test_nobody_but_the_owner_can_use_the_helper_schema(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    for role in ("anon", "authenticated", "service_role"):
        assert not value(options, "SELECT has_schema_privilege(%s, 'tracks_posts_separation', 'USAGE')", (role,))
        assert (
            query(
                options,
                "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'tracks_posts_separation'::regnamespace "
                "AND has_function_privilege(%s, oid, 'EXECUTE')",
                (role,),
            )
            == []
        )
        assert (
            query(
                options,
                "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'tracks_posts_separation'::regnamespace "
                "AND relkind IN ('r', 'v') AND has_table_privilege(%s, oid, 'SELECT, INSERT, UPDATE, DELETE')",
                (role,),
            )
            == []
        )


def test_definer_functions_pin_their_search_path(database_at: DatabaseAt) -> None:
    options = database_at(FINALIZE)
    unsafe = query(
        options,
        "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'tracks_posts_separation'::regnamespace "
        "AND prosecdef AND NOT coalesce(proconfig, '{}') && ARRAY['search_path=pg_catalog, pg_temp',"
        " 'search_path=pg_catalog, tracks_posts_separation, pg_temp']",
    )
    assert unsafe == []
