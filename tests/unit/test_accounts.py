"""Which account the file's key ID registered."""

from dataclasses import replace
from pathlib import Path

import pytest

from certbot_garr_tcs.account.accounts import AccountRecord, AccountStore, NamedAccount, find_account
from certbot_garr_tcs.account.eab import EabCredentials
from certbot_garr_tcs.account.selection import Selection
from certbot_garr_tcs.errors import AccountError, GarrTcsError
from certbot_garr_tcs.storage import StateFolder

A, B = EabCredentials("kid-a", "x" * 43), EabCredentials("kid-b", "x" * 43)
URL = "https://ca.example/directory"


@pytest.mark.parametrize(
    ("made_by", "accounts", "binding", "stored", "expected"),
    [
        ({}, [], A, None, None),
        ({}, [], A, "gone", None),
        ({}, [], None, None, None),
        ({}, ["1"], None, None, "1"),
        ({}, ["1", "2"], None, "2", "2"),
        ({}, ["1"], A, None, "1"),
        ({}, ["1", "2"], A, "2", "2"),
        ({"1": A, "2": B}, ["1", "2"], A, None, "1"),
        ({"1": A, "2": B}, ["1", "2"], B, "1", "2"),
        ({"1": A, "2": A}, ["1", "2"], A, "2", "2"),
        ({"1": A}, ["1", "2"], A, None, "1"),
        ({"1": B}, ["1", "2"], A, "2", "2"),
        ({"1": B}, ["1"], A, None, None),
        ({"1": B}, ["1"], A, "1", None),
        ({"1": B, "2": B}, ["1", "2"], A, "1", None),
    ],
)
def test_the_files_account_is_chosen(made_by, accounts, binding, stored, expected):
    """The one that the key ID registered; else the lineage's, or a sole one, of unknown key ID; else a new one."""
    record = AccountRecord({account: who.fingerprint for account, who in made_by.items()})
    assert find_account(record, accounts, Selection(URL, eab=binding), stored) == expected


@pytest.mark.parametrize(
    ("made_by", "accounts", "binding", "words"),
    [
        ({"1": B}, ["2", "1"], A, r"nothing says whether EAB key ID kid-a made one of the accounts .* \(2\)"),
        ({}, ["1", "2"], A, "nothing says which one"),
        ({}, ["1", "2"], None, "nothing says which one"),
        ({"1": A, "2": A}, ["1", "2"], A, "nothing says which one"),
    ],
)
def test_another_account_is_never_taken_silently(made_by, accounts, binding, words):
    """The refusal names accounts and the way on."""
    record = AccountRecord({account: who.fingerprint for account, who in made_by.items()})
    with pytest.raises(AccountError, match=words) as caught:
        find_account(record, accounts, Selection(URL, eab=binding), None)
    assert "--account" in caught.value.hint
    assert accounts[0] in str(caught.value)


def never(account, since):
    """Return that no certificate was issued with an account."""
    return False


def made(**times):
    """Return when each account was registered."""
    return lambda account: times[f"at_{account}"]


def test_an_account_that_appears_was_registered_with_the_pending_key_id():
    """Certbot does not report that it registered: the account is recognised by its time, in whole seconds."""
    record = AccountRecord(pending_key_id=A.fingerprint, pending_since=100.9)
    assert record.reconcile([], made(), never) == record
    assert record.reconcile(["1"], made(at_1=100.0), never) == AccountRecord({"1": A.fingerprint})
    assert AccountRecord({"gone": "f"}).reconcile(["1"], made(), never) == AccountRecord()


def test_an_account_that_was_copied_here_is_not_credited():
    """It is older than the attempt to register; of two newer ones it is unknown which, so neither is credited."""
    record = AccountRecord(pending_key_id=A.fingerprint, pending_since=100.9)
    assert record.reconcile(["old", "1"], made(at_old=99.0, at_1=105.0), never) == AccountRecord({"1": A.fingerprint})
    assert record.reconcile(["old"], made(at_old=99.0), never) == AccountRecord()
    assert record.reconcile(["1", "2"], made(at_1=105.0, at_2=106.0), never) == AccountRecord()


def test_a_pending_key_id_of_an_older_version_has_no_time():
    """A sole account is credited to it, as that version did."""
    record = AccountRecord(pending_key_id=A.fingerprint)
    assert record.reconcile(["1"], made(at_1=1.0), never) == AccountRecord({"1": A.fingerprint})


def test_an_account_that_was_named_counts_when_it_has_issued():
    """A run that failed with it proves nothing, nor does a certificate from before."""
    record = AccountRecord({"1": "f", "2": "g"}, named=NamedAccount("1", "g", 5.0))
    assert record.reconcile(["1", "2"], made(), never) == AccountRecord({"1": "f", "2": "g"})
    issued = record.reconcile(["1", "2"], made(), lambda account, since: (account, since) == ("1", 5.0))
    assert issued == AccountRecord({"1": "g", "2": "g"})
    assert record.reconcile(["2"], made(), lambda account, since: True) == AccountRecord({"2": "g"})


def test_records_are_stored_and_written_only_when_something_is_new(tmp_path: Path):
    """A record survives the run; a run that changes nothing writes nothing."""
    store = AccountStore(StateFolder(tmp_path))
    store.write(URL, AccountRecord())
    assert not (tmp_path / "garr-tcs").exists()
    store.write(URL, AccountRecord({"1": "f"}, "g"))
    assert AccountStore(StateFolder(tmp_path)).read(f"{URL}/") == AccountRecord({"1": "f"}, "g")
    assert store.read("https://other.example/") == AccountRecord()
    document = tmp_path / "garr-tcs" / "accounts.json"
    before = document.stat().st_mtime_ns
    store.write(URL, AccountRecord({"1": "f"}, "g"))
    assert document.stat().st_mtime_ns == before
    assert document.stat().st_mode & 0o777 == 0o600
    store.write(URL, AccountRecord({"1": "f"}, named=NamedAccount("1", "g", 5.0)))
    assert store.read(URL) == AccountRecord({"1": "f"}, named=NamedAccount("1", "g", 5.0))


@pytest.mark.parametrize(
    "document",
    [
        "[]",
        '{"URL": {"offered": "f", "offered_at": "now"}}',
        "null",
        '{"URL": 5}',
        '{"URL": {"made_by": ["1"]}}',
        '{"URL": {"offered": 1}}',
        '{"URL": {"named": {"since": 1}}}',
        '{"URL": {"named": 1}}',
    ],
)
def test_a_damaged_document_is_named(tmp_path: Path, document: str):
    """JSON of another shape ends in one line that names the file, and nothing is written over it."""
    state = StateFolder(tmp_path)
    path = state.ensure() / "accounts.json"
    path.write_text(document.replace("URL", URL), encoding="utf-8")
    with pytest.raises(GarrTcsError, match=r"accounts\.json is damaged\. Move it away"):
        AccountStore(state).read(URL)
    with pytest.raises(GarrTcsError, match="is damaged"):
        AccountStore(state).write(URL, AccountRecord({"1": "f"}))
    assert path.read_text(encoding="utf-8") == document.replace("URL", URL)


def test_what_an_older_version_stored_is_read(tmp_path: Path):
    """Its keys are still the document's; what it did not store is unknown."""
    state = StateFolder(tmp_path)
    named = {"account": "2", "fingerprint": "g", "since": 5.0}
    state.write("accounts.json", {URL: {"made_by": {"1": "f"}, "offered": "g", "named": named}})
    record = AccountRecord({"1": "f"}, "g", None, NamedAccount("2", "g", 5.0))
    assert AccountStore(state).read(URL) == record
    AccountStore(state).write(URL, replace(record, pending_since=7.5))
    assert state.read("accounts.json", None) == {
        URL: {"made_by": {"1": "f"}, "offered": "g", "offered_at": 7.5, "named": named}
    }
