"""Add and delete TXT values by dynamic updates: one UPDATE message for each zone (RFC 2136)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update
from dns.rdtypes.ANY.TXT import TXT

from certbot_garr_tcs.challenges.dns.client import (
    TCP_TIMEOUT_SECONDS,
    UNSIGNED,
    USABLE_RCODES,
    NoResponseError,
    Question,
    run_concurrently,
)
from certbot_garr_tcs.challenges.dns.location import name_beside
from certbot_garr_tcs.errors import ChallengeError, DnsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from certbot_garr_tcs.challenges.dns.client import Client
    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
    from certbot_garr_tcs.challenges.dns.location import RecordLocation, UpdateTarget

    Ttls = Mapping[tuple[UpdateTarget, dns.name.Name], int]

TTL_SECONDS = 1
"""Of an RRset that is ours alone: a resolver that has seen it has forgotten it before the next order's value is there.

0, which means "not to be cached" (RFC 1035 §3.2.1), would gain nothing: no two orders are one second apart.
"""

LARGEST_OCTETS = 65535
"""Of any message (RFC 1035 §4.2.2)."""

LONGEST_UPDATE_SECONDS = 60.0
"""A server that has taken an UPDATE and says nothing for so long will hardly say anything any more."""

_RESERVED_OCTETS = 12 + 255 + 4 + 512
"""Header, zone section and TSIG record (a key name, an algorithm name, a MAC of at most 64 octets)."""

_QUERY_SECONDS = (2.0,)
_MOST_REFUSALS = 5
"""Where so many names, tried one by one, are all refused, the others are not tried."""

_MOST_NAMES = 5
"""That a message lists."""

_ABOUT_NAMES = frozenset({"REFUSED", "NOTAUTH", "BADKEY"})
"""Answers that may be about one name of several; BADKEY is Knot's for a name that no acl grants."""


@dataclass(frozen=True)
class PendingRecord:
    """One TXT value that we publish: RFC 8555 §8.4 gives it 43 characters, and 255 are the most.

    ``accepted_by``: the address that accepted the UPDATE which added it.
    """

    location: RecordLocation
    value: str
    accepted_by: Endpoint | None = field(default=None, compare=False)

    @property
    def name(self) -> dns.name.Name:
        """Return the effective name, where the record is published."""
        return self.location.name

    @property
    def rdata(self) -> TXT:
        """Return the value as one character-string, whatever characters it has."""
        return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, [self.value.encode()])

    @property
    def octets(self) -> int:
        """Return how much of a message it takes at most: names compress, but not always."""
        return len(self.name.to_wire() or b"") + 10 + 1 + len(self.value.encode())


@dataclass(frozen=True)
class UpdateResult:
    """What became of one UPDATE.

    ``rejection``: an answer that says no, whether or not it is certain that it is the server's. ``untouched``:
    certainly nothing of it was applied, because the server refused it (RFC 2136 §3.7) or it never arrived.
    ``accepted_by``: the address that said, or showed, that it was applied.
    """

    records: tuple[PendingRecord, ...]
    error: ChallengeError | None = None
    rejection: UpdateRejectedError | None = None
    untouched: bool = False
    accepted_by: Endpoint | None = None


class UpdateRejectedError(DnsError):
    """The server answered, and said no. ``answer``: the code, of RFC 2136 §2.2 or of TSIG (RFC 8945 §5.2).

    ``definite``: nothing of the UPDATE was applied (RFC 2136 §3.7). SERVFAIL leaves that open: a secondary that
    forwards UPDATEs (§6) says it too when the primary's answer is lost. So does a no that is not signed though our
    UPDATE was: it may be forged.
    """

    def __init__(self, message: str, hint: str, answer: str, *, is_signed: bool = True) -> None:
        super().__init__(message, hint)
        self.answer = answer
        self.definite = is_signed and answer != "SERVFAIL"


def update_records(client: Client, records: Iterable[PendingRecord], *, add: bool) -> list[UpdateResult]:
    """Add or delete all values, zones at the same time; return what became of each UPDATE."""
    by_target: dict[UpdateTarget, list[PendingRecord]] = {}
    for record in records:
        by_target.setdefault(record.location.target, []).append(record)
    parts = [tuple(part) for same_target in by_target.values() for part in split(same_target)]
    ttls = _find_ttls(client, parts) if add else {}
    outcomes = run_concurrently(lambda part: _update(client, part, ttls, add=add), parts)
    return [result for outcome in outcomes if not isinstance(outcome, ChallengeError) for result in outcome]


def split(
    records: Sequence[PendingRecord], room_octets: int = LARGEST_OCTETS - _RESERVED_OCTETS
) -> Iterator[list[PendingRecord]]:
    """Cut the records, each once and in order, into parts that fit into one message each."""
    part: list[PendingRecord] = []
    filled = 0
    for record in dict.fromkeys(records):
        if part and filled + record.octets > room_octets:
            yield part
            part, filled = [], 0
        part.append(record)
        filled += record.octets
    if part:
        yield part


def build_update(
    records: Sequence[PendingRecord], *, add: bool, ttls_seconds: Ttls = MappingProxyType({})
) -> dns.update.UpdateMessage:
    """Return the message that adds, or deletes, these values of one zone.

    ``ttls_seconds``: those of RRsets that are there already. An RRset has one TTL (RFC 2181 §5.2): a record added
    with another one would change that of all the others, and for good.

    Values are added and deleted one by one (RFC 2136 §2.5.1, §2.5.4), never as a whole RRset: what somebody else put
    there stays. Both are idempotent (§3.4.2.2, §3.4.2.4), so the message may be sent twice.
    """
    target = records[0].location.target
    message = dns.update.UpdateMessage(target.zone)
    for record in records:
        if add:
            message.add(record.name, ttls_seconds.get((target, record.name), TTL_SECONDS), record.rdata)
        else:
            message.delete(record.name, record.rdata)
    return message


def _update(client: Client, records: tuple[PendingRecord, ...], ttls: Ttls, *, add: bool) -> list[UpdateResult]:
    """Send one UPDATE; where it is refused, find out for which name."""
    result = _send_once(client, records, ttls, add=add)
    by_name: dict[dns.name.Name, list[PendingRecord]] = {}
    for record in records:
        by_name.setdefault(record.name, []).append(record)
    if result.rejection is None or result.rejection.answer not in _ABOUT_NAMES or len(by_name) < 2:  # noqa: PLR2004 - one name needs no second try
        return [result]
    tried = _delete_by_name(client, [tuple(same_name) for same_name in by_name.values()])
    refused = tuple(record for one in tried if one.rejection for record in one.records)
    if not refused:
        return [result] if add else tried
    error = _explained(result.rejection, refused, partly=len(refused) < len(records))
    if add:
        return [replace(result, error=error)]
    return [replace(result, records=refused, error=error), *(one for one in tried if not one.rejection)]


def _send_once(client: Client, records: tuple[PendingRecord, ...], ttls: Ttls, *, add: bool) -> UpdateResult:
    try:
        accepted_by = send_update(client, records[0].location.target, build_update(records, add=add, ttls_seconds=ttls))
    except ChallengeError as error:
        rejection = error if isinstance(error, UpdateRejectedError) and error.answer != "SERVFAIL" else None
        never_arrived = isinstance(error, NoResponseError) and not error.reason.may_have_arrived
        untouched = never_arrived or (rejection is not None and rejection.definite)
        return UpdateResult(records, _explained(error, records), rejection, untouched)
    return UpdateResult(records, accepted_by=accepted_by)


def _delete_by_name(client: Client, by_name: Sequence[tuple[PendingRecord, ...]]) -> list[UpdateResult]:
    """Delete name by name, and return what became of each.

    After a refused deletion, this deletes what may be deleted. After a refused addition nothing is there to be
    deleted: it finds out which names the key may change, and changes nothing.
    """
    tried: list[UpdateResult] = []
    while len(tried) < len(by_name):
        tried.append(_send_once(client, by_name[len(tried)], {}, add=False))
        if len(tried) == _MOST_REFUSALS and all(one.error for one in tried):
            return [*tried, *(replace(tried[-1], records=records) for records in by_name[len(tried) :])]
    return tried


def send_update(client: Client, target: UpdateTarget, message: dns.update.UpdateMessage) -> Endpoint:
    """Have a zone updated; return the address that says, or shows, that it has been.

    The next address of the server is tried where one gives no answer, so a message may reach it twice, which does no
    harm (see ``build_update``). Raises ``UpdateRejectedError`` where the server said no, ``NoResponseError`` where no
    address gave an answer: the UPDATE may then have been applied, or not.
    """
    tcp_seconds = max(TCP_TIMEOUT_SECONDS, min(target.timeout_seconds, LONGEST_UPDATE_SECONDS))
    unanswered: NoResponseError | None = None
    for endpoint in target.endpoints:
        what = f"UPDATE of {target.zone} at {endpoint}"
        try:
            answer, problem = client.exchange(what, message, endpoint, target.key, tcp_seconds=tcp_seconds)
        except NoResponseError as error:
            if error.reason.may_have_arrived and _is_applied(client, endpoint, message, target.key):
                return endpoint
            if unanswered is None or error.reason.may_have_arrived > unanswered.reason.may_have_arrived:
                unanswered = error
            continue
        if not problem and answer.rcode() == dns.rcode.NOERROR:
            return endpoint
        rejection = _rejection(what, answer, problem, target)
        if unanswered is None or not unanswered.reason.may_have_arrived:
            raise rejection
        # An address before this one may have applied it without our knowledge, so this no is not definite.
        raise DnsError(rejection.message, rejection.hint) from unanswered
    if unanswered is None:
        raise DnsError(
            f"UPDATE of {target.zone}: its server has no address", f"Name one that has as server in {target.section}."
        )
    raise NoResponseError(unanswered.what, unanswered.reason, _NO_ANSWER.format(section=target.section)) from unanswered


def _is_applied(
    client: Client, endpoint: Endpoint, message: dns.update.UpdateMessage, key: dns.tsig.Key | None
) -> bool:
    """Return whether a server shows all that an UPDATE asked for, though its answer never came."""
    try:
        return all(_shows_change(client, endpoint, change, key) for change in message.update)
    except DnsError:
        return False


def _shows_change(client: Client, endpoint: Endpoint, change: dns.rrset.RRset, key: dns.tsig.Key | None) -> bool:
    answer = client.query(endpoint, Question(change.name, change.rdtype), key=key, timeouts_seconds=_QUERY_SECONDS)
    if not answer.flags & dns.flags.AA or answer.rcode() not in USABLE_RCODES:
        return False
    shown = {
        rdata.to_text()
        for rrset in answer.answer
        if (rrset.name, rrset.rdtype) == (change.name, change.rdtype)
        for rdata in rrset
    }
    changed = {rdata.to_text() for rdata in change}
    return changed.isdisjoint(shown) if change.deleting else changed <= shown


def _find_ttls(client: Client, parts: Sequence[Sequence[PendingRecord]]) -> Ttls:
    """Return the TTL of each TXT RRset that is there already, as the server that will be updated shows it."""
    wanted = list(dict.fromkeys((record.location.target, record.name) for part in parts for record in part))
    unanswered: set[UpdateTarget] = set()

    def find(where: tuple[UpdateTarget, dns.name.Name]) -> int | None:
        target, name = where
        try:
            return None if target in unanswered else _find_ttl(client, target, name)
        except NoResponseError:
            unanswered.add(target)  # the UPDATE will report it
            return None

    return {where: ttl for where, ttl in zip(wanted, run_concurrently(find, wanted)) if isinstance(ttl, int)}


def _find_ttl(client: Client, target: UpdateTarget, name: dns.name.Name) -> int | None:
    """Return the TTL in seconds of the TXT RRset at ``name``; ``None`` where there is none but a wildcard's.

    Raises ``NoResponseError`` where no address gives an answer.
    """
    unanswered: NoResponseError | None = None
    for endpoint in target.endpoints:
        try:
            found = _find_txt(client, endpoint, name, target.key)
            if found is None or found == _find_txt(client, endpoint, name_beside(name), target.key):
                return None
        except NoResponseError as error:
            unanswered = error
            continue
        return int(found.ttl)
    if unanswered is not None:
        raise unanswered
    return None


def _find_txt(
    client: Client, endpoint: Endpoint, name: dns.name.Name, key: dns.tsig.Key | None
) -> dns.rdataset.Rdataset | None:
    """Return what a server shows at ``name``: with the key, which may choose a view, or without if that fails."""
    for signed_with in (None,) if key is None else (key, None):
        try:
            question = Question(name, dns.rdatatype.TXT)
            answer = client.query(endpoint, question, key=signed_with, timeouts_seconds=_QUERY_SECONDS)
        except NoResponseError:
            raise
        except DnsError:
            continue
        if answer.rcode() in USABLE_RCODES:
            found = (rrset for rrset in answer.answer if rrset.rdtype == dns.rdatatype.TXT and rrset.name == name)
            return next((rrset.to_rdataset() for rrset in found), None)
    return None


def _rejection(what: str, answer: dns.message.Message, problem: str, target: UpdateTarget) -> DnsError:
    """Return the error for a server's no.

    Definite is a no without a problem: signed like our UPDATE, or unsigned like it. Anybody can send the others
    (RFC 8945 §5.4), those included that TSIG has unsigned, such as BADKEY (§5.3.2). Our own finding about a signature
    that is there says nothing about what the server did.
    """
    code = dns.rcode.to_text(answer.rcode())
    if problem.startswith("BAD"):
        tsig_error = problem.split(",", maxsplit=1)[0]
        hint = _hint(tsig_error, target)
        return UpdateRejectedError(f"{what}: {code} ({problem})", hint, tsig_error, is_signed=False)
    if problem == UNSIGNED and answer.rcode():
        hint = _hint(code, target)
        return UpdateRejectedError(f"{what}: {code}, which is not signed", hint, code, is_signed=False)
    if problem:
        return DnsError(f"{what}: {code}, but {problem}", _hint("BADSIG", target))
    return UpdateRejectedError(f"{what}: {code}", _hint(code, target), code)


def _explained(error: ChallengeError, records: tuple[PendingRecord, ...], *, partly: bool = False) -> ChallengeError:
    """Return the error with the names that it is about; ``partly``: the UPDATE had others too."""
    target = records[0].location.target
    names = list(dict.fromkeys(str(record.name) for record in records))
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    listed = ", ".join(names[:_MOST_NAMES]) + more
    message, hint = error.message, error.hint
    if isinstance(error, UpdateRejectedError):
        hint = _hint("not all names" if partly else error.answer, target, listed)
    if partly:
        message = f"{message} for {listed} (not for the other names of the same UPDATE)"
    led = [record for record in records if len(record.location.chain) > 1]
    if led:
        message = f"{led[0].location.chain[0]} is a CNAME that leads to {led[0].name}: {message}"
        if target.missing_section:
            hint = f"Add a section {target.section} with the server and key of that zone to garr-tcs.ini."
    return ChallengeError(message, hint)


def _hint(answer: str, target: UpdateTarget, names: str = "_acme-challenge names") -> str:
    """Return one next step for an answer code of RFC 2136 §2.2 or RFC 8945 §5, or for "not all names"."""
    text = (_HINTS_WITHOUT_KEY if target.key is None else {}).get(answer) or _HINTS.get(answer, _OTHER_HINT)
    key = "(none)" if target.key is None else target.key.name
    filled = text.format(zone=target.zone, section=target.section, key=key, names=names)
    return filled.replace("..", ".")  # an absolute name at the end of a sentence


_NO_ANSWER = (
    "Is the server running, and are UDP and TCP to it open from here? If it is another one, name it as"
    " server in {section}."
)
_GIVE_KEY = "Give {section} the key that may update {zone}: tsig-keyfile, or tsig-name and tsig-secret"
_SECONDARY = "If this server is a secondary, name the primary, which may be hidden, as server in {section}."
_GRANT = "Let that server's update-policy (allow-update, acl) for {zone} grant key {key} TXT records at {names}."
_HINTS_WITHOUT_KEY = {
    "not all names": _GRANT.replace(" key {key}", ""),
    "REFUSED": f"{_GIVE_KEY}. {_SECONDARY}",
    "NOTAUTH": f"{_GIVE_KEY} (or, if this server does not have the zone, another server).",
}
_HINTS = {
    "not all names": _GRANT,
    "REFUSED": f"{_GRANT} {_SECONDARY} A frozen zone refuses too (rndc thaw {{zone}}).",
    "NOTAUTH": (
        "This server is not authoritative for {zone} (or does not let key {key} update it): name the zone's"
        " primary as server in {section}, or add a section of its own for the zone."
    ),
    "NOTZONE": "Correct zone in {section}: a name to be changed is not inside that zone.",
    "BADKEY": (
        "The server knows no key {key} with this algorithm: compare tsig-name and tsig-algorithm (or the"
        " tsig-keyfile) with its key statement. Knot says the same where no acl grants the key this name."
    ),
    "BADSIG": "Key {key} has another secret on the server: copy its key file again.",
    "BADTIME": "Set the clocks of both machines, by NTP: TSIG allows 300 s (RFC 8945 §10).",
    "BADTRUNC": "Let the server accept whole HMACs for key {key}: its minimum or digest-bits differ.",
    "SERVFAIL": (
        "Read the server's log: it could not write {zone} (journal or folder not writable, zone not loaded or expired)."
    ),
    "FORMERR": "Read the server's log: it did not understand the UPDATE; a middlebox may have changed it.",
    "NOTIMP": "Name a server that takes dynamic updates as server in {section}.",
    "YXDOMAIN": "Read the server's log: it applied rules of its own to the UPDATE.",
}
_OTHER_HINT = "Read the log of the server: it says why it did not update {zone}"
