"""What a dump must pass before it counts as a backup: size, table of contents, and every row read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import RunbookError
from .archive import Archive, count_rows, size_on_disk, table_entries
from .dumped_tables import DumpedTable


def check_backup(
    archive: Archive,
    tables: Sequence[DumpedTable],
    rows: Mapping[str, int],
    minimum_bytes: int,
    workers: int,
) -> dict[str, int | None]:
    """Verify an archive against what the database held in its snapshot.

    :param rows: rows per table, counted in the same snapshot.
    :param minimum_bytes: the archive's least size on disk.
    :returns: per table, the id of its rows' entry in the archive (None in the plain format).
    :raises RunbookError: too small, unreadable, or without a table or some of its rows.
    """
    size = size_on_disk(archive.path)
    if size < minimum_bytes:
        raise RunbookError(
            f"the backup has {size} bytes, minimum_bytes demands {minimum_bytes}: is this the right database?",
            object_name=archive.path,
            next_command="check database_connection; for a database that is this small set minimum_bytes lower",
        )
    entries: dict[str, int | None] = {table.name: None for table in tables}
    if archive.format != "plain":
        listed = table_entries(archive)
        missing = [table.name for table in tables if table.object_id not in listed]
        _refuse_missing(archive, missing)
        entries = {table.name: listed[table.object_id] for table in tables}
    # Most rows first: the others are read beside them, not before.
    found = count_rows(archive, {name: entries[name] for name in sorted(entries, key=lambda n: -rows[n])}, workers)
    _refuse_missing(archive, [name for name in entries if name not in found])
    wrong = [name for name in entries if found[name] != rows[name]]
    if wrong:
        raise RunbookError(
            "the backup does not hold the rows of the database: "
            + "; ".join(f"{name} has {found[name]}, the database {rows[name]}" for name in wrong)
            + ".",
            object_name=wrong[0],
            next_command="run it again; if it stays so, look for TRUNCATE or ALTER TABLE during the backup",
        )
    return entries


def _refuse_missing(archive: Archive, tables: Sequence[str]) -> None:
    if tables:
        raise RunbookError(
            f"the backup {archive.path} holds no rows entry for {', '.join(tables)}.",
            object_name=tables[0],
            next_command="run it again; if it stays so, look for ALTER TABLE or DROP TABLE during the backup",
        )
