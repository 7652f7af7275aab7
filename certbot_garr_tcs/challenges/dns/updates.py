"""Build the UPDATE messages that add or delete single TXT values (RFC 2136)."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.update
from dns.rdtypes.ANY.TXT import TXT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TTL_SECONDS = 1
"""Of an RRset that is ours alone: a resolver that has seen it has forgotten it before the next order's value is there.

0, which means "not to be cached" (RFC 1035 §3.2.1), would gain nothing: no two orders are one second apart.
"""

LARGEST_OCTETS = 65535
"""Of any message (RFC 1035 §4.2.2)."""

_RESERVED_OCTETS = 12 + 255 + 4 + 512
"""Header, zone section and TSIG record (a key name, an algorithm name, a MAC of at most 64 octets)."""


@dataclass(frozen=True)
class TxtRecord:
    """Hold one value at one name; RFC 8555 §8.4 gives 43 characters, and 255 are the most."""

    name: dns.name.Name
    value: str

    @property
    def rdata(self) -> TXT:
        """Return the value as one character-string, whatever characters it has."""
        return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, [self.value.encode()])

    @property
    def octets(self) -> int:
        """Return how much of a message it takes at most: names compress, but not always."""
        return len(self.name.to_wire() or b"") + 10 + 1 + len(self.value.encode())


def build_update(
    zone: dns.name.Name,
    records: Sequence[TxtRecord],
    *,
    add: bool,
    ttls_seconds: Mapping[dns.name.Name, int] = MappingProxyType({}),
) -> dns.update.UpdateMessage:
    """Return the message that adds, or deletes, these values in ``zone``.

    ``ttls_seconds``: those of RRsets that are there already. An RRset has one TTL (RFC 2181 §5.2): a record added
    with another one would change that of all the others, and for good.

    Values come and go one by one (RFC 2136 §2.5.1, §2.5.4), never as a whole RRset: what somebody else
    put there stays. Both are idempotent (§3.4.2.2, §3.4.2.4): a value that is there is not added again,
    and one that is not there is not missed, so the message may be sent twice.
    """
    message = dns.update.UpdateMessage(zone)
    for record in records:
        if add:
            message.add(record.name, ttls_seconds.get(record.name, TTL_SECONDS), record.rdata)
        else:
            message.delete(record.name, record.rdata)
    return message


def split(
    records: Sequence[TxtRecord], room_octets: int = LARGEST_OCTETS - _RESERVED_OCTETS
) -> Iterator[list[TxtRecord]]:
    """Cut the records, each once and in order, into parts that fit into one message each."""
    part: list[TxtRecord] = []
    filled = 0
    for record in dict.fromkeys(records):
        if part and filled + record.octets > room_octets:
            yield part
            part, filled = [], 0
        part.append(record)
        filled += record.octets
    if part:
        yield part
