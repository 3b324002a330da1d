"""Simulate an application in use with sessions that write until they are ended."""

from __future__ import annotations

import json
import sys
import threading
import time

import psycopg2

SESSIONS = 3
WRITE = """
UPDATE public.comments SET content = content
WHERE id = (SELECT id FROM public.comments ORDER BY random() LIMIT 1)
"""


def write(options: dict[str, object]) -> None:
    connection = psycopg2.connect(**options, application_name="the application")  # type: ignore[call-overload]
    connection.autocommit = True
    try:
        while True:
            with connection.cursor() as cursor:
                cursor.execute(WRITE)
            time.sleep(0.05)
    except psycopg2.Error:
        return


def main() -> None:
    options = json.loads(sys.argv[1])
    threads = [threading.Thread(target=write, args=(options,)) for _ in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
