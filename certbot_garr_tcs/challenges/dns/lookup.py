"""Find records by asking: the server that the user named first, then this machine's resolvers."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig

from certbot_garr_tcs.challenges.dns.client import Client, Question
from certbot_garr_tcs.challenges.dns.endpoints import DNS_PORT, Endpoint, Server
from certbot_garr_tcs.challenges.dns.transport import NoAnswerError
from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_USABLE = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})
_NO_RESOLVER = "Name the zone's primary as server in the [dns-01] section, or mend /etc/resolv.conf."
_SILENT = "Is that server running, and are UDP and TCP to it open from here?"
_RESOLVER_FAILED = "Ask the same with dig: a CA, which validates DNSSEC, may well see what we saw."


@dataclass(frozen=True)
class Surroundings:
    """Say what is around this machine: its resolvers, its hosts file, the port of name servers."""

    resolvers: tuple[Endpoint, ...] = ()
    hosts: Callable[[str], Iterable[str]] = lambda _host: ()
    port: int = DNS_PORT


@dataclass(frozen=True)
class Source:
    """Name the server to ask first, which knows its zones better than any resolver does."""

    endpoints: tuple[Endpoint, ...] = ()
    key: dns.tsig.Key | None = field(default=None, compare=False, repr=False)


def system_surroundings() -> Surroundings:
    """Read this machine's /etc/resolv.conf; where there is none, there are no resolvers."""
    import dns.resolver  # noqa: PLC0415 - slow to import, and not needed where the tests give their own

    try:
        system = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return Surroundings((), _addresses_by_libc)
    addresses = [address for address in system.nameservers if isinstance(address, str)]
    return Surroundings(tuple(Endpoint(address, system.port) for address in addresses), _addresses_by_libc)


def _addresses_by_libc(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Lookup:
    """Answer questions, each asked once: a hundred names in one zone share what is above them."""

    def __init__(self, client: Client, surroundings: Surroundings) -> None:
        """Start with nothing known."""
        self._client = client
        self._surroundings = surroundings
        self._asked: dict[tuple[Source, dns.name.Name, int], Future[dns.message.Message]] = {}
        self._silent: set[Endpoint] = set()
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Return the port of name servers where none is given."""
        return self._surroundings.port

    def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, source: Source) -> dns.message.Message:
        """Return an answer that says yes or no; raise ``DnsError`` where nobody does.

        The source is believed only where it is authoritative (AA): elsewhere it may be a view, a
        referral or a refusal, and the resolvers are asked.
        """
        with self._lock:
            known = self._asked.get((source, name, rdtype))
            mine: Future[dns.message.Message] | None = None
            if known is None:
                known = mine = Future()
                self._asked[source, name, rdtype] = mine
        if mine is not None:
            try:
                mine.set_result(self._ask(Question(name, rdtype), source))
            except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it, as we do
                mine.set_exception(error)
        return known.result()

    def endpoints(self, server: Server, source: Source) -> tuple[Endpoint, ...]:
        """Return the addresses of a server, IPv4 first; none where nobody knows it."""
        port = server.port or self.port
        if server.is_address:
            return (Endpoint(server.host, port),)
        host = dns.name.from_text(server.host)
        found: list[str] = []
        for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                answer = self.ask(host, rdtype, source)
            except DnsError:
                continue
            found += [rdata.to_text() for rrset in answer.answer if rrset.rdtype == rdtype for rdata in rrset]
        if not found:
            found = sorted(self._surroundings.hosts(server.host), key=lambda address: ":" in address)
        return tuple(Endpoint(address, port, server.host.rstrip(".")) for address in dict.fromkeys(found))

    def _ask(self, question: Question, source: Source) -> dns.message.Message:
        failed: DnsError | None = None
        for key in (None, source.key) if source.key else (None,):
            for endpoint in source.endpoints:
                answer = self._try(endpoint, question, key)
                if isinstance(answer, DnsError):
                    failed = failed or answer
                elif answer.flags & dns.flags.AA and answer.rcode() in _USABLE:
                    return answer
        recursive = Question(question.name, question.rdtype, recursive=True)
        for endpoint in self._surroundings.resolvers:
            answer = self._try(endpoint, recursive, None)
            if isinstance(answer, DnsError):
                failed = failed or answer
            elif answer.rcode() in _USABLE:
                return answer
            else:
                code = dns.rcode.to_text(answer.rcode())
                failed = failed or DnsError(f"{recursive} at {endpoint}: {code}", _RESOLVER_FAILED)
        raise failed or DnsError(f"{question}: nobody to ask", _NO_RESOLVER)

    def _try(self, endpoint: Endpoint, question: Question, key: dns.tsig.Key | None) -> dns.message.Message | DnsError:
        """Return the answer or the error; do not wait twice for a server that stays silent."""
        if endpoint in self._silent:
            return DnsError(f"{question} at {endpoint}: no answer", _SILENT)
        try:
            return self._client.query(endpoint, question, key=key)
        except NoAnswerError as error:
            self._silent.add(endpoint)
            return DnsError(error.message, _SILENT)
        except DnsError as error:
            return error
