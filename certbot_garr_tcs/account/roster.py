"""Which account at a directory the key ID of the file made.

Certbot keeps accounts by directory URL and takes a sole one whatever the EAB (RFC 8555 §7.3.4 binds a
key ID to one account). So a fingerprint of the key ID is kept for each account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.errors import AccountError, GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from certbot_garr_tcs.account.selection import Selection
    from certbot_garr_tcs.state import StateFolder

_DOCUMENT = "accounts.json"


@dataclass(frozen=True)
class Roster:
    """Hold what is known of one directory: account ID → fingerprint of the key ID that made it.

    ``offered``: the fingerprint with which Certbot was last sent to register, while it had no account
    there. The account that is found next was made by it.
    """

    made_by: Mapping[str, str] = field(default_factory=dict)
    offered: str | None = None

    def seeing(self, accounts: Sequence[str]) -> Roster:
        """Return the roster after a look at the accounts that are there now."""
        made_by = {account: mark for account, mark in self.made_by.items() if account in accounts}
        if self.offered and accounts:
            for account in accounts:
                made_by.setdefault(account, self.offered)
            return Roster(made_by)
        return Roster(made_by, self.offered)


def choose(roster: Roster, accounts: Sequence[str], selection: Selection, stored: str | None) -> str | None:
    """Return the account to use, or ``None`` where Certbot has to register one.

    ``accounts``: the IDs that are on disk for the directory; ``stored``: the lineage's. Raises
    ``AccountError`` where the file's key ID made none of them, because Certbot would silently go on
    with another account, and where several could be meant.
    """
    if not accounts:
        return None
    kept = stored if stored in accounts else None
    if selection.binding is None:
        return kept or _only(accounts, accounts, selection)
    mark = selection.binding.fingerprint
    made = [account for account in accounts if roster.made_by.get(account) == mark]
    if made:
        return kept if kept in made else _only(made, accounts, selection)
    unknown = [account for account in accounts if account not in roster.made_by]
    if len(unknown) == len(accounts):
        # Registered before this plugin was here: the lineage's, or a sole one, is taken for the file's.
        return kept or _only(accounts, accounts, selection)
    raise AccountError(
        f"EAB key ID {selection.binding.short_key_id} made none of the accounts that Certbot has at "
        f"{selection.title} ({', '.join(accounts)}), and Certbot would silently go on with another one",
        "If one of them is right all the same, say so once with --account ID; else free the place with "
        f"certbot unregister --server {selection.directory_url} --account ID, and run the command again.",
    )


def _only(candidates: Sequence[str], accounts: Sequence[str], selection: Selection) -> str:
    if len(candidates) == 1:
        return candidates[0]
    raise AccountError(
        f"Certbot has {len(accounts)} accounts at {selection.title}, and nothing says which one is meant: "
        f"{', '.join(candidates)}",
        "Say so once with --account ID.",
    )


class Rosters:
    """Keep the rosters of all directories in the state folder."""

    def __init__(self, state: StateFolder) -> None:
        """Name the folder; touch nothing."""
        self._state = state

    def read(self, directory: str) -> Roster:
        """Return what is known of ``directory``."""
        entry = self._document().get(directory, {})
        made_by, offered = entry.get("made_by", {}), entry.get("offered")
        if not isinstance(made_by, dict) or not isinstance(offered, (str, type(None))):
            raise self._damaged()
        return Roster(made_by, offered)

    def write(self, directory: str, roster: Roster) -> None:
        """Remember ``roster``; write nothing where nothing is new."""
        if roster == self.read(directory):
            return
        with self._state.lock("accounts"):
            document = self._document()
            document[directory] = {"made_by": dict(roster.made_by), "offered": roster.offered}
            self._state.write(_DOCUMENT, document)

    def _document(self) -> dict[str, dict[str, Any]]:
        """Return what is kept of all directories; raise ``GarrTcsError`` where it is not what was written."""
        document = self._state.read(_DOCUMENT, {})
        if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
            raise self._damaged()
        return document

    def _damaged(self) -> GarrTcsError:
        return GarrTcsError(
            f"what is kept of accounts in {self._state.path / _DOCUMENT} is damaged",
            "Move it away, and run the command again.",
        )
