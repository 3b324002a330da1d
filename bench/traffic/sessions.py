"""How the application speaks to the database: one request is one transaction under the user's role and claims."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import psycopg2

from .statements import APPLICATION, WORLD

#: Supabase ends a statement of a signed-in user after this time: a wait that is longer is an error.
STATEMENT_TIMEOUT = "8s"

Row = tuple[Any, ...]


class Session:
    """One connection as the REST API holds it. A connection that breaks is made anew with the next request."""

    def __init__(self, parameters: Mapping[str, Any], role: str) -> None:
        self._parameters = parameters
        self._role = role
        self._connection: Any = None
        self.prepared: set[str] = set()

    def cursor(self) -> Any:
        """Return a cursor of the connection, made anew after it broke.

        :raises psycopg2.Error: there is no server to speak to.
        """
        if self._connection is None or self._connection.closed:
            self.prepared.clear()
            self._connection = psycopg2.connect(
                **self._parameters,
                application_name="traffic",
                options=f"-c statement_timeout={STATEMENT_TIMEOUT} -c search_path=public",
            )
            self._connection.autocommit = True
        return self._connection.cursor()

    @property
    def broken(self) -> bool:
        return self._connection is None or bool(self._connection.closed)

    def message(self, cursor: Any, kind: str, user: str | None, values: Mapping[str, Any]) -> bytes:
        """Return what goes to the server in one round trip; several statements in a message are one transaction."""
        claims = json.dumps({"role": self._role, "sub": user} if user else {"role": self._role})
        begin: bytes = cursor.mogrify(
            f"SET LOCAL ROLE {self._role}; SELECT set_config('request.jwt.claims', %s, true); ", (claims,)
        )
        request: bytes = cursor.mogrify(APPLICATION[kind], values)
        return begin + request

    def send(self, kind: str, user: str | None, values: Mapping[str, Any]) -> list[Row]:
        """Run one request and return its rows.

        :raises psycopg2.Error: as the application sees it.
        """
        with self.cursor() as cursor:
            if f"prepare_{kind}" in APPLICATION and kind not in self.prepared:
                cursor.execute(self.message(cursor, f"prepare_{kind}", user, {}))
                self.prepared.add(kind)
            cursor.execute(self.message(cursor, kind, user, values))
            return list(cursor.fetchall()) if cursor.description else []

    def forget_prepared(self, kind: str) -> None:
        """Let go of a prepared statement whose plan the server no longer accepts."""
        with self.cursor() as cursor:
            cursor.execute(f"DEALLOCATE {kind}")
        self.prepared.discard(kind)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Observer:
    """The superuser's connection: for questions of the generator, which are no part of the load."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._connection: Any = None
        self._lock = threading.Lock()

    def ask(self, name: str, **values: Any) -> list[Row]:
        """Run a statement of world.sql."""
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg2.connect(**self._parameters, application_name="traffic observer")
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(WORLD[name], values or None)
                return list(cursor.fetchall())

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
