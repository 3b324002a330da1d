"""Run our modules in this process as Ansible does."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

LIBRARY = Path(__file__).resolve().parent.parent.parent / "library"


class _Left(BaseException):
    """A module called exit_json or fail_json."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(result.get("msg", ""))
        self.result = result


def load_module(name: str) -> ModuleType:
    """Import ``library/<name>.py``."""
    spec = importlib.util.spec_from_file_location(name, LIBRARY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_module(name: str, *, _check: bool = False, _diff: bool = False, **params: Any) -> dict[str, Any]:
    """Run ``library/<name>.py`` with these options through a real AnsibleModule and return its result.

    The result crosses JSON as it would on its way to Ansible. A failing module returns its result with ``failed``
    true; options that the argument_spec refuses fail the same way.
    """
    module = load_module(name)

    def leave(self: basic.AnsibleModule, *, failed: bool, **result: Any) -> None:
        hidden = self.hide(result)  # type: ignore[attr-defined]
        hidden.pop("invocation")
        raise _Left(json.loads(json.dumps({**basic.remove_values(hidden, self.no_log_values), "failed": failed})))

    def exit_json(self: basic.AnsibleModule, **result: Any) -> None:
        leave(self, failed=bool(result.pop("failed", False)), **result)

    def fail_json(self: basic.AnsibleModule, msg: str = "", **result: Any) -> None:
        result.pop("failed", None)
        leave(self, failed=True, msg=msg, **result)

    original = basic.AnsibleModule.exit_json, basic.AnsibleModule.fail_json
    basic.AnsibleModule.exit_json, basic.AnsibleModule.fail_json = exit_json, fail_json
    arguments = {**params, "_ansible_check_mode": _check, "_ansible_diff": _diff}
    try:
        with patch_module_args(arguments):
            module.main()
    except _Left as left:
        return left.result
    finally:
        basic.AnsibleModule.exit_json, basic.AnsibleModule.fail_json = original
    raise AssertionError(f"{name} ended without a result")
