"""The ACME accounts of this machine: which EAB key ID registered each of them, and which one a run uses.

Certbot stores accounts by directory URL and uses a sole one whatever the EAB is, but a CA binds a key ID to one
account (RFC 8555 §7.3.4). So we store, for each account, a fingerprint of the key ID that registered it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs import certbot_api, lineages
from certbot_garr_tcs.account import ca_limits
from certbot_garr_tcs.account.presets import same_directory
from certbot_garr_tcs.account.selection import RunMode
from certbot_garr_tcs.errors import AccountError, GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from certbot_garr_tcs.account.selection import RunContext, Selection
    from certbot_garr_tcs.storage import StateFolder

_DOCUMENT = "accounts.json"


@dataclass(frozen=True)
class NamedAccount:
    """An account that the user named with ``--account``, for the key ID of ``fingerprint``.

    It counts as registered by that key ID only after a certificate was issued with it later than ``since`` (seconds
    since the epoch).
    """

    account: str
    fingerprint: str
    since: float


@dataclass(frozen=True)
class AccountRecord:
    """What is stored of the accounts at one directory.

    ``key_ids``: account ID → fingerprint of the key ID that registered it. ``pending_key_id``: the fingerprint with
    which Certbot was last sent to register the first account there, at ``pending_since`` (seconds since the epoch).
    """

    key_ids: Mapping[str, str] = field(default_factory=dict)
    pending_key_id: str | None = None
    pending_since: float | None = None
    named: NamedAccount | None = None

    def reconcile(
        self,
        accounts: Sequence[str],
        created: Callable[[str], float],
        was_issued_since: Callable[[str, float], bool],
    ) -> AccountRecord:
        """Drop deleted accounts, and credit a new one to the pending key ID.

        ``accounts``: the IDs that are on disk. ``created``: when an account was registered, in seconds since the
        epoch. ``was_issued_since``: whether a certificate was issued with an account since a time.

        Certbot does not report that it registered: the account is recognised by its time. An older one was copied
        to this machine meanwhile; of two newer ones it is unknown which, so neither is credited.
        """
        key_ids = {account: key_id for account, key_id in self.key_ids.items() if account in accounts}
        if self.named and self.named.account in accounts and was_issued_since(self.named.account, self.named.since):
            key_ids[self.named.account] = self.named.fingerprint
        if not (self.pending_key_id and accounts):
            return AccountRecord(key_ids, self.pending_key_id, self.pending_since)
        since = int(self.pending_since or 0)  # Certbot stores whole seconds
        new = [account for account in accounts if account not in key_ids and created(account) >= since]
        if len(new) == 1:
            key_ids[new[0]] = self.pending_key_id
        return AccountRecord(key_ids)

    def registered_with(self, fingerprint: str, accounts: Sequence[str]) -> list[str]:
        """Return those of ``accounts`` that the key ID registered."""
        return [account for account in accounts if self.key_ids.get(account) == fingerprint]


class AccountStore:
    """The records of all directories, in one document of the state folder."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state

    def read(self, directory: str) -> AccountRecord:
        """Return the record of ``directory``; raise ``GarrTcsError`` where the document is damaged."""
        entry = self._document().get(_key(directory), {})
        key_ids, pending, named = entry.get("made_by", {}), entry.get("offered"), entry.get("named")
        since = entry.get("offered_at")
        try:
            named_account = NamedAccount(**named) if named else None
        except TypeError:
            raise self._damaged() from None
        if not (
            isinstance(key_ids, dict)
            and isinstance(pending, (str, type(None)))
            and isinstance(since, (int, float, type(None)))
        ):
            raise self._damaged()
        return AccountRecord(key_ids, pending, since, named_account)

    def write(self, directory: str, record: AccountRecord) -> None:
        """Store the record of ``directory``; write nothing where nothing has changed."""
        if record == self.read(directory):
            return
        with self._state.lock("accounts"):
            document = self._document()
            document[_key(directory)] = {
                "made_by": dict(record.key_ids),
                "offered": record.pending_key_id,
                "offered_at": record.pending_since,
                "named": asdict(record.named) if record.named else None,
            }
            self._state.write(_DOCUMENT, document)

    def _document(self) -> dict[str, dict[str, Any]]:
        document = self._state.read(_DOCUMENT, {})
        if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
            raise self._damaged()
        return document

    def _damaged(self) -> GarrTcsError:
        return GarrTcsError(
            f"the account record in {self._state.path / _DOCUMENT} is damaged",
            "Move it away, and run the command again.",
        )


def _key(directory: str) -> str:
    """Return the document's key of a directory: without a final slash, like Certbot's own folders of accounts."""
    return directory.rstrip("/")


@dataclass(frozen=True)
class AccountChoice:
    """The account that a run uses, ``None`` where there is none. ``notices``: sentences for the user.

    ``existing``: all accounts at the directory. ``must_register``: whether a new one has to be registered.
    """

    account: str | None
    existing: Sequence[str] = ()
    notices: tuple[str, ...] = ()
    must_register: bool = False


def choose_account(
    config: Any, context: RunContext, selected: Selection, stored_server: str | None, store: AccountStore
) -> AccountChoice:
    """Return the account that the run uses, and store what is new of the accounts where the run may register one.

    ``stored_server``: the lineage's directory URL, if there is a lineage. Raises ``AccountError``.
    """
    directory = selected.directory_url
    existing = certbot_api.accounts(config, directory)
    record = store.read(directory).reconcile(
        existing,
        lambda account: certbot_api.account_created(config, directory, account),
        lambda account, since: _was_issued_since(config, directory, account, since),
    )
    if context.set_by_user("account"):
        choice = _account_of_user(config, selected, existing)
        if selected.eab:
            named = NamedAccount(str(config.account), selected.eab.fingerprint, time.time())
            record = replace(record, named=named)
    else:
        is_stored = stored_server is not None and same_directory(stored_server, directory)
        choice = _account_of_file(context, selected, existing, record, config.account if is_stored else None)
        if choice.must_register:
            _check_first_attempt(config, selected)
            if not existing:
                record = AccountRecord()
                if selected.eab:
                    record = AccountRecord(pending_key_id=selected.eab.fingerprint, pending_since=time.time())
    if context.may_register:
        store.write(directory, record)
    return choice


def _was_issued_since(config: Any, directory: str, account: str, since: float) -> bool:
    return any(
        lineage.account == account
        and lineage.server is not None
        and same_directory(lineage.server, directory)
        and lineage.was_issued_since(since)
        for lineage in lineages.read_lineages(lineages.folder(config.config_dir))
    )


def _account_of_user(config: Any, selected: Selection, existing: Sequence[str]) -> AccountChoice:
    if config.account not in existing:
        # Certbot would refuse it too, but only after we had put another account in its place.
        raise AccountError(
            f"--account {config.account} is no account that is on this machine for {selected.title}",
            f"Give one of {', '.join(existing)}, or none." if existing else "Leave --account out.",
        )
    return AccountChoice(str(config.account), existing)


def _account_of_file(
    context: RunContext, selected: Selection, existing: Sequence[str], record: AccountRecord, stored: str | None
) -> AccountChoice:
    if context.wants_new_account and selected.eab:
        account = next(iter(record.registered_with(selected.eab.fingerprint, existing)), None)
    else:
        account = find_account(record, existing, selected, stored)
    if account is not None:
        return AccountChoice(account, existing)
    if not context.may_register:
        if existing:
            raise AccountError(_none_is_right(existing, selected), "Name one with --account ID.")
        return AccountChoice(None)
    ca_limits.check_registration(selected)
    notices = []
    if stored and not existing:
        notices.append(
            f"Account {stored} at {selected.title} is not on this machine any more; a new one is registered."
        )
    if existing:
        notices.append(
            f"{_none_is_right(existing, selected)}: a new one is registered beside. If one of them is right all the "
            "same, say so once with --account ID."
        )
    notices.append(ca_limits.registration_notice(selected))
    if context.mode is RunMode.DRY_RUN:
        notices.append(
            "In a dry run Certbot registers without an e-mail address. If the CA insists on one, run once: "
            "certbot register --staging --garr-tcs"
        )
    elif not selected.email:
        notices.append("No e-mail address is given. If one is wanted, add email = … to [account] in garr-tcs.ini.")
    return AccountChoice(None, existing, tuple(notices), must_register=True)


def find_account(
    record: AccountRecord, accounts: Sequence[str], selection: Selection, stored: str | None
) -> str | None:
    """Return the account to use, or ``None`` where one has to be registered.

    ``accounts``: the IDs that are on disk for the directory; ``stored``: the lineage's. One has to be registered
    also where other key IDs than the file's registered all of them. Raises ``AccountError`` where more than one is
    possible.
    """
    if not accounts:
        return None
    current = stored if stored in accounts else None
    if selection.eab is None:
        return current or _only(accounts, accounts, selection)
    registered = record.registered_with(selection.eab.fingerprint, accounts)
    if registered:
        return current if current in registered else _only(registered, accounts, selection)
    # Registered without this plugin: the lineage's account, or a sole one, is taken for the file's.
    unknown = [account for account in accounts if account not in record.key_ids]
    if not unknown:
        return None
    if current in unknown:
        return current
    if len(unknown) == len(accounts):
        return _only(accounts, accounts, selection)
    raise AccountError(
        f"nothing says whether EAB key ID {selection.eab.short_key_id} made one of the accounts that Certbot has "
        f"at {selection.title} ({', '.join(unknown)}); other key IDs made the others",
        "Say so once with --account ID, or register a new one beside them: certbot register --garr-tcs.",
    )


def _none_is_right(accounts: Sequence[str], selection: Selection) -> str:
    key_id = selection.eab.short_key_id if selection.eab else "none"
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


_ATTEMPTED: set[tuple[str, str]] = set()


def _check_first_attempt(config: Any, selected: Selection) -> None:
    """Raise ``AccountError`` for a second registration in one ``certbot renew``, which calls us for each due lineage.

    The CA would refuse the same EAB again, and one whose answer was lost may be used up.
    """
    attempt = (selected.directory_url, selected.eab.fingerprint if selected.eab else "")
    if config.verb == "renew" and attempt in _ATTEMPTED:
        raise AccountError(
            f"to register an account at {selected.title} has failed already in this run",
            "See the first error above.",
        )
    _ATTEMPTED.add(attempt)


def use_registered(config: Any, store: AccountStore, selected: Selection, account: str) -> None:
    """Use an account that was just registered, and store which key ID registered it."""
    config.account = account
    if selected.eab:
        record = store.read(selected.directory_url)
        key_ids = {**record.key_ids, account: selected.eab.fingerprint}
        store.write(selected.directory_url, replace(record, key_ids=key_ids))
