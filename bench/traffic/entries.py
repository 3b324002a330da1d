"""Playlist entries: what the applications write, and why a write may find nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .world import Group

if TYPE_CHECKING:
    from .application import Application


def _own_playlist(app: Application, group: Group, *, filled: bool) -> str | None:
    known = [playlist for playlist in group.playlists if group.entries[playlist] or not filled]
    return app.choice.choice(known) if known else None


def playlist_add(app: Application, group: Group) -> bool:
    """The old application adds a post, by its id; often one that was made a moment ago."""
    playlist = _own_playlist(app, group, filled=False)
    known = [post.id for post in group.posts.values() if post.file and not post.moved]
    recent = sorted(set(group.new_ids[-20:]).intersection(known))
    posts = recent if recent and app.choice.random() < 0.6 else known
    if playlist is None or not posts:
        return False
    post = app.choice.choice(posts)
    if post in group.entries[playlist]:
        return False
    _add(app, group, playlist, post, by_post=True)
    return True


def playlist_add_track(app: Application, group: Group) -> bool:
    """The new application adds a track."""
    playlist = _own_playlist(app, group, filled=False)
    if playlist is None or not group.tracks:
        return False
    track = app.choice.choice(list(group.tracks))
    if track in group.entries[playlist]:
        return False
    _add(app, group, playlist, track, by_post=False)
    return True


def _add(app: Application, group: Group, playlist: str, sent: str, *, by_post: bool) -> None:
    user, entry, at = group.playlists[playlist], app.new_id(), app.record.now()
    values = {"entry": entry, "playlist": playlist, "track": sent, "position": app.choice.randrange(1000)}
    app.world.ledger.note("entries_made", f"{entry} {playlist} {sent}")
    rows = app.request("playlist_add", user, values)
    if not rows:
        app.world.ledger.note("entries_removed", entry)
    if rows is None:
        return
    observer = app.world.observer
    if rows:
        group.entries[playlist].append(sent)
        kept = str(rows[0][1])
        if by_post and (app.tracks_are_live or kept != sent):
            # The entry must play what the post plays.
            found = observer.ask("track_of_post", post=sent)
            if found != [(kept,)]:
                app.record.fails("playlist_add", at, f"the entry got {kept}, its post has {found}", values, user)
        elif kept != sent:
            app.record.fails("playlist_add", at, f"the entry got {kept}", values, user)
        return
    # The key is asked for: that a version is applied is noticed up to a second late.
    swapped = observer.ask("entries_point_at_tracks")[0][0]
    if by_post and swapped and observer.ask("request_archived", entry=entry)[0][0]:
        app.record.meets("addition_met_entry")
    else:
        app.record.fails("playlist_add", at, "nothing was added", values, user)


def playlist_remove(app: Application, group: Group) -> bool:
    playlist = _own_playlist(app, group, filled=True)
    if playlist is None:
        return False
    sent = app.choice.choice(group.entries[playlist])
    at = app.record.now()
    values = {"playlist": playlist, "track": sent}
    rows = app.request("playlist_remove", group.playlists[playlist], values)
    if rows is None:
        app.world.ledger.note("removals_failed", f"{playlist} {playlist} {sent}")
    else:
        group.entries[playlist].remove(sent)
        app.world.ledger.note("entries_removed", *(str(row[0]) for row in rows))
        if not rows:
            explain(app, "playlist_remove", at, playlist, sent, group.playlists[playlist])
    return True


def playlist_reorder(app: Application, group: Group) -> bool:
    playlist = _own_playlist(app, group, filled=True)
    if playlist is None:
        return False
    sent = app.choice.choice(group.entries[playlist])
    at = app.record.now()
    values = {"playlist": playlist, "track": sent, "position": app.choice.randrange(1000)}
    rows = app.request("playlist_reorder", group.playlists[playlist], values)
    if rows is not None and not rows:
        group.entries[playlist].remove(sent)
        explain(app, "playlist_reorder", at, playlist, sent, group.playlists[playlist])
    return True


def explain(app: Application, kind: str, at: float, playlist: str, sent: str, user: str) -> None:
    """Record why an entry was not found by the id that the application knew it by.

    Allowed are: the post that it was made by is gone, or the track (others delete too); and the limit of trap 29:
    entries point at tracks by now, and the id is that of a post whose track has another id, or that was a repost for
    a while, or the archive names the entry under this id.
    """
    observer = app.world.observer
    post, track = observer.ask("is_there", track=sent)[0]
    made_by_post = not app.world.ledger.has("tracks_made", sent)
    if not post and (made_by_post or not track):
        app.record.meets("gone_meanwhile")
        return
    swapped = observer.ask("entries_point_at_tracks")[0][0]
    if swapped and post:
        of_post = observer.ask("track_of_post", post=sent)
        is_repost = bool(of_post) and of_post[0][0] not in (None, sent)
        if (
            is_repost
            or app.world.ledger.has("posts_reposting", sent)
            or observer.ask("archived", playlist=playlist, track=sent)[0][0]
        ):
            app.record.meets("repost_by_id_found_nothing")
            return
    values = {"playlist": playlist, "track": sent}
    app.record.fails(kind, at, f"no such entry, and post {post}, track {track}, swapped {swapped}", values, user)
