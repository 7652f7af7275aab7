"""Prove control of names by dns-01, with dynamic updates (RFC 2136)."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import dns.exception
import dns.name
from zope.interface import implementer
from zope.interface.verify import verifyObject

from certbot_garr_tcs.challenges.dns.client import Client
from certbot_garr_tcs.challenges.dns.diagnosis import View, view
from certbot_garr_tcs.challenges.dns.endpoints import parse_server
from certbot_garr_tcs.challenges.dns.lookup import Lookup, Surroundings, system_surroundings
from certbot_garr_tcs.challenges.dns.places import Places
from certbot_garr_tcs.challenges.dns.together import results, together
from certbot_garr_tcs.challenges.dns.updater import Entry, Sent, send
from certbot_garr_tcs.challenges.dns.updates import TxtRecord
from certbot_garr_tcs.challenges.dns.waiting import Awaited, Waiter
from certbot_garr_tcs.challenges.interfaces import Challenge, ISolver
from certbot_garr_tcs.challenges.notes import DAYS_KEPT, Notes, Presented, StaleRecords
from certbot_garr_tcs.challenges.settings import DNS_01
from certbot_garr_tcs.errors import GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from certbot_garr_tcs.challenges.settings import SolverSection

logger = logging.getLogger(__name__)

_TOLD = 3
"""Identifiers that one description tells in full."""


@implementer(ISolver)
class Rfc2136Solver:
    """Solve dns-01 for all ``[dns-01]`` sections with a server of their own, in one go.

    One solver serves all sections, so that values of one zone share an UPDATE however their names came
    there. ``sections``: all of garr-tcs.ini. ``surroundings``: what is around this machine, its own
    when ``None``. ``progress`` gets one line each time something may have changed.
    """

    challenge_type = DNS_01

    def __init__(  # noqa: PLR0913 - network, clock and sleep are arguments, so that tests need no patches
        self,
        sections: Sequence[SolverSection],
        notes: Notes,
        *,
        client: Client | None = None,
        surroundings: Surroundings | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Keep what is needed; ask nothing yet."""
        self._client = client or Client()
        self._lookup = Lookup(self._client, surroundings or system_surroundings())
        self._places = Places(sections, self._lookup)
        self._waiter = Waiter(self._client, self._lookup, clock, sleep)
        self._notes = notes
        self._progress = progress
        self._placed: dict[Challenge, Awaited] = {}
        self._doubtful: set[TxtRecord] = set()
        verifyObject(ISolver, self)

    def present(self, challenges: Iterable[Challenge]) -> None:
        """Add every value: one UPDATE for each zone, after all places are known and noted on disk."""
        wanted = list(challenges)
        identifiers = list(dict.fromkeys(challenge.identifier for challenge in wanted))
        places = dict(zip(identifiers, results(together(self._places.find, identifiers))))
        awaited = {}
        for challenge in wanted:
            place = places[challenge.identifier]
            awaited[challenge] = Awaited(place, TxtRecord(place.name, challenge.validation))
        self._notes.add(_presented(one) for one in awaited.values())
        self._placed.update(awaited)
        sent = send(self._client, [_entry(one) for one in awaited.values()], add=True)
        self._forget(one for one in sent if one.untouched)
        self._doubtful.update(entry.record for one in sent if one.refusal for entry in one.entries)
        accepted_by = {entry.record: one.accepted_by for one in sent for entry in one.entries}
        for challenge in self._placed.keys() & awaited.keys():
            one = awaited[challenge]
            self._placed[challenge] = replace(one, accepted_by=accepted_by[one.record])
        _raise_errors(sent)

    def wait(self, challenges: Iterable[Challenge]) -> None:
        """Look until all authoritative servers (or what the section says) show every value."""
        awaited = [self._placed[challenge] for challenge in challenges if challenge in self._placed]
        self._waiter.wait(awaited, self._tell)

    def clean_up(self, challenges: Iterable[Challenge]) -> None:
        """Delete the values that ``present`` sent, and no other; what fails stays noted.

        A no to adding them may have been forged, where nobody signed it: after a second no they are not there.
        """
        entries = [_entry(self._placed[one]) for one in dict.fromkeys(challenges) if one in self._placed]
        sent = send(self._client, entries, add=False)
        gone = [one for one in sent if one.error is None or self._never_there(one)]
        self._forget(gone)
        _raise_errors(one for one in sent if one not in gone)

    def clean_up_stale(self) -> None:
        """Delete the values that earlier runs left behind; what fails is logged, and left to the next run."""
        for stale in self._notes.stale():
            failed = self._delete(stale)
            if not stale.keep(failed):
                by_hand = "; ".join(
                    f'zone {one.zone} at {one.server}: update delete {one.name} TXT "{one.value}"' for one in failed
                )
                logger.error(
                    "For %d days, TXT records that an earlier run left behind could not be deleted, and this is not"
                    " tried again. Delete them by hand, with nsupdate: %s",
                    DAYS_KEPT,
                    by_hand,
                )

    def diagnose(self, challenges: Iterable[Challenge]) -> str:
        """Say what we see at this moment (TXT, CAA, CNAME), and one next step; for ``auth_hint``."""
        values: dict[str, frozenset[str]] = {}
        for one in challenges:
            values[one.identifier] = values.get(one.identifier, frozenset()) | {one.validation}
        seen = together(self._view, list(values.items()))
        lines = [str(one) if isinstance(one, View) else f"{name}: {one.message}" for name, one in zip(values, seen)]
        if len(lines) > _TOLD:
            lines[_TOLD:] = [f"and {len(lines) - _TOLD} more names"]
        steps = [one.step if isinstance(one, View) else one.hint for one in seen]
        return ". ".join(line.rstrip(".") for line in [*lines, *steps[:1]])

    def _view(self, challenged: tuple[str, frozenset[str]]) -> View:
        """Look once at one name, without waiting."""
        identifier, values = challenged
        place = self._places.find(identifier)
        awaited = [Awaited(place, TxtRecord(place.name, value)) for value in values]
        witnesses = [one for each in self._waiter.expectations(awaited) for one in each.witnesses]
        return view(challenged, place, witnesses, self._client, self._lookup)

    def _delete(self, stale: StaleRecords) -> list[Presented]:
        """Delete what one dead run noted; return what may still be there."""
        noted: dict[Entry, Presented] = {}
        failed: list[Presented] = []
        for one in stale.presented:
            try:
                noted[self._stale_entry(one)] = one
            except (GarrTcsError, dns.exception.DNSException) as error:  # noqa: PERF203 - few, and rare
                logger.warning("TXT records that an earlier run left at %s are not deleted: %s", one.name, error)
                failed.append(one)
        for sent in send(self._client, noted, add=False):
            names = ", ".join(sorted({str(entry.record.name) for entry in sent.entries}))
            if sent.error is None:
                logger.info("Deleted TXT records that an earlier run left at %s", names)
                continue
            logger.warning("TXT records that an earlier run left at %s are not deleted: %s", names, sent.error)
            failed += [noted[entry] for entry in sent.entries]
        return failed

    def _stale_entry(self, one: Presented) -> Entry:
        """Find the way to a value of an earlier run: its zone and server, and the key we have now."""
        name = dns.name.from_text(one.name)
        zone = dns.name.from_text(one.zone)
        door = self._places.door_for(zone, name, parse_server(one.server), signed=one.signed)
        return Entry(door, TxtRecord(name, one.value), name)

    def _never_there(self, deleted: Sent) -> bool:
        return deleted.refusal is not None and all(entry.record in self._doubtful for entry in deleted.entries)

    def _forget(self, sent: Iterable[Sent]) -> None:
        """Strike off what is not there (any more)."""
        gone = {entry.record for one in sent for entry in one.entries}
        struck = {challenge: one for challenge, one in self._placed.items() if one.record in gone}
        self._notes.remove(_presented(one) for one in struck.values())
        for challenge in struck:
            del self._placed[challenge]

    def _tell(self, shown: int, total: int, seconds: float) -> None:
        seen = f"TXT records seen at {shown} of {total} name servers" if total else "waiting as configured"
        self._progress(f"{seen} after {seconds:.0f} s")


def _entry(one: Awaited) -> Entry:
    return Entry(one.place.door, one.record, one.place.chain[0])


def _presented(one: Awaited) -> Presented:
    door = one.place.door
    return Presented(str(door.zone), str(one.record.name), one.record.value, str(door.server), door.key is not None)


def _raise_errors(sent: Iterable[Sent]) -> None:
    results([one.error for one in sent if one.error is not None])
