"""Findings: a problem for a migration, its harm, and its repair."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import psycopg2

from ..database.queries import rows_shown, rows_to_text
from ..visible import printable

Severity = Literal["blocking", "warning", "information"]

#: Rows in the text of a finding that needs no action; the result has the others.
FEW_ROWS = 3

SEVERITIES: tuple[Severity, ...] = ("blocking", "warning", "information")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that an operator should know before a migration.

    :param name: short, stable name of the kind of finding, or of the plan's precondition.
    :param object: the table, session, setting or file.
    :param found: what was found, with numbers.
    :param harm: its consequence.
    :param repair: what to run or do; empty if nothing is to be done.
    :param rows: the first 20 rows or sessions.
    :param rows_total: number of all of them.
    """

    name: str
    severity: Severity
    object: str
    found: str
    harm: str
    repair: str = ""
    rows: Sequence[dict[str, Any]] = ()
    rows_total: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as a result entry, with the first rows and their number."""
        plain = {**dataclasses.asdict(self), "rows": rows_shown(self.rows)}
        return {**plain, "rows_total": max(self.rows_total, len(self.rows))}


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings by severity, blocking first."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def to_text(findings: Sequence[Finding]) -> str:
    """Return findings as a numbered list: what was found, its harm, its repair."""
    return "\n".join(_one_to_text(number, finding) for number, finding in enumerate(findings, 1))


def count_to_text(number: int, noun: str = "row") -> str:
    """Return ``1 row`` or ``2 rows``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def diag_message(error: psycopg2.Error) -> str:
    """Return the server's message alone, without detail and hint."""
    return (error.diag.message_primary or str(error)).strip()


def _one_to_text(number: int, finding: Finding) -> str:
    # Before the lines are indented: a line break inside a name must not look like one of ours.
    texts = {name: printable(text) for name, text in vars(finding).items() if isinstance(text, str)}
    finding = dataclasses.replace(finding, **texts)
    about = f" ({finding.object})" if finding.object else ""
    lines = [f"{number}. [{finding.severity}] {finding.name}{about}: {finding.found}"]
    lines.append(f"   why it hurts: {finding.harm}")
    if finding.repair:
        lines.append("   what to do: " + finding.repair.replace("\n", "\n     "))
    whole = finding.as_dict()
    rows = whole["rows"][:FEW_ROWS] if finding.severity == "information" else whole["rows"]
    if rows:
        lines.append(f"   rows, {whole['rows_total']} in all:")
        lines += [f"   {line}" for line in rows_to_text(rows, whole["rows_total"]).splitlines()]
    return "\n".join(lines)
