"""Evaluate the criteria of the soak, and print its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.traffic.record import EXPECTED

#: Kinds of statements that must have run; otherwise the soak proves nothing about them.
MUST_HAPPEN = (
    "post_old", "post_new", "track_new", "edit_text", "edit_audio_url", "playlist_add", "playlist_remove",
    "playlist_reorder", "delete_post", "playlist_delete", "account_delete", "comment",
)  # fmt: skip
#: Limit of the application's p99 during the migration, relative to its p99 without.
P99_RATIO_LIMIT = 5.0


def criteria(measured: Mapping[str, Any], rate: float) -> list[dict[str, Any]]:
    """Return each criterion with the measured value and whether it is met."""
    found = []

    def wants(name: str, value: Any, met: bool) -> None:
        found.append({"name": name, "found": value, "met": bool(met)})

    load = measured["with"]
    wants("the run succeeded", f"exit status {measured['run']['status']}", measured["run"]["status"] == 0)
    wants("at least 200 statements per second", load["rate_reached"], load["rate_reached"] >= min(200, rate * 0.99))
    wants("every slot of the load was served", load["never_started"], load["never_started"] == 0)
    for name, part in (("without", measured["without"]), ("with", load)):
        wants(f"no failed statement {name} migration", part["failed"], part["failed"] == 0)
    missing = [kind for kind in MUST_HAPPEN if not load["kinds"].get(kind)]
    wants("every kind of write ran", missing or "all", not missing)
    events = sum(measured["slot"]["events"].values())
    wants("the logical slot was read", events, events > 0)
    for entry in measured["invariants"]:
        wants(
            entry["name"],
            f"{entry['wrong']} of {entry['rows_examined']}",
            not entry["wrong"] and entry["rows_examined"],
        )
    return found


def as_text(result: Mapping[str, Any]) -> str:
    """Return the table, and the criteria that are not met."""
    without, load = result["without"], result["with"]
    lines = [
        "",
        f"{result['audio_posts']} audio posts, PostgreSQL {result['machine']['postgres']},"
        f" {result['machine']['cores']} cores; migrate.yml took {result['run']['seconds']} s",
        "",
        f"{'':32}{'without migration':>28}{'with migration':>28}",
        f"{'milliseconds':32}{'p50      p99      max':>28}{'p50      p99      max':>28}",
    ]
    for name in ("reads", "writes", "all"):
        cells = [
            "".join(f"{part['milliseconds'][name][figure] or 0:9.1f}" for figure in ("p50", "p99", "max"))
            for part in (without, load)
        ]
        lines.append(f"{name:32}{cells[0]:>28}{cells[1]:>28}")
    for title, key in (("statements", "statements"), ("statements per second", "rate_reached"), ("failed", "failed")):
        lines.append(f"{title:32}{without[key]:>28}{load[key]:>28}")
    lines += [f"{name:32}{without['expected'][name]:>28}{load['expected'][name]:>28}" for name in EXPECTED]
    lines += ["", "Longest waits with migration:", *(_wait(wait) for wait in load["longest"][:5])]
    for part in (without, load):
        lines += [f"FAILED {name}: {number}" for name, number in part["errors"].items()]
    lines.append("")
    lines += [f"{'met    ' if c['met'] else 'NOT MET'} {c['name']}: {c['found']}" for c in result["criteria"]]
    before, after = without["milliseconds"]["all"]["p99"], load["milliseconds"]["all"]["p99"]
    if before and after:
        lines.append(f"p99 with migration is {after / before:.1f} times that without (target: {P99_RATIO_LIMIT:g})")
    return "\n".join(lines)


def _wait(wait: Mapping[str, Any]) -> str:
    steps = "; ".join(wait["steps"])[:90]
    return f"  {wait['milliseconds']:8.1f} ms  {wait['kind']:20} at {wait['second']:.1f} s  {steps}"
