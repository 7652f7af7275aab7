"""A service's commands are run with a limit."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from certbot_garr_tcs.deploy import commands
from certbot_garr_tcs.deploy.commands import CommandFailedError, _environment, run
from certbot_garr_tcs.errors import DeployError


def python(code):
    return [sys.executable, "-c", code]


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


# commands


def test_a_green_command_says_nothing():
    """Exit status 0 is good, and there is no shell: words are words."""
    run([*python("import sys; assert sys.argv[1] == '$HOME && x'"), "$HOME && x"], 30)


def test_a_red_command_tells_what_it_said():
    """Exit status and the end of the output, both streams, are in one line of the error."""
    with pytest.raises(CommandFailedError, match=r"exit status 3: …(x*) out err\. Run it by hand") as caught:
        run(python("import sys; print('x' * 9999); print('out', flush=True); sys.stderr.write('err'); sys.exit(3)"), 30)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_a_silent_or_killed_command_is_told_too():
    """A command without output, and one that a signal ended, are named with their end."""
    with pytest.raises(CommandFailedError, match=r"^false: exit status 1\. Run"):
        run(["false"], 30)
    with pytest.raises(CommandFailedError, match=r"ended by signal 9"):
        run(python("import os; os.kill(os.getpid(), 9)"), 30)


def test_a_missing_command_is_not_a_red_one():
    """What cannot be run is another error than a test that fails."""
    with pytest.raises(DeployError, match=r"cannot run /no/such -t: No such file or directory") as caught:
        run(["/no/such", "-t"], 30)
    assert not isinstance(caught.value, CommandFailedError)


@pytest.mark.parametrize("ignores_sigterm", [False, True])
def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path, monkeypatch, ignores_sigterm):
    """Time is up: the whole process group goes, also where it ignores SIGTERM."""
    monkeypatch.setattr(commands, "_GRACE_SECONDS", 0.2)
    pids = tmp_path / "pids"
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" if ignores_sigterm else ""
    code = (
        f"{ignore}import os, subprocess, sys, time; child = subprocess.Popen(['sleep', '60']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}'); print('still here', flush=True);"
        "time.sleep(60)"
    )
    with pytest.raises(DeployError, match=r"did not end within 1 s: still here\. Run it by hand; command-timeout"):
        run(python(code), 1)
    deadline = time.monotonic() + 5
    while not all(gone(pid) for pid in pids.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(gone(pid) for pid in pids.read_text().split())


def test_a_command_that_prints_without_end_is_ended(tmp_path):
    """Nothing of it is kept but the end; a whole disk of it would be, in a file."""
    code = "import os, sys\nwhile True: os.write(1, b'no end ' * 9999)"
    with pytest.raises(
        DeployError, match=r"printed more than 16 MiB, and was ended: ….*no end.*\. Run it by"
    ) as caught:
        run(python(code), 60)
    assert len(str(caught.value)) < 1000
    assert not isinstance(caught.value, CommandFailedError)


def test_what_a_command_prints_cannot_reach_the_terminal_raw(capfd):
    """Escapes, carriage returns and letters that turn the line round are the service's user's to print."""
    evil = "\x1b]0;title\x07\x1b[2J\rfake: ok\u202egnp\x9b1m\x00\x08"
    with pytest.raises(CommandFailedError) as caught:
        run(python(f"import sys; sys.stdout.buffer.write({evil.encode()!r}); sys.exit(1)"), 30)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("exit status 1: fake: ok gnp 1m. Run it by hand, and correct what it names.")
    assert capfd.readouterr() == ("", "")


def test_the_end_of_the_output_is_returned():
    """What systemctl show prints is read by us."""
    assert run(python("print('x' * 9999); print('A=b')"), 30).splitlines()[-1] == "A=b"


def test_what_was_printed_last_is_not_lost():
    """The command ends while we are elsewhere."""
    assert run(["sh", "-c", "echo first; sleep 0.2; echo last"], 30, lambda: time.sleep(0.6)) == "first\nlast\n"


def test_somebody_hears_that_a_command_still_runs():
    """For a restart of minutes."""
    heard = []
    run(["sleep", "0.3"], 30, lambda: heard.append(1))
    assert heard


def test_a_daemon_that_keeps_the_output_open_does_not_hold_us_up(tmp_path):
    """A reload may start a daemon that inherits its output and lives on."""
    pid = tmp_path / "pid"
    started = time.monotonic()
    assert run(["sh", "-c", f"sleep 30 & echo $! | tee {pid}; exec sleep 0.2"], 20) == pid.read_text()
    assert time.monotonic() - started < 10
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_an_interrupt_ends_the_command():
    """Control-C does not leave a test or reload behind."""
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(["sleep", "30"], 30)
    timer.join()


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"PATH": "/snap/certbot/1/bin:/usr/bin", "SNAP": "/snap/certbot/1", "CERTBOT_SNAPPED": "True"}, "/usr/bin"),
        ({"PATH": "/snap/certbot/1/bin:/usr/bin", "SNAP": "/snap/certbot/1"}, "/snap/certbot/1/bin:/usr/bin"),
        ({"PATH": "/usr/bin"}, "/usr/bin"),
    ],
)
def test_the_hosts_commands_get_the_hosts_libraries(given, path):
    """Certbot's snap puts its own first: a command of the host would load the wrong ones."""
    kept = _environment(given)
    assert (kept["PATH"], kept["LC_ALL"]) == (path, "C")
