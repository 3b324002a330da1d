"""One request of the application at a time: which kind, what for, and what its answer must be."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import psycopg2

from . import writes
from .record import Record
from .sessions import Row, Session
from .world import Group, World

#: The migration after which entries point at tracks and the new application may run.
NEW_APPLICATION_AFTER = "20250122000003"

READS: Mapping[str, int] = {
    "feed": 20, "feed_audio": 14, "user_posts": 14, "post_with_comments": 20, "playlist_by_post": 16,
    "posts_of_user": 8, "post_by_id": 8,
}  # fmt: skip
READS_OF_BOTH: Mapping[str, int] = {
    **READS, "playlist_by_post": 4, "playlist_by_function": 8, "playlist_by_track": 8, "feed_by_track": 10,
}  # fmt: skip


class Application:
    """What a worker thread does. ``request`` sends one statement and records it."""

    def __init__(self, world: World, record: Record, session: Session, accounts: Session) -> None:
        self.world = world
        self.record = record
        self.session = session
        self.accounts = accounts
        self.choice = random.Random()  # noqa: S311  set anew for every slot
        self.due: float | None = None

    @property
    def tracks_are_live(self) -> bool:
        return NEW_APPLICATION_AFTER in self.world.versions

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.choice.getrandbits(128), version=4))

    def perform(self, slot: int, seed: int, due: float, write_share: float) -> None:
        """What the slot of this number asks for; the same seed asks for the same kinds."""
        self.choice.seed(seed * 1_000_003 + slot)
        self.due = due
        if self.choice.random() < write_share:
            self._write()
        else:
            self._read()

    def request(
        self, kind: str, user: str | None, values: Mapping[str, Any], *, writes: bool = True, service: bool = False
    ) -> list[Row] | None:
        """Send a statement; return its rows, or None when it failed (which is recorded)."""
        session = self.accounts if service else self.session
        started = self.record.now()
        # What follows the first statement of a request was due when that one ended.
        due, self.due = (self.due if self.due is not None else started), None
        rows: list[Row] | None = None
        try:
            rows = session.send(kind, user, values)
        except psycopg2.Error as error:
            if error.pgcode == "0A000" and kind in session.prepared and _is_stale_plan(error):
                rows = self._prepared_again(kind, user, values)
            else:
                self.record.fails(kind, started, error, values, user)
        self.record.done(kind, writes, due, started, self.record.now())
        return rows

    def one_row(self, kind: str, user: str | None, values: Mapping[str, Any], *, service: bool = False) -> Row | None:
        """A write that must find its row: nobody else writes it."""
        at = self.record.now()
        rows = self.request(kind, user, values, service=service)
        if rows is not None and len(rows) != 1:
            self.record.fails(kind, at, f"{len(rows)} rows instead of 1", values, user)
        return rows[0] if rows else None

    def _prepared_again(self, kind: str, user: str | None, values: Mapping[str, Any]) -> list[Row] | None:
        """As drivers do: let go of the statement, prepare it again, ask again. That must succeed."""
        at = self.record.now()
        try:
            self.session.forget_prepared(kind)
            rows = self.session.send(kind, user, values)
        except psycopg2.Error as error:
            self.record.fails(kind, at, error, values, user)
            return None
        self.record.meets("trap_25")
        return rows

    def _read(self) -> None:
        shares = READS_OF_BOTH if self.tracks_are_live else READS
        kind = self.choice.choices(list(shares), list(shares.values()))[0]
        world = self.world
        if kind.startswith("playlist_") and self.choice.random() < 0.5:
            group = world.take_group(self.choice, lambda group: group.playlists)
            if group is not None:
                try:
                    self._read_own_playlist(kind, group)
                finally:
                    group.lock.release()
                return
        values = {
            "user": self.choice.choice(world.all_users),
            "post": self.choice.choice(world.all_posts),
            "playlist": self.choice.choice(world.all_playlists),
        }
        self.request(kind, self.choice.choice(world.all_users), values, writes=False)

    def _read_own_playlist(self, kind: str, group: Group) -> None:
        """A short list is known in full afterwards: as a screen that was opened anew."""
        playlist = self.choice.choice(list(group.playlists))
        rows = self.request(kind, group.playlists[playlist], {"playlist": playlist}, writes=False)
        if rows is not None and len(rows) < 100:
            group.entries[playlist] = [str(row[3]) for row in rows]

    def _write(self) -> None:
        shares = writes.shares(self.tracks_are_live)
        kind = self.choice.choices(list(shares), list(shares.values()))[0]
        act: Callable[[Application, Group], bool] = getattr(writes, kind)
        group = self.world.take_group(self.choice, lambda group: group.users)
        if group is None:
            raise RuntimeError("every group of users is taken: more connections than groups")
        try:
            # What cannot be done for this group (it has no playlist, say) gives way to what always can.
            if not act(self, group):
                writes.post_old(self, group)
        finally:
            group.lock.release()


def _is_stale_plan(error: psycopg2.Error) -> bool:
    return "cached plan must not change result type" in str(error)
