"""Carry one DNS message to an address over UDP or TCP, and bring back its answer."""

from __future__ import annotations

import errno
import socket
import struct
import time
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint

_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETDOWN})
_HEADER_OCTETS = 12
_LARGEST = 65535
_CONNECT_SECONDS = 5.0
"""For a TCP connection: a host that is there answers at once, however long it then takes to do what is asked."""

_QR = 0x80


class Silence(Enum):
    """Why there was no answer."""

    TIMED_OUT = "no answer"
    CLOSED = "connection refused"
    NO_ROUTE = "no route from here"
    BROKEN = "connection broken"

    @property
    def may_have_arrived(self) -> bool:
        """Tell whether the message may have been read all the same."""
        return self in {Silence.TIMED_OUT, Silence.BROKEN}


class NoAnswerError(DnsError):
    """Nothing came back from an address."""

    def __init__(self, what: str, silence: Silence, hint: str = "") -> None:
        """Say ``what`` was asked of whom, and why nothing came back."""
        super().__init__(f"{what}: {silence.value}", hint)
        self.what = what
        self.silence = silence


class Exchange(Protocol):
    """How a message is carried; tests and views of the network give their own."""

    def __call__(self, wire: bytes, endpoint: Endpoint, *, timeout_seconds: float, tcp: bool) -> bytes:
        """Return the answer to ``wire``, or raise ``NoAnswerError``."""


def exchange(wire: bytes, endpoint: Endpoint, *, timeout_seconds: float, tcp: bool) -> bytes:
    """Send ``wire`` once and return the answer that carries its ID (RFC 1035 §4.2, RFC 7766).

    The UDP socket is connected: answers from elsewhere never arrive, and an ICMP "port unreachable"
    is known at once instead of after the timeout. Raises ``NoAnswerError``.
    """
    family = socket.AF_INET6 if endpoint.is_ipv6 else socket.AF_INET
    deadline = time.monotonic() + timeout_seconds
    try:
        with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
            sock.settimeout(min(timeout_seconds, _CONNECT_SECONDS))
            sock.connect((endpoint.address, endpoint.port))
            return (_over_tcp if tcp else _over_udp)(sock, wire, deadline)
    except (TimeoutError, socket.timeout) as error:  # two classes before Python 3.10
        raise NoAnswerError(_what(endpoint, tcp=tcp), Silence.TIMED_OUT) from error
    except OSError as error:
        raise NoAnswerError(_what(endpoint, tcp=tcp), silence_of(error)) from error


def _what(endpoint: Endpoint, *, tcp: bool) -> str:
    return f"{endpoint} ({'TCP' if tcp else 'UDP'})"


def silence_of(error: OSError) -> Silence:
    """Tell from an error of the socket why nothing comes back."""
    if error.errno == errno.ECONNREFUSED:
        return Silence.CLOSED
    if error.errno in _NO_ROUTE:
        return Silence.NO_ROUTE
    if error.errno in {errno.EHOSTUNREACH, errno.ETIMEDOUT}:
        return Silence.TIMED_OUT
    return Silence.BROKEN


def _over_udp(sock: socket.socket, wire: bytes, deadline: float) -> bytes:
    sock.send(wire)
    while True:
        _wait_at_most(sock, deadline)
        answer = sock.recv(_LARGEST)
        if _answers(wire, answer):
            return answer


def _over_tcp(sock: socket.socket, wire: bytes, deadline: float) -> bytes:
    sock.sendall(struct.pack("!H", len(wire)) + wire)
    while True:
        (length,) = struct.unpack("!H", _read(sock, 2, deadline))
        answer = _read(sock, length, deadline)
        if _answers(wire, answer):
            return answer


def _read(sock: socket.socket, octets: int, deadline: float) -> bytes:
    parts = b""
    while len(parts) < octets:
        _wait_at_most(sock, deadline)
        part = sock.recv(octets - len(parts))
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "closed in the middle of an answer")
        parts += part
    return parts


def _wait_at_most(sock: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def _answers(wire: bytes, answer: bytes) -> bool:
    """Tell the answer from a late or forged one: same ID, QR set (RFC 5452 §9.1)."""
    return len(answer) >= _HEADER_OCTETS and answer[:2] == wire[:2] and bool(answer[2] & _QR)
