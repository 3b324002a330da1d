"""Compare a reversed database with a twin that was never migrated and got the same operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from psycopg2 import sql
from support.servers import Options, query

KEPT = "tracks_posts_separation_kept"
Rows = dict[str, tuple[Any, ...]]

FULL = {
    "posts": "SELECT id, user_id, content, post_type, audio_url, audio_filename, audio_mime_type, audio_file_size,"
    " audio_duration, created_at FROM public.posts",
    "comments": "SELECT * FROM public.comments",
    "tracks": "SELECT id, user_id, title, description, file_url, duration, genre, play_count, created_at"
    " FROM public.tracks",
    "playlists": "SELECT id, user_id, name FROM public.playlists",
    "playlist_tracks": "SELECT id, playlist_id, track_id, position, added_at FROM public.playlist_tracks",
}
#: While posts have tracks, the track determines what they play.
PLAYED = (
    "SELECT p.id, p.user_id, p.content, p.post_type, coalesce(t.file_url, p.audio_url), p.created_at"
    " FROM public.posts AS p LEFT JOIN public.tracks AS t ON t.id = p.track_id"
)
PLAYED_OLD = "SELECT id, user_id, content, post_type, audio_url, created_at FROM public.posts"


def rows(options: Options, statement: str) -> Rows:
    return {str(row[0]): row[1:] for row in query(options, statement)}


def compare(
    ours: Options, theirs: Options, *, migration_left: int, archived: set[str]
) -> tuple[list[str], dict[str, int]]:
    """Return the differences, and how many rows of each table were compared.

    :param migration_left: how many of the four migrations are applied still.
    :param archived: ids of rows that the archive lists: only these may be missing.
    """
    statements: dict[str, tuple[str, str]] = {table: (text, text) for table, text in FULL.items()}
    if migration_left >= 2:
        statements["posts"] = (PLAYED, PLAYED_OLD)
    if migration_left >= 1:
        del statements["tracks"]  # the tracks of the migration still exist
    if migration_left >= 3:
        del statements["playlist_tracks"]  # they reference tracks
    different: list[str] = []
    counted: dict[str, int] = {}
    for table, (here, there) in statements.items():
        found, wanted = rows(ours, here), rows(theirs, there)
        counted[table] = len(wanted)
        wrong = [key for key in found if wanted.get(key) != found[key]]
        wrong += [key for key in wanted if key not in found and key not in archived]
        different += [f"{table} {key}: {found.get(key)} here, {wanted.get(key)} in the twin" for key in wrong[:5]]
        if not wanted:
            different.append(f"{table}: no row was compared")
    return different, counted


def archive(options: Options, schema: str) -> tuple[set[str], dict[str, int]]:
    """Return the ids of the archived rows, and their number by reason."""
    statement = sql.SQL("SELECT reason, row_data ->> 'id' FROM {}").format(sql.Identifier(schema, "archive"))
    found = query(options, statement)
    reasons: dict[str, int] = {}
    for reason, _ in found:
        reasons[reason] = reasons.get(reason, 0) + 1
    return {key for _, key in found}, dict(sorted(reasons.items()))


def lost_on_the_way_forward(options: Options, edited: Mapping[str, str], library: list[str]) -> list[str]:
    """Return posts without a track, and edited titles and library entries that the second migration did not restore."""
    orphans = query(options, "SELECT id FROM public.posts WHERE post_type = 'audio' AND track_id IS NULL")
    titles = rows(options, "SELECT id, title, genre, play_count FROM public.tracks")
    waiting = query(
        options,
        "SELECT row_data ->> 'id' FROM tracks_posts_separation.archive WHERE reason = 'entry_without_post'"
        " AND row_data ->> 'id' = ANY (%s) AND NOT row_data ? 'stays_because'",
        (list(library),),
    )
    return [
        *(f"audio post {post} has no track" for (post,) in orphans[:5]),
        *(
            f"track {t}: {titles.get(str(t))}"
            for t, title in edited.items()
            if titles.get(str(t)) != (title, "twin", 5)
        ),
        *(f"library entry {entry} is in the archive still" for (entry,) in waiting[:5]),
    ]


def same(name: str, found: Any, wanted: Any, tell: Callable[[Any, Any], str] | None = None) -> list[str]:
    """Return a line if two values differ."""
    return [] if found == wanted else [f"{name}: {tell(found, wanted) if tell else 'not equal'}"]
