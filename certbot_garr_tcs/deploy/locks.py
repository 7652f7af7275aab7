"""Locks between processes of this user: one at a time deploys to a target."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.files import Folder, os_error
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable

    from certbot_garr_tcs.storage import StateFolder

_PAUSE_SECONDS = 0.1
WAIT_SECONDS = 60.0


class TargetLocks:
    """One lock per target, in our own state folder, where no other user can open, and so lock, a file.

    The kernel releases them when the process ends, however it ends (flock(2)).
    """

    def __init__(self, state: StateFolder, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._state = state
        self._clock = clock
        self._sleep = sleep
        self._handles: dict[str, int] = {}

    def try_take(self, identity: str) -> bool:
        """Take a target's lock; return whether it was free."""
        if identity in self._handles:
            return True
        handle = self._open(identity)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                return False
            raise os_error(f"cannot lock in {self._state.path}", error) from error
        self._handles[identity] = handle
        return True

    def take(self, identity: str, title: str) -> None:
        """Take a target's lock; wait for another process that has it, but not for ever."""
        deadline = self._clock() + WAIT_SECONDS
        while not self.try_take(identity):
            if self._clock() >= deadline:
                raise DeployError(
                    f"{title}: another process is deploying to it", "Wait for it, then run certbot renew."
                )
            self._sleep(_PAUSE_SECONDS)

    def release(self, identity: str) -> None:
        """Release the lock of one target."""
        handle = self._handles.pop(identity, None)
        if handle is not None:
            os.close(handle)

    def release_all(self) -> None:
        """Release every lock."""
        for identity in list(self._handles):
            self.release(identity)

    def _open(self, identity: str) -> int:
        try:
            with Folder.private(self._state.ensure()) as state:
                if not state.has("locks"):
                    state.make_folder("locks", 0o700)
                with Folder.private(state.path / "locks") as locks:
                    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
                    return os.open(f"{identity}.lock", flags, 0o600, dir_fd=locks.handle)
        except OSError as error:
            raise os_error(f"cannot lock in {self._state.path}", error) from error
