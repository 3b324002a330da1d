"""Run one of our modules in a fork of Ansible's worker instead of a new Python process.

Each module of ``library/`` has a link to this file under its own name: Ansible finds a module's action by its name.
A new Python process compiles Ansible's module code and ours from a zip archive at every call (0.25 to 0.4 s). The fork
has both in memory. It behaves like the process that Ansible would start: the same process group, its own signal
handlers, arguments in memory only, and the result as JSON on standard output.

Ansible's own way is used when the host is not this machine, when it has another interpreter, and for ``become``,
``async`` and ``environment``. ADR 25 gives the reasons.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib.util
import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import ansible.module_utils
from ansible.executor.module_common import _BuiltModule
from ansible.module_utils import _internal, basic
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.plugins.action import ActionBase

NAME = Path(__file__).stem
REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "library" / f"{NAME}.py"
PROFILE = "legacy"


def load_main() -> Callable[[], None] | None:
    """Import the module and return its ``main``, or None if it cannot be imported: Ansible's own way reports why."""
    folder = str(REPOSITORY / "module_utils")
    if folder not in ansible.module_utils.__path__:
        ansible.module_utils.__path__.append(folder)
    try:
        spec = importlib.util.spec_from_file_location(f"ansible.modules.{NAME}", SOURCE)
        if spec is None or spec.loader is None:
            return None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except (ImportError, OSError):
        return None
    main: Callable[[], None] = module.main
    return main


#: Ansible looks up the action in its main process first, so every worker is forked with the module in memory.
MAIN = load_main()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run a module as Ansible does, but replace how it is packed and how it is started."""

    _supports_check_mode = True
    _supports_async = True
    payload: bytes | None = None

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module and return its result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        wrap_async = self._task.async_val and not self._connection.has_native_async
        result.update(self._execute_module(task_vars=task_vars, wrap_async=wrap_async))
        if not wrap_async:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _can_fork(self, task_vars: dict[str, Any]) -> bool:
        interpreter = self._templar.template(task_vars.get("ansible_python_interpreter", sys.executable))
        return (
            MAIN is not None
            and self._connection.transport == "local"
            and self._connection.become is None
            and not self._task.async_val
            and not any(self._task.environment or [])
            and interpreter == sys.executable
            and self._is_pipelining_enabled("new")
        )

    def _configure_module(self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> Any:
        if module_name != self._task.action or not self._can_fork(task_vars):
            return super()._configure_module(module_name, module_args, task_vars)
        encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
        self.payload = json.dumps({"ANSIBLE_MODULE_ARGS": module_args}, cls=encoder).encode()
        built = _BuiltModule(
            b_module_data=self.payload,
            module_style="new",
            shebang=f"#!{sys.executable}",
            serialization_profile=PROFILE,
        )
        return built, str(SOURCE)

    def _low_level_execute_command(self, cmd: str, *args: Any, in_data: bytes | None = None, **more: Any) -> Any:
        if self.payload is None or in_data is not self.payload:
            return super()._low_level_execute_command(cmd, *args, in_data=in_data, **more)
        return run_in_fork(self.payload)


def run_in_fork(payload: bytes) -> dict[str, Any]:
    """Run the module with these arguments and return ``rc``, ``stdout``, ``stderr`` and their lines."""
    outputs = [os.pipe(), os.pipe()]
    pid = os.fork()
    if pid == 0:
        become_module(payload, outputs[0][1], outputs[1][1])
    for _, written in outputs:
        os.close(written)
    stdout, stderr = read_all([read for read, _ in outputs])
    _, status = os.waitpid(pid, 0)
    return {
        "rc": os.waitstatus_to_exitcode(status),
        "stdout": stdout,
        "stdout_lines": stdout.splitlines(),
        "stderr": stderr,
        "stderr_lines": stderr.splitlines(),
    }


def read_all(descriptors: list[int]) -> list[str]:
    """Read several pipes until each of them ends, close them, and return their texts in the same order."""
    parts: dict[int, list[bytes]] = {descriptor: [] for descriptor in descriptors}
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                part = os.read(key.fd, 1 << 16)
                if part:
                    parts[key.fd].append(part)
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [b"".join(parts[descriptor]).decode(errors="surrogateescape") for descriptor in descriptors]


def become_module(payload: bytes, stdout: int, stderr: int) -> NoReturn:
    """Run the module in this process and end the process; never return."""
    code = 1
    try:
        forget_worker(stdout, stderr)
        basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = payload, PROFILE
        assert MAIN is not None
        MAIN()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001 - nothing may return into the worker's stack; Ansible shows what is printed
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def forget_worker(stdout: int, stderr: int) -> None:
    """Drop what the fork inherited: exit functions, signal handlers, open files and the role of a controller."""
    atexit._clear()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    # Inherited objects may still close their descriptors. A closed number could be a database connection by then, so
    # each descriptor stays open on the null device.
    for descriptor in sorted(int(name) for name in os.listdir("/dev/fd")):
        if descriptor > 2 and descriptor != nothing:
            with contextlib.suppress(OSError):
                os.dup2(nothing, descriptor, inheritable=False)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays open as long as the process
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 - the same
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - the same
    _internal.is_controller = False
    with contextlib.suppress(OSError):  # Linux only: `ps` shows the module's name
        Path("/proc/self/comm").write_text(NAME, encoding="utf-8")
