"""The load: slots at a fixed rate, taken by whichever connection is free."""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg2

from .application import Application
from .record import Record
from .sessions import Observer, Session
from .world import World

#: How often the watcher looks for application sessions that wait for a lock, and for new versions.
LOOK_SECONDS = 0.2
LISTED_BLOCKED = 300


@dataclass
class Load:
    """What to do to which database.

    :param server: host, port and dbname.
    :param until: the load ends when this says so, and after ``seconds`` in any case.
    """

    server: Mapping[str, Any]
    superuser: str
    login: str = "authenticator"
    rate: float = 200
    write_share: float = 0.1
    seconds: float = 60
    connections: int = 8
    seed: int = 1
    until: Callable[[], bool] = field(default=lambda: False)


def run(load: Load) -> dict[str, Any]:
    """Run the load to its end and return what was measured.

    :raises psycopg2.Error: the database cannot be read at the start.
    """
    observer = Observer({**load.server, "user": load.superuser})
    world = World(observer, load.seed)
    world.versions = {row[0] for row in observer.ask("versions")}
    accounts = Session({**load.server, "user": load.superuser}, "supabase_auth_admin")
    sessions = [Session({**load.server, "user": load.login}, "authenticated") for _ in range(load.connections)]
    for session in sessions:
        session.cursor().close()
    accounts.cursor().close()
    record = Record()
    stop = threading.Event()
    slots = itertools.count()
    account_lock = threading.Lock()
    before = os.times()
    with concurrent.futures.ThreadPoolExecutor(load.connections + 1) as pool:
        futures = [
            pool.submit(_work, load, Application(world, record, session, _Shared(accounts, account_lock)), slots, stop)
            for session in sessions
        ]
        futures.append(pool.submit(_watch, load, world, record, stop))
        # A thread that ends by itself met something that this program is not made for: everybody stops, and it is told.
        while not stop.wait(0.1):
            if record.now() >= load.seconds or load.until() or any(future.done() for future in futures):
                stop.set()
        seconds = record.now()
    for future in futures:
        future.result()
    after = os.times()
    for session in (*sessions, accounts):
        session.close()
    observer.close()
    missed = max(0, int(seconds * load.rate) - next(slots))
    return {
        "seed": load.seed,
        "rate_wanted": load.rate,
        "connections": load.connections,
        "never_started": missed,
        "own_cpu_share": round((after.user + after.system - before.user - before.system) / max(seconds, 0.001), 3),
        **record.summary(seconds),
        "ledger": world.ledger.as_lists(),
    }


class _Shared(Session):
    """The one connection of the sign-in service: requests for it queue."""

    def __init__(self, session: Session, lock: threading.Lock) -> None:
        super().__init__({}, "")
        self._session = session
        self._lock = lock

    def send(self, kind: str, user: str | None, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._session.send(kind, user, values)


def _work(load: Load, application: Application, slots: Iterator[int], stop: threading.Event) -> None:
    record = application.record
    while not stop.is_set():
        slot = next(slots)
        due = slot / load.rate
        if due > record.now() and stop.wait(due - record.now()):
            return
        before = record.now()
        try:
            application.perform(slot, load.seed, due, load.write_share)
        except psycopg2.Error as error:  # asking why a write found nothing; what the application asks is recorded there
            record.fails("observer", before, error, {}, None)
        if application.session.broken and record.now() - before < 1:
            stop.wait(0.5)  # no server there: do not count a thousand refusals a second


def _watch(load: Load, world: World, record: Record, stop: threading.Event) -> None:
    """Notice applied versions, and who makes the application wait."""
    observer = Observer({**load.server, "user": load.superuser})
    begun = time.monotonic()
    while not stop.wait(LOOK_SECONDS):
        try:
            if time.monotonic() - begun >= 1:
                begun = time.monotonic()
                applied = {row[0] for row in observer.ask("versions")}
                for version in sorted(applied ^ world.versions):
                    record.versions.append(
                        {"version": version, "second": round(record.now(), 1), "applied": version in applied}
                    )
                world.versions = applied
            for query, name, blocking, state, age in observer.ask("waiting"):
                if len(record.blocked) < LISTED_BLOCKED:
                    record.blocked.append(
                        {
                            "second": round(record.now(), 2),
                            "query": query.rpartition("set_config")[2].partition("; ")[2][:120],
                            "blocked_by": name,
                            "blocking_query": blocking,
                            "state": state,
                            "transaction_seconds": round(age, 3) if age is not None else None,
                        }
                    )
        except psycopg2.Error:
            continue  # the server is gone for now; the workers count what that costs
    observer.close()
