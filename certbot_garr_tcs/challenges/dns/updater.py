"""Have many values added or deleted, in one UPDATE for each zone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from certbot_garr_tcs.challenges.dns.answers import UpdateRefusedError
from certbot_garr_tcs.challenges.dns.together import together
from certbot_garr_tcs.challenges.dns.updates import TxtRecord, build_update, split
from certbot_garr_tcs.errors import ChallengeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import dns.name

    from certbot_garr_tcs.challenges.dns.client import Client
    from certbot_garr_tcs.challenges.dns.places import Door


@dataclass(frozen=True)
class Entry:
    """Say which value goes through which door; ``asked`` is the name before CNAMEs."""

    door: Door
    record: TxtRecord
    asked: dns.name.Name


@dataclass(frozen=True)
class Sent:
    """Say what became of one UPDATE; ``refused``: the server said no, so nothing of it was applied."""

    entries: tuple[Entry, ...]
    error: ChallengeError | None = None

    @property
    def refused(self) -> bool:
        """Tell a clear no from an open question."""
        return isinstance(self.error, _NoError)

    @property
    def denied(self) -> bool:
        """Tell an answer that says no, whether or not it is certain that it is the server's."""
        cause = self.error.__cause__ if self.error else None
        return isinstance(cause, UpdateRefusedError) and cause.answer != "SERVFAIL"


class _NoError(ChallengeError):
    """The server's no, in the words of the names that were asked for."""


def send(client: Client, entries: Iterable[Entry], *, add: bool) -> list[Sent]:
    """Send the UPDATEs for all entries, zones side by side; return what became of each."""
    jobs = _jobs(entries)
    outcomes = together(_sender(client, add=add), jobs)
    return [
        Sent(entries=job[1], error=outcome if isinstance(outcome, ChallengeError) else None)
        for job, outcome in zip(jobs, outcomes)
    ]


def _jobs(entries: Iterable[Entry]) -> list[tuple[Door, tuple[Entry, ...]]]:
    """Put all entries of one door together, and cut them only where a message would be too large."""
    by_door: dict[Door, dict[TxtRecord, Entry]] = {}
    for entry in entries:
        by_door.setdefault(entry.door, {})[entry.record] = entry
    return [
        (door, tuple(known[record] for record in part))
        for door, known in by_door.items()
        for part in split(list(known))
    ]


def _sender(client: Client, *, add: bool) -> Callable[[tuple[Door, tuple[Entry, ...]]], None]:
    def send_one(job: tuple[Door, tuple[Entry, ...]]) -> None:
        door, entries = job
        message = build_update(door.zone, [entry.record for entry in entries], add=add)
        try:
            client.update(door.endpoints, message, door.key, door.section, timeout_seconds=door.timeout_seconds)
        except ChallengeError as error:
            definite = isinstance(error, UpdateRefusedError) and error.definite
            raise (_NoError if definite else ChallengeError)(*_in_their_words(error, entries)) from error

    return send_one


def _in_their_words(error: ChallengeError, entries: tuple[Entry, ...]) -> tuple[str, str]:
    """Return message and hint; where a CNAME led into the zone, say so, and which section is missing."""
    led = [entry for entry in entries if entry.asked != entry.record.name]
    if not led:
        return error.message, error.hint
    message = f"{led[0].asked} is a CNAME that leads to {led[0].record.name}: {error.message}"
    door = led[0].door
    if not door.missing_section:
        return message, error.hint
    return message, f"Add a section {door.section} with the server and key of that zone to garr-tcs.ini."
