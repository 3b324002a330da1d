"""Any session may take the key of the lease's advisory lock: nobody waits for it, and it is named."""

from __future__ import annotations

import pytest
from ansible.module_utils.runbook.database.connection import SessionSettings, session
from ansible.module_utils.runbook.errors import RunbookError
from ansible.module_utils.runbook.journal import lease
from ansible.module_utils.runbook.journal.lease import exclusive
from ansible.module_utils.runbook.journal.runs import ensure
from support.servers import Options, connect


@pytest.mark.parametrize("has_journal", [True, False])
def test_a_session_of_the_application_that_holds_the_key_is_named(database: Options, has_journal: bool) -> None:
    with (
        connect({**database, "user": "authenticator"}, application_name="web") as other,
        session(database, SessionSettings()) as connection,
    ):
        if has_journal:
            ensure(connection)
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", lease.LOCK_KEY)
        with pytest.raises(RunbookError) as refused, exclusive(connection, "run"):
            pass
        pid = other.info.backend_pid
        assert f"session {pid} of user authenticator (application web) holds the advisory lock" in refused.value.msg
        assert "belongs to no run" in refused.value.msg
        assert refused.value.next_command == f"end that session: SELECT pg_terminate_backend({pid})"
    with session(database, SessionSettings()) as connection, exclusive(connection, "run"):
        pass
