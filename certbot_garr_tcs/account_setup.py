"""Set Certbot's configuration to the CA account that garr-tcs.ini means.

What is set here is what Certbot's own registration and ordering use; it is done for ``prepare`` and for
the subcommands that load no plugin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import compat, lineages
from certbot_garr_tcs.account import rules, selection
from certbot_garr_tcs.account.binding import Binding, are_swapped, key_id_problem, normalise_hmac_key
from certbot_garr_tcs.account.roster import Roster, Rosters, choose
from certbot_garr_tcs.account.selection import Run, Selection, Wish
from certbot_garr_tcs.config import default_path
from certbot_garr_tcs.errors import AccountError

if TYPE_CHECKING:
    from certbot_garr_tcs.config import Configuration
    from certbot_garr_tcs.lineages import Lineage
    from certbot_garr_tcs.state import StateFolder


@dataclass(frozen=True)
class Occasion:
    """Say what Certbot is about to do.

    ``typed``: whether the user set an option of that name. ``registers``: whether Certbot would register
    an account where there is none. ``notify``: shows one sentence to the user.
    """

    run: Run
    typed: Callable[[str], bool]
    notify: Callable[[str], None]
    registers: bool = True
    new_lineage: bool = False


def occasion_of(config: Any, notify: Callable[[str], None]) -> Occasion:
    """Return the occasion of a run for which Certbot prepares us."""
    run = Run.LIVE
    if config.verb == "reconfigure":
        run = Run.RECONFIGURE
    elif config.dry_run:
        run = Run.DRY_RUN
    elif config.staging:
        run = Run.STAGING
    return Occasion(
        run=run,
        typed=lambda name: compat.typed(config, name),
        notify=notify,
        new_lineage=config.verb in {"certonly", "run"},
    )


def settle(config: Any, settings: Configuration | None, state: StateFolder, occasion: Occasion) -> Selection:
    """Set directory URL, account, EAB, contact and terms on ``config``; return what was selected.

    ``config`` is Certbot's configuration, or the namespace while it is still being parsed. Nothing is set
    before everything was found right. Raises ``AccountError``.
    """
    account = settings.account if settings else None
    lineage = _lineage(config)
    stored_server = _stored_server(config, occasion, lineage)
    file = str(settings.path) if settings else f"{default_path(config.config_dir)} (which does not exist)"
    selected = selection.select(_wish(config, occasion, stored_server, file), account)
    if occasion.run is Run.STAGING and not config.break_my_certs:
        _check_replacement(config, selected)
    notices = list(selected.notices)
    # Only a renewal is sure to issue: certonly may yet find that nothing is due.
    if config.verb == "renew" and occasion.run is Run.LIVE and stored_server not in {None, selected.directory_url}:
        notices.append(_move_notice(config, lineage, str(stored_server), selected))
    notices += _check_order(config, occasion, selected)
    chosen, more = _choose_account(config, occasion, selected, stored_server, Rosters(state))
    if account and chosen is None and occasion.registers:
        notices += account.notices
    for notice in [*notices, *more]:
        occasion.notify(notice)
    _apply(config, selected, chosen, registers=occasion.registers)
    if account and occasion.new_lineage:
        _apply_key_type(config, occasion, account.key_type, account.rsa_key_size)
    return selected


def _wish(config: Any, occasion: Occasion, stored_server: str | None, file: str) -> Wish:
    return Wish(
        run=occasion.run,
        server=config.server if occasion.typed("server") else None,
        binding=_typed_binding(config, occasion),
        email=config.email if occasion.typed("email") else None,
        ca=config.tcs_ca,
        stored_server=stored_server,
        allow_live_dry_run=bool(config.tcs_allow_live_dry_run),
        public_server=compat.public_server(),
        public_staging=compat.public_staging(),
        file=file,
    )


def _typed_binding(config: Any, occasion: Occasion) -> Binding | None:
    kid, secret = config.eab_kid, config.eab_hmac_key
    if not occasion.typed("eab_kid") and not kid and not secret:
        return None
    if not kid and not secret:
        raise AccountError("--eab-kid and --eab-hmac-key are empty", "Give both, or leave both out.")
    if not kid or not secret:
        here, missing = ("--eab-kid", "--eab-hmac-key") if kid else ("--eab-hmac-key", "--eab-kid")
        raise AccountError(f"{here} stands alone", f"Give {missing} too; the CA's portal shows both together.")
    problem = key_id_problem(kid.strip())
    if are_swapped(kid, secret):
        problem = "and --eab-hmac-key are swapped: the long one is the HMAC key"
    if problem:
        raise AccountError(f"--eab-kid {problem}", "Better still, write both into garr-tcs.ini.")
    try:
        return Binding(kid.strip(), normalise_hmac_key(secret))
    except ValueError as error:
        # From None: the traceback in Certbot's log must not lead to the key.
        raise AccountError(f"--eab-hmac-key {error}", "Better still, write both into garr-tcs.ini.") from None


def _lineage(config: Any) -> Lineage | None:
    """Return the lineage that this run is about, where it is there and can be told."""
    found = lineages.find(Path(config.config_dir) / "renewal", config.certname, compat.identifiers(config))
    return found[0] if len(found) == 1 else None


def _check_replacement(config: Any, selected: Selection) -> None:
    if config.duplicate or config.csr:
        return  # a lineage of its own, or none
    renewal_dir = Path(config.config_dir) / "renewal"
    for lineage in lineages.replaceable(renewal_dir, config.certname, compat.identifiers(config)):
        rules.check_replacement(selected, lineage.name, lineage.server)


def _stored_server(config: Any, occasion: Occasion, lineage: Lineage | None) -> str | None:
    """Return the lineage's CA: at a renewal Certbot has put it where ``--server`` would be, but not in dry runs."""
    if lineage:
        return lineage.server
    renewing = config.verb in {"renew", "reconfigure"} and occasion.run in {Run.LIVE, Run.RECONFIGURE}
    return str(config.server) if renewing and not occasion.typed("server") else None


def _move_notice(config: Any, lineage: Lineage | None, stored_server: str, selected: Selection) -> str:
    name = lineage.name if lineage else ", ".join(compat.identifiers(config))
    return f"Lineage {name} moves from {selection.ca_title(stored_server)} to {selected.title}."


def _check_order(config: Any, occasion: Occasion, selected: Selection) -> list[str]:
    """Return warnings about what is going to be ordered; refuse what the CA is known to refuse."""
    notices = []
    if getattr(config, "must_staple", False) and rules.must_staple_is_refused(selected):
        if occasion.typed("must_staple"):
            rules.refuse_must_staple(selected)
        config.must_staple = False
        notices.append(rules.dropped_must_staple_notice(selected))
    many = rules.many_names_notice(selected, len(compat.identifiers(config)))
    return notices + ([many] if many else [])


def _choose_account(
    config: Any, occasion: Occasion, selected: Selection, stored_server: str | None, rosters: Rosters
) -> tuple[str | None, list[str]]:
    """Return the account to use, ``None`` to register one, and what to tell the user."""
    directory = selected.directory_url
    there = compat.accounts(config, directory)
    roster = rosters.read(directory).seeing(there)
    stored = config.account if stored_server == directory or occasion.typed("account") else None
    if occasion.typed("account"):
        if config.account not in there:
            # Certbot would say so too, but not before we had put another account in its place.
            raise AccountError(
                f"--account {config.account} is no account that is on this machine for {selected.title}",
                f"Give one of {', '.join(there)}, or none." if there else "Leave --account out.",
            )
        if selected.binding:
            roster = replace(roster, made_by={**roster.made_by, config.account: selected.binding.fingerprint})
        rosters.write(directory, roster)
        return str(config.account), []
    chosen = choose(roster, there, selected, stored)
    notices = []
    if chosen is None and occasion.registers:
        rules.check_registration(selected)
        if stored:
            notices.append(
                f"Account {stored} at {selected.title} is not on this machine any more; a new one is registered."
            )
        notices.append(rules.registration_notice(selected))
        if occasion.run is Run.DRY_RUN:
            notices.append(
                "In a dry run Certbot registers without an e-mail address. If the CA insists on one, run once: "
                "certbot register --staging --garr-tcs"
            )
        elif not selected.email:
            notices.append("No e-mail address is given. If one is wanted, add email = … to [account] in garr-tcs.ini.")
        roster = Roster(offered=selected.binding.fingerprint if selected.binding else None)
    rosters.write(directory, roster)
    return chosen, notices


def _apply(config: Any, selected: Selection, account: str | None, *, registers: bool) -> None:
    config.server = selected.directory_url
    config.account = account
    if account is None and registers and selected.binding:
        config.eab_kid = selected.binding.key_id
        config.eab_hmac_key = selected.binding.hmac_key
    if selected.email and not config.email:
        config.email = selected.email
    if selected.agree_tos:
        config.tos = True


def _apply_key_type(config: Any, occasion: Occasion, key_type: str | None, rsa_key_size: int | None) -> None:
    if key_type and not occasion.typed("key_type"):
        # Past Certbot's record of who set it: a new lineage takes it as its default, and one that exists
        # already keeps the type of its key, instead of an error that asks whether that is to change.
        config.namespace.key_type = key_type
    if rsa_key_size and not occasion.typed("rsa_key_size"):
        config.rsa_key_size = rsa_key_size


def settle_for_lineage(config: Any) -> None:
    """Set the account for ``revoke --cert-name``: Certbot takes the server from the lineage by itself."""
    lineage = _lineage(config)
    if lineage is None or not lineage.server:
        return
    there = compat.accounts(config, lineage.server)
    if lineage.account in there:
        config.account = config.account or lineage.account
    if not there and not config.key_path:
        raise _nothing_to_revoke_with(selection.ca_title(lineage.server))


def check_revocation(config: Any, selected: Selection) -> None:
    """Raise ``AccountError`` where there is nothing to revoke with: Certbot would register an account for it."""
    if config.account is None and not config.key_path:
        raise _nothing_to_revoke_with(selected.title)


def _nothing_to_revoke_with(title: str) -> AccountError:
    return AccountError(
        f"there is no account of {title} on this machine to revoke with",
        "Revoke with the certificate's own key (--key-path), or in the CA's portal.",
    )
