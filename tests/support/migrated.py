"""Migrate a database once with migrate.yml, and copy it with the run's files for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.catalogue import catalogue, schema_text
from support.playbooks import Operator
from support.servers import Options, Server


@dataclass
class Migrated:
    """What a test gets: the database, an operator, and catalog and schema before the migration."""

    options: Options
    operator: Operator
    catalogue_before: dict[str, Any]
    schema_before: str


class Stage:
    """The run's files contain the names of directory and database, so every copy has the name of the previous one."""

    def __init__(self, server: Server, template: str, directory: Path) -> None:
        self._server, self._directory, self._kept_files = server, directory / "run", directory / "kept"
        self._directory.mkdir()
        self._options = server.create_database(template)
        self._before = (catalogue(self._options), schema_text(self._options, server.bin_directory))
        done = Operator(self._directory, self._options).type("migrate.yml")
        assert done.status == 0, done.screen
        shutil.copytree(self._directory, self._kept_files)
        self._kept = str(server.create_database(str(self._options["dbname"]))["dbname"])

    @contextmanager
    def copy(self) -> Iterator[Migrated]:
        """Yield a copy; only one can exist at a time."""
        shutil.rmtree(self._directory)
        shutil.copytree(self._kept_files, self._directory)
        self._server.drop_database(self._options)
        self._server.create_database(self._kept, name=str(self._options["dbname"]))
        yield Migrated(self._options, Operator(self._directory, self._options), *self._before)
