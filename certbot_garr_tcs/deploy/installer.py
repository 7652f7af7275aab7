"""Deploy the targets of a garr-tcs.ini: one method for each call of Certbot's."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.certificate import dns_names, problem_of_old_files
from certbot_garr_tcs.deploy.folders import administrators
from certbot_garr_tcs.deploy.locks import TargetLocks
from certbot_garr_tcs.deploy.plan import OwnFiles, file_conflicts, password_of, trusted_uids
from certbot_garr_tcs.deploy.records import DeploymentRecord, Storage, identity_of
from certbot_garr_tcs.deploy.target_deployer import TargetDeployer
from certbot_garr_tcs.deploy.transaction import Transaction
from certbot_garr_tcs.errors import DeployError, GarrTcsError, join_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from certbot_garr_tcs.deploy.certificate import LineageFiles
    from certbot_garr_tcs.deploy.environment import Environment
    from certbot_garr_tcs.deploy.settings import Target
    from certbot_garr_tcs.deploy.target_deployer import StagedDeployment
    from certbot_garr_tcs.storage import StateFolder


class Installer:
    """The deployments of one process of Certbot.

    A target that fails is rolled back and reported at the end; the others are deployed. Every method raises
    ``DeployError``, with the headings of the sections concerned.

    ``find_lineage``: returns the files of a lineage by its name, ``None`` where there is no such lineage. ``options``:
    what a user adds to ``certbot`` so that it uses this installer and this file.
    """

    def __init__(  # noqa: PLR0913 - everything that a run of Certbot decides
        self,
        state: StateFolder,
        targets: Sequence[Target],
        find_lineage: Callable[[str], LineageFiles | None],
        environment: Environment,
        *,
        own_files: OwnFiles | None = None,
        options: str = "-i garr-tcs",
    ) -> None:
        self._environment = environment
        self._own_files = own_files or OwnFiles((), ())
        self._options = options
        self._find_lineage = find_lineage
        self._storage = Storage(state, environment.now)
        self._locks = TargetLocks(state, environment.clock, environment.sleep)
        self._targets = tuple(targets)
        self.target_lineages: dict[str, list[Target]] = {}
        for target in self._targets:
            self.target_lineages.setdefault(target.lineage, []).append(target)
        self.selected: list[str] = []
        self._staged: dict[str, StagedDeployment] = {}
        self._unrecovered: dict[str, DeployError] = {}
        self._conflicts: dict[str, str] | None = None
        self._failed_or_undone = False

    # what Certbot calls

    def deploy_cert(self, lineage: str) -> None:
        """Select the lineage that Certbot is installing; it calls this once per name."""
        if lineage not in self.selected:
            self.selected.append(lineage)

    def save(self) -> None:
        """Write and test for the lineages of ``deploy_cert``.

        This is ``certbot run`` or ``certbot install``, where the administrator asks for this certificate: it ends a
        hold, and abandons an interrupted deployment that cannot be rolled back.
        """
        self._stage(self.selected, forced=True)

    def renew_deploy(self, lineage: str) -> None:
        """Write and test for a lineage that was just renewed."""
        self.deploy_cert(lineage)
        self._stage([lineage])

    def restart(self) -> None:
        """Reload, probe and commit what was written; without that, converge every target.

        After an undo in this process: nothing, and no error, because Certbot calls it once more.
        """
        if self._failed_or_undone:
            return
        if self._staged or self.selected:
            _raise_joined(self._finish())
        else:
            self.converge(*self.target_lineages)

    def converge(self, *lineages: str) -> None:
        """Deploy every target of these lineages that is not up to date, from check to commit."""
        self._stage(lineages, finish=True)

    def recover(self) -> None:
        """Roll back what is open, from this process or from one that was interrupted (``recovery_routine``)."""
        try:
            errors = self._undo_staged()
            unrecovered = self._recover()
            _raise_joined([*errors, *unrecovered.values()])
        finally:
            self._locks.release_all()

    def recover_first(self) -> None:
        """Roll back what was interrupted, before the CA is asked; warn of what could not be rolled back.

        A certificate can be issued all the same, and the next deployment to the target raises the error again.
        """
        try:
            unrecovered: list[GarrTcsError] = list(self._recover().values())
        except GarrTcsError as error:
            unrecovered = [error]
        for each in unrecovered:
            self._environment.warn(f"deploy: {each}")

    def undo(self) -> None:
        """Undo what this process has written and not yet committed (``rollback_checkpoints`` in a run)."""
        self._failed_or_undone = True
        try:
            _raise_joined(self._undo_staged())
        finally:
            self._locks.release_all()

    def restore(self, checkpoints: int) -> None:
        """Write and test the files of the deployment before the last (``certbot rollback``).

        ``restart`` follows, and reloads, probes and commits. The targets are held until their lineage has a newer
        certificate, or ``save`` is called for it. Where one target fails, the others are finished here: Certbot does
        not call ``restart`` then.
        """
        if checkpoints != 1:
            raise DeployError(
                f"cannot go back {checkpoints} deployments: only the last one can be undone",
                f"Run: certbot rollback {self._options}",
            )
        errors = list(self._recover().values())
        for target in self._targets:
            deployer = self._deployer(target)
            errors += self._errors_of(deployer, partial(self._stage_restore, deployer))
        if errors or not self._staged:
            errors += self._finish()
            self._failed_or_undone = True
            _raise_joined(errors)
            raise DeployError(
                "no deployment can be undone: nothing was deployed, or the last one is undone already",
                f"certbot install {self._options} --cert-name NAME deploys the current certificate again.",
            )

    def remove_orphans(self) -> None:
        """Remove the stored old files, and old keys, of targets that are no longer in the file."""
        sources = {str(target.source) for target in self._targets}
        for identity in self._storage.journal.restorable():
            if identity in self._by_identity:
                continue
            record = self._storage.records.find(identity)
            if record is None or record.source in sources or not Path(record.source).exists():
                self._storage.journal.remove_last(identity)
                title = record.title if record else "a target"
                self._environment.notify(f"what the last deployment to {title} replaced is removed: no file names it")

    # the steps

    @cached_property
    def _by_identity(self) -> dict[str, Target]:
        return {identity_of(target): target for target in self._targets}

    def _deployer(self, target: Target) -> TargetDeployer:
        return TargetDeployer(target, self._storage, self._environment, self._own_files, self._options)

    def _stage(self, lineages: Iterable[str], *, forced: bool = False, finish: bool = False) -> None:
        """Write and test every target that is outdated; with ``finish``, also reload, probe and commit, one by one."""
        lineages = self.target_lineages.keys() & set(lineages)
        self._recover(abandoned=lineages if forced else None)
        outdated, errors = self._outdated(lineages, forced=forced)

        busy = [each for each in outdated if self._is_busy(each[0])]
        for deployer, lineage in [*(each for each in outdated if each not in busy), *busy]:
            errors += self._errors_of(deployer, partial(self._deploy, deployer, lineage, forced=forced, finish=finish))
        if errors and not finish:
            errors += self._finish()  # Certbot will not call restart after this
            self._failed_or_undone = True
        _raise_joined(errors)

    def _outdated(
        self, lineages: Iterable[str], *, forced: bool
    ) -> tuple[list[tuple[TargetDeployer, LineageFiles]], list[DeployError]]:
        """Return the targets that are neither up to date nor held, and the errors of lineages that cannot be read."""
        outdated: list[tuple[TargetDeployer, LineageFiles]] = []
        errors: list[DeployError] = []
        for name in sorted(lineages):
            for deployer in map(self._deployer, self.target_lineages[name]):
                try:
                    lineage = self._find_lineage(name)
                    if lineage is None:
                        break
                    if deployer.identity in self._staged or deployer.is_up_to_date(lineage):
                        continue
                except DeployError as error:
                    errors.append(error)
                    break
                try:
                    if forced or not deployer.is_held(lineage):
                        outdated.append((deployer, lineage))
                except DeployError as error:
                    errors.append(error)
        return outdated, errors

    def _is_busy(self, deployer: TargetDeployer) -> bool:
        try:
            return not self._locks.try_take(deployer.identity)
        except GarrTcsError:
            return False  # taking it again meets the same, and reports it

    def _deploy(self, deployer: TargetDeployer, lineage: LineageFiles, *, forced: bool, finish: bool) -> None:
        self._locks.take(deployer.identity, deployer.target.title)
        if deployer.identity in self._unrecovered:
            raise self._unrecovered[deployer.identity]
        conflict = self._conflict(deployer.target)
        if conflict:
            raise DeployError(conflict, "Give each target paths of its own.")
        staged = deployer.stage(lineage.bundle, end_hold=forced)
        if staged is not None and finish:
            deployer.finish(staged)
        elif staged is not None:
            self._staged[deployer.identity] = staged

    def _stage_restore(self, deployer: TargetDeployer) -> None:
        self._locks.take(deployer.identity, deployer.target.title)
        names: tuple[str, ...] = ()
        hold = self._storage.records.read(deployer.target).fingerprint
        try:
            lineage = self._find_lineage(deployer.target.lineage)
            if lineage is not None:
                hold, names = lineage.bundle.fingerprint, dns_names(lineage.bundle)
        except DeployError:
            pass  # it may be broken: its last certificate is the one to hold
        staged = deployer.stage_restore(hold, names)
        if staged is not None:
            self._staged[deployer.identity] = staged

    def _errors_of(self, deployer: TargetDeployer, step: Callable[[], None]) -> list[DeployError]:
        """Call a step of one target; return its error, if any. Release the target's lock unless it is staged."""
        try:
            step()
        except DeployError as error:
            return [error]
        except GarrTcsError as error:
            return [DeployError(f"{deployer.target.title}: {error.message}", error.hint)]
        finally:
            if deployer.identity not in self._staged:
                self._locks.release(deployer.identity)
        return []

    def _finish(self) -> list[DeployError]:
        """Finish what is staged; return the errors of targets that were rolled back."""
        errors: list[DeployError] = []
        for identity in list(self._staged):
            deployer, staged = self._deployer(self._by_identity[identity]), self._staged[identity]
            try:
                deployer.finish(staged)
            except DeployError as error:
                errors.append(error)
            del self._staged[identity]
            self._locks.release(identity)
        self._failed_or_undone = self._failed_or_undone or bool(errors)
        return errors

    def _undo_staged(self) -> list[DeployError]:
        errors = []
        for identity in reversed(list(self._staged)):
            deployer, staged = self._deployer(self._by_identity[identity]), self._staged.pop(identity)
            errors += self._errors_of(deployer, partial(deployer.undo, staged))
        return errors

    def _recover(self, *, abandoned: Iterable[str] | None = None) -> dict[str, DeployError]:
        """Roll back what was interrupted, before anything else; return the errors of what could not be, by target.

        ``abandoned``: lineages whose interrupted deployments are abandoned where they cannot be rolled back, and so are
        those of targets that are no longer in the file. An error of such a target is only a warning.
        """
        for identity in self._storage.journal.unfinished():
            target = self._by_identity.get(identity)
            may_abandon = abandoned is not None and (target is None or target.lineage in abandoned)
            if identity in self._staged or (identity in self._unrecovered and not may_abandon):
                continue
            try:
                if not self._locks.try_take(identity):
                    continue  # the process that has it finishes it
                self._unrecovered.pop(identity, None)
                _roll_back_interrupted(identity, target, self._storage, self._environment)
            except (GarrTcsError, OSError) as error:
                unrecovered = self._unrecovered_error(identity, error)
                try:
                    if may_abandon:
                        _abandon(identity, self._storage, self._environment, unrecovered)
                        continue
                except GarrTcsError as worse:
                    unrecovered = self._unrecovered_error(identity, worse)
                self._unrecovered[identity] = unrecovered
                if target is None:
                    self._environment.warn(f"a target that is in no file any more: {unrecovered}")
            finally:
                self._locks.release(identity)
        return {identity: error for identity, error in self._unrecovered.items() if identity in self._by_identity}

    def _unrecovered_error(self, identity: str, error: Exception) -> DeployError:
        target = self._by_identity.get(identity)
        name = target.lineage if target else "NAME"
        message = error.message if isinstance(error, GarrTcsError) else str(error)
        hint = error.hint if isinstance(error, GarrTcsError) else ""
        return DeployError(
            message,
            f"{hint} To give the old files up, and deploy the current certificate: "
            f"certbot install {self._options} --cert-name {name}",
        )

    def _conflict(self, target: Target) -> str:
        """Return which other target writes to a file of this one; empty where none does."""
        if self._conflicts is None:
            self._conflicts = file_conflicts(self._targets, self._own_files)
        return self._conflicts.get(target.title, "")


def _roll_back_interrupted(identity: str, target: Target | None, storage: Storage, environment: Environment) -> None:
    """Roll back a transaction that an interrupted process left open; ``target``: ``None`` where no file names it.

    Where every file is new already and the old certificate is not valid any more, the new files stay.
    """
    transaction = Transaction.resume(storage.journal, identity, trusted_uids(target) if target else administrators())
    if transaction is None:
        return
    if transaction.about.get("reloading"):
        storage.records.mark_reload_pending(identity)
    problem = _problem_of_old_files(transaction, target, environment)
    if problem and transaction.is_applied():
        record = DeploymentRecord.from_document({**transaction.about["record"], "reload_owed": True})
        storage.records.write(identity, record)
        transaction.commit(restorable=False)
        environment.warn(f"kept the new files of {transaction.title}: of the old ones, {problem}")
        return
    transaction.roll_back()
    environment.notify(f"put back the old files of {transaction.title}: a deployment was interrupted")
    if problem:
        environment.warn(f"the old files of {transaction.title} are back, but {problem}")
    for temporary in transaction.unremoved:
        environment.warn(f"cannot remove {temporary}: remove it when that disk can be written to")


def _abandon(identity: str, storage: Storage, environment: Environment, error: DeployError) -> None:
    """Finish an open transaction that cannot be rolled back, with the files as they are."""
    transaction = Transaction.resume(storage.journal, identity, administrators())
    if transaction is not None:
        transaction.abandon()
        environment.warn(f"gave up what was interrupted before: {error.message}")


def _problem_of_old_files(transaction: Transaction, target: Target | None, environment: Environment) -> str:
    kinds = {output.path: output.kind for output in target.outputs} if target else {}
    try:
        old = [(entry.kind or kinds.get(entry.path, ""), transaction.old_data(entry)) for entry in transaction.entries]
        present = [(kind, data) for kind, data in old if data is not None]
        return problem_of_old_files(present, password_of(target) if target else None, environment.now())
    except DeployError:
        return ""


def _raise_joined(errors: Sequence[DeployError]) -> None:
    """Raise the errors as one, if there are any; each target's is shown."""
    if errors:
        raise join_errors(errors, DeployError, most=len(errors))
