"""Document the option ``accept`` of modules that survey the schema or run trials."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  accept:
    description:
      - Findings of the survey that must not stop the run. They are reported as information, with the reason.
      - M(pg_environment_info) warns about an entry whose finding does not exist or cannot be accepted.
      - C(trial_not_run) accepts that trials call the function or foreign table C(object); C(trial_failed) accepts that
        the trial of this name fails.
    type: list
    elements: dict
    default: []
    suboptions:
      finding:
        description: Name of the finding.
        type: str
        required: true
      object:
        description: The object of the finding, as it is reported.
        type: str
        required: true
      reason:
        description: Why it is accepted, for the report.
        type: str
        required: true
"""
