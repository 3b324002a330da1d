"""Create the temporary tables that the invariants read: the state before, the state now, and the load's writes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from psycopg2 import sql

HASHED_COLUMNS = "id uuid PRIMARY KEY, user_id uuid, hash text"
#: File, temporary table, its columns, and the query that fills it. The hash covers the columns that exist before.
COPIES = {
    "before_post": (
        "id uuid PRIMARY KEY, user_id uuid, hash text",
        "SELECT id, user_id, {hash} FROM public.posts AS t",
    ),
    "before_track": (
        "id uuid PRIMARY KEY, user_id uuid, hash text",
        "SELECT id, user_id, {hash} FROM public.tracks AS t",
    ),
    "before_entry": (
        "id uuid PRIMARY KEY, playlist_id uuid, track_id uuid",
        "SELECT id, playlist_id, track_id FROM public.playlist_tracks",
    ),
    "before_playlist": ("id uuid PRIMARY KEY, user_id uuid", "SELECT id, user_id FROM public.playlists"),
}
HASHED = {"before_post": "public.posts", "before_track": "public.tracks"}


def _columns(cursor: Any, table: str) -> list[str]:
    cursor.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attname <> 'track_id' ORDER BY attnum",
        (table,),
    )
    return [row[0] for row in cursor.fetchall()]


def _hash(columns: Sequence[str]) -> sql.Composable:
    row = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(column)) for column in columns)
    return sql.SQL("md5(ROW({})::text)").format(row)


def write_before(cursor: Any, directory: Path) -> None:
    """Write a file for each table, and the names of the columns that the hashes cover."""
    hashed = {name: _columns(cursor, table) for name, table in HASHED.items()}
    (directory / "columns.json").write_text(json.dumps(hashed), encoding="utf-8")
    for name, (_, query) in COPIES.items():
        composed = sql.SQL(query).format(hash=_hash(hashed[name])) if name in hashed else sql.SQL(query)
        with open(directory / f"{name}.copy", "wb") as file:
            cursor.copy_expert(sql.SQL("COPY ({}) TO STDOUT").format(composed), file)


def load(cursor: Any, directory: Path, ledgers: Iterable[Mapping[str, Sequence[str]]]) -> None:
    """Create the temporary tables of a session."""
    for name, (columns, _) in COPIES.items():
        cursor.execute(f"CREATE TEMPORARY TABLE {name} ({columns})")
        with open(directory / f"{name}.copy", "rb") as file:
            cursor.copy_expert(f"COPY {name} FROM STDIN", file)
    hashed = json.loads((directory / "columns.json").read_text(encoding="utf-8"))
    for name, table in HASHED.items():
        cursor.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} AS SELECT t.id, {} AS hash FROM {} AS t").format(
                sql.Identifier(name.replace("before", "now")),
                _hash(hashed[name]),
                sql.Identifier(*table.split(".")),
            )
        )
    cursor.execute("CREATE TEMPORARY TABLE ledger (kind text, key uuid, playlist uuid, sent uuid)")
    lines = {
        "\t".join([kind, *key.split(" "), *["\\N"] * (2 - key.count(" "))]) + "\n"
        for ledger in ledgers
        for kind, keys in ledger.items()
        for key in keys
    }
    cursor.copy_expert("COPY ledger FROM STDIN", io.StringIO("".join(sorted(lines))))
    cursor.execute("CREATE INDEX ON ledger (key, kind)")
    # Entries with the id by which they were added: of a post, or (by the new application) of a track.
    cursor.execute(
        "CREATE TEMPORARY TABLE known_entry AS SELECT id, playlist_id AS playlist, track_id AS sent FROM before_entry"
        " UNION SELECT key, playlist, sent FROM ledger WHERE kind = 'entries_made'"
    )
    cursor.execute("CREATE TEMPORARY TABLE archived_entry (id uuid, reason text)")
    cursor.execute("SELECT to_regclass('tracks_posts_separation.archive') IS NOT NULL")
    if cursor.fetchone()[0]:
        cursor.execute(
            "INSERT INTO archived_entry SELECT (row_data ->> 'id')::uuid, reason FROM tracks_posts_separation.archive"
            " WHERE table_name = 'public.playlist_tracks'"
        )
    cursor.execute("ANALYZE before_post, before_track, before_entry, ledger, known_entry, archived_entry")
