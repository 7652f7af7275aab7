"""Fetch the certificate that a port serves, at once or after STARTTLS.

An attacker may answer there: an attempt has one deadline and one limit of bytes for everything that it reads, the TLS
handshake included.

The commands before TLS are our own code. smtplib, poplib, imaplib and ftplib begin their timeout anew with every read,
nntplib has left Python, and no library that Certbot brings speaks LDAP, XMPP, ManageSieve, MySQL's or PostgreSQL's
protocol.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import ssl
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from certbot_garr_tcs.errors import DeployError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from certbot_garr_tcs.deploy.settings import Probe

_MOST_BYTES = 256 * 1024
"""More than any handshake needs: OpenSSL takes 100 KiB of certificates."""

_CHUNK_BYTES = 16 * 1024

_NO_TLS = "the server offers no TLS"
_PROTOCOL_HINT = "Name the right port in probe, or the right protocol in probe-starttls."


def fetch_certificate(probe: Probe, server_name: str | None, timeout_seconds: float) -> bytes:
    """Return the certificate that is served, as DER; raise DeployError where none is within the time.

    Trust is not checked. Which certificate a server with both an RSA and an ECDSA one chooses is not defined.
    """
    deadline = time.monotonic() + timeout_seconds
    step, hint = "no connection", "Is the service running, and does it listen there? See its log."
    try:
        with _connect(probe.host, probe.port, deadline) as sock:
            peer = _Peer(sock, deadline)
            if probe.starttls:
                step, hint = f"no STARTTLS for {probe.starttls}", _PROTOCOL_HINT
                _DIALOGUES[probe.starttls](peer, server_name or probe.host)
            step, hint = "no TLS handshake", "See the service's log. Does TLS begin at once there (probe-starttls)?"
            return peer.handshake(server_name)
    except (OSError, ValueError) as error:  # ValueError: a name that SNI cannot carry
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise DeployError(f"{step} at {probe.where}: {reason}", hint) from error


# the connection


def _seconds_left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def _resolve(host: str, port: int, deadline: float) -> list[Any]:
    """Call getaddrinfo(3) in a thread, since it has no timeout; after the deadline the thread goes on alone."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_seconds_left(deadline))
    except queue.Empty:
        raise TimeoutError(f"timed out while the address of {host} was looked up") from None
    if isinstance(answer, Exception):
        raise answer
    return list(answer)


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first address that accepts; each gets its share of the time that is left."""
    addresses = _resolve(host, port, deadline)
    refused: OSError = ConnectionError("the name has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # an IPv6 address on a machine without IPv6
            refused = error
            continue
        try:
            sock.settimeout(_seconds_left(deadline) / (len(addresses) - number))
            sock.connect(address)
        except OSError as error:
            refused = error
            sock.close()
        else:
            return sock
    raise refused


class _Peer:
    """The connection to the server: all reads and writes have one deadline, and all reads one limit of bytes."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._read_bytes = 0
        self._unread = bytearray()

    def send(self, data: bytes) -> None:
        self._sock.settimeout(_seconds_left(self._deadline))
        self._sock.sendall(data)

    def read(self, count: int) -> bytes:
        """Return this many bytes."""
        while len(self._unread) < count:
            self._unread += self._receive_clear()
        return self._take(count)

    def read_until(self, pattern: bytes) -> bytes:
        """Return everything up to the end of what matches."""
        while True:
            match = re.search(pattern, self._unread)
            if match:
                return self._take(match.end())
            self._unread += self._receive_clear()

    def handshake(self, server_name: str | None) -> bytes:
        """Make the TLS handshake, and return the peer's certificate.

        Not with an ssl.SSLSocket: OpenSSL then reads as long as bytes arrive, without regard to a deadline.
        """
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = _context().wrap_bio(incoming, outgoing, server_hostname=server_name)
        incoming.write(self._unread)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.send(outgoing.read())
                incoming.write(self._receive())
        with contextlib.suppress(OSError):  # so that the server logs no error
            self.send(outgoing.read())
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.unwrap()
            self.send(outgoing.read())
        return tls.getpeercert(binary_form=True) or b""

    def _take(self, count: int) -> bytes:
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken

    def _receive_clear(self) -> bytes:
        try:
            return self._receive()
        except OSError as error:
            so_far = f" after {_shown(self._unread)}" if self._unread else ""
            raise ConnectionError(f"{error.strerror or error}{so_far}") from error

    def _receive(self) -> bytes:
        self._sock.settimeout(_seconds_left(self._deadline))
        data = self._sock.recv(_CHUNK_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._read_bytes += len(data)
        if self._read_bytes > _MOST_BYTES:
            raise ConnectionError(f"the server sent more than {_MOST_BYTES // 1024} KiB")
        return data


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is compared, and not trusted
    context.set_ciphers("ALL:!aNULL:@SECLEVEL=0")
    return context


# the commands before TLS


def _shown(data: bytes | bytearray) -> str:
    return repr(printable(bytes(data[:400]).decode("ascii", "replace"), 80))


def _unexpected(answer: bytes) -> ConnectionError:
    return ConnectionError(f"the server answered {_shown(answer)}")


_CODE = rb"\d{3}(?!-)"  # the last line of a reply has no dash behind its code
_LINES: dict[str, tuple[tuple[bytes, bytes, bytes], ...]] = {
    # RFC 3207 (replies: RFC 5321 §4.2.1)
    "smtp": ((b"", _CODE, b"220"), (b"EHLO localhost", _CODE, b"250"), (b"STARTTLS", _CODE, b"220")),
    # RFC 2033 §4.1, otherwise as SMTP
    "lmtp": ((b"", _CODE, b"220"), (b"LHLO localhost", _CODE, b"250"), (b"STARTTLS", _CODE, b"220")),
    # RFC 4217 §4 (replies: RFC 959 §4.2)
    "ftp": ((b"", _CODE, b"220"), (b"AUTH TLS", _CODE, b"234")),
    # RFC 4642 §2.2
    "nntp": ((b"", _CODE, b"20[01]"), (b"STARTTLS", _CODE, b"382")),
    # RFC 2595 §4
    "pop3": ((b"", rb"", rb"\+OK"), (b"STLS", rb"", rb"\+OK")),
    # RFC 9051 §6.2.1
    "imap": ((b"", rb"", rb"\* OK"), (b"a1 STARTTLS", rb"a1 |\* BYE", b"a1 OK")),
    # RFC 5804 §2.2
    "sieve": ((b"", b"OK|NO|BYE", b"OK"), (b"STARTTLS", b"OK|NO|BYE", b"OK")),
}
"""Protocols of lines: what we send, the beginning of an answer's last line, and its beginning where it is positive."""


def _line_dialogue(steps: Iterable[tuple[bytes, bytes, bytes]], peer: _Peer, _: str) -> None:
    for words, last, agreed in steps:
        if words:
            peer.send(words + b"\r\n")
        line = peer.read_until(rb"\n")
        while not re.match(last, line, re.IGNORECASE):
            line = peer.read_until(rb"\n")
        if not re.match(agreed, line, re.IGNORECASE):
            raise _unexpected(line)


def _ldap(peer: _Peer, _: str) -> None:
    """Ask for StartTLS (RFC 4511 §4.14); the answer's ``resultCode`` must be 0."""
    peer.send(bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037")
    head = peer.read(2)
    if head[0] != 0x30:  # noqa: PLR2004 - SEQUENCE
        raise _unexpected(head)
    size = int.from_bytes(peer.read(head[1] & 0x7F), "big") if head[1] & 0x80 else head[1]
    body = peer.read(size)
    response = body.find(b"\x78")  # [APPLICATION 24] ExtendedResponse; the message ID before it is 1
    result = body.find(b"\x0a\x01", response)  # ENUMERATED, one byte
    if response < 0 or result < 0 or body[result + 2 : result + 3] != b"\x00":
        raise _unexpected(body)


def _postgres(peer: _Peer, _: str) -> None:
    """Send an SSLRequest (PostgreSQL manual, Message Formats); the answer is S or N."""
    peer.send(bytes.fromhex("0000000804d2162f"))
    answer = peer.read(1)
    if answer != b"S":
        raise _unexpected(answer)


def _mysql(peer: _Peer, _: str) -> None:
    """Answer the server's greeting with an SSLRequest (MariaDB's and MySQL's manual, Connection Phase)."""
    greeting = peer.read(int.from_bytes(peer.read(4)[:3], "little"))
    after_version = greeting[1:].partition(b"\x00")[2]
    flags = int.from_bytes(after_version[13:15], "little")  # after connection ID, 8 bytes of scramble, and a filler
    if greeting[:1] != b"\x0a":  # an error, or another version of the protocol
        raise _unexpected(greeting)
    if not flags & 0x0800:  # CLIENT_SSL
        raise ConnectionError(_NO_TLS)
    ours = 0x8A00  # CLIENT_SECURE_CONNECTION, CLIENT_SSL, CLIENT_PROTOCOL_41
    payload = ours.to_bytes(4, "little") + (1 << 24).to_bytes(4, "little") + bytes([33]) + bytes(23)
    peer.send(len(payload).to_bytes(3, "little") + b"\x01" + payload)


def _xmpp(peer: _Peer, server_name: str, stream: str = "jabber:client") -> None:
    """Open a stream to a domain, and ask for STARTTLS (RFC 6120 §4.3.2 and §5.4)."""
    to = quoteattr(server_name)
    peer.send(
        f"<?xml version='1.0'?><stream:stream to={to} version='1.0' xmlns='{stream}' "
        "xmlns:stream='http://etherx.jabber.org/streams'>".encode()
    )
    features = peer.read_until(rb"</stream:features>|<stream:features/>|</stream:stream>")
    error = features.find(b"<stream:error")
    if error >= 0:  # host-unknown, for example
        raise _unexpected(features[error:])
    if b"urn:ietf:params:xml:ns:xmpp-tls" not in features:
        raise ConnectionError(_NO_TLS)
    peer.send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    answer = peer.read_until(rb"<(?:proceed|failure)[^<>]*/>|</(?:proceed|failure|stream:stream)>")
    if b"<proceed" not in answer:
        raise _unexpected(answer)


_DIALOGUES: dict[str, Callable[[_Peer, str], None]] = {
    **{protocol: partial(_line_dialogue, steps) for protocol, steps in _LINES.items()},
    "ldap": _ldap,
    "postgres": _postgres,
    "mysql": _mysql,
    "mariadb": _mysql,
    "xmpp": _xmpp,
    "xmpp-server": partial(_xmpp, stream="jabber:server"),
}
