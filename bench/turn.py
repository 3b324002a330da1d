"""Take turns on a machine where others measure or test at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Sequence
from types import TracebackType


class Turn:
    """An exclusive lock on the last of some files during each measurement.

    The other files are locked only while waiting, so that later processes do not overtake. Between two measurements the
    lock is kept until it is ``keep_seconds`` old: others wait for a bounded time, and consecutive contenders run on the
    same machine.
    """

    def __init__(self, lock_files: Sequence[str], keep_seconds: float = 90.0) -> None:
        self._files = lock_files
        self._keep_seconds = keep_seconds
        self._held = contextlib.ExitStack()
        self._since: float | None = None

    def __enter__(self) -> None:
        if self._since is not None or not self._files:
            return
        with contextlib.ExitStack() as turnstiles:
            for name in self._files[:-1]:
                fcntl.flock(turnstiles.enter_context(open(name, "a")), fcntl.LOCK_EX)
            fcntl.flock(self._held.enter_context(open(self._files[-1], "a")), fcntl.LOCK_EX)
        self._since = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._since is not None and (error or time.monotonic() - self._since > self._keep_seconds):
            self.end()

    def end(self) -> None:
        """Release the locks."""
        self._held.close()
        self._since = None
