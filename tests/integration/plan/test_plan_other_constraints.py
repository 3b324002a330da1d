"""Constraints and collations that the demo does not have: deferrable ones, keys with options, files by case."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg2
import pytest
from ansible.module_utils.runbook.embedded.binaries import locate
from ansible.module_utils.runbook.errors import RunbookError
from application import (
    add_entry,
    archived,
    assert_sound_after_migration_3,
    entries,
    execute,
    failing_checks,
    insert_post,
    make_playlist,
    make_user,
    track,
    track_of,
)
from plan_sql import MIGRATE, PLAYLISTS, PREPARE, VERSIONS, apply, migrate_offline, owner_session, revert, rows, table
from support.fixtures import POSTGRES
from support.servers import Options, Server, application_session, load_demo, query, running_server, value

DatabaseAt = Callable[[str], Options]
ONE, TWO = "https://cdn.example.org/one.mp3", "https://cdn.example.org/two.mp3"
KEY = "playlist_tracks_track_id_fkey"

UNIQUE_POSITIONS = """
    UPDATE public.playlist_tracks AS e SET position = n.place FROM (
        SELECT id, row_number() OVER (PARTITION BY playlist_id ORDER BY position, id) AS place
        FROM public.playlist_tracks
    ) AS n WHERE n.id = e.id
"""
#: What a deployment may have promised itself about the places of a playlist.
PLACES = {
    "deferrable": "ADD CONSTRAINT places UNIQUE (playlist_id, position) DEFERRABLE",
    "deferred": "ADD CONSTRAINT places UNIQUE (playlist_id, position) DEFERRABLE INITIALLY DEFERRED",
    "immediate": "ADD CONSTRAINT places UNIQUE (playlist_id, position)",
    "exclusion": "ADD CONSTRAINT places EXCLUDE USING btree (playlist_id WITH =, position WITH =)"
    " DEFERRABLE INITIALLY DEFERRED",
    "all of it": (
        "ADD CONSTRAINT places UNIQUE (playlist_id, position) DEFERRABLE INITIALLY DEFERRED,"
        " DROP CONSTRAINT playlist_tracks_playlist_id_track_id_key,"
        " ADD CONSTRAINT playlist_tracks_playlist_id_track_id_key UNIQUE (playlist_id, track_id)"
        " DEFERRABLE INITIALLY DEFERRED,"
        " DROP CONSTRAINT playlist_tracks_playlist_id_fkey, ADD CONSTRAINT playlist_tracks_playlist_id_fkey"
        " FOREIGN KEY (playlist_id) REFERENCES public.playlists (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"
    ),
}


def change(options: Options, *statements: str) -> None:
    for statement in statements:
        query(options, statement)


@pytest.mark.parametrize("places", PLACES)
def test_playlists_with_other_constraints_go_forward_and_back(database: Options, places: str) -> None:
    change(database, UNIQUE_POSITIONS, f"ALTER TABLE public.playlist_tracks {PLACES[places]}")
    user = make_user(database)
    with owner_session(database) as session:
        post, _, other = (insert_post_before(session, user, file) for file in (ONE, ONE, TWO))
        repost = _
        playlist = make_playlist(database, user)
        for place, one in enumerate((post, repost)):
            add_entry(session, playlist, one, place)
    before = table(database, "public.playlist_tracks")
    apply(database, *VERSIONS)
    assert failing_checks(database, PLAYLISTS) == []
    assert entries(database, playlist) == [(post, 0)]
    # Somebody takes the place of the entry that was archived.
    with application_session(database, user) as session:
        add_entry(session, playlist, other, 1)
    revert(database, *VERSIONS)
    after = table(database, "public.playlist_tracks")
    kept = query(
        database,
        "SELECT row_data ->> 'id', row_data ->> 'stays_because' FROM"
        " tracks_posts_separation_kept.archive WHERE table_name = 'public.playlist_tracks'",
    )
    missing = {str(key) for key in before.keys() - after.keys()}
    assert len(missing) == 1
    assert {key for key, _ in kept} == missing
    assert kept[0][1] == "the constraint places refuses it"
    assert {key: after.get(key) for key in before if str(key) not in missing} == {
        key: text for key, text in before.items() if str(key) not in missing
    }
    apply(database, *VERSIONS)
    assert failing_checks(database, PLAYLISTS) == []


def insert_post_before(session: object, user: str, file: str) -> str:
    """Before migration 1: posts have no track_id yet."""
    ((post,),) = execute(
        session,
        "INSERT INTO public.posts (user_id, content, post_type, audio_url, audio_filename)"
        " VALUES (%s, 'x', 'audio', %s, 'x.mp3') RETURNING id::text",
        (user, file),
    )
    return str(post)


def test_a_deferrable_constraint_on_tracks_holds_for_what_a_batch_inserts(database: Options) -> None:
    """Under the replica role nobody would look."""
    apply(database, PREPARE)
    change(
        database, "ALTER TABLE public.tracks ADD CONSTRAINT once UNIQUE (user_id, title) DEFERRABLE INITIALLY DEFERRED"
    )
    user = make_user(database)
    superuser = {**database, "user": "supabase_admin"}
    for file in (ONE, TWO):
        query(
            superuser,
            "SET session_replication_role = replica; INSERT INTO public.posts (user_id, content, post_type, audio_url,"
            f" audio_filename) VALUES ('{user}', 'x', 'audio', '{file}', 'same.mp3')",
        )
    with pytest.raises(psycopg2.errors.UniqueViolation, match="once"):
        apply(database, MIGRATE)


# ------------------------------------------------------------------ the key

OPTIONS = [
    "ON UPDATE CASCADE ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED",
    "MATCH FULL ON DELETE CASCADE",
    "ON UPDATE SET NULL ON DELETE SET NULL (track_id)",
    "ON UPDATE RESTRICT ON DELETE SET DEFAULT DEFERRABLE",
    "",
]


def make_key(options: Options, given: str) -> None:
    change(
        options,
        "ALTER TABLE public.playlist_tracks ALTER track_id DROP NOT NULL",
        f"ALTER TABLE public.playlist_tracks DROP CONSTRAINT {KEY}",
        f"ALTER TABLE public.playlist_tracks ADD CONSTRAINT {KEY} FOREIGN KEY (track_id)"
        f" REFERENCES public.posts (id) {given}",
        f"COMMENT ON CONSTRAINT {KEY} ON public.playlist_tracks IS 'do not touch'",
    )


def key_of(options: Options) -> tuple[str, bool, str]:
    return query(
        options,
        "SELECT pg_get_constraintdef(oid), convalidated, obj_description(oid, 'pg_constraint') FROM pg_constraint"
        f" WHERE conname = '{KEY}'",
    )[0]


@pytest.mark.parametrize("given", OPTIONS)
def test_the_key_keeps_its_options_forward_and_back(database: Options, given: str) -> None:
    make_key(database, given)
    change(
        database,
        "UPDATE public.playlist_tracks SET track_id = NULL WHERE id = (SELECT min(id::text)::uuid FROM"
        " public.playlist_tracks)",
    )
    before, nulls = key_of(database), "SELECT count(*) FROM public.playlist_tracks WHERE track_id IS NULL"
    apply(database, *VERSIONS)
    definition, is_valid, remark = key_of(database)
    assert definition == before[0].replace("REFERENCES posts(id)", "REFERENCES tracks(id)")
    assert (is_valid, remark) == (True, "do not touch")
    assert failing_checks(database, PLAYLISTS) == []
    assert failing_checks(database) == []
    assert value(database, nulls) == 1
    revert(database, *VERSIONS)
    assert key_of(database) == before
    assert value(database, nulls) == 1


def test_a_key_that_is_not_enforced_is_refused_before_anything_is_changed(server: Server, database: Options) -> None:
    if server.major < 18:
        pytest.skip("PostgreSQL 18 has such keys")
    assert rows(database, "dirty_playlist_key") == []
    make_key(database, "NOT ENFORCED")
    assert [name for name, _ in rows(database, "dirty_playlist_key")] == [KEY]


def test_a_key_that_was_not_valid_is_not_valid_again(database: Options) -> None:
    make_key(database, "ON DELETE CASCADE NOT VALID")
    before = key_of(database)
    apply(database, *VERSIONS)
    assert key_of(database)[1]
    revert(database, *VERSIONS)
    assert key_of(database) == before
    assert not before[1]


@pytest.mark.parametrize("given", ["ON DELETE RESTRICT", "ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED"])
def test_a_delete_that_was_refused_is_refused(database: Options, given: str) -> None:
    make_key(database, given)
    apply(database, *VERSIONS)
    user = make_user(database)
    playlist = make_playlist(database, user)
    with application_session(database, user) as session:
        post, _ = insert_post(session, user, ONE)
        add_entry(session, playlist, post)
        with pytest.raises(psycopg2.errors.IntegrityError, match=KEY):
            execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
        assert (track_of(database, post), entries(database, playlist)) == (post, [(post, 0)])
        # To make it text was never refused: such an entry has no track, and is kept in the archive.
        execute(
            session,
            "UPDATE public.posts SET post_type = 'text', audio_url = NULL, audio_filename = NULL WHERE id = %s",
            (post,),
        )
    assert (track(database, post), entries(database, playlist)) == (None, [])
    assert len(archived(database, "entry_of_deleted_track")) == 1


def test_entries_lose_their_track_where_the_key_says_so(database: Options) -> None:
    make_key(database, "ON DELETE SET NULL")
    apply(database, *VERSIONS)
    user = make_user(database)
    playlist = make_playlist(database, user)
    with application_session(database, user) as session:
        post, _ = insert_post(session, user, ONE)
        add_entry(session, playlist, post)
        execute(session, "DELETE FROM public.posts WHERE id = %s", (post,))
    assert entries(database, playlist) == [(None, 0)]
    assert archived(database, "entry_of_deleted_track") == []
    assert_sound_after_migration_3(database)


@pytest.mark.parametrize("given", ["NO INHERIT", "NO INHERIT NOT VALID"])
def test_the_check_of_the_audio_fields_keeps_its_options(database: Options, given: str) -> None:
    of_check = (
        "SELECT pg_get_constraintdef(oid), connoinherit, convalidated, obj_description(oid, 'pg_constraint')"
        " FROM pg_constraint WHERE conname = 'posts_audio_fields_check'"
    )
    change(
        database,
        "ALTER TABLE public.posts DROP CONSTRAINT posts_audio_fields_check",
        "ALTER TABLE public.posts ADD CONSTRAINT posts_audio_fields_check CHECK"
        f" (post_type <> 'audio' OR audio_url IS NOT NULL) {given}",
        "COMMENT ON CONSTRAINT posts_audio_fields_check ON public.posts IS 'old'",
    )
    before = query(database, of_check)
    apply(database, PREPARE)
    ((definition, *others),) = query(database, of_check)
    assert others == list(before[0][1:])
    assert "track_id IS NOT NULL" in definition
    revert(database, PREPARE)
    assert query(database, of_check) == before


# ------------------------------------------------------------------ bytes

CASELESS = "CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
#: The columns whose texts are files, names and titles; one of them at a time has it, or all.
COLUMNS = {
    "files": [("posts", "audio_url"), ("tracks", "file_url")],
    "of posts": [("posts", "audio_url")],
    "of tracks": [("tracks", "file_url")],
    "all texts": [
        ("posts", "audio_url"), ("posts", "audio_filename"), ("posts", "audio_mime_type"), ("posts", "content"),
        ("tracks", "file_url"), ("tracks", "title"), ("tracks", "description"),
    ],
}  # fmt: skip
OTHER_FILE = (
    "SELECT count(*) FROM public.posts p JOIN public.tracks t ON t.id = p.track_id WHERE p.post_type = 'audio'"
    ' AND p.audio_url COLLATE "C" <> t.file_url COLLATE "C"'
)


def without_case(options: Options, columns: str) -> None:
    change(
        options,
        *(f"ALTER TABLE public.{of} ALTER {name} TYPE text COLLATE public.ci" for of, name in COLUMNS[columns]),
    )


@pytest.fixture(scope="module")
def with_icu() -> Iterator[tuple[Server, str]]:
    """A server whose collations can be nondeterministic, and a template of the demo's rows."""
    for major in (POSTGRES, 15, 16, 18):
        try:
            locate(major, "")
        except RunbookError:
            continue
        with running_server(major) as running:
            options = running.create_database()
            try:
                query(options, CASELESS)
            except psycopg2.errors.FeatureNotSupported:
                continue
            load_demo(options, 100)
            yield running, str(options["dbname"])
            return
    pytest.skip("no installed server has ICU")


@pytest.fixture
def icu_database(with_icu: tuple[Server, str]) -> Iterator[Options]:
    server, template = with_icu
    options = server.create_database(template)
    yield options
    server.drop_database(options)


@pytest.mark.parametrize(("columns", "offline"), [("files", True), *((name, False) for name in COLUMNS)])
def test_files_are_compared_by_their_bytes(icu_database: Options, columns: str, offline: bool) -> None:
    database = icu_database
    without_case(database, columns)
    user = make_user(database)
    playlist = make_playlist(database, user)
    files = ("https://cdn.example.org/A.mp3", "https://cdn.example.org/a.mp3", "https://cdn.example.org/a.mp3")
    with owner_session(database) as session:
        upper, lower, again = (insert_post_before(session, user, file) for file in files)
        add_entry(session, playlist, lower)
        add_entry(session, playlist, again, 1)
    execute_all = "SELECT id, to_jsonb(p) - 'track_id' FROM public.posts AS p ORDER BY id"
    posts = query(database, execute_all)
    apply(database, PREPARE)
    if offline:
        migrate_offline(database)
    else:
        apply(database, MIGRATE)
    assert value(database, OTHER_FILE) == 0
    assert [track_of(database, post) for post in (upper, lower, again)] == [upper, lower, lower]
    assert failing_checks(database, MIGRATE) == []
    apply(database, *VERSIONS[2:])
    with application_session(database, user) as session:
        new, given = insert_post(session, user, "https://cdn.example.org/a.MP3")
        assert given == new
        execute(session, "UPDATE public.posts SET audio_url = 'https://cdn.example.org/A.MP3' WHERE id = %s", (new,))
    assert str(track(database, new)["file_url"]).endswith("/A.MP3")
    assert value(database, OTHER_FILE) == 0
    assert failing_checks(database) == []
    query(database, "DELETE FROM public.posts WHERE id = %s", (new,))
    # A check sees what it must: the same file to the collation, other bytes.
    query(
        {**database, "user": "supabase_admin"},
        "SET session_replication_role = replica;"
        f" UPDATE public.tracks SET file_url = replace(file_url COLLATE \"C\", 'A.mp3', 'a.mp3') WHERE id = '{upper}'",
    )
    assert "track_data" in " ".join(failing_checks(database, MIGRATE))
    query(
        {**database, "user": "supabase_admin"},
        "SET session_replication_role = replica;"
        f" UPDATE public.tracks SET file_url = replace(file_url COLLATE \"C\", 'a.mp3', 'A.mp3') WHERE id = '{upper}'",
    )
    revert(database, *VERSIONS)
    assert query(database, execute_all) == posts
    apply(database, *VERSIONS)
    assert value(database, OTHER_FILE) == 0


def test_a_file_is_found_through_its_index_whatever_the_collation(icu_database: Options) -> None:
    database = icu_database
    without_case(database, "files")
    apply(database, *VERSIONS)
    for table_name, column in (("posts", "audio_url"), ("tracks", "file_url")):
        with owner_session(database) as session:
            execute(session, "SET enable_seqscan = off; SET enable_bitmapscan = off")
            plan = execute(
                session,
                f"EXPLAIN SELECT FROM public.{table_name} WHERE user_id = gen_random_uuid() AND"
                f' hashtextextended({column} COLLATE "C", 0) = hashtextextended(\'x\' COLLATE "C", 0)'
                + (" AND post_type = 'audio'" if table_name == "posts" else ""),
            )
        assert f"tracks_posts_separation_{table_name}_file" in str(plan)
