"""The outcome of a trial and its reason, read from the server's answer."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Literal

import psycopg2

from ...database.connection import Cursor
from ..findings import diag_message
from .code_scan import scan
from .trial import Statement, Trial

Outcome = Literal["passed", "failed", "not_examined", "nothing_to_examine"]

#: Another session blocked the statement: it can succeed a moment later.
RETRIED = {"55P03", "40P01", "40001"}
#: The trial's time limit, or a shortage of the server: no answer about the statement.
NO_ANSWER = {"57014"}
NO_ANSWER_CLASSES = ("53", "57", "58", "08")

_FUNCTION = re.compile(r'function ((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)\(')
_POLICY = re.compile(r'(?:policy "([^"]+)" )?for (?:table|relation) "([^"]+)"')
_FORBIDDEN = re.compile(r"^(?:permission denied for|must be owner of) (\w[\w ]* \S+)$")

TRIGGERS_OF = """
SELECT pg_catalog.format(
           'trigger %%s on %%s.%%s (function %%s.%%s)', t.tgname, rn.nspname, r.relname, n.nspname, p.proname)
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_catalog.pg_trigger t ON t.tgfoid = p.oid
  JOIN pg_catalog.pg_class r ON r.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
 WHERE NOT t.tgisinternal AND p.proname = %(name)s AND (%(schema)s = '' OR n.nspname = %(schema)s)
 ORDER BY rn.nspname, r.relname, t.tgname LIMIT 3
"""

#: What can suppress a write on a table: restrictive policies, BEFORE ROW triggers, rules.
SUPPRESSES = """
WITH target AS (
    SELECT c.oid, pg_catalog.format('%%s.%%s', n.nspname, c.relname) AS name
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname || '.' || c.relname = ANY (%(tables)s)
), event AS (SELECT %(verb)s AS verb)
SELECT pg_catalog.format('policy %%s of %%s', p.polname, t.name) AS what
  FROM target t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid CROSS JOIN event e
 WHERE NOT p.polpermissive AND p.polcmd IN ('*', CASE e.verb WHEN 'UPDATE' THEN 'w' WHEN 'DELETE' THEN 'd' END)
UNION ALL
SELECT pg_catalog.format('trigger %%s on %%s', g.tgname, t.name)
  FROM target t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid CROSS JOIN event e
 WHERE NOT g.tgisinternal AND g.tgenabled IN ('O', 'A') AND g.tgtype & 3 = 3
   AND g.tgtype & CASE e.verb WHEN 'INSERT' THEN 4 WHEN 'DELETE' THEN 8 WHEN 'UPDATE' THEN 16 ELSE 0 END > 0
UNION ALL
SELECT pg_catalog.format('rule %%s on %%s', r.rulename, t.name)
  FROM target t JOIN pg_catalog.pg_rewrite r ON r.ev_class = t.oid CROSS JOIN event e
 WHERE r.ev_type = CASE e.verb WHEN 'UPDATE' THEN '2' WHEN 'INSERT' THEN '3' WHEN 'DELETE' THEN '4' END
 ORDER BY what LIMIT 8
"""


@dataclasses.dataclass
class Result:
    """The result of one trial.

    :param why: reason as text; empty if it passed.
    :param statement: the one that failed; empty without one.
    :param object: the one that raised the error, as far as the server reports it.
    :param rows: rows that its statements affected; ``statements`` is how many ran.
    :param reached: objects whose effects a rollback does not undo, for which it was not run.
    :param tolerated: why a failure does not stop the run.
    """

    name: str
    title: str
    by: str
    role: str
    outcome: Outcome = "passed"
    why: str = ""
    statement: str = ""
    place: str = ""
    error: str = ""
    sqlstate: str = ""
    context: str = ""
    object: str = ""
    rows: int = 0
    statements: int = 0
    milliseconds: float = 0.0
    tolerated: str = ""
    reached: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def of(cls, trial: Trial, outcome: Outcome = "passed", why: str = "") -> Result:
        """Return the result of a trial that has run no statement."""
        return cls(trial.name, trial.title, trial.by, trial.role, outcome, why)

    def take_error(self, trial: Trial, statement: Statement, error: psycopg2.Error) -> None:
        """Note a statement that the server refused."""
        self.outcome = "failed"
        self._place(trial, statement)
        diag = error.diag
        parts = [diag_message(error)]
        # "Failing row contains" would show data of users.
        detail = "" if (diag.message_detail or "").startswith("Failing row contains") else diag.message_detail
        parts += [f"{label}: {text}" for label, text in (("detail", detail), ("hint", diag.message_hint)) if text]
        self.error = ". ".join(part.rstrip(".") for part in parts)
        self.sqlstate = error.pgcode or ""
        self.context = diag.context or ""
        self.object = _named_object(diag)
        self.why = self.error

    def take_wrong_rows(self, trial: Trial, statement: Statement, affected: int) -> None:
        """Note a statement that affected the wrong number of rows."""
        self.outcome = "failed"
        self._place(trial, statement)
        wanted = f"at least {statement.least}" if statement.most is None else str(statement.least)
        self.error = f"it affected {affected} rows instead of {wanted}"
        few = affected < statement.least
        hint = f": row-level security hides rows from {trial.role}, or a trigger or rule suppresses the write"
        self.why = self.error + (hint if few else "")

    def take_effect(self, trial: Trial, statement: Statement, why: str) -> None:
        """Note an effect that is missing."""
        self.outcome = "failed"
        self._place(trial, statement)
        self.error = self.why = why

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain values."""
        return dataclasses.asdict(self)

    def _place(self, trial: Trial, statement: Statement) -> None:
        self.statement, self.place = statement.text, f"{trial.file.path}:{statement.line}"


def gives_no_answer(error: psycopg2.Error) -> bool:
    """Return whether an error says nothing about the statement itself."""
    code = error.pgcode or ""
    return code in RETRIED or code in NO_ANSWER or code.startswith(NO_ANSWER_CLASSES)


def name_triggers(cursor: Cursor, result: Result) -> None:
    """Name the triggers of the innermost function in the error's context where the server names no object."""
    found = _FUNCTION.search(result.context)
    if result.object or not found:
        return
    parts = [part.strip('"') for part in found[1].split(".")]
    cursor.execute(TRIGGERS_OF, {"name": parts[-1], "schema": parts[0] if len(parts) > 1 else ""})
    triggers = [row[0] for row in cursor.fetchall()]
    result.object = "; ".join(triggers) or f"function {found[1]}"


def name_suppressors(cursor: Cursor, result: Result) -> None:
    """Name what can suppress a write on its table where it affected too few rows without an error."""
    verb = result.statement.split(None, 1)[0].upper() if result.statement else ""
    if result.object or result.sqlstate or verb not in ("INSERT", "UPDATE", "DELETE"):
        return
    cursor.execute(SUPPRESSES, {"tables": list(scan(result.statement).writes), "verb": verb})
    if names := [row[0] for row in cursor.fetchall()]:
        result.why += f" (the table has {', '.join(names)})"


def _named_object(diag: Any) -> str:
    table = ".".join(part for part in (diag.schema_name, diag.table_name) if part)
    if diag.constraint_name:
        return f"constraint {diag.constraint_name}{f' of {table}' if table else ''}"
    if diag.column_name and table:
        return f"column {table}.{diag.column_name}"
    if table:
        return f"table {table}"
    message = diag.message_primary or ""
    if found := _POLICY.search(message):
        return f"policy {found[1]} of {found[2]}" if found[1] else f"table {found[2]}"
    forbidden = _FORBIDDEN.search(message) if diag.sqlstate == "42501" else None
    return f"privileges on {forbidden[1]}" if forbidden else ""
