"""Name the databases of a swap, and derive its state from those that exist. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ..errors import RunbookError

State = Literal["absent", "half_loaded", "prepared", "switched"]

#: Longest identifier in bytes; the server truncates longer ones.
NAME_BYTES = 63
#: Connection limit of a side database. With the name it identifies one whose comment was not written yet.
CONNECTION_LIMIT = 67


@dataclasses.dataclass(frozen=True)
class Names:
    """The names: of the live database, of the restored side database, and of the live one after the swap."""

    live: str
    side: str
    kept: str
    run_id: str

    @property
    def loading(self) -> str:
        """The comment on a side database that is being loaded."""
        return f"Made by the migration runbook for run {self.run_id}: a backup is being loaded."

    def verified(self, manifest_sha256: str) -> str:
        """Return the comment on a side database that contains the whole backup with this manifest."""
        return f"Made by the migration runbook for run {self.run_id}: verified, manifest {manifest_sha256}."

    @property
    def kept_mark(self) -> str:
        """The comment on the database that was replaced."""
        return f"Kept by the migration runbook: the state before the restore of run {self.run_id}."

    @property
    def drop_command(self) -> str:
        """The statement that drops the replaced database."""
        return 'DROP DATABASE "{}"'.format(self.kept.replace('"', '""'))


def names_for(live: str, run_id: str) -> Names:
    """Derive the names from the live database's name and the run's id.

    :raises RunbookError: the names are not different.
    """
    found = Names(live, _name(live, f"_new_{run_id}"), _name(live, f"_old_{run_id}"), run_id)
    if live in (found.side, found.kept) or found.side == found.kept:
        raise RunbookError(
            f"the names of the new database ({found.side}), the old one ({found.kept}) and the live one ({live}) "
            "must differ.",
            object_name=live,
            next_command="restore in place: the same command without -e restore_mode=swap",
        )
    return found


def _name(live: str, ending: str) -> str:
    room = NAME_BYTES - len(ending.encode())
    return live.encode()[:room].decode("utf-8", "ignore") + ending


def state_of(names: Names, found: Mapping[str, Mapping[str, Any]], manifest_sha256: str) -> State:
    """Return the state of this run's swap.

    :param found: existing databases: name → ``comment``, ``connection_limit``, ``ours`` (this role owns it).
    :raises RunbookError: a database of that name exists, and no swap of this run created it.
    """
    kept, side = found.get(names.kept), found.get(names.side)
    if kept:
        if not kept["ours"] or kept["comment"] != names.kept_mark:
            raise _taken(names.kept)
        return "switched"
    if not side:
        return "absent"
    if not side["ours"]:
        raise _taken(names.side)
    if side["comment"] == names.verified(manifest_sha256):
        return "prepared"
    of_this_run = names.verified("").split("verified")[0]
    if str(side["comment"] or "").startswith(of_this_run):
        return "half_loaded"
    if side["comment"] is None and side["connection_limit"] == CONNECTION_LIMIT:
        return "half_loaded"
    raise _taken(names.side)


def _taken(name: str) -> RunbookError:
    return RunbookError(
        f"the database {name} exists and was not created by the restore of this run; the restore needs this name.",
        object_name=name,
        next_command='ALTER DATABASE "{}" RENAME TO …'.format(name.replace('"', '""')),
    )
