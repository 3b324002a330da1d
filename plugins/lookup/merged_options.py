"""Merge the extra variable of a mapping of options into the inventory's mapping."""

from __future__ import annotations

DOCUMENTATION = r"""
name: merged_options
short_description: Merge the extra variable of a mapping of options into the inventory's mapping
description:
  - An extra variable replaces a mapping of the inventory completely, so an operator who changes one key on the command
    line would have to type all of them. This lookup merges both recursively; the extra variable has precedence.
  - Without an extra variable of this name it returns the variable's value.
options:
  _terms:
    description: Names of variables with a mapping. An undefined variable is an empty mapping.
    required: true
"""

EXAMPLES = r"""
- name: Apply one migration; -e '{"migration_execution_limits":{"workers":4}}' changes one limit
  pg_migration:
    connection: "{{ database_connection }}"
    plan: "{{ run.plan }}"
    version: "20250301000000"
    limits: "{{ lookup('merged_options', 'migration_execution_limits') }}"
"""

RETURN = r"""
_list:
  description: The mappings.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars, merge_hash
from ansible.vars.manager import VariableManager


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **_options: Any) -> list[Any]:
        """Return the mappings; a value of another type is returned unchanged."""
        known = variables or {}
        extra = load_extra_vars(self._loader)
        found = []
        for name in terms:
            value = self._templar.template(known.get(name, {}))
            if name in extra and isinstance(value, Mapping):
                below = self._templar.template(self.inventory_variables(known).get(name, {}))
                if isinstance(below, Mapping):
                    value = merge_hash(below, value, recursive=True)
            found.append(value)
        return found

    def inventory_variables(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the host's variables without extra variables."""
        inventory = variables["hostvars"]._inventory
        manager = VariableManager(loader=self._loader, inventory=inventory)
        manager._extra_vars = {}
        host = inventory.get_host(variables["inventory_hostname"])
        found: dict[str, Any] = manager.get_vars(host=host, include_hostvars=False)
        return found
