"""Forward, operations of both applications, back to each version: what an unmigrated twin has, and forward again.

`make twin OPERATIONS=10000` runs it long.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from plan_sql import FINALIZE, MIGRATE, PLAYLISTS, PREPARE, VERSIONS, apply, catalogue, revert, schema_text
from support.servers import Options, Server, query, value
from twin import Twins

POSTS = (
    "SELECT id, user_id, content, post_type, audio_url, audio_filename, audio_mime_type, audio_file_size,"
    " audio_duration, created_at, updated_at FROM public.posts"
)
ENTRIES = "SELECT id, playlist_id, track_id, position, added_at FROM public.playlist_tracks"
TRACKS = "SELECT id, user_id, title, description, file_url, duration, genre, play_count, created_at FROM public.tracks"
KEPT = "tracks_posts_separation_kept"


def rows(options: Options, statement: str) -> dict[str, tuple[Any, ...]]:
    return {str(row[0]): row[1:] for row in query(options, statement)}


def without(statement: str, column: str) -> str:
    return statement.replace(f", {column}", "")


def test_back_to_each_version_equals_the_unmigrated_twin(
    server: Server, database: Options, database_at: Callable[[str], Options]
) -> None:
    operations = int(os.environ.get("TWIN_OPERATIONS", "300"))
    schema_before = schema_text(server, database), catalogue(database)
    options = database_at(FINALIZE)
    twins = Twins(options, database, seed=4)
    with twins.sessions():
        twins.perform(operations)
    edited_posts = rows(options, "SELECT id, updated_at FROM public.posts")

    for version, target in ((FINALIZE, PLAYLISTS), (PLAYLISTS, MIGRATE), (MIGRATE, PREPARE)):
        revert(options, version)
        fresh = database_at(target)
        assert schema_text(server, options) == schema_text(server, fresh), target
        assert catalogue(options) == catalogue(fresh), target
    revert(options, PREPARE)

    archive = query(options, f"SELECT reason, row_data ->> 'id' FROM {KEPT}.archive")
    reasons: dict[str, int] = {}
    for reason, _ in archive:
        reasons[reason] = reasons.get(reason, 0) + 1
    named = {row for _, row in archive}
    ours, theirs = rows(options, without(POSTS, "updated_at")), rows(database, without(POSTS, "updated_at"))
    assert ours == theirs
    assert rows(options, "SELECT id, updated_at FROM public.posts") == edited_posts
    stamped = rows(database, "SELECT id, updated_at FROM public.posts")
    untouched = set(stamped) - {str(post) for post in twins.touched}
    assert {post: edited_posts[post] for post in untouched} == {post: stamped[post] for post in untouched}
    assert rows(options, TRACKS) == rows(database, TRACKS)
    assert rows(options, "SELECT id, name FROM public.playlists") == rows(
        database, "SELECT id, name FROM public.playlists"
    )
    here, there = rows(options, ENTRIES), rows(database, ENTRIES)
    assert {entry: row for entry, row in here.items() if there.get(entry) != row} == {}, "entries that the twin has not"
    missing = set(there) - set(here)
    assert missing <= named, "entries lost without an archive row"

    apply_again(options, twins)
    print(
        f"\n{operations} operations ({twins.done}): {len(ours)} posts, {len(here)} entries compared with the twin, "
        f"{len(missing)} entries in the archive; archived by reason: {reasons}; {len(twins.edited)} edited titles kept"
    )

    revert(options, *VERSIONS)
    query(options, f"DROP SCHEMA {KEPT} CASCADE")
    assert (schema_text(server, options), catalogue(options)) == schema_before


def apply_again(options: Options, twins: Twins) -> None:
    """Forward again: every audio post has its track, edited titles and entries of the library are back."""
    apply(options, *VERSIONS)
    assert value(options, "SELECT count(*) FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL") == 0
    titles = rows(options, "SELECT id, title, genre, play_count FROM public.tracks")
    lost = {track: title for track, title in twins.edited.items() if titles.get(str(track)) != (title, "twin", 5)}
    assert lost == {}
    back = rows(options, "SELECT id, track_id FROM public.playlist_tracks")
    still = rows(options, "SELECT (row_data ->> 'id')::uuid, reason FROM tracks_posts_separation.archive")
    assert [entry for entry in twins.library if entry in still and still[entry] == ("entry_without_post",)] == []
    assert len(back) > 0
