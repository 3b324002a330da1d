"""Documentation of the option ``retry_command`` that modules share which repair rows or objects."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  retry_command:
    description: What an operator types to run this again; messages name it.
    type: str
    default: ansible-playbook playbooks/repair.yml
"""

    RESTORE_ARCHIVED = DOCUMENTATION.replace("repair.yml", "restore_archived.yml")
