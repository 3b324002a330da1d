"""One database that was migrated and an unmigrated twin: each operation in the form that either of them knows.

The old application's operations are the same for both. What only the new application says has a translation into the
old schema beside it; a library track's playlist entry has none.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import random
import uuid
from collections.abc import Iterator
from typing import Any

from application import execute as send
from support.servers import Options, connect

POST = (
    "INSERT INTO public.posts (id, user_id, content, post_type, audio_url, audio_filename, audio_mime_type,"
    " audio_file_size, audio_duration, created_at, updated_at)"
    " VALUES (%(post)s, %(user)s, 'by twin', 'audio', %(file)s, %(name)s, %(mime)s, %(size)s, %(duration)s, %(at)s,"
    " %(at)s)"
)
AUDIO = (
    "UPDATE public.posts SET audio_url = %(file)s, audio_filename = %(name)s, audio_mime_type = %(mime)s,"
    " audio_file_size = %(size)s, audio_duration = %(duration)s WHERE id = %(post)s"
)
TRACK = (
    "INSERT INTO public.tracks (id, user_id, title, file_url, duration, created_at, updated_at)"
    " VALUES (%(track)s, %(user)s, 'upload', %(file)s, %(duration)s, %(at)s, %(at)s)"
)
TRACK_DETAILS = "UPDATE public.tracks SET mime_type = %(mime)s, file_size = %(size)s WHERE id = %(track)s"
ENTRY = (
    "INSERT INTO public.playlist_tracks (id, playlist_id, track_id, position, added_at)"
    " VALUES (%(entry)s, %(playlist)s, %(track)s, %(position)s, %(at)s)"
)


class Twins:
    """Performs operations on both. ``edited``: titles that the new application gave, by track."""

    def __init__(self, migrated: Options, twin: Options, seed: int) -> None:
        self.migrated, self.twin = migrated, twin
        self.choice = random.Random(seed)
        self.at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        self.edited: dict[str, str] = {}
        self.touched: set[str] = set()
        self.done: dict[str, int] = {}
        self.library: list[str] = []

    @contextlib.contextmanager
    def sessions(self) -> Iterator[None]:
        """One session per database, for as long as operations are performed."""
        with connect(self.migrated) as migrated, connect(self.twin) as twin:
            self.ours, self.theirs = (functools.partial(send, session) for session in (migrated, twin))
            yield

    def perform(self, operations: int) -> None:
        kinds = [
            self.post, self.repost, self.edit_content, self.edit_file, self.delete_post, self.become_text, self.add,
            self.remove, self.reorder, self.delete_playlist, self.post_new, self.edit_track, self.replace_file,
            self.add_new, self.add_library, self.make_playlist,
        ]  # fmt: skip
        weights = [10, 6, 8, 6, 6, 2, 14, 6, 6, 1, 10, 10, 6, 8, 3, 2]
        for _ in range(operations):
            kind = self.choice.choices(kinds, weights)[0]
            self.at += datetime.timedelta(seconds=1)
            if kind():
                self.done[kind.__name__] = self.done.get(kind.__name__, 0) + 1

    def both(self, statement: str, values: dict[str, Any]) -> bool:
        for tell in (self.ours, self.theirs):
            tell(statement, values)
        return True

    def pick(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """One row of the migrated database, chosen by the seed and not by the order of its rows."""
        rows = sorted(self.ours(statement, values), key=str)
        return self.choice.choice(rows) if rows else None

    def audio(self) -> dict[str, Any]:
        number = self.choice.getrandbits(60)
        return {
            "file": f"https://cdn.example.org/twin/{number}.flac", "name": f"Song {number}.flac", "mime": "audio/flac",
            "size": 1 + number % 9999, "duration": 1 + number % 300, "at": self.at,
        }  # fmt: skip

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.choice.getrandbits(128), version=4))

    def user(self) -> Any:
        return self.pick("SELECT id FROM public.profiles ORDER BY id LIMIT 20")[0]

    def post(self) -> bool:
        return self.both(POST, {**self.audio(), "post": self.uuid(), "user": self.user()})

    def repost(self) -> bool:
        found = self.some_post()
        same = self.theirs("SELECT user_id, audio_url, audio_filename FROM public.posts WHERE id = %s", (found[0],))
        user, file, name = same[0]
        return self.both(POST, {**self.audio(), "post": self.uuid(), "user": user, "file": file, "name": name})

    def some_post(self, *, alone: bool = False) -> Any:
        """An audio post; ``alone``: that shares its track with no other (trap 29 of a shared one is documented)."""
        shared = "NOT EXISTS (SELECT FROM public.posts AS o WHERE o.track_id = p.track_id AND o.id <> p.id)"
        return self.pick(
            "SELECT p.id, p.track_id FROM public.posts AS p WHERE p.post_type = 'audio' AND p.track_id IS NOT NULL"
            f" AND {shared if alone else 'true'} AND p.id > %s ORDER BY p.id LIMIT 8",
            (self.uuid(),),
        ) or self.pick(
            "SELECT p.id, p.track_id FROM public.posts AS p WHERE p.post_type = 'audio' AND p.track_id IS NOT NULL"
            f" AND {shared if alone else 'true'} ORDER BY p.id LIMIT 8"
        )

    def edit_content(self) -> bool:
        post = self.some_post()[0]
        self.touched.add(post)
        return self.both("UPDATE public.posts SET content = 'edited' WHERE id = %(post)s", {"post": post})

    def edit_file(self) -> bool:
        post, track = self.some_post(alone=True)
        self.touched.add(post)
        self.edited.pop(track, None)  # the old application decides about the title again
        return self.both(AUDIO, {**self.audio(), "post": post})

    def delete_post(self) -> bool:
        post, track = self.some_post(alone=True)
        self.edited.pop(track, None)
        return self.both("DELETE FROM public.posts WHERE id = %(post)s", {"post": post})

    def become_text(self) -> bool:
        post, track = self.some_post(alone=True)
        self.touched.add(post)
        self.edited.pop(track, None)
        return self.both(
            "UPDATE public.posts SET post_type = 'text', audio_url = NULL, audio_filename = NULL,"
            " audio_mime_type = NULL, audio_file_size = NULL, audio_duration = NULL WHERE id = %(post)s",
            {"post": post},
        )

    def entry(self, playlist: str, track: Any) -> dict[str, Any]:
        position = self.choice.randrange(1000)
        return {"entry": self.uuid(), "playlist": playlist, "track": track, "position": position, "at": self.at}

    def playlist(self) -> Any:
        return self.pick("SELECT id FROM public.playlists WHERE id > %s ORDER BY id LIMIT 5", (self.uuid(),))

    def add(self) -> bool:
        playlist, post = self.playlist(), self.some_post()
        listed = "SELECT 1 FROM public.playlist_tracks WHERE playlist_id = %s AND track_id = %s"
        if not playlist or self.theirs(listed, (playlist[0], post[0])):
            return False
        if self.ours(listed, (playlist[0], post[1])):
            return False  # the old application gets an error; other tests cover fulfilled requests
        return self.both(ENTRY, self.entry(playlist[0], post[0]))

    def some_entry(self) -> Any:
        return self.pick("SELECT id FROM public.playlist_tracks WHERE id > %s ORDER BY id LIMIT 5", (self.uuid(),))

    def remove(self) -> bool:
        found = self.some_entry()
        return bool(found) and self.both("DELETE FROM public.playlist_tracks WHERE id = %(id)s", {"id": found[0]})

    def reorder(self) -> bool:
        found = self.some_entry()
        return bool(found) and self.both(
            "UPDATE public.playlist_tracks SET position = %(at)s WHERE id = %(id)s",
            {"id": found[0], "at": self.choice.randrange(1000)},
        )

    def make_playlist(self) -> bool:
        return self.both(
            "INSERT INTO public.playlists (id, user_id, name) VALUES (%(id)s, %(user)s, 'twin')",
            {"id": self.uuid(), "user": self.user()},
        )

    def delete_playlist(self) -> bool:
        found = self.playlist()
        return bool(found) and self.both("DELETE FROM public.playlists WHERE id = %(id)s", {"id": found[0]})

    def post_new(self) -> bool:
        values = {**self.audio(), "post": self.uuid(), "track": self.uuid(), "user": self.user()}
        self.both(TRACK, values)
        self.ours(TRACK_DETAILS, values)
        self.ours(
            "INSERT INTO public.posts (id, user_id, content, post_type, track_id, created_at, updated_at)"
            " VALUES (%(post)s, %(user)s, 'by twin', 'audio', %(track)s, %(at)s, %(at)s)",
            values,
        )
        self.theirs(POST, {**values, "name": values["file"].rsplit("/", 1)[1]})
        return True

    def edit_track(self) -> bool:
        post, track = self.some_post()
        title = f"Edited {self.choice.getrandbits(40)}"
        change = "UPDATE public.tracks SET title = %s, genre = 'twin', play_count = 5, updated_at = now() WHERE id = %s"
        for tell in (self.ours, self.theirs):  # the twin has the track only where it is of the library
            tell(change, (title, track))
        if self.ours("SELECT 1 FROM public.posts WHERE id = %s", (track,)):
            self.edited[track] = title
        return bool(post)

    def replace_file(self) -> bool:
        _, track = self.some_post()
        values = {**self.audio(), "track": track}
        self.both(
            "UPDATE public.tracks SET file_url = %(file)s, duration = %(duration)s, updated_at = now()"
            " WHERE id = %(track)s",
            values,
        )
        self.ours(TRACK_DETAILS, values)
        of_track = "SELECT id, audio_url IS NULL FROM public.posts WHERE track_id = %s"
        for post, is_new in self.ours(of_track, (track,)):
            (name,) = self.theirs("SELECT audio_filename FROM public.posts WHERE id = %s", (post,))[0]
            with_name = {**values, "post": post, "name": values["file"].rsplit("/", 1)[1] if is_new else name}
            self.theirs(AUDIO, with_name)
            self.touched.add(post)  # the twin's trigger stamps it; ours must not
        return True

    def add_new(self) -> bool:
        playlist, (post, track) = self.playlist(), self.some_post(alone=True)
        listed = "SELECT 1 FROM public.playlist_tracks WHERE playlist_id = %s AND track_id = %s"
        if not playlist or self.ours(listed, (playlist[0], track)):
            return False
        values = self.entry(playlist[0], track)
        self.ours(ENTRY, values)
        self.theirs(ENTRY, {**values, "track": post})
        return True

    def add_library(self) -> bool:
        playlist, values = self.playlist(), {**self.audio(), "track": self.uuid(), "user": self.user()}
        if not playlist:
            return False
        self.both(TRACK, values)
        entry = self.entry(playlist[0], values["track"])
        self.ours(ENTRY, entry)
        self.library.append(entry["entry"])
        return True
