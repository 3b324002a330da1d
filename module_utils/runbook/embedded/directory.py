"""Check the owner of an embedded server's runtime directory, and choose the account of the server."""

from __future__ import annotations

import os
import pwd
import stat
from typing import Any

from ..errors import RunbookError

#: PostgreSQL refuses to run as root; started by root, the server runs under this account.
ROOT_RUNS_AS = "nobody"


def account() -> dict[str, Any]:
    """Return the keywords of ``subprocess.run`` for the server's account; none if it is the caller's."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(ROOT_RUNS_AS)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def claim(path: str) -> None:
    """Create the runtime directory or reuse one of our own; other users may only traverse it.

    :raises RunbookError: another user created it: the names are guessable and every user can write to /tmp.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        require_own(path)
    except OSError as error:
        raise RunbookError(
            f"cannot create the runtime directory {path}: {error.strerror}.", object_name=path
        ) from error
    # Without the execute permission, the account that root uses could not reach its data.
    os.chmod(path, 0o711 if account() else 0o700)


def require_own(path: str) -> None:
    """Refuse a path that is not a directory, is a link, belongs to another user, or is writable by others."""
    found = os.lstat(path)
    wrong = ""
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        wrong = "is not a directory"
    elif found.st_uid != os.geteuid():
        wrong = f"belongs to user id {found.st_uid}, not to you ({os.geteuid()})"
    elif found.st_mode & 0o022:
        wrong = "can be written by others"
    if wrong:
        raise RunbookError(
            f"the runtime directory {path} {wrong}: another user may have created it.",
            object_name=path,
            next_command=f"look at it (ls -ld {path}), and remove it or choose another runtime directory",
        )


def give_to_account(path: str) -> None:
    """Make a directory (or take a file that exists) that only the server's account can read."""
    if not os.path.isfile(path):
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chmod(path, 0o700)
    keywords = account()
    if keywords:
        os.chown(path, keywords["user"], keywords["group"])
