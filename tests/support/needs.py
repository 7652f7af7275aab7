"""What a test cannot do without: missing, it fails in CI, and is skipped with that reason elsewhere."""

from __future__ import annotations

import functools
import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import tracing
from support.matrix import interpreter

if TYPE_CHECKING:
    from support.matrix import Entry

# Where tests/packages.sh unpacks what cannot be installed beside another package.
_ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
_UNPACKED = str(_ROOT / ".cache" / "unpacked" / "usr" / "sbin")
_SYSTEM = ("/usr/sbin", "/usr/local/sbin", "/sbin", _UNPACKED)


def need(present: bool, what: str) -> None:
    """Go on where ``what`` is there."""
    if present:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI has to have it")
    pytest.skip(f"{what} is missing")


def need_program(name: str, *more_places: str) -> str:
    """Return the path of a program."""
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *_SYSTEM, *more_places]))
    need(path is not None, f"the program {name}")
    return str(path)


def need_root() -> None:
    """Go on as root: services change their user."""
    need(os.geteuid() == 0, "root")


@functools.lru_cache(maxsize=1)
def _tracing_problem() -> str:
    try:
        tracing.run_until(1, os.getpid)
    except OSError as error:
        return str(error)
    return ""


def need_tracing() -> None:
    """Go on where a process may trace another one."""
    need(not _tracing_problem(), f"ptrace ({_tracing_problem()})")


def need_built(entry: Entry) -> None:
    """Go on with an environment of the matrix; one whose Python is nowhere on this machine is skipped, in CI too."""
    if entry.executable.exists():
        return
    if interpreter(entry.python) is None:
        pytest.skip(f"{entry.name}: no Python {entry.python} here")
    need(present=False, what=f"{entry.name} (python tests/support/matrix.py build WHEEL)")


def free_port() -> int:
    """Return a loopback port that is free now; another program may take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
