"""Remember what was deployed to each target, when, and with what outcome."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.files import complaint
from certbot_garr_tcs.errors import GarrTcsError

if TYPE_CHECKING:
    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.state import StateFolder

DEPLOYED = "deployed"
FAILED = "failed"
HELD = "held"
_PREFIX = "deployed-"


def identity_of(target: Target) -> str:
    """Return what journal and ledger call a target: its name, told apart by the file that it is in."""
    text = f"{target.source}\0{target.name}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def document_of(target: Target) -> str:
    """Return the name of a target's document in the state folder."""
    return f"{_PREFIX}{identity_of(target)}.json"


@dataclass(frozen=True)
class Entry:
    """Say how one target is.

    ``outcome``: ``deployed``, ``failed`` (the last attempt; what was deployed before still stands) or
    ``held`` (by ``certbot rollback``). ``fingerprint``: SHA-256 of the leaf that stands there, in hex.
    ``inputs``, ``outputs``: digests of all that decided the files, and of the files. ``hold``: fingerprint
    that must not be deployed. ``reload_owed``: files may be newer or older than what the service has read.
    Times are seconds since 1970.
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
    hold: str = ""
    reload_owed: bool = False

    @property
    def title(self) -> str:
        """Return the section's heading, in brackets."""
        return f"[deploy {self.name}]"


_KNOWN = frozenset(each.name for each in fields(Entry))


class Ledger:
    """Keep one small document per target, so that looking at one costs the same among many."""

    def __init__(self, state: StateFolder) -> None:
        """Name the folder; touch nothing."""
        self._state = state

    def read(self, target: Target) -> Entry:
        """Return a target's entry; an empty one where nothing was ever tried."""
        return self._entry(identity_of(target)) or Entry(target.name, str(target.source), target.lineage)

    def write(self, target: Target, entry: Entry) -> None:
        """Replace a target's entry."""
        self._write(identity_of(target), entry)

    def owe_reload(self, identity: str) -> None:
        """Note that a service may have read files that are not there any more."""
        entry = self._entry(identity)
        if entry is not None:
            self._write(identity, replace(entry, reload_owed=True))

    def all(self) -> list[Entry]:
        """Return every entry, sorted by file and name; targets that left the file included."""
        found = (self._entry(path.stem[len(_PREFIX) :]) for path in self._state.path.glob(f"{_PREFIX}*.json"))
        return sorted((entry for entry in found if entry), key=lambda entry: (entry.source, entry.name))

    def _write(self, identity: str, entry: Entry) -> None:
        try:
            self._state.write(f"{_PREFIX}{identity}.json", asdict(entry))
        except OSError as error:
            raise complaint(f"cannot keep the ledger of {entry.title} in {self._state.path}", error) from error

    def _entry(self, identity: str) -> Entry | None:
        document = self._state.read(f"{_PREFIX}{identity}.json", None)
        if document is None:
            return None
        try:
            # a later release may have written more than we know
            return Entry(**{key: value for key, value in document.items() if key in _KNOWN})
        except (AttributeError, TypeError) as error:
            path = self._state.path / f"{_PREFIX}{identity}.json"
            raise GarrTcsError(f"cannot read the ledger {path}", "Move it away, and run it again.") from error
