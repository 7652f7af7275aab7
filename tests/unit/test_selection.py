"""Which directory, as whom: the rules of who wins, as tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from certbot_garr_tcs.account.eab import EabCredentials
from certbot_garr_tcs.account.selection import Overrides, RunMode, file_directory, select
from certbot_garr_tcs.account.settings import AccountSettings
from certbot_garr_tcs.errors import AccountError

LE, LE_STAGING = "https://le.example/directory", "https://staging.le.example/directory"
HARICA = "https://acme.harica.gr/uni/directory"
OTHER = "https://ca.example/directory"
STAGING = "https://staging.ca.example/directory"
SECTIGO = "https://acme.sectigo.com/v2/OV"
EAB, STAGING_EAB, OPTION = (EabCredentials(kid, "k" * 43) for kid in ("file", "staging", "option"))

FILE = AccountSettings(Path("/c/garr-tcs.ini"), directory_url=HARICA, eab=EAB, email="a@b.example", agree_tos=True)
OVERRIDES = Overrides(public_server=LE, public_staging=LE_STAGING)


@pytest.mark.parametrize(
    ("overrides", "account", "url", "binding", "preset"),
    [
        ({}, FILE, HARICA, EAB, "harica"),
        ({"stored_server": SECTIGO}, FILE, HARICA, EAB, "harica"),
        ({"server": OTHER}, FILE, OTHER, None, None),
        ({"server": OTHER, "eab": OPTION}, FILE, OTHER, OPTION, None),
        ({"server": HARICA}, FILE, HARICA, EAB, "harica"),
        ({"eab": OPTION}, FILE, HARICA, OPTION, "harica"),
        ({}, replace(FILE, directory_url=OTHER), OTHER, EAB, None),
        ({}, replace(FILE, directory_url=OTHER, ca="harica"), OTHER, EAB, "harica"),
        ({}, replace(FILE, directory_url=None, ca="sectigo-ev"), "https://acme.sectigo.com/v2/EV", EAB, "sectigo-ev"),
        ({}, replace(FILE, directory_url=None), SECTIGO, EAB, "sectigo-ov"),
        ({"stored_server": OTHER}, replace(FILE, directory_url=None), OTHER, None, None),
        ({"stored_server": SECTIGO}, replace(FILE, directory_url=None), SECTIGO, EAB, "sectigo-ov"),
        ({"eab": OPTION}, None, SECTIGO, OPTION, "sectigo-ov"),
        ({"eab": OPTION, "stored_server": OTHER}, None, OTHER, OPTION, None),
        ({"stored_server": OTHER}, None, OTHER, None, None),
        ({"server": OTHER}, None, OTHER, None, None),
        ({"ca": "sectigo-ev"}, FILE, "https://acme.sectigo.com/v2/EV", None, "sectigo-ev"),
        ({"ca": "harica"}, FILE, HARICA, EAB, "harica"),
        ({"ca": "harica"}, replace(FILE, directory_url=OTHER), OTHER, EAB, "harica"),
        ({"ca": "sectigo-dv"}, None, "https://acme.sectigo.com/v2/DV", None, "sectigo-dv"),
        ({"ca": "harica", "server": OTHER}, None, OTHER, None, "harica"),
    ],
)
def test_who_wins(overrides, account, url, binding, preset):
    """Certbot's options, then the file, then the preset; the file's EAB goes to the file's directory only."""
    selected = select(replace(OVERRIDES, **overrides), account)
    assert selected.directory_url == url
    assert selected.eab is binding
    assert (selected.preset.name if selected.preset else None) == preset


def test_contact_and_terms_come_from_the_file_unless_set_by_the_user():
    """--email wins over the file's; terms are agreed to in the file."""
    assert select(OVERRIDES, FILE).email == "a@b.example"
    assert select(replace(OVERRIDES, email="x@y.example"), FILE).email == "x@y.example"
    assert select(OVERRIDES, FILE).agree_tos
    assert not select(replace(OVERRIDES, stored_server=OTHER), None).agree_tos
    assert not select(replace(OVERRIDES, server=OTHER), FILE).agree_tos, "terms are one CA's"
    assert select(replace(OVERRIDES, stored_server=OTHER), None).email is None


def test_the_default_comes_with_a_notice_that_names_two_lines():
    """A key ID without a CA means Sectigo OV; the notice shows how to use GARR's CA of today."""
    (notice,) = select(OVERRIDES, replace(FILE, directory_url=None)).notices
    assert "HARICA since January 2025" in notice
    assert '"ca = harica"' in notice
    assert '"directory-url = https://acme-v02.harica.gr/acme/<uuid>/directory"' in notice
    assert "/c/garr-tcs.ini" in notice
    (notice,) = select(replace(OVERRIDES, eab=OPTION), None).notices
    assert "garr-tcs.ini, in a section [account]" in notice


def test_another_server_comes_with_a_notice():
    """--server counts for one run where there is a file, and the user hears that at once."""
    (notice,) = select(replace(OVERRIDES, server=OTHER), FILE).notices
    assert "counts for this run alone" in notice
    assert "--garr-tcs-config" in notice
    assert select(replace(OVERRIDES, server=HARICA), FILE).notices == ()
    assert select(replace(OVERRIDES, server=STAGING), replace(FILE, staging_directory_url=STAGING)).notices == ()


@pytest.mark.parametrize(
    ("overrides", "account", "words"),
    [
        ({}, None, "nothing says which CA"),
        ({}, AccountSettings(Path("/f"), email="a@b.example"), "nothing says which CA"),
        ({"ca": "harica"}, None, "none is known"),
        ({"ca": "harica"}, replace(FILE, directory_url=SECTIGO), "none is known"),
    ],
)
def test_no_ca(overrides, account, words):
    """Where nothing names a directory, the error shows what to write in which file."""
    with pytest.raises(AccountError, match=words) as caught:
        select(replace(OVERRIDES, **overrides), account)
    assert caught.value.hint


@pytest.mark.parametrize("run", [RunMode.DRY_RUN, RunMode.STAGING])
def test_a_trial_run_goes_to_the_staging_directory_with_its_own_binding(run):
    """The staging directory of the file gets the staging EAB, never the real one."""
    account = replace(FILE, staging_directory_url=STAGING, staging_eab=STAGING_EAB)
    selected = select(replace(OVERRIDES, mode=run), account)
    assert (selected.directory_url, selected.eab) == (STAGING, STAGING_EAB)
    selected = select(replace(OVERRIDES, mode=run), replace(account, staging_eab=None))
    assert (selected.directory_url, selected.eab) == (STAGING, None)


@pytest.mark.parametrize("run", [RunMode.DRY_RUN, RunMode.STAGING])
@pytest.mark.parametrize(
    ("overrides", "account"),
    [
        ({}, FILE),
        ({}, replace(FILE, directory_url=OTHER)),
        ({"server": OTHER}, FILE),
        ({"server": SECTIGO}, None),
        ({"stored_server": SECTIGO}, None),
        ({"eab": OPTION}, None),
        ({"server": OTHER}, replace(FILE, staging_directory_url=STAGING)),
    ],
)
def test_a_trial_run_reaches_no_ca_without_a_staging_directory(run, overrides, account):
    """The error gives the reason, and both next steps."""
    with pytest.raises(AccountError, match="no staging directory") as caught:
        select(replace(OVERRIDES, mode=run, **overrides), account)
    assert "staging-directory-url" in caught.value.hint
    assert "--garr-tcs-allow-live-dry-run" in caught.value.hint
    assert run.value in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "account", "url"),
    [
        ({"server": LE}, None, LE_STAGING),
        ({"stored_server": LE}, None, LE_STAGING),
        ({"server": LE_STAGING}, FILE, LE_STAGING),
        ({"server": STAGING}, replace(FILE, staging_directory_url=STAGING), STAGING),
    ],
)
def test_public_staging_directories_stay_what_they_are(overrides, account, url):
    """Let's Encrypt has a staging directory, and a staging directory given as --server is one."""
    assert select(replace(OVERRIDES, mode=RunMode.DRY_RUN, **overrides), account).directory_url == url


def test_a_live_dry_run_must_be_allowed_and_says_what_it_costs():
    """With the option, --dry-run goes to the real CA, with a notice; --staging does not."""
    selected = select(replace(OVERRIDES, mode=RunMode.DRY_RUN, allow_live_dry_run=True), FILE)
    assert selected.directory_url == HARICA
    assert "real certificate" in selected.notices[0]
    with pytest.raises(AccountError):
        select(replace(OVERRIDES, mode=RunMode.STAGING, allow_live_dry_run=True), FILE)


def test_reconfigure_is_refused_unless_the_live_dry_run_is_allowed():
    """Certbot's reconfigure makes its dry run at the real CA and stores what prepare set."""
    account = replace(FILE, staging_directory_url=STAGING)
    overrides = replace(OVERRIDES, mode=RunMode.RECONFIGURE, stored_server=HARICA)
    with pytest.raises(AccountError, match="reconfigure") as caught:
        select(overrides, account)
    assert "renew --force-renewal" in caught.value.hint
    assert select(replace(overrides, allow_live_dry_run=True), account).directory_url == HARICA
    assert select(replace(OVERRIDES, mode=RunMode.RECONFIGURE, stored_server=LE), None).directory_url == LE


def test_reconfigure_moves_no_lineage():
    """A change of CA is renew's work: reconfigure would store half of it."""
    overrides = replace(OVERRIDES, mode=RunMode.RECONFIGURE, stored_server=SECTIGO, allow_live_dry_run=True)
    with pytest.raises(AccountError, match="cannot move"):
        select(overrides, FILE)


@pytest.mark.parametrize("run", [RunMode.LIVE, RunMode.DRY_RUN, RunMode.RECONFIGURE])
@pytest.mark.parametrize(("stored", "binding"), [(f"{STAGING}/", STAGING_EAB), (LE_STAGING, None)])
def test_a_trial_is_renewed_where_it_was_made(run, stored, binding):
    """Not at the real CA, whatever the run; unless the user names another, or asks for a new certificate."""
    account = replace(FILE, staging_directory_url=STAGING, staging_eab=STAGING_EAB)
    overrides = replace(OVERRIDES, mode=run, stored_server=stored, is_renewal=True)
    selected = select(overrides, account)
    assert (selected.directory_url, selected.eab, selected.live_url) == (stored, binding, HARICA)
    assert (selected.preset is None) is (stored == LE_STAGING)
    if run is RunMode.LIVE:
        assert select(replace(overrides, server=OTHER), account).directory_url == OTHER
        assert select(replace(overrides, ca="sectigo-ov"), account).directory_url == SECTIGO
        assert select(replace(overrides, is_renewal=False), account).directory_url == HARICA


def test_a_final_slash_makes_no_other_directory():
    """Neither for the EAB, nor for the terms, nor for a trial."""
    account = replace(FILE, staging_directory_url=STAGING)
    selected = select(replace(OVERRIDES, server=f"{HARICA}/"), account)
    assert (selected.eab, selected.agree_tos, selected.notices) == (EAB, True, ())
    overrides = replace(OVERRIDES, mode=RunMode.RECONFIGURE, stored_server=f"{HARICA}/", allow_live_dry_run=True)
    assert select(overrides, account).directory_url == HARICA
    assert (
        select(replace(OVERRIDES, mode=RunMode.DRY_RUN, server=f"{STAGING}/"), account).directory_url == f"{STAGING}/"
    )


def test_titles():
    """A known CA is shown by name and URL, any other by its URL."""
    assert select(OVERRIDES, FILE).title == f"HARICA ({HARICA})"
    assert select(replace(OVERRIDES, server=OTHER), None).title == OTHER
    assert "cm.harica.gr" in select(OVERRIDES, FILE).portal
    assert select(replace(OVERRIDES, server=OTHER), None).portal == "the CA's portal"


def test_the_directory_that_a_file_names():
    """A file names a directory by itself, through its preset, or not at all."""
    assert file_directory(None) is None
    assert file_directory(AccountSettings(Path("/f"))) is None
