"""A resolver: asks the server that the user named first, then the recursive resolvers of this machine."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig

from certbot_garr_tcs.challenges.dns.client import USABLE_RCODES, Client, NoResponseError, Question
from certbot_garr_tcs.challenges.dns.endpoints import DNS_PORT, Endpoint, Server
from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    _Answer = Union[dns.message.Message, DnsError]

_NO_RESOLVER = "Name the zone's primary as server in the [dns-01] section, or correct /etc/resolv.conf."
_NO_ANSWER = "Is that server running, and are UDP and TCP to it open from here?"
_RESOLVER_FAILED = "Ask the same with dig: a CA, which validates DNSSEC, may get the same answer."

_MOST_UNANSWERED = 2
"""Questions that a recursive resolver is asked before it counts as down, if it has never answered any."""


@dataclass(frozen=True)
class ResolverConfig:
    """What this machine uses: its recursive resolvers, its hosts file, the port of name servers."""

    resolvers: tuple[Endpoint, ...] = ()
    hosts: Callable[[str], Iterable[str]] = lambda _host: ()
    port: int = DNS_PORT


@dataclass(frozen=True)
class PreferredServer:
    """The server to ask first, without the key and then with it; none where ``endpoints`` is empty."""

    endpoints: tuple[Endpoint, ...] = ()
    key: dns.tsig.Key | None = field(default=None, compare=False, repr=False)


def system_resolver_config() -> ResolverConfig:
    """Read this machine's /etc/resolv.conf; where there is none, there are no resolvers."""
    import dns.resolver  # noqa: PLC0415 - slow to import, and not needed where the tests give their own

    try:
        system = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return ResolverConfig((), _addresses_by_libc)
    addresses = [address for address in system.nameservers if isinstance(address, str)]
    return ResolverConfig(tuple(Endpoint(address, system.port) for address in addresses), _addresses_by_libc)


def _addresses_by_libc(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Answers questions from the DNS, each sent once to each server: names of one zone share what is above them."""

    def __init__(self, client: Client, config: ResolverConfig) -> None:
        self._client = client
        self._config = config
        self._answers: dict[tuple[Endpoint, Question, dns.name.Name | None], Future[_Answer]] = {}
        self._unanswered: Counter[tuple[Endpoint, bool]] = Counter()
        self._has_answered: set[Endpoint] = set()
        self._hosts: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Return the port of name servers where none is given."""
        return self._config.port

    def query(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, preferred: PreferredServer
    ) -> dns.message.Message:
        """Return an answer that says yes or no; raise ``DnsError`` where no server gives one.

        The preferred server is trusted only where it is authoritative (AA): any other answer may be a referral, or
        come from a view of its own, and the recursive resolvers are asked.
        """
        failed: DnsError | None = None
        for answer in self._ask_preferred(Question(name, rdtype), preferred):
            if isinstance(answer, DnsError):
                failed = failed or answer
            elif answer.flags & dns.flags.AA and answer.rcode() in USABLE_RCODES:
                return answer
        question = Question(name, rdtype, recursive=True)
        for endpoint in self._config.resolvers:
            answer = self._ask_once(endpoint, question, None)
            if isinstance(answer, DnsError):
                failed = failed or answer
            elif answer.rcode() in USABLE_RCODES:
                return answer
            else:
                code = dns.rcode.to_text(answer.rcode())
                failed = failed or DnsError(f"{question} at {endpoint}: {code}", _RESOLVER_FAILED)
        raise failed or DnsError(f"{question}: nobody to ask", _NO_RESOLVER)

    def query_preferred(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, preferred: PreferredServer
    ) -> dns.message.Message | None:
        """Return the preferred server's authoritative answer, or its referral; ``None`` where it gives neither."""
        for answer in self._ask_preferred(Question(name, rdtype), preferred):
            if (
                not isinstance(answer, DnsError)
                and answer.rcode() in USABLE_RCODES
                and (answer.flags & dns.flags.AA or is_referral(answer))
            ):
                return answer
        return None

    def addresses(
        self, server: Server, preferred: PreferredServer, *, hosts_first: bool = False
    ) -> tuple[Endpoint, ...]:
        """Return the addresses of a server, IPv4 first; none where its name leads to none.

        ``hosts_first``: /etc/hosts is asked before the DNS, as for any program of this machine. That suits a server
        that the user named. A zone's name servers are looked up in the DNS first, as the CA does.
        """
        port = server.port or self.port
        if server.is_address:
            return (Endpoint(server.host, port),)
        found = self._addresses_by_hosts(server) if hosts_first else []
        found = found or self._addresses_by_dns(server, preferred) or self._addresses_by_hosts(server)
        return tuple(Endpoint(address, port, server.host.rstrip(".")) for address in dict.fromkeys(found))

    def _addresses_by_hosts(self, server: Server) -> list[str]:
        if server.host not in self._hosts:
            found = self._config.hosts(server.host)
            self._hosts[server.host] = sorted(found, key=lambda address: ":" in address)
        return self._hosts[server.host]

    def _addresses_by_dns(self, server: Server, preferred: PreferredServer) -> list[str]:
        host = dns.name.from_text(server.host)
        found: list[str] = []
        for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            try:
                answer = self.query(host, rdtype, preferred)
            except DnsError:
                continue
            found += [rdata.to_text() for rrset in answer.answer if rrset.rdtype == rdtype for rdata in rrset]
        return found

    def _ask_preferred(self, question: Question, preferred: PreferredServer) -> Iterator[_Answer]:
        """Yield each answer: from all addresses without the key first."""
        for key in (None, preferred.key) if preferred.key else (None,):
            for endpoint in preferred.endpoints:
                yield self._ask_once(endpoint, question, key)

    def _ask_once(self, endpoint: Endpoint, question: Question, key: dns.tsig.Key | None) -> _Answer:
        """Return the answer or the error; a thread that asks the same waits for the first one's."""
        asked = (endpoint, question, key.name if key else None)
        with self._lock:
            known = self._answers.get(asked)
            first: Future[_Answer] | None = None
            if known is None:
                known = self._answers[asked] = first = Future()
        if first is not None:
            try:
                first.set_result(self._ask(endpoint, question, key))
            except BaseException as error:  # noqa: BLE001 - raised in all threads that wait for it, and here
                first.set_exception(error)
        return known.result()

    def _ask(self, endpoint: Endpoint, question: Question, key: dns.tsig.Key | None) -> _Answer:
        """Return the answer or the error; do not wait again and again for a server that gives no answer.

        A resolver may give none about one name, whose servers it does not reach, and answer about others.
        """
        unanswered = self._unanswered[endpoint, question.recursive]
        is_tried_again = question.recursive and (unanswered < _MOST_UNANSWERED or endpoint in self._has_answered)
        if unanswered and not is_tried_again:
            return DnsError(f"{question} at {endpoint}: no answer", _NO_ANSWER)
        try:
            answer = self._client.query(endpoint, question, key=key)
        except NoResponseError as error:
            self._unanswered[endpoint, question.recursive] += 1
            return DnsError(error.message, _NO_ANSWER)
        except DnsError as error:
            return error
        self._has_answered.add(endpoint)
        return answer


def is_referral(answer: dns.message.Message) -> bool:
    """Return whether a server that is not authoritative names those that are (RFC 1034 §4.3.1)."""
    return (
        not answer.flags & dns.flags.AA
        and not answer.answer
        and any(rrset.rdtype == dns.rdatatype.NS for rrset in answer.authority)
    )
