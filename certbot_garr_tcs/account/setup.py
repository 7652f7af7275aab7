"""Set Certbot's configuration to the CA and the account that garr-tcs.ini means.

Certbot's own registration and ordering use what is set here, in ``prepare`` and for the subcommands that load no
plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import certbot_api, lineages
from certbot_garr_tcs.account import ca_limits, selection
from certbot_garr_tcs.account.accounts import AccountChoice, AccountStore, choose_account, use_registered
from certbot_garr_tcs.account.eab import EabCredentials, check_eab
from certbot_garr_tcs.account.presets import same_directory
from certbot_garr_tcs.account.selection import Overrides, RunContext, RunMode, Selection
from certbot_garr_tcs.errors import AccountError

if TYPE_CHECKING:
    from pathlib import Path

    from certbot_garr_tcs.account.settings import AccountSettings
    from certbot_garr_tcs.lineages import Lineage
    from certbot_garr_tcs.storage import StateFolder


_RENEWAL_VERBS = frozenset({"renew", "reconfigure"})


def run_context(config: Any, notify: Callable[[str], None]) -> RunContext:
    """Return the context of a run for which Certbot prepares the plugin."""
    mode = RunMode.LIVE
    if config.verb == "reconfigure":
        mode = RunMode.RECONFIGURE
    elif config.dry_run:
        mode = RunMode.DRY_RUN
    elif config.staging:
        mode = RunMode.STAGING
    return RunContext(
        mode=mode,
        set_by_user=lambda name: certbot_api.set_by_user(config, name),
        notify=notify,
        register_beside=lambda configuration, done: done(certbot_api.register_account(configuration)),
        is_new_lineage=config.verb in {"certonly", "run"},
    )


def configure_account(
    config: Any, account: AccountSettings | None, file: Path, state: StateFolder, context: RunContext
) -> Selection:
    """Set directory URL, account, EAB, contact and terms on ``config``; return the selection.

    ``config``: Certbot's configuration, or the namespace while it is still being parsed. ``account``: what the
    garr-tcs.ini ``file`` says, if it is there. Nothing is set unless everything is right. Raises ``AccountError``.
    """
    lineage = _lineage(config)
    stored_server = _stored_server(config, context, lineage)
    selected = selection.select(_overrides(config, context, stored_server, file), account)
    if context.mode is RunMode.STAGING and not config.break_my_certs:
        _check_replacement(config, selected)
    moves = config.verb in _RENEWAL_VERBS and _is_elsewhere(stored_server, selected)
    notices = list(selected.notices)
    # Only a renewal is sure to issue: certonly may yet find that nothing is due.
    if config.verb == "renew" and context.mode is RunMode.LIVE:
        notices += _renewal_notices(_name(config, lineage), stored_server, selected, moves=moves)
    notices += _check_order(config, context, selected)
    store = AccountStore(state)
    choice = choose_account(config, context, selected, stored_server, store)
    if moves:
        notices += _drop_old_profile(config, context, _name(config, lineage))
        notices += _key_type_notices(config, context, _name(config, lineage), account)
    if account and choice.must_register:
        notices += account.notices
    for notice in [*notices, *choice.notices]:
        context.notify(notice)
    _apply(config, selected, choice)
    if account:
        _apply_key_type(config, context, account)
    if choice.must_register and choice.existing:
        context.register_beside(config, lambda registered: use_registered(config, store, selected, registered))
    return selected


def _overrides(config: Any, context: RunContext, stored_server: str | None, file: Path) -> Overrides:
    return Overrides(
        mode=context.mode,
        server=config.server if context.set_by_user("server") else None,
        eab=_eab_of_user(config, context),
        email=config.email if context.set_by_user("email") else None,
        ca=config.tcs_ca,
        stored_server=stored_server,
        is_renewal=config.verb in _RENEWAL_VERBS,
        allow_live_dry_run=bool(config.tcs_allow_live_dry_run),
        public_server=certbot_api.public_server(),
        public_staging=certbot_api.public_staging(),
        file=str(file) if file.exists() else f"{file} (which does not exist)",
    )


def _eab_of_user(config: Any, context: RunContext) -> EabCredentials | None:
    key_id, hmac_key = config.eab_kid, config.eab_hmac_key
    if not context.set_by_user("eab_kid") and not key_id and not hmac_key:
        return None
    if not key_id and not hmac_key:
        raise AccountError("--eab-kid and --eab-hmac-key are empty", "Give both, or leave both out.")
    names = ("--eab-kid", "--eab-hmac-key")
    if not key_id or not hmac_key:
        here, missing = names if key_id else reversed(names)
        raise AccountError(f"{here} stands alone", f"Give {missing} too; the CA's portal shows both together.")
    eab, problems = check_eab(key_id, hmac_key, names)
    for name, problem in problems:
        raise AccountError(f"{name} {problem}", "Better still, write both into garr-tcs.ini.")
    return eab


def _lineage(config: Any) -> Lineage | None:
    """Return the lineage that this run is for, or ``None`` where there is none or more than one is possible."""
    name = config.certname or (certbot_api.lineage_being_renewed() if config.verb == "renew" else None)
    found = lineages.find(lineages.folder(config.config_dir), name, certbot_api.identifiers(config))
    return found[0] if len(found) == 1 else None


def _name(config: Any, lineage: Lineage | None) -> str:
    return lineage.name if lineage else ", ".join(certbot_api.identifiers(config))


def _check_replacement(config: Any, selected: Selection) -> None:
    if config.duplicate or config.csr:
        return  # makes a lineage of its own, or none
    for lineage in lineages.replaceable(
        lineages.folder(config.config_dir), config.certname, certbot_api.identifiers(config)
    ):
        ca_limits.check_replacement(selected, lineage.name, lineage.server)


def _stored_server(config: Any, context: RunContext, lineage: Lineage | None) -> str | None:
    """Return the lineage's directory URL, or ``None``.

    Without a lineage on disk a renewal has it where ``--server`` would be; a dry run has not.
    """
    if lineage:
        return lineage.server
    renewing = config.verb in _RENEWAL_VERBS and context.mode in {RunMode.LIVE, RunMode.RECONFIGURE}
    return str(config.server) if renewing and not context.set_by_user("server") else None


def _is_elsewhere(stored_server: str | None, selected: Selection) -> bool:
    """Return whether the lineage's CA is neither this run's nor the one that issues certificates for use."""
    return stored_server is not None and not any(
        same_directory(stored_server, url) for url in (selected.directory_url, selected.live_url)
    )


def _renewal_notices(name: str, stored_server: str | None, selected: Selection, *, moves: bool) -> list[str]:
    if not same_directory(selected.directory_url, selected.live_url):
        notice = (
            f"Lineage {name} stays at the staging directory {selected.directory_url}, where it was made as a trial. "
            f"For a real certificate: certbot certonly --garr-tcs --cert-name {name} --force-renewal -d …"
        )
        return [notice]
    return [f"Lineage {name} moves from {selection.ca_title(str(stored_server))} to {selected.title}."] if moves else []


def _drop_old_profile(config: Any, context: RunContext, name: str) -> list[str]:
    """Drop a profile that the lineage stores for its old CA; return the notice of it."""
    profile = getattr(config, "required_profile", None)  # since 4.0; a preferred one is asked for where the CA has it
    if not profile or context.set_by_user("required_profile"):
        return []
    config.required_profile = None
    return [f"The required_profile of lineage {name}, {profile}, is dropped: it is the old CA's."]


def _key_type_notices(config: Any, context: RunContext, name: str, account: AccountSettings | None) -> list[str]:
    if not account or account.key_type in {None, config.key_type} or context.set_by_user("key_type"):
        return []
    notice = (
        f"Lineage {name} keeps its key type, {config.key_type}: key-type in {account.source} is for new certificates. "
        f"To change it: certbot renew --force-renewal --cert-name {name} --key-type {account.key_type}"
    )
    return [notice]


def _check_order(config: Any, context: RunContext, selected: Selection) -> list[str]:
    """Return warnings about the order; raise ``AccountError`` where the CA is known to refuse it."""
    dropped = None
    if getattr(config, "must_staple", False):
        dropped = ca_limits.check_must_staple(selected, set_by_user=context.set_by_user("must_staple"))
    if dropped:
        config.must_staple = False
    many = ca_limits.many_names_notice(selected, len(certbot_api.identifiers(config)))
    return [notice for notice in (dropped, many) if notice]


def _apply(config: Any, selected: Selection, choice: AccountChoice) -> None:
    config.server = selected.directory_url
    config.account = choice.account
    if choice.must_register and selected.eab:
        config.eab_kid = selected.eab.key_id
        config.eab_hmac_key = selected.eab.hmac_key
    if selected.email and not config.email:
        config.email = selected.email
    if config.eff_email is None:
        config.eff_email = False  # the address is for the CA; Certbot would ask whether it may pass it on to the EFF
    if selected.agree_tos:
        config.tos = True


def _apply_key_type(config: Any, context: RunContext, account: AccountSettings) -> None:
    """Set the file's key type for a new lineage, and its RSA key size also where the user changes the type to RSA."""
    if context.is_new_lineage and account.key_type and not context.set_by_user("key_type"):
        # On the namespace, so that Certbot does not record that the user set it: a new lineage takes it as its
        # default, and one that exists keeps the type of its key, instead of an error that asks about a change.
        config.namespace.key_type = account.key_type
    changes = config.verb == "renew" and context.set_by_user("key_type") and config.key_type == "rsa"
    if account.rsa_key_size and (context.is_new_lineage or changes) and not context.set_by_user("rsa_key_size"):
        config.rsa_key_size = account.rsa_key_size
