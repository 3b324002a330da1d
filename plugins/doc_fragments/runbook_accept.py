"""Documentation of the option that names accepted findings; modules that survey or run trials share it."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  accept:
    description:
      - Findings of the survey that are no reason to stop. They are reported as information, with the reason.
      - An entry with a name that does not exist, or cannot be accepted, is a warning of M(pg_environment_info).
      - C(trial_not_run) accepts that trials set off the function or foreign table C(object); C(trial_failed) accepts
        that the trial of this name fails.
    type: list
    elements: dict
    default: []
    suboptions:
      finding:
        description: Name of the finding.
        type: str
        required: true
      object:
        description: What it is about, as the finding says it.
        type: str
        required: true
      reason:
        description: Why it is accepted, for the report.
        type: str
        required: true
"""
