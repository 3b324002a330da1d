"""Free space on the disk of the server, as far as it is known from here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def free_bytes(known: Mapping[str, Any]) -> tuple[int | None, str]:
    """Return the free bytes of the server's disk and how they are known; None when they cannot be seen from here."""
    if known.get("free_disk_bytes") is not None:
        return int(known["free_disk_bytes"]), "as the inventory says"
    path = known.get("disk_path")
    if path and os.path.exists(path):
        disk = os.statvfs(path)
        return disk.f_bavail * disk.f_frsize, f"of the disk that holds {path}"
    return None, ""
