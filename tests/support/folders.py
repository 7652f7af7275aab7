"""Make folders that other users can reach."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

_LONGEST_PATH = 40  # sun_path holds 107 bytes (unix(7)), and services add names of their own


@contextlib.contextmanager
def open_folder():
    """Give a folder that services under other users can reach, by a path short enough for their sockets."""
    usual = Path(tempfile.gettempdir()).resolve()
    reachable = all(step.stat().st_mode & 0o001 for step in (usual, *usual.parents))
    place = usual if reachable and len(str(usual)) <= _LONGEST_PATH else Path("/tmp")
    with tempfile.TemporaryDirectory(prefix="garr-tcs-", dir=place) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
