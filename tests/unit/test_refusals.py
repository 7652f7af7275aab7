"""Known refusals: each is recognised by the CA's answer, and docs/cas.md shows the same table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from certbot_garr_tcs.account import refusals

PAGE = (Path(__file__).parents[2] / "docs" / "cas.md").read_text(encoding="utf-8")
SUSPENDED = "The account is currently suspended"


@pytest.mark.parametrize(
    ("answer", "preset", "registering", "meaning"),
    [
        (
            "malformed: [External Account Binding] The account is not awaiting external account binding",
            "sectigo-ov",
            True,
            "this key ID has registered an account already",
        ),
        ("malformed: [External Account Binding] Invalid MAC on JWS request", "", True, "do not belong together"),
        ("unauthorized: invalid eab credentials", "", True, "do not belong together"),
        ("unauthorized: no", "harica", True, "do not belong together"),
        ("unauthorized: no", "harica", False, "a name is not validated"),
        ("rejectedIdentifier: no", "", False, "a name is not validated"),
        ("externalAccountRequired: give it", "", True, "registers no account without"),
        ("invalidContact: no", "", True, "e-mail address"),
        ("malformed: A requested identifier has not been delegated", "sectigo-ov", False, "is not delegated"),
        ("malformed: A REQUESTED IDENTIFER HAS NOT BEEN DELEGATED [x]", "", False, "is not delegated"),
        (f"unauthorized: {SUSPENDED}", "sectigo-ov", False, "the ACME account is suspended"),
        ("accountDoesNotExist: who?", "", False, "the CA has closed the account"),
        ('unauthorized: Account is not valid, has status "deactivated"', "", False, "the CA has closed the account"),
        ("caa: CAA record for x prevents issuance", "", False, "a CAA record"),
        ("orderNotReady: not yet", "", False, "has not come to the order yet"),
        ("malformed: Order 17 has expired", "", False, "the order took too long"),
        ("badCSR: RSA alone", "", False, "the certificate's key"),
        ("about:blank: anything", "harica", False, "HARICA answers like that"),
        ("about:blank: anything", "sectigo-ov", False, None),
        ("rateLimited: slow down", "", False, "too many requests"),
        ("serverInternal: oops", "", False, "out of order"),
        ("malformed: something new", "harica", False, None),
        ("dns: no such name", "", False, None),
    ],
)
def test_what_an_answer_means(answer, preset, registering, meaning):
    """The text decides, then the type of the error; a CA that uses them otherwise has rows of its own."""
    found = refusals.find(answer, preset, registering=registering)
    assert (meaning is None) is (found is None)
    assert found is None or meaning in found.meaning


def test_the_page_shows_the_same_table():
    """docs/cas.md shows what the user reads."""
    start = PAGE.index("| the CA says |")
    shown = PAGE[start:].split("\n\n", 1)[0].splitlines()[2:]
    names = {"portal": "the CA's portal", "caa": "the CA's own name"}
    assert shown == [
        f"| {row.shown} | {row.meaning} | {row.step.format(**names)} | {row.source} |" for row in refusals.KNOWN
    ]


@pytest.mark.parametrize("change", [{"pattern": ""}, {"pattern": "x*"}, {"source": ""}])
def test_a_useless_row_cannot_be_built(change):
    """A row that matches anything would explain wrongly, and one without a source cannot be checked."""
    with pytest.raises(ValueError, match="suspended"):
        replace(next(row for row in refusals.KNOWN if SUSPENDED in row.shown), **change)
