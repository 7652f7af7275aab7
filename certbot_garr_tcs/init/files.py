"""Write garr-tcs.ini: never over another one unasked, never readable by others, never half."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import ConfigError
from certbot_garr_tcs.storage import create_file, read_private, replace_file

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_HEADING = re.compile(r"\s*\[\s*(account\s*\])?", re.IGNORECASE)


def check_place(path: Path, *, force: bool) -> None:
    """Raise ``ConfigError`` where nothing could be written, before anybody types a secret."""
    if os.path.lexists(path) and not force:
        raise ConfigError(
            f"{path} is there already, and stays as it is",
            "To replace its [account] section, add --force: the other sections stay, and the old file is kept beside "
            "it. To write another file, name it with --garr-tcs-config.",
        )
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{path} cannot be written by this user", "Run the command as the user that Certbot runs as, usually root."
        )


def merged(path: Path, section: str) -> str:
    """Return the text of the new file: a file that is there keeps all but its [account] section."""
    if not os.path.lexists(path):
        return section
    before: list[str] | None = None
    kept: list[str] = []
    comments: list[str] = []  # those right above the next heading belong to what is below it
    inside = False
    for line in read_private(path).split("\n"):
        heading = _HEADING.match(line)
        if heading:
            inside = heading[1] is not None
            kept += comments
            comments = []
        if heading and inside and before is None:
            before, kept = kept, []
        if not inside:
            kept.append(line)
        elif line.strip().startswith("#") or not line.strip():
            comments.append(line)
        else:
            comments = []
    return "\n".join([*(before or []), section, *kept])


def write(path: Path, text: str, now: datetime) -> Path | None:
    """Write the file with mode 0600; return where the old one is kept, ``None`` where there was none."""
    backup = None
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not os.path.lexists(path):
            create_file(path, text.encode())
            return None
        path = path.resolve()
        backup = path.with_name(f"{path.name}.{now:%Y%m%d-%H%M%S}.old")
        os.link(path, backup)
        replace_file(path, text.encode())
    except FileExistsError as error:
        raise ConfigError(f"{backup or path} has appeared meanwhile", "Run the command again.") from error
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", "Nothing has changed.") from error
    return backup
