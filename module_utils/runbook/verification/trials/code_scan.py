"""Scan SQL text for the functions that it calls, the tables that it writes, and effects that no rollback undoes."""

from __future__ import annotations

import dataclasses
import functools
import re

#: Extensions whose functions act outside the transaction, so that a rollback does not undo them.
OUTSIDE_EXTENSIONS = {
    *("dblink", "http", "pg_net", "postgres_fdw", "file_fdw", "oracle_fdw", "mysql_fdw", "tds_fdw", "wrappers"),
    *("pg_background", "plsh", "adminpack", "aws_lambda", "aws_s3", "aws_commons", "pg_cron", "pg_curl"),
}

_PART = r'(?:[A-Za-z_][\w$]*|"(?:[^"]|"")+")'
_NAME = rf"{_PART}(?:\s*\.\s*{_PART})*"
#: Only from the start of a word: the expression would try every suffix otherwise.
_CALL = re.compile(rf"(?<![\w$])({_NAME})\s*\(")
_WRITE = re.compile(
    rf"\b(?:insert\s+into|update|delete\s+from|merge\s+into|truncate(?:\s+table)?|copy)\s+(?:only\s+)?({_NAME})",
    re.IGNORECASE,
)
#: A write to a table whose name is built at run time.
_WRITE_UNKNOWN = re.compile(
    r"\b(?:insert\s+into|update|delete\s+from|merge\s+into|truncate(?:\s+table)?)\s*(?:only\s+)?(?:%|'|\|\|)",
    re.IGNORECASE,
)
_WORD = re.compile(r'[A-Za-z_][\w$]*|"(?:[^"]|"")+"')
#: By name, which also covers stubs, wrappers and extensions that are not installed here.
_OUTSIDE_NAME = re.compile(
    r"(?:^|\.)(?:dblink\w*|http|http_\w+|lo_import|lo_export|pg_file_\w+|pg_read_(?:binary_)?file|pg_background_\w+"
    r"|pg_logical_emit_message|pg_(?:terminate|cancel)_backend|pg_reload_conf|pg_switch_wal|pg_promote)$"
    r"|^(?:net|http|cron|aws_lambda|aws_s3)\."
)
_OUTSIDE_TEXT = re.compile(r"\bcopy\b[^;]*\b(?:program\b|(?:to|from)\s+E?')", re.IGNORECASE | re.DOTALL)
#: The same names inside a statement that is built at run time.
_OUTSIDE_WORD = re.compile(
    r"\b(?:dblink(?:_\w+)?|net\.http_\w+|http_(?:get|post|put|patch|delete|head))\b", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Scan:
    """Names found in a text.

    :param calls: ``name`` or ``schema.name`` of what looks like a function.
    :param writes: ``name`` or ``schema.name`` of tables that it writes.
    :param unknown_writes: it writes tables whose names it builds.
    :param outside: an effect that a rollback does not undo; empty without one.
    """

    calls: frozenset[str]
    writes: frozenset[str]
    unknown_writes: bool
    outside: str
    text: str


@functools.lru_cache(maxsize=1000)
def scan(text: str) -> Scan:
    """Scan a text, comments included: a name too many only prevents a trial."""
    calls = frozenset(_plain(name) for name in _CALL.findall(text))
    named = next((name for name in sorted(calls) if acts_outside(name)), "")
    found = _OUTSIDE_TEXT.search(text) or _OUTSIDE_WORD.search(text)
    return Scan(
        calls=calls,
        writes=frozenset(_plain(name) for name in _WRITE.findall(text)),
        unknown_writes=bool(_WRITE_UNKNOWN.search(text)),
        outside=named or (" ".join(found[0].split())[:60] if found else ""),
        text=text,
    )


@functools.lru_cache(maxsize=1000)
def identifiers_of(text: str) -> frozenset[str]:
    """Return every identifier of a text: a foreign table counts wherever its name appears."""
    return frozenset(_plain(name) for name in _WORD.findall(text))


def acts_outside(name: str) -> bool:
    """Return whether a function of this name acts outside the transaction."""
    return bool(_OUTSIDE_NAME.search(name))


@functools.lru_cache(maxsize=10000)
def _plain(name: str) -> str:
    """Return a name as the catalog has it, without quotes."""
    parts = re.findall(_PART, name)
    return ".".join(part[1:-1].replace('""', '"') if part.startswith('"') else part.lower() for part in parts)
