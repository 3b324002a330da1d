"""Subscribe to the database's changes as Realtime does: read a logical slot until the end file appears.

Usage: python -m bench.slot_reader --host SOCKET --seconds 600 --until-file FILE --output slot.json
"""

from __future__ import annotations

import argparse
import json
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extras import LogicalReplicationConnection, StopReplication

from bench.traffic.__main__ import write

PUBLICATION = "supabase_realtime"
FEEDBACK_SECONDS = 1.0
#: The first byte of a pgoutput message is its type.
KINDS = {b"I": "inserts", b"U": "updates", b"D": "deletes", b"T": "truncates", b"C": "transactions"}


def read(
    options: Mapping[str, Any],
    slot: str,
    stop: Callable[[], bool],
    seconds: float,
    ready: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Create a slot, read its changes, and drop it at the end.

    :param ready: called when the slot is being read.
    :returns: events by kind, and the largest lag of the slot in bytes.
    """
    counted: Counter[str] = Counter()
    connection = psycopg2.connect(**options, connection_factory=LogicalReplicationConnection)
    looker = psycopg2.connect(**options)
    looker.autocommit = True
    cursor = connection.cursor()
    cursor.create_replication_slot(slot, output_plugin="pgoutput")
    largest_lag = 0
    begun = time.monotonic()
    try:
        cursor.start_replication(
            slot_name=slot, options={"proto_version": "1", "publication_names": PUBLICATION}, decode=False
        )
        ready()
        looked = 0.0
        while not stop() and time.monotonic() - begun < seconds:
            message = cursor.read_message()
            if message is not None:
                counted[KINDS.get(message.payload[:1], "other")] += 1
                cursor.send_feedback(flush_lsn=message.data_start)
                continue
            if time.monotonic() - looked >= FEEDBACK_SECONDS:
                looked = time.monotonic()
                # No message is waiting: everything up to the server's current position is read.
                cursor.send_feedback(flush_lsn=cursor.wal_end, force=True)
                largest_lag = max(largest_lag, _lag(looker, slot))
            select.select([connection], [], [], 0.1)
    except StopReplication:
        pass
    finally:
        cursor.close()
        connection.close()
        _drop(looker, slot)
        looker.close()
    return {"seconds": round(time.monotonic() - begun, 1), "largest_lag_bytes": largest_lag, "events": dict(counted)}


def _lag(looker: Any, slot: str) -> int:
    with looker.cursor() as cursor:
        cursor.execute(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint FROM pg_replication_slots"
            " WHERE slot_name = %s",
            (slot,),
        )
        return int(cursor.fetchone()[0])


def _drop(looker: Any, slot: str) -> None:
    """Drop the slot as soon as the server has released it."""
    deadline = time.monotonic() + 30
    while True:
        with looker.cursor() as cursor:
            try:
                cursor.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
                return
            except psycopg2.errors.ObjectInUse:
                if time.monotonic() > deadline:
                    raise
        time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.slot_reader", description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=5432)
    parser.add_argument("--dbname", default="postgres")
    parser.add_argument("--superuser", default="supabase_admin")
    parser.add_argument("--slot", default="traffic_reader")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--until-file", type=Path)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    result = read(
        {"host": given.host, "port": given.port, "dbname": given.dbname, "user": given.superuser},
        given.slot,
        lambda: told.is_set() or bool(given.until_file and given.until_file.exists()),
        given.seconds,
        ready=lambda: print(json.dumps({"slot": given.slot}), flush=True),
    )
    write(result, given.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
