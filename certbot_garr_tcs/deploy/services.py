"""Run a service's own commands: no shell, a time limit, and what they said in the error."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from typing import TYPE_CHECKING, BinaryIO, Protocol

from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TAIL_BYTES = 600
_GRACE_SECONDS = 2.0


class CommandRed(DeployError):  # noqa: N818 - it is a finding, like a red test, more than a fault
    """A command ran to its end and said no."""


class Runner(Protocol):
    """Run an argument vector to its end, within a time limit in seconds; return nothing, or raise."""

    def __call__(self, command: Sequence[str], timeout_seconds: float) -> None:
        """Raise CommandRed if it says no, DeployError if it cannot be run or does not end."""


def run(command: Sequence[str], timeout_seconds: float) -> None:
    """Run a command in a process group of its own, which is killed when time is up.

    Its output goes to a file, not to a pipe: a daemon that it starts may keep it open without holding us
    up. A daemon that left the process group is not ours to kill.
    """
    words = " ".join(command)
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the administrator's own command, without a shell
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(os.environ),
            )
        except OSError as error:
            hint = "Write the path of a program that is installed; a shell's words need sh -c."
            raise DeployError(f"cannot run {words}: {error.strerror}", hint) from error
        try:
            status = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            _end(process)
            raise DeployError(
                f"{words} did not end within {timeout_seconds:g} s{_said(output)}",
                "Run it by hand; command-timeout in its section gives it more time.",
            ) from error
        except BaseException:
            _end(process)
            raise
        if status:
            how = f"exit status {status}" if status > 0 else f"ended by signal {-status}"
            raise CommandRed(f"{words}: {how}{_said(output)}", "Run it by hand, and mend what it names.")


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
    """End the process group: first asked, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)


def _said(output: BinaryIO) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL_BYTES))
    text = " ".join(output.read().decode(errors="replace").split())
    return f": {'…' if size > _TAIL_BYTES else ''}{text}" if text else ""
