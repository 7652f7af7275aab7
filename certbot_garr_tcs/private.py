"""Read a file that holds a secret: only if nobody else can read it, or change it."""

from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

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
