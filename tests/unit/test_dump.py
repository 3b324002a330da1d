"""The pg_dump command: quoted schemas, compression by version, nothing of the connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.runbook.backup.dump import DumpOptions, best_compression, dump_command
from ansible.module_utils.runbook.errors import RunbookError


def command(options: DumpOptions, major: int = 17, schemas: tuple[str, ...] | None = ("public",)) -> list[str]:
    return dump_command(Path("/bin/pg_dump"), major, options, schemas, "0-1-1", "/backup")


def test_the_directory_format_dumps_in_parallel_under_the_snapshot() -> None:
    assert command(DumpOptions("gzip:1", jobs=3), schemas=("public", 'Odd"')) == [
        "/bin/pg_dump",
        "--format=directory",
        "--file=/backup/data",
        "--jobs=3",
        "--compress=1",
        "--snapshot=0-1-1",
        "--lock-wait-timeout=30000",
        "--encoding=UTF8",
        "--strict-names",
        "--no-password",
        '--schema="public"',
        '--schema="Odd"""',
    ]


@pytest.mark.parametrize(
    ("compression", "major", "option"),
    [
        ("gzip:1", 15, "1"),
        ("none", 17, "0"),
        ("gzip", 15, "6"),
        ("gzip:9", 15, "9"),
        ("zstd", 16, "zstd"),
        ("lz4:3", 18, "lz4:3"),
    ],
)
def test_compression_is_named_as_every_version_understands_it(compression: str, major: int, option: str) -> None:
    assert f"--compress={option}" in command(DumpOptions(compression), major)


@pytest.mark.parametrize(
    ("compression", "major", "says"),
    [
        ("zstd", 15, "compression zstd needs pg_dump 16 or newer"),
        ("brotli", 17, "unknown compression 'brotli'"),
        ("gzip:", 17, "unknown compression 'gzip:'"),
    ],
)
def test_compression_that_cannot_be_is_refused(compression: str, major: int, says: str) -> None:
    with pytest.raises(RunbookError, match=says):
        command(DumpOptions(compression), major)


@pytest.mark.parametrize(
    ("major", "has_zstd", "best"),
    [
        (17, True, "zstd:1"),
        (16, True, "zstd:1"),
        (18, False, "none"),
        (15, True, "none"),
    ],
)
def test_the_best_compression_is_one_that_the_tool_has(tmp_path: Path, major: int, has_zstd: bool, best: str) -> None:
    says = "connection to server failed" if has_zstd else "this build does not support compression with ZSTD"
    tool = tmp_path / "pg_dump"
    tool.write_text(f"#!/bin/sh\necho 'pg_dump: error: {says}' >&2\nexit 1\n")
    tool.chmod(0o755)
    assert best_compression(tool, major) == best


def test_the_whole_database_goes_without_the_journal_and_without_subscriptions() -> None:
    found = command(DumpOptions(), schemas=None)
    assert not any(option.startswith("--schema") for option in found)
    assert '--exclude-schema="migration_runbook"' in found
    assert "--no-subscriptions" in found
