"""Certbot's configuration is set to the account that garr-tcs.ini means."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest
import trustme
from support.certbot_config import make_account, make_lineage, parse

from certbot_garr_tcs import account_setup, revocation
from certbot_garr_tcs.account import choice
from certbot_garr_tcs.account.binding import Binding
from certbot_garr_tcs.account.roster import Roster, Rosters
from certbot_garr_tcs.account.selection import Run, Selection
from certbot_garr_tcs.account.settings import AccountSettings
from certbot_garr_tcs.config import Configuration
from certbot_garr_tcs.errors import AccountError
from certbot_garr_tcs.state import StateFolder

URL, PLACE = "https://ca.example/directory", "ca.example/directory"
OTHER, OTHER_PLACE = "https://other.example/directory", "other.example/directory"
STAGING = "https://staging.example/directory"
HARICA = "https://acme.harica.gr/uni/directory"
EAB = Binding("kid-of-the-file", "k" * 43)
SECRET = "s" * 43
SWAPPED = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC0xMjM"
NAME = "www.example.it"
ACCOUNT = ("--eab-kid", "typed", "--eab-hmac-key", SECRET)


@pytest.fixture(autouse=True)
def _fresh_run():
    """Forget what another test's run tried in vain."""
    choice._TRIED.clear()


@pytest.fixture
def settings(tmp_path):
    """Return what a garr-tcs.ini with an account says."""
    path = tmp_path / "garr-tcs.ini"
    account = AccountSettings(path, directory_url=URL, binding=EAB, email="ced@example.it", agree_tos=True)
    return Configuration(path, account)


@pytest.fixture
def settle(tmp_path, settings):
    """Settle a command line; return Certbot's configuration and what the user was told."""

    def settle(*arguments, account="the file's", change=None, **occasion):
        config = parse(tmp_path, *arguments)
        if change:
            change(config)
        said = []
        where = settings if account == "the file's" else account and replace(settings, account=account)
        what = replace(account_setup.occasion_of(config, said.append), **occasion)
        account_setup.settle(config, where, StateFolder(tmp_path), what)
        return config, " ".join(said)

    return settle


def test_the_first_order_registers(settle, tmp_path):
    """Directory, EAB, contact and terms are those of the file, and the key ID is remembered."""
    config, said = settle("certonly", "-a", "garr-tcs", "-d", NAME)
    assert (config.server, config.account, config.email, config.tos) == (URL, None, "ced@example.it", True)
    assert (config.eab_kid, config.eab_hmac_key) == (EAB.key_id, EAB.hmac_key)
    assert f"Registering an account at {URL}" in said
    assert Rosters(StateFolder(tmp_path)).read(URL) == Roster(offered=EAB.fingerprint)
    account = make_account(tmp_path, PLACE, "abc")
    config, said = settle("certonly", "-a", "garr-tcs", "-d", NAME)
    assert (config.account, config.eab_kid, config.eab_hmac_key, said) == (account, None, None, "")
    assert Rosters(StateFolder(tmp_path)).read(URL) == Roster({account: EAB.fingerprint})


def test_nothing_is_set_where_something_is_wrong(tmp_path, settings):
    """A refusal leaves Certbot's configuration as it was."""
    config = parse(tmp_path, "certonly", "-a", "garr-tcs", "-d", NAME, "--dry-run")
    before = dict(vars(config.namespace))
    occasion = account_setup.occasion_of(config, pytest.fail)
    with pytest.raises(AccountError, match="no staging directory"):
        account_setup.settle(config, settings, StateFolder(tmp_path), occasion)
    assert vars(config.namespace) == before


@pytest.mark.parametrize(
    ("arguments", "run", "new_lineage"),
    [
        (["certonly"], Run.LIVE, True),
        (["run"], Run.LIVE, True),
        (["renew"], Run.LIVE, False),
        (["certonly", "--dry-run"], Run.DRY_RUN, True),
        (["certonly", "--staging"], Run.STAGING, True),
    ],
)
def test_occasions(tmp_path, arguments, run, new_lineage):
    """A run that Certbot prepares us for is live, or one of its trials."""
    occasion = account_setup.occasion_of(parse(tmp_path, *arguments), pytest.fail)
    assert (occasion.run, occasion.new_lineage, occasion.registers) == (run, new_lineage, True)


def test_reconfigure_is_an_occasion_of_its_own(tmp_path):
    """Certbot calls it by its verb alone; Certbot 2.1 does not know it, so it is set here."""
    config = parse(tmp_path, "renew")
    config.namespace.verb = "reconfigure"
    assert account_setup.occasion_of(config, pytest.fail).run is Run.RECONFIGURE


def test_typed_options_win(settle):
    """--email and EAB of the command line stay; without a file EAB alone means Sectigo."""
    config, _ = settle("certonly", "-d", NAME, "-m", "me@example.it", *ACCOUNT)
    assert (config.server, config.email, config.eab_kid, config.eab_hmac_key) == (URL, "me@example.it", "typed", SECRET)
    config, said = settle("certonly", "-d", NAME, *ACCOUNT, account=None)
    assert config.server == "https://acme.sectigo.com/v2/OV"
    assert not config.tos
    assert "HARICA since January 2025" in said


def test_what_may_be_wrong_is_said_before_an_account_is_registered(settle, settings, tmp_path):
    """An account that is there has proved the file right: then nothing is said."""
    account = replace(settings.account, notices=("directory-url is unusual.",), email=None)
    _, said = settle("certonly", "-d", NAME, account=account)
    assert "directory-url is unusual." in said
    assert "No e-mail address is given. If one is wanted, add email = …" in said
    make_account(tmp_path, PLACE, "a" * 32)
    assert settle("certonly", "-d", NAME, account=account)[1] == ""


def test_where_the_file_was_looked_for_is_said(tmp_path):
    """Who has no file learns which one would have been read."""
    config = parse(tmp_path, "certonly", "-d", NAME)
    occasion = account_setup.occasion_of(config, print)
    for settings, where in (
        (None, f"{tmp_path / 'config' / 'garr-tcs.ini'} (which does not exist)"),
        (Configuration(tmp_path / "own.ini"), f"in {tmp_path / 'own.ini'}, nor"),
    ):
        with pytest.raises(AccountError) as caught:
            account_setup.settle(config, settings, StateFolder(tmp_path), occasion)
        assert where in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--eab-kid", "typed"], "--eab-kid stands alone. Give --eab-hmac-key too"),
        (["--eab-hmac-key", SECRET], "--eab-hmac-key stands alone. Give --eab-kid too"),
        (["--eab-kid", "", "--eab-hmac-key", ""], "--eab-kid and --eab-hmac-key are empty"),
        (["--eab-kid", "<kid>", "--eab-hmac-key", SECRET], "--eab-kid still is a placeholder"),
        (["--eab-kid", "typed", "--eab-hmac-key", f"{SECRET} x"], "--eab-hmac-key is no base64url"),
        (["--eab-kid", SWAPPED, "--eab-hmac-key", "typed"], "--eab-kid and --eab-hmac-key are swapped"),
    ],
)
def test_half_and_broken_eab_options(settle, arguments, words):
    """What was typed wrong is named by its option, without the key."""
    with pytest.raises(AccountError) as caught:
        settle("certonly", "-d", NAME, *arguments)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_typed_account_is_taken_and_remembered(settle, tmp_path):
    """--account settles which one the file's key ID stands for, from when a certificate was issued with it."""
    for name in ("a", "b"):
        make_account(tmp_path, PLACE, name)
    for _ in range(2):
        with pytest.raises(AccountError, match="nothing says which one"):
            settle("certonly", "-d", NAME)
        assert settle("certonly", "-d", NAME, "--account", "b")[0].account == "b"
    make_lineage(tmp_path, NAME, server=f"{URL}/", account="b")
    assert settle("certonly", "-d", NAME)[0].account == "b"
    assert Rosters(StateFolder(tmp_path)).read(URL) == Roster({"b": EAB.fingerprint})
    nobody = AccountSettings(tmp_path / "f", directory_url=URL)
    assert settle("certonly", "-d", NAME, "--account", "a", account=nobody)[0].account == "a"


def test_looking_writes_nothing(settle, tmp_path):
    """What shows or gives up an account is no proof of who made it."""
    make_account(tmp_path, PLACE, "a")
    assert settle("show_account", "--account", "a", registers=False)[0].account == "a"
    assert not StateFolder(tmp_path).path.exists()


def test_an_account_is_registered_beside_those_of_other_key_ids(settle, tmp_path):
    """At once, or when Certbot gets there; then it is known, and no other is taken."""
    make_account(tmp_path, PLACE, "old")
    Rosters(StateFolder(tmp_path)).write(URL, Roster({"old": "of another"}))

    def register(config, done):
        assert (config.server, config.account, config.eab_kid) == (URL, None, EAB.key_id)
        done(make_account(tmp_path, PLACE, "new"))

    config, said = settle("certonly", "-d", NAME, register=register)
    assert config.account == "new"
    assert "made none of the accounts" in said
    assert "a new one is registered beside" in said
    assert Rosters(StateFolder(tmp_path)).read(URL) == Roster({"old": "of another", "new": EAB.fingerprint})
    config, said = settle("certonly", "-d", NAME, register=pytest.fail)
    assert (config.account, config.eab_kid, said) == ("new", None, "")
    config, _ = settle("register", wants_new_account=True, register=pytest.fail)
    assert config.account == "new"


def test_looking_takes_no_account_of_another_key_id(settle, tmp_path):
    """What registers nothing names what is missing instead of another one's account."""
    make_account(tmp_path, PLACE, "old")
    Rosters(StateFolder(tmp_path)).write(URL, Roster({"old": "of another"}))
    with pytest.raises(AccountError, match=r"made none of the accounts.*Name one with --account ID"):
        settle("show_account", registers=False)


def test_an_account_without_eab_is_used_and_no_key_id_is_noted(tmp_path):
    """Where no pair was offered, none made it."""
    config, rosters = argparse.Namespace(account=None), Rosters(StateFolder(tmp_path))
    choice.remember_made(config, rosters, Selection(URL), "new")
    assert config.account == "new"
    assert rosters.read(URL) == Roster()


def test_one_pair_is_offered_once_in_a_renewal_run(settle):
    """Certbot asks for each lineage that is due, and a refused pair is refused again."""
    settle("renew")
    with pytest.raises(AccountError, match="has failed already in this run"):
        settle("renew")


@pytest.mark.parametrize(("there", "step"), [(("a",), "Give one of a, or none"), ((), "Leave --account out")])
def test_a_typed_account_that_is_not_there_is_refused(settle, tmp_path, there, step):
    """A slip in ``unregister --account`` must not give another account up."""
    for name in there:
        make_account(tmp_path, PLACE, name)
    with pytest.raises(AccountError, match=f"--account tpyo is no account .*{step}"):
        settle("unregister", "--account", "tpyo", registers=False)


def test_a_lineage_moves_with_the_file(settle, tmp_path):
    """A renewal says so by name and both CAs; the old CA's account is not asked for at the new one."""
    make_lineage(tmp_path, NAME, server=OTHER, account="old")

    def stored(config):
        config.server, config.account, config.certname = OTHER, "old", NAME

    config, said = settle("renew", change=stored)
    assert f"Lineage {NAME} moves from {OTHER} to {URL}." in said
    assert "is not on this machine any more" not in said
    assert (config.server, config.account) == (URL, None)
    config, said = settle("certonly", "--cert-name", NAME, "-d", NAME)
    assert config.server == URL
    assert "moves" not in said  # it may not be due


def test_staging_replaces_no_lineage(settle, tmp_path, settings):
    """--staging issues for keeps: over a lineage of the real CA only with Certbot's own word for it."""
    staging = replace(settings.account, staging_directory_url=STAGING)
    make_lineage(tmp_path, NAME, server=URL, account="live")
    arguments = ("certonly", "--cert-name", NAME, "-d", NAME, "--staging")
    with pytest.raises(AccountError, match=NAME):
        settle(*arguments, account=staging)
    assert settle(*arguments, "--break-my-certs", account=staging)[0].server == STAGING


def test_staging_replaces_no_lineage_that_is_found_by_names(settle, tmp_path, settings):
    """Neither by --expand, nor where two lineages have the same names; --duplicate makes one of its own."""
    staging = replace(settings.account, staging_directory_url=STAGING)
    certificate = trustme.CA().issue_cert(NAME).cert_chain_pems[0].bytes()
    for lineage in ("one", "two"):
        make_lineage(tmp_path, lineage, certificate, server=URL, account="live")
    for arguments in (("-d", NAME), ("-d", NAME, "-d", "more.example.it", "--expand")):
        with pytest.raises(AccountError, match="would replace the certificate of one"):
            settle("certonly", "--staging", *arguments, account=staging)
    assert settle("certonly", "--staging", "-d", NAME, "--duplicate", account=staging)[0].server == STAGING
    assert settle("certonly", "--staging", "-d", "other.example.it", account=staging)[0].server == STAGING


def test_a_renewal_without_a_lineage_on_disk_knows_the_stored_server(settle, tmp_path):
    """Certbot puts the stored CA where --server would be: it is no wish of the user's."""
    account = make_account(tmp_path, OTHER_PLACE, "abc")

    def stored(config):
        config.server, config.account, config.domains = OTHER, account, [NAME]

    config, said = settle("renew", "--force-renewal", account=None, change=stored)
    assert (config.server, config.account, said) == (OTHER, account, "")
    config, said = settle("renew", "--force-renewal", change=stored)
    assert config.server == URL
    assert f"{NAME} moves from {OTHER} to {URL}." in said


def test_a_stored_account_that_is_gone_is_registered_anew(settle, tmp_path):
    """The user hears which account was lost."""
    make_lineage(tmp_path, NAME, server=URL, account="gone")

    def stored(config):
        config.server, config.account, config.certname = URL, "gone", NAME

    config, said = settle("renew", change=stored)
    assert (config.account, config.eab_kid) == (None, EAB.key_id)
    assert f"Account gone at {URL} is not on this machine any more; a new one is registered." in said


def test_dry_runs_go_to_the_staging_directory(settle, tmp_path, settings):
    """With its EAB, and a word about the e-mail address that Certbot leaves out."""
    staging = replace(settings.account, staging_directory_url=STAGING, staging_binding=Binding("stage", "t" * 43))
    config, said = settle("certonly", "-d", NAME, "--dry-run", account=staging)
    assert (config.server, config.eab_kid) == (STAGING, "stage")
    assert "certbot register --staging --garr-tcs" in said
    make_lineage(tmp_path, NAME, server=URL, account="live")
    config, said = settle("certonly", "-d", NAME, "--cert-name", NAME, "--dry-run", account=staging)
    assert "moves" not in said


def test_nobody_is_registered_where_certbot_would_not(settle):
    """show_account and its like find no account, and get no EAB."""
    config, said = settle("certonly", "-d", NAME, registers=False)
    assert (config.server, config.account, config.eab_kid, said) == (URL, None, None, "")


def test_no_contact_for_harica(settle, tmp_path):
    """What HARICA would refuse is not sent; an account that is there already needs no contact."""
    harica = AccountSettings(tmp_path / "f", directory_url=HARICA, binding=EAB)
    with pytest.raises(AccountError, match="without an e-mail address"):
        settle("certonly", "-d", NAME, account=harica)
    make_account(tmp_path, "acme.harica.gr/uni/directory", "abc")
    assert settle("certonly", "-d", NAME, account=harica)[0].email is None


def test_must_staple(settle, tmp_path):
    """Typed, it is refused where nobody answers OCSP; stored, it is dropped; elsewhere it stays."""
    harica = AccountSettings(tmp_path / "f", directory_url=HARICA, binding=EAB, email="ced@example.it")
    with pytest.raises(AccountError, match="answers no OCSP"):
        settle("certonly", "-d", NAME, "--must-staple", account=harica)

    def stored(config):
        config.must_staple = True

    config, said = settle("renew", account=harica, change=stored)
    assert not config.must_staple
    assert "must_staple is dropped" in said
    assert settle("certonly", "-d", NAME, "--must-staple")[0].must_staple


def test_many_names(settle, tmp_path):
    """More names than HARICA takes are warned about."""
    harica = AccountSettings(tmp_path / "f", directory_url=HARICA, binding=EAB, email="ced@example.it")
    names = ",".join(f"n{number}.example.it" for number in range(21))
    assert "21 names: HARICA is known to refuse more than 20" in settle("certonly", "-d", names, account=harica)[1]


def test_key_types_are_for_new_lineages(settle, settings, tmp_path):
    """The file's key type is a default: what was typed wins, and a renewal keeps what it has, or takes the size."""
    make_account(tmp_path, PLACE, "abc")
    rsa = replace(settings.account, key_type="rsa", rsa_key_size=3072)
    config, _ = settle("certonly", "-d", NAME, account=rsa)
    assert (config.key_type, config.rsa_key_size) == ("rsa", 3072)
    typed = ("--key-type", "ecdsa", "--rsa-key-size", "4096")
    config, _ = settle("certonly", "-d", NAME, *typed, account=rsa)
    assert (config.key_type, config.rsa_key_size) == ("ecdsa", 4096)
    config, _ = settle("renew", account=rsa)
    assert (config.key_type, config.rsa_key_size) == ("ecdsa", 2048)
    for typed, size in ((("rsa",), 3072), (("rsa", "--rsa-key-size", "4096"), 4096), (("ecdsa",), 2048)):
        assert settle("renew", "--key-type", *typed, account=rsa)[0].rsa_key_size == size


def revoking(folder, *arguments, settings=None, **typed):
    """Set a revocation up, as Certbot's parser does; return its namespace and what was selected."""
    config = argparse.Namespace(**vars(parse(folder, "revoke", *arguments).namespace))
    vars(config).update(typed)
    return config, revocation.settle_for_lineage(config, lambda: settings)


def test_revoke_by_name_takes_the_lineages_account(tmp_path):
    """Where it is there; a typed account stays; without any, Certbot would ask for an EAB on the command line."""
    make_lineage(tmp_path, NAME, server=URL, account="abc")

    def account(certname=NAME, **typed):
        return revoking(tmp_path, "--cert-name", certname, **typed)[0].account

    with pytest.raises(AccountError, match=f"no account of {URL} on this machine to revoke with"):
        account()
    assert account(key_path="/k") is None
    make_account(tmp_path, PLACE, "another")
    assert account() is None
    make_account(tmp_path, PLACE, "abc")
    assert account() == "abc"
    assert account(account="typed") == "typed"
    assert account(certname="nothing") is None


def test_revoke_by_path_asks_the_lineages_ca(tmp_path, settings):
    """The file decides where no lineage has the certificate, or where it names another CA than the lineage's."""
    old_ca, new_ca = trustme.CA(), trustme.CA(organization_name="another")
    old, new, strange = (ca.issue_cert(NAME).cert_chain_pems[0].bytes() for ca in (old_ca, new_ca, new_ca))
    make_lineage(tmp_path, NAME, new, server=OTHER, account="abc")
    archived, copied, unknown = (tmp_path / name for name in ("config/live/www.example.it/cert1.pem", "c", "u"))
    for path, content in ((archived, old), (copied, new), (unknown, strange)):
        path.write_bytes(content)
    make_account(tmp_path, OTHER_PLACE, "abc")
    config, selected = revoking(tmp_path, "--cert-path", str(copied))
    assert (config.server, config.account, selected.title) == (OTHER, "abc", OTHER)
    for path in (unknown, archived, tmp_path / "missing"):
        assert revoking(tmp_path, "--cert-path", str(path), settings=settings)[1] is None
    for path in (unknown, tmp_path / "missing"):
        assert revoking(tmp_path, "--cert-path", str(path))[1] is None
    with pytest.raises(AccountError, match=f"another CA issued it than {OTHER}") as caught:
        revoking(tmp_path, "--cert-path", str(archived))
    assert "--server URL" in caught.value.hint


def test_revocation_needs_an_account_or_the_key(tmp_path):
    """Certbot would register an account only to revoke with it, which no CA would accept."""
    for arguments in (["--key-path", "/k"], []):
        config = parse(tmp_path, "revoke", "--cert-path", "/c", *arguments)
        if arguments:
            revocation.check_revocation(config, Selection(URL))
            continue
        with pytest.raises(AccountError, match="no account") as caught:
            revocation.check_revocation(config, Selection(URL))
        assert "--key-path" in caught.value.hint
        config.account = "abc"
        revocation.check_revocation(config, Selection(URL))
