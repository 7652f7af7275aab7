"""Find which CAs may issue for a name (CAA, RFC 8659)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.name
import dns.rdatatype

if TYPE_CHECKING:
    from certbot_garr_tcs.challenges.dns.lookup import Lookup, Source


@dataclass(frozen=True)
class Caa:
    """Hold the CAA records that count for a name; none where any CA may issue."""

    where: dns.name.Name | None
    records: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write them for messages."""
        if self.where is None:
            return "no CAA record: any CA may issue"
        return f"CAA at {self.where}: {', '.join(self.records)}"


def find_caa(identifier: str, lookup: Lookup, source: Source) -> Caa:
    """Climb from ``identifier`` towards the root to the first name that has CAA records (RFC 8659 §3).

    Raises ``DnsError`` where a name server does not answer: that is no permission to issue (§3, and the
    CA/Browser Forum's Baseline Requirements 3.2.2.8).
    """
    name = dns.name.from_text(identifier)
    while name != dns.name.root:
        answer = lookup.ask(name, dns.rdatatype.CAA, source)
        records = tuple(
            rdata.to_text() for rrset in answer.answer if rrset.rdtype == dns.rdatatype.CAA for rdata in rrset
        )
        if records:
            return Caa(name, tuple(sorted(records)))
        name = name.parent()
    return Caa(None)
