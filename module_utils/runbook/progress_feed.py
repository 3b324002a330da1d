"""Write the progress file: one JSON object per line. A failure to write never fails a run."""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections.abc import Mapping
from typing import Any

from .plain import to_plain

#: Every line has these keys. ``reason`` says why a step is paused, or whom it waits for.
EMPTY: dict[str, Any] = {
    "time": "",
    "host": "",
    "run_id": "",
    "version": "",
    "title": "",
    "step": "",
    "kind": "",
    "state": "running",
    "rows_done": None,
    "rows_total": None,
    "rows_per_second": None,
    "eta_seconds": None,
    "eta_low_seconds": None,
    "eta_high_seconds": None,
    "batch": None,
    "batch_rows": None,
    "workers": None,
    "reason": "",
}


class Writer:
    """Appends to a file that the callback creates and reads; thread-safe.

    The file may be missing (the play was killed) or the disk full: the run continues, and ``problem`` has the reason.

    :param path: the file; None or empty without a reader.
    """

    def __init__(self, path: str | None) -> None:
        self._lock = threading.Lock()
        self._file: int | None = None
        self._cut_short = False
        self.problem = ""
        if path:
            try:
                # Do not create the file: a missing file has no reader.
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError as error:
                self.problem = f"{path}: {error.strerror}"

    def write(self, entry: Mapping[str, Any]) -> bool:
        """Append a line and return whether that succeeded. ``time`` and missing keys are added."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps(to_plain({**EMPTY, "time": now, **entry})).encode() + b"\n"
        with self._lock:
            if self._file is None:
                return False
            # After a line that a full disk truncated, start a new line.
            data = b"\n" + line if self._cut_short else line
            try:
                self._cut_short = os.write(self._file, data) < len(data)
            except OSError as error:
                self.problem = str(error.strerror)
                return False
            return not self._cut_short

    def close(self) -> None:
        """Close the file; later writes do nothing."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
