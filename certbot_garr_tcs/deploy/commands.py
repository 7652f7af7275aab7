"""Run a service's commands without a shell, with limits of time and output; errors show what was printed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Callable, Protocol

from certbot_garr_tcs.errors import DeployError, printable_end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MOST_OUTPUT_BYTES = 16 << 20
_END_BYTES = 4096
_SHOWN_CHARACTERS = 600
_READ_BYTES = 1 << 16
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 2.0


class CommandFailedError(DeployError):
    """A command ran to its end with another exit status than 0."""


class Runner(Protocol):
    """Run an argument vector to its end, within a time limit in seconds; return the end of what it printed."""

    def __call__(
        self, command: Sequence[str], timeout_seconds: float, while_waiting: Callable[[], None] | None = None
    ) -> str:
        """Raise CommandFailedError if it fails, DeployError if it cannot be run or does not end.

        ``while_waiting`` is called again and again until it ends.
        """


def run(command: Sequence[str], timeout_seconds: float, while_waiting: Callable[[], None] | None = None) -> str:
    """Run a command in a process group of its own, which is ended at the limit of time or output.

    A daemon that it starts may keep the output open: that is not waited for. One that left the process group is not
    ended.
    """
    words = " ".join(command)
    try:
        process = subprocess.Popen(  # noqa: S603 - the administrator's own command, without a shell
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(os.environ),
        )
    except OSError as error:
        hint = "Write the path of a program that is installed; what only a shell knows needs sh -c '…'."
        raise DeployError(f"cannot run {words}: {error.strerror}", hint) from error
    with contextlib.closing(_Output(process)) as output:
        try:
            deadline = time.monotonic() + timeout_seconds
            while process.poll() is None:
                _check_limits(words, timeout_seconds, deadline, output)
                output.wait()
                if while_waiting is not None:
                    while_waiting()
        except BaseException:
            _end(process)
            raise
        while output.size <= _MOST_OUTPUT_BYTES and output.read():
            pass
        status = process.returncode
        if status:
            how = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
            raise CommandFailedError(f"{words}: {how}{output.shown}", "Run it by hand, and correct what it names.")
        return output.text


def _check_limits(words: str, timeout_seconds: float, deadline: float, output: _Output) -> None:
    if time.monotonic() > deadline:
        raise DeployError(
            f"{words} did not end within {timeout_seconds:g} s{output.shown}",
            "Run it by hand; command-timeout in its section gives it more time.",
        )
    if output.size > _MOST_OUTPUT_BYTES:
        raise DeployError(
            f"{words} printed more than {_MOST_OUTPUT_BYTES >> 20} MiB, and was ended{output.shown}",
            "Run it by hand; if it is right to print that much, let sh -c '… >/dev/null' run it.",
        )


class _Output:
    """The output of a process: its size, and its end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 - see stdout=PIPE above
        self._process = process
        self._pipe = process.stdout
        self._handle = process.stdout.fileno()
        self._end = b""
        self._is_open = True
        self.size = 0
        os.set_blocking(self._handle, False)
        self._poller = select.poll()
        self._poller.register(self._handle, select.POLLIN)

    def close(self) -> None:
        self._pipe.close()

    def wait(self) -> None:
        """Wait until there is something to read, or the process ends, 0.05 s at most."""
        if self._is_open:
            self._poller.poll(_POLL_SECONDS * 1000)
            self.read()
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)

    def read(self) -> bool:
        """Read what is there; return whether there was something."""
        try:
            data = os.read(self._handle, _READ_BYTES)
        except BlockingIOError:
            return False
        self._is_open = bool(data)
        self.size += len(data)
        self._end = (self._end + data)[-_END_BYTES:]
        return bool(data)

    @property
    def text(self) -> str:
        """Return the end of the output, as printed."""
        return self._end.decode(errors="replace")

    @property
    def shown(self) -> str:
        """Return the end of the output for the end of a message."""
        text = printable_end(self.text, _SHOWN_CHARACTERS)
        return f": {text}" if text else ""


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a command of the host: Certbot's snap brings libraries of its own."""
    kept = dict(environment, LC_ALL="C")
    snap = kept.get("SNAP")
    if snap and kept.get("CERTBOT_SNAPPED") == "True":
        for name in ("PATH", "LD_LIBRARY_PATH"):
            parts = [part for part in kept.get(name, "").split(":") if part and not part.startswith(snap)]
            kept[name] = ":".join(parts)
    return kept


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process group: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
