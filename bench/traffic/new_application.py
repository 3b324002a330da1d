"""What the new application writes: tracks, and posts that name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .posts import make_post, new_file
from .world import Group

if TYPE_CHECKING:
    from .application import Application


def post_new(app: Application, group: Group) -> bool:
    """The new application: first the track, then the post that names it."""
    user, track, values = app.choice.choice(group.users), app.new_id(), new_file(app)
    app.world.ledger.note("tracks_made", track)
    if app.one_row("track_new", user, {**values, "track": track, "user": user}):
        group.tracks[track] = user
        make_post(app, group, user, "post_new", {"content": values["content"], "track": track}, shared=False)
    return True


def repost_new(app: Application, group: Group) -> bool:
    if not group.tracks:
        return False
    track = app.choice.choice(list(group.tracks))
    make_post(app, group, group.tracks[track], "post_new", {"content": "Again.", "track": track}, shared=False)
    return True


def track_edit(app: Application, group: Group) -> bool:
    """The library of the new application: another title, now and then another file."""
    if not group.tracks:
        return False
    track = app.choice.choice(list(group.tracks))
    app.world.ledger.note("tracks_edited", track)
    kind = "track_replace_file" if app.choice.random() < 0.3 else "track_edit"
    app.one_row(kind, group.tracks[track], {**new_file(app), "track": track})
    return True
