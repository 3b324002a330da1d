"""The base schema is the one a Supabase project has: what the plan may rely on, read back from the catalog."""

from __future__ import annotations

import psycopg2
import pytest

from support.servers import Options, application_session, query, value


def test_owner_is_no_superuser_and_may_set_replica_role(database: Options) -> None:
    attributes = query(
        database,
        "SELECT rolsuper, rolcreatedb, rolbypassrls, rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = current_user",
    )
    assert attributes == [(False, True, True, True)]
    assert value(database, "SELECT has_parameter_privilege('session_replication_role', 'SET')") is True
