"""Find where the TXT record of an identifier belongs: behind which CNAMEs, in which zone, updated with which key."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype
import dns.tsig

from certbot_garr_tcs.challenges.dns.client import raise_errors, run_concurrently, to_key
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server, parse_server
from certbot_garr_tcs.challenges.dns.resolver import PreferredServer, Resolver, is_referral
from certbot_garr_tcs.challenges.routing import best_section
from certbot_garr_tcs.challenges.settings import DNS_01, DelegateSettings, Rfc2136Settings, SolverSection
from certbot_garr_tcs.errors import ChallengeError, ConfigError, DnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

MOST_CNAMES = 16
"""Resolvers give up after about as many; RFC 1034 §3.6.2 asks for none at all."""

_MOST_CHARACTERS = 253
"""Of a name as written, without the last dot: 255 octets in a message."""

_MOST_TRIED = 4
"""Addresses of a zone's name servers; where port 53 is closed, each costs three seconds."""

_TWO_LABELS = 3
"""Of a name, and the root's: the SOA of "it" does not help to find the zone of example.it."""

_PREFIX = dns.name.from_text("_acme-challenge", origin=None)
_OTHER_LOOKUP = "Correct the zone's NS records, or set propagation = resolvers … in the [dns-01] section."


@dataclass(frozen=True)
class UpdateTarget:
    """The zone to update, at which server, with which key.

    Two sections that lead to the same addresses with the same key name are one target: their values share an UPDATE.
    ``section``: a title for messages. ``missing_section``: a CNAME led to the zone, and no section names it.
    ``timeout_seconds``: how long an UPDATE may take.
    """

    zone: dns.name.Name
    endpoints: tuple[Endpoint, ...]
    server: Server = field(compare=False)
    key_name: str = ""
    section: str = field(default=f"[{DNS_01}]", compare=False)
    missing_section: bool = field(default=False, compare=False)
    timeout_seconds: float = field(default=0.0, compare=False)
    key: dns.tsig.Key | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class RecordLocation:
    """Where the TXT record of one identifier belongs.

    ``chain``: the name that the CA asks for, and the names that CNAMEs lead to; the last one is effective.
    ``preferred``: the server to ask first about the zone. ``settings``: those of the section of the name asked for,
    which say how to wait.
    """

    chain: tuple[dns.name.Name, ...]
    target: UpdateTarget
    preferred: PreferredServer = field(default_factory=PreferredServer)
    settings: Rfc2136Settings = field(default_factory=Rfc2136Settings)

    @property
    def name(self) -> dns.name.Name:
        """Return the effective name."""
        return self.chain[-1]


class RecordLocator:
    """Finds locations by the ``[dns-01]`` sections and by asking the DNS.

    ``sections``: all of garr-tcs.ini; those with ``via`` take part in the matching.
    """

    def __init__(self, sections: Sequence[SolverSection], resolver: Resolver) -> None:
        self._sections = [section for section in sections if section.challenge_type == DNS_01]
        self._resolver = resolver

    def locate(self, identifier: str) -> RecordLocation:
        """Return the location for ``identifier``, or raise ``ChallengeError``.

        The section of the name asked for says how to wait; server, zone and key are those of the section that matches
        the effective name.
        """
        updated = [section for section in self._sections if isinstance(section.method, Rfc2136Settings)]
        asked = best_section(identifier, updated, DNS_01)
        if asked is None:
            raise ConfigError(
                f"no [{DNS_01}] section with a server to update covers {identifier}",
                f"Add a section [{DNS_01} {identifier}] to garr-tcs.ini.",
            )
        chain = follow_cnames(challenge_name(identifier), self._resolver, self._server_to_ask)
        try:
            return self._locate_effective(identifier, chain, asked)
        except DnsError as error:
            raise behind_cnames(chain, error) from error

    def locate_stale(
        self, zone: dns.name.Name, name: dns.name.Name, server: Server, *, signed: bool = True
    ) -> RecordLocation:
        """Return the location of a value that an earlier run published, with the key that the sections have now.

        Not ``signed``: it was published without a key, so the server gets no signature now either.
        """
        section = self._section_at(name)
        settings = _settings(section)
        is_in_section = settings.server is not None and parse_server(settings.server) == server
        target = UpdateTarget(
            zone=zone,
            endpoints=self._resolver.addresses(server, PreferredServer(), hosts_first=is_in_section),
            server=server,
            key_name=settings.tsig.name if settings.tsig and signed else "",
            section=section.title if section else f"[{DNS_01}]",
            timeout_seconds=settings.timeout_seconds,
            key=_key(settings) if signed else None,
        )
        return RecordLocation((name,), target, settings=settings)

    def preferred_server(self, section: SolverSection | None) -> PreferredServer:
        """Return the server of ``section`` where it names one."""
        settings = _settings(section)
        if section is None or not settings.server:
            return PreferredServer()
        endpoints = self._resolver.addresses(parse_server(settings.server), PreferredServer(), hosts_first=True)
        if not endpoints:
            raise ChallengeError(
                f"server {settings.server} of {section.title} has no address",
                f"Write its address as server in {section.title} of {section.source}",
            )
        return PreferredServer(endpoints, _key(settings))

    def _locate_effective(self, identifier: str, chain: list[dns.name.Name], asked: SolverSection) -> RecordLocation:
        """Find zone, server and key of the last name of ``chain``."""
        section = self._section_at(chain[-1])
        if section is not None and isinstance(section.method, DelegateSettings):
            raise _other_plugins_name(identifier, chain, section)
        zone = self._zone(chain[-1], section)
        if section is not None and not self._is_meant_for(section, chain, zone):
            section = None
        settings = _settings(section)
        preferred = self.preferred_server(section)
        authority = self._server_to_ask(chain[-1])
        server = parse_server(settings.server) if settings.server else find_primary(zone, self._resolver, authority)
        title = section.title if section else f"[{DNS_01} {zone.to_text(omit_final_dot=True)}]"
        endpoints = preferred.endpoints or self._resolver.addresses(server, authority)
        if not endpoints:
            raise ChallengeError(
                f"{server}, which the SOA of {zone} names as primary, has no address",
                f"Set server in {title} to the server that takes updates of that zone.",
            )
        target = UpdateTarget(
            zone=zone,
            endpoints=endpoints,
            server=server,
            key_name=settings.tsig.name if settings.tsig else "",
            section=title,
            missing_section=section is None,
            timeout_seconds=settings.timeout_seconds,
            key=_key(settings),
        )
        return RecordLocation(tuple(chain), target, preferred, _settings(asked))

    def _is_meant_for(self, section: SolverSection, chain: list[dns.name.Name], zone: dns.name.Name) -> bool:
        """Return whether the key of ``section`` is meant for the zone where ``chain`` ends.

        A section without a suffix matches every name, wherever a CNAME leads. Then it is meant for the zone of the
        name asked for, and for others only by its ``server`` or ``zone``: a CNAME into a stranger's zone must not send
        the stranger's primary a message signed with our key.
        """
        settings = _settings(section)
        if section.suffix or settings.server or settings.zone or len(chain) == 1:
            return True
        # A name with a CNAME is no apex: the name above it is in the same zone.
        return bool(zone == find_apex(chain[0].parent(), self._resolver, self._server_to_ask(chain[0])))

    def _server_to_ask(self, name: dns.name.Name) -> PreferredServer:
        """Return the section's server where it is authoritative for ``name``, else a server of the name's zone."""
        preferred = self.preferred_server(self._section_at(name))
        answer = self._resolver.query_preferred(name, dns.rdatatype.CNAME, preferred)
        if answer is not None and answer.flags & dns.flags.AA:
            return preferred
        return find_authority(name, self._resolver)

    def _section_at(self, name: dns.name.Name) -> SolverSection | None:
        return best_section(name.to_text(omit_final_dot=True), self._sections, DNS_01)

    def _zone(self, name: dns.name.Name, section: SolverSection | None) -> dns.name.Name:
        written = _settings(section).zone
        if section is None or not written:
            return find_apex(name, self._resolver, self._server_to_ask(name))
        zone = parse_name(written)
        if not name.is_subdomain(zone):
            raise ConfigError(
                f"{name} is not inside zone {zone} of {section.title}",
                f"Remove zone from {section.title} (it is found by SOA), or add a section for that name to"
                f" {section.source}",
            )
        return zone


def _settings(section: SolverSection | None) -> Rfc2136Settings:
    if section is not None and isinstance(section.method, Rfc2136Settings):
        return section.method
    return Rfc2136Settings()


def _key(settings: Rfc2136Settings) -> dns.tsig.Key | None:
    return to_key(settings.tsig) if settings.tsig else None


def _other_plugins_name(identifier: str, chain: list[dns.name.Name], section: SolverSection) -> ChallengeError:
    assert isinstance(section.method, DelegateSettings)  # noqa: S101 - the caller has checked
    return ChallengeError(
        f"{chain[0]} is a CNAME that leads to {chain[-1]}, and {section.title} of {section.source} has via ="
        f" {section.method.plugin}: another plugin publishes at the name asked for, never where a CNAME leads",
        f"Write server and key of that zone into {section.title} instead of via; or add [{DNS_01} {identifier}] with"
        " via = manual and hooks that publish there.",
    )


def challenge_name(identifier: str) -> dns.name.Name:
    """Return where the CA looks for the TXT record of ``identifier`` (RFC 8555 §8.4)."""
    name = parse_name(identifier)
    try:
        return _PREFIX.concatenate(name).canonicalize()
    except dns.name.NameTooLong as error:
        raise _too_long(f"{_PREFIX}.{identifier}") from error


def parse_name(text: str) -> dns.name.Name:
    """Read an absolute name; raise ``DnsError`` with what is wrong with it."""
    try:
        return dns.name.from_text(text).canonicalize()
    except dns.name.NameTooLong as error:
        raise _too_long(text) from error
    except dns.exception.DNSException as error:
        raise DnsError(f"{text!r} is no DNS name: {error}", "Correct it.") from error


def _too_long(text: str) -> DnsError:
    most = _MOST_CHARACTERS - len(str(_PREFIX)) - 1
    return DnsError(
        f"{text} has {len(text.rstrip('.'))} characters: a DNS name has {_MOST_CHARACTERS} at most (RFC 1035 §2.3.4)",
        f"dns-01 can prove names of up to {most} characters; use http-01, or have the CA validate it beforehand.",
    )


def follow_cnames(
    name: dns.name.Name, resolver: Resolver, server_to_ask: Callable[[dns.name.Name], PreferredServer]
) -> list[dns.name.Name]:
    """Return ``name`` and every name that CNAMEs lead to from there; the last one is effective.

    A CNAME that a wildcard provides is not followed: a record at the name itself replaces it (RFC 4592 §3.3.1).
    Raises ``DnsError`` on a loop, and after ``MOST_CNAMES``.
    """
    chain = [name]
    while True:
        try:
            target = _cname_at(chain[-1], resolver, server_to_ask(chain[-1]))
        except DnsError as error:
            raise behind_cnames(chain, error) from error
        if target is None:
            return chain
        if target in chain:
            written = " -> ".join(str(step) for step in [*chain, target])
            raise DnsError(f"CNAME loop: {written}", f"Correct the CNAME record at {chain[-1]}")
        chain.append(target)
        if len(chain) > MOST_CNAMES + 1:
            raise DnsError(f"more than {MOST_CNAMES} CNAMEs from {name}", f"Let {name} lead to its target directly.")


def behind_cnames(chain: Sequence[dns.name.Name], error: DnsError) -> DnsError:
    """Return the error about the last name of a chain with the name that was asked for in its message."""
    if len(chain) == 1:
        return error
    return DnsError(f"{chain[0]} is a CNAME that leads to {chain[-1]}: {error.message}", error.hint)


def _cname_at(name: dns.name.Name, resolver: Resolver, preferred: PreferredServer) -> dns.name.Name | None:
    """Return where the CNAME record at ``name`` leads; ``None`` where there is none but a wildcard's."""
    target = _cname_target(name, resolver, preferred)
    # A name beside it that nobody has made gets the same CNAME only from a wildcard. (A DNAME provides a CNAME for
    # each name too, but to another target each, and a record below a DNAME cannot be.)
    if target is not None and target == _cname_target(name_beside(name), resolver, preferred):
        logger.debug("the CNAME from %s to %s comes from a wildcard, and is not followed", name, target)
        return None
    return target


def name_beside(name: dns.name.Name) -> dns.name.Name:
    """Return a name beside ``name`` that nobody has made: what is at both comes from a wildcard (RFC 4592)."""
    return dns.name.Name((secrets.token_hex(8).encode(), *name.labels[1:]))


def _cname_target(name: dns.name.Name, resolver: Resolver, preferred: PreferredServer) -> dns.name.Name | None:
    found = _first(resolver.query(name, dns.rdatatype.CNAME, preferred), name, dns.rdatatype.CNAME)
    return None if found is None else found.target.canonicalize()  # type: ignore[attr-defined]  # dnspython's CNAME


def find_authority(name: dns.name.Name, resolver: Resolver) -> PreferredServer:
    """Return a server that is authoritative for ``name``, found without asking a recursive resolver for that name.

    None where none answers. A resolver remembers that a name is missing (RFC 2308), and in a signed zone also that
    there is nothing between two names (RFC 8198, BIND's default since 9.18). Asked for the name, or for one above it
    that has no such record, it would deny our record for as long as the zone's SOA says. So resolvers are asked for
    zones that exist, from the top down, and the zone's own servers for all below.
    """
    zone = _uppermost_zone(name, resolver)
    if zone is None:
        return PreferredServer()
    referral = resolver.query(zone, dns.rdatatype.NS, PreferredServer())
    while True:
        server, answer = _first_to_answer(name, zone, referral, resolver)
        below = None if answer is None else _zone_below(zone, name, answer)
        if below is None or answer is None:
            return server
        zone, referral = below, answer


def _uppermost_zone(name: dns.name.Name, resolver: Resolver) -> dns.name.Name | None:
    """Return the uppermost zone above ``name`` whose name has two labels or more.

    One with a single label is returned where there is no other. A resolver that reaches only zones of its own may
    know nothing of those above: an error counts only where nothing is found.
    """
    found, failed = None, None
    for depth in range(min(_TWO_LABELS, len(name) - 1), len(name)):
        _, ancestor = name.split(depth)
        try:
            found = _apex_in(resolver.query(ancestor, dns.rdatatype.SOA, PreferredServer()), ancestor) or found
        except DnsError as error:
            failed = failed or error
        if found == ancestor:
            break
    if found is None and failed is not None:
        raise failed
    return None if found == dns.name.root else found


def _first_to_answer(
    name: dns.name.Name, zone: dns.name.Name, referral: dns.message.Message, resolver: Resolver
) -> tuple[PreferredServer, dns.message.Message | None]:
    """Return the first server of ``zone`` that answers or refers to a zone below, and its answer.

    ``referral``: the message that has the zone's NS records.
    """
    tried = 0
    for host in _name_servers_in(referral, zone):
        for endpoint in _glue(host, referral, resolver.port) or resolver.addresses(_server(host), PreferredServer()):
            server = PreferredServer((endpoint,))
            answer = resolver.query_preferred(name, dns.rdatatype.CNAME, server)
            if answer is not None and (answer.flags & dns.flags.AA or _zone_below(zone, name, answer)):
                return server, answer
            tried += 1
            if tried == _MOST_TRIED:
                return PreferredServer(), None
    return PreferredServer(), None


def _name_servers_in(answer: dns.message.Message, zone: dns.name.Name) -> list[dns.name.Name]:
    return sorted(
        rdata.target
        for rrset in [*answer.answer, *answer.authority]
        if rrset.rdtype == dns.rdatatype.NS and rrset.name == zone
        for rdata in rrset
    )


def _glue(host: dns.name.Name, referral: dns.message.Message, port: int) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(rdata.to_text(), port, host.to_text(omit_final_dot=True))
        for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for rrset in referral.additional
        if rrset.rdtype == rdtype and rrset.name == host
        for rdata in rrset
    )


def _zone_below(zone: dns.name.Name, name: dns.name.Name, answer: dns.message.Message) -> dns.name.Name | None:
    """Return the zone that a referral leads to, if it is nearer to ``name``: a lame server refers to the root."""
    for rrset in answer.authority if is_referral(answer) else ():
        below: dns.name.Name = rrset.name
        if rrset.rdtype == dns.rdatatype.NS and name.is_subdomain(below) and len(below) > len(zone):
            return below
    return None


def find_apex(name: dns.name.Name, resolver: Resolver, preferred: PreferredServer) -> dns.name.Name:
    """Return the apex of the zone that ``name``, which need not exist, is in.

    A negative answer has the zone's SOA in it (RFC 2308 §3), so the question about the CNAME is enough most times;
    where it is not, each ancestor's SOA is asked for.
    """
    apex = _apex_in(resolver.query(name, dns.rdatatype.CNAME, preferred), name)
    ancestor = name
    while apex is None and ancestor != dns.name.root:
        apex = _apex_in(resolver.query(ancestor, dns.rdatatype.SOA, preferred), ancestor)
        ancestor = ancestor.parent()
    if apex is None or apex == dns.name.root:
        raise DnsError(
            f"no zone found for {name}",
            "Does the name exist in the DNS? Otherwise set zone and server in its [dns-01] section.",
        )
    return apex


def find_primary(zone: dns.name.Name, resolver: Resolver, preferred: PreferredServer) -> Server:
    """Return the primary that the zone's SOA names (RFC 2136 §4.3)."""
    soa = _first(resolver.query(zone, dns.rdatatype.SOA, preferred), zone, dns.rdatatype.SOA)
    if soa is None:
        raise DnsError(f"{zone} has no SOA record", f"Set server in the [dns-01] section for {zone}")
    return _server(soa.mname)  # type: ignore[attr-defined]  # dnspython's SOA


def find_name_servers(zone: dns.name.Name, resolver: Resolver, preferred: PreferredServer) -> list[Endpoint]:
    """Return every address of every authoritative server of ``zone``.

    A server whose name leads to no address is an error: the CA would not reach it either.
    """
    hosts = _name_servers_in(resolver.query(zone, dns.rdatatype.NS, preferred), zone)
    if not hosts:
        raise DnsError(f"{zone} has no NS records", _OTHER_LOOKUP)

    def addresses(host: dns.name.Name) -> tuple[Endpoint, ...]:
        # Names inside the zone are known to its own server; others it answers for only by chance.
        found = resolver.addresses(_server(host), preferred if host.is_subdomain(zone) else PreferredServer())
        if not found:
            raise DnsError(f"name server {host} of {zone} has no address", _OTHER_LOOKUP)
        return found

    return [endpoint for found in raise_errors(run_concurrently(addresses, hosts)) for endpoint in found]


def _server(host: dns.name.Name) -> Server:
    return Server(host.to_text(omit_final_dot=True))


def _apex_in(answer: dns.message.Message, name: dns.name.Name) -> dns.name.Name | None:
    """Return the zone of ``name`` by the SOA in an answer; behind a CNAME, the SOA is its target's."""
    if _first(answer, name, dns.rdatatype.CNAME) is not None:
        return None
    for rrset in [*answer.answer, *answer.authority]:
        if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name):
            return rrset.name.canonicalize()
    return None


def _first(answer: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.rdata.Rdata | None:
    for rrset in answer.answer:
        if rrset.rdtype == rdtype and rrset.name == name:
            first: dns.rdata.Rdata = rrset[0]
            return first
    return None
