"""Options of a connection that are empty, and the environment variables that the inventory takes them from."""

from __future__ import annotations

DOCUMENTATION = r"""
name: empty_connection_options
short_description: Options of a connection that name no server, and why
description:
  - Reads a variable that holds a connection as the inventory writes it, before its templates are filled in. For each of
    its options host, port, dbname and user that comes out empty it returns a sentence that names the environment
    variable which the inventory looks up. A password is named too where the inventory looks it up and nothing else
    could take its place.
options:
  _terms:
    description: Names of variables that hold a connection each.
    required: true
"""

EXAMPLES = r"""
- name: The connection names a server
  ansible.builtin.assert:
    that: query('empty_connection_options', 'database_connection') | length == 0
"""

RETURN = r"""
_list:
  description: One sentence for each empty option.
  type: list
  elements: str
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase

#: Options without which no server, or another one than is meant, would be reached.
NEEDED = ("host", "port", "dbname", "user")

#: ``lookup('env', 'NAME')``, ``query("ansible.builtin.env", "NAME", …)``.
_LOOKUP = re.compile(r"""(?:lookup|query|q)\(\s*(['"])(?:ansible\.builtin\.)?env\1\s*,\s*(?P<names>[^)]*)""")
_QUOTED = re.compile(r"""['"](?P<name>[A-Za-z_]\w*)['"]""")
_WORD = re.compile(r"[A-Za-z_]\w*")


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **_options: Any) -> list[str]:
        """Return the sentences."""
        found = []
        for name in terms:
            raw = (variables or {}).get(name)
            filled = self._templar.template(raw)
            if not isinstance(filled, Mapping):
                continue
            options = raw if isinstance(raw, Mapping) else {}
            for option in [option for option in (*NEEDED, "password") if option in filled]:
                if str(filled[option] if filled[option] is not None else "").strip():
                    continue
                unset = sorted(set(_variables(options.get(option, raw), variables or {}, {name})))
                if option in NEEDED or (unset and not _proven_otherwise(filled)):
                    found.append(f"{name}.{option} is empty{_reason(unset)}")
        return found


def _proven_otherwise(options: Mapping[str, Any]) -> bool:
    """Whether a password may be missing: a socket, a password file, a client certificate or a ticket serves."""
    by_file = any(options.get(option) for option in ("passfile", "sslcert"))
    return by_file or options.get("gssencmode") == "require" or str(options.get("host")).startswith(("/", "@"))


def _variables(raw: Any, variables: Mapping[str, Any], seen: set[str]) -> Iterator[str]:
    """Yield the environment variables that a template looks up, through the other variables that it names."""
    if isinstance(raw, Mapping):
        for value in raw.values():
            yield from _variables(value, variables, seen)
    if not isinstance(raw, str):
        return
    for found in _LOOKUP.finditer(raw):
        yield from (name["name"] for name in _QUOTED.finditer(found["names"]))
    for name in {*_WORD.findall(raw)} & {*variables} - seen:
        yield from _variables(variables[name], variables, {*seen, name})


def _reason(names: list[str]) -> str:
    missing = [name for name in names if not os.environ.get(name, "").strip()]
    if not missing:
        return ""
    state = "set to nothing" if all(name in os.environ for name in missing) else "not set"
    return f"; the inventory takes it from {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} {state}"
