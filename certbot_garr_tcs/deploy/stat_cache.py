"""Notice by stat(2) alone that nothing has changed since a target was found up to date: no file is read then.

``certbot renew`` comes by twice a day for every lineage, and mostly there is nothing to do.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Callable

from certbot_garr_tcs.deploy.records import document_of, identity_of
from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.lineages import PIECES

if TYPE_CHECKING:
    from pathlib import Path

    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.storage import StateFolder

_DOCUMENT = "stat-cache.json"
_FORMER_DOCUMENT = "glances.json"  # of the version before

SETTLED_SECONDS = 2.0
"""A file that was changed this shortly before may change again without getting another time: clocks tick coarsely."""


class StatCache:
    """What stat(2) said of all that decides a target, when it was found up to date.

    Device, inode, size, mode, owner, and the times of the last change of content and of all that; nobody but root can
    set the last of them (ctime, inode(7)) back. Among the files are garr-tcs.ini, so that an edit of any target makes
    all be compared again, and the target's record: a failure, a hold or a pending reload was written there since.
    It is only a cache: where it cannot be read or written, every target is compared.
    """

    def __init__(self, state: StateFolder, now: Callable[[], float]) -> None:
        """``now``: seconds since 1970. Reads nothing yet."""
        self._state = state
        self._now = now
        self._found: dict[str, str] | None = None

    def is_unchanged(self, target: Target, live: Path) -> bool:
        """Tell whether ``target`` is as it was when it was up to date; ``live``: where its lineage's files are."""
        found = self._read().get(identity_of(target))
        return bool(found) and found == self._stat(target, live)[0]

    def remember(self, target: Target, live: Path) -> None:
        """Store that a target is up to date now, once its files are old enough to be trusted."""
        found, newest_seconds = self._stat(target, live)
        identity = identity_of(target)
        if found and found != self._read().get(identity) and newest_seconds < self._now() - SETTLED_SECONDS:
            with contextlib.suppress(OSError, GarrTcsError):
                self._state.write(_DOCUMENT, {**self._read(), identity: found})
                self._found = None
                (self._state.path / _FORMER_DOCUMENT).unlink(missing_ok=True)

    def _read(self) -> dict[str, str]:
        if self._found is None:
            self._found = {}
            with contextlib.suppress(GarrTcsError, TypeError, ValueError):
                self._found = dict(self._state.read(_DOCUMENT, {}))
        return self._found

    def _stat(self, target: Target, live: Path) -> tuple[str, float]:
        """Return what stat(2) says of everything that decides a target, and the newest time among it."""
        paths: list[str | Path] = [target.source, f"{self._state.path}/{document_of(target)}"]
        paths += [f"{live}/{piece}.pem" for piece in PIECES]
        paths += [output.path for output in target.outputs]
        if target.pkcs12_password_file:
            paths.append(target.pkcs12_password_file)
        try:
            seen = [os.stat(path) for path in paths]  # noqa: PTH116  (hundreds of times; a Path costs more than the call)
        except OSError:
            return "", 0.0
        text = ",".join(
            f"{s.st_dev}:{s.st_ino}:{s.st_size}:{s.st_mode}:{s.st_uid}:{s.st_gid}:{s.st_mtime_ns}:{s.st_ctime_ns}"
            for s in seen
        )
        return text, max(s.st_ctime for s in seen)
