"""`make bench`: compare our migrations with the guide's SQL, the fastest offline form, other tools and pg_dump."""

from __future__ import annotations

import sys
from pathlib import Path

import ansible.module_utils

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parent

# As in tests/conftest.py: Ansible provides `ansible.module_utils.runbook` at run time; tests/support is shared.
if str(REPOSITORY / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
if str(REPOSITORY / "tests") not in sys.path:
    sys.path.append(str(REPOSITORY / "tests"))
