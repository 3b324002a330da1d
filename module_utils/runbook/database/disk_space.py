"""Find the free space on the server's disk, if it is known here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def free_bytes(known: Mapping[str, Any]) -> tuple[int | None, str]:
    """Return the free bytes of the server's disk and their source; None if they cannot be determined here."""
    if known.get("free_disk_bytes") is not None:
        return int(known["free_disk_bytes"]), "as the inventory says"
    path = known.get("disk_path")
    if path and os.path.exists(path):
        disk = os.statvfs(path)
        return disk.f_bavail * disk.f_frsize, f"of the disk that holds {path}"
    return None, ""
