"""Find where a TXT record belongs: effective name, zone apex, primary, name servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
import dns.name
import dns.rdata
import dns.rdatatype

from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server
from certbot_garr_tcs.challenges.dns.lookup import Lookup, Source
from certbot_garr_tcs.challenges.dns.together import results, together
from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_CNAMES = 16
"""Resolvers give up after about as many; RFC 1034 §3.6.2 wants none of it at all."""

_PREFIX = dns.name.from_text("_acme-challenge", origin=None)


def challenge_name(identifier: str) -> dns.name.Name:
    """Return where the CA looks for the TXT record of ``identifier`` (RFC 8555 §8.4)."""
    return _PREFIX.concatenate(dns.name.from_text(identifier)).canonicalize()


def follow_cnames(
    name: dns.name.Name, lookup: Lookup, source_for: Callable[[dns.name.Name], Source]
) -> list[dns.name.Name]:
    """Return ``name`` and every name that CNAMEs lead to from there; the last one is effective.

    Raises ``DnsError`` on a loop, and after ``MOST_CNAMES``.
    """
    chain = [name]
    while True:
        answer = lookup.ask(chain[-1], dns.rdatatype.CNAME, source_for(chain[-1]))
        target = _first(answer, chain[-1], dns.rdatatype.CNAME)
        if target is None:
            return chain
        following = target.target.canonicalize()  # type: ignore[attr-defined]  # the class is dnspython's CNAME
        written = " -> ".join(str(step) for step in [*chain, following])
        if following in chain:
            raise DnsError(f"CNAME loop: {written}", f"Correct the CNAME record at {chain[-1]}")
        chain.append(following)
        if len(chain) > MOST_CNAMES:
            raise DnsError(f"more than {MOST_CNAMES} CNAMEs from {name}", f"Let {name} lead to its target directly.")


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
    return Server(soa.mname.to_text(omit_final_dot=True))  # type: ignore[attr-defined]  # dnspython's SOA


def find_name_servers(zone: dns.name.Name, lookup: Lookup, source: Source) -> tuple[Endpoint, ...]:
    """Return every address of every authoritative server of ``zone``.

    A server whose name leads to no address is an error: the CA would stumble over it too.
    """
    answer = lookup.ask(zone, dns.rdatatype.NS, source)
    servers = sorted(
        rdata.target
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.NS and rrset.name == zone
        for rdata in rrset
    )
    if not servers:
        raise DnsError(f"{zone} has no NS records", _LOOK_ELSEWHERE)

    def addresses(server: dns.name.Name) -> tuple[Endpoint, ...]:
        # Names inside the zone are known to its own server; others it answers for only by chance.
        inside = source if server.is_subdomain(zone) else Source()
        found = lookup.endpoints(Server(server.to_text(omit_final_dot=True)), inside)
        if not found:
            raise DnsError(f"name server {server} of {zone} has no address", _LOOK_ELSEWHERE)
        return found

    return tuple(endpoint for found in results(together(addresses, servers)) for endpoint in found)


_LOOK_ELSEWHERE = "Mend the zone's NS records, or set propagation = resolvers … in the [dns-01] section."


def _apex_in(answer: dns.message.Message, name: dns.name.Name) -> dns.name.Name | None:
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
