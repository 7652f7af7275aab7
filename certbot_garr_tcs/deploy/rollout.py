"""Converge targets to their lineage, through whichever of Certbot's doors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.delivery import Deliverer, Delivery, Hands
from certbot_garr_tcs.deploy.glance import Glances
from certbot_garr_tcs.deploy.ledger import identity_of
from certbot_garr_tcs.deploy.locks import Locks
from certbot_garr_tcs.deploy.material import dns_names
from certbot_garr_tcs.deploy.plan import is_right
from certbot_garr_tcs.deploy.recovery import put_back
from certbot_garr_tcs.deploy.together import caught, raise_together
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from certbot_garr_tcs.deploy.material import Material
    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.state import StateFolder


class Rollout:
    """Deploy, in one process of Certbot.

    A target that fails is put back and told at the end; it does not keep the others from their
    certificate. Every door raises DeployError, with the headings of the sections concerned.
    """

    def __init__(
        self,
        state: StateFolder,
        targets: Sequence[Target],
        load: Callable[[str], Material | None],
        hands: Hands,
    ) -> None:
        """Take the file's targets, and ``load``, which reads a lineage by name (``None``: there is none)."""
        self._targets = tuple(targets)
        self._targets_of: dict[str, list[Target]] = {}
        for target in self._targets:
            self._targets_of.setdefault(target.lineage, []).append(target)
        self._load = load
        self._hands = hands
        self._deliverer = Deliverer(state, hands)
        self._glances = Glances(state, hands.now)
        self._locks = Locks(state, hands.clock, hands.sleep)
        self._remembered: list[str] = []
        self._staged: dict[str, Delivery] = {}
        self._over = False

    # the doors

    def remember(self, lineage: str) -> None:
        """Note the lineage that Certbot is installing (``deploy_cert``, once per name)."""
        if lineage not in self._remembered:
            self._remembered.append(lineage)

    def save(self) -> None:
        """Write and test for the remembered lineages (``save(title)``); this ends a hold."""
        self._stage(self._remembered, forced=True)

    def renew_deploy(self, lineage: str) -> None:
        """Write and test for a lineage that was just renewed."""
        self.remember(lineage)
        self._stage([lineage], forced=False)

    def restart(self) -> None:
        """Reload, probe and commit what was written; without that, converge every target.

        After an undo in this process: nothing, and no error, because Certbot calls it once more.
        """
        if self._over:
            return
        if self._staged or self._remembered:
            raise_together(self._finish())
        else:
            self.converge(*self._targets_of)

    def converge(self, *lineages: str) -> None:
        """Bring every target of these lineages to where it should be, from check to commit."""
        self._stage(lineages, forced=False, finish=True)

    def recover(self) -> None:
        """Roll back what is open, from this process or from one that crashed."""
        if not self._staged and not self._deliverer.journal.unfinished():
            return
        try:
            errors = self._undo_staged()
            self._locks.take(())
            raise_together([*errors, *self._recover().values()])
        finally:
            self._locks.release()

    def undo(self) -> None:
        """Undo what this process has written and not yet committed (``rollback_checkpoints`` in a run)."""
        self._over = True
        try:
            raise_together(self._undo_staged())
        finally:
            self._locks.release()

    def restore(self, checkpoints: int) -> None:
        """Bring back the deployment before the last (``certbot rollback``), as far as write and test.

        ``restart`` follows, and reloads, probes and commits. The targets are held until their lineage has
        a newer certificate, or ``save`` is called for it.
        """
        if checkpoints != 1:
            raise DeployError(
                f"cannot go back {checkpoints} deployments: only the last one can be undone",
                "Run: certbot rollback --checkpoints 1",
            )
        self._locks.take(self._targets)
        errors = list(self._recover().values())
        materials, _ = self._loaded(self._targets_of)  # a lineage may be gone, or broken
        for target in self._targets:
            material = materials.get(target.lineage)
            hold = material.fingerprint if material else self._deliverer.ledger.read(target).fingerprint
            try:
                delivery = self._deliverer.prepare_restore(target, hold, dns_names(material) if material else ())
            except DeployError as error:
                errors.append(DeployError(f"{target.title}: {error.message}", error.hint))
                continue
            if delivery is not None:
                self._staged[identity_of(target)] = delivery
        if errors or not self._staged:
            errors += self._undo_staged()
            self._locks.release()
            self._over = True
            raise_together(errors)
            raise DeployError(
                "no deployment can be undone: nothing was deployed, or the last one is undone already",
                "Run certbot install --cert-name NAME to deploy the current certificate again.",
            )

    # what they share

    def _stage(self, lineages: Iterable[str], *, forced: bool, finish: bool = False) -> None:
        materials, errors = self._loaded(lineages)
        todo = self._wrong(materials, forced=forced)
        if not todo and not errors and not self._deliverer.journal.unfinished():
            return
        try:
            self._locks.take(todo)
            stuck = self._recover()
            for target in self._wrong(materials, forced=forced, tell=False):
                identity = identity_of(target)
                if identity in stuck:
                    errors.append(stuck[identity])
                elif identity not in self._staged:
                    errors += self._deliver(target, materials[target.lineage], finish=finish)
            if errors and not finish:
                errors += self._finish()  # Certbot will not call restart after this
                self._over = True
            raise_together(errors)
        finally:
            if not self._staged:
                self._locks.release()

    def _loaded(self, lineages: Iterable[str]) -> tuple[dict[str, Material], list[DeployError]]:
        """Return the material of each lineage that has targets and exists, and what could not be read."""
        materials, errors = {}, []
        for name in sorted(self._targets_of.keys() & set(lineages)):
            try:
                material = self._load(name)
            except DeployError as error:
                errors.append(error)
                continue
            if material is not None:
                materials[name] = material
        return materials, errors

    def _wrong(self, materials: dict[str, Material], *, forced: bool, tell: bool = True) -> list[Target]:
        """Return the targets of these lineages that are not as they should be, and not held."""
        wrong = []
        for target, material in self._concerned(materials):
            entry = self._deliverer.ledger.read(target)
            if entry.hold and entry.hold == material.fingerprint:
                if not forced:
                    self._tell_hold(target, tell=tell)
                    continue
                entry = replace(entry, hold="", inputs="")
                self._deliverer.ledger.write(target, entry)
            try:
                right = is_right(target, material, entry)
            except DeployError:
                right = False  # prepare meets the same, and tells it
            if not right:
                wrong.append(target)
            elif material.live is not None:
                self._glances.remember(target, material.live)
        return wrong

    def _concerned(self, materials: dict[str, Material]) -> Iterator[tuple[Target, Material]]:
        for lineage, material in materials.items():
            for target in self._targets_of.get(lineage, ()):
                yield target, material

    def _tell_hold(self, target: Target, *, tell: bool) -> None:
        if tell:
            self._hands.notify(
                f"{target.title} is held at what certbot rollback brought back, until lineage {target.lineage} "
                "has a newer certificate; certbot install ends the hold"
            )

    def _deliver(self, target: Target, material: Material, *, finish: bool) -> list[DeployError]:
        try:
            delivery = self._deliverer.prepare(target, material)
            if finish:
                self._deliverer.finish(delivery)
            else:
                self._staged[identity_of(target)] = delivery
        except DeployError as error:
            return [error]
        return []

    def _finish(self) -> list[DeployError]:
        """Finish what is staged; return the errors of those that were put back."""
        errors = []
        try:
            while self._staged:
                identity = next(iter(self._staged))
                errors += caught(self._deliverer.finish, self._staged[identity])
                del self._staged[identity]
        finally:
            self._over = self._over or bool(errors)
            if not self._staged:
                self._locks.release()
        return errors

    def _undo_staged(self) -> list[DeployError]:
        errors = []
        for identity in reversed(list(self._staged)):
            errors += caught(self._deliverer.undo, self._staged.pop(identity))
        return errors

    def _recover(self) -> dict[str, DeployError]:
        known = {identity_of(target) for target in self._targets}
        journal, ledger = self._deliverer.journal, self._deliverer.ledger
        return put_back(journal, ledger, ours=self._staged, known=known, notify=self._hands.notify)
