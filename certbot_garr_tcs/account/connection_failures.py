"""Explain why a request to the CA got no answer: its name, the connection, the TLS certificate, the clock, or time."""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, …_CERT_HAS_EXPIRED, …_HOSTNAME_MISMATCH, …_IP_ADDRESS_MISMATCH."""

_UNREACHABLE = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)


@dataclass(frozen=True)
class ConnectionFailure:
    """What failed and what to check; ``was_sent``: whether the CA may have carried out the request."""

    explanation: str
    was_sent: bool = False


def explain(error: BaseException, title: str, host: str, resource: str, now: datetime) -> ConnectionFailure:
    """Explain an error of the requests library.

    ``title``: the CA's. ``host``: host and port. ``resource``: the ACME resource of the request. ``now``: this
    machine's time, in UTC.
    """
    from acme.client import DEFAULT_NETWORK_TIMEOUT  # noqa: PLC0415  (heavy, and something went wrong already)
    from requests import exceptions  # noqa: PLC0415

    causes = list(_causes(error))
    found = _before_tls(error, causes, host) or _tls(error, causes, host, now)
    if found:
        return ConnectionFailure(found)
    if isinstance(error, exceptions.ReadTimeout) or _has(causes, TimeoutError, socket.timeout):
        slow = f"{title} did not answer {resource} within {DEFAULT_NETWORK_TIMEOUT} seconds, Certbot's own limit."
        return ConnectionFailure(slow, was_sent=True)
    return ConnectionFailure(f"{title} closed the connection without an answer to {resource}.", was_sent=True)


def _before_tls(error: BaseException, causes: Sequence[BaseException], host: str) -> str | None:
    from requests import exceptions  # noqa: PLC0415

    reason = _reason(causes)
    if isinstance(error, exceptions.ProxyError):
        return f"The proxy that HTTPS_PROXY names gives no connection with {host} ({reason})."
    if _has(causes, socket.gaierror):
        return f"{host} has no address ({reason}). See directory-url for a mistake, and this machine's name servers."
    refused = any(isinstance(cause, OSError) and cause.errno in _UNREACHABLE for cause in causes)
    if refused or isinstance(error, exceptions.ConnectTimeout):
        return (
            f"There is no connection with {host} ({reason}). Look at directory-url, and at this machine's way out "
            "(firewall, HTTPS_PROXY)."
        )
    return None


def _tls(error: BaseException, causes: Sequence[BaseException], host: str, now: datetime) -> str | None:
    from requests import exceptions  # noqa: PLC0415

    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(cause.verify_code, printable(cause.verify_message), host, now)
    if isinstance(error, exceptions.SSLError):
        return f"There is no TLS connection with {host} ({_reason(causes)}). Look at directory-url, and at HTTPS_PROXY."
    return None


def _certificate(code: int, message: str, host: str, now: datetime) -> str:
    """Explain a certificate that OpenSSL does not accept."""
    if code in {_NOT_YET_VALID, _EXPIRED}:
        fault = "is not yet valid" if code == _NOT_YET_VALID else "has expired"
        return (
            f"By this machine's clock, {now:%Y-%m-%d %H:%M} UTC, the TLS certificate of {host} {fault}. If that is not "
            "the time, set the clock: timedatectl set-ntp true. If it is, the server has to be put right, or a proxy "
            "on the way to it."
        )
    if code in {_OTHER_HOST, _OTHER_ADDRESS}:
        return f"The TLS certificate of {host} is for another host ({message}). Look at directory-url and HTTPS_PROXY."
    return (
        f"This machine does not trust the TLS certificate of {host} ({message}). If a firewall of your network opens "
        "TLS connections, set REQUESTS_CA_BUNDLE to a file with its root, also for the timer (systemctl edit "
        "certbot.service); if not, update ca-certificates. This shows who issued it: openssl s_client -connect "
        f"{host} </dev/null"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error of requests, then those that it was made from: urllib3's, and the system's."""
    todo, seen = [error], set()
    while todo:
        step = todo.pop()
        if id(step) in seen:
            continue
        seen.add(id(step))
        yield step
        inner = (*step.args, getattr(step, "reason", None), step.__cause__, step.__context__)
        todo += [one for one in inner if isinstance(one, BaseException)]


def _has(causes: Sequence[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in causes)


def _reason(causes: Sequence[BaseException]) -> str:
    """Return the system's error text, without the memory addresses that urllib3 adds."""
    words = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return printable(words[0] if words else type(causes[0]).__name__)
