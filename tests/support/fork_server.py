"""Run certbot without starting Python each time: a process that has imported Certbot forks a child for each run.

A child is a process of its own, with its own arguments, environment, folder and streams, and ends as certbot does; only
its name in the process list is another one. Nothing of our own package is imported before the fork. Python's start and
Certbot's imports are two thirds of the processor time of a typical run.

The server is this file run by the Python beside a certbot: ``python fork_server.py SOCKET``. It needs the standard
library and Certbot alone, and ends when its standard input does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_START_SECONDS = 60.0
_IMPORTED = (
    "certbot.main",
    "certbot._internal.plugins.manual",
    "certbot._internal.plugins.standalone",
    "certbot._internal.plugins.webroot",
    "certbot_dns_rfc2136._internal.dns_rfc2136",
    "configobj",
    "coverage",
    "cryptography.hazmat.primitives.serialization.pkcs12",
    "dns.query",
    "dns.resolver",
    "dns.tsig",
    "dns.update",
    "zope.interface.verify",
)


class ForkServer:
    """The server for the certbot of one virtual environment."""

    def __init__(self, executable: Path) -> None:
        # Not below TMPDIR: the path of a socket has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="garr-tcs-", dir="/tmp"))
        self._socket = self._folder / "socket"
        self._process = subprocess.Popen(
            [str(executable.with_name("python")), str(Path(__file__).resolve()), str(self._socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
            start_new_session=True,
        )
        atexit.register(self._stop)
        deadline = time.monotonic() + _START_SECONDS
        while not self._socket.exists():
            assert self._process.poll() is None, f"no fork server for {executable}"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _stop(self) -> None:
        self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, command, environment, cwd, timeout_seconds):
        """Run a command whose first word is certbot; return exit status, standard output and standard error."""
        request = {"command": command, "environment": environment, "cwd": str(cwd or Path.cwd())}
        with (
            tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as stderr,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.connect(str(self._socket))
            socket.send_fds(connection, [b"\n"], [stdout.fileno(), stderr.fileno()])
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile(encoding="utf-8") as answers:
                pid = int(answers.readline())
                connection.settimeout(timeout_seconds)
                try:
                    status = int(answers.readline())
                except socket.timeout:
                    os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(command, timeout_seconds) from None
            for stream in (stdout, stderr):
                stream.seek(0)
            return status, stdout.read().decode(), stderr.read().decode()


@functools.cache
def server_for(executable: Path) -> ForkServer | None:
    """Return the server for a certbot, one per process of the tests; ``None`` where no Python is beside it."""
    return ForkServer(executable) if executable.with_name("python").exists() else None


def serve(path: str) -> None:
    """Fork for each connection, and return in each child that is to be certbot."""
    for module in _IMPORTED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    if "pkg_resources" in sys.modules:  # old Certbots parse with it what every package requires, slowly
        for package in sys.modules["pkg_resources"].working_set:
            package.requires()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.new")
        listener.listen(16)
        Path(f"{path}.new").rename(path)
        while True:
            ready, _, _ = select.select([0, listener], [], [])
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if 0 in ready:
                os._exit(0)
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    _, (stdout, stderr), _, _ = socket.recv_fds(connection, 1, 2)
    with connection.makefile(encoding="utf-8") as requests:
        request = json.loads(requests.readline())
    pid = os.fork()
    if pid:
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(f"{os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)}\n".encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), stdout, stderr)):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["command"]


if __name__ == "__main__":
    del sys.path[0]  # this folder, where our own modules are
    serve(sys.argv[1])
    if "COVERAGE_PROCESS_CONFIG" in os.environ and "coverage" in sys.modules:
        sys.modules["coverage"].process_startup()
    # What Certbot registers with atexit is for the process that has imported it.
    importlib.import_module("certbot.util")._INITIAL_PID = os.getpid()
    sys.exit(importlib.import_module("certbot.main").main())
