"""The test server that `make one` keeps between calls; `make stop` ends it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

#: Names the runtime directory of the kept server, so that `make stop` knows whether there is one.
NOTE = REPOSITORY / ".runtime" / "test-server"


def runtime_directory(major: int) -> str:
    """Return the directory of this checkout's kept server; it is short because socket paths are limited."""
    digest = hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:10]
    return f"/tmp/pg-test-{digest}-{major}"


def note(runtime: str) -> None:
    """Record a kept server."""
    NOTE.parent.mkdir(mode=0o700, exist_ok=True)
    kept = set(NOTE.read_text().split()) if NOTE.exists() else set()
    NOTE.write_text("\n".join(sorted({*kept, runtime})) + "\n")


def stop() -> None:
    """Stop every kept server and remove it with its data."""
    import ansible.module_utils

    ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
    from ansible.module_utils.runbook.embedded import server as embedded

    for runtime in NOTE.read_text().split():
        embedded.stop(runtime)
        print(f"stopped the test server in {runtime}")
    NOTE.unlink()


if __name__ == "__main__" and sys.argv[1:] == ["stop"]:
    stop()
