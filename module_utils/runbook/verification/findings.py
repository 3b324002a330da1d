"""Findings: what is in the way of a migration, why it hurts, and what to type."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from ..database.queries import rows_shown, rows_to_text
from ..visible import printable

Severity = Literal["blocking", "warning", "information"]

#: Rows shown in words for what needs no action; the result holds the others.
FEW_ROWS = 3

SEVERITIES: tuple[Severity, ...] = ("blocking", "warning", "information")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing an operator should know before a migration.

    :param name: short, stable name of the kind of finding, or of the plan's precondition.
    :param object: table, session, setting or file it is about.
    :param found: what was seen, measured.
    :param harm: why it hurts.
    :param repair: what to type or do; empty only where nothing is to be done.
    :param rows: rows or sessions it is about, the first 20.
    :param rows_total: how many there are.
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
    """Return the findings with the blocking ones first, otherwise in the order they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def to_text(findings: Sequence[Finding]) -> str:
    """Return findings as a numbered list: what, why it hurts, what to type."""
    return "\n".join(_one_to_text(number, finding) for number, finding in enumerate(findings, 1))


def _one_to_text(number: int, finding: Finding) -> str:
    # Before any line of it is moved: a line break of a name would look like one of ours afterwards.
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
