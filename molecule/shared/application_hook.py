"""Replace the hook of an application: record the call and the state of the database at that time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import psycopg2

COLUMN = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_attribute
    WHERE attrelid = 'public.posts'::regclass AND attname = 'track_id' AND NOT attisdropped
)
"""


def main() -> None:
    file, options, word = sys.argv[1:]
    connection = psycopg2.connect(**json.loads(options))
    with connection.cursor() as cursor:
        cursor.execute(COLUMN)
        row = cursor.fetchone()
    connection.close()
    with Path(file).open("a", encoding="utf-8") as notes:
        notes.write(f"{word} {'migrated' if row and row[0] else 'as before'}\n")


if __name__ == "__main__":
    main()
