"""Wait until TXT records are visible: at the zone's name servers, at resolvers, or for a fixed time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig

from certbot_garr_tcs.challenges.dns.client import (
    USABLE_RCODES,
    NoResponseError,
    NoResponseReason,
    Question,
    raise_errors,
    run_concurrently,
)
from certbot_garr_tcs.challenges.dns.endpoints import parse_server
from certbot_garr_tcs.challenges.dns.location import find_name_servers
from certbot_garr_tcs.challenges.dns.resolver import PreferredServer
from certbot_garr_tcs.challenges.settings import PropagationMethod
from certbot_garr_tcs.errors import ChallengeError, DnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from certbot_garr_tcs.challenges.dns.client import Client
    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
    from certbot_garr_tcs.challenges.dns.location import RecordLocation
    from certbot_garr_tcs.challenges.dns.resolver import Resolver
    from certbot_garr_tcs.challenges.dns.updates import PendingRecord

    ReportProgress = Callable[[int, int, float], None]

APPLY_SECONDS = 10.0
"""For a server that accepted an UPDATE to show its values; one that forwards UPDATEs needs some of them."""

SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
PAUSE_SHARE = 0.1

_LEAST_PAUSE_SECONDS = 0.01
"""So that rounding never makes the last pause before a deadline so short that no time passes."""

_QUERY_SECONDS = (2.0,)
"""One try: whoever waits asks again."""

_MOST_SERVERS = 6
"""That a message lists."""


class CheckStatus(Enum):
    """What one address says about the TXT values of one name."""

    SHOWN = "shown"
    MISSING = "missing"
    LAME = "lame"
    FAILED = "failed"
    NO_ANSWER = "no answer"
    NO_ROUTE = "no route"


@dataclass(frozen=True)
class CheckResult:
    """A status, and its details in words."""

    status: CheckStatus
    detail: str

    @property
    def answered(self) -> bool:
        """Return whether there was an answer at all."""
        return self.status not in {CheckStatus.NO_ANSWER, CheckStatus.NO_ROUTE}


@dataclass(frozen=True)
class NameServerAddress:
    """One address that has to show the values: an authoritative server's, or a recursive resolver's.

    ``accepted``: it accepted the UPDATE, signed with ``key``. ``listed``: the zone's NS records name it, or the
    section does, so that others ask it too.
    """

    endpoint: Endpoint
    recursive: bool = False
    accepted: bool = False
    listed: bool = True
    key: dns.tsig.Key | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class PropagationCheck:
    """The values of one zone that all these servers have to show, within the timeout."""

    zone: dns.name.Name
    values: Mapping[dns.name.Name, frozenset[str]]
    servers: tuple[NameServerAddress, ...]
    timeout_seconds: float


@dataclass
class ServerProgress:
    """What one address has not shown yet. ``rounds``: how often it was asked; the result is that of ``last_name``."""

    check: PropagationCheck
    server: NameServerAddress
    missing: dict[dns.name.Name, None] = field(init=False)  # several threads delete from it, which a dict permits
    last_name: dns.name.Name = field(init=False)
    last_result: CheckResult = field(default=CheckResult(CheckStatus.NO_ANSWER, "not asked yet"))
    rounds: int = 0
    cannot_be_asked: bool = False

    def __post_init__(self) -> None:
        self.missing = dict.fromkeys(self.check.values)
        self.last_name = next(iter(self.missing))

    @property
    def is_pending(self) -> bool:
        """Return whether there is something to wait for."""
        return bool(self.missing) and not self.cannot_be_asked

    @property
    def has_not_applied(self) -> bool:
        """Return whether the server accepted an UPDATE, and does not show all that was in it."""
        return self.server.accepted and self.is_pending and self.last_result.status is CheckStatus.MISSING

    @property
    def timeout_seconds(self) -> float:
        """Return how long to wait for it: less where waiting will not help."""
        whole = self.check.timeout_seconds
        return min(APPLY_SECONDS, whole) if self.has_not_applied else whole

    def update(self, name: dns.name.Name, client: Client) -> None:
        """Ask for one name; it is no longer missing where it is shown."""
        values = self.check.values[name]
        result = check_txt(client, self.server, name, values)
        if not self.server.listed:
            # Nobody else asks this server: a view of its own for our key does no harm, and no answer does none either.
            if result.status is CheckStatus.MISSING and self.server.key is not None:
                result = check_txt(client, self.server, name, values, self.server.key)
            if result.status not in {CheckStatus.SHOWN, CheckStatus.MISSING}:
                self.cannot_be_asked = True
        if result.status is CheckStatus.SHOWN:
            del self.missing[name]
        if result.status is not CheckStatus.SHOWN or not self.missing:
            self.last_name, self.last_result = name, result


@dataclass(frozen=True)
class PropagationWaiter:
    """Waits as each section says. ``clock`` and ``sleep`` are in seconds."""

    client: Client
    resolver: Resolver
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def wait(self, records: Sequence[PendingRecord], report: ReportProgress) -> None:
        """Return when every value is shown, and every fixed time has passed."""
        started = self.clock()
        checks = self.checks(records)
        if checks:
            wait_until_shown(checks, self.client, clock=self.clock, sleep=self.sleep, report=report)
        ways = [record.location.settings.propagation for record in records]
        seconds = max((way.seconds for way in ways if way.method is PropagationMethod.SECONDS), default=0.0)
        while (left := started + seconds - self.clock()) > 0:
            report(0, 0, self.clock() - started)
            self.sleep(min(left, LONGEST_PAUSE_SECONDS))

    def checks(self, records: Sequence[PendingRecord]) -> list[PropagationCheck]:
        """Return one check for all records that the same address accepted, and that are waited for in the same way."""
        groups: dict[tuple[object, ...], list[PendingRecord]] = {}
        for record in records:
            settings = record.location.settings
            if settings.propagation.method is not PropagationMethod.SECONDS or record.accepted_by is not None:
                same = (record.location.target, record.accepted_by, settings.propagation, settings.timeout_seconds)
                groups.setdefault(same, []).append(record)
        return raise_errors(run_concurrently(self._check, list(groups.values())))

    def _check(self, records: list[PendingRecord]) -> PropagationCheck:
        values: dict[dns.name.Name, frozenset[str]] = {}
        for record in records:
            values[record.name] = values.get(record.name, frozenset()) | {record.value}
        location = records[0].location
        return PropagationCheck(
            location.target.zone, values, self._servers(records[0]), location.settings.timeout_seconds
        )

    def _servers(self, record: PendingRecord) -> tuple[NameServerAddress, ...]:
        """Return the address that accepted the UPDATE, and those that the section's ``propagation`` means."""
        listed = self._listed(record.location)
        if record.accepted_by is None:
            return listed
        known = [server for server in listed if server.endpoint == record.accepted_by]
        accepted = known[0] if known else NameServerAddress(record.accepted_by, listed=False)
        others = (server for server in listed if server.endpoint != record.accepted_by)
        return (replace(accepted, accepted=True, key=record.location.target.key), *others)

    def _listed(self, location: RecordLocation) -> tuple[NameServerAddress, ...]:
        way = location.settings.propagation
        if way.method is PropagationMethod.SECONDS:
            return ()
        if way.method is PropagationMethod.AUTHORITATIVE:
            endpoints = find_name_servers(location.target.zone, self.resolver, location.preferred)
            return tuple(NameServerAddress(endpoint) for endpoint in endpoints)
        found = []
        for resolver in way.resolvers:
            addresses = self.resolver.addresses(parse_server(resolver), PreferredServer())
            if not addresses:
                raise DnsError(f"resolver {resolver} has no address", "Write its address in propagation.")
            found += [NameServerAddress(endpoint, recursive=True) for endpoint in addresses]
        return tuple(found)


def wait_until_shown(
    checks: Sequence[PropagationCheck],
    client: Client,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    report: ReportProgress,
) -> None:
    """Return once all servers show all values; raise ``ChallengeError`` when the time of a check is up.

    The server that accepted an UPDATE is asked first, and the others once it shows everything. Each address is asked
    for one name that it still misses, a different one each time, and for the others only once it shows that one: a
    zone arrives as a whole, so waiting costs one question for each address and round. ``clock`` and ``sleep`` are in
    seconds; ``report`` gets how many listed addresses show everything, of how many, and the seconds since the start.
    """
    servers = [ServerProgress(check, server) for check in checks for server in check.servers]
    listed = [server for server in servers if server.server.listed]
    started = clock()
    while True:
        _ask_all(servers, client)
        waited = clock() - started
        pending = [one for one in servers if one.is_pending and not unreachable_from_here(one, servers)]
        done = sum(not one.missing for one in listed)
        report(done, done + sum(one in pending for one in listed), waited)
        if not pending:
            return
        overdue = [one for one in pending if waited >= one.timeout_seconds]
        for one in overdue:
            if one.has_not_applied:
                raise _not_applied(one, client, waited)
        if overdue:
            raise _too_late(overdue, listed, waited)
        nearest = min(one.timeout_seconds for one in pending)
        sleep(max(_LEAST_PAUSE_SECONDS, min(next_pause_seconds(waited), nearest - waited)))


def next_pause_seconds(waited_seconds: float) -> float:
    """Return 10 % of the time waited so far, so that we wait at most 10 % too long; between 0.1 and 5 seconds."""
    return min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, waited_seconds * PAUSE_SHARE))


def unreachable_from_here(one: ServerProgress, servers: Sequence[ServerProgress]) -> bool:
    """Return whether only our network keeps us from an address, while its server answers at another one.

    "No route" is such a reason. "No answer" is one for IPv6 only, where no IPv6 address at all gives an answer.
    """
    no_route = one.last_result.status is CheckStatus.NO_ROUTE
    endpoint = one.server.endpoint
    if one.last_result.status is CheckStatus.NO_ANSWER and endpoint.is_ipv6:
        no_route = not any(other.last_result.answered for other in servers if other.server.endpoint.is_ipv6)
    return no_route and any(
        other.last_result.answered
        for other in servers
        if other.check.zone == one.check.zone and endpoint.host and other.server.endpoint.host == endpoint.host
    )


def _ask_all(servers: Sequence[ServerProgress], client: Client) -> None:
    """Ask the servers that accepted UPDATEs, then the others, unless their zone's UPDATE is not applied yet.

    A resolver that is asked too early remembers that there was nothing.
    """
    _ask([one for one in servers if one.is_pending and one.server.accepted], client)
    not_applied = [one.check for one in servers if one.has_not_applied]
    others = [one for one in servers if one.is_pending and not one.server.accepted]
    _ask([one for one in others if not any(one.check is check for check in not_applied)], client)


def _ask(servers: Sequence[ServerProgress], client: Client) -> None:
    """Ask every server for one name, then those that show it for the rest."""
    first = []
    for one in servers:
        first.append((one, list(one.missing)[one.rounds % len(one.missing)]))
        one.rounds += 1
    raise_errors(run_concurrently(lambda pair: pair[0].update(pair[1], client), first))
    rest = [(one, name) for one, asked in first if one.is_pending and asked not in one.missing for name in one.missing]
    raise_errors(run_concurrently(lambda pair: pair[0].update(pair[1], client), rest))


def check_txt(
    client: Client,
    server: NameServerAddress,
    name: dns.name.Name,
    values: frozenset[str],
    key: dns.tsig.Key | None = None,
) -> CheckResult:
    """Ask one address for the TXT records of ``name``, signed with ``key`` where one is given."""
    question = Question(name, dns.rdatatype.TXT, recursive=server.recursive)
    try:
        answer = client.query(server.endpoint, question, key=key, timeouts_seconds=_QUERY_SECONDS)
    except NoResponseError as error:
        no_route = error.reason is NoResponseReason.NO_ROUTE
        return CheckResult(CheckStatus.NO_ROUTE if no_route else CheckStatus.NO_ANSWER, error.reason.value)
    except DnsError as error:
        return CheckResult(CheckStatus.FAILED, error.message.rpartition(": ")[2])
    return classify_answer(answer, name, values, recursive=server.recursive)


def classify_answer(
    answer: dns.message.Message, name: dns.name.Name, values: frozenset[str], *, recursive: bool
) -> CheckResult:
    """Return what an answer to a question for TXT records says about ``values``.

    A server that is asked as authoritative and does not set AA, or refuses, is lame: a resolver that the CA uses gets
    nothing from it either (RFC 1912 §2.8).
    """
    code = dns.rcode.to_text(answer.rcode())
    if answer.rcode() in {dns.rcode.REFUSED, dns.rcode.NOTAUTH} and not recursive:
        return CheckResult(CheckStatus.LAME, f"lame: it answers {code}")
    if answer.rcode() not in USABLE_RCODES:
        return CheckResult(CheckStatus.FAILED, code)
    if not recursive and not answer.flags & dns.flags.AA:
        return CheckResult(CheckStatus.LAME, "lame: it is not authoritative for the zone")
    shown = {
        b"".join(rdata.strings).decode("utf-8", "replace")
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.TXT and rrset.name == name
        for rdata in rrset
    }
    if values <= shown:
        return CheckResult(CheckStatus.SHOWN, "shown")
    if not shown:
        return CheckResult(CheckStatus.MISSING, "no TXT record" if code == "NOERROR" else code)
    return CheckResult(
        CheckStatus.MISSING,
        f"{len(values - shown)} of {len(values)} values missing, {len(shown - values)} others there",
    )


def _not_applied(one: ServerProgress, client: Client, waited: float) -> ChallengeError:
    """Return the error about a server that accepted an UPDATE and does not show what was in it."""
    server, name = one.server, one.last_name
    accepted = f"{server.endpoint} accepted the UPDATE of {one.check.zone} and"
    if server.key is not None:
        with_key = check_txt(client, server, name, one.check.values[name], server.key)
        if with_key.status is CheckStatus.SHOWN:
            return ChallengeError(
                f"{accepted} shows {name} only to who asks with the key: it has a view of its own for this key",
                "Let the key and the CA lead to the same view (match-clients). If only this machine is shown another"
                " view, set propagation = resolvers … or seconds … in the [dns-01] section.",
            )
    return ChallengeError(
        f"{accepted}, after {waited:.0f} s, does not show {name}{_more_names(one)}: {one.last_result.detail}",
        "Read that server's log: it leaves out what its policy forbids (PowerDNS does, and writes there: Not permitted"
        " by policy). If it passes UPDATEs on to another server, name that one as server in the [dns-01] section.",
    )


def _too_late(overdue: Sequence[ServerProgress], listed: Sequence[ServerProgress], waited: float) -> ChallengeError:
    lines = [
        f"{one.server.endpoint} for {one.last_name}{_more_names(one)}: {one.last_result.detail}"
        for one in overdue[:_MOST_SERVERS]
    ]
    if len(overdue) > _MOST_SERVERS:
        lines.append(f"and {len(overdue) - _MOST_SERVERS} more")
    zones = ", ".join(dict.fromkeys(str(one.check.zone) for one in overdue))
    who = "resolvers" if overdue[0].server.recursive else "name servers"
    return ChallengeError(
        f"after {waited:.0f} s, {len(overdue)} of {len(listed)} addresses of {who} of {zones} do not show the"
        f" TXT records: {'; '.join(lines)}",
        next_step([one.last_result.status for one in overdue]),
    )


def _more_names(one: ServerProgress) -> str:
    return f" and {len(one.missing) - 1} more names" if len(one.missing) > 1 else ""


def next_step(statuses: Sequence[CheckStatus]) -> str:
    """Return what to do about the most serious status."""
    return next(_NEXT_STEPS[status] for status in _NEXT_STEPS if status in statuses)


_NEXT_STEPS = {
    CheckStatus.LAME: (
        "Have the zone loaded on the lame server, or take the server out of the zone's NS records: the CA asks it too."
    ),
    CheckStatus.FAILED: "Repair the server that fails (its log says why): the CA would fail on it too.",
    CheckStatus.NO_ANSWER: (
        "Is that server up, and port 53 open from here? If only this machine cannot reach it, set"
        " propagation = resolvers … or seconds … in the [dns-01] section."
    ),
    CheckStatus.NO_ROUTE: (
        "Set propagation = resolvers … or seconds … in the [dns-01] section: that server cannot be asked from here."
    ),
    CheckStatus.MISSING: (
        "Do NOTIFY and zone transfers to that server work? If they are only slow, raise timeout in the"
        " [dns-01] section."
    ),
}
