"""Remember what was deployed to each target, when, and with what outcome."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.deploy.files import os_error
from certbot_garr_tcs.errors import GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.state import StateFolder

DEPLOYED = "deployed"
FAILED = "failed"
HELD = "held"
_PREFIX = "deployed-"


def identity_of(target: Target) -> str:
    """Return what journal and records call a target: its name, told apart by the file that it is in."""
    text = f"{target.source}\0{target.name}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def document_of(target: Target) -> str:
    """Return the name of a target's document in the state folder."""
    return f"{_PREFIX}{identity_of(target)}.json"


@dataclass(frozen=True)
class DeploymentRecord:
    """How one target is.

    ``outcome``: ``deployed``, ``failed`` (the last attempt; what was deployed before still stands) or
    ``held`` (by ``certbot rollback``). ``fingerprint``: SHA-256 of the leaf that stands there, in hex.
    ``inputs``, ``outputs``: digests of all that decided the files, and of the files. ``service``: digest of how the
    service is tested, reloaded and probed; empty in records of the version before. ``hold``: fingerprint that must not
    be deployed. ``reload_owed``: files may be newer or older than what the service has read. ``transaction``: the
    last one that can be undone. Times are seconds since 1970.
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
    reload_owed: bool = False
    transaction: str = ""

    @property
    def title(self) -> str:
        """Return the section's heading, in brackets."""
        return f"[deploy {self.name}]"

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> DeploymentRecord:
        """Read a record; a later release may have written more than is known here."""
        return cls(**{key: value for key, value in document.items() if key in _KNOWN})


_KNOWN = frozenset(each.name for each in fields(DeploymentRecord))


class DeploymentRecords:
    """One small document per target, so that reading one costs the same among many."""

    def __init__(self, state: StateFolder) -> None:
        """Name the folder; touch nothing."""
        self._state = state

    def read(self, target: Target) -> DeploymentRecord:
        """Return a target's record; an empty one where nothing was ever tried."""
        found = self.find(identity_of(target))
        return found or DeploymentRecord(target.name, str(target.source), target.lineage)

    def mark_reload_pending(self, identity: str) -> None:
        """Note that a service may have read files that are not there any more."""
        record = self.find(identity)
        if record is not None:
            self.write(identity, replace(record, reload_owed=True))

    def adopt(self, identity: str, document: Mapping[str, Any]) -> bool:
        """Write a record that a transaction carries, unless it is there already; tell whether it was not.

        Whoever is killed between the end of a transaction and this folder leaves the record behind the files.
        """
        about = document["about"]
        record = self.find(identity)
        if "record" not in about or (record is not None and record.transaction == about["tag"]):
            return False
        self.write(identity, DeploymentRecord.from_document({**about["record"], "transaction": about["tag"]}))
        return True

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
            self._state.write(f"{_PREFIX}{identity}.json", asdict(record))
        except OSError as error:
            raise os_error(f"cannot write the record of {record.title} in {self._state.path}", error) from error
