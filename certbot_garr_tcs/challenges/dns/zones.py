"""Find where a TXT record belongs: effective name, zone apex, primary, name servers."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdata
import dns.rdatatype

from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server
from certbot_garr_tcs.challenges.dns.lookup import Lookup, Source, is_referral
from certbot_garr_tcs.challenges.dns.together import results, together
from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

MOST_CNAMES = 16
"""Resolvers give up after about as many; RFC 1034 §3.6.2 wants none of it at all."""

_MOST_CHARACTERS = 253
"""Of a name as written, without the last dot: 255 octets in a message."""

_MOST_TRIED = 4
"""Addresses of a zone's name servers; where port 53 is closed, each costs three seconds."""

_TWO_LABELS = 3
"""Of a name, and the root's: whoever asks for the SOA of "it" learns nothing about example.it."""

_PREFIX = dns.name.from_text("_acme-challenge", origin=None)


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
    name: dns.name.Name, lookup: Lookup, source_for: Callable[[dns.name.Name], Source]
) -> list[dns.name.Name]:
    """Return ``name`` and every name that CNAMEs lead to from there; the last one is effective.

    A CNAME that a wildcard makes up is not followed: a record at the name itself takes its place (RFC 4592
    §3.3.1). Raises ``DnsError`` on a loop, and after ``MOST_CNAMES``.
    """
    chain = [name]
    while True:
        try:
            target = _cname_at(chain[-1], lookup, source_for(chain[-1]))
        except DnsError as error:
            raise behind_cnames(chain, error) from error
        if target is None:
            return chain
        written = " -> ".join(str(step) for step in [*chain, target])
        if target in chain:
            raise DnsError(f"CNAME loop: {written}", f"Correct the CNAME record at {chain[-1]}")
        chain.append(target)
        if len(chain) > MOST_CNAMES + 1:
            raise DnsError(f"more than {MOST_CNAMES} CNAMEs from {name}", f"Let {name} lead to its target directly.")


def behind_cnames(chain: Sequence[dns.name.Name], error: DnsError) -> DnsError:
    """Return the error about the last name of a chain with the name that was asked for in its message."""
    if len(chain) == 1:
        return error
    return DnsError(f"{chain[0]} is a CNAME that leads to {chain[-1]}: {error.message}", error.hint)


def _cname_at(name: dns.name.Name, lookup: Lookup, source: Source) -> dns.name.Name | None:
    """Return where the CNAME record at ``name`` leads; ``None`` where there is none, or a wildcard's alone."""
    target = _target(name, lookup, source)
    if target is None:
        return None
    # A name beside it that nobody has made gets the same CNAME only from a wildcard. (A DNAME makes up a
    # CNAME for each name too, but to another target each, and a record below a DNAME cannot be.)
    if target == _target(name_beside(name), lookup, source):
        logger.debug("the CNAME from %s to %s comes from a wildcard, and is not followed", name, target)
        return None
    return target


def name_beside(name: dns.name.Name) -> dns.name.Name:
    """Return a name beside ``name`` that nobody has made: what is at both comes from a wildcard (RFC 4592)."""
    return dns.name.Name((secrets.token_hex(8).encode(), *name.labels[1:]))


def _target(name: dns.name.Name, lookup: Lookup, source: Source) -> dns.name.Name | None:
    found = _first(lookup.ask(name, dns.rdatatype.CNAME, source), name, dns.rdatatype.CNAME)
    return None if found is None else found.target.canonicalize()  # type: ignore[attr-defined]  # dnspython's CNAME


def find_authority(name: dns.name.Name, lookup: Lookup) -> Source:
    """Return an authoritative server for ``name``, which no resolver is asked about; none where none answers.

    A resolver remembers that a name is missing (RFC 2308), and in a signed zone also that there is nothing
    between two names (RFC 8198, BIND's default since 9.18): asked for the name, or for one above it that has
    no such record, it would deny our record for as long as the zone's SOA says. So resolvers are asked for
    zones that exist, from the top down, and the zone's own servers for all below.
    """
    zone = _zone_from_above(name, lookup)
    if zone is None:
        return Source()
    naming = lookup.ask(zone, dns.rdatatype.NS, Source())
    while True:
        source, answer = _first_to_answer(name, zone, naming, lookup)
        below = None if answer is None else _zone_below(zone, name, answer)
        if below is None or answer is None:
            return source
        zone, naming = below, answer


def _zone_from_above(name: dns.name.Name, lookup: Lookup) -> dns.name.Name | None:
    """Return the uppermost zone above ``name`` whose name has two labels or more.

    One with a single label is returned where there is no other. A resolver that reaches only zones of its own may
    know nothing of those above: an error counts only where nothing is found.
    """
    found, failed = None, None
    for depth in range(min(_TWO_LABELS, len(name) - 1), len(name)):
        _, ancestor = name.split(depth)
        try:
            found = _apex_in(lookup.ask(ancestor, dns.rdatatype.SOA, Source()), ancestor) or found
        except DnsError as error:
            failed = failed or error
        if found == ancestor:
            break
    if found is None and failed is not None:
        raise failed
    return None if found == dns.name.root else found


def _first_to_answer(
    name: dns.name.Name, zone: dns.name.Name, naming: dns.message.Message, lookup: Lookup
) -> tuple[Source, dns.message.Message | None]:
    """Ask the servers of ``zone`` one by one; return the first that answers or refers to a zone below, and its answer.

    ``naming`` is the message that names them.
    """
    tried = 0
    for server in _servers_of(zone, naming):
        for endpoint in _glue(server, naming, lookup.port) or lookup.endpoints(_named(server), Source()):
            source = Source((endpoint,))
            answer = lookup.ask_source(name, dns.rdatatype.CNAME, source)
            if answer is not None and (answer.flags & dns.flags.AA or _zone_below(zone, name, answer)):
                return source, answer
            tried += 1
            if tried == _MOST_TRIED:
                return Source(), None
    return Source(), None


def _servers_of(zone: dns.name.Name, naming: dns.message.Message) -> list[dns.name.Name]:
    return sorted(
        rdata.target
        for rrset in [*naming.answer, *naming.authority]
        if rrset.rdtype == dns.rdatatype.NS and rrset.name == zone
        for rdata in rrset
    )


def _glue(server: dns.name.Name, referral: dns.message.Message, port: int) -> list[Endpoint]:
    return [
        Endpoint(rdata.to_text(), port, server.to_text(omit_final_dot=True))
        for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        for rrset in referral.additional
        if rrset.rdtype == rdtype and rrset.name == server
        for rdata in rrset
    ]


def _zone_below(zone: dns.name.Name, name: dns.name.Name, answer: dns.message.Message) -> dns.name.Name | None:
    """Return the zone that a referral leads to, if it is nearer to ``name``: a lame server refers to the root."""
    for rrset in answer.authority if is_referral(answer) else ():
        below: dns.name.Name = rrset.name
        if rrset.rdtype == dns.rdatatype.NS and name.is_subdomain(below) and len(below) > len(zone):
            return below
    return None


def find_apex(name: dns.name.Name, lookup: Lookup, source: Source) -> dns.name.Name:
    """Return the apex of the zone that ``name``, which need not exist, is in.

    A negative answer carries the zone's SOA (RFC 2308 §3), so the question about the CNAME has told it
    already; where it has not, the SOA is asked for at each ancestor.
    """
    told = _apex_in(lookup.ask(name, dns.rdatatype.CNAME, source), name)
    ancestor = name
    while told is None and ancestor != dns.name.root:
        told = _apex_in(lookup.ask(ancestor, dns.rdatatype.SOA, source), ancestor)
        ancestor = ancestor.parent()
    if told is None or told == dns.name.root:
        raise DnsError(
            f"no zone found for {name}",
            "Does the name exist in the DNS? Otherwise set zone and server in its [dns-01] section.",
        )
    return told


def find_primary(zone: dns.name.Name, lookup: Lookup, source: Source) -> Server:
    """Return the primary that the zone's SOA names (RFC 2136 §4.3)."""
    soa = _first(lookup.ask(zone, dns.rdatatype.SOA, source), zone, dns.rdatatype.SOA)
    if soa is None:
        raise DnsError(f"{zone} has no SOA record", f"Set server in the [dns-01] section for {zone}")
    return _named(soa.mname)  # type: ignore[attr-defined]  # dnspython's SOA


def find_name_servers(zone: dns.name.Name, lookup: Lookup, source: Source) -> tuple[Endpoint, ...]:
    """Return every address of every authoritative server of ``zone``.

    A server whose name leads to no address is an error: the CA would stumble over it too.
    """
    servers = _servers_of(zone, lookup.ask(zone, dns.rdatatype.NS, source))
    if not servers:
        raise DnsError(f"{zone} has no NS records", _LOOK_ELSEWHERE)

    def addresses(server: dns.name.Name) -> tuple[Endpoint, ...]:
        # Names inside the zone are known to its own server; others it answers for only by chance.
        inside = source if server.is_subdomain(zone) else Source()
        found = lookup.endpoints(_named(server), inside)
        if not found:
            raise DnsError(f"name server {server} of {zone} has no address", _LOOK_ELSEWHERE)
        return found

    return tuple(endpoint for found in results(together(addresses, servers)) for endpoint in found)


_LOOK_ELSEWHERE = "Mend the zone's NS records, or set propagation = resolvers … in the [dns-01] section."


def _named(host: dns.name.Name) -> Server:
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
