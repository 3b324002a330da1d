"""Playlists and accounts: what owns the rest, and takes it along when it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .world import Group

if TYPE_CHECKING:
    from .application import Application


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
        if not app.one_row("account_delete", None, {"user": user}, service=True):
            app.world.ledger.note("deletions_failed", user)
        group.remove_user(user)
    finally:
        app.world.deletions.release()
    return True
