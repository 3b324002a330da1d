"""What both applications write, each on behalf of one group of users. A function returns whether it did anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import entries
from .entries import playlist_add, playlist_add_track, playlist_remove, playlist_reorder
from .world import Group, Post

if TYPE_CHECKING:
    from .application import Application

__all__ = ["entries", "playlist_add", "playlist_add_track", "playlist_remove", "playlist_reorder", "shares"]

#: The old application. The names are those of the functions below.
OLD: Mapping[str, float] = {
    "post_old": 20, "repost_old": 8, "post_text": 3, "edit_text": 14, "edit_audio_url": 10, "comment": 8,
    "playlist_add": 14, "playlist_remove": 8, "playlist_reorder": 8, "playlist_make": 1.5, "playlist_delete": 1,
    "delete_post": 7, "account_make": 1, "account_delete": 0.5,
}  # fmt: skip
#: From migration 3 on the new one beside it.
NEW: Mapping[str, float] = {"post_new": 14, "repost_new": 4, "playlist_add_track": 8, "track_edit": 4}


def shares(both: bool) -> Mapping[str, float]:
    return {**OLD, **NEW} if both else OLD


def _new_file(app: Application) -> dict[str, object]:
    name = app.choice.getrandbits(64)
    return {
        "file": f"https://cdn.example.org/audio/{name:016x}.mp3",
        "filename": f"Take {name % 1000}.mp3",
        "size": 500000 + name % 9000000,
        "duration": 30 + name % 600,
        "content": f"New under the sun: {name % 100000}",
    }


def _own_posts(group: Group) -> list[Post]:
    """Posts with a file; those that the load made come again, so that it meets its own rows often enough."""
    recent = [group.posts[post] for post in group.new_ids[-20:] if post in group.posts]
    return [post for post in [*group.posts.values(), *recent * 20] if post.file]


def _post(app: Application, group: Group, user: str, kind: str, values: Mapping[str, object], shared: bool) -> None:
    post = Post(app.new_id(), user, str(values["file"]) if values.get("file") else None, shared)
    app.world.ledger.note("posts_made", post.id)
    if app.one_row(kind, user, {**values, "post": post.id, "user": user}):
        group.posts[post.id] = post
        group.new_ids.append(post.id)


def post_old(app: Application, group: Group) -> bool:
    _post(app, group, app.choice.choice(group.users), "post_old", _new_file(app), shared=False)
    return True


def repost_old(app: Application, group: Group) -> bool:
    """Once more a file that the user posted before."""
    known = _own_posts(group)
    if not known:
        return False
    first = app.choice.choice(known)
    first.shared = True
    _post(app, group, first.user, "post_old", {**_new_file(app), "file": first.file}, shared=True)
    return True


def post_text(app: Application, group: Group) -> bool:
    _post(app, group, app.choice.choice(group.users), "post_text", {"content": "Nothing to hear."}, shared=False)
    return True


def edit_text(app: Application, group: Group) -> bool:
    if not group.posts:
        return False
    post = group.posts[app.choice.choice(list(group.posts))]
    app.world.ledger.note("posts_edited", post.id)
    app.one_row("edit_text", post.user, {"post": post.id, "content": f"Edited {app.choice.getrandbits(32)}"})
    return True


def edit_audio_url(app: Application, group: Group) -> bool:
    """Another file for a post: a new one, or one that another post of the user has."""
    known = [post for post in _own_posts(group) if not post.shared]
    if not known:
        return False
    post = app.choice.choice(known)
    values = {**_new_file(app), "post": post.id}
    others = [other for other in _own_posts(group) if other.user == post.user and other.file != post.file]
    if others and app.choice.random() < 0.3:
        other = app.choice.choice(others)
        other.shared = post.shared = True
        values["file"] = other.file
    app.world.ledger.note("posts_edited", post.id)
    if app.one_row("edit_audio_url", post.user, values):
        post.file = str(values["file"])
    return True


def comment(app: Application, group: Group) -> bool:
    if not group.posts:
        return False
    post = app.choice.choice(list(group.posts))
    user = app.choice.choice(group.users)
    app.one_row("comment", user, {"comment": app.new_id(), "post": post, "user": user, "content": "Heard it."})
    return True


def delete_post(app: Application, group: Group) -> bool:
    if not group.posts or not app.world.deletions.acquire(blocking=False):
        return False
    try:
        recent = [post for post in group.new_ids[-20:] if post in group.posts]
        pool = recent if recent and app.choice.random() < 0.5 else list(group.posts)
        post = group.posts[app.choice.choice(pool)]
        app.world.ledger.note("posts_deleted", post.id)
        app.one_row("delete_post", post.user, {"post": post.id})
        group.remove_post(post.id)
    finally:
        app.world.deletions.release()
    return True


def playlist_make(app: Application, group: Group) -> bool:
    user, playlist = app.choice.choice(group.users), app.new_id()
    app.world.ledger.note("playlists_made", playlist)
    if app.one_row("playlist_make", user, {"playlist": playlist, "user": user, "content": "Fresh"}):
        group.playlists[playlist] = user
        group.entries[playlist] = []
    return True


def playlist_delete(app: Application, group: Group) -> bool:
    if not group.playlists or not app.world.deletions.acquire(blocking=False):
        return False
    try:
        playlist = app.choice.choice(list(group.playlists))
        app.world.ledger.note("playlists_deleted", playlist)
        app.one_row("playlist_delete", group.playlists.pop(playlist), {"playlist": playlist})
        group.entries.pop(playlist)
    finally:
        app.world.deletions.release()
    return True


def account_make(app: Application, group: Group) -> bool:
    """The account may belong to any group by its id; the load gives it to this one."""
    user = app.new_id()
    app.world.ledger.note("users_made", user)
    if app.one_row("account_make", None, {"user": user}, service=True):
        group.users.append(user)
        group.small_users.append(user)
    return True


def account_delete(app: Application, group: Group) -> bool:
    if len(group.users) < 3 or not group.small_users or not app.world.deletions.acquire(blocking=False):
        return False
    try:
        user = app.choice.choice(group.small_users)
        app.world.ledger.note("users_deleted", user)
        app.one_row("account_delete", None, {"user": user}, service=True)
        group.remove_user(user)
    finally:
        app.world.deletions.release()
    return True


def post_new(app: Application, group: Group) -> bool:
    """The new application: first the track, then the post that names it."""
    user, track, values = app.choice.choice(group.users), app.new_id(), _new_file(app)
    app.world.ledger.note("tracks_made", track)
    if app.one_row("track_new", user, {**values, "track": track, "user": user}):
        group.tracks[track] = user
        _post(app, group, user, "post_new", {"content": values["content"], "track": track}, shared=False)
    return True


def repost_new(app: Application, group: Group) -> bool:
    if not group.tracks:
        return False
    track = app.choice.choice(list(group.tracks))
    _post(app, group, group.tracks[track], "post_new", {"content": "Again.", "track": track}, shared=False)
    return True


def track_edit(app: Application, group: Group) -> bool:
    """The library of the new application: another title, now and then another file."""
    if not group.tracks:
        return False
    track = app.choice.choice(list(group.tracks))
    app.world.ledger.note("tracks_edited", track)
    kind = "track_replace_file" if app.choice.random() < 0.3 else "track_edit"
    app.one_row(kind, group.tracks[track], {**_new_file(app), "track": track})
    return True
