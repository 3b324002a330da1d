"""Fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ansible.module_utils.runbook.embedded.binaries import locate
from ansible.module_utils.runbook.errors import RunbookError

from support.migrated import Migrated, Stage
from support.modules import run_module as run_one_module
from support.servers import Options, Server, kept_server, load_demo, running_server

#: Which server the tests run on; make test repeats the integration tests for others.
POSTGRES = int(os.environ.get("RUNBOOK_TEST_POSTGRES", "17"))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A throwaway server with the demo's roles (`make one` keeps it between calls); see support.servers.Server."""
    of_this_test = kept_server if os.environ.get("RUNBOOK_TEST_SERVER") == "kept" else running_server
    with of_this_test(POSTGRES) as running:
        yield running


@contextmanager
def installed_server(major: int) -> Iterator[Server]:
    """A throwaway server of that major version; the test is skipped if it is not installed."""
    try:
        locate(major, "")
    except RunbookError as error:
        pytest.skip(f"PostgreSQL {major} is not installed: {error.msg}")
    with running_server(major) as running:
        yield running


@pytest.fixture(scope="session")
def clean_template(server: Server) -> str:
    """The name of a template database with the base schema and 300 clean audio posts."""
    options = server.create_database()
    load_demo(options)
    return str(options["dbname"])


@pytest.fixture
def database(server: Server, clean_template: str) -> Iterator[Options]:
    """The owner's ``connection`` options for a new database with the base schema and about 300 audio posts."""
    options = server.create_database(clean_template)
    yield options
    server.drop_database(options)


@pytest.fixture(scope="session")
def migrated_stage(server: Server, clean_template: str, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Return the template for copies of a migrated database."""
    return Stage(server, clean_template, tmp_path_factory.mktemp("migrated"))


@pytest.fixture
def migrated(migrated_stage: Stage) -> Iterator[Migrated]:
    """A new copy of the clean database after migrate.yml, with the run's files."""
    with migrated_stage.copy() as copy:
        yield copy


@pytest.fixture
def empty_database(server: Server) -> Iterator[Options]:
    """The owner's ``connection`` options for a new database without a schema."""
    options = server.create_database()
    yield options
    server.drop_database(options)


@pytest.fixture
def run_module() -> Callable[..., dict[str, Any]]:
    """Run a module of library/ by name through a real AnsibleModule: see support.modules.run_module."""
    return run_one_module
