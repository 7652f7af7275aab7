"""Find records by asking: the server that the user named first, then this machine's resolvers."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

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
    from collections.abc import Callable, Iterable, Iterator

    _Answer = Union[dns.message.Message, DnsError]

_USABLE = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})
_NO_RESOLVER = "Name the zone's primary as server in the [dns-01] section, or mend /etc/resolv.conf."
_MOST_UNANSWERED = 2
"""Questions that a resolver that never answers is asked."""

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
    """Answer questions, each sent once to each server: a hundred names in one zone share what is above them."""

    def __init__(self, client: Client, surroundings: Surroundings) -> None:
        """Start with nothing known."""
        self._client = client
        self._surroundings = surroundings
        self._answers: dict[tuple[Endpoint, Question, dns.name.Name | None], Future[_Answer]] = {}
        self._unanswered: Counter[tuple[Endpoint, bool]] = Counter()
        self._heard: set[Endpoint] = set()
        self._hosts: dict[str, list[str]] = {}
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
        failed: DnsError | None = None
        for answer in self._ask_source(Question(name, rdtype), source):
            if isinstance(answer, DnsError):
                failed = failed or answer
            elif answer.flags & dns.flags.AA and answer.rcode() in _USABLE:
                return answer
        question = Question(name, rdtype, recursive=True)
        for endpoint in self._surroundings.resolvers:
            answer = self._ask_endpoint(endpoint, question, None)
            if isinstance(answer, DnsError):
                failed = failed or answer
            elif answer.rcode() in _USABLE:
                return answer
            else:
                code = dns.rcode.to_text(answer.rcode())
                failed = failed or DnsError(f"{question} at {endpoint}: {code}", _RESOLVER_FAILED)
        raise failed or DnsError(f"{question}: nobody to ask", _NO_RESOLVER)

    def ask_source(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, source: Source
    ) -> dns.message.Message | None:
        """Return what the source alone says: an authoritative answer, or a referral to servers that know.

        ``None`` where it says neither. No resolver is asked.
        """
        for answer in self._ask_source(Question(name, rdtype), source):
            if (
                not isinstance(answer, DnsError)
                and answer.rcode() in _USABLE
                and (answer.flags & dns.flags.AA or is_referral(answer))
            ):
                return answer
        return None

    def endpoints(self, server: Server, source: Source, *, hosts_first: bool = False) -> tuple[Endpoint, ...]:
        """Return the addresses of a server, IPv4 first; none where nobody knows it.

        ``hosts_first``: as for any program of this machine, /etc/hosts is asked before the DNS. That suits
        a server that the user named. A zone's name servers are looked up in the DNS first, as the CA does.
        """
        port = server.port or self.port
        if server.is_address:
            return (Endpoint(server.host, port),)
        found = self._addresses_of_machine(server) if hosts_first else []
        found = found or self._addresses_in_dns(server, source) or self._addresses_of_machine(server)
        return tuple(Endpoint(address, port, server.host.rstrip(".")) for address in dict.fromkeys(found))

    def _addresses_of_machine(self, server: Server) -> list[str]:
        if server.host not in self._hosts:
            found = self._surroundings.hosts(server.host)
            self._hosts[server.host] = sorted(found, key=lambda address: ":" in address)
        return self._hosts[server.host]

    def _addresses_in_dns(self, server: Server, source: Source) -> list[str]:
        host = dns.name.from_text(server.host)
        found: list[str] = []
        for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                answer = self.ask(host, rdtype, source)
            except DnsError:
                continue
            found += [rdata.to_text() for rrset in answer.answer if rrset.rdtype == rdtype for rdata in rrset]
        return found

    def _ask_source(self, question: Question, source: Source) -> Iterator[_Answer]:
        """Yield what each server of the source answers: all of them without the key first."""
        for key in (None, source.key) if source.key else (None,):
            for endpoint in source.endpoints:
                yield self._ask_endpoint(endpoint, question, key)

    def _ask_endpoint(self, endpoint: Endpoint, question: Question, key: dns.tsig.Key | None) -> _Answer:
        """Return the answer or the error, of the one time that this was asked."""
        asked = (endpoint, question, key.name if key else None)
        with self._lock:
            known = self._answers.get(asked)
            mine: Future[_Answer] | None = None
            if known is None:
                known = self._answers[asked] = mine = Future()
        if mine is not None:
            try:
                mine.set_result(self._try(endpoint, question, key))
            except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it, as we do
                mine.set_exception(error)
        return known.result()

    def _try(self, endpoint: Endpoint, question: Question, key: dns.tsig.Key | None) -> _Answer:
        """Return the answer or the error; do not wait again and again for a server that stays silent.

        A resolver may be silent about one name, whose servers it does not reach, and answer for others.
        """
        unanswered = self._unanswered[endpoint, question.recursive]
        if unanswered and not (question.recursive and (unanswered < _MOST_UNANSWERED or endpoint in self._heard)):
            return DnsError(f"{question} at {endpoint}: no answer", _SILENT)
        try:
            answer = self._client.query(endpoint, question, key=key)
        except NoAnswerError as error:
            self._unanswered[endpoint, question.recursive] += 1
            return DnsError(error.message, _SILENT)
        except DnsError as error:
            return error
        self._heard.add(endpoint)
        return answer


def is_referral(answer: dns.message.Message) -> bool:
    """Tell whether a server that is not authoritative names those that are (RFC 1034 §4.3.1)."""
    return (
        not answer.flags & dns.flags.AA
        and not answer.answer
        and any(rrset.rdtype == dns.rdatatype.NS for rrset in answer.authority)
    )
