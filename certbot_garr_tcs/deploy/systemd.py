"""Read what systemd says of the units that a ``systemctl reload`` or ``restart`` names (pure).

systemctl(1); the properties are those of org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

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
_AUTO_RESTART = "auto-restart"  # "activating", but no process is there: it will be started
_UNITS_OF_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TIME_SPAN = re.compile(r"([\d.]+)(us|ms|s|min|h|d)$")


@dataclass(frozen=True)
class UnitCommand:
    """A ``systemctl`` command that reloads or restarts units. ``options``: those that say which manager is asked."""

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
    """What systemd says of a unit; nothing where it is not running, or does not know the unit."""

    active: str = ""
    sub: str = ""
    can_reload: bool = True
    start_limit_seconds: float = 0.0

    @property
    def is_stopped(self) -> bool:
        """Tell whether no process of it runs: it reads its files when it starts."""
        return self.active in _STOPPED or (self.active == "activating" and self.sub.startswith(_AUTO_RESTART))

    @property
    def is_changing(self) -> bool:
        """Tell whether it is being started or stopped just now."""
        return self.active in _CHANGING and not self.is_stopped

    def restarts(self, command: UnitCommand) -> bool:
        """Tell whether a command restarts the unit, and does not reload it."""
        return command.verb in _RESTART or (command.verb in _RELOAD_OR_RESTART and not self.can_reload)


def unit_command(command: Sequence[str]) -> UnitCommand | None:
    """Return what a command asks of systemd; ``None`` where it is another one, or has unknown options."""
    if PurePath(command[0]).name != "systemctl":
        return None
    options = [word for word in command[1:] if word.startswith("-")]
    verb, *units = [word for word in command[1:] if not word.startswith("-")] or [""]
    manager = tuple(word for word in options if _OPTIONS_OF_THE_MANAGER.fullmatch(word))
    if any(word not in manager and not _OTHER_OPTIONS.fullmatch(word) for word in options):
        return None
    return UnitCommand(tuple(command), manager, verb, tuple(units)) if verb in _VERBS and units else None


def state_from(output: str) -> UnitState:
    """Read what ``systemctl show`` printed."""
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
