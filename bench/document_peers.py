"""Write the section about other tools in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable

from .markdown import table
from .peers import PEERS
from .runs import Medians

HEAD = (
    "", "seconds", "commits while rows move", "longest wait of a reader while a lock was held", "resume",
    "one version, then stop", "verification between versions", "lock retries", "input",
)  # fmt: skip

#: Results of experiments: a lock held by another session, a kill during migration 2, the command's help text.
FOUND = {
    "psql": (
        "from the beginning; the backfill is lost",
        "yes: one file per call",
        "only by the files themselves",
        "no",
        "the unchanged files",
    ),
    "supabase": (
        "by file, from its beginning; the backfill is lost",
        "no: `db push` has no target",
        "only by the files themselves",
        "no",
        "the unchanged files",
    ),
    "dbmate": (
        "by file, from its beginning; the backfill is lost",
        "no: `up` has no target",
        "only by the files themselves",
        "no",
        "the files, split at every CONCURRENTLY and VACUUM, because it sends a file as one query in one transaction",
    ),
    "sqitch": (
        "by change, from its beginning; the backfill is lost",
        "yes: `deploy --to-change`",
        "yes: verify scripts, here from the plan's checks",
        "no",
        "the unchanged files as deploy scripts",
    ),
    "": (
        "from the last committed batch",
        "yes: `-e stop_after=`",
        "yes: the plan's checks, before the history records it",
        "yes",
        "the unchanged files",
    ),
}


def peers_section(medians: Medians) -> Iterable[str]:
    """Return the table; for a missing tool it shows the command that installs it."""
    size = max((size for peer in PEERS for size in medians.sizes(f"peer {peer}")), default=0)
    if not size and not any(run["measurement"].startswith("peer ") for run in medians.runs):
        return
    if not size:
        size = next(run["audio_posts"] for run in medians.runs if run["measurement"].startswith("peer "))
    rows = []
    for name, title in [*((name, peer.title) for name, peer in PEERS.items()), ("", "ours, online")]:
        measurement, probe = (f"peer {name}", f"probe {name}") if name else ("online", "probe online")
        seconds = medians.seconds(measurement, size)
        if seconds is None:
            rows.append((title, "", medians.why_not(measurement, size)[:160], *[""] * 6))
            continue
        counts = medians.detail(probe, size, "counts_seen")
        wait = medians.detail(probe, size, "longest_read_seconds")
        held = medians.detail(probe, size, "held_seconds")
        seen = "" if counts is None else "no: all rows at once" if counts <= 1 else f"yes: {counts:.0f} states seen"
        waited = "" if wait is None else f"{wait:.2f} s of {held:.0f}"
        resume, target, verification, retries, given = FOUND[name]
        rows.append((title, f"{seconds:.1f}", seen, waited, resume, target, verification, retries, given))
    yield from ["", f"## Other tools at {size:,} audio posts, the same migration files", ""]
    yield from table(HEAD, rows, "lr" + "l" * 7)
    yield ""
    yield (
        "Without a runner, a file calls its backfill once for the whole table, in one transaction. Other sessions see"
        " the rows only when it ends; progress needs commits while rows move. For the lock column, another session"
        " holds ACCESS SHARE on `posts` for some seconds while a third one reads it. For the resume column, tool and"
        " session were ended with kill -9 during the backfill, and the command was repeated."
    )
