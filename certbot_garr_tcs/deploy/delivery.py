"""Bring one target to its lineage: test, write, test, then reload, probe, commit; or undo it all."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy import ledger as states
from certbot_garr_tcs.deploy.ledger import Entry, Ledger, identity_of
from certbot_garr_tcs.deploy.material import check, dns_names
from certbot_garr_tcs.deploy.plan import Plan, plan
from certbot_garr_tcs.deploy.probe import Looker, served_leaf, wait_until_served
from certbot_garr_tcs.deploy.services import CommandRed, Runner, run
from certbot_garr_tcs.deploy.transaction import Change, Journal, Transaction
from certbot_garr_tcs.errors import DeployError, GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from certbot_garr_tcs.deploy.material import Material
    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.state import StateFolder


@dataclass(frozen=True)
class Hands:
    """Bring the world: commands, network, clocks (wall and steady, both in seconds), and the user's ear."""

    notify: Callable[[str], None]
    run: Runner = run
    look: Looker = served_leaf
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Delivery:
    """Hold one target whose files are new and whose test is green; its service has not been told yet.

    ``fingerprint``: the leaf to be served afterwards; empty where nobody knows. ``entry``: what the ledger
    says now; ``wanted``: what it will say. ``transaction``: ``None`` where no file had to change.
    """

    target: Target
    fingerprint: str
    names: tuple[str, ...]
    entry: Entry
    wanted: Entry
    transaction: Transaction | None = field(repr=False)
    restorable: bool = True


class Deliverer:
    """Take one target at a time through its steps."""

    def __init__(self, state: StateFolder, hands: Hands) -> None:
        """Keep journal and ledger in ``state``."""
        self.journal = Journal(state)
        self.ledger = Ledger(state)
        self._hands = hands

    def prepare(self, target: Target, material: Material) -> Delivery:
        """Check, test, write, test. An error leaves the files as they were, and is in the ledger."""
        entry = self.ledger.read(target)
        try:
            check(material, self._hands.now())
            found = plan(target, material, entry)
            fingerprint = material.fingerprint
            wanted = self._good(target, fingerprint, found)
            about: dict[str, object] = {
                "title": target.title,
                "before": entry.fingerprint,
                "inputs": entry.inputs,
                "outputs": entry.outputs,
            }
            transaction = self._write(target, found.changes, about)
        except DeployError as error:
            raise self._failed(target, entry, error) from error
        newer = fingerprint != entry.fingerprint
        return Delivery(target, fingerprint, dns_names(material), entry, wanted, transaction, restorable=newer)

    def prepare_restore(self, target: Target, hold: str, names: tuple[str, ...]) -> Delivery | None:
        """Write back what the last committed deployment replaced; ``None`` where there is nothing to.

        ``hold``: fingerprint that shall not be deployed again by itself.
        """
        identity = identity_of(target)
        last = self.journal.read(self.journal.last / f"{identity}.json")
        if last is None or last["about"].get("restored") or all(entry["old"] is None for entry in last["entries"]):
            return None
        changes = []
        for each in last["entries"]:
            path, old = Path(each["path"]), self.journal.old(each)
            changes.append(Change(path, old.data if old else None, old.meta if old else None))
        entry, before = self.ledger.read(target), last["about"]
        wanted = replace(
            self._good(target, before["before"], Plan((), before["inputs"], before["outputs"])),
            outcome=states.HELD,
            hold=hold,
        )
        about = {**before, "restored": True}
        transaction = self._write(target, changes, about)
        return Delivery(target, before["before"], names, entry, wanted, transaction)

    def _good(self, target: Target, fingerprint: str, found: Plan) -> Entry:
        now_seconds = self._hands.now()
        return Entry(
            name=target.name,
            source=str(target.source),
            lineage=target.lineage,
            outcome=states.DEPLOYED,
            fingerprint=fingerprint,
            deployed_at_seconds=now_seconds,
            tried_at_seconds=now_seconds,
            inputs=found.inputs,
            outputs=found.outputs,
        )

    def _write(self, target: Target, changes: Sequence[Change], about: dict[str, object]) -> Transaction | None:
        red = self._red(target)
        if not changes:
            if red is not None:
                raise red
            return None
        transaction = Transaction.begin(self.journal, identity_of(target), changes, about)
        try:
            transaction.apply(changes)
            self._test(target)
        except DeployError as error:
            if red is not None and isinstance(error, CommandRed):
                message = f"{error.message}; it was red before we came, too"
                error = DeployError(message, error.hint)
            raise self._undone(transaction, error) from error
        except BaseException:
            transaction.roll_back()
            raise
        return transaction

    def _red(self, target: Target) -> CommandRed | None:
        """Return what the test says against the service as it is, or ``None``; raise if it cannot be run."""
        try:
            self._test(target)
        except CommandRed as red:
            return red
        return None

    def _test(self, target: Target) -> None:
        for command in target.tests:
            self._hands.run(command, target.command_timeout_seconds)

    def _reload(self, target: Target) -> None:
        for command in target.reloads:
            self._hands.run(command, target.command_timeout_seconds)

    def _probe(self, delivery: Delivery, fingerprint: str) -> None:
        hands = self._hands
        for probe in delivery.target.probes if fingerprint else ():
            wait_until_served(probe, fingerprint, delivery.names, look=hands.look, clock=hands.clock, sleep=hands.sleep)

    def finish(self, delivery: Delivery) -> None:
        """Reload, probe, commit. An error puts everything back, reloads and probes the old state, and says so."""
        transaction = delivery.transaction
        try:
            if transaction is not None:
                transaction.mark()
            self._reload(delivery.target)
            self._probe(delivery, delivery.fingerprint)
        except DeployError as error:
            raise self._failed(delivery.target, delivery.entry, self._back(delivery, error)) from error
        except BaseException:
            if transaction is not None:
                self.ledger.owe_reload(identity_of(delivery.target))
                transaction.roll_back()
            raise
        if transaction is not None:
            transaction.commit(restorable=delivery.restorable)
        self.ledger.write(delivery.target, delivery.wanted)
        done = "brought back what was before to" if delivery.wanted.hold else "deployed to"
        self._hands.notify(f"{done} {delivery.target.title}: lineage {delivery.target.lineage}")

    def undo(self, delivery: Delivery) -> None:
        """Put back the files of a delivery that was not finished."""
        if delivery.transaction is not None:
            delivery.transaction.roll_back()

    def _back(self, delivery: Delivery, error: DeployError) -> DeployError:
        """Undo after the service was told; tell how that went behind the first error."""
        if delivery.transaction is None:
            return error
        undone = self._undone(delivery.transaction, error)
        try:
            self._reload(delivery.target)
            self._probe(delivery, delivery.entry.fingerprint)
        except DeployError as later:
            with contextlib.suppress(GarrTcsError, OSError):
                self.ledger.owe_reload(identity_of(delivery.target))
            return DeployError(f"{undone.message}; after that: {later.message}", undone.hint)
        return undone

    @staticmethod
    def _undone(transaction: Transaction, error: DeployError) -> DeployError:
        try:
            transaction.roll_back()
        except DeployError as later:
            return DeployError(f"{error.message}; {later.message}", later.hint)
        return DeployError(f"{error.message}; the old files are back", error.hint)

    def _failed(self, target: Target, entry: Entry, error: DeployError) -> DeployError:
        """Note a failure; return the error under the section's heading."""
        title = "" if error.message.startswith(target.title) else f"{target.title}: "
        told = DeployError(f"{title}{error.message}", error.hint)
        failed = replace(
            self.ledger.read(target),
            outcome=states.FAILED,
            error=told.message,
            failures=entry.failures + 1,
            tried_at_seconds=self._hands.now(),
        )
        with contextlib.suppress(GarrTcsError, OSError):  # the first error is the one to tell
            self.ledger.write(target, failed)
        return told
