"""A DNS server on a real socket, declared as a table of questions and answers."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Optional

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint as EndpointClass

    Reply = Callable[["FakeDns", dns.message.Message, bool], Optional[dns.message.Message]]

LOOPBACK = "127.0.0.1"


def says(*records: str, authority: str = "", aa: bool = True, rcode: str = "NOERROR") -> Reply:
    """Answer with records, each ``name ttl type data``; the same for TCP and UDP."""

    def reply(_: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message:
        del tcp
        answer = dns.message.make_response(query)
        if aa:
            answer.flags |= dns.flags.AA
        answer.set_rcode(dns.rcode.from_text(rcode))
        answer.answer += [_rrset(line) for line in records]
        if authority:
            answer.authority.append(_rrset(authority))
        return answer

    return reply


def nothing(zone: str, rcode: str = "NXDOMAIN") -> Reply:
    """Answer, with authority, that there is nothing; the SOA tells the zone (RFC 2308)."""
    return says(authority=soa(zone), rcode=rcode)


def fails(rcode: str) -> Reply:
    """Answer with a code and nothing else."""
    return says(rcode=rcode, aa=False)


def lame(_: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message:
    """Answer without authority, and without records."""
    del tcp
    return dns.message.make_response(query)


def silent(*_: object) -> None:
    """Give no answer."""


def from_wildcard(target: str) -> Reply:
    """Answer any question with a CNAME that a wildcard makes up for the name asked about (RFC 4592)."""

    def reply(server: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message | None:
        return says(f"{query.question[0].name} 60 CNAME {target}")(server, query, tcp)

    return reply


def without_edns(plain: Reply, rcode: str = "FORMERR") -> Reply:
    """Answer as a server that does not know EDNS: with a code alone where there is an OPT record."""

    def reply(server: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message | None:
        if query.edns < 0:
            return plain(server, query, tcp)
        answer = dns.message.make_response(query)
        answer.use_edns(-1)
        answer.set_rcode(dns.rcode.from_text(rcode))
        return answer

    return reply


def refers_to(zone: str, *servers: str, glue: tuple[str, ...] = ()) -> Reply:
    """Refer, without authority, to the name servers of a zone below; ``glue`` are their address records."""

    def reply(_: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message:
        del tcp
        answer = dns.message.make_response(query)
        answer.authority += [_rrset(f"{zone} 60 NS {server}") for server in servers]
        answer.additional += [_rrset(line) for line in glue]
        return answer

    return reply


def truncated(whole: Reply) -> Reply:
    """Answer over UDP with nothing but TC, over TCP in full."""

    def reply(server: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message | None:
        if tcp:
            return whole(server, query, tcp)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.TC | dns.flags.AA
        return answer

    return reply


def first(once: Reply, then: Reply) -> Reply:
    """Answer differently the first time."""
    asked = []

    def reply(server: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message | None:
        asked.append(query)
        return (once if len(asked) == 1 else then)(server, query, tcp)

    return reply


def applies(server: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message:
    """Do what an UPDATE says to the server's TXT values."""
    del tcp
    assert isinstance(query, dns.update.UpdateMessage)
    for rrset in query.update:
        values = {b"".join(rdata.strings).decode() for rdata in rrset}
        shown = server.txt.setdefault(rrset.name, set())
        if rrset.deleting == dns.rdataclass.NONE:
            shown -= values
        else:
            assert rrset.deleting is None, "a whole RRset was deleted"
            shown |= values
    return dns.message.make_response(query)


def shows_txt(server: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message:
    """Answer with the TXT values that UPDATEs have left."""
    name = query.question[0].name
    lines = [f'{name} 60 TXT "{value}"' for value in sorted(server.txt.get(name, ()))]
    return says(*lines)(server, query, tcp)


def tsig_error(error: str, *, ahead_seconds: int = 0, rcode: str = "NOTAUTH") -> Reply:
    """Complain about the signature as RFC 8945 §5.2 says, unsigned except for BADTIME."""

    def reply(server: FakeDns, query: dns.message.Message, tcp: bool) -> dns.message.Message:
        del tcp
        signed_at = query.tsig[0].time_signed
        answer = dns.message.make_response(query)
        answer.set_rcode(dns.rcode.from_text(rcode))
        number = {"BADSIG": 16, "BADKEY": 17, "BADTIME": 18, "BADTRUNC": 22}[error]
        other = (signed_at + ahead_seconds).to_bytes(6, "big") if error == "BADTIME" else b""
        answer.use_tsig(server.key, tsig_error=number, other_data=other)
        server.sign_at = signed_at
        return answer

    return reply


def soa(zone: str, primary: str = "ns1") -> str:
    """Write an SOA record."""
    return f"{zone} 60 SOA {primary}.{zone.lstrip('.')} hostmaster.{zone.lstrip('.')} 1 3600 600 86400 5"


class FakeDns:
    """Answer the questions of ``table`` on a free loopback port; a question that is not there is an error.

    Keys are ``(name, type)``, names with or without the last dot; an UPDATE is ``(zone, "UPDATE")``. A key
    ``*.name`` is for every name one label longer that has no key of its own.
    ``txt`` holds what UPDATEs left; ``asked`` counts questions, ``updates`` keeps UPDATEs.
    """

    def __init__(
        self,
        table: Mapping[tuple[str, str], Reply],
        *,
        key: dns.tsig.Key | None = None,
        address: str = LOOPBACK,
        port: int = 0,
    ) -> None:
        self.table = {(_name(name), rdtype): reply for (name, rdtype), reply in table.items()}
        self.key = key
        self.txt: dict[dns.name.Name, set[str]] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.updates: list[dns.message.Message] = []
        self.unknown: list[str] = []
        self.sign_at: int | None = None
        self._ending = threading.Event()
        self._tcp, self._udp = _two_sockets(address, port)
        self.address = address
        self.port = self._udp.getsockname()[1]
        self._threads = [
            threading.Thread(target=self._serve_udp, daemon=True),
            threading.Thread(target=self._serve_tcp, daemon=True),
        ]

    @property
    def endpoint(self) -> EndpointClass:
        """Return where it is, as our own code writes it."""
        from certbot_garr_tcs.challenges.dns.endpoints import Endpoint  # noqa: PLC0415 - keeps fakes light

        return Endpoint(self.address, self.port)

    @property
    def server(self) -> str:
        """Write where it is as ``server`` of a section."""
        return f"{self.address}:{self.port}"

    def __enter__(self) -> FakeDns:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()
        if kind is None:
            assert not self.unknown, f"questions that nobody expected: {self.unknown}"

    def _serve_udp(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(socket.timeout):
                wire, sender = self._udp.recvfrom(65535)
                answer = self._answer(wire, tcp=False)
                if answer is not None:
                    self._udp.sendto(answer, sender)

    def _serve_tcp(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(socket.timeout):
                connection, _ = self._tcp.accept()
                with connection:
                    connection.settimeout(2)
                    (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
                    answer = self._answer(connection.recv(length, socket.MSG_WAITALL), tcp=True)
                    if answer is not None:
                        connection.sendall(struct.pack("!H", len(answer)) + answer)

    def _answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(wire, keyring=self.key, continue_on_error=True)
        is_update = query.opcode() == dns.opcode.UPDATE
        question = query.zone[0] if isinstance(query, dns.update.UpdateMessage) else query.question[0]
        rdtype = "UPDATE" if is_update else dns.rdatatype.to_text(question.rdtype)
        self.asked[question.name.to_text(), rdtype] += 1
        if is_update:
            self.updates.append(query)
        reply = self.table.get((question.name, rdtype)) or self.table.get((_beside(question.name), rdtype))
        if reply is None:
            self.unknown.append(f"{rdtype} of {question.name}")
            return dns.message.make_response(query).to_wire()
        answer = reply(self, query, tcp)
        return None if answer is None else answer.to_wire(max_size=65535)


def _rrset(line: str) -> dns.rrset.RRset:
    name, ttl, rdtype, data = line.split(" ", 3)
    return dns.rrset.from_text(_name(name), int(ttl), "IN", rdtype, data)


def _beside(name: dns.name.Name) -> dns.name.Name:
    return name if name == dns.name.root else dns.name.Name((b"*", *name.labels[1:]))


def _name(text: str) -> dns.name.Name:
    return dns.name.from_text(text)


def _two_sockets(address: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Return a listening TCP and a UDP socket with one port."""
    for _ in range(50):
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address, port))
            udp.bind((address, tcp.getsockname()[1]))
        except OSError:
            tcp.close()
            udp.close()
            time.sleep(0.01)
            continue
        tcp.listen()
        tcp.settimeout(0.01)
        udp.settimeout(0.01)
        return tcp, udp
    raise AssertionError(f"no port for both UDP and TCP on {address}")
