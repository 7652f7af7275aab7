"""Look until every name server shows every value, or time is up."""

from __future__ import annotations

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

_ERRORS_TOLD = 6


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

    def __post_init__(self) -> None:
        """Expect every name."""
        self.missing = list(self.expectation.values)
        self.asked_last = self.missing[0]

    def look_at(self, name: dns.name.Name, client: Client) -> None:
        """Ask for one name; strike it off where it is shown."""
        sighting = look(client, self.witness, name, self.expectation.values[name])
        if sighting.seen is Seen.SHOWN:
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

    Each witness is asked for one name that it still misses, a different one each time, and for the
    others only once it shows that one: a zone arrives as a whole, so waiting costs one question per
    witness and round. ``clock`` and ``sleep`` are in seconds; ``progress`` gets how many witnesses show
    everything, out of how many, and the seconds since the start.
    """
    watches = [Watch(expectation, witness) for expectation in expectations for witness in expectation.witnesses]
    started = clock()
    while True:
        _look_around(watches, client)
        waited = clock() - started
        pending = [watch for watch in watches if watch.missing and not excused(watch, watches)]
        progress(sum(not watch.missing for watch in watches), _counted(watches, pending), waited)
        if not pending:
            return
        overdue = [watch for watch in pending if waited >= watch.expectation.timeout_seconds]
        if overdue:
            raise _too_late(overdue, watches, waited)
        nearest = min(watch.expectation.timeout_seconds for watch in pending)
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
    """Ask every witness for one name, then those that show it for the rest."""
    open_watches = [watch for watch in watches if watch.missing]
    first = []
    for watch in open_watches:
        first.append((watch, watch.missing[watch.rounds % len(watch.missing)]))
        watch.rounds += 1
    results(together(lambda pair: pair[0].look_at(pair[1], client), first))
    rest = [(watch, name) for watch, asked in first if asked not in watch.missing for name in watch.missing]
    results(together(lambda pair: pair[0].look_at(pair[1], client), rest))


def _counted(watches: Sequence[Watch], pending: Sequence[Watch]) -> int:
    return sum(not watch.missing for watch in watches) + len(pending)


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
