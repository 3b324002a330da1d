"""Settings of a plan as session parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import RunbookError


def settings_of_plan(plan: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the plan's settings as the session's ``<helper schema>.<name>`` parameters.

    :raises RunbookError: a setting is missing (none has a default) or unknown.
    """
    given = given or {}
    wanted = [setting["name"] for setting in plan.get("settings") or []]
    missing = [name for name in wanted if given.get(name) is None]
    unknown = [name for name in given if name not in wanted]
    if missing or unknown:
        problems = [f"missing {', '.join(missing)}"] if missing else []
        problems += [f"unknown {', '.join(unknown)}"] if unknown else []
        raise RunbookError(
            f"settings of plan {plan['plan']}: {'; '.join(problems)}.",
            object_name=", ".join(missing + unknown),
            next_command="set migration_plan_settings in the inventory; plan.yml explains each setting",
        )
    return {f"{plan['helper_schema']}.{name}": _text(given[name]) for name in wanted}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
