"""A shop whose database can be swapped: ``swapper`` is a member of every owner, and no role is a superuser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.backup import tools
from ansible.module_utils.runbook.restore import database_settings
from ansible.module_utils.runbook.restore.swap_names import names_for

from support.catalogue import catalogue
from support.servers import SUPERUSER, Options, Server, connect, query
from support.shop import FINGERPRINTS, open_shop

RunModule = Callable[..., dict[str, Any]]
RUN = {"id": "20250301T000000Z-aaaaaa", "plan_hash": "a" * 64}

ROLES = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'swapper') THEN
    CREATE ROLE swapper LOGIN CREATEDB BYPASSRLS IN ROLE postgres, supabase_auth_admin, pg_signal_backend;
  END IF;
END $$;
GRANT SET ON PARAMETER shop.greeting TO swapper;
ALTER SCHEMA accounts OWNER TO supabase_auth_admin;
ALTER TABLE accounts.users OWNER TO supabase_auth_admin;
ALTER SCHEMA reports OWNER TO supabase_auth_admin;
ALTER TABLE reports.marks OWNER TO supabase_auth_admin;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT SELECT ON TABLES TO anon;
GRANT SELECT (id, note), UPDATE (note) ON public.orders TO authenticated;
COMMENT ON TABLE public.orders IS 'what was ordered';
CREATE FUNCTION public.greet() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
ALTER FUNCTION public.greet() OWNER TO postgres;
CREATE TRIGGER greet AFTER INSERT ON accounts.users FOR EACH ROW EXECUTE FUNCTION public.greet();
CREATE SEQUENCE public.tickets; ALTER SEQUENCE public.tickets OWNER TO postgres; SELECT nextval('public.tickets');
"""

DATABASE = """
COMMENT ON DATABASE {0} IS 'the shop, it''s live';
REVOKE CONNECT ON DATABASE {0} FROM PUBLIC;
GRANT CONNECT ON DATABASE {0} TO anon, authenticated WITH GRANT OPTION;
ALTER DATABASE {0} SET search_path = public, accounts;
ALTER DATABASE {0} SET shop.greeting = 'hello, world';
ALTER DATABASE {0} SET work_mem = '5MB';
ALTER DATABASE {0} CONNECTION LIMIT 40;
"""

MIGRATE = """
ALTER TABLE public.orders ADD COLUMN shipped boolean DEFAULT true;
DROP TABLE public.nothing_yet;
UPDATE public.orders SET cents = cents + 1 WHERE place = 3;
DELETE FROM public.orders WHERE place = 2;
INSERT INTO supabase_migrations.schema_migrations VALUES ('20250301000001', '{}', 'ship');
"""


class SwapShop:
    """A shop with an open run in the journal, and a backup of the whole database."""

    def __init__(self, server: Server, options: Options, run_module: RunModule, path: Path, orders: int = 40) -> None:
        self.server, self.run_module, self.path = server, run_module, path
        self.super_options = {**options, "user": SUPERUSER}
        open_shop(options, orders=orders)
        query(self.super_options, ROLES)
        for statement in DATABASE.format(options["dbname"]).strip().split(";\n"):
            query(self.super_options, statement)
        self.options: Options = {**options, "user": "swapper"}
        self.names = names_for(options["dbname"], RUN["id"])
        opened = run_module(
            "pg_journal", connection=self.options, state="run_opened", plan_name="shop",
            run={**RUN, "environment": "staging", "host": "shop_database"}, phase="environment_verified",
        )  # fmt: skip
        assert not opened["failed"], opened["msg"]

    def back_up(self, scope: str = "database", **params: Any) -> None:
        taken = self.run_module(
            "pg_backup", connection=self.options, directory=str(self.path / "backup"), schemas=["public"],
            minimum_bytes=1, scope=scope, run=RUN,
            snapshot={"directory": str(self.path / "snapshot"), "fingerprints": FINGERPRINTS}, **params,
        )  # fmt: skip
        assert not taken["failed"], taken["msg"]

    def migrate(self) -> None:
        query(self.options, MIGRATE)

    def arguments(self, phase: str) -> dict[str, Any]:
        return {
            "connection": self.options,
            "phase": phase,
            "backup_directory": str(self.path / "backup"),
            "run": RUN,
            "rename_attempts": 2,
            "rename_pause_seconds": 0.1,
        }

    def swap(self, phase: str, **params: Any) -> dict[str, Any]:
        return self.run_module("pg_restore_swap", **{**self.arguments(phase), **params})

    def databases(self) -> set[str]:
        found = query(self.server.options, "SELECT datname FROM pg_database WHERE datname LIKE %s", (self.live + "%",))
        return {name for (name,) in found}

    @property
    def live(self) -> str:
        return str(self.options["dbname"])

    def everything(self, database: str = "") -> dict[str, Any]:
        """Return a database without the journal: from pg_dump, from the catalog, and its own properties."""
        options = {**self.super_options, "dbname": database or self.live}
        pg_dump = tools.find_tool("pg_dump", self.server.major)
        text = subprocess.run(
            [pg_dump, "--exclude-schema=migration_runbook"],
            env=tools.tool_environment(options, "test"), check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        lines = sorted(line for line in text.splitlines() if not re.match(r"\\(un)?restrict ", line))
        with connect(options) as connection, connection.cursor() as cursor:
            level = database_settings.read(cursor, options["dbname"])
        return {"text": lines, "catalogue": catalogue(options), **level, "oid": 0}

    def close(self) -> None:
        closed = self.run_module(
            "pg_journal", connection=self.options, state="run_closed", run={"id": RUN["id"]}, run_state="rolled_back"
        )
        assert not closed["failed"], closed["msg"]

    def run_state(self) -> str:
        return str(query(self.options, "SELECT state FROM migration_runbook.run")[0][0])
