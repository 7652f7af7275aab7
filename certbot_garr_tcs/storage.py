"""Private files: the reader of files that hold secrets, the one atomic write, and the folder for our own state."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.errors import ConfigError, GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_MOST_BYTES = 1 << 20


def user_name(number: int) -> str:
    """Return a user's name, or the number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def read_all(handle: int, most_bytes: int) -> bytes:
    """Return what is left of a file, and one byte more than ``most_bytes`` of a larger one."""
    data = b""
    while len(data) <= most_bytes:
        more = os.read(handle, most_bytes + 1 - len(data))
        if not more:
            break
        data += more
    return data


def read_private(path: Path) -> str:
    """Return the text of a file that belongs to this user and that nobody else can read or write.

    Raises ``ConfigError`` with the ``chmod`` or ``chown`` that corrects it; its text shows nothing of the content.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        hint = "Give the right path." if isinstance(error, FileNotFoundError) else f"Look at: ls -ld {path}"
        # From None: the cause would quote the path, which may be a secret that somebody wrote in its place.
        raise ConfigError(f"cannot open {path}: {error.strerror}", hint) from None
    try:
        content = read_opened(handle, path, owners={os.geteuid()}, forbidden=0o077, most_bytes=_MOST_BYTES)
    finally:
        os.close(handle)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # From None: the cause would quote bytes of the file.
        raise ConfigError(f"{path} is not UTF-8 text", "Save it as UTF-8.") from None


def read_opened(handle: int, path: Path, *, owners: Collection[int], forbidden: int, most_bytes: int) -> bytes:
    """Return the bytes of a file that was opened without blocking (O_NONBLOCK), if it is as it must be.

    ``owners``: who may own it, whom to give it to first. ``forbidden``: the permissions that nobody may have. Kind,
    owner and mode are those of the open file, looked at before its first byte is read.
    """
    seen = os.fstat(handle)
    if not stat.S_ISREG(seen.st_mode):
        raise ConfigError(f"{path} is no regular file", "Give the path of a file.")
    if seen.st_uid not in owners:
        raise ConfigError(
            f"{path} belongs to {user_name(seen.st_uid)}, and Certbot runs as {user_name(os.geteuid())}",
            f"Run: chown {user_name(next(iter(owners)))} {path}",
        )
    if seen.st_mode & forbidden:
        raise ConfigError(
            f"{path} has mode {stat.S_IMODE(seen.st_mode):04o}: others than its owner can get at its secrets",
            f"Run: chmod {0o600 | stat.S_IMODE(seen.st_mode) & 0o777 & ~forbidden:o} {path}",
        )
    content = read_all(handle, most_bytes)
    if len(content) > most_bytes:
        size = "1 MiB" if most_bytes == _MOST_BYTES else f"{most_bytes} bytes"
        raise ConfigError(f"{path} is larger than {size}", "Give the path of the right file.")
    return content


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file in a folder that only this user can write, atomically.

    A reader sees the old content or the new one, also after a power failure: temporary file, fsync, rename, fsync of
    the folder. Raises ``OSError``; then the old file is still there.
    """
    with _written(path, content, mode) as temporary:
        temporary.replace(path)


def create_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file that is not there yet; raise ``FileExistsError`` where it is, also if it appeared meanwhile."""
    with _written(path, content, mode) as temporary:
        os.link(temporary, path)


@contextlib.contextmanager
def _written(path: Path, content: bytes, mode: int) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that is on the disk, and is removed afterwards."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        with contextlib.suppress(OSError):
            Path(name).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class StateFolder:
    """The folder ``<work-dir>/garr-tcs`` (mode 0700): small JSON documents and lock files, kept between runs.

    No document holds a secret. Nothing is created before the first write or lock.
    """

    def __init__(self, work_dir: Path) -> None:
        self.path = work_dir / "garr-tcs"

    def ensure(self) -> Path:
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
        replace_file(self.ensure() / name, f"{text}\n".encode())

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Take the lock ``name`` of this folder for a while; wait for another process that has it."""
        with (self.ensure() / f"{name}.lock").open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
