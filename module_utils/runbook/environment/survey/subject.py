"""The input of every examination of the survey: the tables that the plan writes, and what the plan knows of them."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any, Literal

from ..view import View
from .writes import Writes, all_text, is_named, writes_of


def quoted(name: str) -> str:
    """Return a name as an SQL identifier, quoted where necessary."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


Direction = Literal["applied", "reverted"]

COLUMNS = """
SELECT wanted.name AS "table", a.attname::text AS "column", a.attnum AS number,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS not_null, a.attidentity::text AS identity, a.attgenerated::text AS generated,
       coalesce(domains.not_null, false) AS domain_not_null, coalesce(domains.has_default, false) AS domain_default,
       domains.is_domain, domains.is_checked,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default_value,
       co.collname::text AS collation, coalesce(NOT co.collisdeterministic, false) AS nondeterministic,
       a.attacl IS NOT NULL AS has_grants
  FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS wanted (name, place)
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = to_regclass(wanted.name) AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = a.attcollation
 CROSS JOIN LATERAL (
    WITH RECURSIVE chain AS (
        SELECT t.oid, t.typtype, t.typbasetype, t.typnotnull, t.typdefault FROM pg_catalog.pg_type AS t
         WHERE t.oid = a.atttypid
         UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype, t.typnotnull, t.typdefault FROM pg_catalog.pg_type AS t
          JOIN chain ON t.oid = chain.typbasetype
    )
    SELECT bool_or(chain.typnotnull AND chain.typtype = 'd') AS not_null,
           bool_or(chain.typdefault IS NOT NULL AND chain.typtype = 'd') AS has_default,
           bool_or(chain.typtype = 'd') AS is_domain,
           bool_or(EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.contypid = chain.oid AND k.contype = 'c'))
               AS is_checked
      FROM chain
 ) AS domains
 ORDER BY wanted.place, a.attnum
"""


@dataclasses.dataclass
class Subject:
    """The database in one transaction, and what the plan does and knows.

    :param direction: whether migrations are applied or reverted next.
    :param to_sample: by table, rules that no query could evaluate.
    """

    view: View
    direction: Direction = "applied"
    to_sample: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def text(self) -> str:
        """The plan's files, without comments."""
        return all_text(self.view.plan)

    @functools.cached_property
    def writes(self) -> dict[str, Writes]:
        """What the plan writes, by table: protected, declared, of backfills, or required and written."""
        plan, pending = self.view.plan, self.view.pending
        declared = [entry["table"] for part in ("creates", "updates") for entry in plan.get(part, ())]
        names = list(dict.fromkeys([*self.view.changed_tables(), *declared, *self.view.tables()]))
        found = {name: writes_of(plan, name, self.text, pending) for name in names}
        ours = set(self.view.changed_tables())
        return {
            name: writes
            for name, writes in found.items()
            if name in ours or writes.inserts or writes.updates or writes.deletes
        }

    @property
    def tables(self) -> list[str]:
        """The names of the tables that the plan writes."""
        return list(self.writes)

    @functools.cached_property
    def columns(self) -> dict[str, list[dict[str, Any]]]:
        """The columns of each table, in order."""
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in self.tables}
        for row in self.view.rows(COLUMNS, {"tables": self.tables}):
            found[row["table"]].append(row)
        return found

    @property
    def is_over(self) -> bool:
        """Return whether everything is applied and nothing is reverted next: only the plan's triggers still write."""
        return self.direction == "applied" and not self.view.pending

    @functools.cached_property
    def has_triggers(self) -> bool:
        """Return whether triggers of the plan exist."""
        return bool(
            self.view.value(
                "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid"
                " JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace"
                " WHERE NOT t.tgisinternal AND n.nspname = %s)",
                (self.view.plan["helper_schema"],),
            )
        )

    def creates_rows(self, writes: Writes) -> bool:
        """Return whether migrations or triggers of the plan will still create rows of this table."""
        if not writes.inserts:
            return False
        return (self.direction == "applied" and bool(self.view.pending)) or self.has_triggers

    def knows(self, table: str, name: str, definition: str = "") -> bool:
        """Return whether the plan knows an object of a table: its files name it, or its requirements list it."""
        if is_named(name, self.text):
            return True
        entries = [entry for entry in self.view.required_tables() if entry["table"] == table]
        known = [text for entry in entries for text in entry.get("known", ())]
        return any(text == name or (definition and definition.startswith(text)) for text in known)

    def key_of(self, table: str) -> str | None:
        """Return the plan's key of a protected table, None for another."""
        keys = {entry["table"]: str(entry["key"]) for entry in self.view.plan["protected_tables"]}
        return keys.get(table)
