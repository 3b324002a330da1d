"""Databases at each stage of the plan, copied from templates that are migrated once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from plan_sql import VERSIONS, apply
from support.servers import Options, Server

DatabaseAt = Callable[[str], Options]


@pytest.fixture(scope="session")
def stages(server: Server, clean_template: str) -> dict[str, str]:
    """The name of a template per version: the demo's rows, migrated up to and including it."""
    templates = {}
    latest = clean_template
    for version in VERSIONS:
        options = server.create_database(latest)
        apply(options, version)
        latest = templates[version] = str(options["dbname"])
    return templates


@pytest.fixture
def database_at(server: Server, stages: dict[str, str]) -> Iterator[DatabaseAt]:
    """Make a database as it is after a version: the owner's ``connection`` options."""
    made: list[Options] = []

    def make(version: str) -> Options:
        made.append(server.create_database(stages[version]))
        return made[-1]

    yield make
    for options in made:
        server.drop_database(options)
