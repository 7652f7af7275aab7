"""The published TXT values, on disk: a later run deletes those that a killed run left in the DNS."""

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

    from certbot_garr_tcs.storage import StateFolder

logger = logging.getLogger(__name__)

_PREFIX = "presented-"
_DAY_SECONDS = 86400

DAYS_KEPT = 30
"""Later runs try for so long to delete a value: a server may be down for weeks, but not for ever."""


@dataclass(frozen=True)
class PublishedRecord:
    """One TXT value that we publish: no secret, and enough to delete it.

    ``zone`` and ``name`` are absolute; ``server`` is as ``parse_server`` reads it. ``signed``: whether it was
    published with a TSIG key.
    """

    zone: str
    name: str
    value: str
    server: str
    signed: bool = True


class PublishedRecords:
    """What this run publishes: one document, and a lock on it while the process lives.

    The kernel releases the lock when the process ends, however it ends; while it is held no other run takes these
    values for stale. Nothing is written before the first value. ``clock``: seconds since the epoch.
    """

    def __init__(self, state: StateFolder, clock: Callable[[], float] = time.time) -> None:
        self._state = state
        self._clock = clock
        self._name = f"{_PREFIX}{uuid.uuid4().hex}"
        self._lock: int | None = None
        self._records: dict[PublishedRecord, None] = {}

    def add(self, records: Iterable[PublishedRecord]) -> None:
        """Write what is about to be published: on disk when this returns."""
        self._records.update(dict.fromkeys(records))
        if self._lock is None:
            # A bare descriptor: it is closed with the process, never by garbage collection before.
            path = self._state.ensure() / f"{self._name}.lock"
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._write()

    def remove(self, records: Iterable[PublishedRecord]) -> None:
        """Remove what is deleted, or was refused; with the last one the document is removed."""
        gone = set(records)
        self._records = {record: None for record in self._records if record not in gone}
        if self._lock is not None:
            self._write()

    def stale(self) -> Iterator[StaleRecords]:
        """Yield the records of dead runs, run by run, each locked against other runs meanwhile."""
        for path in sorted(self._state.path.glob(f"{_PREFIX}*.json")):
            if path.stem != self._name:
                with _lock_if_dead(path.with_suffix(".lock")) as dead:
                    records = self._open(path) if dead else None
                    if records is not None:
                        yield records

    def _open(self, path: Path) -> StaleRecords | None:
        """Read the document of a dead run; ``None`` where it is gone by now, or damaged."""
        if not path.exists():
            _remove(path.with_suffix(".lock"))
            return None
        try:
            return StaleRecords(self._state, path, self._clock())
        except GarrTcsError as error:
            logger.warning("%s", error)
            return None

    def _write(self) -> None:
        if self._records:
            _write(self._state, f"{self._name}.json", self._records, self._clock())
        elif self._lock is not None:
            # The document first: without it the lock means nothing to anybody.
            _remove(self._state.path / f"{self._name}.json")
            _remove(self._state.path / f"{self._name}.lock")
            os.close(self._lock)
            self._lock = None


class StaleRecords:
    """The values that one dead run published and did not delete; ``GarrTcsError`` where the document is damaged."""

    def __init__(self, state: StateFolder, path: Path, now: float) -> None:
        self._state = state
        self._path = path
        try:
            document = state.read(path.name, {})
            self.records = [_read(*row) for row in document["presented"]]
            # A version that counted tries wrote no time, but wrote the file anew at each try.
            self._since = float(document["since"] if "since" in document else path.stat().st_mtime)
            self._days_left = DAYS_KEPT - int((now - self._since) / _DAY_SECONDS)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise GarrTcsError(
                f"the list of published TXT values in {path} is damaged",
                "Remove it, and look for _acme-challenge records that were left behind.",
            ) from error

    def retry_later(self, records: Sequence[PublishedRecord]) -> bool:
        """Leave only these to the next run; return False where their days are over, and nothing is left."""
        if records and self._days_left > 0:
            _write(self._state, self._path.name, records, self._since)
            return True
        _remove(self._path)
        _remove(self._path.with_suffix(".lock"))
        return not records


@contextlib.contextmanager
def _lock_if_dead(lock: Path) -> Iterator[bool]:
    """Hold the lock of a run where it is free, which says that the run has ended; yield whether it is."""
    with lock.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _read(zone: str, name: str, value: str, server: str, signed: bool = True) -> PublishedRecord:
    return PublishedRecord(str(zone), str(name), str(value), str(server), bool(signed))


def _write(state: StateFolder, name: str, records: Iterable[PublishedRecord], since: float) -> None:
    values = [[one.zone, one.name, one.value, one.server, one.signed] for one in records]
    state.write(name, {"presented": values, "since": since})


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def any_on_disk(state: StateFolder) -> bool:
    """Return whether any run, dead or alive, has records there; lists names of files only."""
    return any(state.path.glob(f"{_PREFIX}*.json"))
