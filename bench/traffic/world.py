"""What the generator knows: who there is, what they own, and which rows it touched.

Users are dealt into groups, and a write takes one group for itself. So no two writes of the generator race for the
same parent row: what fails was made to fail by something else. A group is not bound to a connection; while one write
waits, the others go on, as with the connection pool of the API.
"""

from __future__ import annotations

import random
import threading
import zlib
from dataclasses import dataclass, field
from typing import Any

from .sessions import Observer

GROUPS = 24
#: Deleting an account of more posts than this is no everyday request.
SMALL_ACCOUNT_POSTS = 200
SAMPLED_POSTS = 20000


@dataclass
class Post:
    """An own post.

    ``shared``: its file is, or was, another post's too. ``moved``: it got another file while it was shared; the track
    under its id may be the reposts' by now, so that no application can say by this id which one it means.
    """

    id: str
    user: str
    file: str | None
    shared: bool = False
    moved: bool = False


@dataclass
class Group:
    """What the users of one group own. Whoever holds the lock may write for them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: list[str] = field(default_factory=list)
    small_users: list[str] = field(default_factory=list)
    posts: dict[str, Post] = field(default_factory=dict)
    playlists: dict[str, str] = field(default_factory=dict)
    entries: dict[str, list[str]] = field(default_factory=dict)
    tracks: dict[str, str] = field(default_factory=dict)
    new_ids: list[str] = field(default_factory=list)

    def remove_post(self, post: str) -> None:
        """Forget a post, and that playlists of the group hold it."""
        self.posts.pop(post, None)
        for held in self.entries.values():
            if post in held:
                held.remove(post)

    def remove_user(self, user: str) -> None:
        """Forget an account with everything it owns."""
        self.users.remove(user)
        self.small_users.remove(user)
        for post in [post.id for post in self.posts.values() if post.user == user]:
            self.remove_post(post)
        for playlist in [playlist for playlist, owner in self.playlists.items() if owner == user]:
            del self.playlists[playlist]
            self.entries.pop(playlist, None)
        for track in [track for track, owner in self.tracks.items() if owner == user]:
            del self.tracks[track]


class Ledger:
    """The keys of all rows that the generator wrote, or tried to: for the invariants.

    An entry that was made stands with its playlist and the id that was sent, separated by spaces. ``posts_reposting``
    are posts that were a repost for a while, or gave up a file that others share. A removal that failed stands like an
    entry that was made: with the connection lost, nobody knows whether it was committed.
    """

    KINDS = (
        "posts_made", "posts_edited", "posts_deleted", "posts_reposting",
        "users_made", "users_deleted", "tracks_made", "tracks_edited",
        "playlists_made", "playlists_deleted", "entries_made", "entries_removed", "removals_failed", "deletions_failed",
    )  # fmt: skip

    def __init__(self) -> None:
        self.keys: dict[str, set[str]] = {kind: set() for kind in self.KINDS}
        self._lock = threading.Lock()

    def note(self, kind: str, *keys: str) -> None:
        with self._lock:
            self.keys[kind].update(keys)

    def has(self, kind: str, key: str) -> bool:
        return key in self.keys[kind]

    def as_lists(self) -> dict[str, list[str]]:
        with self._lock:
            return {kind: sorted(keys) for kind, keys in self.keys.items()}


class World:
    """Everything the generator knows about the database."""

    def __init__(self, observer: Observer, seed: int) -> None:
        self.observer = observer
        self.ledger = Ledger()
        self.groups = [Group() for _ in range(GROUPS)]
        self.deletions = threading.Lock()
        self.versions: set[str] = set()
        self._load(seed)
        #: For reads: everybody's, whether they are still there or not.
        self.all_users = [user for group in self.groups for user in group.users]
        self.all_posts = [post for group in self.groups for post in group.posts]
        self.all_playlists = [playlist for group in self.groups for playlist in group.playlists]

    def group_of(self, user: str) -> Group:
        return self.groups[zlib.crc32(user.encode()) % GROUPS]

    def _load(self, seed: int) -> None:
        total = 0
        for user, posts in self.observer.ask("users"):
            group = self.group_of(user)
            group.users.append(user)
            total += posts
            if posts <= SMALL_ACCOUNT_POSTS:
                group.small_users.append(user)
        percent = min(100.0, 100.0 * SAMPLED_POSTS / max(total, 1))
        for post, user, kind, file in self.observer.ask("posts", percent=percent, seed=seed):
            self.group_of(user).posts[post] = Post(post, user, file if kind == "audio" else None)
        for post, user in self.observer.ask("shared_files"):
            if post in self.group_of(user).posts:
                self.group_of(user).posts[post].shared = True
        for playlist, user in self.observer.ask("playlists", seed=seed):
            self.group_of(user).playlists[playlist] = user
        wanted = [playlist for group in self.groups for playlist in group.playlists]
        held: dict[str, list[str]] = {playlist: [] for playlist in wanted}
        for playlist, track in self.observer.ask("entries", playlists=wanted):
            held[playlist].append(track)
        for group in self.groups:
            group.entries = {playlist: held[playlist] for playlist in group.playlists}

    def take_group(self, choice: random.Random, known: Any = None) -> Group | None:
        """Return a group that nobody writes for, taken; the caller releases its lock.

        :param known: take a group for which this function of the group is true.
        """
        first = choice.randrange(GROUPS)
        for number in range(GROUPS):
            group = self.groups[(first + number) % GROUPS]
            if group.lock.acquire(blocking=False):
                if known is None or known(group):
                    return group
                group.lock.release()
        return None
