"""Documentation of the options that tell modules how much room a server has."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  free_disk_bytes:
    description: Free disk space of the server, in bytes, where only you can see it.
    type: int
  disk_path:
    description: A path on the server's disk, where that is this machine.
    type: path
"""
