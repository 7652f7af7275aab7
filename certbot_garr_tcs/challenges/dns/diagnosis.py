"""What the DNS shows of a name at this moment: for the hint to a user whose name the CA has refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.name
import dns.rdatatype

from certbot_garr_tcs.challenges.dns.client import raise_errors, run_concurrently
from certbot_garr_tcs.challenges.dns.propagation import CheckResult, CheckStatus, check_txt, next_step
from certbot_garr_tcs.errors import ChallengeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certbot_garr_tcs.challenges.dns.client import Client
    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
    from certbot_garr_tcs.challenges.dns.location import RecordLocation
    from certbot_garr_tcs.challenges.dns.propagation import PropagationCheck
    from certbot_garr_tcs.challenges.dns.resolver import PreferredServer, Resolver

_ALL_SHOWN = (
    "All of our own questions are answered well, so ask the CA's support which server its validation asked; is there a"
    " firewall that lets only some networks ask?"
)
_CNAME = (
    "If the CA does not follow CNAMEs (HARICA did not in 2025), remove the CNAME and have the zone of the"
    " name itself updated."
)


@dataclass(frozen=True)
class DnsDiagnosis:
    """What was found for one identifier. ``caa``: its CAA records, in words."""

    identifier: str
    chain: tuple[dns.name.Name, ...]
    results: tuple[tuple[Endpoint, CheckResult], ...]
    caa: str

    @property
    def next_step(self) -> str:
        """Return one next step, for the first thing that could explain the CA's refusal."""
        bad = [result.status for _, result in self.results if result.status is not CheckStatus.SHOWN]
        if bad:
            return next_step(bad)
        return _CNAME if len(self.chain) > 1 else _ALL_SHOWN

    def __str__(self) -> str:
        shown = [str(endpoint) for endpoint, result in self.results if result.status is CheckStatus.SHOWN]
        others = [
            f"{endpoint}: {result.detail}"
            for endpoint, result in self.results
            if result.status is not CheckStatus.SHOWN
        ]
        parts = ["name servers not asked, as propagation says"]
        if self.results:
            parts = [f"TXT shown by {len(shown)} of {len(self.results)} addresses", *shown, *others]
        if len(self.chain) > 1:
            parts.append("CNAME: " + " -> ".join(str(name) for name in self.chain))
        return f"{self.identifier}: {'; '.join([*parts, self.caa])}"


def diagnose(
    identifier: str, location: RecordLocation, checks: Sequence[PropagationCheck], client: Client, resolver: Resolver
) -> DnsDiagnosis:
    """Ask every server once, without waiting, for the TXT values of an identifier; look up its CAA records."""
    asked = [(server, check.values[location.name]) for check in checks for server in check.servers]
    results = raise_errors(run_concurrently(lambda pair: check_txt(client, pair[0], location.name, pair[1]), asked))
    try:
        caa = find_caa(identifier, resolver, location.preferred)
    except ChallengeError as error:
        caa = f"CAA cannot be looked up, which is no permission to issue: {error.message}"
    endpoints = [server.endpoint for server, _ in asked]
    return DnsDiagnosis(identifier, location.chain, tuple(zip(endpoints, results)), caa)


def find_caa(identifier: str, resolver: Resolver, preferred: PreferredServer) -> str:
    """Return, in words, the CAA records that count for a name: those of the nearest name above that has some.

    RFC 8659 §3. Raises ``DnsError`` where a name server does not answer: that is no permission to issue (§3, and the
    CA/Browser Forum's Baseline Requirements 3.2.2.8).
    """
    name = dns.name.from_text(identifier)
    while name != dns.name.root:
        answer = resolver.query(name, dns.rdatatype.CAA, preferred)
        found = [rdata.to_text() for rrset in answer.answer if rrset.rdtype == dns.rdatatype.CAA for rdata in rrset]
        if found:
            return f"CAA at {name}: {', '.join(sorted(found))}"
        name = name.parent()
    return "no CAA record: any CA may issue"
