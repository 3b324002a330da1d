"""The pg_dump command: quoted schemas, compression by version, nothing of the connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.runbook.backup.archive import Format
from ansible.module_utils.runbook.backup.dump import DumpOptions, best_compression, dump_command
from ansible.module_utils.runbook.errors import RunbookError


def command(options: DumpOptions, major: int = 17, schemas: tuple[str, ...] | None = ("public",)) -> list[str]:
    return dump_command(Path("/bin/pg_dump"), major, options, schemas, "0-1-1", "/backup")


def test_the_directory_format_dumps_in_parallel_under_the_snapshot() -> None:
    assert command(DumpOptions("directory", "gzip:1", jobs=3), schemas=("public", 'Odd"')) == [
        "/bin/pg_dump",
        "--format=directory",
        "--file=/backup/data",
        "--compress=1",
        "--snapshot=0-1-1",
        "--lock-wait-timeout=30000",
        "--encoding=UTF8",
        "--strict-names",
        "--no-password",
        "--jobs=3",
        '--schema="public"',
        '--schema="Odd"""',
    ]


@pytest.mark.parametrize("format_name", ["custom", "plain"])
def test_other_formats_have_one_job(format_name: str) -> None:
    assert not [word for word in command(DumpOptions(format_name)) if word.startswith("--jobs")]


@pytest.mark.parametrize(
    ("format_name", "compression", "major", "option"),
    [
        ("directory", "gzip:1", 15, "1"),
        ("directory", "none", 17, "0"),
        ("directory", "gzip", 15, "6"),
        ("plain", "gzip:9", 15, "9"),
        ("directory", "zstd", 16, "zstd"),
        ("custom", "lz4:3", 18, "lz4:3"),
    ],
)
def test_compression_is_named_as_every_version_understands_it(
    format_name: str, compression: str, major: int, option: str
) -> None:
    assert f"--compress={option}" in command(DumpOptions(format_name, compression), major)


@pytest.mark.parametrize(
    ("format_name", "compression", "major", "says"),
    [
        ("directory", "zstd", 15, "compression zstd needs pg_dump 16 or newer"),
        ("plain", "lz4", 17, "needs pg_dump 16 or newer and the directory or custom format"),
        ("directory", "brotli", 17, "compression 'brotli' is not one of"),
        ("directory", "gzip:", 17, "compression 'gzip:' is not one of"),
    ],
)
def test_compression_that_cannot_be_is_refused(format_name: str, compression: str, major: int, says: str) -> None:
    with pytest.raises(RunbookError, match=says):
        command(DumpOptions(format_name, compression), major)


@pytest.mark.parametrize(
    ("format_name", "major", "has_zstd", "best"),
    [
        ("directory", 17, True, "zstd:1"),
        ("custom", 16, True, "zstd:1"),
        ("directory", 18, False, "none"),
        ("directory", 15, True, "none"),
        ("plain", 17, True, "none"),
    ],
)
def test_the_best_compression_is_one_that_the_tool_has(
    tmp_path: Path, format_name: Format, major: int, has_zstd: bool, best: str
) -> None:
    says = "connection to server failed" if has_zstd else "this build does not support compression with ZSTD"
    tool = tmp_path / "pg_dump"
    tool.write_text(f"#!/bin/sh\necho 'pg_dump: error: {says}' >&2\nexit 1\n")
    tool.chmod(0o755)
    assert best_compression(tool, major, format_name) == best


def test_the_whole_database_goes_without_the_journal_and_without_subscriptions() -> None:
    found = command(DumpOptions("directory"), schemas=None)
    assert not any(option.startswith("--schema") for option in found)
    assert '--exclude-schema="migration_runbook"' in found
    assert "--no-subscriptions" in found
