"""Set Certbot's configuration to the CA account that garr-tcs.ini means.

What is set here is what Certbot's own registration and ordering use; it is done for ``prepare`` and for
the subcommands that load no plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import compat, lineages
from certbot_garr_tcs.account import rules, selection
from certbot_garr_tcs.account.binding import Binding, are_swapped, key_id_problem, normalise_hmac_key
from certbot_garr_tcs.account.choice import Chosen, choose_account, remember_made
from certbot_garr_tcs.account.occasion import Occasion
from certbot_garr_tcs.account.presets import same_directory
from certbot_garr_tcs.account.roster import Rosters
from certbot_garr_tcs.account.selection import Run, Selection, Wish
from certbot_garr_tcs.config import default_path
from certbot_garr_tcs.errors import AccountError

if TYPE_CHECKING:
    from certbot_garr_tcs.account.settings import AccountSettings
    from certbot_garr_tcs.config import Configuration
    from certbot_garr_tcs.lineages import Lineage
    from certbot_garr_tcs.state import StateFolder


_RENEWS = frozenset({"renew", "reconfigure"})


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
    moves = config.verb in _RENEWS and _is_elsewhere(stored_server, selected)
    notices = list(selected.notices)
    # Only a renewal is sure to issue: certonly may yet find that nothing is due.
    if config.verb == "renew" and occasion.run is Run.LIVE:
        notices += _renewal_notices(_name(config, lineage), stored_server, selected, moves=moves)
    notices += _check_order(config, occasion, selected)
    rosters = Rosters(state)
    chosen = choose_account(config, occasion, selected, stored_server, rosters)
    if moves:
        notices += _leave_old_ca(config, occasion, _name(config, lineage), account)
    if account and chosen.is_new:
        notices += account.notices
    for notice in [*notices, *chosen.notices]:
        occasion.notify(notice)
    _apply(config, selected, chosen)
    if account:
        _apply_key_type(config, occasion, account)
    if chosen.is_new and chosen.there:
        occasion.register(config, lambda made: remember_made(config, rosters, selected, made))
    return selected


def _wish(config: Any, occasion: Occasion, stored_server: str | None, file: str) -> Wish:
    return Wish(
        run=occasion.run,
        server=config.server if occasion.typed("server") else None,
        binding=_typed_binding(config, occasion),
        email=config.email if occasion.typed("email") else None,
        ca=config.tcs_ca,
        stored_server=stored_server,
        renews=config.verb in _RENEWS,
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
    name = config.certname or (compat.renewing() if config.verb == "renew" else None)
    found = lineages.find(lineages.folder(config.config_dir), name, compat.identifiers(config))
    return found[0] if len(found) == 1 else None


def _name(config: Any, lineage: Lineage | None) -> str:
    return lineage.name if lineage else ", ".join(compat.identifiers(config))


def _check_replacement(config: Any, selected: Selection) -> None:
    if config.duplicate or config.csr:
        return  # a lineage of its own, or none
    for lineage in lineages.replaceable(
        lineages.folder(config.config_dir), config.certname, compat.identifiers(config)
    ):
        rules.check_replacement(selected, lineage.name, lineage.server)


def _stored_server(config: Any, occasion: Occasion, lineage: Lineage | None) -> str | None:
    """Return the lineage's CA: at a renewal Certbot has put it where ``--server`` would be, but not in dry runs."""
    if lineage:
        return lineage.server
    renewing = config.verb in _RENEWS and occasion.run in {Run.LIVE, Run.RECONFIGURE}
    return str(config.server) if renewing and not occasion.typed("server") else None


def _is_elsewhere(stored_server: str | None, selected: Selection) -> bool:
    """Tell whether a lineage's CA is another one than is asked now, or in earnest."""
    return stored_server is not None and not any(
        same_directory(stored_server, url) for url in (selected.directory_url, selected.live_url)
    )


def _renewal_notices(name: str, stored_server: str | None, selected: Selection, *, moves: bool) -> list[str]:
    if not same_directory(selected.directory_url, selected.live_url):
        said = (
            f"Lineage {name} stays at the staging directory {selected.directory_url}, where it was made as a trial. "
            f"For a real certificate: certbot certonly --garr-tcs --cert-name {name} --force-renewal -d …"
        )
        return [said]
    return [f"Lineage {name} moves from {selection.ca_title(str(stored_server))} to {selected.title}."] if moves else []


def _leave_old_ca(config: Any, occasion: Occasion, name: str, account: AccountSettings | None) -> list[str]:
    """Leave behind what only the old CA knows; say so, and what stays although the file says otherwise."""
    notices = []
    profile = getattr(config, "required_profile", None)  # since 4.0; a preferred one is asked for where the CA has it
    if profile and not occasion.typed("required_profile"):
        config.required_profile = None
        notices.append(f"The required_profile of lineage {name}, {profile}, is dropped: it is the old CA's.")
    if account and account.key_type and account.key_type != config.key_type and not occasion.typed("key_type"):
        notices.append(
            f"Lineage {name} keeps its key type, {config.key_type}: key-type in {account.source} is for new "
            "certificates. To change it: certbot renew --force-renewal "
            f"--cert-name {name} --key-type {account.key_type}"
        )
    return notices


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


def _apply(config: Any, selected: Selection, chosen: Chosen) -> None:
    config.server = selected.directory_url
    config.account = chosen.account
    if chosen.is_new and selected.binding:
        config.eab_kid = selected.binding.key_id
        config.eab_hmac_key = selected.binding.hmac_key
    if selected.email and not config.email:
        config.email = selected.email
    if config.eff_email is None:
        config.eff_email = False  # the address is for the CA; Certbot would ask whether it may pass it on to the EFF
    if selected.agree_tos:
        config.tos = True


def _apply_key_type(config: Any, occasion: Occasion, account: AccountSettings) -> None:
    """Let a new lineage have the file's type of key, and one whose type the user changes to RSA the file's size."""
    if occasion.new_lineage and account.key_type and not occasion.typed("key_type"):
        # Past Certbot's record of who set it: a new lineage takes it as its default, and one that exists
        # already keeps the type of its key, instead of an error that asks whether that is to change.
        config.namespace.key_type = account.key_type
    changes = config.verb == "renew" and occasion.typed("key_type") and config.key_type == "rsa"
    if account.rsa_key_size and (occasion.new_lineage or changes) and not occasion.typed("rsa_key_size"):
        config.rsa_key_size = account.rsa_key_size
