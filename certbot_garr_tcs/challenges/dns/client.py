"""A DNS client: questions and signed messages over UDP and TCP (RFC 1035 §4.2, RFC 7766, RFC 8945)."""

from __future__ import annotations

import base64
import binascii
import errno
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar, Union

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.tsig

from certbot_garr_tcs.errors import ChallengeError, ConfigError, DnsError, join_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
    from certbot_garr_tcs.challenges.dns.keyfile import TsigKey

    Outcome = Union["Result", ChallengeError]

Item = TypeVar("Item")
Result = TypeVar("Result")

EDNS_OCTETS = 1232
"""The UDP payload size that passes every path unfragmented (DNS flag day 2020)."""

UDP_TIMEOUTS_SECONDS = (1.0, 2.0)
"""One try for each timeout."""

TCP_TIMEOUT_SECONDS = 5.0
MOST_THREADS = 32
"""Threads wait for name servers and need little processor time."""

USABLE_RCODES = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})
"""Answers that say what is there, or that nothing is."""

TSIG_ALGORITHMS = {
    "hmac-sha256": dns.tsig.HMAC_SHA256,
    "hmac-sha384": dns.tsig.HMAC_SHA384,
    "hmac-sha512": dns.tsig.HMAC_SHA512,
    "hmac-sha224": dns.tsig.HMAC_SHA224,
    "hmac-sha256-128": dns.tsig.HMAC_SHA256_128,
    "hmac-sha384-192": dns.tsig.HMAC_SHA384_192,
    "hmac-sha512-256": dns.tsig.HMAC_SHA512_256,
    "hmac-sha1": dns.tsig.HMAC_SHA1,
    "hmac-md5": dns.tsig.HMAC_MD5,
    "hmac-md5.sig-alg.reg.int": dns.tsig.HMAC_MD5,
}
"""By the names that users write (RFC 8945 §6). Which of them are permitted is decided where garr-tcs.ini is read."""

UNSIGNED = "the answer is not signed"

_HEADER_OCTETS = 12
_UDP_OCTETS = 512
"""The most that a message without EDNS may have over UDP (RFC 1035 §4.2.1)."""

_LARGEST_OCTETS = 65535
_CONNECT_SECONDS = 5.0
"""For a TCP connection: a host that is up accepts it at once, however long it then takes to answer."""

_NO_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETDOWN})
_QR, _TC = 0x80, 0x02

_SERVERS_TSIG_ERRORS = {
    dns.tsig.PeerBadKey: "BADKEY",
    dns.tsig.PeerBadSignature: "BADSIG",
    dns.tsig.PeerBadTime: "BADTIME",
    dns.tsig.PeerBadTruncation: "BADTRUNC",
}
"""What a server may find wrong with our signature (RFC 8945 §5.2)."""


class NoResponseReason(Enum):
    """Why a server gave no answer."""

    TIMED_OUT = "no answer"
    CLOSED = "connection refused"
    NO_ROUTE = "no route from here"
    BROKEN = "connection broken"

    @property
    def may_have_arrived(self) -> bool:
        """Return whether the server may have read the message all the same."""
        return self in {NoResponseReason.TIMED_OUT, NoResponseReason.BROKEN}


class NoResponseError(DnsError):
    """An address gave no answer. ``what``: what was sent, and to which address."""

    def __init__(self, what: str, reason: NoResponseReason, hint: str = "") -> None:
        super().__init__(f"{what}: {reason.value}", hint)
        self.what = what
        self.reason = reason


class Transport(Protocol):
    """A function that sends one message; tests replace it to simulate a network."""

    def __call__(self, wire: bytes, endpoint: Endpoint, *, timeout_seconds: float, tcp: bool) -> bytes:
        """Return the answer to ``wire``, or raise ``NoResponseError``."""


@dataclass(frozen=True)
class Question:
    """What is asked; ``recursive``: the server may ask others (the RD flag, RFC 1035 §4.1.1)."""

    name: dns.name.Name
    rdtype: dns.rdatatype.RdataType
    recursive: bool = False

    def __str__(self) -> str:
        return f"{dns.rdatatype.to_text(self.rdtype)} of {self.name}"


class Client:
    """Sends DNS messages: UDP first, TCP where that is too small, some retries, TSIG signatures checked."""

    def __init__(self, transport: Transport | None = None) -> None:
        self._transport = transport or send
        self._without_edns: set[Endpoint] = set()

    def query(
        self,
        endpoint: Endpoint,
        question: Question,
        *,
        key: dns.tsig.Key | None = None,
        timeouts_seconds: Sequence[float] = UDP_TIMEOUTS_SECONDS,
    ) -> dns.message.Message:
        """Return the answer, whatever its code is; raise ``DnsError`` where there is none that can be used.

        A server that does not understand EDNS is asked again without (RFC 6891 §7), and from then on.
        """
        what = f"{question} at {endpoint}"
        uses_edns = endpoint not in self._without_edns
        answer, problem = self.exchange(
            what, _query(question, edns=uses_edns), endpoint, key, udp_seconds=timeouts_seconds
        )
        if uses_edns and answer.rcode() in _NO_EDNS:
            answer, problem = self.exchange(
                what, _query(question, edns=False), endpoint, key, udp_seconds=timeouts_seconds
            )
            if answer.rcode() not in _NO_EDNS:
                self._without_edns.add(endpoint)
        if problem:
            raise DnsError(f"{what}: {problem}")
        return answer

    def exchange(  # noqa: PLR0913 - one message, one address, one key, and how long to wait
        self,
        what: str,
        message: dns.message.Message,
        endpoint: Endpoint,
        key: dns.tsig.Key | None,
        *,
        udp_seconds: Sequence[float] = UDP_TIMEOUTS_SECONDS,
        tcp_seconds: float = TCP_TIMEOUT_SECONDS,
    ) -> tuple[dns.message.Message, str]:
        """Return the answer to a query or UPDATE, and what is wrong with its signature (empty: nothing).

        That is the server's TSIG error by its name in RFC 8945 §5.2 (BADKEY, BADSIG, BADTIME, BADTRUNC), or our own
        finding in words. ``what`` names the message in errors: ``NoResponseError``, or ``DnsError`` for an answer
        that cannot be read.
        """
        if key is not None:
            message.use_tsig(key)
        wire = message.to_wire()
        try:
            answer = self._send(wire, endpoint, udp_seconds, tcp_seconds, is_query=message.opcode() == dns.opcode.QUERY)
        except NoResponseError as error:
            raise NoResponseError(what, error.reason) from error
        parsed, is_signed = _parse(answer, what)
        if not message.is_response(parsed):
            raise DnsError(f"{what}: the answer to another question")
        if key is None:
            return parsed, ""
        return parsed, _tsig_problem(answer, message, key) if is_signed else UNSIGNED

    def _send(
        self, wire: bytes, endpoint: Endpoint, udp_seconds: Sequence[float], tcp_seconds: float, *, is_query: bool
    ) -> bytes:
        """Send ``wire`` over UDP, once for each timeout; over TCP where the answer is truncated.

        An UPDATE goes over TCP too where it is too large for UDP, or has no answer. If TCP then is closed, the message
        may still have arrived over UDP, so that reason is reported.
        """
        over_udp: NoResponseError | None = None
        if is_query or len(wire) <= _UDP_OCTETS:
            for timeout_seconds in udp_seconds:
                try:
                    answer = self._transport(wire, endpoint, timeout_seconds=timeout_seconds, tcp=False)
                except NoResponseError as error:
                    if error.reason is not NoResponseReason.TIMED_OUT:
                        raise over_udp or error from error
                    over_udp = error
                    continue
                if not answer[2] & _TC:
                    return answer
                break
            else:
                if is_query and over_udp is not None:
                    raise over_udp
        try:
            return self._transport(wire, endpoint, timeout_seconds=tcp_seconds, tcp=True)
        except NoResponseError as error:
            if over_udp is None or error.reason.may_have_arrived:
                raise
            raise over_udp from error


def _query(question: Question, *, edns: bool) -> dns.message.Message:
    message = dns.message.make_query(question.name, question.rdtype)
    if edns:
        message.use_edns(0, payload=EDNS_OCTETS)
    if not question.recursive:
        message.flags &= ~dns.flags.RD
    return message


def _parse(answer: bytes, what: str) -> tuple[dns.message.Message, bool]:
    """Read an answer, whoever has signed it; return it, and whether it is signed."""
    try:
        parsed = dns.message.from_wire(answer, continue_on_error=True)
    except (dns.exception.DNSException, ValueError) as error:
        raise DnsError(f"{what}: an answer that cannot be read") from error
    for problem in parsed.errors:
        if not isinstance(problem.exception, dns.message.UnknownTSIGKey):
            raise DnsError(f"{what}: an answer that cannot be read") from problem.exception
    return parsed, bool(parsed.errors)


def _tsig_problem(answer: bytes, request: dns.message.Message, key: dns.tsig.Key) -> str:
    """Have dnspython check the signature of an answer; return what is wrong with it, empty where it is good."""
    try:
        dns.message.from_wire(answer, keyring=key, request_mac=request.mac or b"")
    except dns.tsig.PeerError as error:
        name = _SERVERS_TSIG_ERRORS.get(type(error), "BAD TSIG")
        return f"{name}{_clock_difference(answer, request)}" if name == "BADTIME" else name
    except dns.tsig.BadTime:
        return "its signature is too old or too new"
    except dns.exception.DNSException:
        return "its signature is not by our key"
    return ""


def _clock_difference(answer: bytes, request: dns.message.Message) -> str:
    """Return by how much the clocks differ; empty where a BADTIME answer does not have the server's time.

    dnspython does not report it. The time is the TSIG record's Other Data (RFC 8945 §5.2.3): 48 bits behind their
    length in octets, which end that record and the message (§5.1).
    """
    assert request.tsig is not None  # noqa: S101 - BADTIME is the answer to a signed message
    if answer[-8:-6] != b"\x00\x06":
        return ""
    seconds = int.from_bytes(answer[-6:], "big") - int(request.tsig[0].time_signed)
    ahead = "the server's clock is ahead of ours" if seconds > 0 else "our clock is ahead of the server's"
    return f", {ahead} by {abs(seconds)} s"


def send(wire: bytes, endpoint: Endpoint, *, timeout_seconds: float, tcp: bool) -> bytes:
    """Send ``wire`` once and return the answer that has its ID; raise ``NoResponseError``.

    The UDP socket is connected: answers from elsewhere never arrive, and an ICMP "port unreachable" is known at once
    instead of after the timeout. Why not ``dns.query``: it reads the answer as it receives it, and where that has a
    TSIG error there is neither answer code nor the server's time.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        with socket.socket(
            socket.AF_INET6 if endpoint.is_ipv6 else socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        ) as sock:
            sock.settimeout(min(timeout_seconds, _CONNECT_SECONDS))
            sock.connect((endpoint.address, endpoint.port))
            sock.sendall(struct.pack("!H", len(wire)) + wire if tcp else wire)
            while True:
                answer = _receive_stream(sock, deadline) if tcp else _receive(sock, _LARGEST_OCTETS, deadline)
                # The same ID, and QR set (RFC 5452 §9.1): else it is late, or forged.
                if len(answer) >= _HEADER_OCTETS and answer[:2] == wire[:2] and answer[2] & _QR:
                    return answer
    except OSError as error:
        raise NoResponseError(f"{endpoint} ({'TCP' if tcp else 'UDP'})", reason_of(error)) from error


def _receive(sock: socket.socket, octets: int, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)
    return sock.recv(octets)


def _receive_stream(sock: socket.socket, deadline: float) -> bytes:
    """Read one message and the two octets of its length before it (RFC 1035 §4.2.2)."""
    received, wanted = b"", 2
    while len(received) < wanted:
        part = _receive(sock, wanted - len(received), deadline)
        if not part:
            raise ConnectionResetError(errno.ECONNRESET, "closed in the middle of an answer")
        received += part
        if len(received) == 2:  # noqa: PLR2004 - the length
            wanted += int.from_bytes(received, "big")
    return received[2:]


def reason_of(error: OSError) -> NoResponseReason:
    """Return why there is no answer, from an error of the socket."""
    if isinstance(error, (TimeoutError, socket.timeout)):  # two classes before Python 3.10
        return NoResponseReason.TIMED_OUT
    if error.errno == errno.ECONNREFUSED:
        return NoResponseReason.CLOSED
    if error.errno in _NO_ROUTE:
        return NoResponseReason.NO_ROUTE
    return NoResponseReason.TIMED_OUT if error.errno == errno.EHOSTUNREACH else NoResponseReason.BROKEN


def to_key(key: TsigKey) -> dns.tsig.Key:
    """Return dnspython's form of a TSIG key; raise ``ConfigError``, which does not have the secret in it."""
    algorithm = TSIG_ALGORITHMS.get(key.algorithm.rstrip(".").lower())
    if algorithm is None:
        known = ", ".join(sorted(TSIG_ALGORITHMS))
        raise ConfigError(f"unknown TSIG algorithm {key.algorithm!r}", f"Known are: {known}")
    try:
        secret = base64.b64decode("".join(key.secret.split()), validate=True)
        name = dns.name.from_text(key.name)
    except (binascii.Error, ValueError):
        secret = b""
    except dns.exception.DNSException as error:
        raise ConfigError(f"{key.name!r} is no TSIG key name", "Copy it from the server's key statement.") from error
    if not secret:
        raise ConfigError(f"the secret of TSIG key {key.name} is no base64", "Copy it from the server's key statement.")
    return dns.tsig.Key(name, secret, algorithm)


def run_concurrently(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Outcome[Result]]:
    """Call ``function`` on each item, in threads; return its results or ``ChallengeError``, in the items' order.

    Every item has its turn, whatever becomes of the others. Other exceptions are raised.
    """

    def attempt(item: Item) -> Outcome[Result]:
        try:
            return function(item)
        except ChallengeError as error:
            return error

    if len(items) < 2:  # noqa: PLR2004 - one item needs no thread
        return [attempt(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(MOST_THREADS, len(items))) as pool:
        return list(pool.map(attempt, items))


def raise_errors(outcomes: Sequence[Outcome[Result]]) -> list[Result]:
    """Return the results, or raise the errors among them as one."""
    errors = [outcome for outcome in outcomes if isinstance(outcome, ChallengeError)]
    if errors:
        raise join_errors(errors, ChallengeError)
    return [outcome for outcome in outcomes if not isinstance(outcome, ChallengeError)]
