"""What outlasts a run: the record of what was deployed to each target, and the stat(2) cache of what is up to date."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.deploy.files import os_error
from certbot_garr_tcs.deploy.transaction import Journal
from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.lineages import PIECES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from certbot_garr_tcs.deploy.settings import Target
    from certbot_garr_tcs.storage import StateFolder

DEPLOYED = "deployed"
FAILED = "failed"
HELD = "held"
_PREFIX = "deployed-"
_CACHE = "stat-cache.json"
_FORMER_CACHE = "glances.json"  # of the version before

SETTLED_SECONDS = 2.0
"""A file may be changed twice within this time and keep one timestamp: the kernel's clock for files is coarse."""


def identity_of(target: Target) -> str:
    """Return the ID of a target in journal and records: a digest of its file and its name."""
    text = f"{target.source}\0{target.name}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def document_of(target: Target) -> str:
    """Return the name of a target's document in the state folder."""
    return f"{_PREFIX}{identity_of(target)}.json"


@dataclass(frozen=True)
class DeploymentRecord:
    """The state of one target.

    ``outcome``: ``deployed``, ``failed`` (the last attempt; what was deployed before is still there) or
    ``held`` (by ``certbot rollback``). ``fingerprint``: SHA-256 of the deployed leaf, in hex.
    ``inputs``, ``outputs``: digests of everything that determines the files, and of the files. ``service``: digest of
    its tests, reloads and probes; empty in records of the version before. ``hold``: fingerprint that must not be
    deployed, after a rollback. ``reload_pending``: the service may have read other files than those that are there.
    ``running``: units that were running before a reload that failed; if they are stopped now, that reload stopped them.
    ``transaction``: the last one that can be undone. Times are seconds since 1970.
    """

    name: str
    source: str
    lineage: str
    outcome: str = ""
    fingerprint: str = ""
    deployed_at_seconds: float = 0.0
    tried_at_seconds: float = 0.0
    error: str = ""
    failures: int = 0
    inputs: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    service: str = ""
    hold: str = ""
    reload_pending: bool = False
    running: list[str] = field(default_factory=list)
    transaction: str = ""

    @property
    def title(self) -> str:
        """Return the section's heading, in brackets."""
        return f"[deploy {self.name}]"

    def to_document(self) -> dict[str, Any]:
        """Return the record as it is on disk, where ``reload_pending`` has the key of the versions before."""
        document = asdict(self)
        return {**document, "reload_owed": document.pop("reload_pending")}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DeploymentRecord:
        """Read a record; keys that a later version may have added are left out."""
        document = {**document, "reload_pending": document.get("reload_owed", False)}
        return cls(**{key: value for key, value in document.items() if key in _KNOWN})


_KNOWN = frozenset(each.name for each in fields(DeploymentRecord))


class Storage:
    """What outlasts a run, in the state folder: journal, records, and the stat(2) cache."""

    def __init__(self, state: StateFolder, now: Callable[[], float]) -> None:
        self.journal = Journal(state)
        self.records = DeploymentRecords(state)
        self.cache = StatCache(state, now)


class DeploymentRecords:
    """One small document per target: reading one costs the same however many there are."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state

    def read(self, target: Target) -> DeploymentRecord:
        """Return a target's record; an empty one where nothing was ever tried."""
        found = self.find(identity_of(target))
        return found or DeploymentRecord(target.name, str(target.source), target.lineage)

    def mark_reload_pending(
        self, identity: str, running: Iterable[str] = (), former: DeploymentRecord | None = None
    ) -> None:
        """Record that the service has to reload, and which units were running.

        ``former``: used where no record is written yet.
        """
        record = self.find(identity) or former
        if record is not None:
            running = sorted({*record.running, *running})
            self.write(identity, replace(record, reload_pending=True, running=running))

    def complete(self, identity: str, document: Mapping[str, Any]) -> None:
        """Write the record of a committed transaction (its ``document``) where that is missing.

        It is where the process was killed after the commit, before it wrote the record.
        """
        about = document["about"]
        record = self.find(identity)
        if "record" in about and (record is None or record.transaction != about["tag"]):
            self.write(identity, DeploymentRecord.from_document({**about["record"], "transaction": about["tag"]}))

    def all(self) -> list[DeploymentRecord]:
        """Return every record, sorted by file and name; targets that left the file included."""
        found = (self.find(identity) for identity in self.identities())
        return sorted((record for record in found if record), key=lambda record: (record.source, record.name))

    def identities(self) -> list[str]:
        """Return the identity of every target that has a record."""
        return [path.stem[len(_PREFIX) :] for path in self._state.path.glob(f"{_PREFIX}*.json")]

    def find(self, identity: str) -> DeploymentRecord | None:
        """Return the record of a target that may have left the file."""
        document = self._state.read(f"{_PREFIX}{identity}.json", None)
        if document is None:
            return None
        try:
            return DeploymentRecord.from_document(document)
        except (AttributeError, TypeError) as error:
            path = self._state.path / f"{_PREFIX}{identity}.json"
            raise GarrTcsError(
                f"cannot read the record {path}", "Move it away, and run certbot renew again."
            ) from error

    def write(self, identity: str, record: DeploymentRecord) -> None:
        """Replace a target's record."""
        try:
            self._state.write(f"{_PREFIX}{identity}.json", record.to_document())
        except OSError as error:
            raise os_error(f"cannot write the record of {record.title} in {self._state.path}", error) from error


class StatCache:
    """What stat(2) returned for the files of a target when it was found up to date: unchanged files are not read again.

    ``certbot renew`` asks twice a day for every lineage, and mostly nothing has to be done. Compared are device, inode,
    size, mode, owner, mtime and ctime; only root can set the ctime back (inode(7)). The files include garr-tcs.ini, so
    that all targets are compared again after an edit, and the target's record, where a failure, a hold or a pending
    reload is written. Where the cache cannot be read or written, every target is compared.
    """

    def __init__(self, state: StateFolder, now: Callable[[], float]) -> None:
        """``now``: returns seconds since 1970."""
        self._state = state
        self._now = now
        self._found: dict[str, str] | None = None

    def is_unchanged(self, target: Target, live: Path) -> bool:
        """Return whether the files are as they were when it was up to date; ``live``: the folder of its lineage."""
        found = self._read().get(identity_of(target))
        return bool(found) and found == self._stat(target, live)[0]

    def add(self, target: Target, live: Path) -> None:
        """Store that a target is up to date now, once its files are older than ``SETTLED_SECONDS``."""
        found, newest_seconds = self._stat(target, live)
        identity = identity_of(target)
        if found and found != self._read().get(identity) and newest_seconds < self._now() - SETTLED_SECONDS:
            with contextlib.suppress(OSError, GarrTcsError):
                self._state.write(_CACHE, {**self._read(), identity: found})
                self._found = None
                (self._state.path / _FORMER_CACHE).unlink(missing_ok=True)

    def _read(self) -> dict[str, str]:
        if self._found is None:
            self._found = {}
            with contextlib.suppress(GarrTcsError, TypeError, ValueError):
                self._found = dict(self._state.read(_CACHE, {}))
        return self._found

    def _stat(self, target: Target, live: Path) -> tuple[str, float]:
        """Return what stat(2) returns for a target's files, as one text, and the newest ctime among them."""
        paths: list[str | Path] = [target.source, f"{self._state.path}/{document_of(target)}"]
        paths += [f"{live}/{piece}.pem" for piece in PIECES]
        paths += [output.path for output in target.outputs]
        if target.pkcs12_password_file:
            paths.append(target.pkcs12_password_file)
        try:
            status = [os.stat(path) for path in paths]  # noqa: PTH116  (hundreds of times; a Path costs more than the call)
        except OSError:
            return "", 0.0
        text = ",".join(
            f"{s.st_dev}:{s.st_ino}:{s.st_size}:{s.st_mode}:{s.st_uid}:{s.st_gid}:{s.st_mtime_ns}:{s.st_ctime_ns}"
            for s in status
        )
        return text, max(s.st_ctime for s in status)
