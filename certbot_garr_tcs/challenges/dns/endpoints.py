"""Addresses of name servers: host or IP address, and port."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from certbot_garr_tcs.errors import ConfigError

DNS_PORT = 53
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.IGNORECASE)


@dataclass(frozen=True)
class Server:
    """A name server as the user named it; ``port`` is ``None`` where the user gave none."""

    host: str
    port: int | None = None

    @property
    def is_address(self) -> bool:
        """Return whether the host is an IP address."""
        return is_address(self.host)

    def __str__(self) -> str:
        # ``parse_server`` reads it again.
        if self.port is None:
            return f"[{self.host}]" if _ends_like_a_port(self.host) else self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Endpoint:
    """One address that messages can be sent to, and the host name that led there, for messages to the user.

    Two names for one address and port are one endpoint.
    """

    address: str
    port: int = DNS_PORT
    host: str = field(default="", compare=False)

    def __str__(self) -> str:
        where = f"{self.address} port {self.port}"
        return f"{self.host} ({where})" if self.host else where

    @property
    def is_ipv6(self) -> bool:
        """Return whether it is an IPv6 address."""
        return ":" in self.address


def is_address(host: str) -> bool:
    """Return whether this is an IP address, and no host name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_server(text: str) -> Server:
    """Read ``host``, ``address``, ``host:port``, ``[address]:port`` or a bare IPv6 address.

    A bare IPv6 address has no port: the brackets of RFC 3986 §3.2.2 are how to give one, and one that ends as if it
    had a port needs them too. Raises ``ConfigError``, which does not repeat the text.
    """
    written = text.strip()
    host, port = _split(written)
    if host == written and _ends_like_a_port(host):
        raise ConfigError(
            "this can be read in two ways, as an IPv6 address or as address and port",
            "Put the address in brackets, like [2001:db8::53] or [2001:db8::1]:53.",
        )
    if not (is_address(host) or (_HOST.fullmatch(host) and len(host) <= 254 and not _looks_numeric(host))):  # noqa: PLR2004 - RFC 1035 §2.3.4, with the last dot
        raise ConfigError("this is no name server", _HINT)
    if port is None:
        return Server(host)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:  # noqa: PLR2004 - the field is 16 bits wide
        raise ConfigError("this has no port between 1 and 65535", _HINT)
    return Server(host, int(port))


def _split(written: str) -> tuple[str, str | None]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", written)
    if bracketed:
        return bracketed.group(1), bracketed.group(2)
    if written.count(":") == 1:
        host, port = written.split(":")
        return host, port
    return written, None


def _ends_like_a_port(host: str) -> bool:
    """Return whether a bare IPv6 address may be another one with a port of DNS: fd00::11:53."""
    address, _, port = host.rpartition(":")
    return (
        port.isdigit() and port.endswith(str(DNS_PORT)) and ":" in address and is_address(host) and is_address(address)
    )


def _looks_numeric(host: str) -> bool:
    """Return whether this is digits and dots alone, like 192.0.2.300: a mistyped address, never a host."""
    return re.fullmatch(r"[0-9.]+", host) is not None


_HINT = "Write it like ns.example.it, ns.example.it:5353, 192.0.2.1, 2001:db8::1 or [2001:db8::1]:5353."
