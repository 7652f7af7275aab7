"""Put back what a process that was cut short left half done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.transaction import Transaction
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from certbot_garr_tcs.deploy.ledger import Ledger
    from certbot_garr_tcs.deploy.transaction import Journal


def put_back(
    journal: Journal, ledger: Ledger, *, ours: Collection[str], known: Collection[str], notify: Callable[[str], None]
) -> dict[str, DeployError]:
    """Roll back every open transaction but ``ours``; return, by target, what could not be put back.

    ``known``: the targets of the file. One that has left it is put back as well, and a failure there is
    only told: it must not keep the others from their certificate. The lock is held by the caller.
    """
    stuck = {}
    for identity in journal.unfinished():
        transaction = None if identity in ours else Transaction.resume(journal, identity)
        if transaction is None:
            continue
        if transaction.about.get("reloading"):
            ledger.owe_reload(identity)
        title = transaction.about.get("title", identity)
        error = _rolled_back(transaction)
        if error is None:
            notify(f"put back the old files of {title}: a deployment was cut short")
        elif identity in known:
            stuck[identity] = error
        else:
            notify(f"{title} is in no file any more: {error}")
    return stuck


def _rolled_back(transaction: Transaction) -> DeployError | None:
    try:
        transaction.roll_back()
    except DeployError as error:
        return error
    return None
