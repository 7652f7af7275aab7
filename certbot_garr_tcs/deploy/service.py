"""Test, reload and probe the service of a target; a unit of systemd that is not running is left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.commands import CommandFailedError
from certbot_garr_tcs.deploy.probe import wait_until_served
from certbot_garr_tcs.deploy.systemd import UnitState, state_from, unit_command
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from certbot_garr_tcs.deploy.environment import Environment
    from certbot_garr_tcs.deploy.systemd import UnitCommand
    from certbot_garr_tcs.deploy.targets import Target

_COMMAND_SECONDS, _PROBE_SECONDS = 60.0, 30.0
# A server in Java may need minutes to start; longer where its unit has a longer start limit, but not for ever.
_RESTART_SECONDS, _MOST_RESTART_SECONDS = 300.0, 1800.0
_QUESTION_SECONDS = 20.0
_CHANGING_SECONDS = 1.0
_FIRST_LINE_SECONDS = 10.0


class Service:
    """The service of one target, in one deployment.

    ``running``: units that the last ``reload`` found running; ``stopped``: those that are not, and are left alone.
    """

    def __init__(self, target: Target, environment: Environment) -> None:
        """Ask nothing yet."""
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
        of Certbot's starts it again.
        """
        self.running, self.stopped = [], []
        for command in self._target.reloads:
            of_units = unit_command(command)
            states = {unit: self._settled(of_units, unit) for unit in of_units.units} if of_units else {}
            self.running += [unit for unit, state in states.items() if not state.is_stopped]
            stopped = [unit for unit, state in states.items() if state.is_stopped and unit not in must_run]
            self.stopped += stopped
            self._reload(command, of_units, {unit: state for unit, state in states.items() if unit not in stopped})

    def reload_again(self) -> None:
        """Let what is running read the old files again; start what was running, and has ended over the new ones."""
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

        ``fingerprint``: empty where nobody knows what is to be served.
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
        """Ask systemd; where it does not answer, or does not run, nothing is known of the unit."""
        try:
            return state_from(self._environment.run(command.show(unit), _QUESTION_SECONDS))
        except DeployError:
            return UnitState()

    def _settled(self, command: UnitCommand, unit: str) -> UnitState:
        """Return the state of a unit when it is not being started or stopped any more, or time is up."""
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
        """Return what is called again and again while we wait, and prints a line now and then."""
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
