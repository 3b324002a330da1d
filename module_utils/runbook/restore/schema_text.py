"""Compare the schema of a restored database with its archive, as text written by tools of one version."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..backup.archive import Archive
from ..backup.tools import start_tool
from ..database.connection import client_environment
from ..database.options import role_arguments
from ..errors import RunbookError
from ..journal.schema import SCHEMA as JOURNAL

# Lines that do not describe the schema: comments, the random key, and settings of pg_dump and pg_restore themselves.
_NOISE = re.compile(r"--|\\(un)?restrict |SET |SELECT pg_catalog.set_config\(|$")

#: Different lines that a message shows.
SHOWN_LINES = 6


def require_same_schema(
    archive: Archive, entries: Sequence[str], options: Mapping[str, Any], pg_dump: Path, application_name: str
) -> int:
    """Compare the archive's schema with the database's: definitions, owners, grants, policies, comments, memberships.

    :param entries: lines of the archive's table of contents that were restored.
    :returns: the number of lines compared.
    :raises RunbookError: they differ, or the archive has no schema.
    """
    listed = [str(archive.pg_restore), "--schema-only", "--use-list=/dev/stdin", "--file=-", archive.path]
    wanted = _lines(listed, None, "\n".join([*entries, ""]).encode())
    dumped = [str(pg_dump), "--schema-only", f'--exclude-schema="{JOURNAL}"', "--no-subscriptions", "--no-password"]
    dumped += role_arguments(options)
    found = _lines(dumped, client_environment(options, f"{application_name} pg_dump"), b"")
    missing, more = wanted - found, found - wanted
    if missing or more or not wanted:
        lines = [f"- {line}" for line in missing][:SHOWN_LINES] + [f"+ {line}" for line in more][:SHOWN_LINES]
        what = "\n".join(lines) or "the archive has no schema"
        raise RunbookError(
            f"the schema of the restored database differs from that of the backup ({missing.total()} lines are "
            f"missing, {more.total()} are extra; the restored database is dropped):\n{what}\n",
            object_name=str(options["dbname"]),
            next_command="remove the cause of the difference, or restore in place: the same command without "
            "-e restore_mode=swap",
        )
    return wanted.total()


def _lines(argv: Sequence[str], environment: Mapping[str, str] | None, send: bytes) -> Counter[str]:
    with start_tool(argv, environment, read=True, send=send) as tool:
        text = tool.output.read().decode("utf-8", "replace")
        tool.finish("writing the schema as text")
    return Counter(line for line in text.splitlines() if not _NOISE.match(line))
