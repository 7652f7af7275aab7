"""Test, reload and probe the service of a target; a unit of systemd that is not running is left alone.

The state of a unit is what systemctl(1) shows; its properties are those of org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.commands import CommandFailedError
from certbot_garr_tcs.deploy.probe import wait_until_served
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from certbot_garr_tcs.deploy.environment import Environment
    from certbot_garr_tcs.deploy.settings import Target

_COMMAND_SECONDS, _PROBE_SECONDS = 60.0, 30.0
# A server in Java may need minutes to start; longer where its unit has a longer start limit, but not for ever.
_RESTART_SECONDS, _MOST_RESTART_SECONDS = 300.0, 1800.0
_SHOW_SECONDS = 20.0
_CHANGING_SECONDS = 1.0
_FIRST_LINE_SECONDS = 10.0

_RESTART = frozenset({"restart", "try-restart", "condrestart"})
_RELOAD_OR_RESTART = frozenset(
    {"reload-or-restart", "try-reload-or-restart", "reload-or-try-restart", "force-reload"}
)  # restarts what cannot reload
_VERBS = frozenset({"reload", *_RESTART, *_RELOAD_OR_RESTART})
_OPTIONS_OF_THE_MANAGER = re.compile(r"--user|--system|--(machine|host)=.+")
_OTHER_OPTIONS = re.compile(r"-q|--quiet|--no-block|--no-pager|--no-ask-password|--job-mode=.+")
_PROPERTIES = ("LoadState", "ActiveState", "SubState", "CanReload", "TimeoutStartUSec")
_STOPPED = frozenset({"inactive", "failed", "maintenance"})
_CHANGING = frozenset({"activating", "deactivating"})
_AUTO_RESTART = "auto-restart"  # "activating", but without a process
_UNITS_OF_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TIME_SPAN = re.compile(r"([\d.]+)(us|ms|s|min|h|d)$")


class Service:
    """The service of one target, in one deployment.

    ``running``: units that the last ``reload`` found running; ``stopped``: those that are not, and are left alone.
    """

    def __init__(self, target: Target, environment: Environment) -> None:
        self._target = target
        self._environment = environment
        self._probe_seconds = _PROBE_SECONDS
        self.running: list[str] = []
        self.stopped: list[str] = []

    def test(self) -> None:
        """Run the tests."""
        for command in self._target.tests:
            self._run(command, _COMMAND_SECONDS)

    def reload(self, must_run: Container[str] = ()) -> None:
        """Reload what is running, and the units that ``must_run``, for which systemctl fails if they are not.

        Any other stopped unit reads the files when it starts. It is not started here: it may be disabled, or a hook
        of Certbot's starts it.
        """
        self.running, self.stopped = [], []
        for command in self._target.reloads:
            of_units = unit_command(command)
            states = {unit: self._settled_state(of_units, unit) for unit in of_units.units} if of_units else {}
            self.running += [unit for unit, state in states.items() if not state.is_stopped]
            stopped = [unit for unit, state in states.items() if state.is_stopped and unit not in must_run]
            self.stopped += stopped
            self._reload(command, of_units, {unit: state for unit, state in states.items() if unit not in stopped})

    def reload_again(self) -> None:
        """Reload after the old files are restored; start units that ran before, and stopped with the new files."""
        self.stopped = []
        for command in self._target.reloads:
            of_units = unit_command(command)
            states = {unit: self._state(of_units, unit) for unit in of_units.units} if of_units else {}
            ended = {unit: state for unit, state in states.items() if state.is_stopped}
            for unit, state in ended.items():
                if of_units and unit in self.running:
                    self._run_reload(of_units.start(unit), [unit], restart_seconds=state.start_limit_seconds)
            self.stopped += [unit for unit in ended if unit not in self.running]
            self._reload(command, of_units, {unit: state for unit, state in states.items() if unit not in ended})

    def _reload(self, command: Sequence[str], of_units: UnitCommand | None, running: dict[str, UnitState]) -> None:
        if of_units is None:
            is_restart = any("restart" in word for word in command)
            self._run_reload(command, restart_seconds=0.0 if is_restart else None)
        elif running:
            limits = [state.start_limit_seconds for state in running.values() if state.restarts(of_units)]
            self._run_reload(of_units.for_units(running), [*running], restart_seconds=max(limits, default=None))

    def _run_reload(
        self, command: Sequence[str], units: Sequence[str] = (), *, restart_seconds: float | None = None
    ) -> None:
        """Run a command. ``restart_seconds``: the start limit of what it starts; ``None`` where it only reloads."""
        seconds = _COMMAND_SECONDS
        if restart_seconds is not None:
            seconds = min(max(_RESTART_SECONDS, restart_seconds), _MOST_RESTART_SECONDS)
            self._probe_seconds = max(self._probe_seconds, seconds)
        try:
            self._run(command, seconds)
        except CommandFailedError as error:
            raise CommandFailedError(error.message, _hint(units)) from error

    def probe(self, fingerprint: str, names: Sequence[str]) -> None:
        """Return when every probe finds the certificate; a service with a stopped unit is not probed.

        ``fingerprint``: empty where it is unknown.
        """
        for probe in self._target.probes if fingerprint and not self.stopped else ():
            seconds = self._probe_seconds if probe.has_default_timeout else probe.timeout_seconds
            wait_until_served(
                replace(probe, timeout_seconds=seconds),
                fingerprint,
                names,
                fetch_certificate=self._environment.fetch_certificate,
                lineage_of=self._environment.lineage_of,
                clock=self._environment.clock,
                sleep=self._sleep(self._progress(f"waiting until {probe.where} serves the certificate", seconds)),
            )

    def _sleep(self, report: Callable[[], None]) -> Callable[[float], None]:
        def sleep(seconds: float) -> None:
            report()
            self._environment.sleep(seconds)

        return sleep

    def _run(self, command: Sequence[str], seconds: float) -> None:
        seconds = self._target.command_timeout_seconds or seconds
        self._environment.run(command, seconds, self._progress(f"waiting for {' '.join(command)}", seconds))

    def _state(self, command: UnitCommand, unit: str) -> UnitState:
        """Ask systemd; return an empty state where it does not answer, or does not run."""
        try:
            return state_from(self._environment.run(command.show(unit), _SHOW_SECONDS))
        except DeployError:
            return UnitState()

    def _settled_state(self, command: UnitCommand, unit: str) -> UnitState:
        """Return the state of a unit once it is no longer starting or stopping, or time is up."""
        state = self._state(command, unit)
        limit_seconds = max(_COMMAND_SECONDS, min(state.start_limit_seconds, _MOST_RESTART_SECONDS))
        seconds = self._target.command_timeout_seconds or limit_seconds
        deadline = self._environment.clock() + seconds
        wait = self._sleep(self._progress(f"waiting for {unit}, which is {state.active}", seconds))
        while state.is_changing and self._environment.clock() < deadline:
            wait(_CHANGING_SECONDS)
            state = self._state(command, unit)
        return state

    def _progress(self, what: str, most_seconds: float) -> Callable[[], None]:
        """Return a function to call repeatedly while waiting; it prints a line at growing intervals."""
        clock, started = self._environment.clock, self._environment.clock()
        next_seconds = _FIRST_LINE_SECONDS

        def report() -> None:
            nonlocal next_seconds
            seconds = clock() - started
            if seconds >= next_seconds:
                next_seconds = 2 * seconds
                text = f"{self._target.title}: {what} ({seconds:.0f} s of at most {most_seconds:.0f} s)"
                self._environment.notify(text)

        return report


def _hint(units: Sequence[str]) -> str:
    names = " ".join(units)
    if names:
        return f"Run: systemctl status {names}; its journal says more: journalctl -e -u {' -u '.join(units)}"
    return (
        "Run it by hand, and correct what it names. If the service may be stopped, write reload = systemctl "
        "try-reload-or-restart UNIT: what is not running is left alone then."
    )


@dataclass(frozen=True)
class UnitCommand:
    """A ``systemctl`` command that reloads or restarts units. ``options``: those that choose the manager."""

    written: tuple[str, ...]
    options: tuple[str, ...]
    verb: str
    units: tuple[str, ...]

    def for_units(self, units: Container[str]) -> tuple[str, ...]:
        """Return the command for some of its units."""
        return tuple(word for word in self.written if word not in self.units or word in units)

    def start(self, unit: str) -> tuple[str, ...]:
        """Return the command that starts a unit."""
        return (self.written[0], *self.options, "start", unit)

    def show(self, unit: str) -> tuple[str, ...]:
        """Return the command whose output ``state_from`` reads."""
        return (self.written[0], *self.options, "show", f"--property={','.join(_PROPERTIES)}", unit)


@dataclass(frozen=True)
class UnitState:
    """The state of a unit; empty where systemd does not run, or does not know the unit."""

    active: str = ""
    sub: str = ""
    can_reload: bool = True
    start_limit_seconds: float = 0.0

    @property
    def is_stopped(self) -> bool:
        """Return whether it has no process: it reads its files when it starts."""
        return self.active in _STOPPED or (self.active == "activating" and self.sub.startswith(_AUTO_RESTART))

    @property
    def is_changing(self) -> bool:
        """Return whether it is starting or stopping."""
        return self.active in _CHANGING and not self.is_stopped

    def restarts(self, command: UnitCommand) -> bool:
        """Return whether a command restarts the unit, and does not reload it."""
        return command.verb in _RESTART or (command.verb in _RELOAD_OR_RESTART and not self.can_reload)


def unit_command(command: Sequence[str]) -> UnitCommand | None:
    """Parse a ``systemctl`` command; ``None`` for another command, or one with unknown options."""
    if PurePath(command[0]).name != "systemctl":
        return None
    options = [word for word in command[1:] if word.startswith("-")]
    verb, *units = [word for word in command[1:] if not word.startswith("-")] or [""]
    manager = tuple(word for word in options if _OPTIONS_OF_THE_MANAGER.fullmatch(word))
    if any(word not in manager and not _OTHER_OPTIONS.fullmatch(word) for word in options):
        return None
    return UnitCommand(tuple(command), manager, verb, tuple(units)) if verb in _VERBS and units else None


def state_from(output: str) -> UnitState:
    """Parse the output of ``systemctl show``."""
    found = dict(line.split("=", 1) for line in output.splitlines() if line.partition("=")[0] in _PROPERTIES)
    if found.get("LoadState") not in {"loaded", "masked"}:
        return UnitState()
    return UnitState(
        found.get("ActiveState", ""),
        found.get("SubState", ""),
        found.get("CanReload") != "no",
        _seconds(found.get("TimeoutStartUSec", "")),
    )


def _seconds(span: str) -> float:
    """Return a time span (systemd.time(7)) in seconds; 0 for "infinity" and for what is not understood."""
    parts = [_TIME_SPAN.match(part) for part in span.split()]
    return sum(float(part.group(1)) * _UNITS_OF_TIME[part.group(2)] for part in parts if part) if all(parts) else 0.0
