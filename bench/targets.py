"""Evaluate the targets of the bench from the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.backup.dump import best_compression
from ansible.module_utils.runbook.embedded.binaries import locate

from .commands import FLOOR, LIMITS
from .peers import PEERS
from .runs import Medians

Target = dict[str, Any]
#: Version of the embedded server, for whose tools the default is evaluated.
POSTGRES = 17
SMALL_DATABASE = 1000


def default_compression() -> str:
    """Return the default compression of pg_backup."""
    return best_compression(Path(locate(POSTGRES).bin_directory) / "pg_dump", POSTGRES)


def judge(medians: Medians) -> list[Target]:
    """Return every target with its ratio; ``met`` is null if a measurement is missing."""
    sizes = [size for size in medians.sizes("online") if size > SMALL_DATABASE] or medians.sizes("online")
    largest = max(sizes, default=0)

    def seconds(measurement: str) -> float | None:
        return medians.seconds(measurement, largest)

    def at(target: Target) -> Target:
        return {**target, "detail": f"{target['detail']} at {largest:,} audio posts"} if target["ratio"] else target

    return [
        at(_ratio("1", "The four migrations online / the guide's SQL", seconds("online"), seconds("guide"), 0.40)),
        at(
            _ratio(
                "2", "The four migrations online / the fastest offline form", seconds("online"), seconds("limit"), 1.5
            )
        ),
        at(_ratio("2b", "The offline strategy / the fastest offline form", seconds("offline"), seconds("limit"), 1.15)),
        at(_ratio("3", "The whole migrate.yml / the guide's SQL alone", seconds("whole"), seconds("guide"), 1.0)),
        *_commands(medians),
        *_application(medians),
        *_backup(medians, max(medians.sizes(f"backup {default_compression()}"), default=0)),
        _peers(medians),
        _snapshot(medians, max(medians.sizes("snapshot"), default=0)),
        _rate(medians, sizes),
    ]


def _commands(medians: Medians) -> list[Target]:
    titles = {
        "whole run": "The whole migrate.yml",
        "status": "status.yml",
        "control": "control.yml",
        "nothing to do": "migrate.yml with nothing to do",
    }
    found = {name: medians.seconds("commands", SMALL_DATABASE, part=name) for name in (FLOOR, *titles)}
    return [
        _ratio(
            f"4{letter}",
            f"{title} with {SMALL_DATABASE:,} audio posts / a playbook with one debug task",
            found[name],
            found[FLOOR],
            LIMITS[name],
        )
        for letter, (name, title) in zip(("", "b", "c", "d"), titles.items(), strict=True)
    ]


def _ratio(number: str, title: str, ours: float | None, other: float | None, limit: float | None) -> Target:
    if ours is None or not other:
        return _target(number, title, None, limit, "not measured")
    return _target(number, title, ours / other, limit, f"{ours:.1f} s / {other:.1f} s")


def _target(number: str, title: str, ratio: float | None, limit: float | None, detail: str) -> Target:
    shown = None if ratio is None else round(ratio, 2)
    met = None if shown is None or limit is None else shown <= limit
    return {"id": number, "title": title, "ratio": shown, "limit": limit, "met": met, "detail": detail}


def _application(medians: Medians) -> list[Target]:
    size = max(medians.sizes("latency"), default=0)
    loads = [run["details"]["load"] for run in medians.of("latency", size)]
    title = "The application's p99 with the migration / without"
    second = "The longest wait at a step that locks / lock_timeout and the step's own time"
    if not loads:
        why = medians.why_not("latency", size).split("\n", 1)[0] or "not measured"
        missing = [_target("5", title, None, 5.0, why), _target("5b", second, None, 1.0, why)]
        # A migration that failed under load does not meet the target.
        failed = any(run["failure"] for run in medians.runs if run["measurement"] == "latency")
        return [{**target, "met": False if failed else None} for target in missing]
    ordered = sorted(loads, key=_p99_ratio)
    load = ordered[len(ordered) // 2]
    figures = [load[name]["milliseconds"]["all"] for name in ("with", "without")]
    failed = sum(load["with"]["failed"] for load in loads)
    detail = (
        f"p99 {figures[0]['p99']} ms / {figures[1]['p99']} ms at {size:,} audio posts and"
        f" {load['with']['rate_reached']} statements per second; {failed} failed"
    )
    waits = [wait for load in loads for wait in load["with"]["lock_waits"]]
    worst = max(waits, key=lambda wait: wait["seconds"] / wait["allowed"], default=None)
    if worst is None:
        return [
            _target("5", title, _p99_ratio(load), 5.0, detail),
            _target("5b", second, 0.0, 1.0, "none of the longest waits was at such a step"),
        ]
    steps = "; ".join(worst["steps"])
    return [
        _target("5", title, _p99_ratio(load), 5.0, detail),
        _target(
            "5b",
            second,
            worst["seconds"] / worst["allowed"],
            1.0,
            f"{worst['seconds']:.3f} s of {worst['allowed']:.3f} s ({steps})",
        ),
    ]


def _p99_ratio(load: dict[str, Any]) -> float:
    with_migration, without = (load[name]["milliseconds"]["all"]["p99"] for name in ("with", "without"))
    return float(with_migration / without)


def _backup(medians: Medians, size: int) -> list[Target]:
    chosen = default_compression()

    def part(compression: str, name: str) -> float | None:
        return medians.seconds(f"backup {compression}", size, part=name)

    return [
        _ratio(
            "6", f"pg_backup / pg_dump -Fd -j2 ({chosen})", part(chosen, "pg_backup"), part(chosen, "pg_dump"), 1.15
        ),
        _ratio(
            "6b",
            f"Loading a backup / pg_restore -j2 ({chosen})",
            part(chosen, "load"),
            part(chosen, "pg_restore"),
            1.15,
        ),
        _best_compression(medians, size, chosen),
    ]


def _best_compression(medians: Medians, size: int, chosen: str) -> Target:
    """Judge the default; it counts as best if the difference is smaller than the spread of the runs."""
    title = f"Backup and load with the default compression ({chosen}) / the best compression"
    names = sorted({run["measurement"] for run in medians.runs if run["measurement"].startswith("backup ")})
    totals = {name.removeprefix("backup "): medians.seconds(name, size) for name in names}
    known = {name: total for name, total in totals.items() if total is not None}
    if chosen not in known:
        return _target("6c", title, None, 1.0, "not measured")
    best = min(known, key=lambda name: known[name])
    target = _target("6c", title, known[chosen] / known[best], 1.0, f"best: {best}")
    if best != chosen:
        target["detail"] += f", {known[best]:.2f} s; {chosen} {known[chosen]:.2f} s"
        spreads = [spread for name in (best, chosen) if (spread := medians.spread(f"backup {name}", size)) is not None]
        if len(spreads) == 2 and known[chosen] - known[best] < min(spreads):
            target["met"] = True
            target["detail"] += f": a tie, the runs of each lie {spreads[0]:.2f} s and {spreads[1]:.2f} s apart"
    return target


def _peers(medians: Medians) -> Target:
    size = max((size for peer in PEERS for size in medians.sizes(f"peer {peer}")), default=0)
    found = {peer: medians.seconds(f"peer {peer}", size) for peer in PEERS}
    known = {peer: seconds for peer, seconds in found.items() if seconds is not None}
    title = "The four migrations online / the fastest peer with the same files"
    ours = medians.seconds("online", size)
    missing = ", ".join(peer for peer in PEERS if peer not in known)
    target = _ratio("7", title, ours, min(known.values(), default=None), None)
    target["met"] = None if not known else not missing
    target["detail"] += f"; measured: {', '.join(known) or 'none'}" + (f"; missing: {missing}" if missing else "")
    return target


def _snapshot(medians: Medians, size: int) -> Target:
    scan = medians.seconds("snapshot", size, part="scan")
    target = _ratio("8", "Snapshot with fingerprints / one scan", medians.seconds("snapshot", size), scan, 2.0)
    if (cost := medians.detail("snapshot", size, "seconds_per_million_rows")) is not None:
        target["detail"] += f"; {cost:.2f} s per million rows"
    return target


def _rate(medians: Medians, sizes: list[int]) -> Target:
    rates = {size: medians.detail("online", size, "rows_per_second") for size in sizes}
    known = {size: rate for size, rate in rates.items() if rate}
    title = "Rows per second of the backfill, highest / lowest of the sizes"
    if len(known) < 2:
        return _target("9", title, None, 1.15, "not measured at several sizes")
    detail = ", ".join(f"{size:,}: {rate:,.0f}" for size, rate in known.items())
    return _target("9", title, max(known.values()) / min(known.values()), 1.15, detail)
