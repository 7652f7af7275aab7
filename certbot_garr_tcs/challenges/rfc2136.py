"""Prove control of names by dns-01, with dynamic updates (RFC 2136)."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

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
from certbot_garr_tcs.challenges.notes import LeftBehind, Notes, Presented
from certbot_garr_tcs.challenges.sections import DNS_01
from certbot_garr_tcs.errors import GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from certbot_garr_tcs.challenges.sections import SolverSection

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
        self._forget(one for one in sent if one.refused)
        self._doubtful.update(entry.record for one in sent if one.denied for entry in one.entries)
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

    def withdraw_left_behind(self) -> None:
        """Delete the values that killed runs left behind; what fails is logged, and tried again later."""
        for left in self._notes.left_behind():
            try:
                failed = self._withdraw(left)
            except GarrTcsError as error:
                logger.warning("TXT records of a killed run are not withdrawn: %s", error)
                failed = left.presented
            if not left.keep(failed):
                logger.warning(
                    "Giving up on TXT records that a killed run left behind; delete them by hand: %s",
                    ", ".join(f"{one.name} {one.value!r} (zone {one.zone})" for one in failed),
                )

    def describe(self, challenges: Iterable[Challenge]) -> str:
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

    def _withdraw(self, left: LeftBehind) -> list[Presented]:
        """Delete what one dead run noted; return what could not be deleted."""
        noted = {self._left_entry(one): one for one in left.presented}
        failed: list[Presented] = []
        for sent in send(self._client, noted, add=False):
            names = ", ".join(sorted({str(entry.record.name) for entry in sent.entries}))
            if sent.error is None:
                logger.info("Withdrew TXT records that a killed run left at %s", names)
            else:
                logger.warning("A killed run left TXT records at %s: %s", names, sent.error)
                failed += [noted[entry] for entry in sent.entries]
        return failed

    def _left_entry(self, one: Presented) -> Entry:
        """Find the way to a value of a dead run: its zone and server, and the key we have now."""
        name = dns.name.from_text(one.name)
        zone = dns.name.from_text(one.zone)
        door = self._places.door_for(zone, name, parse_server(one.server), signed=one.signed)
        return Entry(door, TxtRecord(name, one.value), name)

    def _never_there(self, deleted: Sent) -> bool:
        return deleted.denied and all(entry.record in self._doubtful for entry in deleted.entries)

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
