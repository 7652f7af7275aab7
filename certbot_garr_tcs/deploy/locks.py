"""Keep other processes of this host from deploying to the same folders at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.files import complaint
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.state import StateFolder

_PAUSE_SECONDS = 0.1


class Locks:
    """Hold the state folder's lock, and one on each folder that will be written to.

    The latter are for a Certbot with another --work-dir: they lock the folder itself (flock(2)), and leave
    no file in it. The system lets go of all of them when the process ends, however it ends.
    """

    def __init__(self, state: StateFolder, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """Hold nothing yet."""
        self._state = state
        self._clock = clock
        self._sleep = sleep
        self._held = contextlib.ExitStack()
        self._folders: set[Path] = set()
        self._have_state = False

    def take(self, targets: Iterable[Target], timeout_seconds: float = 120.0) -> None:
        """Take what these targets need and is not held yet; wait for others until time is up."""
        if not self._have_state:
            self._held.enter_context(self._state.lock("deploy"))
            self._have_state = True
        wanted = {Path(os.path.realpath(output.path.parent)) for target in targets for output in target.outputs}
        deadline = self._clock() + timeout_seconds
        for folder in sorted(wanted - self._folders):
            if folder.is_dir():  # else it will be made, and nobody else can be in it
                self._lock(folder, deadline)
                self._folders.add(folder)

    def _lock(self, folder: Path, deadline: float) -> None:
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise complaint(f"cannot open the folder {folder}", error) from error
        self._held.callback(os.close, handle)
        while not _flocked(handle):
            if self._clock() >= deadline:
                raise DeployError(f"another process is deploying to {folder}", "Wait for it, then run certbot renew.")
            self._sleep(_PAUSE_SECONDS)

    def release(self) -> None:
        """Let go of everything."""
        self._held.close()
        self._folders.clear()
        self._have_state = False


def _flocked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
