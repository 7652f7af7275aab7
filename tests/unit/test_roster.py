"""Which account the file's key ID made."""

from pathlib import Path

import pytest

from certbot_garr_tcs.account.binding import Binding
from certbot_garr_tcs.account.roster import Named, Roster, Rosters, choose
from certbot_garr_tcs.account.selection import Selection
from certbot_garr_tcs.errors import AccountError, GarrTcsError
from certbot_garr_tcs.state import StateFolder

A, B = Binding("kid-a", "x" * 43), Binding("kid-b", "x" * 43)
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
    """The one that the key ID made; else the lineage's, or a sole one, of which nothing is known; else a new one."""
    roster = Roster({account: who.fingerprint for account, who in made_by.items()})
    assert choose(roster, accounts, Selection(URL, binding=binding), stored) == expected


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
    roster = Roster({account: who.fingerprint for account, who in made_by.items()})
    with pytest.raises(AccountError, match=words) as caught:
        choose(roster, accounts, Selection(URL, binding=binding), None)
    assert "--account" in caught.value.hint
    assert accounts[0] in str(caught.value)


def never(account, since):
    """Tell that no certificate was issued with an account."""
    return False


def test_an_account_that_appears_after_an_offer_was_made_by_it():
    """Certbot tells nobody that it registered: the account is known by the offer before it."""
    roster = Roster(offered=A.fingerprint)
    assert roster.seeing([], never) == roster
    assert roster.seeing(["1"], never) == Roster({"1": A.fingerprint})
    assert Roster({"gone": "f"}).seeing(["1"], never) == Roster()


def test_an_account_that_was_named_counts_when_it_has_issued():
    """A run that failed with it has shown nothing, nor has one that issued before."""
    roster = Roster({"1": "f", "2": "g"}, named=Named("1", "g", 5.0))
    assert roster.seeing(["1", "2"], never) == Roster({"1": "f", "2": "g"})
    assert roster.seeing(["1", "2"], lambda account, since: (account, since) == ("1", 5.0)).made_by["1"] == "g"
    assert roster.seeing(["2"], lambda account, since: True) == Roster({"2": "g"})


def test_rosters_are_remembered_and_written_only_when_something_is_new(tmp_path: Path):
    """What is known survives the run; a run that learns nothing writes nothing."""
    rosters = Rosters(StateFolder(tmp_path))
    rosters.write(URL, Roster())
    assert not (tmp_path / "garr-tcs").exists()
    rosters.write(URL, Roster({"1": "f"}, "g"))
    assert Rosters(StateFolder(tmp_path)).read(f"{URL}/") == Roster({"1": "f"}, "g")
    assert rosters.read("https://other.example/") == Roster()
    document = tmp_path / "garr-tcs" / "accounts.json"
    before = document.stat().st_mtime_ns
    rosters.write(URL, Roster({"1": "f"}, "g"))
    assert document.stat().st_mtime_ns == before
    assert document.stat().st_mode & 0o777 == 0o600
    rosters.write(URL, Roster({"1": "f"}, named=Named("1", "g", 5.0)))
    assert rosters.read(URL) == Roster({"1": "f"}, named=Named("1", "g", 5.0))


@pytest.mark.parametrize(
    "document",
    [
        "[]",
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
    path = state.make() / "accounts.json"
    path.write_text(document.replace("URL", URL), encoding="utf-8")
    with pytest.raises(GarrTcsError, match=r"accounts\.json is damaged\. Move it away"):
        Rosters(state).read(URL)
    with pytest.raises(GarrTcsError, match="is damaged"):
        Rosters(state).write(URL, Roster({"1": "f"}))
    assert path.read_text(encoding="utf-8") == document.replace("URL", URL)
