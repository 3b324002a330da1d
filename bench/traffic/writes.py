"""How often which write comes. Each function acts for one group of users and returns whether it did anything."""

from __future__ import annotations

from collections.abc import Mapping

from .entries import playlist_add, playlist_add_track, playlist_remove, playlist_reorder
from .new_application import post_new, repost_new, track_edit
from .owners import account_delete, account_make, playlist_delete, playlist_make
from .posts import comment, delete_post, edit_audio_url, edit_text, post_old, post_text, repost_old

__all__ = [
    "account_delete", "account_make", "comment", "delete_post", "edit_audio_url", "edit_text", "playlist_add",
    "playlist_add_track", "playlist_delete", "playlist_make", "playlist_remove", "playlist_reorder", "post_new",
    "post_old", "post_text", "repost_new", "repost_old", "shares", "track_edit",
]  # fmt: skip

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
