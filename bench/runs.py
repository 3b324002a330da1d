"""Keep the measured runs in a file, and compute medians."""

from __future__ import annotations

import datetime
import json
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contenders import Outcome

Run = dict[str, Any]


@dataclass
class Results:
    """All runs of a `make bench`, with machine and settings.

    :param path: the file to which each run is written at once, so that an interrupted bench loses nothing.
    """

    path: Path
    machine: dict[str, Any]
    settings: dict[str, Any]
    runs: list[Run] = field(default_factory=list)

    def add(self, measurement: str, audio_posts: int, memory: str, outcome: Outcome | str, **more: Any) -> Run:
        """Add a run; a text instead of an outcome says why there is none."""
        run: Run = {
            "measurement": measurement,
            "audio_posts": audio_posts,
            "memory": memory,
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": None,
            "parts": {},
            "details": {},
            "failure": "",
            "skipped": "",
            **more,
        }
        if isinstance(outcome, str):
            run["skipped"] = outcome
        else:
            run |= {
                "seconds": round(outcome.seconds, 3),
                "parts": {name: round(seconds, 3) for name, seconds in outcome.parts.items()},
                "details": outcome.details,
                "failure": outcome.failure,
            }
        self.runs.append(run)
        self.write(self.path)
        return run

    def write(self, path: Path, **more: Any) -> None:
        """Write the results atomically."""
        content = {"machine": self.machine, "settings": self.settings, **more, "runs": self.runs}
        draft = path.with_name(path.name + ".new")
        draft.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
        os.replace(draft, path)

    def take_over(self, path: Path, measured_again: Iterator[tuple[str, int, str]]) -> None:
        """Keep the runs of an earlier file that are not repeated, with their settings."""
        if not path.exists():
            return
        again = set(measured_again)
        earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        runs: list[Run] = earlier["runs"]
        self.runs += [run for run in runs if (run["measurement"], run["audio_posts"], run["memory"]) not in again]
        server = {**earlier["settings"]["server"], **self.settings["server"]}
        self.settings["server"] = dict(sorted(server.items()))  # the default first, as in the document's tables


@dataclass(frozen=True)
class Medians:
    """Medians of the successful runs of a list."""

    runs: list[Run]

    def of(self, measurement: str, audio_posts: int, memory: str = "default") -> list[Run]:
        """Return the runs of a measurement that completed."""
        return [
            run
            for run in self.runs
            if (run["measurement"], run["audio_posts"], run["memory"]) == (measurement, audio_posts, memory)
            and not run["failure"]
            and not run["skipped"]
        ]

    def seconds(self, measurement: str, audio_posts: int, memory: str = "default", part: str = "") -> float | None:
        """Return the median time of a measurement or of a part of it."""
        found = [
            run["parts"].get(part) if part else run["seconds"] for run in self.of(measurement, audio_posts, memory)
        ]
        values = [value for value in found if value is not None]
        return statistics.median(values) if values else None

    def spread(self, measurement: str, audio_posts: int) -> float | None:
        """Return the range of the times of a measurement; None for a single run."""
        values = [run["seconds"] for run in self.of(measurement, audio_posts)]
        return max(values) - min(values) if len(values) > 1 else None

    def detail(self, measurement: str, audio_posts: int, name: str, memory: str = "default") -> float | None:
        """Return the median of a figure in a measurement's details."""
        values = [
            run["details"][name]
            for run in self.of(measurement, audio_posts, memory)
            if run["details"].get(name) is not None
        ]
        return statistics.median(values) if values else None

    def sizes(self, measurement: str = "", memory: str = "default") -> list[int]:
        """Return the measured sizes in ascending order."""
        found = {
            run["audio_posts"]
            for run in self.runs
            if run["memory"] == memory and measurement in ("", run["measurement"]) and not run["skipped"]
        }
        return sorted(found)

    def why_not(self, measurement: str, audio_posts: int, memory: str = "default") -> str:
        """Return why a measurement has no figures: skipped or failed; empty if it was not tried."""
        for run in reversed(self.runs):
            if (run["measurement"], run["audio_posts"], run["memory"]) == (measurement, audio_posts, memory):
                return str(run["skipped"] or run["failure"])
        return ""
