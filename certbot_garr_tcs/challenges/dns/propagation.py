"""Look until every name server shows every value, or time is up."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certbot_garr_tcs.challenges.dns.sightings import Seen, Sighting, Witness, look
from certbot_garr_tcs.challenges.dns.together import results, together
from certbot_garr_tcs.errors import ChallengeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import dns.name

    from certbot_garr_tcs.challenges.dns.client import Client

    Progress = Callable[[int, int, float], None]

SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
PAUSE_SHARE = 0.1
"""Of the time waited so far, the next pause is this share: the delay found is never much overrun."""

_LEAST_PAUSE_SECONDS = 0.01
"""So that rounding never makes the last pause before a deadline so short that no time passes."""

APPLY_SECONDS = 10.0
"""For a server that accepted an UPDATE to show its values; one that forwards UPDATEs needs some of them."""

_ERRORS_TOLD = 6

_MISSING = threading.Lock()
"""Held while a name is struck off: names are compared by Python code, so two threads in one list would miss some."""


@dataclass(frozen=True)
class Expectation:
    """Say which values of one zone have to be shown by whom, and within which time."""

    zone: dns.name.Name
    values: Mapping[dns.name.Name, frozenset[str]]
    witnesses: tuple[Witness, ...]
    timeout_seconds: float


@dataclass
class Watch:
    """Remember what one witness has not shown yet."""

    expectation: Expectation
    witness: Witness
    missing: list[dns.name.Name] = field(init=False)
    last: Sighting = field(default=Sighting(Seen.SILENT, "not asked yet"))
    asked_last: dns.name.Name = field(init=False)
    rounds: int = 0
    cannot_be_asked: bool = False

    def __post_init__(self) -> None:
        """Expect every name."""
        self.missing = list(self.expectation.values)
        self.asked_last = self.missing[0]

    @property
    def is_open(self) -> bool:
        """Tell whether there is something to wait for."""
        return bool(self.missing) and not self.cannot_be_asked

    @property
    def does_not_apply(self) -> bool:
        """Tell whether the server accepted an UPDATE, and does not show all that was in it."""
        return self.witness.accepted and self.is_open and self.last.seen is Seen.MISSING

    @property
    def timeout_seconds(self) -> float:
        """Return for how long to wait: not for long where it will not help."""
        whole = self.expectation.timeout_seconds
        return min(APPLY_SECONDS, whole) if self.does_not_apply else whole

    def look_at(self, name: dns.name.Name, client: Client) -> None:
        """Ask for one name; strike it off where it is shown."""
        values = self.expectation.values[name]
        sighting = look(client, self.witness, name, values)
        if not self.witness.listed:
            # Nobody else asks this server: a view of its own for our key is nobody's problem, and silence neither.
            if sighting.seen is Seen.MISSING and self.witness.key is not None:
                sighting = look(client, self.witness, name, values, self.witness.key)
            self.cannot_be_asked = self.cannot_be_asked or sighting.seen not in {Seen.SHOWN, Seen.MISSING}
        if sighting.seen is Seen.SHOWN:
            with _MISSING:
                self.missing.remove(name)
        if sighting.seen is not Seen.SHOWN or not self.missing:
            self.asked_last, self.last = name, sighting


def wait_until_shown(
    expectations: Sequence[Expectation],
    client: Client,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    progress: Progress,
) -> None:
    """Return once all witnesses show all values; raise ``ChallengeError`` when an expectation's time is up.

    The server that accepted an UPDATE is asked first, and the others once it shows everything. Each witness is
    asked for one name that it still misses, a different one each time, and for the others only once it
    shows that one: a zone arrives as a whole, so waiting costs one question per witness and round. ``clock``
    and ``sleep`` are in seconds; ``progress`` gets how many listed witnesses show everything, out of how many,
    and the seconds since the start.
    """
    watches = [Watch(expectation, witness) for expectation in expectations for witness in expectation.witnesses]
    started = clock()
    while True:
        _look_around(watches, client)
        waited = clock() - started
        pending = [watch for watch in watches if watch.is_open and not excused(watch, watches)]
        listed = [watch for watch in watches if watch.witness.listed]
        shown = sum(not watch.missing for watch in listed)
        progress(shown, shown + sum(watch in pending for watch in listed), waited)
        if not pending:
            return
        overdue = [watch for watch in pending if waited >= watch.timeout_seconds]
        for watch in overdue:
            if watch.does_not_apply:
                raise _not_applied(watch, client, waited)
        if overdue:
            raise _too_late(overdue, listed, waited)
        nearest = min(watch.timeout_seconds for watch in pending)
        sleep(max(_LEAST_PAUSE_SECONDS, min(next_pause_seconds(waited), nearest - waited)))


def next_pause_seconds(waited_seconds: float) -> float:
    """Return how long to pause: short at first, longer the longer it takes."""
    return min(LONGEST_PAUSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, waited_seconds * PAUSE_SHARE))


def excused(watch: Watch, watches: Sequence[Watch]) -> bool:
    """Tell whether an address cannot be judged from here, while its server is seen at another one.

    No route says so plainly. Silence says so for IPv6 only where no IPv6 address at all gives an
    answer: then it is our network, not the server.
    """
    no_route = watch.last.seen is Seen.NO_ROUTE
    endpoint = watch.witness.endpoint
    if watch.last.seen is Seen.SILENT and endpoint.is_ipv6:
        no_route = not any(other.last.answered for other in watches if other.witness.endpoint.is_ipv6)
    return no_route and any(
        other.last.answered
        for other in watches
        if other.expectation.zone == watch.expectation.zone
        and endpoint.host
        and other.witness.endpoint.host == endpoint.host
    )


def _look_around(watches: Sequence[Watch], client: Client) -> None:
    """Ask the servers that accepted UPDATEs, then those of the others whose turn it is.

    A resolver that is asked too early remembers that there was nothing.
    """
    _ask([watch for watch in watches if watch.is_open and watch.witness.accepted], client)
    not_yet = [watch.expectation for watch in watches if watch.does_not_apply]
    others = [watch for watch in watches if watch.is_open and not watch.witness.accepted]
    _ask([watch for watch in others if not any(watch.expectation is one for one in not_yet)], client)


def _ask(watches: Sequence[Watch], client: Client) -> None:
    """Ask every witness for one name, then those that show it for the rest."""
    first = []
    for watch in watches:
        first.append((watch, watch.missing[watch.rounds % len(watch.missing)]))
        watch.rounds += 1
    results(together(lambda pair: pair[0].look_at(pair[1], client), first))
    rest = [
        (watch, name)
        for watch, asked in first
        if watch.is_open and asked not in watch.missing
        for name in watch.missing
    ]
    results(together(lambda pair: pair[0].look_at(pair[1], client), rest))


def _not_applied(watch: Watch, client: Client, waited: float) -> ChallengeError:
    """Make the error of a server that accepted an UPDATE and does not show what was in it."""
    witness, name = watch.witness, watch.asked_last
    told = f"{witness.endpoint} accepted the UPDATE of {watch.expectation.zone} and"
    if witness.key is not None:
        sighting = look(client, witness, name, watch.expectation.values[name], witness.key)
        if sighting.seen is Seen.SHOWN:
            return ChallengeError(
                f"{told} shows {name} only to who asks with the key: it has a view of its own for this key",
                "Let the key and the CA lead to the same view (match-clients). If only this machine is shown another"
                " view, set propagation = resolvers … or seconds … in the [dns-01] section.",
            )
    more = f" and {len(watch.missing) - 1} more names" if len(watch.missing) > 1 else ""
    return ChallengeError(
        f"{told}, after {waited:.0f} s, does not show {name}{more}: {watch.last.detail}",
        "Read that server's log: it leaves out what its policy forbids (PowerDNS does, and writes there: Not permitted"
        " by policy). If it passes UPDATEs on to another server, name that one as server in the [dns-01] section.",
    )


def _too_late(overdue: Sequence[Watch], watches: Sequence[Watch], waited: float) -> ChallengeError:
    told = []
    for watch in overdue[:_ERRORS_TOLD]:
        more = f" and {len(watch.missing) - 1} more names" if len(watch.missing) > 1 else ""
        told.append(f"{watch.witness.endpoint} for {watch.asked_last}{more}: {watch.last.detail}")
    if len(overdue) > _ERRORS_TOLD:
        told.append(f"and {len(overdue) - _ERRORS_TOLD} more")
    zones = ", ".join(dict.fromkeys(str(watch.expectation.zone) for watch in overdue))
    who = "resolvers" if overdue[0].witness.recursive else "name servers"
    return ChallengeError(
        f"after {waited:.0f} s, {len(overdue)} of {len(watches)} addresses of {who} of {zones} do not show the"
        f" TXT records: {'; '.join(told)}",
        next_step([watch.last.seen for watch in overdue]),
    )


def next_step(seen: Sequence[Seen]) -> str:
    """Return what to do about the gravest thing that was seen."""
    return next(_STEPS[kind] for kind in _STEPS if kind in seen)


_STEPS = {
    Seen.LAME: (
        "Have the zone loaded on the lame server, or take the server out of the zone's NS records: the CA asks it too."
    ),
    Seen.FAILED: "Mend the server that fails (its log says why): the CA would fail on it too.",
    Seen.SILENT: (
        "Is that server up, and port 53 open from here? If only this machine cannot reach it, set"
        " propagation = resolvers … or seconds … in the [dns-01] section."
    ),
    Seen.NO_ROUTE: (
        "Set propagation = resolvers … or seconds … in the [dns-01] section: that server cannot be asked from here."
    ),
    Seen.MISSING: (
        "Do NOTIFY and zone transfers to that server work? If they are only slow, raise timeout in the"
        " [dns-01] section."
    ),
}
