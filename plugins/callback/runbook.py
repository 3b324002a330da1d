"""Ansible's usual output, what a module has for the screen below its task, and how far its work is meanwhile."""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import gc
import glob
import json
import os
import select
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ansible import constants, context
from ansible.plugins.callback.default import CallbackModule as DefaultCallback

DOCUMENTATION = r"""
name: runbook
type: stdout
short_description: Ansible's default output, with the summary and the progress of modules
description:
  - A module's C(summary), a list of lines, is printed below its task, line by line; so is the message of
    M(ansible.builtin.debug).
  - Makes a private file and exports its path as E(RUNBOOK_PROGRESS_FILE). Modules append one JSON object per line.
  - On a terminal it draws a bar and redraws it in place; elsewhere it prints a line now and then, and at once when
    work is paused, goes on, waits or fails. Where no module writes, and in check mode, nothing is drawn.
  - When the reader of the output goes away (C(| head)), the play goes on without one.
extends_documentation_fragment: [default_callback, result_format_callback]
options:
  progress_interval_seconds:
    description: Where the output is no terminal, seconds between two lines.
    type: float
    default: 5
    env: [{name: RUNBOOK_PROGRESS_INTERVAL_SECONDS}]
    ini: [{section: callback_runbook, key: progress_interval_seconds}]
requirements: [set as stdout in configuration]
"""

PREFIX = "runbook-progress-"
VARIABLE = "RUNBOOK_PROGRESS_FILE"
LOOK_SECONDS = 0.2
ENDED = ("done", "failed")
#: What is printed of a result beside its summary.
ALWAYS_SHOWN = ("warnings", "deprecations", "exception")
Entry = dict[str, Any]


def duration(seconds: float) -> str:
    """Seconds as an operator says them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def line_of(entry: Entry, *, width: int = 0, with_host: bool = False) -> str:
    """Say in one line how far the work of an entry is: in words, or with a bar where a terminal's width is given."""
    done, total, state = entry.get("rows_done"), entry.get("rows_total"), str(entry.get("state") or "")
    rows = []
    if done is not None and total is not None:
        share = min(1.0, done / total) if total else 1.0
        cells = width // 8
        bar = f"[{'#' * int(share * cells):.<{cells}}] {100 * share:.1f} %, {done}/{total}"
        rows = [bar if width else f"{done} of {total} rows ({100 * share:.1f} %)"]
    what = [state] if state == "done" else _pace(entry)
    if state not in ("running", "done"):
        # Why it stands still is what one looks for: before anything that a narrow screen cuts off.
        reason = str(entry.get("reason") or "")
        what = [reason if reason.startswith(state) else f"{state}: {reason}" if reason else state]
    elif entry.get("reason"):
        what.append(str(entry["reason"]))
    name = " ".join(str(entry.get(key) or "") for key in ("version", "step")).strip()
    text = ", ".join([*rows, *what, name]) if width else f"{name}: {', '.join(rows + what)}"
    if with_host and entry.get("host"):
        text = f"{entry['host']}: {text}"
    # As module_utils/runbook/visible.py does, which a plugin cannot import.
    text = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    text = " ".join(text.split())
    return f"{text[: width - 2]}…" if width and len(text) > width - 1 else text


def _pace(entry: Entry) -> list[str]:
    words, batch = [], entry.get("batch") or {}
    if entry.get("rows_per_second") is not None:
        words.append(f"{entry['rows_per_second']:.0f} rows/s")
    if entry.get("eta_seconds") is not None:
        band = [entry.get("eta_low_seconds"), entry.get("eta_high_seconds")]
        known = f" ({duration(band[0])} to {duration(band[1])})" if None not in band else ""
        words.append(f"{duration(entry['eta_seconds'])} left{known}")
    if entry.get("workers"):
        words.append(f"{entry['workers']} worker{'s' if entry['workers'] > 1 else ''}")
    if entry.get("batch_rows"):
        words.append(f"batches of {entry['batch_rows']} rows")
    return [*words, f"at {batch['upto']}"] if batch.get("upto") else words


def remove_left_over() -> None:
    """Take away what commands of this user that were killed have left: a directory whose file nobody holds any more."""
    for directory in glob.glob(os.path.join(tempfile.gettempdir(), f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            seen = os.lstat(directory)
            # A new one may not be locked yet.
            if seen.st_uid != os.getuid() or not stat.S_ISDIR(seen.st_mode) or time.time() - seen.st_mtime < 60:
                continue
            with open(os.path.join(directory, "progress.jsonl"), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)


class Screen:
    """Reads the file and draws, in a thread of its own, under the lock that Ansible holds while it prints or forks."""

    def __init__(self, display: Any, interval_seconds: float, announce: Callable[[], None]) -> None:
        self._display, self._print = display, display.display
        self._interval, self._announce = interval_seconds, announce
        self._process, self._terminal = os.getpid(), sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._entries: dict[str, Entry] = {}  # the newest of each host that is at work
        self._due: dict[str, float] = {}
        self._told: set[str] = set()
        self._drawn: list[str] = []
        self._cut = b""
        remove_left_over()
        self._directory = tempfile.mkdtemp(prefix=PREFIX)
        path = os.path.join(self._directory, "progress.jsonl")
        self._file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o600), "rb")
        fcntl.flock(self._file, fcntl.LOCK_EX)  # freed by the kernel, also after kill -9
        os.environ[VARIABLE] = path
        display.display = self._display_between
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Take the bar from the screen and the file from the disk."""
        if os.getpid() != self._process or self._end.is_set():
            return
        self._end.set()
        self._thread.join()
        self.look()
        self._draw({})
        self._display.display = self._print
        os.environ.pop(VARIABLE, None)
        self._file.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def look(self, ended_host: str | None = None) -> None:
        """Take what was written since, and show it. A module that has ended on a host does nothing any more."""
        with self._display._lock:
            *lines, self._cut = (self._cut + self._file.read()).split(b"\n")
            for text in lines:
                with contextlib.suppress(ValueError, TypeError, AttributeError):  # a line that a full disk cut short
                    self._take(json.loads(text))
            if ended_host is not None:
                self._entries.pop(ended_host if ended_host in self._entries else "", None)
            self._draw(self._entries)

    def _watch(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            self.look()

    def _take(self, entry: Entry) -> None:
        host, now = str(entry.get("host") or ""), time.monotonic()
        before, state = self._entries.get(host, {}), entry.get("state")
        if [before.get(key) for key in ("version", "step")] != [entry.get(key) for key in ("version", "step")]:
            self._due[host], before = now + self._interval, {}
            self._told.discard(host)
        self._entries[host] = entry
        # A step that was over before its first line was due says nothing: its result stands on the screen.
        changed = state != before.get("state", "running") and (state != "done" or host in self._told)
        if not self._terminal and (changed or (state not in ENDED and now >= self._due[host])):
            self._due[host] = now + self._interval
            self._told.add(host)
            self._announce()
            self._write(line_of(entry, with_host=len(self._due) > 1) + "\n")
        if state in ENDED:
            del self._entries[host]

    def _draw(self, entries: dict[str, Entry]) -> None:
        width, several = shutil.get_terminal_size().columns, len(self._due) > 1
        lines = [line_of(entry, width=width, with_host=several) for _, entry in sorted(entries.items())]
        if self._terminal and lines != self._drawn:
            if lines and not self._drawn:
                self._announce()
            up = f"\x1b[{len(self._drawn) - 1}A" if len(self._drawn) > 1 else ""
            if self._write((f"\r{up}\x1b[J" if self._drawn else "") + "\n".join(lines)):
                self._drawn = lines

    def _write(self, text: str) -> bool:
        """Write past Python's buffer, unless that would have to wait for the reader. Whether it did."""
        with reader_may_leave():
            sys.stdout.flush()
            if select.select([], [sys.stdout.fileno()], [], 0)[1]:
                return os.write(sys.stdout.fileno(), text.encode(errors="replace")) > 0
        return False

    def _display_between(self, *arguments: Any, **options: Any) -> None:
        """Display.display with the bar out of the way; what it printed is seen at once, also through a pipe."""
        if os.getpid() != self._process:
            self._print(*arguments, **options)
            return
        with self._display._lock:
            self._draw({})
            with reader_may_leave():
                self._print(*arguments, **options)
                sys.stdout.flush()


def leave_summary(result: dict[str, Any]) -> None:
    """Leave only the lines that a module has for the screen, and have the default callback print them."""
    lines = result.get("summary")
    if result.get("failed") or not lines or not isinstance(lines, list):
        return
    kept = {key: value for key, value in result.items() if key in ALWAYS_SHOWN or key.startswith("_")}
    result.clear()
    result.update(kept, msg=lines, _ansible_verbose_always=True, _runbook_summary=True)


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Let the play go on, and end with its own status, when nobody reads its output any more."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            if poll.poll(0):  # only an error or a hang-up was asked for
                os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class CallbackModule(DefaultCallback):
    """The default callback, and a Screen for the time of a playbook."""

    CALLBACK_NAME = "runbook"
    screen: Screen | None = None
    _task: Any = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        super().v2_playbook_on_start(playbook)
        # It names no task of an included file: Ansible would end green having done nothing.
        if context.CLIARGS.get("start_at_task"):
            raise SystemExit(
                "Refused: --start-at-task leaves out phases. Nothing was changed. Next: the same command without it; a "
                "run goes on where it stopped"
            )
        # Each task is a fork of this process, and most of one is the syntax trees of what its module imports: many
        # objects and no garbage. With Python's 700 a fifth of that time went into looking for some.
        gc.set_threshold(20_000)
        if not context.CLIARGS["check"]:
            self.screen = Screen(self._display, self.get_option("progress_interval_seconds"), self._announce)

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        self._task = task
        super()._task_start(task, prefix)

    def _announce(self) -> None:
        """The task's name, which the default callback holds back until there is a result, stands above its progress."""
        if self._task and self._last_task_banner != self._task._uuid:
            self._print_task_banner(self._task)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._look(result)
        super().v2_runner_on_ok(result)

    def _clean_results(self, result: dict[str, Any], task_name: str) -> None:
        super()._clean_results(result, task_name)
        if self._display.verbosity == 0:
            leave_summary(result)
        if task_name in constants._ACTION_DEBUG and isinstance(result.get("msg"), (str, list)):
            result["_runbook_summary"] = True

    def _dump_results(self, result: Any, *arguments: Any, **options: Any) -> str:
        # YAML would quote most lines, break them, and take longer than many a module.
        if result.get("_runbook_summary") and self.get_option("result_format") == "yaml":
            lines = [result["msg"]] if isinstance(result["msg"], str) else result["msg"]
            lines = [part for line in lines for part in str(line).split("\n")]
            return "".join(f"\n    {line}".rstrip(" ") for line in lines)
        dumped: str = super()._dump_results(result, *arguments, **options)
        return dumped

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._look(result)
        super().v2_runner_on_failed(result, ignore_errors)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self.screen:
            self.screen.close()
        super().v2_playbook_on_stats(stats)

    def _look(self, result: Any) -> None:
        if self.screen:
            self.screen.look(ended_host=result.host.get_name())
