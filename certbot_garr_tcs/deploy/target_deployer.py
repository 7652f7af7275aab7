"""Bring one target to its lineage's certificate: test, write, test, then reload, probe, commit; or undo it all."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy import records as outcomes
from certbot_garr_tcs.deploy.certificate import check, dns_names, problem_of_old_files, read_files
from certbot_garr_tcs.deploy.files import os_error
from certbot_garr_tcs.deploy.plan import inspect, make_plan, password_of, service_digest, trusted_uids
from certbot_garr_tcs.deploy.probe import wait_until_served
from certbot_garr_tcs.deploy.records import DeploymentRecord, DeploymentRecords, identity_of
from certbot_garr_tcs.deploy.services import CommandRed
from certbot_garr_tcs.deploy.stat_cache import StatCache
from certbot_garr_tcs.deploy.transaction import Change, Journal, Transaction
from certbot_garr_tcs.errors import DeployError, GarrTcsError
from certbot_garr_tcs.lineages import validity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from certbot_garr_tcs.deploy.certificate import CertificateBundle
    from certbot_garr_tcs.deploy.environment import Environment
    from certbot_garr_tcs.deploy.plan import OwnFiles, TargetFile
    from certbot_garr_tcs.deploy.reading import LineageFiles
    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.state import StateFolder

_DAY_SECONDS = 86400.0
# A hold ends when this share of the held certificate's life is left, or this time if that is less.
_HOLD_ENDS, _HOLD_ENDS_SECONDS = 0.1, 7 * _DAY_SECONDS
# Before that, certbot renew fails for as long again.
_HOLD_WARNS = 2


@dataclass(frozen=True)
class StagedDeployment:
    """A target whose files are new, and whose test is good; its service has not read them yet.

    ``fingerprint``: the leaf to be served afterwards; empty where nobody knows. ``former``: the target's record;
    ``record``: what it will be. ``transaction``: ``None`` where no file had to change.
    """

    fingerprint: str
    names: tuple[str, ...]
    former: DeploymentRecord
    record: DeploymentRecord
    transaction: Transaction | None = field(repr=False)
    restorable: bool = True


class Storage:
    """What is remembered of targets from run to run: journal, records, and the cache of stat(2)."""

    def __init__(self, state: StateFolder, environment: Environment) -> None:
        """Name the places; touch nothing."""
        self.journal = Journal(state)
        self.records = DeploymentRecords(state)
        self.cache = StatCache(state, environment.now)


class TargetDeployer:
    """Takes one target through its steps. Every error begins with the section's heading, and is in the record."""

    def __init__(
        self, target: Target, storage: Storage, environment: Environment, own_files: OwnFiles, options: str
    ) -> None:
        """Touch nothing. ``options``: what a user adds to ``certbot`` so that it uses this installer and this file."""
        self.target = target
        self.identity = identity_of(target)
        self._storage = storage
        self._environment = environment
        self._own_files = own_files
        self._install = f"certbot install {options} --cert-name {target.lineage}"

    # is there anything to do?

    def is_up_to_date(self, lineage: LineageFiles) -> bool:
        """Tell whether files, service and record are as the section and the lineage want them.

        Where stat(2) says that nothing changed since that was so, no file is read.
        """
        cache = self._storage.cache
        if lineage.live is not None and cache.is_unchanged(self.target, lineage.live):
            return True
        bundle = lineage.bundle
        try:
            plan = make_plan(self.target, bundle, self._storage.records.read(self.target), self._own_files)
        except (GarrTcsError, OSError):
            return False  # staging meets the same, and reports it
        if plan.is_up_to_date and lineage.live is not None:
            cache.remember(self.target, lineage.live)
        return plan.is_up_to_date

    def is_held(self, lineage: LineageFiles) -> bool:
        """Tell whether ``certbot rollback`` keeps this lineage's certificate away; say so.

        The hold ends before the held certificate does; for a while before that, it is an error.
        """
        with self._errors_named():
            record = self._storage.records.read(self.target)
            if not record.hold or record.hold != lineage.bundle.fingerprint:
                return False
            text = f"{self.target.title} is held at what certbot rollback brought back"
            until = f"until lineage {self.target.lineage} has a newer certificate; {self._install} ends the hold"
            leaf = self._leaf_on_disk()
            if leaf is None:
                self._environment.warn(f"{text}, {until}")
                return True
            begins, ends = (moment.timestamp() for moment in validity(leaf))
            margin_seconds = min((ends - begins) * _HOLD_ENDS, _HOLD_ENDS_SECONDS)
            left_seconds = ends - self._environment.now()
            if left_seconds <= margin_seconds:
                self._environment.warn(f"{text}, whose certificate is about to expire: the hold ends")
                return False
            if left_seconds <= margin_seconds * _HOLD_WARNS:
                days = (left_seconds - margin_seconds) / _DAY_SECONDS
                raise DeployError(
                    f"{text}, whose certificate expires at {validity(leaf)[1]:%Y-%m-%d %H:%M} UTC; the hold ends in "
                    f"{days:.1f} days, and the certificate of the lineage is deployed again",
                    "Get a better one now: certbot renew --force-renewal --cert-name " + self.target.lineage,
                )
            self._environment.warn(f"{text}, {until}")
            return True

    def _leaf_on_disk(self) -> Any:
        try:
            files = inspect(self.target, self._own_files, None)
            found = [(file.output.kind, file.current.data) for file in files if file.current]
            return read_files(found, password_of(self.target)).leaf
        except DeployError:
            return None

    # from the files to the service

    def stage(self, bundle: CertificateBundle, *, end_hold: bool = False) -> StagedDeployment | None:
        """Check, test, write, test; ``None`` where there is nothing to do. After an error the files are as before."""
        with self._errors_named():
            self._adopt_record()
            former = self._storage.records.read(self.target)
            if end_hold and former.hold:
                former = replace(former, hold="", inputs="")
        with self._errors_named(former):
            plan = make_plan(self.target, bundle, former, self._own_files)
            if plan.is_up_to_date:
                return None
            check(bundle, self._environment.now())
            changes, digests = plan.changes(bundle)
            record = self._good_record(former, bundle.fingerprint, plan.inputs, digests)
            transaction = self._write(changes, former, record)
        is_newer = bundle.fingerprint != former.fingerprint
        return StagedDeployment(bundle.fingerprint, dns_names(bundle), former, record, transaction, restorable=is_newer)

    def stage_restore(self, hold: str, names: tuple[str, ...]) -> StagedDeployment | None:
        """Write what the last committed deployment replaced, with test; ``None`` where there is nothing to.

        ``hold``: fingerprint that shall not be deployed again by itself.
        """
        with self._errors_named():
            self._adopt_record()
            last = self._storage.journal.last_committed(self.identity)
            if last is None or last["about"].get("restored") or all(entry.old is None for entry in last["entries"]):
                return None
            old = Transaction(self._storage.journal, self.identity, last)
            files = inspect(self.target, self._own_files, None)
            self._check_restorable(old, files)
            former, about = self._storage.records.read(self.target), old.about
            record = self._good_record(former, about["before"], about["inputs"], about["outputs"])
            record = replace(record, outcome=outcomes.HELD, hold=hold)
            by_path = {entry.path: old.old_data(entry) for entry in old.entries}
            changes = [file.change_to(by_path[file.path]) for file in files if file.path in by_path]
            about = {"before": about["before"], "inputs": about["inputs"], "outputs": about["outputs"]}
            transaction = self._write([change for change in changes if change], former, record, restored=about)
        return StagedDeployment(about["before"], names, former, record, transaction)

    def _check_restorable(self, old: Transaction, files: Sequence[TargetFile]) -> None:
        """Refuse to restore what the section does not name, to another folder, or what is no good any more."""
        named = {file.path: file for file in files}
        before = set(old.about["outputs"])
        gone = [str(entry.path) for entry in old.entries if entry.path not in named]
        if gone or (before and before != {str(file.output.path) for file in files}):
            raise DeployError(
                "what the last deployment replaced is not brought back: the section names other files by now"
                + (f", and not {', '.join(gone)}" if gone else ""),
                "certbot renew deploys the current certificate to the files of the section.",
            )
        for entry in old.entries:
            with entry.folder.opened(trusted_uids(self.target)):
                pass
        kept = {entry.path: old.old_data(entry) for entry in old.entries}
        current = {file.path: file.current.data if file.current else None for file in files}
        content = {**current, **kept}
        found = [(named[path].output.kind, data) for path, data in content.items() if data is not None]
        problem = problem_of_old_files(found, password_of(self.target), self._environment.now())
        if problem:
            raise DeployError(
                f"what the last deployment replaced is not brought back: {problem}",
                f"Get another certificate: certbot renew --force-renewal --cert-name {self.target.lineage}",
            )

    def _good_record(
        self, former: DeploymentRecord, fingerprint: str, inputs: str, outputs: dict[str, str]
    ) -> DeploymentRecord:
        now_seconds = self._environment.now()
        return DeploymentRecord(
            name=self.target.name,
            source=str(self.target.source),
            lineage=self.target.lineage,
            outcome=outcomes.DEPLOYED,
            fingerprint=fingerprint,
            deployed_at_seconds=now_seconds,
            tried_at_seconds=now_seconds,
            inputs=inputs,
            outputs=outputs,
            service=service_digest(self.target),
            transaction=former.transaction,
        )

    def _write(
        self,
        changes: Sequence[Change],
        former: DeploymentRecord,
        record: DeploymentRecord,
        restored: dict[str, Any] | None = None,
    ) -> Transaction | None:
        red = self._red()
        if not changes:
            if red is not None:
                raise red
            return None
        about = {
            "title": self.target.title,
            "lineage": self.target.lineage,
            "before": former.fingerprint,
            "inputs": former.inputs,
            "outputs": former.outputs,
            "record": asdict(record),
            **({**restored, "restored": True} if restored else {}),
        }
        journal = self._storage.journal
        transaction = Transaction.begin(journal, self.identity, changes, about, trusted_uids(self.target))
        try:
            transaction.apply(changes)
            self._test()
        except DeployError as error:
            if red is not None and isinstance(error, CommandRed):
                message = f"{error.message}; it was red before we came, too"
                error = DeployError(message, error.hint)
            raise self._undone(transaction, error) from error
        except BaseException:
            transaction.roll_back()
            raise
        return transaction

    def _red(self) -> CommandRed | None:
        """Return what the test says against the service as it is, or ``None``; raise if it cannot be run."""
        try:
            self._test()
        except CommandRed as red:
            return red
        return None

    def _test(self) -> None:
        for command in self.target.tests:
            self._environment.run(command, self.target.command_timeout_seconds)

    def _reload(self) -> None:
        for command in self.target.reloads:
            self._environment.run(command, self.target.command_timeout_seconds)

    def _probe(self, fingerprint: str, names: Sequence[str]) -> None:
        environment = self._environment
        for probe in self.target.probes if fingerprint else ():
            wait_until_served(
                probe,
                fingerprint,
                names,
                look=environment.fetch_certificate,
                clock=environment.clock,
                sleep=environment.sleep,
            )

    def finish(self, staged: StagedDeployment) -> None:
        """Reload, probe, commit. An error puts everything back, reloads and probes the old state, and says so."""
        transaction, record = staged.transaction, staged.record
        try:
            if transaction is not None:
                transaction.mark_reloading()
            self._reload()
            self._probe(staged.fingerprint, staged.names)
        except DeployError as error:
            with self._errors_named(staged.former):
                raise self._back(staged, error) from error
        except BaseException:
            if transaction is not None:
                self._storage.records.mark_reload_pending(self.identity)
                transaction.roll_back()
            raise
        with self._errors_named():
            if transaction is not None:
                transaction.commit(restorable=staged.restorable)
                if staged.restorable:
                    record = replace(record, transaction=transaction.about["tag"])
            self._storage.records.write(self.identity, record)
        done = "brought back what was before to" if record.hold else "deployed to"
        self._environment.notify(f"{done} {self.target.title}: lineage {self.target.lineage}")

    def undo(self, staged: StagedDeployment) -> None:
        """Put back the files of a deployment that was not finished."""
        if staged.transaction is not None:
            staged.transaction.roll_back()

    def _back(self, staged: StagedDeployment, error: DeployError) -> DeployError:
        """Undo after the service has read the files; say how that went behind the first error."""
        if staged.transaction is None:
            return error
        undone = self._undone(staged.transaction, error)
        try:
            self._reload()
            self._probe(staged.former.fingerprint, staged.names)
        except DeployError as later:
            with contextlib.suppress(GarrTcsError, OSError):
                self._storage.records.mark_reload_pending(self.identity)
            return DeployError(f"{undone.message}; after that: {later.message}", undone.hint)
        return undone

    @staticmethod
    def _undone(transaction: Transaction, error: DeployError) -> DeployError:
        try:
            transaction.roll_back()
        except DeployError as later:
            return DeployError(f"{error.message}; {later.message}", later.hint)
        return DeployError(f"{error.message}; the old files are back", error.hint)

    # what is remembered of it

    def _adopt_record(self) -> None:
        """Write the record of a deployment whose process was killed when all but that was done."""
        last = self._storage.journal.last_committed(self.identity)
        if last is not None:
            self._storage.records.adopt(self.identity, last)

    @contextlib.contextmanager
    def _errors_named(self, former: DeploymentRecord | None = None) -> Iterator[None]:
        """Raise every error as one of this section; with ``former``, write it down as a failed attempt."""
        try:
            yield
        except (GarrTcsError, OSError) as error:
            named = error if isinstance(error, GarrTcsError) else os_error("cannot deploy", error)
            title = "" if named.message.startswith(self.target.title) else f"{self.target.title}: "
            named = DeployError(f"{title}{named.message}", named.hint)
            if former is not None:
                self._write_failure(former, named)
            raise named from error

    def _write_failure(self, former: DeploymentRecord, error: DeployError) -> None:
        with contextlib.suppress(GarrTcsError, OSError):  # the first error is the one to report
            written = self._storage.records.read(self.target)  # where a pending reload may have been noted meanwhile
            failed = replace(
                former,
                reload_owed=written.reload_owed,
                outcome=outcomes.FAILED,
                error=error.message,
                failures=written.failures + 1,
                tried_at_seconds=self._environment.now(),
            )
            self._storage.records.write(self.identity, failed)
