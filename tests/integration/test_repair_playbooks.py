"""The troubleshooting playbooks as an operator types them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.playbooks import Operator
from support.servers import Options, Server, load_demo, value


@pytest.fixture
def dirty(server: Server) -> Iterator[Options]:
    options = server.create_database()
    load_demo(options, dirty=True)
    yield options
    server.drop_database(options)


def test_the_commands_on_the_screen_make_a_dirty_database_migrate(dirty: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, dirty)
    refused = operator.type("migrate.yml")
    assert refused.status == 2
    assert "playbooks/repair.yml" in refused.text
    listed = operator.type("playbooks/repair.yml")
    assert listed.status == 0, listed.screen
    assert "orphaned_posts: " in listed.text
    assert "unfinished_objects: 0 of" in listed.text
    issues = {
        "orphaned_posts": "archive",
        "playlist_references": "",
        "track_id_clash": "new_id",
        "constraint_violation": "",
    }
    for issue, remedy in issues.items():
        command = f"-e issue={issue} -e apply=true" + (f" -e remedy={remedy}" if remedy else "")
        assert command in listed.text
        done = operator.type("playbooks/repair.yml", *command.split())
        assert done.status == 0, done.screen
        assert f"repaired {issue}: " in done.text
        assert ", 0 left" in done.text
    migrated = operator.type("migrate.yml")
    assert migrated.status == 0, migrated.screen
    assert operator.report()["state"] in ("complete", "complete_with_warnings")
    archive = operator.type("playbooks/restore_archived.yml")
    assert "playlist_references: points at a text post" in archive.text
    back = operator.type("playbooks/restore_archived.yml", "-e", "reason='orphaned_posts: duration not positive'")
    assert back.status == 0, back.screen
    assert "archived rows restored" in back.text
    assert value(dirty, "SELECT count(*) FROM public.posts WHERE audio_duration = 0 AND track_id IS NOT NULL") > 0
    slow = operator.type("playbooks/repair.yml", "-e", "issue=takes_too_long")
    assert slow.status == 0, slow.screen
    assert "no run is open" in slow.text


def test_outside_local_a_repair_wants_a_confirmation(dirty: Options, tmp_path: Path) -> None:
    operator = Operator(tmp_path, dirty, runbook_environment="staging")
    refused = operator.type("playbooks/repair.yml", "-e", "issue=playlist_references", "-e", "apply=true")
    assert refused.status == 2
    assert "confirm was not given. Nothing was changed." in refused.text
