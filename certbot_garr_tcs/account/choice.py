"""Choose the account of this machine that is used, or find that one has to be registered."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs import compat, lineages
from certbot_garr_tcs.account import rules
from certbot_garr_tcs.account.presets import same_directory
from certbot_garr_tcs.account.roster import Named, Roster, choose, made_none
from certbot_garr_tcs.account.selection import Run
from certbot_garr_tcs.errors import AccountError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certbot_garr_tcs.account.occasion import Occasion
    from certbot_garr_tcs.account.roster import Rosters
    from certbot_garr_tcs.account.selection import Selection


@dataclass(frozen=True)
class Chosen:
    """The account to use, ``None`` where there is none; those that are there, and what to tell the user.

    ``is_new``: one has to be registered.
    """

    account: str | None
    there: Sequence[str] = ()
    notices: tuple[str, ...] = ()
    is_new: bool = False


def choose_account(
    config: Any, occasion: Occasion, selected: Selection, stored_server: str | None, rosters: Rosters
) -> Chosen:
    """Return the account to use, and write down what is known of the accounts where the run may register one.

    Raises ``AccountError``.
    """
    directory = selected.directory_url
    there = compat.accounts(config, directory)
    roster = rosters.read(directory).seeing(there, lambda account, since: _issued(config, directory, account, since))
    if occasion.typed("account"):
        chosen = _typed_account(config, selected, there)
        if selected.binding:
            roster = replace(roster, named=Named(str(config.account), selected.binding.fingerprint, time.time()))
    else:
        is_stored = stored_server is not None and same_directory(stored_server, directory)
        chosen = _account_of_file(occasion, selected, there, roster, config.account if is_stored else None)
        if chosen.is_new:
            _check_first_try(config, selected)
            if not there:
                roster = Roster(offered=selected.binding.fingerprint if selected.binding else None)
    if occasion.registers:
        rosters.write(directory, roster)
    return chosen


def _issued(config: Any, directory: str, account: str, since: float) -> bool:
    return any(
        lineage.account == account
        and lineage.server is not None
        and same_directory(lineage.server, directory)
        and lineage.was_issued_since(since)
        for lineage in lineages.read_lineages(lineages.folder(config.config_dir))
    )


def _typed_account(config: Any, selected: Selection, there: Sequence[str]) -> Chosen:
    if config.account not in there:
        # Certbot would say so too, but not before we had put another account in its place.
        raise AccountError(
            f"--account {config.account} is no account that is on this machine for {selected.title}",
            f"Give one of {', '.join(there)}, or none." if there else "Leave --account out.",
        )
    return Chosen(str(config.account), there)


def _account_of_file(
    occasion: Occasion, selected: Selection, there: Sequence[str], roster: Roster, stored: str | None
) -> Chosen:
    if occasion.wants_new_account and selected.binding:
        account = next(iter(roster.made(selected.binding.fingerprint, there)), None)
    else:
        account = choose(roster, there, selected, stored)
    if account is not None:
        return Chosen(account, there)
    if not occasion.registers:
        if there:
            raise AccountError(made_none(there, selected), "Name one with --account ID.")
        return Chosen(None)
    rules.check_registration(selected)
    notices = []
    if stored and not there:
        notices.append(
            f"Account {stored} at {selected.title} is not on this machine any more; a new one is registered."
        )
    if there:
        notices.append(
            f"{made_none(there, selected)}: a new one is registered beside. If one of them is right all the same, say "
            "so once with --account ID."
        )
    notices.append(rules.registration_notice(selected))
    if occasion.run is Run.DRY_RUN:
        notices.append(
            "In a dry run Certbot registers without an e-mail address. If the CA insists on one, run once: "
            "certbot register --staging --garr-tcs"
        )
    elif not selected.email:
        notices.append("No e-mail address is given. If one is wanted, add email = … to [account] in garr-tcs.ini.")
    return Chosen(None, there, tuple(notices), is_new=True)


_TRIED: set[tuple[str, str]] = set()


def _check_first_try(config: Any, selected: Selection) -> None:
    """Refuse to register once more in one ``certbot renew``, which asks for each lineage that is due.

    A pair that was refused is not offered again, and one whose answer was lost may be used up.
    """
    attempt = (selected.directory_url, selected.binding.fingerprint if selected.binding else "")
    if config.verb == "renew" and attempt in _TRIED:
        raise AccountError(
            f"to register an account at {selected.title} has failed already in this run",
            "See the first error above.",
        )
    _TRIED.add(attempt)


def remember_made(config: Any, rosters: Rosters, selected: Selection, account: str) -> None:
    """Use an account that was just registered, and remember which key ID made it."""
    config.account = account
    if selected.binding:
        roster = rosters.read(selected.directory_url)
        made_by = {**roster.made_by, account: selected.binding.fingerprint}
        rosters.write(selected.directory_url, replace(roster, made_by=made_by))
