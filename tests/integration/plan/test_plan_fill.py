"""While posts.track_id is filled it has neither index nor key: what the application sees meanwhile is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from application import (
    WRITERS,
    assert_sound_after_migration_2,
    execute,
    in_background,
    insert_post,
    make_user,
    migrate_all,
    post_values,
    track,
    track_of,
    tracks_of_user,
    wait_until_blocked,
    writer_session,
)
from plan_sql import (
    FINALIZE,
    MIGRATE,
    PLAYLISTS,
    PREPARE,
    VERSIONS,
    apply,
    apply_after_backfill,
    apply_before_backfill,
    catalogue,
    owner_session,
    revert,
    rows,
    schema_text,
    steps_of,
    table,
)
from support.servers import Options, Server, query, value

DatabaseAt = Callable[[str], Options]
ONE, TWO = "https://cdn.example.org/one.mp3", "https://cdn.example.org/two.mp3"
KEY_AND_INDEX = """
    SELECT (SELECT count(*) FROM pg_constraint WHERE conname = 'posts_track_id_fkey'),
        (SELECT count(*) FROM pg_class WHERE relname = 'idx_posts_track_id'),
        (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'A\\_tracks\\_posts\\_separation\\_keep\\_track%')
"""


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def options(database_at: DatabaseAt) -> Options:
    """In the fill, and no post is migrated yet."""
    made = database_at(PREPARE)
    apply_before_backfill(made)
    return made


def upload(options: Options, user: str, file: str = ONE) -> str:
    return str(
        value(
            options,
            "INSERT INTO public.tracks (user_id, title, file_url) VALUES (%s, 'mine', %s) RETURNING id",
            (user, file),
        )
    )


def test_key_and_index_go_for_the_fill_and_come_back(options: Options, database_at: DatabaseAt) -> None:
    assert query(options, KEY_AND_INDEX) == [(0, 0, 2)]
    with owner_session(options) as connection:
        migrate_all(connection)
    apply_after_backfill(options)
    assert query(options, KEY_AND_INDEX) == [(1, 1, 0)]
    assert catalogue(options) == catalogue(database_at(MIGRATE))
    assert query(options, "SELECT name FROM tracks_posts_separation.setting WHERE name LIKE '%fill%'") == []


def test_a_run_with_little_left_to_fill_leaves_the_index_where_it_is(database_at: DatabaseAt) -> None:
    options = database_at(MIGRATE)
    before = query(options, "SELECT oid FROM pg_class WHERE relname = 'idx_posts_track_id'")
    user = make_user(options)
    values = post_values(user, ONE)
    with owner_session(options) as connection:
        execute(connection, "SET session_replication_role = replica")
        execute(
            connection,
            "INSERT INTO public.posts (id, user_id, content, post_type, audio_url, audio_filename)"
            " VALUES (%(id)s, %(user)s, %(content)s, 'audio', %(file)s, %(name)s)",
            values,
        )
    assert rows(options, "remaining_audio_posts") == [(values["id"],)]
    apply(options, MIGRATE)
    assert rows(options, "remaining_audio_posts") == []
    assert track_of(options, values["id"]) == values["id"]
    assert query(options, "SELECT oid FROM pg_class WHERE relname = 'idx_posts_track_id'") == before


def test_what_remains_is_what_the_backfill_moves(options: Options) -> None:
    audio = value(options, "SELECT count(*) FROM public.posts WHERE post_type = 'audio'")
    assert len(rows(options, "remaining_audio_posts")) == audio
    with owner_session(options) as connection:
        execute(connection, "SET session_replication_role = replica")
        execute(
            connection,
            "UPDATE public.posts SET audio_url = ' ' WHERE id = (SELECT min(id::text)::uuid FROM public.posts"
            " WHERE post_type = 'audio')",
        )
    assert len(rows(options, "remaining_audio_posts")) == audio - 1
    with owner_session(options) as connection:
        migrate_all(connection)
    assert rows(options, "remaining_audio_posts") == []


def test_a_track_that_a_post_uses_cannot_be_deleted(options: Options, writer: str) -> None:
    user = make_user(options)
    used, unused = upload(options, user), upload(options, user, TWO)
    with writer_session(options, user, writer) as session:
        insert_post(session, user, ONE)
        with pytest.raises(psycopg2.errors.ForeignKeyViolation) as refused:
            execute(session, "DELETE FROM public.tracks WHERE id = %s", (used,))
        execute(session, "DELETE FROM public.tracks WHERE id = %s", (unused,))
    assert refused.value.diag.constraint_name == "posts_track_id_fkey"
    assert 'violates foreign key constraint "posts_track_id_fkey" on table "posts"' in str(refused.value)
    assert f'Key (id)=({used}) is still referenced from table "posts".' in str(refused.value)
    with owner_session(options) as owner, pytest.raises(psycopg2.errors.ForeignKeyViolation):
        execute(owner, "UPDATE public.tracks SET id = gen_random_uuid() WHERE id = %s", (used,))


@pytest.mark.parametrize("how", ["edited in the library", "new application", "text post"])
def test_a_track_is_kept_for_a_post_that_does_not_share_its_file(options: Options, writer: str, how: str) -> None:
    """Posts are found by the file they share with their track; these are found otherwise."""
    user = make_user(options)
    used = upload(options, user)
    with writer_session(options, user, writer) as session:
        if how == "edited in the library":
            insert_post(session, user, ONE)
            execute(session, "UPDATE public.tracks SET file_url = %s WHERE id = %s", (TWO, used))
        else:
            execute(
                session,
                "INSERT INTO public.posts (user_id, content, post_type, track_id) VALUES (%s, 'new', %s, %s)",
                (user, "text" if how == "text post" else "audio", used),
            )
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="posts_track_id_fkey"):
            execute(session, "DELETE FROM public.tracks WHERE id = %s", (used,))
    assert track(options, used) is not None


def test_a_track_that_was_of_another_file_before_the_fill_is_kept(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    user = make_user(options)
    used = upload(options, user)
    with owner_session(options) as connection:
        insert_post(connection, user, ONE)
        execute(connection, "UPDATE public.tracks SET file_url = %s WHERE id = %s", (TWO, used))
    apply_before_backfill(options)
    with owner_session(options) as connection, pytest.raises(psycopg2.errors.ForeignKeyViolation):
        execute(connection, "DELETE FROM public.tracks WHERE id = %s", (used,))


def test_a_post_waits_for_the_deletion_of_its_track_as_at_the_key(options: Options, writer: str) -> None:
    user = make_user(options)
    used = upload(options, user)
    values: dict[str, Any] = {"user": user, "track": used}
    insert = (
        "INSERT INTO public.posts (user_id, content, post_type, track_id) VALUES (%(user)s, 'new', 'audio', %(track)s)"
    )
    with writer_session(options, user, writer) as one, writer_session(options, user, writer) as two:
        execute(one, "BEGIN")
        execute(one, "DELETE FROM public.tracks WHERE id = %s", (used,))
        call = in_background(two, insert, values)
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, "COMMIT")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="posts_track_id_fkey"):
            call.finish()
    assert query(options, "SELECT 1 FROM public.posts WHERE user_id = %s", (user,)) == []


def test_the_deletion_of_a_track_waits_for_a_post_that_arrives(options: Options, writer: str) -> None:
    user = make_user(options)
    used = upload(options, user)
    with writer_session(options, user, writer) as one, writer_session(options, user, writer) as two:
        execute(one, "BEGIN")
        insert_post(one, user, ONE)
        call = in_background(two, "DELETE FROM public.tracks WHERE id = %s", (used,))
        assert wait_until_blocked(options, two, call) == [one.info.backend_pid]
        execute(one, "COMMIT")
        with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="posts_track_id_fkey"):
            call.finish()
    assert track(options, used) is not None


def test_an_account_goes_with_all_its_posts_and_tracks(options: Options) -> None:
    user = make_user(options)
    upload(options, user, TWO)
    with owner_session(options) as connection:
        for file in (ONE, TWO, ONE):
            insert_post(connection, user, file)
    query({**options, "user": "supabase_admin"}, "DELETE FROM auth.users WHERE id = %s", (user,))
    assert tracks_of_user(options, user) == []
    assert_sound_after_migration_2(options)


def test_tracks_are_not_truncated_under_their_posts(options: Options) -> None:
    with owner_session(options) as connection:
        execute(connection, "ALTER TABLE public.playlist_tracks DISABLE TRIGGER USER")
        with pytest.raises(psycopg2.errors.FeatureNotSupported, match="referenced in a foreign key constraint"):
            execute(connection, "TRUNCATE public.tracks")


def test_no_lookup_of_a_trigger_reads_all_posts(options: Options) -> None:
    """A delete, a changed file or a deleted track must not scan the table while the index does not exist."""
    user = make_user(options)
    with owner_session(options) as connection:
        first, _ = insert_post(connection, user, ONE)
        second, _ = insert_post(connection, user, ONE)
        unused = upload(options, user, TWO)
    superuser = {**options, "user": "supabase_admin"}
    query(superuser, "UPDATE pg_class SET relpages = 100000, reltuples = 5000000 WHERE relname = 'posts'")
    with owner_session(options) as connection:
        before = value(options, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'posts'")
        execute(connection, "UPDATE public.posts SET audio_url = %s WHERE id = %s", (TWO, second))
        execute(connection, "UPDATE public.posts SET audio_url = %s || '3' WHERE id = %s", (TWO, first))
        execute(connection, "DELETE FROM public.posts WHERE id IN (%s, %s)", (first, second))
        execute(connection, "DELETE FROM public.tracks WHERE id = %s", (unused,))
        execute(connection, "SELECT pg_stat_force_next_flush()")
        execute(connection, "SELECT 1")
    assert value(options, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'posts'") == before


def fetched_by_a_batch(options: Options, batch: str, *tables: str) -> tuple[int, ...]:
    """The rows of these tables that one transaction fetches by an index."""
    with owner_session(options) as connection:
        connection.autocommit = False
        execute(connection, "SET LOCAL enable_memoize = off")  # as where few posts are of one user
        execute(connection, batch)
        found = dict(execute(connection, "SELECT relname, idx_tup_fetch FROM pg_stat_xact_user_tables"))
        connection.rollback()
    return tuple(int(found[name]) for name in tables)


def test_an_exception_is_looked_up_by_key_whatever_its_user_has(options: Options) -> None:
    """A user may have most tracks of all, and statistics be from before: not one of them is read for another's sake."""
    user = make_user(options)
    with owner_session(options, {"session_replication_role": "replica"}) as connection:
        execute(connection, "ALTER TABLE public.tracks ALTER COLUMN user_id SET (n_distinct = -1)")
        execute(connection, "ANALYZE public.tracks")  # each user has one, it says
        execute(
            connection,
            "INSERT INTO public.tracks (user_id, title, file_url)"
            " SELECT %s, 'mine', 'https://cdn.example.org/' || n FROM generate_series(1, 2000) AS n",
            (user,),
        )
        for number in range(10):
            insert_post(connection, user, f"https://cdn.example.org/{number + 1}")
        execute(connection, "SELECT tracks_posts_separation.find_exceptions()")
        posts = execute(connection, "SELECT array_agg(id)::text FROM public.posts WHERE user_id = %s", (user,))[0][0]
    batch = f"SELECT tracks_posts_separation.migrate_other_posts('{posts}', false)"
    assert fetched_by_a_batch(options, batch, "tracks") < (100,)
    with owner_session(options) as connection:
        assert execute(connection, batch) == [(10,)]


def test_two_batches_of_reposts_do_not_wait_for_each_other(database_at: DatabaseAt) -> None:
    options = database_at(PREPARE)
    user = make_user(options)
    with owner_session(options) as connection:
        for number in range(40):
            insert_post(connection, user, f"https://cdn.example.org/{number % 10}")
        # As before the triggers were there.
        execute(connection, "SET session_replication_role = replica")
        execute(connection, "UPDATE public.posts SET track_id = NULL WHERE user_id = %s", (user,))
        execute(connection, "DELETE FROM public.tracks WHERE user_id = %s", (user,))
    apply_before_backfill(options)
    query(options, "SELECT tracks_posts_separation.migrate_audio_posts(NULL, NULL, 100000)")
    listed = [row[0] for row in query(options, "SELECT place_and_post FROM tracks_posts_separation.exception")]
    by_place, by_post = sorted(listed), sorted(listed, key=lambda text: text[5:])
    middle = next(n for n in range(len(listed) // 2, len(listed)) if by_place[n - 1][:4] != by_place[n][:4])
    # Cut by the posts' ids both parts would want the same locks.
    assert {text[:4] for text in by_post[:middle]} & {text[:4] for text in by_post[middle:]}
    batch = "SELECT rows_moved FROM tracks_posts_separation.migrate_exceptions(%s, %s, 100000)"
    with owner_session(options) as first, owner_session(options) as second:
        execute(first, "BEGIN")
        assert execute(first, batch, (None, by_place[middle - 1])) == [(middle,)]
        execute(second, "SET lock_timeout = '2s'")
        assert execute(second, batch, (by_place[middle - 1], None)) == [(len(listed) - middle,)]
        execute(first, "COMMIT")
    assert_sound_after_migration_2(options)


@pytest.mark.parametrize("function", ["migrate_exceptions", "move_listed_entries"])
def test_a_batch_of_a_long_list_reads_its_part_of_it(database_at: DatabaseAt, function: str) -> None:
    """Whatever plan is kept: the list may have a million rows, and each batch would read all that are done."""
    options, name = database_at(PREPARE), "exception"
    if function == "migrate_exceptions":
        apply_before_backfill(options)
        columns = "(post_id, track_id, place_and_post) SELECT id, id,"
    else:
        options, name = database_at(PLAYLISTS), "entry_of_repost"
        columns = "(id, place_and_entry) SELECT id,"
    listed = f"INSERT INTO tracks_posts_separation.{name} {columns} lpad((n % 1024)::text, 4, '0') || ' ' || id"
    query(options, f"{listed} FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 5000) AS n) AS made")
    query(options, f"ANALYZE tracks_posts_separation.{name}")
    call = f"SELECT last_key FROM tracks_posts_separation.{function}('1020', NULL, 5)"
    batch = f"SET LOCAL plan_cache_mode = force_generic_plan; {call}"
    assert 5 <= fetched_by_a_batch(options, batch, name)[0] <= 20
    assert str(value(options, call)).startswith("102")


@pytest.mark.parametrize("analyzed", [False, True])
def test_a_batch_after_a_reverse_reads_only_its_tracks_in_the_archive(database_at: DatabaseAt, analyzed: bool) -> None:
    options = database_at(MIGRATE)
    revert(options, MIGRATE)
    query(
        options,
        "INSERT INTO tracks_posts_separation.archive (reason, table_name, row_data)"
        " SELECT 'reverted_track', 'public.tracks', jsonb_build_object('id', gen_random_uuid())"
        " FROM generate_series(1, 20000)",
    )
    if analyzed:
        query(options, "ANALYZE tracks_posts_separation.archive")
    apply_before_backfill(options)
    batch = "SELECT tracks_posts_separation.migrate_audio_posts(NULL, NULL, 20)"
    archive, posts, tracks = fetched_by_a_batch(options, batch, "archive", "posts", "tracks")
    assert 20 <= archive <= 80
    # A few times each, and never all posts for the order of some, or all tracks for each post.
    assert posts <= 200, posts
    assert tracks <= 100, tracks


def test_a_batch_reads_no_accounts_but_those_of_its_posts(options: Options) -> None:
    """The planner estimates a range of keys as a hundredth of the table, and would then read all accounts."""
    users = value(options, "SELECT count(*) FROM public.profiles")
    superuser = {**options, "user": "supabase_admin"}
    query(superuser, "UPDATE pg_class SET relpages = 30, reltuples = 1000000 WHERE relname = 'posts'")
    upto = value(options, "SELECT id FROM public.posts WHERE post_type = 'audio' ORDER BY id OFFSET 1 LIMIT 1")
    batch = f"SELECT rows_moved FROM tracks_posts_separation.migrate_audio_posts('{'0' * 32}', '{upto}')"
    # Each is fetched for the join, and once more to lock it.
    assert fetched_by_a_batch(options, batch, "profiles") <= (4,)
    assert users > 4


@pytest.fixture
def interrupted(options: Options) -> Options:
    """A fill that stopped half-way."""
    middle = value(options, "SELECT id::text FROM public.posts ORDER BY id OFFSET 200 LIMIT 1")
    query(options, "SELECT rows_moved FROM tracks_posts_separation.migrate_audio_posts(NULL, %s)", (middle,))
    return options


def test_an_interrupted_fill_is_reverted_with_index_and_key_in_place(
    server: Server, interrupted: Options, database_at: DatabaseAt
) -> None:
    expected = database_at(PREPARE)
    revert(interrupted, MIGRATE, each_step_twice=True)
    assert query(interrupted, KEY_AND_INDEX) == [(1, 1, 0)]
    assert schema_text(server, interrupted) == schema_text(server, expected)
    for name in ("public.posts", "public.tracks"):
        assert table(interrupted, name) == table(expected, name)


def test_a_restore_in_place_brings_index_and_key_back_in_its_transaction(
    server: Server, interrupted: Options, database_at: DatabaseAt
) -> None:
    """It leaves out the steps that move rows or need to be outside of a transaction."""
    with owner_session(interrupted, {}) as connection:
        execute(connection, "BEGIN")
        for step in steps_of(MIGRATE, "reverted"):
            if not step.data:
                assert step.kind != "concurrently"
                for statement in step.statements:
                    execute(connection, statement)
        execute(connection, "COMMIT")
    assert schema_text(server, interrupted) == schema_text(server, database_at(PREPARE))


def test_an_interrupted_fill_goes_on(interrupted: Options, database_at: DatabaseAt) -> None:
    apply(interrupted, *VERSIONS[1:])
    assert catalogue(interrupted) == catalogue(database_at(FINALIZE))
    assert table(interrupted, "public.posts") == table(database_at(FINALIZE), "public.posts")
