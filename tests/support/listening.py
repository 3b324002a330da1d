"""Run a server on 127.0.0.1 with TLS and passwords, for tests of connections."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Authority, install
from support.servers import OWNER, POSTGRES_PASSWORD, Options, Server, query, running_server, value

POSTGRES = int(os.environ.get("RUNBOOK_TEST_POSTGRES", "17"))


class Listening:
    """A server on 127.0.0.1 whose certificate and pg_hba.conf a test can change."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server, self.files = server, Path(server.facts["runtime_directory"])
        self.authority, self.other = Authority(directory, "authority"), Authority(directory, "other_authority")
        self.user = self.authority.sign(OWNER)
        self.good = {"sslmode": "verify-full", "sslrootcert": str(self.authority.file), "host": "localhost"}
        self._hba = Path(value(server.superuser_options, "SELECT current_setting('hba_file')"))
        self._rules = self._hba.read_text()
        self.certificate("server")

    @property
    def options(self) -> Options:
        """Return the options of a working connection."""
        socket_options = self.server.options
        return {**socket_options, **self.good, "password": POSTGRES_PASSWORD, "connect_timeout_seconds": 3}

    def certificate(self, name: str, *, authority: Authority | None = None, **wanted: Any) -> None:
        """Replace the server's certificate."""
        pair = install((authority or self.authority).sign(name, **wanted), self.files)
        self.settings(ssl="on", ssl_cert_file=str(pair[0]), ssl_key_file=str(pair[1]))

    def settings(self, **settings: str) -> None:
        superuser = self.server.superuser_options
        for name, setting in settings.items():
            query(superuser, f"ALTER SYSTEM SET {name} = '{setting}'")
        self._reload()

    @contextlib.contextmanager
    def rules(self, *lines: str) -> Iterator[None]:
        """Add rules at the beginning of pg_hba.conf for the block."""
        self._hba.write_text("\n".join([*lines, self._rules]))
        self._reload()
        try:
            yield
        finally:
            self._hba.write_text(self._rules)
            self._reload()

    def _reload(self) -> None:
        superuser = self.server.superuser_options
        before = value(superuser, "SELECT pg_conf_load_time()")
        query(superuser, "SELECT pg_reload_conf()")
        while value(superuser, "SELECT pg_conf_load_time()") == before:
            time.sleep(0.01)


@pytest.fixture(scope="session")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A server with TLS and passwords on 127.0.0.1. A test must undo its changes."""
    with running_server(POSTGRES, listen=True, password=POSTGRES_PASSWORD) as server:
        found = Listening(server, tmp_path_factory.mktemp("certificates"))
        query(server.superuser_options, f"ALTER ROLE {OWNER} PASSWORD '{POSTGRES_PASSWORD}'")
        yield found
