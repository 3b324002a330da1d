"""Posts and comments as the old application writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .world import Group, Post

if TYPE_CHECKING:
    from .application import Application


def new_file(app: Application) -> dict[str, object]:
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


def make_post(app: Application, group: Group, user: str, kind: str, values: Mapping[str, object], shared: bool) -> None:
    post = Post(app.new_id(), user, str(values["file"]) if values.get("file") else None, shared)
    app.world.ledger.note("posts_made", post.id)
    if shared:
        app.world.ledger.note("posts_reposting", post.id)
    if app.one_row(kind, user, {**values, "post": post.id, "user": user}):
        group.posts[post.id] = post
        group.new_ids.append(post.id)


def post_old(app: Application, group: Group) -> bool:
    make_post(app, group, app.choice.choice(group.users), "post_old", new_file(app), shared=False)
    return True


def repost_old(app: Application, group: Group) -> bool:
    """Once more a file that the user posted before."""
    known = _own_posts(group)
    if not known:
        return False
    first = app.choice.choice(known)
    first.shared = True
    make_post(app, group, first.user, "post_old", {**new_file(app), "file": first.file}, shared=True)
    return True


def post_text(app: Application, group: Group) -> bool:
    make_post(app, group, app.choice.choice(group.users), "post_text", {"content": "Nothing to hear."}, shared=False)
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
    known = _own_posts(group)
    if not known:
        return False
    post = app.choice.choice(known)
    if post.shared:
        post.moved = True
        app.world.ledger.note("posts_reposting", post.id)
    values = {**new_file(app), "post": post.id}
    others = [other for other in _own_posts(group) if other.user == post.user and other.file != post.file]
    if others and app.choice.random() < 0.3:
        other = app.choice.choice(others)
        other.shared = post.shared = True
        app.world.ledger.note("posts_reposting", post.id)
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
        if not app.one_row("delete_post", post.user, {"post": post.id}):
            app.world.ledger.note("deletions_failed", post.id)
        group.remove_post(post.id)
    finally:
        app.world.deletions.release()
    return True
