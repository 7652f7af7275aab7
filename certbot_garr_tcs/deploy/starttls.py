"""Speak the few words in clear after which a protocol begins TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    import socket

_LONGEST_LINE_BYTES = 4096
_MOST_LINES = 100
_LDAP_REQUEST = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
_POSTGRES_REQUEST = bytes.fromhex("0000000804d2162f")


def starttls(protocol: str, sock: socket.socket) -> None:
    """Bring a connection to the point where the TLS handshake begins.

    smtp: RFC 3207; imap: RFC 9051 §6.2.1; ldap: RFC 4511 §4.14; postgres: SSLRequest of its protocol 3.0.
    """
    {"smtp": _smtp, "imap": _imap, "ldap": _ldap, "postgres": _postgres}[protocol](sock)


def _unexpected(protocol: str, answer: bytes) -> DeployError:
    shown = answer[:80].decode("ascii", "replace")
    return DeployError(
        f"no STARTTLS for {protocol}: the server answered {shown!r}",
        "Name the right port, or the right protocol in probe-starttls.",
    )


def _line(sock: socket.socket, protocol: str) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = sock.recv(1)  # not a byte more: what follows belongs to TLS
        line += byte
        if not byte or len(line) > _LONGEST_LINE_BYTES:
            raise _unexpected(protocol, line)
    return line.rstrip()


def _smtp_answer(sock: socket.socket, code: bytes) -> list[bytes]:
    lines = []
    for _ in range(_MOST_LINES):
        line = _line(sock, "smtp")
        lines.append(line[4:].upper())
        if line[:3] != code:
            raise _unexpected("smtp", line)
        if line[3:4] != b"-":
            return lines
    raise _unexpected("smtp", b"no end")


def _smtp(sock: socket.socket) -> None:
    _smtp_answer(sock, b"220")
    sock.sendall(b"EHLO localhost\r\n")
    offered = _smtp_answer(sock, b"250")
    if b"STARTTLS" not in offered:
        raise _unexpected("smtp", b" ".join(offered))
    sock.sendall(b"STARTTLS\r\n")
    _smtp_answer(sock, b"220")


def _imap(sock: socket.socket) -> None:
    greeting = _line(sock, "imap")
    if not greeting.startswith(b"* OK"):
        raise _unexpected("imap", greeting)
    sock.sendall(b"a1 STARTTLS\r\n")
    for _ in range(_MOST_LINES):
        line = _line(sock, "imap")
        if line.startswith(b"a1 "):
            if line[3:5].upper() == b"OK":
                return
            raise _unexpected("imap", line)
    raise _unexpected("imap", b"no end")


def _exactly(sock: socket.socket, count: int, protocol: str) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        data += more
        if not more:
            raise _unexpected(protocol, data)
    return data


def _ldap(sock: socket.socket) -> None:
    sock.sendall(_LDAP_REQUEST)
    head = _exactly(sock, 2, "ldap")
    extra = head[1] & 0x7F if head[1] & 0x80 else 0
    if head[0] != 0x30 or extra > 2:  # noqa: PLR2004 - longer than 64 KiB is no answer to this
        raise _unexpected("ldap", head)
    size = int.from_bytes(_exactly(sock, extra, "ldap"), "big") if extra else head[1]
    body = _exactly(sock, size, "ldap")
    response = body.find(b"\x78")  # [APPLICATION 24] ExtendedResponse; the message ID before it is 1
    result = body.find(b"\x0a\x01", response)  # resultCode ENUMERATED, one byte
    if response < 0 or result < 0 or body[result + 2 : result + 3] != b"\x00":
        raise _unexpected("ldap", body)


def _postgres(sock: socket.socket) -> None:
    sock.sendall(_POSTGRES_REQUEST)
    answer = _exactly(sock, 1, "postgres")
    if answer != b"S":
        raise _unexpected("postgres", answer)
