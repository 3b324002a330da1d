"""A small shop with everything that makes a backup or a restore difficult, for tests without demo data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.servers import SUPERUSER, connect

SCHEMA = """
CREATE SCHEMA accounts;
CREATE TABLE accounts.users (id uuid PRIMARY KEY);
GRANT USAGE ON SCHEMA accounts TO postgres;
GRANT SELECT, REFERENCES ON accounts.users TO postgres;

CREATE SCHEMA IF NOT EXISTS supabase_migrations AUTHORIZATION postgres;
CREATE TABLE supabase_migrations.schema_migrations (version text PRIMARY KEY, statements text[], name text);
ALTER TABLE supabase_migrations.schema_migrations OWNER TO postgres;
INSERT INTO supabase_migrations.schema_migrations VALUES ('20240101000000', '{}', 'base');

SET ROLE postgres;
CREATE TYPE public.mood AS ENUM ('good', 'bad');
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN NEW.updated_at = now(); RETURN NEW; END$$;

CREATE TABLE public.customers (
    id uuid PRIMARY KEY REFERENCES accounts.users ON DELETE CASCADE,
    name text NOT NULL CHECK (btrim(name) <> ''),
    balance numeric NOT NULL DEFAULT 0,
    mood public.mood,
    joined timestamptz NOT NULL DEFAULT '2024-01-01'
);
CREATE TABLE public.orders (
    id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    customer_id uuid NOT NULL REFERENCES public.customers ON DELETE CASCADE,
    place int NOT NULL,
    note text,
    details json,
    tags text[],
    cents int NOT NULL DEFAULT 0,
    euros numeric GENERATED ALWAYS AS (cents / 100.0) STORED,
    updated_at timestamptz NOT NULL DEFAULT '2024-01-01',
    UNIQUE (customer_id, place)
);
CREATE TABLE public."Odd Names" (key text PRIMARY KEY, "a, b" text, "c""d" int);
CREATE TABLE public.nothing_yet (id uuid PRIMARY KEY);
CREATE TRIGGER touch BEFORE UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.touch();
ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.orders FOR SELECT USING (note IS NOT NULL);
CREATE PUBLICATION shop_changes FOR TABLE public.orders;
RESET ROLE;

CREATE SCHEMA reports;
CREATE TABLE reports.marks (id int PRIMARY KEY, order_id uuid REFERENCES public.orders ON DELETE CASCADE);
GRANT USAGE ON SCHEMA reports TO postgres;
GRANT SELECT ON reports.marks TO postgres;
"""

ROWS = r"""
INSERT INTO accounts.users SELECT ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid
  FROM generate_series(1, %(customers)s) i;
INSERT INTO public.customers (id, name, balance, mood)
SELECT id, 'Customer ' || row_number() OVER (ORDER BY id), 1.50, 'good' FROM accounts.users;
INSERT INTO public.orders (id, customer_id, place, note, details, tags, cents)
SELECT ('10000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid,
       ('00000000-0000-4000-8000-' || lpad((1 + i %% %(customers)s)::text, 12, '0'))::uuid,
       i / %(customers)s, E'note ' || i || E'\twith a tab, a \\ and a\nnew line', '{"n":  1}', '{a,b}', i
  FROM generate_series(0, %(orders)s - 1) i;
INSERT INTO public."Odd Names" VALUES ('one', 'x', 1), (E'two\twith tab', E'\\.', 2), ('COPY a.b FROM stdin;', '', 3),
    ('ä \ ö', NULL, NULL);
INSERT INTO reports.marks SELECT row_number() OVER (), id FROM public.orders WHERE place = 0;
"""

TABLES = [
    {"table": "public.customers", "key": "id"},
    {"table": "public.orders", "key": "id"},
    {"table": "public.Odd Names", "key": "key"},
    {"table": "public.nothing_yet", "key": "id"},
]
NAMES = [table["table"] for table in TABLES]
FINGERPRINTS = [
    {"name": "customers", "table": "public.customers", "key": "id"},
    {"name": "orders", "table": "public.orders", "key": "id"},
    {"name": "odd_names", "table": "public.Odd Names", "key": "key"},
    {"name": "nothing_yet", "table": "public.nothing_yet", "key": "id"},
]


def open_shop(options: Mapping[str, Any], customers: int = 5, orders: int = 40) -> None:
    """Fill an empty database. ``postgres`` owns public and the history; another role owns accounts and reports."""
    with connect({**options, "user": SUPERUSER}) as connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        cursor.execute(ROWS, {"customers": customers, "orders": orders})


def order_id(number: int) -> str:
    """Return the id of the order with this number."""
    return f"10000000-0000-4000-8000-{number:012d}"


def customer_id(number: int) -> str:
    """Return the id of the customer with this number, from 1."""
    return f"00000000-0000-4000-8000-{number:012d}"


def query_file(directory: Path, name: str, text: str) -> str:
    """Write a query for an option that takes a file."""
    path = directory / f"{name}.sql"
    path.write_text(text, encoding="utf-8")
    return str(path)
