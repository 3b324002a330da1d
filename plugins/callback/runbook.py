"""Ansible's default output with the summary lines of modules, and their progress while they run."""

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
  - Prints a module's C(summary), a list of lines, below its task, and the message of M(ansible.builtin.debug), as plain
    lines.
  - Creates a private file and exports its path as E(RUNBOOK_PROGRESS_FILE). Modules append JSON lines to it.
  - On a terminal, draws a progress bar and updates it in place. Otherwise prints a line at intervals, and at once when
    work pauses, resumes, waits or fails. Draws nothing in check mode, or while no module reports progress.
  - If the reader of the output closes it (C(| head)), the play continues without output.
extends_documentation_fragment: [default_callback, result_format_callback]
options:
  progress_interval_seconds:
    description: Seconds between two lines if the output is not a terminal.
    type: float
    default: 5
    env: [{name: RUNBOOK_PROGRESS_INTERVAL_SECONDS}]
    ini: [{section: callback_runbook, key: progress_interval_seconds}]
requirements: [set as stdout in configuration]
"""

PREFIX = "runbook-progress-"
VARIABLE = "RUNBOOK_PROGRESS_FILE"
POLL_SECONDS = 0.2
ENDED = ("done", "failed")
#: Keys of a result that are printed with its summary.
ALWAYS_SHOWN = ("warnings", "deprecations", "exception")
Entry = dict[str, Any]


def duration(seconds: float) -> str:
    """Return seconds as text, in a suitable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def line_of(entry: Entry, *, width: int = 0, with_host: bool = False) -> str:
    """Return the progress of an entry as one line; with the width of a terminal, as a bar."""
    done, total, state = entry.get("rows_done"), entry.get("rows_total"), str(entry.get("state") or "")
    rows = []
    if done is not None and total is not None:
        share = min(1.0, done / total) if total else 1.0
        cells = width // 8
        bar = f"[{'#' * int(share * cells):.<{cells}}] {100 * share:.1f} %, {done}/{total}"
        rows = [bar if width else f"{done} of {total} rows ({100 * share:.1f} %)"]
    what = [state] if state == "done" else _pace(entry)
    if state not in ("running", "done"):
        # The reason of a pause first: a narrow terminal cuts off the rest.
        reason = str(entry.get("reason") or "")
        what = [reason if reason.startswith(state) else f"{state}: {reason}" if reason else state]
    elif entry.get("reason"):
        what.append(str(entry["reason"]))
    name = " ".join(str(entry.get(key) or "") for key in ("version", "step")).strip()
    text = ", ".join([*rows, *what, name]) if width else f"{name}: {', '.join(rows + what)}"
    if with_host and entry.get("host"):
        text = f"{entry['host']}: {text}"
    # Like module_utils/runbook/visible.py, which a plugin cannot import.
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


def remove_abandoned() -> None:
    """Remove directories of this user's killed commands: nobody holds the lock on their file."""
    for directory in glob.glob(os.path.join(tempfile.gettempdir(), f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            seen = os.lstat(directory)
            # A new directory may not be locked yet.
            if seen.st_uid != os.getuid() or not stat.S_ISDIR(seen.st_mode) or time.time() - seen.st_mtime < 60:
                continue
            with open(os.path.join(directory, "progress.jsonl"), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)


class Screen:
    """Reads the file and draws in a thread, holding the lock that Ansible holds while it prints or forks."""

    def __init__(self, display: Any, interval_seconds: float, announce: Callable[[], None]) -> None:
        self._display, self._print = display, display.display
        self._interval, self._announce = interval_seconds, announce
        self._process, self._terminal = os.getpid(), sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._entries: dict[str, Entry] = {}  # the newest entry of each host with a running module
        self._due: dict[str, float] = {}
        self._printed: set[str] = set()
        self._drawn: list[str] = []
        self._incomplete = b""
        remove_abandoned()
        self._directory = tempfile.mkdtemp(prefix=PREFIX)
        path = os.path.join(self._directory, "progress.jsonl")
        self._file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o600), "rb")
        fcntl.flock(self._file, fcntl.LOCK_EX)  # the kernel releases it, even after kill -9
        os.environ[VARIABLE] = path
        display.display = self._display_between
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Clear the bar and remove the file."""
        if os.getpid() != self._process or self._end.is_set():
            return
        self._end.set()
        self._thread.join()
        self.update()
        self._draw({})
        self._display.display = self._print
        os.environ.pop(VARIABLE, None)
        self._file.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def update(self, ended_host: str | None = None) -> None:
        """Read new lines and show them.

        :param ended_host: the host on which a module has ended.
        """
        with self._display._lock:
            *lines, self._incomplete = (self._incomplete + self._file.read()).split(b"\n")
            for text in lines:
                with contextlib.suppress(ValueError, TypeError, AttributeError):  # truncated by a full disk
                    self._show(json.loads(text))
            if ended_host is not None:
                self._entries.pop(ended_host if ended_host in self._entries else "", None)
            self._draw(self._entries)

    def _watch(self) -> None:
        while not self._end.wait(POLL_SECONDS):
            self.update()

    def _show(self, entry: Entry) -> None:
        host, now = str(entry.get("host") or ""), time.monotonic()
        before, state = self._entries.get(host, {}), entry.get("state")
        if [before.get(key) for key in ("version", "step")] != [entry.get(key) for key in ("version", "step")]:
            self._due[host], before = now + self._interval, {}
            self._printed.discard(host)
        self._entries[host] = entry
        # A step that ends before its first line is due prints no line: its result follows.
        changed = state != before.get("state", "running") and (state != "done" or host in self._printed)
        if not self._terminal and (changed or (state not in ENDED and now >= self._due[host])):
            self._due[host] = now + self._interval
            self._printed.add(host)
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
        """Write to the file descriptor unless that would block, and return whether it was written."""
        with closed_output_ignored():
            sys.stdout.flush()
            if select.select([], [sys.stdout.fileno()], [], 0)[1]:
                return os.write(sys.stdout.fileno(), text.encode(errors="replace")) > 0
        return False

    def _display_between(self, *arguments: Any, **options: Any) -> None:
        """Clear the bar, call Display.display and flush its output."""
        if os.getpid() != self._process:
            self._print(*arguments, **options)
            return
        with self._display._lock:
            self._draw({})
            with closed_output_ignored():
                self._print(*arguments, **options)
                sys.stdout.flush()


def keep_summary(result: dict[str, Any]) -> None:
    """Remove everything from a result except its summary, which the default callback then prints."""
    lines = result.get("summary")
    if result.get("failed") or not lines or not isinstance(lines, list):
        return
    kept = {key: value for key, value in result.items() if key in ALWAYS_SHOWN or key.startswith("_")}
    result.clear()
    result.update(kept, msg=lines, _ansible_verbose_always=True, _runbook_summary=True)


@contextlib.contextmanager
def closed_output_ignored() -> Iterator[None]:
    """Let the play continue and exit with its own status after the reader has closed the output."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            if poll.poll(0):  # reports only errors and hang-ups
                os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class CallbackModule(DefaultCallback):
    """The default callback with a Screen while a playbook runs."""

    CALLBACK_NAME = "runbook"
    screen: Screen | None = None
    _task: Any = None

    def v2_playbook_on_start(self, playbook: Any) -> None:
        super().v2_playbook_on_start(playbook)
        # It finds no tasks of included files: Ansible would succeed without doing anything.
        if context.CLIARGS.get("start_at_task"):
            raise SystemExit(
                "Refused: --start-at-task leaves out phases. Nothing was changed. Next: the same command without it; a "
                "run continues where it stopped"
            )
        # Each task is a fork of this process that parses the module's imports: many objects, but no garbage. With
        # Python's default of 700, a fifth of that time was garbage collection.
        gc.set_threshold(20_000)
        if not context.CLIARGS["check"]:
            self.screen = Screen(self._display, self.get_option("progress_interval_seconds"), self._announce)

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        self._task = task
        super()._task_start(task, prefix)

    def _announce(self) -> None:
        """Print the task's name above its progress; the default callback prints it with the result."""
        if self._task and self._last_task_banner != self._task._uuid:
            self._print_task_banner(self._task)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._update(result)
        super().v2_runner_on_ok(result)

    def _clean_results(self, result: dict[str, Any], task_name: str) -> None:
        super()._clean_results(result, task_name)
        if self._display.verbosity == 0:
            keep_summary(result)
        if task_name in constants._ACTION_DEBUG and isinstance(result.get("msg"), (str, list)):
            result["_runbook_summary"] = True

    def _dump_results(self, result: Any, *arguments: Any, **options: Any) -> str:
        # YAML would quote and break most lines, and is slow.
        if result.get("_runbook_summary") and self.get_option("result_format") == "yaml":
            lines = [result["msg"]] if isinstance(result["msg"], str) else result["msg"]
            lines = [part for line in lines for part in str(line).split("\n")]
            return "".join(f"\n    {line}".rstrip(" ") for line in lines)
        dumped: str = super()._dump_results(result, *arguments, **options)
        return dumped

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._update(result)
        super().v2_runner_on_failed(result, ignore_errors)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self.screen:
            self.screen.close()
        super().v2_playbook_on_stats(stats)

    def _update(self, result: Any) -> None:
        if self.screen:
            self.screen.update(ended_host=result.host.get_name())
