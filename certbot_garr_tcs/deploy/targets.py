"""What the [deploy …] sections of garr-tcs.ini say: which files must hold what (data)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS = ("cert", "chain", "fullchain", "key", "combined", "pkcs12")
"""What a target can ask for: key of the section, and name of the content."""

HOLDS_KEY = frozenset({"key", "combined", "pkcs12"})
"""Outputs that hold the private key, and so get ``key-mode``."""


@dataclass(frozen=True)
class Output:
    """Say that one file holds one kind of content, with one mode."""

    kind: str
    path: Path
    mode: int


@dataclass(frozen=True)
class Probe:
    """Say where the served certificate can be seen."""

    host: str
    port: int
    starttls: str | None = None
    server_name: str | None = None
    timeout_seconds: float = 30.0


@dataclass(frozen=True)
class Target:
    """Say which files must hold what of one lineage, for which service.

    ``owner``, ``group``: names or numbers as written, ``None`` leaves the running user's. ``test`` and
    ``reload`` are argument vectors, run without a shell. ``source``: file, for messages.
    """

    name: str
    lineage: str
    outputs: tuple[Output, ...]
    source: Path
    owner: str | None = None
    group: str | None = None
    combined_order: tuple[str, ...] = ("fullchain", "key")
    key_format: str = "pkcs8"
    pkcs12_password_file: Path | None = None
    pkcs12_alias: str | None = None
    pkcs12_legacy: bool = False
    mkdir: bool = False
    follow_symlinks: bool = False
    test: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    command_timeout_seconds: float = 60.0
    probe: Probe | None = None
