"""Remember things between runs in one private folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.errors import GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Iterator


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file in a folder that only this user can write, atomically.

    A reader sees the old content or the new one, also after a power failure: temporary file, fsync, rename, fsync of
    the folder. Raises ``OSError``; then the old file is still there.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class StateFolder:
    """Keep small JSON documents, and locks, in ``<work-dir>/garr-tcs`` (mode 0700).

    Documents are replaced atomically: a reader sees the old one or the new one. No document ever
    holds a secret. Nothing is created before the first write or lock.
    """

    def __init__(self, work_dir: Path) -> None:
        """Name the folder; touch nothing."""
        self.path = work_dir / "garr-tcs"

    def make(self) -> Path:
        """Create the folder where it is missing; refuse one that others could have prepared."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            seen = self.path.lstat()
        except OSError as error:
            raise GarrTcsError(
                f"cannot keep state in {self.path}: {error.strerror}",
                "Run Certbot as the user who owns its --work-dir.",
            ) from error
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
            raise GarrTcsError(
                f"{self.path} is not a folder that only this user can write",
                f"Remove it, or run: chown {os.geteuid()} {self.path} && chmod 700 {self.path}",
            )
        return self.path

    def read(self, name: str, default: Any) -> Any:
        """Return the document ``name`` (parsed JSON), or ``default`` where there is none."""
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return default
        except (OSError, ValueError) as error:
            raise GarrTcsError(
                f"cannot read the state in {path}: {error}", "Move it away, and run the command again."
            ) from error

    def write(self, name: str, document: Any) -> None:
        """Replace the document ``name``."""
        text = json.dumps(document, indent=1, sort_keys=True)
        replace_file(self.make() / name, f"{text}\n".encode())

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock ``name`` of this folder; wait for another process that has it."""
        with (self.make() / f"{name}.lock").open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
