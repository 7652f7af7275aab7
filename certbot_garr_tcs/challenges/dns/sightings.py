"""Look once whether one name server shows the TXT values of one name."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataset
import dns.rdatatype
import dns.tsig

from certbot_garr_tcs.challenges.dns.client import Client, Question
from certbot_garr_tcs.challenges.dns.transport import NoAnswerError, Silence
from certbot_garr_tcs.challenges.dns.zones import name_beside
from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Name one address that has to show the values: an authoritative server's, or a resolver's.

    ``accepted``: it accepted the UPDATE, signed with ``key``. ``listed``: the zone's NS records name it, or the
    section does, so that not only we ask it.
    """

    endpoint: Endpoint
    recursive: bool = False
    accepted: bool = False
    listed: bool = True
    key: dns.tsig.Key | None = field(default=None, compare=False, repr=False)


def look(
    client: Client, witness: Witness, name: dns.name.Name, values: frozenset[str], key: dns.tsig.Key | None = None
) -> Sighting:
    """Ask ``witness`` for the TXT records of ``name``, signed with ``key`` where one is given; judge its answer."""
    question = Question(name, dns.rdatatype.TXT, recursive=witness.recursive)
    try:
        answer = client.query(witness.endpoint, question, key=key, timeouts_seconds=TIMEOUTS_SECONDS)
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


def find_ttl(
    client: Client, endpoints: Sequence[Endpoint], name: dns.name.Name, key: dns.tsig.Key | None
) -> int | None:
    """Return the TTL in seconds of the TXT RRset at ``name``; ``None`` where there is none.

    ``endpoints`` are the addresses of one server; ``key``, with which it is asked, may choose the view. Raises
    ``NoAnswerError`` where no address gives an answer.
    """
    silent: NoAnswerError | None = None
    for endpoint in endpoints:
        try:
            there = _find_txt(client, endpoint, name, key)
            if there is None or there == _find_txt(client, endpoint, name_beside(name), key):
                return None
        except NoAnswerError as error:
            silent = error
            continue
        return int(there.ttl)
    if silent is not None:
        raise silent
    return None


def _find_txt(
    client: Client, endpoint: Endpoint, name: dns.name.Name, key: dns.tsig.Key | None
) -> dns.rdataset.Rdataset | None:
    """Return what a server shows at ``name``: with the key, or without where it does not answer to the key."""
    question = Question(name, dns.rdatatype.TXT)
    for signed_with in (None,) if key is None else (key, None):
        try:
            answer = client.query(endpoint, question, key=signed_with, timeouts_seconds=TIMEOUTS_SECONDS)
        except NoAnswerError:
            raise
        except DnsError:
            continue
        if answer.rcode() in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            found = (rrset for rrset in answer.answer if rrset.rdtype == dns.rdatatype.TXT and rrset.name == name)
            return next((rrset.to_rdataset() for rrset in found), None)
    return None
