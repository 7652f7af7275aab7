"""What a CA would refuse is reported before anything is sent."""

from dataclasses import replace

import pytest

from certbot_garr_tcs.account import ca_limits
from certbot_garr_tcs.account.eab import EabCredentials
from certbot_garr_tcs.account.presets import PRESETS
from certbot_garr_tcs.account.selection import Selection
from certbot_garr_tcs.errors import AccountError

EAB = EabCredentials("kid-a", "x" * 43)
HARICA = Selection("https://acme.harica.gr/uni/directory", PRESETS["harica"], EAB, "a@b.example")
SECTIGO = Selection("https://acme.sectigo.com/v2/OV", PRESETS["sectigo-ov"], EAB)
OTHER = Selection("https://ca.example/directory")


@pytest.mark.parametrize("selection", [HARICA, SECTIGO, OTHER])
def test_what_is_complete_may_register(selection):
    """Nothing is asked for that the CA does not ask for."""
    ca_limits.check_registration(selection)


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(HARICA.directory_url, HARICA.preset, None, "a@b.example"), "external account binding"),
        (Selection(HARICA.directory_url, HARICA.preset, EAB), "e-mail"),
    ],
)
def test_what_is_missing_is_said_before_an_eab_is_used_up(selection, words):
    """A registration that cannot succeed is not tried."""
    with pytest.raises(AccountError, match=words) as caught:
        ca_limits.check_registration(selection)
    assert "garr-tcs.ini" in caught.value.hint


@pytest.mark.parametrize(
    ("selection", "end"),
    [
        (
            SECTIGO,
            "with those in Sectigo Certificate Manager; a pair works only once there: if it was used, make a new one.",
        ),
        (
            HARICA,
            "https://cm.harica.gr; at many CAs a pair works only once: if it was used, make a new one.",
        ),
        (
            Selection(OTHER.directory_url, None, EAB),
            "with those in the CA's portal; at many CAs a pair works only once: if it was used, make a new one.",
        ),
        (
            Selection(OTHER.directory_url, replace(PRESETS["sectigo-ov"], eab_once=False), EAB),
            "compare eab-kid and eab-hmac-key with those in Sectigo Certificate Manager.",
        ),
        (OTHER, "Registering an account at https://ca.example/directory."),
    ],
)
def test_the_notice_before_registering_says_what_to_do_if_it_fails(selection, end):
    """Certbot shows the CA's refusal by itself; the next step stands right above it."""
    notice = ca_limits.registration_notice(selection)
    assert notice.endswith(end)
    assert EAB.hmac_key not in notice


@pytest.mark.parametrize("selection", [SECTIGO, OTHER])
@pytest.mark.parametrize("set_by_user", [True, False])
def test_must_staple(selection, set_by_user):
    """A CA that is not known to answer no OCSP is asked for it."""
    assert ca_limits.check_must_staple(selection, set_by_user=set_by_user) is None


def test_must_staple_at_a_ca_without_ocsp():
    """Set by the user it is refused with a next step, stored it is dropped with a notice."""
    with pytest.raises(AccountError, match="answers no OCSP") as caught:
        ca_limits.check_must_staple(HARICA, set_by_user=True)
    assert "--must-staple" in caught.value.hint
    assert "HARICA" in ca_limits.check_must_staple(HARICA, set_by_user=False)


@pytest.mark.parametrize(
    ("selection", "names", "warned"),
    [(HARICA, 20, False), (HARICA, 21, True), (SECTIGO, 99, False), (OTHER, 99, False)],
)
def test_many_names(selection, names, warned):
    """More names than the CA is known to take are warned about, not refused: it may have changed."""
    assert bool(ca_limits.many_names_notice(selection, names)) is warned


def test_staging_takes_no_real_certificates_place():
    """Except where the lineage is of that staging directory already."""
    ca_limits.check_replacement(OTHER, "www.example.it", OTHER.directory_url)
    for stored in (HARICA.directory_url, None):
        with pytest.raises(AccountError, match="would replace the certificate of www") as caught:
            ca_limits.check_replacement(OTHER, "www.example.it", stored)
        assert "--cert-name" in caught.value.hint
