"""Note which TXT values are about to be published, so that a later run can delete them."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from certbot_garr_tcs.state import StateFolder

logger = logging.getLogger(__name__)

_PREFIX = "presented-"
_DAY_SECONDS = 86400

DAYS_KEPT = 30
"""Later runs try for so long to delete a value: a server may be down for a holiday, but not for ever."""


@dataclass(frozen=True)
class Presented:
    """Hold one TXT value that we publish: no secret, and enough to delete it.

    ``zone`` and ``name`` are absolute; ``server`` is as ``parse_server`` reads it. ``signed``: whether it was
    published with a TSIG key.
    """

    zone: str
    name: str
    value: str
    server: str
    signed: bool = True


class Notes:
    """Keep the notes of this run: one document, and a lock on it while the process lives.

    The lock is the process's, not the clock's: whatever kills the process releases it, and while it is
    held no other run takes these values for left behind.
    """

    def __init__(self, state: StateFolder, clock: Callable[[], float] = time.time) -> None:
        """Start with no notes; nothing is written before the first one. ``clock``: seconds since the epoch."""
        self._state = state
        self._clock = clock
        self._name = f"{_PREFIX}{uuid.uuid4().hex}"
        self._lock: int | None = None
        self._presented: dict[Presented, None] = {}

    def add(self, presented: Iterable[Presented]) -> None:
        """Write down, on disk when this returns, what is about to be published."""
        self._presented.update(dict.fromkeys(presented))
        if self._lock is None:
            # A bare descriptor: it is closed with the process, never by garbage collection before.
            path = self._state.make() / f"{self._name}.lock"
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._write()

    def remove(self, presented: Iterable[Presented]) -> None:
        """Strike off what is withdrawn, or was refused; with the last one, the document goes."""
        gone = set(presented)
        self._presented = {kept: None for kept in self._presented if kept not in gone}
        if self._lock is not None:
            self._write()

    def stale(self) -> Iterator[StaleRecords]:
        """Yield the notes of dead runs, one by one, each locked against other runs meanwhile."""
        for path in sorted(self._state.path.glob(f"{_PREFIX}*.json")):
            if path.stem != self._name:
                with _only_if_dead(path.with_suffix(".lock")) as dead:
                    records = self._open(path) if dead else None
                    if records is not None:
                        yield records

    def _open(self, path: Path) -> StaleRecords | None:
        """Read the note of a dead run; ``None`` where it is gone by now, or damaged."""
        if not path.exists():
            _remove(path.with_suffix(".lock"))
            return None
        try:
            return StaleRecords(self._state, path, self._clock())
        except GarrTcsError as error:
            logger.warning("%s", error)
            return None

    def _write(self) -> None:
        if self._presented:
            _write(self._state, f"{self._name}.json", self._presented, self._clock())
        elif self._lock is not None:
            # The document first: without it the lock means nothing to anybody.
            _remove(self._state.path / f"{self._name}.json")
            _remove(self._state.path / f"{self._name}.lock")
            os.close(self._lock)
            self._lock = None


class StaleRecords:
    """The values that one dead run noted and did not strike off."""

    def __init__(self, state: StateFolder, path: Path, now: float) -> None:
        """Read the document; raise ``GarrTcsError`` where it is damaged. ``now``: seconds since the epoch."""
        self._state = state
        self.path = path
        try:
            document = state.read(path.name, {})
            self.presented = [_read(*row) for row in document["presented"]]
            # A version that counted tries wrote no time, but wrote the file anew at each try.
            self._since = float(document["since"] if "since" in document else path.stat().st_mtime)
            self.days_left = DAYS_KEPT - int((now - self._since) / _DAY_SECONDS)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise GarrTcsError(
                f"the note of presented TXT values in {path} is damaged",
                "Remove it, and look for _acme-challenge records that were left behind.",
            ) from error

    def keep(self, presented: Sequence[Presented]) -> bool:
        """Keep only these for the next run; return False where their days are over, and the note is removed."""
        if presented and self.days_left > 0:
            _write(self._state, self.path.name, presented, self._since)
            return True
        _remove(self.path)
        _remove(self.path.with_suffix(".lock"))
        return not presented


@contextlib.contextmanager
def _only_if_dead(lock: Path) -> Iterator[bool]:
    """Hold the lock of a run, and say whether it could be had: then that run lives no more."""
    with lock.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _read(zone: str, name: str, value: str, server: str, signed: bool = True) -> Presented:
    return Presented(str(zone), str(name), str(value), str(server), bool(signed))


def _write(state: StateFolder, name: str, presented: Iterable[Presented], since: float) -> None:
    values = [[one.zone, one.name, one.value, one.server, one.signed] for one in presented]
    state.write(name, {"presented": values, "since": since})


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def any_on_disk(state: StateFolder) -> bool:
    """Tell whether any run, dead or alive, has notes; looks at names of files only."""
    return any(state.path.glob(f"{_PREFIX}*.json"))
