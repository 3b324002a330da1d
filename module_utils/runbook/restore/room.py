"""Is there room for a backup's rows beside the live ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import RunbookError
from ..session.disk_space import free_bytes


def require_room(manifest: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Refuse where less is free than the backed up tables took, as far as the free space is known.

    :param params: ``free_disk_bytes``, ``disk_path``.
    :raises RunbookError: naming both numbers.
    """
    needed = manifest.get("tables_bytes", 0)
    free, how = free_bytes(params)
    if free is not None and free < needed:
        raise RunbookError(
            f"{free} bytes are free {how}, the restored tables need about {needed}.",
            object_name=params["disk_path"] or "free_disk_bytes",
            next_command="make room on the server, then run this again",
        )
