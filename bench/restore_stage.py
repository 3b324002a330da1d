"""An application whose sessions stay open during a restore, and its stop and start hooks."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2
from support.servers import connect

SESSIONS = 4
PAUSE_SECONDS = 0.02
WRITE = """
UPDATE public.comments SET content = content || '.'
WHERE id = (SELECT id FROM public.comments WHERE id >= gen_random_uuid() ORDER BY id LIMIT 1)
"""

HOOK = """
import pathlib, sys, time
word, directory = sys.argv[1], pathlib.Path(sys.argv[2])
if word == "stop":
    (directory / "stopped_at").write_text(str(time.time()))
    (directory / "stopped").touch()
else:
    (directory / "stopped").unlink()
    (directory / "started_at").write_text(str(time.time()))
"""


class Application:
    """Sessions that write every few milliseconds; after the stop they stay open and idle until they are ended."""

    def __init__(self, options: Mapping[str, Any], directory: Path) -> None:
        self.options, self.directory = options, directory
        directory.mkdir()
        (directory / "hook.py").write_text(HOOK)
        self.done_at: list[float] = []
        self.failed = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(SESSIONS)]

    def hooks(self) -> dict[str, dict[str, list[str]]]:
        """Return the variables that let the runbook stop and start it."""
        hook = [sys.executable, str(self.directory / "hook.py")]
        commands = {word: [*hook, word, str(self.directory)] for word in ("stop", "start")}
        return {f"application_control_{word}": {"command": command} for word, command in commands.items()}

    def __enter__(self) -> Application:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def away_seconds(self) -> float:
        """Return the time from the call of the stop hook to the end of the start hook."""
        return self._noted("started_at") - self._noted("stopped_at")

    def longest_gap_seconds(self) -> float:
        """Return the longest time without a successful statement in any session."""
        times = sorted(self.done_at)
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def _noted(self, name: str) -> float:
        return float((self.directory / name).read_text())

    def _work(self) -> None:
        while not self._over.is_set():
            if self._stopped():
                time.sleep(PAUSE_SECONDS)
                continue
            try:
                with connect(self.options) as connection, connection.cursor() as cursor:
                    while not self._over.is_set():
                        if not self._stopped():
                            cursor.execute(WRITE)
                            self.done_at.append(time.time())
                        time.sleep(PAUSE_SECONDS)
            except psycopg2.Error:
                self.failed += 1
                time.sleep(PAUSE_SECONDS)

    def _stopped(self) -> bool:
        return (self.directory / "stopped").exists()
