"""`make bench`: our migrations beside the guide's SQL, the fastest offline form, other tools, and bare pg_dump."""

from __future__ import annotations

import sys
from pathlib import Path

import ansible.module_utils

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parent

# As in tests/conftest.py: Ansible puts `ansible.module_utils.runbook` there at run time; the support room is shared.
if str(REPOSITORY / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
if str(REPOSITORY / "tests") not in sys.path:
    sys.path.append(str(REPOSITORY / "tests"))
