"""docs/benchmarks.md and its chart, made from the results; python -m bench.document judges and writes them anew."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import BENCH
from .chart import bar_chart
from .document_peers import peers_section
from .markdown import table
from .runs import Medians
from .targets import SMALL_DATABASE, default_compression, judge

TITLES = {
    "guide": ("The guide's SQL, one transaction per file", "other"),
    "limit": ("Fastest offline form (the limit)", "limit"),
    "online": ("Our four migrations, online", "ours"),
    "offline": ("Our four migrations, offline strategy", "ours"),
    "whole": ("The whole migrate.yml", "ours"),
}


def write(results: Path, directory: Path) -> None:
    """Write the document and its chart."""
    content = json.loads(results.read_text(encoding="utf-8"))
    medians = Medians(content["runs"])
    directory.mkdir(parents=True, exist_ok=True)
    panels = []
    for size in _sizes(medians):
        found = ((title, medians.seconds(name, size), kind) for name, (title, kind) in TITLES.items())
        panels.append((f"{size:,} audio posts", [(t, seconds, kind) for t, seconds, kind in found if seconds]))
    chart = bar_chart("Seconds for the four migrations, and for the whole run", panels)
    (directory / "benchmarks.svg").write_text(chart, encoding="utf-8")
    (directory / "benchmarks.md").write_text("\n".join(_lines(content, medians)) + "\n", encoding="utf-8")


def _lines(content: dict[str, Any], medians: Medians) -> Iterable[str]:
    yield "# Benchmarks"
    yield ""
    yield "Made by `make bench`; do not edit. [bench/README.md](../bench/README.md) says what is measured, and how."
    yield ""
    yield from _machine(content, medians)
    yield from ["", "## Targets", "", *_targets(content["targets"])]
    yield from ["", "![Seconds by contender and size](benchmarks.svg)"]
    for memory in ("default", "small"):
        for size in _sizes(medians, memory):
            yield from ["", f"## {size:,} audio posts{', little memory' if memory == 'small' else ''}", ""]
            yield from _contenders(medians, size, memory)
    yield from _phases(medians)
    yield from _compressions(medians)
    yield from peers_section(medians)


def _machine(content: dict[str, Any], medians: Medians) -> Iterable[str]:
    machine, settings = content["machine"], content["settings"]
    times = sorted(run["at"] for run in medians.runs)
    counts: dict[tuple[str, int, str], int] = {}
    for run in medians.runs:
        key = (run["measurement"], run["audio_posts"], run["memory"])
        counts[key] = counts.get(key, 0) + 1
    yield (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gigabytes']} GB,"
        f" {machine['system']}. Server: {machine.get('postgres', settings['postgres'])},"
        f" Unix socket; load of the machine before: {machine['load_before'][0]}."
    )
    for memory, parameters in settings["server"].items():
        shown = ", ".join(f"{name} {value}" for name, value in parameters.items())
        yield f"\nSettings ({memory} memory): {shown}."
    yield ""
    fewest, most = min(counts.values(), default=0), max(counts.values(), default=0)
    number = "one run" if most == 1 else f"{most} runs" if fewest == most else f"{fewest} to {most} runs"
    when = f" Measured {times[0]} to {times[-1]}." if times else ""
    yield (
        "Data: the demo's, of which 70 % of the posts are audio, with playlist rows for 30 %. Every figure is the"
        f" median of {number}, contenders in turn, each on a fresh copy of the database.{when}"
    )


def _targets(targets: Sequence[dict[str, Any]]) -> Iterable[str]:
    rows = [
        (
            target["id"],
            target["title"],
            "" if target["ratio"] is None else f"{target['ratio']:.2f}",
            "" if target["limit"] is None else f"{target['limit']:g}",
            {True: "met", False: "**not met**", None: "not judged"}[target["met"]],
            target["detail"],
        )
        for target in targets
    ]
    return table(("", "ratio of", "ratio", "at most", "", "measured"), rows, "llrrll")


def _contenders(medians: Medians, size: int, memory: str) -> Iterable[str]:
    rows = []
    for name, (title, _) in TITLES.items():
        seconds = medians.seconds(name, size, memory)
        if seconds is None:
            if why := medians.why_not(name, size, memory):
                rows.append((title, why[:120], "", "", ""))
            continue
        found = medians.of(name, size, memory)
        parts = [medians.seconds(name, size, memory, part) or 0.0 for part in found[0]["parts"]]
        each = " + ".join(f"{part:.1f}" for part in parts) if name != "whole" else "below"
        rate = medians.detail(name, size, "rows_per_second", memory)
        wal = sorted(run.get("wal_bytes", 0) for run in found)[len(found) // 2]
        rows.append((title, f"{seconds:.1f}", each, f"{rate:,.0f}" if rate else "", f"{wal / 2**20:,.0f}"))
    return table(("", "seconds", "of its parts", "rows per second", "WAL, MB"), rows, "lrlrr")


def _phases(medians: Medians) -> Iterable[str]:
    sizes = medians.sizes("whole")
    if not sizes:
        return
    names = list(dict.fromkeys(part for size in sizes for run in medians.of("whole", size) for part in run["parts"]))
    rows: list[Sequence[str]] = []
    for name in names:
        values = (medians.seconds("whole", size, part=name) for size in sizes)
        rows.append((name, *("" if value is None else f"{value:.1f}" for value in values)))
    outside = (medians.detail("whole", size, "outside_modules_seconds") for size in sizes)
    rows.append(("Ansible itself", *("" if value is None else f"{value:.1f}" for value in outside)))
    totals = (medians.seconds("whole", size) for size in sizes)
    rows.append(("**together**", *("" if value is None else f"**{value:.1f}**" for value in totals)))
    yield from ["", f"## The whole run, phase by phase ({SMALL_DATABASE:,} audio posts are the small database)", ""]
    yield from table(("seconds", *(f"{size:,}" for size in sizes)), rows, "l" + "r" * len(sizes))


def _compressions(medians: Medians) -> Iterable[str]:
    names = list(dict.fromkeys(run["measurement"] for run in medians.runs if run["measurement"].startswith("backup ")))
    size = max((size for name in names for size in medians.sizes(name)), default=0)
    rows = []
    for name in names:
        parts = ("pg_dump", "pg_backup", "pg_restore", "load", "restore_in_place")
        figures = [medians.seconds(name, size, part=part) for part in parts]
        if None in figures:
            continue
        megabytes = (medians.detail(name, size, "bytes") or 0) / 2**20
        chosen = name.removeprefix("backup ")
        label = f"{chosen} (the default)" if chosen == default_compression() else chosen
        total = medians.seconds(name, size) or 0.0
        rows.append((label, f"{megabytes:,.0f}", *(f"{figure:.1f}" for figure in figures), f"{total:.1f}"))
    if not rows:
        return
    yield from ["", f"## Backup and restore at {size:,} audio posts", ""]
    head = ("compression", "MB", "pg_dump -j2", "our backup", "pg_restore -j2", "our load", "our whole restore")
    yield from table((*head, "our backup + load"), rows, "lrrrrrrr")
    yield ""
    yield "Our backup reads itself back before it counts; our restore proves every row and key before it commits."


def _sizes(medians: Medians, memory: str = "default") -> list[int]:
    return [size for size in medians.sizes("", memory) if any(medians.of(name, size, memory) for name in TITLES)]


def main() -> None:
    """Judge the last results again and write the document."""
    latest = BENCH / "results" / "latest.json"
    content = json.loads(latest.read_text(encoding="utf-8"))
    content["targets"] = judge(Medians(content["runs"]))
    latest.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    write(latest, BENCH.parent / "docs")


if __name__ == "__main__":
    main()
