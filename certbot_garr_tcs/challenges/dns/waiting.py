"""Wait as each section says: look at name servers, look at resolvers, or let time pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from certbot_garr_tcs.challenges.dns.endpoints import parse_server
from certbot_garr_tcs.challenges.dns.lookup import Lookup, Source
from certbot_garr_tcs.challenges.dns.propagation import Expectation, wait_until_shown
from certbot_garr_tcs.challenges.dns.sightings import Witness
from certbot_garr_tcs.challenges.dns.together import results, together
from certbot_garr_tcs.challenges.dns.zones import find_name_servers
from certbot_garr_tcs.challenges.settings import PropagationMethod
from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import dns.name

    from certbot_garr_tcs.challenges.dns.client import Client
    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
    from certbot_garr_tcs.challenges.dns.places import Place
    from certbot_garr_tcs.challenges.dns.propagation import Progress
    from certbot_garr_tcs.challenges.dns.updates import TxtRecord

LONGEST_SLEEP_SECONDS = 5.0
"""So that a wait without looking shows progress too."""


@dataclass(frozen=True)
class Awaited:
    """Say which value has to be seen at which place; ``accepted_by``: the address that accepted its UPDATE."""

    place: Place
    record: TxtRecord
    accepted_by: Endpoint | None = None


@dataclass(frozen=True)
class Waiter:
    """Hold what waiting needs: whom to ask and by what clock (both in seconds)."""

    client: Client
    lookup: Lookup
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def wait(self, awaited: Sequence[Awaited], progress: Progress) -> None:
        """Return when every value is seen, and every fixed time has passed."""
        started = self.clock()
        expectations = self.expectations(awaited)
        if expectations:
            wait_until_shown(expectations, self.client, clock=self.clock, sleep=self.sleep, progress=progress)
        seconds = max(
            (
                one.place.settings.propagation.seconds
                for one in awaited
                if one.place.settings.propagation.method is PropagationMethod.SECONDS
            ),
            default=0.0,
        )
        while (left := started + seconds - self.clock()) > 0:
            progress(0, 0, self.clock() - started)
            self.sleep(min(left, LONGEST_SLEEP_SECONDS))

    def expectations(self, awaited: Sequence[Awaited]) -> list[Expectation]:
        """Put together what the same server accepted and what is looked for in the same way."""
        groups: dict[tuple[object, ...], list[Awaited]] = {}
        for one in awaited:
            how = one.place.settings.propagation
            if how.method is not PropagationMethod.SECONDS or one.accepted_by is not None:
                key = (one.place.door, one.accepted_by, how, one.place.settings.timeout_seconds)
                groups.setdefault(key, []).append(one)
        return results(together(self._expectation, list(groups.values())))

    def _expectation(self, group: list[Awaited]) -> Expectation:
        values: dict[dns.name.Name, frozenset[str]] = {}
        for one in group:
            values[one.record.name] = values.get(one.record.name, frozenset()) | {one.record.value}
        place = group[0].place
        return Expectation(
            zone=place.door.zone,
            values=values,
            witnesses=self._witnesses(group[0]),
            timeout_seconds=place.settings.timeout_seconds,
        )

    def _witnesses(self, one: Awaited) -> tuple[Witness, ...]:
        """Return whom to ask: the server that accepted the UPDATE, and those that the section says."""
        listed = self._listed(one.place)
        if one.accepted_by is None:
            return listed
        found = [each for each in listed if each.endpoint == one.accepted_by]
        accepted = found[0] if found else Witness(one.accepted_by, listed=False)
        others = (each for each in listed if each.endpoint != one.accepted_by)
        return (replace(accepted, accepted=True, key=one.place.door.key), *others)

    def _listed(self, place: Place) -> tuple[Witness, ...]:
        if place.settings.propagation.method is PropagationMethod.SECONDS:
            return ()
        if place.settings.propagation.method is PropagationMethod.AUTHORITATIVE:
            servers = find_name_servers(place.door.zone, self.lookup, place.source)
            return tuple(Witness(endpoint) for endpoint in servers)
        found = []
        for resolver in place.settings.propagation.resolvers:
            endpoints = self.lookup.endpoints(parse_server(resolver), Source())
            if not endpoints:
                raise DnsError(f"resolver {resolver} has no address", "Write its address in propagation.")
            found += [Witness(endpoint, recursive=True) for endpoint in endpoints]
        return tuple(found)
