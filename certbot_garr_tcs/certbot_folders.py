"""Certbot's own folders, and the options that name them as Certbot's do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_DEFAULTS = {
    "config": ("/etc/letsencrypt", "Certbot's configuration"),
    "work": ("/var/lib/letsencrypt", "Certbot's working files, and this plugin's state"),
    "logs": ("/var/log/letsencrypt", "Certbot's logs"),
}


@dataclass(frozen=True)
class CertbotFolders:
    """Where Certbot keeps its configuration, its state and its logs."""

    config: Path
    work: Path
    logs: Path

    @classmethod
    def of(cls, args: argparse.Namespace) -> CertbotFolders:
        """Return the folders that the options name."""
        named = (os.path.expanduser(getattr(args, f"{name}_dir")) for name in _DEFAULTS)  # noqa: PTH111  (as Certbot)
        return cls(*(Path(os.path.abspath(path)) for path in named))  # noqa: PTH100  (a Path would keep "..")

    def options(self) -> list[str]:
        """Return the options that make Certbot use these folders; none for its defaults."""
        return [
            part
            for name, (default, _) in _DEFAULTS.items()
            if str(getattr(self, name)) != default
            for part in (f"--{name}-dir", str(getattr(self, name)))
        ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--config-dir``, ``--work-dir`` and ``--logs-dir`` with Certbot's defaults."""
    group = parser.add_argument_group("Certbot's folders")
    for name, (default, content) in _DEFAULTS.items():
        group.add_argument(f"--{name}-dir", metavar="DIR", default=default, help=f"{content} (default: {default})")
