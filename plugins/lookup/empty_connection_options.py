"""Find empty options of a connection, and the environment variables from which the inventory reads them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: empty_connection_options
short_description: Find empty options of a connection, and the reason
description:
  - For each of the options host, port, dbname and user of a connection that is empty, returns a sentence with the
    environment variables that the inventory's template of this option looks up. An empty password is included if the
    inventory looks it up and no other method of authentication is configured.
options:
  _terms:
    description: Names of variables with a connection.
    required: true
"""

EXAMPLES = r"""
- name: Check that the connection names a server
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

#: Without these options, libpq would connect to a default server or fail.
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
    """Return whether a password is unnecessary: with a socket, a password file, a client certificate or GSSAPI."""
    by_file = any(options.get(option) for option in ("passfile", "sslcert"))
    return by_file or options.get("gssencmode") == "require" or str(options.get("host")).startswith(("/", "@"))


def _variables(raw: Any, variables: Mapping[str, Any], seen: set[str]) -> Iterator[str]:
    """Yield the environment variables that a template looks up, also through other variables."""
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
    state = "empty" if all(name in os.environ for name in missing) else "not set"
    return f"; the inventory reads it from {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} {state}"
