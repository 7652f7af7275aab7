"""Look at the certificate that a port serves, until it is the one that should be there."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, Protocol

from certbot_garr_tcs.deploy.certificate import fingerprint_of
from certbot_garr_tcs.deploy.starttls import starttls
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from certbot_garr_tcs.deploy.targets import Probe

_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_ATTEMPT_SECONDS = 10.0
_SIGHTINGS = 3  # while a service reloads, old and new workers accept side by side for a moment


class Looker(Protocol):
    """Return the DER bytes of the leaf that is served; raise DeployError where none is."""

    def __call__(self, probe: Probe, server_name: str | None, timeout_seconds: float) -> bytes:
        """Make one connection, and take at most ``timeout_seconds`` for it."""


def name_for_sni(probe: Probe, names: Sequence[str]) -> str | None:
    """Choose the name to ask for (RFC 6066 §3: a DNS name, never an address).

    The section's ``probe-name``; else the probe's host, if the certificate is for it; else the first of the
    certificate's names that is no wildcard; else the host, unless it is an address.
    """
    if probe.server_name is not None:
        return probe.server_name.strip(".") or None
    plain = [name for name in names if not name.startswith("*.") and not _is_address(name)]
    wild = f"*.{probe.host.lower().partition('.')[2]}"
    if not plain or probe.host.lower() in plain or wild in names:
        return None if _is_address(probe.host) else probe.host
    return plain[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # we look at what is served; trusting it is the clients' business
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def served_leaf(probe: Probe, server_name: str | None, timeout_seconds: float) -> bytes:
    """Make a TLS handshake, after STARTTLS where asked, and return the leaf that was served, as DER.

    Says nothing about trust. Not promised: which of several certificates a server chooses that has both an
    RSA and an ECDSA one.
    """
    doing = "no connection"
    try:
        with socket.create_connection((probe.host, probe.port), timeout=timeout_seconds) as sock:
            if probe.starttls:
                doing = f"no STARTTLS for {probe.starttls}"
                starttls(probe.starttls, sock)
            doing = "no TLS handshake"
            with _context().wrap_socket(sock, server_hostname=server_name) as tls:
                leaf = tls.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:  # ValueError: a name that SNI cannot carry
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or "closed"
        raise DeployError(f"{doing} at {probe.where}: {reason}", "Look at the service's log.") from error
    if not leaf:  # pragma: no cover - only with ciphers that nobody offers
        raise DeployError(f"{probe.where} shows no certificate", "Look at the service's log.")
    return leaf


def wait_until_served(  # noqa: PLR0913 - what to look for, and three hands to do it with
    probe: Probe,
    fingerprint: str,
    names: Sequence[str],
    *,
    look: Looker,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Return when the leaf with this SHA-256 fingerprint is served, several times in a row.

    Raises what was seen instead when time is up. ``clock`` counts seconds and never goes back.
    """
    server_name = name_for_sni(probe, names)
    deadline = clock() + probe.timeout_seconds
    pause_seconds = _PAUSE_SECONDS
    asked = f" asked for {server_name}" if server_name else ""
    sightings = 0
    while True:
        left_seconds = deadline - clock()
        try:
            seen = fingerprint_of(look(probe, server_name, min(_ATTEMPT_SECONDS, max(left_seconds, 1.0))))
            sightings = sightings + 1 if seen == fingerprint else 0
            if sightings == _SIGHTINGS:
                return
            if sightings:
                sleep(_PAUSE_SECONDS)
                continue
            problem = DeployError(
                f"{probe.where}{asked} serves {_short(seen)} and not {_short(fingerprint)}",
                "Look whether the service reads the files of this section (probe-name chooses a virtual host).",
            )
        except DeployError as error:
            problem, sightings = error, 0
        if clock() + pause_seconds > deadline:
            raise DeployError(f"{problem.message} (after {probe.timeout_seconds:g} s)", problem.hint)
        sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, _LONGEST_PAUSE_SECONDS)


def _short(fingerprint: str) -> str:
    return f"SHA-256 {fingerprint[:16]}…"
