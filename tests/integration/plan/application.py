"""What the application does in these tests: users, posts, playlists; and sessions that wait for each other."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
from ansible.module_utils.runbook.database.foreign_keys import foreign_keys, orphans
from ansible.module_utils.runbook.plain import to_plain
from ansible.module_utils.runbook.verification.catalog_checks import written_tables
from ansible.module_utils.runbook.verification.checks import unmet
from plan_sql import MIGRATE, PLAYLISTS, answer, migration, owner_session, plan
from support.servers import Options, application_session, query, value

Connection = Any
Row = tuple[Any, ...]

#: The writing role: the owner, or a signed-in user under row-level security.
WRITERS = ("owner", "authenticated")

INSERT_POST = """
    INSERT INTO public.posts (id, user_id, content, post_type, audio_url, audio_filename, created_at, updated_at)
    VALUES (%(id)s, %(user)s, %(content)s, %(type)s, %(file)s, %(name)s, %(at)s, %(at)s)
    RETURNING track_id
"""

#: How everything that is left is migrated in one transaction: by one call, or by the calls that the workers make.
WAYS = {
    "at once": "SELECT rows_moved FROM tracks_posts_separation.migrate_audio_posts(NULL, NULL)",
    "as workers": (
        "SELECT rows_moved FROM tracks_posts_separation.migrate_audio_posts(NULL, NULL, 100000);"
        "SELECT rows_moved FROM tracks_posts_separation.migrate_exceptions(NULL, NULL, 100000)"
    ),
}
MIGRATE_ALL = WAYS["at once"]


def make_user(options: Options) -> str:
    """Sign up a user; a trigger creates the profile."""
    user = str(uuid.uuid4())
    query({**options, "user": "supabase_admin"}, "INSERT INTO auth.users (id, email) VALUES (%s, %s)", (user, user))
    return user


def post_values(user: str, file: str | None = "https://cdn.example.org/one.mp3", **given: Any) -> dict[str, Any]:
    usual = {
        "id": str(uuid.uuid4()),
        "user": user,
        "content": "Listen to this",
        "type": "audio" if file else "text",
        "file": file,
        "name": "one.mp3" if file else None,
        "at": "2025-01-01 00:00:00+00",
    }
    return {**usual, **given}


def insert_post(connection: Connection, user: str, *file: str | None, **given: Any) -> tuple[str, str | None]:
    """Insert a post as the old application does; returns its id and the track it got."""
    values = post_values(user, *file, **given)
    with connection.cursor() as cursor:
        cursor.execute(INSERT_POST, values)
        return values["id"], cursor.fetchone()[0]


def execute(connection: Connection, statement: str, parameters: Any = None) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []


def make_playlist(options: Options, user: str) -> str:
    return str(value(options, "INSERT INTO public.playlists (user_id, name) VALUES (%s, 'mine') RETURNING id", (user,)))


def add_entry(connection: Connection, playlist: str, track: str | None, position: int = 0) -> list[Row]:
    return execute(
        connection,
        (
            "INSERT INTO public.playlist_tracks (playlist_id, track_id, position) VALUES (%s, %s, %s) "
            "RETURNING id, track_id"
        ),
        (playlist, track, position),
    )


def entries(options: Options, playlist: str) -> list[Row]:
    return query(
        options,
        "SELECT track_id, position FROM public.playlist_tracks WHERE playlist_id = %s ORDER BY position",
        (playlist,),
    )


def track_of(options: Options, post: str) -> str | None:
    found = query(options, "SELECT track_id FROM public.posts WHERE id = %s", (post,))
    return found[0][0] if found else None


def track(options: Options, track_id: str | None) -> dict[str, Any] | None:
    found = query(options, "SELECT to_jsonb(t) FROM public.tracks AS t WHERE id = %s", (track_id,))
    return dict(found[0][0]) if found else None


def tracks_of_user(options: Options, user: str) -> list[Row]:
    return query(options, "SELECT id, file_url FROM public.tracks WHERE user_id = %s ORDER BY created_at, id", (user,))


def archived(options: Options, reason: str) -> list[dict[str, Any]]:
    return [
        dict(row[0])
        for row in query(
            options, "SELECT row_data FROM tracks_posts_separation.archive WHERE reason = %s ORDER BY id", (reason,)
        )
    ]


def writer_session(options: Options, user: str, writer: str) -> contextlib.AbstractContextManager[Connection]:
    """A session of the user (writer ``authenticated``) or of the tables' owner."""
    return application_session(options, user) if writer == "authenticated" else owner_session(options)


@contextlib.contextmanager
def open_batch(options: Options) -> Iterator[Connection]:
    """A backfill of everything that is left, not committed until the block ends."""
    with owner_session(options) as connection:
        execute(connection, "BEGIN")
        migrate_all(connection)
        yield connection
        execute(connection, "COMMIT")


def migrate_all(connection: Connection) -> None:
    execute(connection, MIGRATE_ALL)


class Background:
    """A call in a thread of its own; ``finish`` returns its result or raises what it raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            self._result = call()
        except psycopg2.Error as error:
            self._error = error

    def running(self) -> bool:
        return self._thread.is_alive()

    def finish(self) -> Any:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the call did not end"
        if self._error is not None:
            raise self._error
        return self._result


def in_background(connection: Connection, statement: str, parameters: Any = None) -> Background:
    return Background(lambda: execute(connection, statement, parameters))


def wait_until_blocked(options: Options, connection: Connection, call: Background) -> list[int]:
    """Return the process ids that a session waits for, as soon as it waits for a lock."""
    pid = connection.info.backend_pid
    deadline = time.monotonic() + 60
    with owner_session({**options, "user": "supabase_admin"}) as observer:
        while time.monotonic() < deadline:
            ((blockers,),) = execute(observer, "SELECT pg_blocking_pids(%s)", (pid,))
            if blockers:
                return list(blockers)
            assert call.running(), f"the statement did not wait: {call.finish()}"
            time.sleep(0.005)
    raise AssertionError("the statement never waited")


def failing_checks(options: Options, *versions: str) -> list[str]:
    """The names of the plan's checks that are not met, after these versions or (none given) all post-migration ones."""
    found = []
    checks = [check for version in versions for check in migration(version)["checks"]] if versions else plan()["checks"]
    for check in checks:
        row = to_plain(answer(options, check))
        if not check["informational"] and unmet(check["expect"], row):
            found.append(f"{check['name']}: {row}")
    return found


def assert_sound_after_migration_2(options: Options) -> None:
    """Everything left is migrated, and every check of the guide's second migration passes; so does every key."""
    with owner_session(options) as connection:
        migrate_all(connection)
    assert failing_checks(options, MIGRATE) == []
    assert broken_keys({**options, "user": "supabase_admin"}) == ([], [])


def broken_keys(options: Options) -> tuple[list[str], list[str]]:
    """Return the foreign keys from and to the written tables that rows break, and those that cannot be read."""
    with owner_session(options) as connection, connection.cursor() as cursor:
        keys = foreign_keys(cursor, written_tables(plan()))
        broken = [key.to_text() for key in keys if key.readable and orphans(cursor, key)[0]]
    return broken, [key.to_text() for key in keys if not key.readable]


def assert_sound_after_migration_3(options: Options) -> None:
    assert_sound_after_migration_2(options)
    assert failing_checks(options, PLAYLISTS) == []
