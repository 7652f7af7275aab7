"""Tell from the system's own marks of files that nothing can have changed since a target was right.

``certbot renew`` comes by twice a day for every lineage, and mostly nothing is to be done: then no file is read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable

from certbot_garr_tcs.deploy.ledger import document_of, identity_of
from certbot_garr_tcs.lineages import PIECES

if TYPE_CHECKING:
    from pathlib import Path

    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.state import StateFolder

_DOCUMENT = "glances.json"

SETTLED_SECONDS = 2.0
"""A file that was changed this shortly before may change again without getting another mark: clocks tick coarsely."""


class Glances:
    """Compare marks: inode, size, mode, owner, and the times of the last change of content and of all that.

    Nobody but root can set the last of them (ctime, inode(7)) back. Among them are those of garr-tcs.ini, so that an
    edit of any target makes all be looked at again, and of the target's document in the ledger: a failure, a hold or
    a reload that is owed was written there since.
    """

    def __init__(self, state: StateFolder, now: Callable[[], float]) -> None:
        """``now``: seconds since 1970. Reads nothing yet."""
        self._state = state
        self._now = now
        self._known: dict[str, str] | None = None

    def is_right(self, target: Target, live: Path) -> bool:
        """Tell whether ``target`` is as it was when it was found right; ``live``: where its lineage's files are."""
        known = self._read().get(identity_of(target))
        return bool(known) and known == self._marks(target, live)[0]

    def remember(self, target: Target, live: Path) -> None:
        """Keep the marks of a target that was found right just now, once they are old enough to be trusted."""
        marks, newest_seconds = self._marks(target, live)
        identity = identity_of(target)
        if marks and marks != self._read().get(identity) and newest_seconds < self._now() - SETTLED_SECONDS:
            self._state.write(_DOCUMENT, {**self._read(), identity: marks})
            self._known = None

    def _read(self) -> dict[str, str]:
        if self._known is None:
            self._known = dict(self._state.read(_DOCUMENT, {}))
        return self._known

    def _marks(self, target: Target, live: Path) -> tuple[str, float]:
        """Return the marks of everything that decides a target, and the newest time among them."""
        paths: list[str | Path] = [target.source, f"{self._state.path}/{document_of(target)}"]
        paths += [f"{live}/{piece}.pem" for piece in PIECES]
        paths += [output.path for output in target.outputs]
        if target.pkcs12_password_file:
            paths.append(target.pkcs12_password_file)
        try:
            seen = [os.stat(path) for path in paths]  # noqa: PTH116  (hundreds of times; a Path costs more than the call)
        except OSError:
            return "", 0.0
        marks = ",".join(
            f"{s.st_ino}:{s.st_size}:{s.st_mode}:{s.st_uid}:{s.st_gid}:{s.st_mtime_ns}:{s.st_ctime_ns}" for s in seen
        )
        return marks, max(s.st_ctime for s in seen)
