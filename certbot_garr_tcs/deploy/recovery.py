"""Roll back what a process that was interrupted left half done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.certificate import problem_of_old_files
from certbot_garr_tcs.deploy.folders import administrators
from certbot_garr_tcs.deploy.plan import password_of, trusted_uids
from certbot_garr_tcs.deploy.records import DeploymentRecord
from certbot_garr_tcs.deploy.transaction import Transaction
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from certbot_garr_tcs.deploy.environment import Environment
    from certbot_garr_tcs.deploy.records import DeploymentRecords
    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.deploy.transaction import Journal


def roll_back_interrupted(
    identity: str, target: Target | None, journal: Journal, records: DeploymentRecords, environment: Environment
) -> None:
    """End an open transaction, with the old files; ``target``: ``None`` where it left the file.

    Where every file is new already and the old certificate is not good any more, the new files stay.
    """
    transaction = Transaction.resume(journal, identity, trusted_uids(target) if target else administrators())
    if transaction is None:
        return
    if transaction.about.get("reloading"):
        records.mark_reload_pending(identity)
    problem = _problem_of_old_files(transaction, target, environment)
    if problem and transaction.is_applied():
        record = DeploymentRecord.from_document({**transaction.about["record"], "reload_owed": True})
        records.write(identity, record)
        transaction.commit(restorable=False)
        environment.warn(f"kept the new files of {transaction.title}: of the old ones, {problem}")
        return
    transaction.roll_back()
    environment.notify(f"put back the old files of {transaction.title}: a deployment was interrupted")
    if problem:
        environment.warn(f"the old files of {transaction.title} are back, but {problem}")
    for temporary in transaction.left_behind:
        environment.warn(f"cannot remove {temporary}: remove it when that disk can be written to")


def give_up(identity: str, journal: Journal, environment: Environment, error: DeployError) -> None:
    """End an open transaction that cannot be rolled back, with the files as they are."""
    transaction = Transaction.resume(journal, identity, administrators())
    if transaction is not None:
        transaction.give_up()
        environment.warn(f"gave up what was interrupted before: {error.message}")


def _problem_of_old_files(transaction: Transaction, target: Target | None, environment: Environment) -> str:
    kinds = {output.path: output.kind for output in target.outputs} if target else {}
    try:
        old = [(entry.kind or kinds.get(entry.path, ""), transaction.old_data(entry)) for entry in transaction.entries]
        there = [(kind, data) for kind, data in old if data is not None]
        return problem_of_old_files(there, password_of(target) if target else None, environment.now())
    except DeployError:
        return ""
