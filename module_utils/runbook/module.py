"""The boundary to Ansible: the only file of this package that knows AnsibleModule."""

from __future__ import annotations

import json
import locale
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import psycopg2
from ansible.module_utils.basic import AnsibleModule, env_fallback

from .database import libpq_environment
from .database.commit_watch import WATCH
from .database.connection import CONNECTION_OPTIONS, Stopwatch
from .errors import RunbookError, from_driver
from .masking import masked_by_value, shown
from .plain import to_plain
from .private_files import replace_file
from .visible import printable, remember, visible

#: ``work(params, check_mode) -> result`` is the whole module, apart from its argument_spec.
Work = Callable[[dict[str, Any], bool], dict[str, Any]]

#: Every result has these keys, in every branch.
COMMON_RESULT: dict[str, Any] = {"changed": False, "msg": "", "diff": {}, "queries": [], "duration_seconds": 0.0}

#: Every failure also has these.
COMMON_FAILURE: dict[str, Any] = {
    "exception": "",
    "sqlstate": "",
    "object": "",
    "left_as": "unchanged",
    "next_command": "",
}


def connection_argument() -> dict[str, Any]:
    """Return the ``connection`` entry of an argument_spec."""
    return {"type": "dict", "required": True, "options": CONNECTION_OPTIONS}


def tls_argument() -> dict[str, Any]:
    """Return the ``tls`` entry of an argument_spec: the weakest accepted mode."""
    options: dict[str, dict[str, Any]] = {
        "required": {"type": "bool", "default": False},
        "accept": {"type": "str", "default": ""},
        "reason": {"type": "str", "default": ""},
    }
    return {"type": "dict", "default": {}, "options": options}


def run_argument(*, required: bool = False, opened: bool = False) -> dict[str, Any]:
    """Return the ``run`` entry of an argument_spec: the run of the journal that a call belongs to.

    :param opened: the call may open the run and generate its id.
    """
    options: dict[str, dict[str, Any]] = {
        "id": {"type": "str", "default": ""} if opened else {"type": "str", "required": True},
        "plan_hash": {"type": "str"},
        "directory": {"type": "path"},
        "environment": {"type": "str", "default": ""},
        "host": {"type": "str", "default": ""},
    }
    return {"type": "dict", "options": options, **({"required": True} if required or opened else {})}


def tables_argument(*, required: bool = False) -> dict[str, Any]:
    """Return the ``tables`` entry of an argument_spec: protected tables of a plan."""
    options = {"table": {"type": "str", "required": True}, "key": {"type": "str", "required": True}}
    listing = {"type": "list", "elements": "dict", "options": options}
    return {**listing, "required": True} if required else {**listing, "default": []}


def restore_arguments() -> dict[str, Any]:
    """Return the entries of an argument_spec that all restore modules share."""
    return {
        "backup_directory": {"type": "path", "required": True},
        "snapshot_directory": {"type": "path"},
        "jobs": {"type": "int", "default": 2},
        "statement_timeout_seconds": {"type": "int", "default": 7200},
    }


def disk_arguments() -> dict[str, Any]:
    """Return the entries of an argument_spec about the free disk space of a server."""
    return {"free_disk_bytes": {"type": "int"}, "disk_path": {"type": "path"}}


def retry_command_argument(playbook: str) -> dict[str, Any]:
    """Return the ``retry_command`` entry of an argument_spec: the command that messages suggest to repeat."""
    return {"type": "str", "default": f"ansible-playbook playbooks/{playbook}.yml"}


def result_file_argument() -> dict[str, Any]:
    """Return the ``result_file`` entry of an argument_spec: the file with the result for the report."""
    return {"type": "path"}


def progress_file_argument() -> dict[str, Any]:
    """Return the ``progress_file`` entry of an argument_spec: the file that the callback reads."""
    return {"type": "path", "fallback": (env_fallback, ["RUNBOOK_PROGRESS_FILE"])}


def without_plan(printed: dict[str, Any]) -> dict[str, Any]:
    """Replace the plan among printed options by its name, because it is long."""
    short = dict(printed)
    for name in ("plan", "run"):
        given = printed.get(name)
        if isinstance(given, dict) and "migrations" in given:
            short[name] = given.get("plan")
        elif isinstance(given, dict) and isinstance(given.get("plan"), dict):
            short[name] = {**given, "plan": given["plan"].get("plan")}
    return short


class RunbookModule(AnsibleModule):  # type: ignore[misc]
    """A module that hides secret options by their names, because a password may be any word of its result."""

    no_log_values: set[str]

    def hide(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return a result with a printable invocation, and keep only secrets that are not words."""
        printed = shown(self.params, self.argument_spec)
        self.no_log_values = masked_by_value(self.no_log_values, printed)
        return {**result, "invocation": {"module_args": without_plan(printed)}}

    def _return_formatted(self, kwargs: dict[str, Any]) -> None:
        super()._return_formatted(self.hide(kwargs))


def run(
    argument_spec: dict[str, Any],
    work: Work,
    *,
    facts: dict[str, Any] | None = None,
    supports_check_mode: bool = True,
    shows_message: bool = False,
    **rules: Any,
) -> None:
    """Create the module, run its work, and end with exit_json or fail_json.

    :param facts: the module's own result keys with their empty values, for the branches that do not fill them.
    :param shows_message: the message is for the screen: its lines are the ``summary``, unless ``work`` returns one.
    :param rules: passed to AnsibleModule (``required_if`` and the like).
    """
    # On SIGTERM, Python would skip `finally` blocks, and client tools would keep running.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    libpq_environment.clear()
    module = RunbookModule(argument_spec=argument_spec, supports_check_mode=supports_check_mode, **rules)
    # AnsibleModule sets the user's locale; libpq's faults are recognised by their English text.
    locale.setlocale(locale.LC_MESSAGES, "C")
    stopwatch = Stopwatch()
    failure: dict[str, Any] | None = None
    result: dict[str, Any] = {}
    try:
        result = work(module.params, module.check_mode)
        WATCH.raise_failure()
    except RunbookError as error:
        failure = _failure(error)
    except psycopg2.Error as error:
        failure = _failure(from_driver(error, "the server refused a statement"))
    except Exception as error:  # noqa: BLE001 - the one place that turns anything unforeseen into a readable failure
        failure = _failure(RunbookError(f"unexpected {type(error).__name__}: {visible(error)}"))
    WATCH.forget_failure()
    found = failure or result
    shown = {"summary": str(result.get("msg", "")).splitlines()} if shows_message else {}
    plain = to_plain({**COMMON_RESULT, **(facts or {}), **shown, **found, "duration_seconds": stopwatch.seconds()})
    outcome = printable(plain)
    path = module.params.get("result_file")
    if path and not module.check_mode:
        write_result(path, {**outcome, "failed": failure is not None})
    if failure is not None:
        module.fail_json(**outcome)
    module.exit_json(**outcome)


def write_result(path: str, outcome: dict[str, Any]) -> None:
    """Write a result as JSON, mode 0600, atomically."""
    replace_file(path, json.dumps(outcome, indent=2, sort_keys=True) + "\n")


def _failure(error: RunbookError) -> dict[str, Any]:
    causes: list[BaseException] = [error]
    for cause in causes:  # the traceback contains the text of each; two can reference each other
        if not isinstance(cause, RunbookError):
            remember(str(cause))
        causes += [
            one for one in (cause.__cause__, cause.__context__) if one and not any(one is seen for seen in causes)
        ]
    return {
        **COMMON_FAILURE,
        **error.facts,
        "msg": _sentence(error),
        "exception": traceback.format_exc(),
        "sqlstate": error.sqlstate,
        "object": error.object_name,
        "left_as": error.left_as,
        "next_command": error.next_command,
    }


def _sentence(error: RunbookError) -> str:
    """Return what failed, the resulting state and the next command as one readable text."""
    states = {
        "unchanged": "Nothing was changed.",
        "resumable": "What was done is kept; the run can be resumed.",
        "needs_rollback": "The database is between two states: roll back.",
    }
    between = "\n" if "\n" in error.msg else " "  # below a list, the state has its own line
    text = f"{error.msg.rstrip()}{between}{states[error.left_as]}"
    return f"{text} Next: {error.next_command}" if error.next_command else text
