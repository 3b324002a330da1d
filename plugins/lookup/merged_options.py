"""A mapping of options as the inventory has it, with what ``-e`` gives merged into it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: merged_options
short_description: A mapping of options from the inventory, with the keys of an extra variable merged into it
description:
  - An extra variable replaces a mapping of the inventory as a whole, so an operator who changes one key on the command
    line would have to type all of them. This lookup merges both, level by level; the extra variable wins.
  - Without an extra variable of this name it returns the variable's value.
options:
  _terms:
    description: Names of variables that hold a mapping each. A variable that is not defined is empty.
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
        """Return the mappings; a value that is none is returned as it is."""
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
        """Return the variables of the host as its inventory has them, without extra variables."""
        inventory = variables["hostvars"]._inventory
        manager = VariableManager(loader=self._loader, inventory=inventory)
        manager._extra_vars = {}
        host = inventory.get_host(variables["inventory_hostname"])
        found: dict[str, Any] = manager.get_vars(host=host, include_hostvars=False)
        return found
