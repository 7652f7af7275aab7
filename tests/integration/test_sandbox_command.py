"""The command certbot-garr-tcs sandbox, typed as a user would."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import need_practice_ca, sampled_command_lines

pytestmark = pytest.mark.integration

COMMAND = [sys.executable, "-m", "certbot_garr_tcs.command", "sandbox"]


def processes_naming(text: str) -> list[str]:
    """Return the command line of every process that names the text, and that is there for a tenth of a second."""
    with sampled_command_lines() as seen:
        time.sleep(0.1)
    return [line for line in seen if text in line]


def test_the_tour_goes_all_the_way_and_leaves_nothing_running(tmp_path):
    """The tour ends with 0, tells four certificates' stories, and ends both its CAs."""
    need_practice_ca()
    folder = tmp_path / "tour"
    done = subprocess.run(
        [*COMMAND, "--tour", "--folder", str(folder)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    stories = done.stdout.split("story\n")[1].splitlines()[:4]
    assert [line.split("Practice CA")[1].strip() for line in stories] == [
        "issued, renewed",
        "a renewal, moved",
        "moved here, in use",
        "issued, revoked",
    ]
    assert processes_naming(str(folder)) == []


def test_the_sandbox_prints_commands_that_work_and_stops_at_ctrl_c(tmp_path):
    """Pasted into a shell, the printed lines issue, renew and revoke; Ctrl-C ends with 0."""
    need_practice_ca()
    folder = tmp_path / "sandbox"
    printed = tmp_path / "printed"
    with printed.open("wb") as output, subprocess.Popen([*COMMAND, "--folder", str(folder)], stdout=output) as sandbox:
        try:
            deadline = time.monotonic() + 30
            while "Ctrl-C stops" not in printed.read_text(encoding="utf-8"):
                assert sandbox.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            text = printed.read_text(encoding="utf-8")
            ini = folder / "certbot" / "config" / "garr-tcs.ini"
            assert stat.S_IMODE(ini.stat().st_mode) == 0o600
            assert all(line in text for line in ini.read_text(encoding="utf-8").splitlines())
            pasted = text.split("another terminal:")[1].split("Its certificates")[0]
            # Without a terminal a plain renew sleeps up to eight minutes, so this one word is added.
            pasted = pasted.replace("certbot renew ", "certbot renew --no-random-sleep-on-renew ")
            beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            shell = subprocess.run(
                ["bash", "-e", "-c", pasted],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
                env={**os.environ, "PATH": beside},
            )
            assert shell.returncode == 0, shell.stdout + shell.stderr
            assert "all renewals succeeded" in shell.stdout
            assert "successfully revoked" in shell.stdout
        finally:
            sandbox.send_signal(signal.SIGINT)
            assert sandbox.wait(20) == 0
    assert processes_naming(str(folder)) == []


def test_a_terminated_sandbox_stops_its_ca(tmp_path):
    """SIGTERM cleans up as Ctrl-C does."""
    need_practice_ca()
    folder = tmp_path / "sandbox"
    with subprocess.Popen([*COMMAND, "--folder", str(folder)], stdout=subprocess.PIPE, text=True) as sandbox:
        assert "answers at" in sandbox.stdout.readline()
        sandbox.terminate()
        assert sandbox.wait(20) == 0
    assert processes_naming(str(folder)) == []


def test_an_interrupted_tour_leaves_nothing_running(tmp_path):
    """Ctrl-C in the middle of a certbot run ends certbot and both CAs, with 130."""
    need_practice_ca()
    folder = tmp_path / "tour"
    command = [*COMMAND, "--tour", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tour:
        while not tour.stdout.readline().startswith("$ certbot"):
            assert tour.poll() is None
        time.sleep(0.5)
        tour.send_signal(signal.SIGINT)
        _, complaints = tour.communicate(timeout=20)
    assert tour.returncode == 130
    assert not complaints
    assert processes_naming(str(folder)) == []
