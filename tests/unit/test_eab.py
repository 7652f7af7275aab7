"""External account binding: what is accepted, what is refused, what never shows."""

import base64

import pytest

from certbot_garr_tcs.account.eab import EabCredentials, check_eab, is_placeholder

RAW = bytes(range(240, 256)) + bytes(range(16))
URLSAFE = base64.urlsafe_b64encode(RAW).decode().rstrip("=")
STANDARD = base64.b64encode(RAW).decode()


@pytest.mark.parametrize(
    "text",
    [URLSAFE, URLSAFE + "=", STANDARD, STANDARD.rstrip("="), f"  {URLSAFE}\n"],
)
def test_every_spelling_of_a_key_is_the_same_key(text):
    """base64 and base64url, padded or not, come out as base64url without padding."""
    assert check_eab("kid-1", text) == (EabCredentials("kid-1", URLSAFE), [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("<your HMAC key>", "placeholder"),
        ("...", "placeholder"),
        ("xxxxxxxx", "placeholder"),
        (f"{URLSAFE[:20]} {URLSAFE[20:]}", "blanks inside"),
        ("ab$defgh" * 4, "no base64url"),
        (URLSAFE[:41], "cut off: no base64url has that length"),
        (URLSAFE[:20], "cut off: 120 bits"),
        ("+/-_" * 8, "no base64url"),
    ],
)
def test_what_is_no_key_is_refused_without_showing_it(text, why):
    """The message says what is wrong and shows nothing of the key."""
    eab, [(name, problem)] = check_eab("kid-1", text)
    assert (eab, name) == (None, "eab-hmac-key")
    assert why in problem
    assert len(text.strip()) < 4 or text.strip() not in problem


def test_credentials_hide_their_key():
    """Neither repr nor str shows the HMAC key."""
    eab = EabCredentials("kid-1", URLSAFE)
    assert URLSAFE not in repr(eab)
    assert URLSAFE not in f"{eab}"


def test_fingerprints_tell_key_ids_apart():
    """The same key ID has the same fingerprint, whatever the key; another has another."""
    assert EabCredentials("a", "x").fingerprint == EabCredentials("a", "y").fingerprint
    assert EabCredentials("a", "x").fingerprint != EabCredentials("b", "x").fingerprint


@pytest.mark.parametrize(("key_id", "shown"), [("short", "short"), ("0123456789", "01234567…")])
def test_a_key_id_is_shown_by_its_beginning(key_id, shown):
    """An administrator recognises a key ID by its first letters."""
    assert EabCredentials(key_id, "x").short_key_id == shown


@pytest.mark.parametrize(
    ("key_id", "why"),
    [("", "empty"), ("<kid>", "placeholder"), ("a b", "blank"), ("abc", None), ("a-b_c.d", None)],
)
def test_key_ids(key_id, why):
    """A key ID is one word, copied from the portal."""
    eab, problems = check_eab(f" {key_id}\n", URLSAFE, ("--eab-kid", "--eab-hmac-key"))
    assert (eab is None) is bool(why)
    assert [(name, why in problem) for name, problem in problems] == ([("--eab-kid", True)] if why else [])
    assert eab is None or eab.key_id == key_id


def test_both_are_checked_at_once_and_half_a_pair_too():
    """Who corrects a file wants all problems of it; the caller reports what is missing."""
    assert [name for name, _ in check_eab("<kid>", "...")[1]] == ["eab-kid", "eab-hmac-key"]
    assert check_eab("kid-1", None) == check_eab(None, URLSAFE) == (None, [])
    assert check_eab(None, "abc$")[1] != []


def test_a_swapped_pair_is_one_problem():
    """The long one is the HMAC key: HS256 asks for 256 bits."""
    (problem,) = check_eab(URLSAFE, "kid-1")[1]
    assert problem == ("eab-kid", "and eab-hmac-key are swapped: the long one is the HMAC key")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://acme-v02.harica.gr/acme/<uuid>/directory", True),
        ("https://x/{uuid}/directory", True),
        ("…", True),
        ("changeme", True),
        ("your-key-id", True),
        ("exxxample", False),
        ("abc.def", False),
    ],
)
def test_placeholders(text, expected):
    """What an example shows is not taken for a value."""
    assert is_placeholder(text) is expected
