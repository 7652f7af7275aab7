"""What the [dns-01 …] and [http-01 …] sections of garr-tcs.ini say (data)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DNS_01 = "dns-01"
HTTP_01 = "http-01"


class HowToLook(Enum):
    """How to learn that a TXT record is visible."""

    AUTHORITATIVE = "authoritative"
    RESOLVERS = "resolvers"
    SECONDS = "seconds"


@dataclass(frozen=True)
class Propagation:
    """Say how long, and where, to look for a record before the CA is asked to.

    ``resolvers`` (host or address, optional ``:port``) belongs to RESOLVERS, ``seconds`` to SECONDS.
    """

    how: HowToLook = HowToLook.AUTHORITATIVE
    resolvers: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class TsigKey:
    """Hold a TSIG key as written (RFC 8945): base64 secret, algorithm name in lower case."""

    name: str
    secret: str = field(repr=False)
    algorithm: str = "hmac-sha256"


@dataclass(frozen=True)
class Rfc2136Settings:
    """Say how to update a zone (RFC 2136).

    ``server``: host or address, optional port; ``None`` is the zone's SOA primary. ``zone``: ``None``
    is found by SOA. ``tsig``: ``None`` updates without a key. ``timeout_seconds``: for all of waiting.
    """

    server: str | None = None
    zone: str | None = None
    tsig: TsigKey | None = None
    propagation: Propagation = field(default_factory=Propagation)
    timeout_seconds: float = 120.0


@dataclass(frozen=True)
class DelegateSettings:
    """Name another Certbot authenticator and its options by their full names, as written.

    The options show in no ``repr``: any of them may be that plugin's secret.
    """

    plugin: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class SolverSection:
    """Bind a suffix of names to one way of proving control of them.

    ``suffix``: lower case without a trailing dot; empty is every name. ``source``: file, for messages.
    """

    challenge_type: str
    suffix: str
    how: Rfc2136Settings | DelegateSettings
    source: Path

    @property
    def title(self) -> str:
        """Return the section's heading as the user wrote it, in brackets."""
        return f"[{self.challenge_type} {self.suffix}]" if self.suffix else f"[{self.challenge_type}]"
