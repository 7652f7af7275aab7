"""Units without systemd: a ``systemctl`` with the messages and the exit status of systemd 252."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

RUNNING = ("active", "running")
STOPPED = ("inactive", "dead")
FAILED = ("failed", "failed")
TRY = ("try-restart", "condrestart", "try-reload-or-restart", "reload-or-try-restart")


@dataclass
class Unit:
    """One service unit; ``state``: ActiveState and SubState. ``start``, ``reload`` return whether that works."""

    start: Callable[[], bool]
    reload: Callable[[], bool]
    stop: Callable[[], None]
    state: tuple[str, str] = STOPPED
    can_reload: bool = True
    start_limit: str = "1min 30s"

    @property
    def is_running(self):
        """Tell whether it is active."""
        return self.state == RUNNING

    def restart(self):
        """Stop and start it."""
        self.stop()
        is_done = self.start()
        self.state = RUNNING if is_done else FAILED
        return is_done


class Systemctl:
    """Do what ``systemctl VERB UNIT…`` does to units; ``asked``: every verb but show, with its unit."""

    def __init__(self, units):
        """Know units by name, without ``.service``."""
        self.units = units
        self.asked = []

    def __call__(self, words):
        """Return exit status and output."""
        verb, *names = [word for word in words if not word.startswith("-")]
        done = [self._one(verb, name) for name in names]
        return max(status for status, _ in done), "".join(text for _, text in done)

    def _one(self, verb, name):  # noqa: PLR0911 - a table
        unit = self.units.get(name.replace(".service", ""))
        if verb == "show":
            return 0, self._show(unit)
        self.asked.append((verb, name))
        if unit is None:
            return 5, f"Failed to {verb} {name}.service: Unit {name}.service not found.\n"
        if verb == "is-active":
            return (0 if unit.is_running else 3), f"{unit.state[0]}\n"
        if verb == "stop":
            unit.stop()
            unit.state = STOPPED
            return 0, ""
        if verb == "reload" and not unit.can_reload:
            return 3, f"Failed to reload {name}.service: Job type reload is not applicable.\n"
        if verb == "reload" and not unit.is_running:
            return 1, f"{name}.service is not active, cannot reload.\n"
        if (verb in TRY and unit.state[0] in {"inactive", "failed"}) or (verb == "start" and unit.is_running):
            return 0, ""
        is_done = unit.reload() if "reload" in verb and unit.can_reload and unit.is_running else unit.restart()
        return (0, "") if is_done else (1, f"Job for {name}.service failed.\n")

    @staticmethod
    def _show(unit):
        active, sub = unit.state if unit else STOPPED
        found = {
            "TimeoutStartUSec": unit.start_limit if unit else "1min 30s",
            "LoadState": "loaded" if unit else "not-found",
            "ActiveState": active,
            "SubState": sub,
            "CanReload": "yes" if unit and unit.can_reload else "no",
        }
        return "".join(f"{key}={value}\n" for key, value in found.items())


class Daemon:
    """The process of a unit on disk: a file with its pid, and one with its command."""

    def __init__(self, folder, name):
        """Name the files."""
        self.pid, self.command = folder / f"{name}.pid", folder / f"{name}.json"

    @property
    def is_running(self):
        """Tell whether it runs, and is no zombie."""
        if not self.pid.exists():
            return False
        stat = Path(f"/proc/{self.pid.read_text()}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

    def start(self):
        """Start it; tell whether it is still there a moment later."""
        words = json.loads(self.command.read_text())
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(words, start_new_session=True, **quiet)
        self.pid.write_text(str(process.pid))
        time.sleep(0.3)
        return process.poll() is None

    def reload(self):
        """Send SIGHUP."""
        os.kill(int(self.pid.read_text()), signal.SIGHUP)
        return True

    def stop(self):
        """End it, and wait for that."""
        if self.is_running:
            os.kill(int(self.pid.read_text()), signal.SIGTERM)
            while self.is_running:
                time.sleep(0.02)
        self.pid.unlink(missing_ok=True)


def install(folder, **commands):
    """Write a program ``systemctl`` into a folder for PATH, with a unit for each command (its words)."""
    folder.mkdir()
    for name, words in commands.items():
        Daemon(folder, name).command.write_text(json.dumps([str(word) for word in words]))
    program = folder / "systemctl"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from units import main\nsys.exit(main({str(folder)!r}))\n"
    )
    program.chmod(0o755)
    return program


def main(folder):
    """Be ``systemctl``."""
    units = {}
    for path in Path(folder).glob("*.json"):
        daemon = Daemon(path.parent, path.stem)
        failed = path.with_suffix(".failed")
        state = RUNNING if daemon.is_running else FAILED if failed.exists() else STOPPED
        units[path.stem] = Unit(daemon.start, daemon.reload, daemon.stop, state=state)
    status, text = Systemctl(units)(sys.argv[1:])
    for name, unit in units.items():
        failed = Path(folder, f"{name}.failed")
        failed.touch() if unit.state == FAILED else failed.unlink(missing_ok=True)
    sys.stdout.write(text)
    return status
