"""Apply the inventory's list of accepted findings: name, object, reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...verification.findings import Finding

#: Findings that an inventory can accept.
ACCEPTABLE = frozenset(
    {
        "required_column",
        "generated_column",
        "nondeterministic_collation",
        "trigger_conflict",
        "trigger",
        "trigger_disabled",
        "trigger_not_sampled",
        "rule",
        "event_trigger",
        "deferrable_constraint",
        "exclusion_constraint",
        "unique_index",
        "check_constraint",
        "key_of_created_rows",
        "sampled_rows",
        "sampled_updates",
        "inheritance",
        "typed_table",
        "unlogged_table",
        "table_access_method",
        "force_row_security",
        "column_grants",
        "object_on_changed_column",
        "function_names_changed_column",
        "key_from_outside",
        "key_on_changed_column",
        "subscription",
        "replica_identity",
        "publication_of_parts",
        "publication_of_all_tables",
    }
)

#: Findings of trials, which the trials themselves look up.
OF_TRIALS = frozenset({"trial_not_run", "trial_failed"})

SETTING = "database_accepted_findings"


def accept_argument() -> dict[str, Any]:
    """Return the ``accept`` entry of an argument_spec."""
    text = {"type": "str", "required": True}
    return {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"finding": text, "object": text, "reason": text},
    }


def with_acceptance(findings: Sequence[Finding], entries: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield the findings, accepted ones as information with their reason, and findings about wrong entries."""
    used: set[tuple[str, str]] = set()
    reasons = {(entry["finding"], entry["object"]): entry["reason"] for entry in entries}
    for finding in findings:
        key = (finding.name, finding.object)
        if key not in reasons or finding.name not in ACCEPTABLE:
            yield _with_setting(finding)
            continue
        used.add(key)
        yield dataclasses.replace(
            finding,
            severity="information",
            found=f"{finding.found} (accepted: {reasons[key]})",
            repair="",
        )
    for name, about in reasons:
        if name in OF_TRIALS:
            continue
        if name not in ACCEPTABLE:
            yield Finding(
                "accept_unknown",
                "warning",
                about,
                f"{SETTING} names the finding {name}, which cannot be accepted or does not exist",
                "the entry accepts nothing",
                f"correct or remove it; acceptable findings: {', '.join(sorted(ACCEPTABLE | OF_TRIALS))}",
            )
        elif (name, about) not in used:
            yield Finding(
                "accept_unused",
                "information",
                about,
                f"{SETTING} accepts {name} of {about}, which was not found",
                "none now; if the object returned, it would be accepted unseen",
            )


def _with_setting(finding: Finding) -> Finding:
    """Add the entry that accepts a blocking finding to its repair."""
    if finding.severity != "blocking" or finding.name not in ACCEPTABLE:
        return finding
    entry = f"{{finding: {finding.name}, object: '{finding.object}', reason: <why>}}"
    return dataclasses.replace(finding, repair=f"{finding.repair}\nor accept it, {SETTING} in the inventory: [{entry}]")
