"""The settings of a plan: what the inventory gives, as parameters of a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import RunbookError


def settings_of_plan(plan: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the plan's settings as the session's ``<helper schema>.<name>`` parameters.

    :raises RunbookError: one is missing (none has a default), or the plan does not know it.
    """
    given = given or {}
    wanted = [setting["name"] for setting in plan.get("settings") or []]
    missing = [name for name in wanted if given.get(name) is None]
    unknown = [name for name in given if name not in wanted]
    if missing or unknown:
        problems = [f"lacks {', '.join(missing)}"] if missing else []
        problems += [f"does not know {', '.join(unknown)}"] if unknown else []
        raise RunbookError(
            f"settings of plan {plan['plan']}: it {' and '.join(problems)}.".replace("it lacks", "not given:"),
            object_name=", ".join(missing + unknown),
            next_command="set migration_plan_settings in the inventory; plan.yml says what each setting means",
        )
    return {f"{plan['helper_schema']}.{name}": _text(given[name]) for name in wanted}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
