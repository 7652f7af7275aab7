"""Put back what a process that was cut short left half done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.together import caught
from certbot_garr_tcs.deploy.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from certbot_garr_tcs.deploy.ledger import Ledger
    from certbot_garr_tcs.deploy.transaction import Journal
    from certbot_garr_tcs.errors import DeployError


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
        errors = caught(Transaction.roll_back, transaction)
        if not errors:
            notify(f"put back the old files of {title}: a deployment was cut short")
        elif identity in known:
            stuck[identity] = errors[0]
        else:
            notify(f"{title} is in no file any more: {errors[0]}")
    return stuck
