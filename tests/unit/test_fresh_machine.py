"""What sets up a fresh machine, Makefile and tests/packages.sh, leaves nothing half-made behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.needs import need_program

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "packages.sh"


class Machine:
    """A Debian where nothing is installed, we are root, and apt-get waits until it is let go."""

    def __init__(self, folder):
        """Make the programs."""
        self.policy = folder / "policy-rc.d"
        self.waits = folder / "waits"
        self.waits.touch()
        programs = folder / "bin"
        programs.mkdir()
        install = f'[ "$1" = update ] || while [ -e {self.waits} ]; do sleep 0.05; done'
        for name, lines in (("dpkg-query", "exit 1"), ("id", "echo 0"), ("apt-get", install)):
            (programs / name).write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
            (programs / name).chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "POLICY_RC_D": str(self.policy)}

    def start(self):
        """Start the script."""
        return subprocess.Popen(["sh", SCRIPT], stdout=subprocess.PIPE, text=True, env=self._environment)

    def wait_for_policy(self):
        """Return when apt-get may run: no daemon starts from here on."""
        deadline = time.monotonic() + 10
        while not (self.policy.exists() and os.access(self.policy, os.X_OK)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def machine(tmp_path):
    """Return a machine of its own."""
    return Machine(tmp_path)


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=str)
def test_daemons_may_start_again_when_it_ends(machine, number):
    """The file that forbids it is there while apt-get runs, and gone afterwards, by a signal too."""
    with machine.start() as script:
        machine.wait_for_policy()
        assert "exit 101" in machine.policy.read_text(encoding="utf-8")
        if number is not None:
            script.send_signal(number)
        machine.waits.unlink()
        said, _ = script.communicate(timeout=10)
    assert script.returncode == (0 if number is None else 128 + number)
    assert not machine.policy.exists()
    assert said.startswith("packages: this installs with apt-get, and starts none of them: pebble")
    assert "make test-unit" in said


def test_what_a_killed_run_left_behind_is_removed_by_the_next(machine):
    """KILL cannot be caught: the next run removes the file, also where nothing is missing any more."""
    with machine.start() as script:
        machine.wait_for_policy()
        script.kill()
        machine.waits.unlink()
    assert machine.policy.exists()
    with machine.start() as script:
        script.communicate(timeout=10)
    assert not machine.policy.exists()


def test_an_administrators_own_file_stays(machine):
    """It was there before, and is there afterwards, unchanged."""
    machine.policy.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    machine.waits.unlink()
    with machine.start() as script:
        script.communicate(timeout=10)
    assert machine.policy.read_text(encoding="utf-8") == "#!/bin/sh\nexit 0\n"


class Clone:
    """A folder with our Makefile, and a python3 whose ``venv`` does as the shell lines say."""

    def __init__(self, folder):
        """Copy the Makefile."""
        self.folder = folder
        self.venv = folder / ".venv"
        shutil.copy(ROOT / "Makefile", folder)

    def make(self, *lines):
        """Make the virtual environment."""
        python = self.folder / "python3"
        python.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
        python.chmod(0o755)
        command = [need_program("make"), "-C", self.folder, ".venv/bin/pip", f"PYTHON={python}"]
        return subprocess.run(command, capture_output=True, text=True, check=False)


HALF = ("mkdir -p .venv/bin", "touch .venv/bin/python")
WHOLE = (*HALF, "touch .venv/bin/pip")


def test_a_virtual_environment_that_fails_leaves_nothing(tmp_path):
    """Without python3-venv, Debian's python3 stops half-way and says what to install; the next try starts afresh."""
    clone = Clone(tmp_path)
    failed = clone.make(*HALF, "echo apt install python3-venv", "exit 1")
    assert failed.returncode == 2
    assert "apt install python3-venv" in failed.stdout
    assert not clone.venv.exists()
    assert clone.make(*WHOLE).returncode == 0
    assert (clone.venv / "bin" / "pip").exists()


def test_a_half_made_virtual_environment_is_made_anew_and_a_whole_one_is_not(tmp_path):
    """One that was killed half-way has no pip."""
    clone = Clone(tmp_path)
    (clone.venv / "bin").mkdir(parents=True)
    (clone.venv / "bin" / "python").touch()
    assert clone.make('echo "$@" > arguments', *WHOLE).returncode == 0
    assert (tmp_path / "arguments").read_text(encoding="utf-8") == "-m venv --clear .venv\n"
    assert clone.make("exit 1").returncode == 0
