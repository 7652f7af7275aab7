"""Write a file so that readers see the old content or the new one, and nothing between."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file in a folder that only this user can write; raise ``OSError``, and then nothing has changed."""
    with _written(path, content, mode) as temporary:
        temporary.replace(path)


def create_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file that is not there yet; raise ``FileExistsError`` where it is, also if it appeared meanwhile."""
    with _written(path, content, mode) as temporary:
        os.link(temporary, path)


@contextlib.contextmanager
def _written(path: Path, content: bytes, mode: int) -> Iterator[Path]:
    """Give a temporary file beside ``path`` that is on the disk, and no longer there afterwards."""
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
