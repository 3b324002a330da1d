"""Document the option ``retry_command`` of modules that repair rows or objects."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  retry_command:
    description: The command that runs this again, for messages.
    type: str
    default: ansible-playbook playbooks/repair.yml
"""

    RESTORE_ARCHIVED = DOCUMENTATION.replace("repair.yml", "restore_archived.yml")
