"""Deploy a lineage's certificate to one target: test, write, test, then reload, probe, commit; or undo it all."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.certificate import check, dns_names, problem_of_old_files, read_files
from certbot_garr_tcs.deploy.commands import CommandFailedError
from certbot_garr_tcs.deploy.files import os_error
from certbot_garr_tcs.deploy.plan import inspect, make_plan, password_of, service_digest, trusted_uids
from certbot_garr_tcs.deploy.records import DEPLOYED, FAILED, HELD, DeploymentRecord, identity_of
from certbot_garr_tcs.deploy.service import Service
from certbot_garr_tcs.deploy.transaction import Transaction
from certbot_garr_tcs.errors import DeployError, GarrTcsError
from certbot_garr_tcs.lineages import validity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from certbot_garr_tcs.deploy.certificate import CertificateBundle, LineageFiles
    from certbot_garr_tcs.deploy.environment import Environment
    from certbot_garr_tcs.deploy.plan import OwnFiles, Plan, TargetFile
    from certbot_garr_tcs.deploy.records import Storage
    from certbot_garr_tcs.deploy.settings import Target
    from certbot_garr_tcs.deploy.transaction import Change

_DAY_SECONDS = 86400.0
# A hold ends when this share of the held certificate's lifetime is left, or this time if that is less.
_HOLD_ENDS, _HOLD_ENDS_SECONDS = 0.1, 7 * _DAY_SECONDS
# Before it ends, certbot renew fails for as long again.
_HOLD_WARNS = 2


@dataclass(frozen=True)
class StagedDeployment:
    """A target whose new files are written and tested; its service has not read them yet.

    ``fingerprint``: of the leaf to be served afterwards; empty where it is unknown. ``former``: the target's record;
    ``record``: what it will be. ``transaction``: ``None`` where no file had to change.
    """

    fingerprint: str
    names: tuple[str, ...]
    former: DeploymentRecord
    record: DeploymentRecord
    transaction: Transaction | None = field(repr=False)
    restorable: bool = True


class TargetDeployer:
    """The steps of one target's deployment. Every error begins with the section's heading, and is in the record.

    ``options``: what a user adds to ``certbot`` so that it uses this installer and this file.
    """

    def __init__(
        self, target: Target, storage: Storage, environment: Environment, own_files: OwnFiles, options: str
    ) -> None:
        self.target = target
        self.identity = identity_of(target)
        self._storage = storage
        self._environment = environment
        self._own_files = own_files
        self._service = Service(target, environment)
        self._install = f"certbot install {options} --cert-name {target.lineage}"

    # is there anything to do?

    def is_up_to_date(self, lineage: LineageFiles) -> bool:
        """Return whether files, service and record are as section and lineage require.

        No file is read where stat(2) shows that nothing has changed since the last time that they were.
        """
        cache = self._storage.cache
        if lineage.live is not None and cache.is_unchanged(self.target, lineage.live):
            return True
        bundle = lineage.bundle
        try:
            plan = make_plan(self.target, bundle, self._storage.records.read(self.target), self._own_files)
        except (GarrTcsError, OSError):
            return False  # staging meets the same, and reports it
        if plan.is_up_to_date:
            self._add_service(plan)
        if plan.is_up_to_date and lineage.live is not None:
            cache.add(self.target, lineage.live)
        return plan.is_up_to_date

    def _add_service(self, plan: Plan) -> None:
        """Complete a record of the version before, so that the next edit of a command is noticed."""
        if plan.record.service != plan.service:
            with contextlib.suppress(GarrTcsError, OSError):
                self._storage.records.write(self.identity, replace(plan.record, service=plan.service))

    def is_held(self, lineage: LineageFiles) -> bool:
        """Return whether a hold of ``certbot rollback`` excludes this lineage's certificate, and warn if so.

        The hold ends before the held certificate expires; for some time before its end, the hold is an error.
        """
        with self._own_errors():
            record = self._storage.records.read(self.target)
            if not record.hold or record.hold != lineage.bundle.fingerprint:
                return False
            text = f"{self.target.title} is held at what a rollback brought back"
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
        """Check, test, write, test; ``None`` where there is nothing to do. After an error the files are as before.

        ``end_hold``: end a hold, since the administrator asked for this certificate.
        """
        with self._own_errors():
            self._complete_record()
            former = self._storage.records.read(self.target)
            if end_hold and (former.hold or former.running):
                former = replace(former, hold="", inputs="" if former.hold else former.inputs, running=[])
        with self._own_errors(former):
            plan = make_plan(self.target, bundle, former, self._own_files)
            if plan.is_up_to_date:
                return None
            check(bundle, self._environment.now())
            changes, digests = plan.changes(bundle)
            record = self._new_record(former, bundle.fingerprint, plan.inputs, digests)
            transaction = self._write(changes, former, record)
        is_newer = bundle.fingerprint != former.fingerprint
        return StagedDeployment(bundle.fingerprint, dns_names(bundle), former, record, transaction, restorable=is_newer)

    def stage_restore(self, hold: str, names: tuple[str, ...]) -> StagedDeployment | None:
        """Write the files that the last committed deployment replaced, with test; ``None`` where there are none.

        ``hold``: fingerprint that must not be deployed again automatically.
        """
        with self._own_errors():
            self._complete_record()
            last = self._storage.journal.last_committed(self.identity)
            if last is None or last["about"].get("restored") or all(entry.old is None for entry in last["entries"]):
                return None
            old = Transaction(self._storage.journal, self.identity, last)
            files = inspect(self.target, self._own_files, None)
            self._check_restorable(old, files)
            former, about = self._storage.records.read(self.target), old.about
            record = self._new_record(former, about["before"], about["inputs"], about["outputs"])
            record = replace(record, outcome=HELD, hold=hold)
            by_path = {entry.path: old.old_data(entry) for entry in old.entries}
            changes = [file.change_to(by_path[file.path]) for file in files if file.path in by_path]
            about = {"before": about["before"], "inputs": about["inputs"], "outputs": about["outputs"]}
            transaction = self._write([change for change in changes if change], former, record, restored=about)
        return StagedDeployment(about["before"], names, former, record, transaction)

    def _check_restorable(self, old: Transaction, files: Sequence[TargetFile]) -> None:
        """Refuse to restore files that the section does not name, in another folder, or with an expired certificate."""
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
        stored = {entry.path: old.old_data(entry) for entry in old.entries}
        current = {file.path: file.current.data if file.current else None for file in files}
        content = {**current, **stored}
        found = [(named[path].output.kind, data) for path, data in content.items() if data is not None]
        problem = problem_of_old_files(found, password_of(self.target), self._environment.now())
        if problem:
            raise DeployError(
                f"what the last deployment replaced is not brought back: {problem}",
                f"Get another certificate: certbot renew --force-renewal --cert-name {self.target.lineage}",
            )

    def _new_record(
        self, former: DeploymentRecord, fingerprint: str, inputs: str, outputs: dict[str, str]
    ) -> DeploymentRecord:
        now_seconds = self._environment.now()
        return DeploymentRecord(
            name=self.target.name,
            source=str(self.target.source),
            lineage=self.target.lineage,
            outcome=DEPLOYED,
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
        failed_before = self._failed_test()
        if not changes:
            if failed_before is not None:
                raise failed_before
            return None
        about = {
            "title": self.target.title,
            "lineage": self.target.lineage,
            "before": former.fingerprint,
            "inputs": former.inputs,
            "outputs": former.outputs,
            "record": record.to_document(),
            **({**restored, "restored": True} if restored else {}),
        }
        journal = self._storage.journal
        transaction = Transaction.begin(journal, self.identity, changes, about, trusted_uids(self.target))
        try:
            transaction.apply(changes)
            self._service.test()
        except DeployError as error:
            if failed_before is not None and isinstance(error, CommandFailedError):
                error = DeployError(f"{error.message}; it failed before this deployment, too", error.hint)
            raise self._roll_back(transaction, error) from error
        except BaseException:
            transaction.roll_back()
            raise
        return transaction

    def _failed_test(self) -> CommandFailedError | None:
        """Return how the test of the service fails as it is, or ``None``; raise if it cannot be run."""
        try:
            self._service.test()
        except CommandFailedError as error:
            return error
        return None

    def finish(self, staged: StagedDeployment) -> None:
        """Reload, probe, commit. After an error the old files are restored, and reloaded and probed again.

        A stopped unit is no error, unless our own reload stopped it.
        """
        transaction, record = staged.transaction, staged.record
        try:
            if transaction is not None:
                transaction.mark_reloading()
            self._service.reload(must_run=staged.former.running)
            self._service.probe(staged.fingerprint, staged.names)
        except DeployError as error:
            with self._own_errors(staged.former):
                raise self._undo_after_reload(staged, error) from error
        except BaseException:
            if transaction is not None:
                self._storage.records.mark_reload_pending(self.identity, self._service.running, staged.former)
                transaction.roll_back()
            raise
        with self._own_errors():
            if transaction is not None:
                transaction.commit(restorable=staged.restorable)
                if staged.restorable:
                    record = replace(record, transaction=transaction.about["tag"])
            self._storage.records.write(self.identity, record)
        done = "brought back what was before to" if record.hold else "deployed to"
        self._environment.notify(f"{done} {self.target.title}: lineage {self.target.lineage}{self._stopped_units()}")

    def _stopped_units(self) -> str:
        """Return the end of the message: units that are not running."""
        units = self._service.stopped
        if not units:
            return ""
        they = "is not running; it reads the files when it starts"
        if len(units) > 1:
            they = "are not running; they read the files when they start"
        return f"; {', '.join(units)} {they}{', and nothing was probed' if self.target.probes else ''}"

    def undo(self, staged: StagedDeployment) -> None:
        """Restore the files of a deployment that was not finished."""
        if staged.transaction is not None:
            staged.transaction.roll_back()

    def _undo_after_reload(self, staged: StagedDeployment, error: DeployError) -> DeployError:
        """Undo after the service may have read the new files; return the error, followed by the result of that."""
        if staged.transaction is None:
            return error
        rolled_back = self._roll_back(staged.transaction, error)
        try:
            self._service.reload_again()
            self._service.probe(staged.former.fingerprint, staged.names)
        except DeployError as later:
            with contextlib.suppress(GarrTcsError, OSError):
                self._storage.records.mark_reload_pending(self.identity, self._service.running, staged.former)
            how = "fails in the same way" if later.message == error.message else f"fails: {later.message}"
            return DeployError(f"{rolled_back.message}, but the service with them {how}", rolled_back.hint)
        return rolled_back

    @staticmethod
    def _roll_back(transaction: Transaction, error: DeployError) -> DeployError:
        """Roll back; return the error, followed by the result of that."""
        try:
            transaction.roll_back()
        except DeployError as later:
            return DeployError(f"{error.message}; {later.message}", later.hint)
        return DeployError(f"{error.message}; the old files are back", error.hint)

    # its record

    def _complete_record(self) -> None:
        """Write the record of a deployment whose process was killed between commit and record."""
        last = self._storage.journal.last_committed(self.identity)
        if last is not None:
            self._storage.records.complete(self.identity, last)

    @contextlib.contextmanager
    def _own_errors(self, former: DeploymentRecord | None = None) -> Iterator[None]:
        """Raise every error with the section's heading; with ``former``, also record it as a failed attempt."""
        try:
            yield
        except (GarrTcsError, OSError) as error:
            own = error if isinstance(error, GarrTcsError) else os_error("cannot deploy", error)
            title = "" if own.message.startswith(self.target.title) else f"{self.target.title}: "
            own = DeployError(f"{title}{own.message}", own.hint)
            if former is not None:
                self._write_failure(former, own)
            raise own from error

    def _write_failure(self, former: DeploymentRecord, error: DeployError) -> None:
        with contextlib.suppress(GarrTcsError, OSError):  # the first error is the one to report
            written = self._storage.records.read(self.target)  # a pending reload may have been recorded meanwhile
            failed = replace(
                former,
                reload_pending=written.reload_pending,
                running=written.running,
                outcome=FAILED,
                error=error.message,
                failures=written.failures + 1,
                tried_at_seconds=self._environment.now(),
            )
            self._storage.records.write(self.identity, failed)
