"""Find what statements can reach through triggers, cascades and functions that a rollback does not undo."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import Any

from ...database.connection import Cursor, rows_as_dicts
from .code_scan import OUTSIDE_EXTENSIONS, Scan, acts_outside, identifiers_of, scan
from .trial import Trial

EVENTS = ("INSERT", "UPDATE", "DELETE")

RELATIONS = """
SELECT c.oid, n.nspname || '.' || c.relname AS name, c.relname, c.relkind::text AS kind
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
"""

#: Triggers that fire for the application, by table and event.
TRIGGERS = """
SELECT t.tgrelid AS relation, t.tgname AS name, t.tgfoid AS function,
       pg_catalog.array_remove(ARRAY[CASE WHEN t.tgtype & 4 > 0 THEN 'INSERT' END,
                                     CASE WHEN t.tgtype & 8 > 0 THEN 'DELETE' END,
                                     CASE WHEN t.tgtype & 16 > 0 THEN 'UPDATE' END], NULL) AS events
  FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
"""

#: Effects of a statement on other relations: actions of foreign keys, partitions, children, rules.
FOLLOWS = """
SELECT c.confrelid AS relation, 'DELETE' AS event, c.conrelid AS other,
       CASE c.confdeltype WHEN 'c' THEN 'DELETE' ELSE 'UPDATE' END AS other_event
  FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' AND c.confdeltype IN ('c', 'n', 'd')
UNION ALL
SELECT c.confrelid, 'UPDATE', c.conrelid, 'UPDATE'
  FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' AND c.confupdtype IN ('c', 'n', 'd')
UNION ALL
SELECT i.inhparent, e.event, i.inhrelid, e.event
  FROM pg_catalog.pg_inherits i CROSS JOIN (VALUES ('INSERT'), ('UPDATE'), ('DELETE')) AS e (event)
UNION ALL
SELECT r.ev_class, e.event, d.refobjid, e.event
  FROM pg_catalog.pg_rewrite r
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
   AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class
 CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS e (event)
"""

#: Functions called by defaults, CHECK constraints, policies and rules of relations.
CALLED_BY_RELATION = """
SELECT o.relation, d.refobjid AS function
  FROM pg_catalog.pg_depend d
  JOIN (SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass AS class, oid, adrelid AS relation
          FROM pg_catalog.pg_attrdef
        UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid, conrelid FROM pg_catalog.pg_constraint
        UNION ALL SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, oid, polrelid FROM pg_catalog.pg_policy
        UNION ALL SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, oid, ev_class FROM pg_catalog.pg_rewrite
       ) AS o ON o.class = d.classid AND o.oid = d.objid
 WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype <> 'e'
"""

#: All at once: one query costs less than one per function.
FUNCTIONS = """
SELECT p.oid, n.nspname || '.' || p.proname AS name, l.lanname AS language, l.lanpltrusted AS trusted,
       coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc, '') AS body, coalesce(e.extname, '') AS extension
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
        AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
  LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
"""


@dataclasses.dataclass(frozen=True)
class Danger:
    """Something that a statement would reach and a rollback does not undo.

    :param object: the function or table, as ``schema.name``.
    """

    object: str
    why: str


class Reach:
    """What statements can reach, from a catalog that is read once."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._relations = {row["oid"]: row for row in self._rows(RELATIONS)}
        self._by_name: dict[str, set[int]] = {}
        self._rewritten: dict[str, set[int]] = {}  # foreign tables and views count where they are only read
        for oid, row in self._relations.items():
            for name in (row["name"], row["relname"]):
                self._by_name.setdefault(name, set()).add(oid)
                if row["kind"] in ("f", "v"):
                    self._rewritten.setdefault(name, set()).add(oid)
        self._triggers: dict[tuple[int, str], list[int]] = {}
        for row in self._rows(TRIGGERS):
            for event in row["events"]:
                self._triggers.setdefault((row["relation"], event), []).append(row["function"])
        self._follows: dict[tuple[int, str], list[tuple[int, str]]] = {}
        for row in self._rows(FOLLOWS):
            self._follows.setdefault((row["relation"], row["event"]), []).append((row["other"], row["other_event"]))
        self._called: dict[int, list[int]] = {}
        for row in self._rows(CALLED_BY_RELATION):
            self._called.setdefault(row["relation"], []).append(row["function"])
        self._functions: dict[int, dict[str, Any]] = {}
        self._by_function_name: dict[str, set[int]] = {}
        for row in self._rows(FUNCTIONS):
            self._functions[row["oid"]] = row
            for name in (row["name"], row["name"].split(".", 1)[1]):
                self._by_function_name.setdefault(name, set()).add(row["oid"])

    def dangers_by_trial(self, trials: Sequence[Trial]) -> dict[str, list[Danger]]:
        """Return, by name of the trial, what it could reach and a rollback would not undo."""
        # Almost always there is nothing, and one search for all trials proves it.
        if not self._dangers(trials):
            return {trial.name: [] for trial in trials}
        return {trial.name: self._dangers([trial]) for trial in trials}

    def dangers_of_write(self, table: str, event: str) -> list[Danger]:
        """Return what a write to a table could reach and a rollback would not undo."""
        return self._search(deque((oid, event) for oid in self._by_name.get(table, ())), deque(), {})

    def _dangers(self, trials: Sequence[Trial]) -> list[Danger]:
        found: dict[str, Danger] = {}
        places: deque[tuple[int, str]] = deque()
        functions: deque[tuple[int, bool]] = deque()
        for trial in trials:
            for statement in trial.file.statements:
                self._take(scan(statement.text), places, functions, found, f"trial {trial.name}")
        return self._search(places, functions, found)

    def _search(self, places: Any, functions: Any, found: dict[str, Danger]) -> list[Danger]:
        seen: set[Any] = set()
        while places or functions:
            if places:
                self._visit_relation(places, functions, found, seen)
            else:
                self._visit_function(functions, places, found, seen)
        return list(found.values())

    def _visit_relation(self, places: Any, functions: Any, found: dict[str, Danger], seen: set[Any]) -> None:
        relation, event = places.popleft()
        if (relation, event) in seen:
            return
        seen.add((relation, event))
        row = self._relations.get(relation)
        if row and row["kind"] == "f":
            found.setdefault(row["name"], Danger(row["name"], "a foreign table"))
        places.extend(self._follows.get((relation, event), ()))
        functions.extend((oid, True) for oid in self._triggers.get((relation, event), ()))
        functions.extend((oid, False) for oid in self._called.get(relation, ()))

    def _visit_function(self, functions: Any, places: Any, found: dict[str, Danger], seen: set[Any]) -> None:
        oid, as_trigger = functions.popleft()
        if ("function", oid, as_trigger) in seen or oid not in self._functions:
            return
        seen.add(("function", oid, as_trigger))
        row = self._functions[oid]
        if why := _why_dangerous(row, as_trigger=as_trigger):
            found.setdefault(row["name"], Danger(row["name"], why))
            return
        if row["language"] in ("c", "internal"):
            return
        self._take(scan(row["body"]), places, functions, found, row["name"])

    def _take(self, text: Scan, places: Any, functions: Any, found: dict[str, Danger], name: str) -> None:
        """Add the relations and functions that a text names."""
        if text.outside:
            found.setdefault(name, Danger(name, f"calls {text.outside}"))
        words = identifiers_of(text.text) if self._rewritten or text.unknown_writes else frozenset()
        places.extend((oid, "SELECT") for word in words for oid in self._rewritten.get(word, ()))
        written = text.writes | (words if text.unknown_writes else frozenset())
        places.extend((oid, event) for table in written for oid in self._by_name.get(table, ()) for event in EVENTS)
        if text.outside:
            return  # reported already; what it calls is part of the same danger
        functions.extend((oid, False) for call in text.calls for oid in self._by_function_name.get(call, ()))

    def _rows(self, statement: str, parameters: Any = None) -> list[dict[str, Any]]:
        self._cursor.execute(statement, parameters)
        return rows_as_dicts(self._cursor)


def _why_dangerous(row: dict[str, Any], *, as_trigger: bool) -> str:
    if row["extension"] in OUTSIDE_EXTENSIONS or acts_outside(row["name"]):
        return f"a function of extension {row['extension']}" if row["extension"] else "acts outside the transaction"
    native = row["language"] in ("c", "internal")
    if row["trusted"] or (native and row["extension"] and not as_trigger):
        return ""
    return f"a {'trigger function' if as_trigger else 'function'} in the untrusted language {row['language']}"
