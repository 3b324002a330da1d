"""What a dump must pass before it counts as a backup, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from ansible.module_utils.runbook.backup import backup
from ansible.module_utils.runbook.backup.archive import Archive
from ansible.module_utils.runbook.backup.dumped_tables import DumpedTable

TABLES = [DumpedTable(number, f"shop.{name}", {}) for number, name in enumerate(("customers", "orders", "places"))]
ROWS = {"shop.customers": 7, "shop.orders": 70, "shop.places": 0}


def test_the_longest_table_is_read_first_and_the_others_beside_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read: list[str] = []

    def count(archive: Archive, entries: Mapping[str, int], workers: int) -> dict[str, int]:
        read.extend(entries)
        return {name: ROWS[name] for name in entries}

    monkeypatch.setattr(backup, "table_entries", lambda archive: {0: 10, 1: 11, 2: 12})
    monkeypatch.setattr(backup, "count_rows", count)
    entries = backup.check_backup(Archive(str(tmp_path), Path("pg_restore")), TABLES, ROWS, 0, 2)
    assert read == ["shop.orders", "shop.customers", "shop.places"]
    assert entries == {"shop.customers": 10, "shop.orders": 11, "shop.places": 12}
