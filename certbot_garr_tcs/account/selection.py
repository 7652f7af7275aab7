"""Select the CA directory and the account data of a run, from options, garr-tcs.ini, preset and mode (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs.account import presets
from certbot_garr_tcs.account.presets import same_directory
from certbot_garr_tcs.errors import AccountError

if TYPE_CHECKING:
    from certbot_garr_tcs.account.eab import EabCredentials
    from certbot_garr_tcs.account.presets import CaPreset
    from certbot_garr_tcs.account.settings import AccountSettings


class RunMode(Enum):
    """Whether a run is for a certificate to use, or one of Certbot's kinds of trial."""

    LIVE = "live"
    DRY_RUN = "--dry-run"
    STAGING = "--staging"
    RECONFIGURE = "reconfigure"


@dataclass(frozen=True)
class RunContext:
    """What Certbot is about to do, and how to ask it and the user.

    ``set_by_user``: returns whether the user set an option of that name. ``notify``: shows one sentence to the user.
    ``may_register``: whether Certbot registers an account where there is none. ``wants_new_account``: the user asks
    for a new account although there may be others. ``register_beside``: takes Certbot's configuration, registers an
    account beside others, now or when Certbot would, and calls its second argument with the new account's ID.
    """

    mode: RunMode
    set_by_user: Callable[[str], bool]
    notify: Callable[[str], None]
    register_beside: Callable[[Any, Callable[[str], None]], None]
    may_register: bool = True
    is_new_lineage: bool = False
    wants_new_account: bool = False


@dataclass(frozen=True)
class Overrides:
    """What comes from outside garr-tcs.ini.

    ``server``, ``eab`` and ``email`` were set by the user, on the command line or in cli.ini; ``ca`` is
    ``--garr-tcs-ca``. ``stored_server``: the lineage's directory URL; ``is_renewal``: whether the run renews that
    lineage. ``public_server``: the directory that Certbot uses by default, and ``public_staging`` its staging
    directory. ``file``: the path of garr-tcs.ini, for messages.
    """

    mode: RunMode = RunMode.LIVE
    server: str | None = None
    eab: EabCredentials | None = None
    email: str | None = None
    ca: str | None = None
    stored_server: str | None = None
    is_renewal: bool = False
    allow_live_dry_run: bool = False
    public_server: str = ""
    public_staging: str = ""
    file: str = "garr-tcs.ini"


@dataclass(frozen=True)
class Selection:
    """The directory that a run uses, and the account data for it. ``notices``: sentences for the user.

    ``live_url``: the directory that issues certificates for use. It differs from ``directory_url`` in a trial run, and
    where a trial certificate is renewed.
    """

    directory_url: str
    preset: CaPreset | None = None
    eab: EabCredentials | None = None
    email: str | None = None
    agree_tos: bool = False
    notices: tuple[str, ...] = ()
    live_url: str = ""

    @property
    def title(self) -> str:
        """The CA's name, where it is known, and its directory URL."""
        return ca_title(self.directory_url, self.preset)

    @property
    def portal(self) -> str:
        """The web site where the organisation's administrator manages the account."""
        return self.preset.portal if self.preset else "the CA's portal"


def ca_title(directory_url: str, preset: CaPreset | None = None) -> str:
    """Return a CA's name, where it is known, and its directory URL."""
    preset = preset or presets.by_url(directory_url)
    return f"{preset.title} ({directory_url})" if preset else directory_url


def select(overrides: Overrides, account: AccountSettings | None) -> Selection:
    """Return what the run uses; raise ``AccountError`` where it may use no CA.

    Certbot's own options win over the file, and the file over the preset. The file's EAB is used with the directory
    that the file names, and with no other. Without a staging directory a trial run is refused. A certificate of a
    staging directory is renewed there: it is somebody's trial.
    """
    live, preset, notices = _live_directory(overrides, account)
    stored_staging = _stored_staging(overrides, account)
    directory_url = stored_staging or _directory_for_mode(overrides, account, live, preset)
    if stored_staging and same_directory(stored_staging, overrides.public_staging):
        preset = None
    is_trial = overrides.mode in {RunMode.DRY_RUN, RunMode.RECONFIGURE}
    if is_trial and directory_url == live and not _is_staging(live, overrides, account):
        notices.append(
            f"This dry run is live, as you allowed: {ca_title(live, preset)} loses the validations of these names "
            "and issues a real certificate, which is thrown away."
        )
    return Selection(
        directory_url=directory_url,
        preset=preset,
        eab=_eab(overrides, account, directory_url),
        email=overrides.email or (account.email if account else None),
        # The user agreed to the terms of the CA that the file names, not to anybody's.
        agree_tos=bool(account and account.agree_tos and _is_named(directory_url, account)),
        notices=tuple(notices),
        live_url=live,
    )


def file_directory(account: AccountSettings | None) -> str | None:
    """Return the directory URL that the file names, by itself or through its preset."""
    if account is None:
        return None
    if account.directory_url:
        return account.directory_url
    if account.ca:
        return presets.PRESETS[account.ca].directory_url
    return presets.WITHOUT_URL.directory_url if account.eab else None


def _is_named(url: str, account: AccountSettings) -> bool:
    return _is(url, file_directory(account)) or _is(url, account.staging_directory_url)


def _is(url: str, other: str | None) -> bool:
    return other is not None and same_directory(url, other)


def _stored_staging(overrides: Overrides, account: AccountSettings | None) -> str | None:
    """Return the lineage's staging directory, where it is renewed and nobody names another one."""
    if overrides.stored_server and overrides.is_renewal and not overrides.server and not overrides.ca:
        return overrides.stored_server if _is_staging(overrides.stored_server, overrides, account) else None
    return None


def _live_directory(overrides: Overrides, account: AccountSettings | None) -> tuple[str, CaPreset | None, list[str]]:
    named = file_directory(account)
    if overrides.server:
        return (
            overrides.server,
            _preset_of(overrides, account, overrides.server),
            _server_notices(overrides.server, account, named),
        )
    if overrides.ca:
        return _directory_of_preset(presets.PRESETS[overrides.ca], account), presets.PRESETS[overrides.ca], []
    if account and account.names_ca and named:
        return named, _preset_of(overrides, account, named), []
    if overrides.stored_server:
        return overrides.stored_server, _preset_of(overrides, account, overrides.stored_server), []
    if named or overrides.eab:
        return str(presets.WITHOUT_URL.directory_url), presets.WITHOUT_URL, [_default_notice(account)]
    raise AccountError(
        f"nothing says which CA to use: there is neither an [account] section with directory-url, eab-kid and "
        f"eab-hmac-key in {overrides.file}, nor --server, nor --eab-kid with --eab-hmac-key",
        "Write the three strings of the CA's portal into that file (mode 0600), or name another file with "
        "--garr-tcs-config.",
    )


def _preset_of(overrides: Overrides, account: AccountSettings | None, url: str) -> CaPreset | None:
    if overrides.ca:
        return presets.PRESETS[overrides.ca]
    known = presets.by_url(url)
    if known is None and account and account.ca and _is(url, file_directory(account)):
        return presets.PRESETS[account.ca]
    return known


def _directory_of_preset(preset: CaPreset, account: AccountSettings | None) -> str:
    """Return the directory for ``--garr-tcs-ca``: the file's where it fits, else the preset's own."""
    if account and account.directory_url and presets.by_url(account.directory_url) in {preset, None}:
        return account.directory_url
    if preset.directory_url:
        return preset.directory_url
    raise AccountError(
        f"--garr-tcs-ca {preset.name}: {preset.title} has a directory URL per account, and none is known",
        f"Give it as --server or as directory-url in garr-tcs.ini: {preset.url_example}, from {preset.portal}.",
    )


def _server_notices(server: str, account: AccountSettings | None, named: str | None) -> list[str]:
    if account is None or named is None or _is_named(server, account):
        return []
    notice = (
        f"--server {server} counts for this run alone, without the EAB of {account.source}, which names "
        f"{ca_title(named)} and decides again at the next renewal. A lineage that must stay elsewhere needs "
        "a file of its own: --garr-tcs-config PATH."
    )
    return [notice]


def _default_notice(account: AccountSettings | None) -> str:
    current = presets.GARR_TODAY
    where = str(account.source) if account else "garr-tcs.ini, in a section [account]"
    return (
        f"No directory URL is given: {presets.WITHOUT_URL.title}'s is used, {presets.WITHOUT_URL.directory_url}. "
        f"GARR's CA is {current.title} since January 2025. If your key ID is from there, add two lines to {where}: "
        f'"ca = {current.name}" and "directory-url = {current.url_example}".'
    )


def _is_staging(url: str, overrides: Overrides, account: AccountSettings | None) -> bool:
    return same_directory(url, overrides.public_staging) or (
        account is not None and _is(url, account.staging_directory_url)
    )


def _directory_for_mode(
    overrides: Overrides, account: AccountSettings | None, live: str, preset: CaPreset | None
) -> str:
    if overrides.mode is RunMode.LIVE or _is_staging(live, overrides, account):
        return live
    if overrides.mode is RunMode.RECONFIGURE:
        return _directory_for_reconfigure(overrides, live, preset)
    staging = _staging_directory(overrides, account, live, preset)
    if staging:
        return staging
    if overrides.mode is RunMode.DRY_RUN and overrides.allow_live_dry_run:
        return live
    raise AccountError(
        f"{overrides.mode.value}: {ca_title(live, preset)} has no staging directory, and a trial run there would take "
        "away the validations that your organisation made beforehand and issue a real certificate",
        "Name a staging directory as staging-directory-url in [account], or accept all that with "
        "--dry-run --garr-tcs-allow-live-dry-run.",
    )


def _staging_directory(
    overrides: Overrides, account: AccountSettings | None, live: str, preset: CaPreset | None
) -> str | None:
    if same_directory(live, overrides.public_server):
        return overrides.public_staging
    if account and account.staging_directory_url and _is(live, file_directory(account)):
        return account.staging_directory_url
    return preset.staging_directory_url if preset else None


def _directory_for_reconfigure(overrides: Overrides, live: str, preset: CaPreset | None) -> str:
    if overrides.stored_server and not same_directory(overrides.stored_server, live):
        raise AccountError(
            f"reconfigure cannot move a lineage from {ca_title(overrides.stored_server)} to {ca_title(live, preset)}",
            "Run certbot renew --force-renewal --cert-name NAME instead: it moves the lineage and keeps its options.",
        )
    if same_directory(live, overrides.public_server) or overrides.allow_live_dry_run:
        return live
    raise AccountError(
        f"reconfigure makes a dry run, and Certbot would make it at {ca_title(live, preset)} itself: it would take "
        "away the validations that your organisation made beforehand and issue a real certificate",
        "Give the new options to certbot renew --force-renewal --cert-name NAME instead, which stores them, or accept "
        "the live dry run with --garr-tcs-allow-live-dry-run.",
    )


def _eab(overrides: Overrides, account: AccountSettings | None, directory_url: str) -> EabCredentials | None:
    if overrides.eab:
        return overrides.eab
    if account is None:
        return None
    if _is(directory_url, account.staging_directory_url):
        return account.staging_eab
    return account.eab if _is(directory_url, file_directory(account)) else None
