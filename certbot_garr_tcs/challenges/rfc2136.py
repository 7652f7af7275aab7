"""Solve dns-01 by dynamic updates of the zone itself (RFC 8555 §8.4, RFC 2136)."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import dns.exception
import dns.name
from zope.interface import implementer

from certbot_garr_tcs.challenges.dns.client import Client, raise_errors, run_concurrently
from certbot_garr_tcs.challenges.dns.diagnosis import DnsDiagnosis, diagnose
from certbot_garr_tcs.challenges.dns.endpoints import parse_server
from certbot_garr_tcs.challenges.dns.location import RecordLocator
from certbot_garr_tcs.challenges.dns.propagation import PropagationWaiter
from certbot_garr_tcs.challenges.dns.resolver import Resolver, ResolverConfig, system_resolver_config
from certbot_garr_tcs.challenges.dns.updates import PendingRecord, UpdateResult, update_records
from certbot_garr_tcs.challenges.interfaces import Challenge, ISolver
from certbot_garr_tcs.challenges.published import DAYS_KEPT, PublishedRecord, PublishedRecords, StaleRecords
from certbot_garr_tcs.challenges.settings import DNS_01
from certbot_garr_tcs.errors import ChallengeError, GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from certbot_garr_tcs.challenges.settings import SolverSection

logger = logging.getLogger(__name__)

_MOST_IDENTIFIERS = 3
"""That one diagnosis shows in full."""


@implementer(ISolver)
class Rfc2136Solver:
    """Solves dns-01 for all ``[dns-01]`` sections with a server of their own.

    One solver serves all sections, so that values of one zone share an UPDATE however their names came there.
    ``sections``: all of garr-tcs.ini. ``published``: what to delete later, on disk. ``resolver_config``: this machine's
    own when ``None``. ``progress`` gets one line each time something may have changed.
    """

    challenge_type = DNS_01

    def __init__(  # noqa: PLR0913 - network, clock and sleep are arguments, so that tests need no patches
        self,
        sections: Sequence[SolverSection],
        published: PublishedRecords,
        *,
        client: Client | None = None,
        resolver_config: ResolverConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        progress: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._client = client or Client()
        self._resolver = Resolver(self._client, resolver_config or system_resolver_config())
        self._locator = RecordLocator(sections, self._resolver)
        self._waiter = PropagationWaiter(self._client, self._resolver, clock, sleep)
        self._published = published
        self._progress = progress
        self._pending: dict[Challenge, PendingRecord] = {}
        self._rejected: set[PendingRecord] = set()

    def present(self, challenges: Iterable[Challenge]) -> None:
        """Add every value: one UPDATE for each zone, after all locations are known and on disk."""
        wanted = list(challenges)
        identifiers = list(dict.fromkeys(challenge.identifier for challenge in wanted))
        locations = dict(zip(identifiers, raise_errors(run_concurrently(self._locator.locate, identifiers))))
        records = {one: PendingRecord(locations[one.identifier], one.validation) for one in wanted}
        self._published.add(map(_published, records.values()))
        self._pending.update(records)
        results = update_records(self._client, records.values(), add=True)
        accepted_by = {record: result.accepted_by for result in results for record in result.records}
        for challenge, record in records.items():
            self._pending[challenge] = replace(record, accepted_by=accepted_by[record])
        self._rejected.update(record for result in results if result.rejection for record in result.records)
        self._forget(result for result in results if result.untouched)
        _raise_errors(results)

    def wait(self, challenges: Iterable[Challenge]) -> None:
        """Return when all authoritative servers (or what the section says) show every value."""
        records = [self._pending[challenge] for challenge in challenges if challenge in self._pending]
        self._waiter.wait(records, self._report)

    def clean_up(self, challenges: Iterable[Challenge]) -> None:
        """Delete the values that ``present`` sent, and no other; what fails stays on disk.

        A refusal of ``present`` that nobody signed may have been forged; where deleting is refused too, the values
        are not there.
        """
        records = [self._pending[one] for one in dict.fromkeys(challenges) if one in self._pending]
        results = update_records(self._client, records, add=False)
        gone = [result for result in results if result.error is None or self._was_never_there(result)]
        self._forget(gone)
        _raise_errors(result for result in results if result not in gone)

    def clean_up_stale(self) -> None:
        """Delete the values that earlier runs left behind; what fails is logged, and left to the next run."""
        for stale in self._published.stale():
            failed = self._delete(stale)
            if not stale.retry_later(failed):
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
        """Return what the DNS shows at this moment (TXT, CAA, CNAME), and one next step; for ``auth_hint``."""
        values: dict[str, frozenset[str]] = {}
        for one in challenges:
            values[one.identifier] = values.get(one.identifier, frozenset()) | {one.validation}
        found = run_concurrently(lambda item: self._diagnose(*item), list(values.items()))
        lines = [
            f"{name}: {one.message}" if isinstance(one, ChallengeError) else str(one)
            for name, one in zip(values, found)
        ]
        if len(lines) > _MOST_IDENTIFIERS:
            lines[_MOST_IDENTIFIERS:] = [f"and {len(lines) - _MOST_IDENTIFIERS} more names"]
        steps = [one.hint if isinstance(one, ChallengeError) else one.next_step for one in found]
        return ". ".join(line.rstrip(".") for line in [*lines, *steps[:1]])

    def _diagnose(self, identifier: str, values: frozenset[str]) -> DnsDiagnosis:
        location = self._locator.locate(identifier)
        checks = self._waiter.checks([PendingRecord(location, value) for value in values])
        return diagnose(identifier, location, checks, self._client, self._resolver)

    def _delete(self, stale: StaleRecords) -> list[PublishedRecord]:
        """Delete what one dead run published; return what may still be there."""
        located: dict[PendingRecord, PublishedRecord] = {}
        failed: list[PublishedRecord] = []
        for one in stale.records:
            try:
                located[self._locate_stale(one)] = one
            except (GarrTcsError, dns.exception.DNSException) as error:  # noqa: PERF203 - few, and rare
                logger.warning("TXT records that an earlier run left at %s are not deleted: %s", one.name, error)
                failed.append(one)
        for result in update_records(self._client, located, add=False):
            names = ", ".join(sorted({str(record.name) for record in result.records}))
            if result.error is None:
                logger.info("Deleted TXT records that an earlier run left at %s", names)
                continue
            logger.warning("TXT records that an earlier run left at %s are not deleted: %s", names, result.error)
            failed += [located[record] for record in result.records]
        return failed

    def _locate_stale(self, one: PublishedRecord) -> PendingRecord:
        zone, name = dns.name.from_text(one.zone), dns.name.from_text(one.name)
        location = self._locator.locate_stale(zone, name, parse_server(one.server), signed=one.signed)
        return PendingRecord(location, one.value)

    def _was_never_there(self, deleted: UpdateResult) -> bool:
        return deleted.rejection is not None and self._rejected.issuperset(deleted.records)

    def _forget(self, results: Iterable[UpdateResult]) -> None:
        """Remove what is not in the DNS (any more)."""
        gone = {record for result in results for record in result.records}
        self._published.remove(_published(record) for record in gone)
        self._pending = {challenge: record for challenge, record in self._pending.items() if record not in gone}

    def _report(self, shown: int, total: int, seconds: float) -> None:
        seen = f"TXT records seen at {shown} of {total} name servers" if total else "waiting as configured"
        self._progress(f"{seen} after {seconds:.0f} s")


def _published(record: PendingRecord) -> PublishedRecord:
    target = record.location.target
    return PublishedRecord(str(target.zone), str(record.name), record.value, str(target.server), target.key is not None)


def _raise_errors(results: Iterable[UpdateResult]) -> None:
    raise_errors([result.error for result in results if result.error is not None])
