"""Databases at each stage of the plan, copied from templates that are migrated once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bursts import LoadOn, place, superuser
from plan_sql import VERSIONS, apply
from support.servers import Options, Server

from bench.traffic.application import Application
from bench.traffic.record import Record
from bench.traffic.sessions import Observer, Session
from bench.traffic.world import World

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


@pytest.fixture
def load_on() -> Iterator[LoadOn]:
    """Make an application that writes nothing by itself: for one request at a time."""
    opened: list[Any] = []

    def make(options: Options) -> Application:
        observer = Observer(superuser(options))
        world = World(observer, 1)
        world.versions = {row[0] for row in observer.ask("versions")}
        sessions = (
            Session({**place(options), "user": "authenticator"}, "authenticated"),
            Session(superuser(options), "supabase_auth_admin"),
        )
        opened.extend([observer, *sessions])
        application = Application(world, Record(), *sessions)
        application.choice = random.Random(1)
        return application

    yield make
    for one in opened:
        one.close()
