"""Set Certbot's configuration to the CA and the account that revoke a certificate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import certbot_api, lineages
from certbot_garr_tcs.account import presets, selection
from certbot_garr_tcs.account.presets import same_directory
from certbot_garr_tcs.account.selection import Selection
from certbot_garr_tcs.errors import AccountError

if TYPE_CHECKING:
    from certbot_garr_tcs.config import Configuration
    from certbot_garr_tcs.lineages import Lineage


def configure_for_lineage(config: Any, settings: Callable[[], Configuration | None]) -> Selection | None:
    """Set directory and account for the revocation of a lineage's certificate; return what was selected.

    ``None`` where the file decides the CA. ``settings`` reads the file where it is needed. Raises ``AccountError``.
    """
    lineage = _lineage(config, settings)
    if lineage is None or not lineage.server:
        return None
    selected = Selection(lineage.server, presets.by_url(lineage.server))
    there = certbot_api.accounts(config, lineage.server)
    if not there and not config.key_path:
        raise _nothing_to_revoke_with(selected.title)
    config.server = lineage.server
    if lineage.account in there:
        config.account = config.account or lineage.account
    return selected


def _lineage(config: Any, settings: Callable[[], Configuration | None]) -> Lineage | None:
    """Return the lineage whose certificate is to be revoked, if its CA of today issued it.

    Which CA issued a certificate from before a move is stored nowhere. It can be the one that the file names.
    """
    folder = lineages.folder(config.config_dir)
    if config.certname:
        return lineages.read_lineage(folder / f"{config.certname}.conf")
    path = Path(config.cert_path) if config.cert_path else None
    lineage = lineages.holder(folder, path) if path else None
    if path is None or lineage is None or not lineage.server or lineage.has_issuer_of(path):
        return lineage
    read = settings()
    named = selection.file_directory(read.account if read else None)
    if named and not same_directory(named, lineage.server):
        return None
    raise AccountError(
        f"{path} is of lineage {lineage.name}, but another CA issued it than {selection.ca_title(lineage.server)}, "
        "where the lineage is today",
        "Say which one: --server URL.",
    )


def check_revocation(config: Any, selected: Selection) -> None:
    """Raise ``AccountError`` where there is nothing to revoke with: Certbot would register an account for it."""
    if config.account is None and not config.key_path:
        raise _nothing_to_revoke_with(selected.title)


def _nothing_to_revoke_with(title: str) -> AccountError:
    return AccountError(
        f"there is no account of {title} on this machine to revoke with",
        "Revoke with the certificate's own key (--key-path), or in the CA's portal.",
    )
