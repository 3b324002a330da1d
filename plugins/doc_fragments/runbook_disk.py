"""Document the options about the server's disk space."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  free_disk_bytes:
    description: Free disk space of the server in bytes, if it cannot be measured.
    type: int
  disk_path:
    description: A path on the server's disk, if the server is this machine.
    type: path
"""
