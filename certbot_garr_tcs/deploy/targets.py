"""What the [deploy …] sections of garr-tcs.ini say: which files must hold what (data)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

OUTPUTS = ("cert", "chain", "fullchain", "key", "combined", "pkcs12")
"""What a target can ask for: key of the section, and name of the content."""

HOLDS_KEY = frozenset({"key", "combined", "pkcs12"})
"""Outputs that hold the private key, and so get ``key-mode``."""

KEY_FORMATS = ("pkcs8", "traditional")
"""PKCS#8 (RFC 5958), or the algorithm's own (RFC 8017 appendix A.1.2, RFC 5915)."""

STARTTLS = (
    "smtp",
    "lmtp",
    "imap",
    "pop3",
    "sieve",
    "nntp",
    "ftp",
    "xmpp",
    "xmpp-server",
    "ldap",
    "postgres",
    "mysql",
    "mariadb",
)
"""Protocols in which TLS begins after a few words in clear."""


@dataclass(frozen=True)
class Output:
    """Say that one file holds one kind of content, with one mode."""

    kind: str
    path: Path
    mode: int

    def __post_init__(self) -> None:
        """Refuse what could not be written, or what would show a key."""
        if self.kind not in OUTPUTS or not self.path.is_absolute():
            raise ValueError(f"no output: {self.kind} at {self.path}")
        if self.mode & (0o027 if self.holds_key else 0o022):
            raise ValueError(f"mode {self.mode:04o} is too wide for {self.kind}")

    @property
    def holds_key(self) -> bool:
        """Tell whether the file holds the private key."""
        return self.kind in HOLDS_KEY


@dataclass(frozen=True)
class Probe:
    """Say where the served certificate can be seen.

    ``starttls``: one of ``STARTTLS``, ``None`` where TLS begins at once. ``server_name``: sent as SNI
    (RFC 6066 §3); ``None`` leaves the choice to whoever knows the certificate. ``has_default_timeout``: the section
    has no ``probe-timeout``, and a service that is restarted gets more time.
    """

    host: str
    port: int
    starttls: str | None = None
    server_name: str | None = None
    timeout_seconds: float = 30.0
    has_default_timeout: bool = False

    def __post_init__(self) -> None:
        """Refuse an address that nobody could listen on."""
        if not self.host or not 0 < self.port < 1 << 16 or self.timeout_seconds <= 0:
            raise ValueError(f"no probe: {self.host!r} port {self.port}")
        if self.starttls is not None and self.starttls not in STARTTLS:
            raise ValueError(f"no STARTTLS protocol: {self.starttls}")

    @property
    def where(self) -> str:
        """Return host and port as the user wrote them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Target:
    """Say which files must hold what of one lineage, for which service.

    ``owner``, ``group``: names or numbers as written, ``None`` leaves the running user's. ``tests`` and
    ``reloads`` are argument vectors, run without a shell; there are several where several services share the
    files. ``command_timeout_seconds``: ``None`` gives a command that restarts more time than others. A target without
    outputs only tests, reloads and probes: its service reads Certbot's files itself. ``source``: file, for messages.
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
    tests: tuple[tuple[str, ...], ...] = ()
    reloads: tuple[tuple[str, ...], ...] = ()
    command_timeout_seconds: float | None = None
    probes: tuple[Probe, ...] = ()

    @property
    def title(self) -> str:
        """Return the section's heading as the user wrote it, in brackets."""
        return f"[deploy {self.name}]"


def clashes(targets: Iterable[Target]) -> list[str]:
    """Return what is wrong with targets that share paths, in words; paths are compared as written."""
    first_of: dict[Path, Target] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for target in targets:
        for output in target.outputs:
            first = first_of.setdefault(output.path, target)
            if first is not target:
                shared.setdefault((target.title, first.title), []).append(output.kind)
    return [
        f"{title} {', '.join(kinds)}: the same path as in {other}; give each section paths of its own, or write one "
        "section for services that share their files, with preset = postfix dovecot for example"
        for (title, other), kinds in shared.items()
    ]
