"""Read a file only if nobody else can."""

from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 1 << 20


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def read_private(path: Path) -> str:
    """Return the text of a file that belongs to this user and that nobody else can read or write.

    Owner and mode are those of the opened file, checked before its first byte is read. Raises
    ``ConfigError`` with the ``chmod`` or ``chown`` that mends it; its text shows nothing of the content.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        hint = "Give the right path." if isinstance(error, FileNotFoundError) else f"Look at: ls -ld {path}"
        # From None: the cause would quote the path, which may be a secret that somebody wrote in its place.
        raise ConfigError(f"cannot open {path}: {error.strerror}", hint) from None
    try:
        seen = os.fstat(handle)
        if not stat.S_ISREG(seen.st_mode):
            raise ConfigError(f"{path} is no regular file", "Give the path of a file.")
        if seen.st_uid != os.geteuid():
            raise ConfigError(
                f"{path} belongs to {_user(seen.st_uid)}, and Certbot runs as {_user(os.geteuid())}",
                f"Run: chown {_user(os.geteuid())} {path}",
            )
        if stat.S_IMODE(seen.st_mode) & 0o077:
            raise ConfigError(
                f"{path} has mode {stat.S_IMODE(seen.st_mode):04o}: others than its owner can get at its secrets",
                f"Run: chmod 600 {path}",
            )
        with os.fdopen(os.dup(handle), "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    finally:
        os.close(handle)
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB", "Give the path of the right file.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # From None: the cause would quote bytes of the file.
        raise ConfigError(f"{path} is not UTF-8 text", "Save it as UTF-8.") from None
