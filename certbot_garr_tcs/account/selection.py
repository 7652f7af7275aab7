"""The user's choice, the file, the preset and the kind of run: which directory, as whom (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from certbot_garr_tcs.account import presets
from certbot_garr_tcs.account.presets import same_directory
from certbot_garr_tcs.errors import AccountError

if TYPE_CHECKING:
    from certbot_garr_tcs.account.binding import Binding
    from certbot_garr_tcs.account.presets import CaPreset
    from certbot_garr_tcs.account.settings import AccountSettings


class Run(Enum):
    """Say what a run is for: whether the CA may be asked for something that lasts."""

    LIVE = "live"
    DRY_RUN = "--dry-run"
    STAGING = "--staging"
    RECONFIGURE = "reconfigure"


@dataclass(frozen=True)
class Wish:
    """Hold what was said outside garr-tcs.ini.

    ``server``, ``binding``, ``email`` were typed, or stand in cli.ini; ``ca`` is ``--garr-tcs-ca``;
    ``stored_server`` is the lineage's, and ``renews`` whether its stored settings are what the run is about.
    ``public_server`` is the directory that Certbot uses where nobody says anything, and ``public_staging`` its
    staging directory. ``file``: where garr-tcs.ini was looked for, for messages.
    """

    run: Run = Run.LIVE
    server: str | None = None
    binding: Binding | None = None
    email: str | None = None
    ca: str | None = None
    stored_server: str | None = None
    renews: bool = False
    allow_live_dry_run: bool = False
    public_server: str = ""
    public_staging: str = ""
    file: str = "garr-tcs.ini"


@dataclass(frozen=True)
class Selection:
    """Say which directory is asked, and as whom. ``notices`` are sentences for the user.

    ``live_url`` is the directory that is meant where it is not this run's: another one than ``directory_url`` in a
    trial run, and where a trial certificate is renewed.
    """

    directory_url: str
    preset: CaPreset | None = None
    binding: Binding | None = None
    email: str | None = None
    agree_tos: bool = False
    notices: tuple[str, ...] = ()
    live_url: str = ""

    @property
    def title(self) -> str:
        """Name the CA as an administrator knows it."""
        return ca_title(self.directory_url, self.preset)

    @property
    def portal(self) -> str:
        """Name the place where the organisation's administrator looks after the account."""
        return self.preset.portal if self.preset else "the CA's portal"


def ca_title(directory_url: str, preset: CaPreset | None = None) -> str:
    """Name a CA by title and directory URL."""
    preset = preset or presets.by_url(directory_url)
    return f"{preset.title} ({directory_url})" if preset else directory_url


def select(wish: Wish, account: AccountSettings | None) -> Selection:
    """Decide; raise ``AccountError`` where nothing may be asked of any CA.

    Certbot's own options win over the file, the file over the preset. The file's binding goes to the
    directory that the file names, and nowhere else. Without a staging directory, a run that is not
    meant to last reaches no CA. A certificate of a staging directory is renewed there: it is somebody's trial.
    """
    live, preset, notices = _live_directory(wish, account)
    trial = _stored_staging(wish, account)
    directory_url = trial or _directory_for_run(wish, account, live, preset)
    if trial and same_directory(trial, wish.public_staging):
        preset = None
    if wish.run in {Run.DRY_RUN, Run.RECONFIGURE} and directory_url == live and not _is_staging(live, wish, account):
        notices.append(
            f"This dry run is live, as you allowed: {ca_title(live, preset)} loses the validations of these names "
            "and issues a real certificate, which is thrown away."
        )
    return Selection(
        directory_url=directory_url,
        preset=preset,
        binding=_binding(wish, account, directory_url),
        email=wish.email or (account.email if account else None),
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
    return presets.DEFAULT.directory_url if account.binding else None


def _is_named(url: str, account: AccountSettings) -> bool:
    return _is(url, file_directory(account)) or _is(url, account.staging_directory_url)


def _is(url: str, other: str | None) -> bool:
    return other is not None and same_directory(url, other)


def _stored_staging(wish: Wish, account: AccountSettings | None) -> str | None:
    """Return the lineage's staging directory, where it is renewed and nobody names another one."""
    if wish.stored_server and wish.renews and not wish.server and not wish.ca:
        return wish.stored_server if _is_staging(wish.stored_server, wish, account) else None
    return None


def _live_directory(wish: Wish, account: AccountSettings | None) -> tuple[str, CaPreset | None, list[str]]:
    named = file_directory(account)
    if wish.server:
        return (
            wish.server,
            _preset_of(wish, account, wish.server),
            _server_notices(wish.server, account, named),
        )
    if wish.ca:
        return _directory_of_preset(presets.PRESETS[wish.ca], account), presets.PRESETS[wish.ca], []
    if account and account.names_ca and named:
        return named, _preset_of(wish, account, named), []
    if wish.stored_server:
        return wish.stored_server, _preset_of(wish, account, wish.stored_server), []
    if named or wish.binding:
        return str(presets.DEFAULT.directory_url), presets.DEFAULT, [_default_notice(account)]
    raise AccountError(
        f"nothing says which CA to use: there is neither an [account] section with directory-url, eab-kid and "
        f"eab-hmac-key in {wish.file}, nor --server, nor --eab-kid with --eab-hmac-key",
        "Write the three strings of the CA's portal into that file (mode 0600), or name another file with "
        "--garr-tcs-config.",
    )


def _preset_of(wish: Wish, account: AccountSettings | None, url: str) -> CaPreset | None:
    if wish.ca:
        return presets.PRESETS[wish.ca]
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
    current = presets.CURRENT
    where = str(account.source) if account else "garr-tcs.ini, in a section [account]"
    return (
        f"No directory URL is given: {presets.DEFAULT.title}'s is used, {presets.DEFAULT.directory_url}. GARR's CA is "
        f"{current.title} since January 2025. If your key ID is from there, add two lines to {where}: "
        f'"ca = {current.name}" and "directory-url = {current.url_example}".'
    )


def _is_staging(url: str, wish: Wish, account: AccountSettings | None) -> bool:
    return same_directory(url, wish.public_staging) or (account is not None and _is(url, account.staging_directory_url))


def _directory_for_run(wish: Wish, account: AccountSettings | None, live: str, preset: CaPreset | None) -> str:
    if wish.run is Run.LIVE or _is_staging(live, wish, account):
        return live
    if wish.run is Run.RECONFIGURE:
        return _directory_for_reconfigure(wish, live, preset)
    staging = _staging_directory(wish, account, live, preset)
    if staging:
        return staging
    if wish.run is Run.DRY_RUN and wish.allow_live_dry_run:
        return live
    raise AccountError(
        f"{wish.run.value}: {ca_title(live, preset)} has no staging directory, and a trial run there would take away "
        "the validations that your organisation made beforehand and issue a real certificate",
        "Name a staging directory as staging-directory-url in [account], or accept all that with "
        "--dry-run --garr-tcs-allow-live-dry-run.",
    )


def _staging_directory(wish: Wish, account: AccountSettings | None, live: str, preset: CaPreset | None) -> str | None:
    if same_directory(live, wish.public_server):
        return wish.public_staging
    if account and account.staging_directory_url and _is(live, file_directory(account)):
        return account.staging_directory_url
    return preset.staging_directory_url if preset else None


def _directory_for_reconfigure(wish: Wish, live: str, preset: CaPreset | None) -> str:
    if wish.stored_server and not same_directory(wish.stored_server, live):
        raise AccountError(
            f"reconfigure cannot move a lineage from {ca_title(wish.stored_server)} to {ca_title(live, preset)}",
            "Run certbot renew --force-renewal --cert-name NAME instead: it moves the lineage and keeps its options.",
        )
    if same_directory(live, wish.public_server) or wish.allow_live_dry_run:
        return live
    raise AccountError(
        f"reconfigure makes a dry run, and Certbot would make it at {ca_title(live, preset)} itself: it would take "
        "away the validations that your organisation made beforehand and issue a real certificate",
        "Give the new options to certbot renew --force-renewal --cert-name NAME instead, which stores them, or accept "
        "the live dry run with --garr-tcs-allow-live-dry-run.",
    )


def _binding(wish: Wish, account: AccountSettings | None, directory_url: str) -> Binding | None:
    if wish.binding:
        return wish.binding
    if account is None:
        return None
    if _is(directory_url, account.staging_directory_url):
        return account.staging_binding
    return account.binding if _is(directory_url, file_directory(account)) else None
