"""Which account at a directory the key ID of the file made.

Certbot keeps accounts by directory URL and takes a sole one whatever the EAB (RFC 8555 §7.3.4 binds a
key ID to one account). So a fingerprint of the key ID is kept for each account.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs.errors import AccountError, GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from certbot_garr_tcs.account.selection import Selection
    from certbot_garr_tcs.state import StateFolder

_DOCUMENT = "accounts.json"


@dataclass(frozen=True)
class Named:
    """An account that the user named with ``--account`` in a run that issues.

    It stands for the key ID of ``fingerprint`` only once a certificate has been issued with it after ``since`` (a
    time as of files).
    """

    account: str
    fingerprint: str
    since: float


@dataclass(frozen=True)
class Roster:
    """Hold what is known of one directory: account ID → fingerprint of the key ID that made it.

    ``offered``: the fingerprint with which Certbot was last sent to register, while it had no account
    there. The account that is found next was made by it. ``named``: what may become known.
    """

    made_by: Mapping[str, str] = field(default_factory=dict)
    offered: str | None = None
    named: Named | None = None

    def seeing(self, accounts: Sequence[str], issued_since: Callable[[str, float], bool]) -> Roster:
        """Return the roster after a look at the accounts that are there now.

        ``issued_since`` tells whether a certificate was issued with an account since a time.
        """
        made_by = {account: mark for account, mark in self.made_by.items() if account in accounts}
        if self.named and self.named.account in accounts and issued_since(self.named.account, self.named.since):
            made_by[self.named.account] = self.named.fingerprint
        if self.offered and accounts:
            for account in accounts:
                made_by.setdefault(account, self.offered)
            return Roster(made_by)
        return Roster(made_by, self.offered)

    def made(self, fingerprint: str, accounts: Sequence[str]) -> list[str]:
        """Return those of ``accounts`` that the key ID made."""
        return [account for account in accounts if self.made_by.get(account) == fingerprint]


def choose(roster: Roster, accounts: Sequence[str], selection: Selection, stored: str | None) -> str | None:
    """Return the account to use, or ``None`` where one has to be registered.

    ``accounts``: the IDs that are on disk for the directory; ``stored``: the lineage's. One has to be registered
    also where each of them was made by another key ID than the file's. Raises ``AccountError`` where several
    could be meant.
    """
    if not accounts:
        return None
    kept = stored if stored in accounts else None
    if selection.binding is None:
        return kept or _only(accounts, accounts, selection)
    made = roster.made(selection.binding.fingerprint, accounts)
    if made:
        return kept if kept in made else _only(made, accounts, selection)
    # Registered before this plugin was here: the lineage's, or a sole one, is taken for the file's.
    unknown = [account for account in accounts if account not in roster.made_by]
    if not unknown:
        return None
    if kept in unknown:
        return kept
    if len(unknown) == len(accounts):
        return _only(accounts, accounts, selection)
    raise AccountError(
        f"nothing says whether EAB key ID {selection.binding.short_key_id} made one of the accounts that Certbot has "
        f"at {selection.title} ({', '.join(unknown)}); other key IDs made the others",
        "Say so once with --account ID, or register a new one beside them: certbot register --garr-tcs.",
    )


def made_none(accounts: Sequence[str], selection: Selection) -> str:
    """Say that the file's key ID made none of the accounts that are there."""
    key_id = selection.binding.short_key_id if selection.binding else "none"
    return (
        f"EAB key ID {key_id} made none of the accounts that Certbot has at {selection.title} ({', '.join(accounts)})"
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
        entry = self._document().get(_key(directory), {})
        made_by, offered, named = entry.get("made_by", {}), entry.get("offered"), entry.get("named")
        try:
            known = Named(**named) if named else None
        except TypeError:
            raise self._damaged() from None
        if not isinstance(made_by, dict) or not isinstance(offered, (str, type(None))):
            raise self._damaged()
        return Roster(made_by, offered, known)

    def write(self, directory: str, roster: Roster) -> None:
        """Remember ``roster``; write nothing where nothing is new."""
        if roster == self.read(directory):
            return
        with self._state.lock("accounts"):
            document = self._document()
            document[_key(directory)] = asdict(roster)
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


def _key(directory: str) -> str:
    """Return how a directory is called in the document: Certbot keeps its accounts without a final slash too."""
    return directory.rstrip("/")
