"""The three databases of a swap, and what they say about how far it got. No database in here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ..errors import RunbookError

State = Literal["absent", "half_loaded", "prepared", "switched"]

#: An identifier's longest name, in bytes; longer ones are cut by the server.
NAME_BYTES = 63
#: Sessions that a database beside allows. With our name, one that its maker had no time to mark is told by it.
CONNECTION_LIMIT = 67


@dataclasses.dataclass(frozen=True)
class Names:
    """The databases: the live one, the one restored beside it, and the live one's name once it was replaced."""

    live: str
    side: str
    kept: str
    run_id: str

    @property
    def loading(self) -> str:
        """The comment on a database whose rows are on their way."""
        return f"Made by the migration runbook for run {self.run_id}: a backup on its way back."

    def verified(self, manifest_sha256: str) -> str:
        """Return the comment on a database that holds the whole backup with this manifest."""
        return f"Made by the migration runbook for run {self.run_id}: verified, manifest {manifest_sha256}."

    @property
    def kept_mark(self) -> str:
        """The comment on the database that was replaced."""
        return f"Kept by the migration runbook: the state before the restore of run {self.run_id}."

    @property
    def drop_command(self) -> str:
        """What to type once nobody needs the replaced database any more."""
        return 'DROP DATABASE "{}"'.format(self.kept.replace('"', '""'))


def names_for(live: str, run_id: str) -> Names:
    """Derive the names from the live database's and the run's.

    :raises RunbookError: one of them is the live one's.
    """
    found = Names(live, _name(live, f"_new_{run_id}"), _name(live, f"_old_{run_id}"), run_id)
    if live in (found.side, found.kept) or found.side == found.kept:
        raise RunbookError(
            f"the database beside would be called {found.side}, the old one {found.kept}, and the live one is "
            f"called {live}: they must differ.",
            object_name=live,
            next_command="restore in place: the same command without -e restore_mode=swap",
        )
    return found


def _name(live: str, ending: str) -> str:
    room = NAME_BYTES - len(ending.encode())
    return live.encode()[:room].decode("utf-8", "ignore") + ending


def state_of(names: Names, found: Mapping[str, Mapping[str, Any]], manifest_sha256: str) -> State:
    """Say how far the swap of this run got.

    :param found: those of the databases that exist: name → ``comment``, ``connection_limit``, ``ours`` (may be owned).
    :raises RunbookError: a database has the name, and no swap of this run made it.
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
        f"the database {name} exists and was not made by the restore of this run: its name is needed.",
        object_name=name,
        next_command='ALTER DATABASE "{}" RENAME TO …'.format(name.replace('"', '""')),
    )
