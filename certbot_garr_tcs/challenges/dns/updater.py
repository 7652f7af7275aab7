"""Have many values added or deleted, in one UPDATE for each zone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from certbot_garr_tcs.challenges.dns.answers import BY_NAME, Hint, UpdateRefusedError
from certbot_garr_tcs.challenges.dns.sightings import find_ttl
from certbot_garr_tcs.challenges.dns.together import together
from certbot_garr_tcs.challenges.dns.transport import NoAnswerError
from certbot_garr_tcs.challenges.dns.updates import TxtRecord, build_update, split
from certbot_garr_tcs.errors import ChallengeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import dns.name

    from certbot_garr_tcs.challenges.dns.client import Client
    from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
    from certbot_garr_tcs.challenges.dns.places import Door

    Ttls = Mapping[tuple[Door, dns.name.Name], int]

MOST_REFUSALS = 5
"""Where so many names, tried one by one, are all refused, the others are not tried."""

MOST_NAMES = 5
"""That a message lists."""


@dataclass(frozen=True)
class Entry:
    """Say which value goes through which door; ``asked`` is the name before CNAMEs."""

    door: Door
    record: TxtRecord
    asked: dns.name.Name


@dataclass(frozen=True)
class Sent:
    """What became of one UPDATE.

    ``refusal``: an answer that says no, whether or not it is certain that it is the server's. ``untouched``: certainly
    nothing of it was applied, because the server refused it (RFC 2136 §3.7) or it never arrived. ``accepted_by``: the
    address that said, or showed, that it was applied.
    """

    entries: tuple[Entry, ...]
    error: ChallengeError | None = None
    refusal: UpdateRefusedError | None = None
    untouched: bool = False
    accepted_by: Endpoint | None = None


def send(client: Client, entries: Iterable[Entry], *, add: bool) -> list[Sent]:
    """Send the UPDATEs for all entries, zones side by side; return what became of each."""
    jobs = _jobs(entries)
    ttls = _ttls_there(client, jobs) if add else {}
    outcomes = together(lambda job: _send(client, job, ttls, add=add), jobs)
    return [sent for outcome in outcomes if not isinstance(outcome, ChallengeError) for sent in outcome]


def _jobs(entries: Iterable[Entry]) -> list[tuple[Entry, ...]]:
    """Put all entries of one door together, and cut them only where a message would be too large."""
    by_door: dict[Door, dict[TxtRecord, Entry]] = {}
    for entry in entries:
        by_door.setdefault(entry.door, {})[entry.record] = entry
    return [tuple(known[record] for record in part) for known in by_door.values() for part in split(list(known))]


def _ttls_there(client: Client, jobs: Sequence[Sequence[Entry]]) -> Ttls:
    """Return the TTL of each TXT RRset that is there already, as the server that will be updated shows it."""
    wanted = list(dict.fromkeys((entry.door, entry.record.name) for job in jobs for entry in job))
    silent: set[Door] = set()

    def read(where: tuple[Door, dns.name.Name]) -> int | None:
        door, name = where
        try:
            return None if door in silent else find_ttl(client, door.endpoints, name, door.key)
        except NoAnswerError:
            silent.add(door)  # the UPDATE will say so
            return None

    return {where: ttl for where, ttl in zip(wanted, together(read, wanted)) if isinstance(ttl, int)}


def _send(client: Client, entries: tuple[Entry, ...], ttls: Ttls, *, add: bool) -> list[Sent]:
    """Send one UPDATE; where it is refused, find out by which name."""
    sent = _update(client, entries, ttls, add=add)
    by_name = _by_name(entries) if sent.refusal is not None and sent.refusal.answer in BY_NAME else []
    if sent.refusal is None or len(by_name) < 2:  # noqa: PLR2004 - one name needs no second try
        return [sent]
    tried = _delete_by_name(client, by_name)
    refused = tuple(entry for one in tried if one.refusal for entry in one.entries)
    if not refused:
        return [sent] if add else tried
    error = _in_their_words(sent.refusal, refused, partly=len(refused) < len(entries))
    if add:
        return [replace(sent, error=error)]
    return [replace(sent, entries=refused, error=error), *(one for one in tried if not one.refusal)]


def _update(client: Client, entries: tuple[Entry, ...], ttls: Ttls, *, add: bool) -> Sent:
    door = entries[0].door
    ttls_here = {name: ttl for (other, name), ttl in ttls.items() if other == door}
    message = build_update(door.zone, [entry.record for entry in entries], add=add, ttls_seconds=ttls_here)
    try:
        accepted_by = client.update(
            door.endpoints, message, door.key, door.section, timeout_seconds=door.timeout_seconds
        )
    except ChallengeError as error:
        refusal = error if isinstance(error, UpdateRefusedError) and error.answer != "SERVFAIL" else None
        never_arrived = isinstance(error, NoAnswerError) and not error.silence.may_have_arrived
        untouched = never_arrived or (refusal is not None and refusal.definite)
        return Sent(entries, _in_their_words(error, entries), refusal, untouched)
    return Sent(entries, accepted_by=accepted_by)


def _by_name(entries: tuple[Entry, ...]) -> list[tuple[Entry, ...]]:
    """Return the entries of each name."""
    grouped: dict[dns.name.Name, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.record.name, []).append(entry)
    return [tuple(group) for group in grouped.values()]


def _delete_by_name(client: Client, by_name: Sequence[tuple[Entry, ...]]) -> list[Sent]:
    """Delete name by name, and return what became of each.

    After a refused deletion, this deletes what may be deleted. After a refused addition nothing is there to be
    deleted: it asks which names the key may change, and changes nothing.
    """
    tried: list[Sent] = []
    while len(tried) < len(by_name):
        tried.append(_update(client, by_name[len(tried)], {}, add=False))
        if len(tried) == MOST_REFUSALS and all(sent.error for sent in tried):
            return [*tried, *(replace(tried[-1], entries=entries) for entries in by_name[len(tried) :])]
    return tried


def _in_their_words(error: ChallengeError, entries: tuple[Entry, ...], *, partly: bool = False) -> ChallengeError:
    """Return the error in terms of the names that it is about; ``partly``: the UPDATE had others too."""
    door = entries[0].door
    names = _listed(entries)
    message, hint = error.message, error.hint
    if isinstance(error, UpdateRefusedError):
        key = None if door.key is None else door.key.name.to_text()
        known = Hint(door.zone.to_text(), door.section, key, names)
        hint = known.on_these_names_alone() if partly else known.on(error.answer)
    if partly:
        message = f"{message} for {names} (not for the other names of the same UPDATE)"
    led = [entry for entry in entries if entry.asked != entry.record.name]
    if led:
        message = f"{led[0].asked} is a CNAME that leads to {led[0].record.name}: {message}"
        if door.missing_section:
            hint = f"Add a section {door.section} with the server and key of that zone to garr-tcs.ini."
    return ChallengeError(message, hint)


def _listed(entries: Iterable[Entry]) -> str:
    names = list(dict.fromkeys(str(entry.record.name) for entry in entries))
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
