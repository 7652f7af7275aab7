"""The Certbots and Pythons that the journey runs on, each in a virtual environment of its own.

``python tests/support/matrix.py build WHEEL`` makes the environments that can be made here, in .cache/matrix, and says
which cannot. Tests import ``MATRIX`` and ``executable``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[2] / ".cache" / "matrix"

# What old Certbots need beside them: the companions of their time.
PINS = {
    "2.1.0": [
        "certbot==2.1.0",
        "acme==2.1.0",
        "certbot-dns-rfc2136==2.1.0",
        "josepy<2",
        "cryptography<42",
        "pyOpenSSL<24",
        "setuptools<70",
        "zope.interface<7",  # its newer wheels have a file name that pkg_resources of that time does not find
    ],
    "4.0.0": ["certbot==4.0.0", "acme==4.0.0", "certbot-dns-rfc2136==4.0.0"],
    "newest": ["certbot", "acme", "certbot-dns-rfc2136"],
}


@dataclass(frozen=True)
class Entry:
    """One Certbot on one Python."""

    certbot: str
    python: str

    @property
    def name(self) -> str:
        """Name the environment's folder, and the test."""
        return f"certbot-{self.certbot}-python{self.python}"

    @property
    def folder(self) -> Path:
        """Return where the environment is."""
        return HERE / self.name

    @property
    def executable(self) -> Path:
        """Return its certbot."""
        return self.folder / "bin" / "certbot"


MATRIX = [
    Entry("2.1.0", "3.9"),
    Entry("2.1.0", "3.11"),
    Entry("4.0.0", "3.9"),
    Entry("4.0.0", "3.11"),
    Entry("4.0.0", "3.13"),
    Entry("newest", "3.11"),
    Entry("newest", "3.13"),
]

# Debian 12's pair, and today's: what Certbot says to the user, and what it logs, differs most between them.
OLDEST_AND_NEWEST = [entry for entry in MATRIX if entry.python == "3.11" and entry.certbot in {"2.1.0", "newest"}]


def interpreter(version: str) -> str | None:
    """Return a Python of ``version`` that starts: on PATH, or one of pyenv's."""
    candidates = [shutil.which(f"python{version}")]
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates += [str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))]
    for candidate in candidates:
        if candidate is None:
            continue
        # pyenv puts stand-ins on PATH for versions that are not chosen: only starting it tells.
        asked = subprocess.run(
            [candidate, "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.stdout.strip() == version:
            return candidate
    return None


def build(entry: Entry, wheel: Path) -> str:
    """Make one environment, or bring the wheel in it up to date; say what was done."""
    python = interpreter(entry.python)
    if python is None:
        return f"{entry.name}: no Python {entry.python} here"
    pip = [str(entry.folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if not entry.executable.exists():
        shutil.rmtree(entry.folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(entry.folder)], check=True)
        subprocess.run([*pip, str(wheel), *PINS[entry.certbot]], check=True)
    else:
        subprocess.run([*pip, "--force-reinstall", "--no-deps", str(wheel)], check=True)
    return f"{entry.name}: ready"


def main(wheel: str) -> None:
    """Make every environment that can be made here."""
    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(lambda entry: build(entry, Path(wheel)), MATRIX):
            print(line, flush=True)  # noqa: T201  (a command that reports)


if __name__ == "__main__":
    main(sys.argv[2])
