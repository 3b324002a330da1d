"""The tiny plan, with another schema, for tests of generic code."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.runbook.plan.loader import load_plan

from support.servers import connect

SUPPORT = Path(__file__).resolve().parent
TINY_PLAN = SUPPORT / "tiny_plan"
PREPARE, MOVE, REQUIRE = "20250301000000", "20250301000001", "20250301000002"
SETTINGS = {"shipments_are_insured": True}
ORDERS, ORDERS_WITH_ADDRESS = 250, 200


def load_shop(options: Mapping[str, Any]) -> None:
    """Fill an empty database with the tables that the tiny plan migrates."""
    with connect(options) as connection, connection.cursor() as cursor:
        cursor.execute((SUPPORT / "shop.sql").read_text(encoding="utf-8"))


def copy_plan(directory: Path) -> Path:
    """Copy the plan's files, so that a test can edit them."""
    return Path(shutil.copytree(TINY_PLAN, directory / "tiny_plan"))


def plan_of(directory: Path = TINY_PLAN) -> dict[str, Any]:
    """Load the plan as pg_plan_info returns it."""
    return load_plan(str(directory))


def replace_in(path: Path, old: str, new: str) -> None:
    """Edit a file of a copied plan."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")
