"""Hooks run a command, call a real HTTP server or set a flag. Slow ones are ended; secrets are not shown."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.modules import run_module
from support.servers import Options, connect, query, value

SECRET = "a-token-that-nobody-should-read-7f3a"


class Handler(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, str, str]]] = []

    def do_POST(self) -> None:
        Handler.seen.append((self.path, self.headers.get("Authorization", ""), self.command))
        if "slow" in self.path:
            for _ in range(30):  # drips: each read is quick, the whole is not
                self.wfile.write(b"H")
                time.sleep(0.1)
            return
        status = 503 if "broken" in self.path else 202
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f"no {SECRET} today".encode())

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Handler.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def call(options: Options, **more: Any) -> dict[str, Any]:
    result = run_module("application_hook", connection=dict(options), purpose="stopped", **more)
    assert SECRET not in json.dumps(result)
    return result


def test_an_http_hook_is_called_with_its_secret_and_shows_none(database: Options, address: str) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    assert call(database, url=f"{address}/stop?key={SECRET}", headers=headers)["status"] == 202
    assert Handler.seen == [(f"/stop?key={SECRET}", f"Bearer {SECRET}", "POST")]
    would = call(database, _check=True, url=f"{address}/stop")
    assert would["msg"] == "the url hook would be called"
    assert len(Handler.seen) == 1


def test_a_failing_and_a_slow_http_hook_say_so_and_what_to_do(database: Options, address: str) -> None:
    broken = call(database, url=f"{address}/broken", headers={"Authorization": f"Bearer {SECRET}"})
    assert "should have stopped the application failed: 127.0.0.1 answered 503: no ******** today." in broken["msg"]
    assert "make sure by hand that the application is stopped" in broken["msg"]
    began = time.monotonic()
    slow = call(database, url=f"{address}/slow", total_timeout_seconds=0.5)
    assert "127.0.0.1 took longer than 0.5 s to answer." in slow["msg"]
    assert time.monotonic() - began < 2
    gone = call(database, url="http://127.0.0.1:1/stop")
    assert "ConnectionRefusedError" in gone["msg"]
    assert "the address must begin with http or https" in call(database, url="ftp://127.0.0.1/stop")["msg"]


def test_a_command_gets_its_secret_from_the_environment(database: Options, tmp_path: Path) -> None:
    file = tmp_path / "note"
    script = f"import os; open({str(file)!r}, 'w').write(os.environ['TOKEN']); print('with', os.environ['TOKEN'])"
    done = call(database, command=[sys.executable, "-c", script], environment={"TOKEN": SECRET})
    assert (done["status"], done["output"]) == (0, "with ********")
    assert file.read_text() == SECRET


def test_a_failing_and_a_slow_command_are_told_and_what_they_started_ends(database: Options, tmp_path: Path) -> None:
    failed = call(database, command=[sys.executable, "-c", "import sys; print('no way'); sys.exit(3)"])
    assert "ended with status 3: no way." in failed["msg"]
    file = tmp_path / "note"
    child = f"import time; time.sleep(1.5); open({str(file)!r}, 'w')"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    slow = call(database, command=[sys.executable, "-c", script], total_timeout_seconds=0.5)
    assert "took longer than 0.5 s and was ended." in slow["msg"]
    time.sleep(1.6)
    assert not file.exists()
    assert "cannot be started" in call(database, command=["/nowhere/stop"])["msg"]


def test_a_flag_is_set_and_one_without_a_row_or_behind_a_lock_is_refused(database: Options) -> None:
    query(database, "CREATE TABLE public.site (name text, closed boolean NOT NULL DEFAULT false)")
    flag = {"table": "public.site", "column": "closed", "value": True, "where": {"name": "main"}}
    assert "public.site.closed has no row to set." in call(database, flag=flag)["msg"]
    query(database, "INSERT INTO public.site (name) VALUES ('main'), ('other')")
    assert call(database, flag=flag)["msg"] == "public.site.closed is true in 1 rows"
    assert value(database, "SELECT array_agg(closed ORDER BY name) FROM public.site") == [True, False]
    with connect(database) as holder:
        holder.cursor().execute("BEGIN; LOCK TABLE public.site")
        locked = call(database, flag={**flag, "value": False}, total_timeout_seconds=0.3)
    assert "public.site.closed could not be set" in locked["msg"]
    assert locked["sqlstate"] in ("55P03", "57014")
    missing = call(database, flag={**flag, "column": "nothing"})
    assert 'column "nothing" of relation "site" does not exist' in missing["msg"]


def test_no_hook_or_two_are_refused(database: Options) -> None:
    assert "given none" in call(database)["msg"]
    assert "given command, url" in call(database, command=["true"], url="http://127.0.0.1")["msg"]
