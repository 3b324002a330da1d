"""A small shop and a plan for tests of the generic modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.plan.loader import load_plan

from support.servers import Options, connect

SCHEMA = """
CREATE TABLE public.orders (id integer PRIMARY KEY, customer integer NOT NULL, note text);
CREATE TABLE public.lines (
    id integer PRIMARY KEY, order_id integer NOT NULL REFERENCES public.orders (id), amount integer NOT NULL);
CREATE INDEX lines_order_id_idx ON public.lines (order_id);
INSERT INTO public.orders SELECT n, n % 7, 'note ' || n FROM generate_series(1, 50) AS n;
INSERT INTO public.lines SELECT n, 1 + n % 50, n FROM generate_series(1, 200) AS n;
CREATE SCHEMA supabase_migrations;
CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY, statements text[], name text);
INSERT INTO supabase_migrations.schema_migrations VALUES ('20240101000000', NULL, 'base_schema');
"""

PLAN = """\
plan: orders_split
title: Orders split
schemas: [public]
helper_schema: orders_split
settings:
  - {name: keep_notes, type: boolean, meaning: whether notes stay}
protected_tables:
  - {table: public.orders, key: id}
  - {table: public.lines, key: id}
volume:
  query: queries/volume.sql
  classes: [{name: small, below_rows: 10}, {name: large}]
requirements:
  replica_role: true
  tables:
    - {table: public.orders, columns: [id, customer, note]}
  preconditions:
    - name: blank_note
      query: queries/blank.sql
      until: "20250101000000"
      meaning: the note becomes mandatory
      repair: give each order a note
migrations:
  - version: "20250101000000"
    name: prepare
    title: Preparation
    backfill: {function: orders_split.move, table: public.orders, key: id}
  - version: "20250102000000"
    name: finish
    title: The end
"""

FILES = {
    "queries/volume.sql": "SELECT count(*) AS orders FROM public.orders;",
    "queries/blank.sql": "SELECT id, note FROM public.orders WHERE btrim(note) = '' ORDER BY id;",
    "migrations/20250101000000_prepare.sql": "-- step: move (orders_note_idx)\nSELECT orders_split.move(NULL, NULL);",
    "migrations/20250102000000_finish.sql": "-- step: one\nSELECT 1;",
    "revert/20250101000000_prepare.sql": "-- step: one\nSELECT 1;",
    "revert/20250102000000_finish.sql": "-- step: one\nSELECT 1;",
}


def create_shop(options: Options) -> None:
    """Create the shop's tables and rows as their owner."""
    with connect(options) as connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA)


def write_file(directory: Path, name: str, text: str) -> str:
    """Write a file of the plan and return its path."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    return str(path)


def orders_plan(directory: Path, text: str = PLAN) -> dict[str, Any]:
    """Write the plan with its files and load it."""
    for name, content in {**FILES, "plan.yml": text}.items():
        write_file(directory, name, content)
    return load_plan(str(directory))
