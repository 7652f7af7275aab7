"""Look once whether one name server shows the TXT values of one name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from certbot_garr_tcs.challenges.dns.client import Client, Question
from certbot_garr_tcs.challenges.dns.transport import NoAnswerError, Silence
from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint

TIMEOUTS_SECONDS = (2.0,)
"""One try: whoever looks looks again."""


class Seen(Enum):
    """What one look came to."""

    SHOWN = "shown"
    MISSING = "missing"
    LAME = "lame"
    FAILED = "failed"
    SILENT = "silent"
    NO_ROUTE = "no route"


@dataclass(frozen=True)
class Sighting:
    """Hold what one look came to, and in words."""

    seen: Seen
    detail: str

    @property
    def answered(self) -> bool:
        """Tell whether anything came back at all."""
        return self.seen not in {Seen.SILENT, Seen.NO_ROUTE}


@dataclass(frozen=True)
class Witness:
    """Name one address that has to show the values: an authoritative server's, or a resolver's."""

    endpoint: Endpoint
    recursive: bool = False


def look(client: Client, witness: Witness, name: dns.name.Name, values: frozenset[str]) -> Sighting:
    """Ask ``witness`` for the TXT records of ``name``, and judge its answer."""
    question = Question(name, dns.rdatatype.TXT, recursive=witness.recursive)
    try:
        answer = client.query(witness.endpoint, question, timeouts_seconds=TIMEOUTS_SECONDS)
    except NoAnswerError as error:
        seen = Seen.NO_ROUTE if error.silence is Silence.NO_ROUTE else Seen.SILENT
        return Sighting(seen, error.silence.value)
    except DnsError as error:
        return Sighting(Seen.FAILED, error.message.rpartition(": ")[2])
    return judge(answer, name, values, recursive=witness.recursive)


def judge(answer: dns.message.Message, name: dns.name.Name, values: frozenset[str], *, recursive: bool) -> Sighting:
    """Tell what an answer to a question for TXT records says about ``values``.

    A server that is asked as authoritative and does not set AA, or refuses, is lame: a resolver that
    the CA uses gets nothing from it either (RFC 1912 §2.8).
    """
    code = dns.rcode.to_text(answer.rcode())
    if answer.rcode() in {dns.rcode.REFUSED, dns.rcode.NOTAUTH} and not recursive:
        return Sighting(Seen.LAME, f"lame: it answers {code}")
    if answer.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        return Sighting(Seen.FAILED, code)
    if not recursive and not answer.flags & dns.flags.AA:
        return Sighting(Seen.LAME, "lame: it is not authoritative for the zone")
    shown = {
        b"".join(rdata.strings).decode("utf-8", "replace")
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.TXT and rrset.name == name
        for rdata in rrset
    }
    if values <= shown:
        return Sighting(Seen.SHOWN, "shown")
    if not shown:
        return Sighting(Seen.MISSING, "no TXT record" if code == "NOERROR" else code)
    return Sighting(
        Seen.MISSING,
        f"{len(values - shown)} of {len(values)} values missing, {len(shown - values)} others there",
    )
