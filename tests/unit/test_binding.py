"""External account binding: what is accepted, what is refused, what never shows."""

import base64

import pytest

from certbot_garr_tcs.account.binding import Binding, is_placeholder, key_id_problem, normalise_hmac_key

RAW = bytes(range(240, 256)) + bytes(range(16))
URLSAFE = base64.urlsafe_b64encode(RAW).decode().rstrip("=")
STANDARD = base64.b64encode(RAW).decode()


@pytest.mark.parametrize(
    "text",
    [URLSAFE, URLSAFE + "=", STANDARD, STANDARD.rstrip("="), f"  {URLSAFE}\n"],
)
def test_every_spelling_of_a_key_is_the_same_key(text):
    """base64 and base64url, padded or not, come out as base64url without padding."""
    assert normalise_hmac_key(text) == URLSAFE


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
    with pytest.raises(ValueError, match=why) as caught:
        normalise_hmac_key(text)
    assert len(text.strip()) < 4 or text.strip() not in str(caught.value)


def test_a_binding_hides_its_key():
    """Neither repr nor str shows the HMAC key."""
    binding = Binding("kid-1", URLSAFE)
    assert URLSAFE not in repr(binding)
    assert URLSAFE not in f"{binding}"


def test_fingerprints_tell_key_ids_apart():
    """The same key ID has the same fingerprint, whatever the key; another has another."""
    assert Binding("a", "x").fingerprint == Binding("a", "y").fingerprint
    assert Binding("a", "x").fingerprint != Binding("b", "x").fingerprint


@pytest.mark.parametrize(("key_id", "shown"), [("short", "short"), ("0123456789", "01234567…")])
def test_a_key_id_is_shown_by_its_beginning(key_id, shown):
    """An administrator recognises a key ID by its first letters."""
    assert Binding(key_id, "x").short_key_id == shown


@pytest.mark.parametrize(
    ("key_id", "why"),
    [("", "empty"), ("<kid>", "placeholder"), ("a b", "blank"), ("abc", None), ("a-b_c.d", None)],
)
def test_key_ids(key_id, why):
    """A key ID is one word that somebody copied."""
    problem = key_id_problem(key_id)
    assert (problem is None) if why is None else (why in problem)


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
