"""Deploy the targets of a garr-tcs.ini when Certbot calls: one method for each of its calls."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.certificate import dns_names
from certbot_garr_tcs.deploy.locks import TargetLocks
from certbot_garr_tcs.deploy.plan import OwnFiles, inspect
from certbot_garr_tcs.deploy.records import identity_of
from certbot_garr_tcs.deploy.recovery import give_up, roll_back_interrupted
from certbot_garr_tcs.deploy.target_deployer import StagedDeployment, Storage, TargetDeployer
from certbot_garr_tcs.errors import DeployError, GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from certbot_garr_tcs.deploy.environment import Environment
    from certbot_garr_tcs.deploy.reading import LineageFiles
    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.storage import StateFolder


class Installer:
    """Deploys, in one process of Certbot.

    A target that fails is put back and reported at the end; it does not keep the others from their certificate.
    Every method raises DeployError, with the headings of the sections concerned.
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
        """Take the file's targets.

        ``find_lineage``: the files of a lineage by its name, ``None`` where there is no such lineage. ``options``: what
        a user adds to ``certbot`` so that it uses this installer and this file.
        """
        self._environment = environment
        self._own_files = own_files or OwnFiles((), ())
        self._options = options
        self._find_lineage = find_lineage
        self._storage = Storage(state, environment)
        self._locks = TargetLocks(state, environment.clock, environment.sleep)
        self._targets = tuple(targets)
        self.target_lineages: dict[str, list[Target]] = {}
        for target in self._targets:
            self.target_lineages.setdefault(target.lineage, []).append(target)
        self.selected: list[str] = []
        self._staged: dict[str, StagedDeployment] = {}
        self._stuck: dict[str, DeployError] = {}
        self._conflicts: dict[str, str] | None = None
        self._is_over = False

    # what Certbot calls

    def deploy_cert(self, lineage: str) -> None:
        """Note the lineage that Certbot is installing; it calls this once per name."""
        if lineage not in self.selected:
            self.selected.append(lineage)

    def save(self) -> None:
        """Write and test for the lineages of ``deploy_cert``.

        This is ``certbot run`` or ``certbot install``: the administrator wants this certificate, now. It ends a hold,
        and gives up what was interrupted before and cannot be rolled back.
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
        if self._is_over:
            return
        if self._staged or self.selected:
            _raise_joined(self._finish())
        else:
            self.converge(*self.target_lineages)

    def converge(self, *lineages: str) -> None:
        """Bring every target of these lineages to where it should be, from check to commit."""
        self._stage(lineages, finish=True)

    def recover(self) -> None:
        """Roll back what is open, from this process or from one that was interrupted (``recovery_routine``)."""
        try:
            errors = self._undo_staged()
            stuck = self._recover()
            _raise_joined([*errors, *stuck.values()])
        finally:
            self._locks.release_all()

    def recover_first(self) -> None:
        """Roll back what was interrupted, before the CA is asked; only say what could not be.

        A certificate can be issued all the same, and whoever deploys to the target meets the error again.
        """
        try:
            stuck: list[GarrTcsError] = list(self._recover().values())
        except GarrTcsError as error:
            stuck = [error]
        for each in stuck:
            self._environment.warn(f"deploy: {each}")

    def undo(self) -> None:
        """Undo what this process has written and not yet committed (``rollback_checkpoints`` in a run)."""
        self._is_over = True
        try:
            _raise_joined(self._undo_staged())
        finally:
            self._locks.release_all()

    def restore(self, checkpoints: int) -> None:
        """Bring back the deployment before the last (``certbot rollback``), as far as write and test.

        ``restart`` follows, and reloads, probes and commits. The targets are held until their lineage has a newer
        certificate, or ``save`` is called for it. Where one target refuses, the others are finished here: Certbot does
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
            errors += self._caught(deployer, partial(self._stage_restore, deployer))
        if errors or not self._staged:
            errors += self._finish()
            self._is_over = True
            _raise_joined(errors)
            raise DeployError(
                "no deployment can be undone: nothing was deployed, or the last one is undone already",
                f"certbot install {self._options} --cert-name NAME deploys the current certificate again.",
            )

    def forget_removed(self) -> None:
        """Remove the old files, and old keys, of targets that left the file."""
        sources = {str(target.source) for target in self._targets}
        for identity in self._storage.journal.restorable():
            if identity in self._by_identity:
                continue
            record = self._storage.records.find(identity)
            if record is None or record.source in sources or not Path(record.source).exists():
                self._storage.journal.forget(identity)
                title = record.title if record else "a target"
                self._environment.notify(f"what the last deployment to {title} replaced is removed: no file names it")

    # how they do it

    @cached_property
    def _by_identity(self) -> dict[str, Target]:
        return {identity_of(target): target for target in self._targets}

    def _deployer(self, target: Target) -> TargetDeployer:
        return TargetDeployer(target, self._storage, self._environment, self._own_files, self._options)

    def _stage(self, lineages: Iterable[str], *, forced: bool = False, finish: bool = False) -> None:
        """Write and test whatever is out of date; with ``finish``, also reload, probe and commit, one by one."""
        lineages = self.target_lineages.keys() & set(lineages)
        self._recover(given_up=lineages if forced else None)
        outdated, errors = self._outdated(lineages, forced=forced)

        busy = [each for each in outdated if self._is_busy(each[0])]
        for deployer, lineage in [*(each for each in outdated if each not in busy), *busy]:
            errors += self._caught(deployer, partial(self._deploy, deployer, lineage, end_hold=forced, finish=finish))
        if errors and not finish:
            errors += self._finish()  # Certbot will not call restart after this
            self._is_over = True
        _raise_joined(errors)

    def _outdated(
        self, lineages: Iterable[str], *, forced: bool
    ) -> tuple[list[tuple[TargetDeployer, LineageFiles]], list[DeployError]]:
        """Return the targets that are not up to date, and not held, and what keeps a lineage from being read."""
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

    def _deploy(self, deployer: TargetDeployer, lineage: LineageFiles, *, end_hold: bool, finish: bool) -> None:
        self._locks.take(deployer.identity, deployer.target.title)
        if deployer.identity in self._stuck:
            raise self._stuck[deployer.identity]
        conflict = self._conflict(deployer.target)
        if conflict:
            raise DeployError(conflict, "Give each target paths of its own.")
        staged = deployer.stage(lineage.bundle, end_hold=end_hold)
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

    def _caught(self, deployer: TargetDeployer, step: Callable[[], None]) -> list[DeployError]:
        """Take a step with one target; return its error instead of raising it. Let go of it unless it is staged."""
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
        """Finish what is staged; return the errors of those that were put back."""
        errors: list[DeployError] = []
        for identity in list(self._staged):
            deployer, staged = self._deployer(self._by_identity[identity]), self._staged[identity]
            try:
                deployer.finish(staged)
            except DeployError as error:
                errors.append(error)
            del self._staged[identity]
            self._locks.release(identity)
        self._is_over = self._is_over or bool(errors)
        return errors

    def _undo_staged(self) -> list[DeployError]:
        errors = []
        for identity in reversed(list(self._staged)):
            deployer, staged = self._deployer(self._by_identity[identity]), self._staged.pop(identity)
            errors += self._caught(deployer, partial(deployer.undo, staged))
        return errors

    def _recover(self, *, given_up: Iterable[str] | None = None) -> dict[str, DeployError]:
        """Roll back what was interrupted, before anything else; return what could not be, by target.

        ``given_up``: what cannot be rolled back of these lineages, and of targets that left the file, ends as it is.
        A failure of a target that left the file is only said: it must not keep the others from their certificate.
        """
        for identity in self._storage.journal.unfinished():
            target = self._by_identity.get(identity)
            ends = given_up is not None and (target is None or target.lineage in given_up)
            if identity in self._staged or (identity in self._stuck and not ends):
                continue
            try:
                if not self._locks.try_take(identity):
                    continue  # the process that has it ends it
                self._stuck.pop(identity, None)
                roll_back_interrupted(identity, target, self._storage.journal, self._storage.records, self._environment)
            except (GarrTcsError, OSError) as error:
                stuck = self._stuck_error(identity, error)
                try:
                    if ends:
                        give_up(identity, self._storage.journal, self._environment, stuck)
                        continue
                except GarrTcsError as worse:
                    stuck = self._stuck_error(identity, worse)
                self._stuck[identity] = stuck
                if target is None:
                    self._environment.warn(f"a target that is in no file any more: {stuck}")
            finally:
                self._locks.release(identity)
        return {identity: error for identity, error in self._stuck.items() if identity in self._by_identity}

    def _stuck_error(self, identity: str, error: Exception) -> DeployError:
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
        """Return which other target writes to a file of this one, by whatever spelling; empty where none does."""
        if self._conflicts is None:
            self._conflicts = path_conflicts(self._targets, self._own_files)
        return self._conflicts.get(target.title, "")


def path_conflicts(targets: Iterable[Target], own_files: OwnFiles) -> dict[str, str]:
    """Return, for each target that shares a file with another, its heading and what is wrong, in words."""
    wanted_by: dict[tuple[int, int, str], list[tuple[Target, Path]]] = {}
    for target in targets:
        try:
            files = inspect(target, own_files, None)
        except (DeployError, OSError):
            continue  # it cannot be written to, and says so when it is its turn
        for file in files:
            wanted_by.setdefault(file.key, []).append((target, file.output.path))
    return {
        target.title: f"{path} is written by {' and '.join(other.title for other, _ in wanting)}"
        for wanting in wanted_by.values()
        if len(wanting) > 1
        for target, path in wanting
    }


def _raise_joined(errors: Sequence[DeployError]) -> None:
    """Raise what there is to raise; of several, the first one's hint."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        joined = "; ".join(error.message for error in errors)
        raise DeployError(f"cannot deploy to {len(errors)} targets: {joined}", errors[0].hint)
