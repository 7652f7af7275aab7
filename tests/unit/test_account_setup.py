"""Certbot's configuration is set to the account that garr-tcs.ini means."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import pytest
import trustme
from support.certbot_config import make_account, make_lineage, parse

from certbot_garr_tcs import revocation
from certbot_garr_tcs.account import accounts
from certbot_garr_tcs.account.accounts import AccountRecord, AccountStore
from certbot_garr_tcs.account.eab import EabCredentials
from certbot_garr_tcs.account.selection import RunMode, Selection
from certbot_garr_tcs.account.settings import AccountSettings
from certbot_garr_tcs.account.setup import configure_account, run_context
from certbot_garr_tcs.config import Configuration
from certbot_garr_tcs.errors import AccountError
from certbot_garr_tcs.storage import StateFolder

URL, PLACE = "https://ca.example/directory", "ca.example/directory"
OTHER, OTHER_PLACE = "https://other.example/directory", "other.example/directory"
STAGING = "https://staging.example/directory"
HARICA = "https://acme.harica.gr/uni/directory"
EAB = EabCredentials("kid-of-the-file", "k" * 43)
SECRET = "s" * 43
SWAPPED = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC0xMjM"
NAME = "www.example.it"
ACCOUNT = ("--eab-kid", "typed", "--eab-hmac-key", SECRET)


@pytest.fixture(autouse=True)
def _fresh_run():
    """Forget the registrations that another test's run attempted."""
    accounts._ATTEMPTED.clear()


@pytest.fixture
def of_file(tmp_path):
    """Return the account of a garr-tcs.ini."""
    path = tmp_path / "garr-tcs.ini"
    return AccountSettings(path, directory_url=URL, eab=EAB, email="ced@example.it", agree_tos=True)


@pytest.fixture
def configure(tmp_path, of_file):
    """Configure a command line; return Certbot's configuration and the notices for the user."""

    def configure(*arguments, account=of_file, change=None, **changes):
        config = parse(tmp_path, *arguments)
        if change:
            change(config)
        said = []
        context = replace(run_context(config, said.append), **changes)
        configure_account(config, account, tmp_path / "garr-tcs.ini", StateFolder(tmp_path), context)
        return config, " ".join(said)

    return configure


def test_the_first_order_registers(configure, tmp_path):
    """Directory, EAB, contact and terms are those of the file, and the key ID is remembered."""
    config, said = configure("certonly", "-a", "garr-tcs", "-d", NAME)
    assert (config.server, config.account, config.email, config.tos) == (URL, None, "ced@example.it", True)
    assert (config.eab_kid, config.eab_hmac_key) == (EAB.key_id, EAB.hmac_key)
    assert f"Registering an account at {URL}" in said
    assert AccountStore(StateFolder(tmp_path)).read(URL).pending_key_id == EAB.fingerprint
    account = make_account(tmp_path, PLACE, "abc")
    config, said = configure("certonly", "-a", "garr-tcs", "-d", NAME)
    assert (config.account, config.eab_kid, config.eab_hmac_key, said) == (account, None, None, "")
    assert AccountStore(StateFolder(tmp_path)).read(URL) == AccountRecord({account: EAB.fingerprint})


def test_nothing_is_set_where_something_is_wrong(tmp_path, of_file):
    """A refusal leaves Certbot's configuration as it was."""
    config = parse(tmp_path, "certonly", "-a", "garr-tcs", "-d", NAME, "--dry-run")
    before = dict(vars(config.namespace))
    context = run_context(config, pytest.fail)
    with pytest.raises(AccountError, match="no staging directory"):
        configure_account(config, of_file, of_file.source, StateFolder(tmp_path), context)
    assert vars(config.namespace) == before


def test_an_account_that_was_copied_after_a_registration_is_not_the_files(configure, tmp_path):
    """Its folder is new here, but it was registered earlier: the one that Certbot registered is used."""
    configure("certonly", "-d", NAME)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    account = make_account(tmp_path, PLACE, "registered", created=now)
    make_account(tmp_path, PLACE, "copied", created="2025-01-31T10:00:00Z")
    config, said = configure("certonly", "-d", NAME)
    assert (config.account, said) == (account, "")
    assert AccountStore(StateFolder(tmp_path)).read(URL) == AccountRecord({account: EAB.fingerprint})


@pytest.mark.parametrize(
    ("arguments", "mode", "is_new_lineage"),
    [
        (["certonly"], RunMode.LIVE, True),
        (["run"], RunMode.LIVE, True),
        (["renew"], RunMode.LIVE, False),
        (["certonly", "--dry-run"], RunMode.DRY_RUN, True),
        (["certonly", "--staging"], RunMode.STAGING, True),
    ],
)
def test_contexts(tmp_path, arguments, mode, is_new_lineage):
    """A run for which Certbot prepares the plugin is live, or one of its trials."""
    context = run_context(parse(tmp_path, *arguments), pytest.fail)
    assert (context.mode, context.is_new_lineage, context.may_register) == (mode, is_new_lineage, True)


def test_reconfigure_is_a_mode_of_its_own(tmp_path):
    """Only the verb shows it; Certbot 2.1 has no such verb, so it is set here."""
    config = parse(tmp_path, "renew")
    config.namespace.verb = "reconfigure"
    assert run_context(config, pytest.fail).mode is RunMode.RECONFIGURE


def test_options_of_the_user_win(configure):
    """--email and EAB of the command line stay; without a file EAB alone means Sectigo."""
    config, _ = configure("certonly", "-d", NAME, "-m", "me@example.it", *ACCOUNT)
    assert (config.server, config.email, config.eab_kid, config.eab_hmac_key) == (URL, "me@example.it", "typed", SECRET)
    config, said = configure("certonly", "-d", NAME, *ACCOUNT, account=None)
    assert config.server == "https://acme.sectigo.com/v2/OV"
    assert not config.tos
    assert "HARICA since January 2025" in said


def test_what_may_be_wrong_is_shown_before_an_account_is_registered(configure, of_file, tmp_path):
    """Where an account exists the file was right, and there is no notice."""
    account = replace(of_file, notices=("directory-url is unusual.",), email=None)
    _, said = configure("certonly", "-d", NAME, account=account)
    assert "directory-url is unusual." in said
    assert "No e-mail address is given. If one is wanted, add email = …" in said
    make_account(tmp_path, PLACE, "a" * 32)
    assert configure("certonly", "-d", NAME, account=account)[1] == ""


def test_the_error_names_the_file_that_would_be_read(tmp_path):
    """Who has no file learns which one would have been read."""
    config = parse(tmp_path, "certonly", "-d", NAME)
    context = run_context(config, print)
    file = tmp_path / "own.ini"
    for where in (f"in {file} (which does not exist), nor", f"in {file}, nor"):
        with pytest.raises(AccountError) as caught:
            configure_account(config, None, file, StateFolder(tmp_path), context)
        assert where in str(caught.value)
        file.touch()


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
def test_half_and_broken_eab_options(configure, arguments, words):
    """The error names the option that is wrong, and does not contain the key."""
    with pytest.raises(AccountError) as caught:
        configure("certonly", "-d", NAME, *arguments)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_users_account_is_used_and_recorded(configure, tmp_path):
    """--account decides which one the file's key ID stands for, from when a certificate was issued with it."""
    for name in ("a", "b"):
        make_account(tmp_path, PLACE, name)
    for _ in range(2):
        with pytest.raises(AccountError, match="nothing says which one"):
            configure("certonly", "-d", NAME)
        assert configure("certonly", "-d", NAME, "--account", "b")[0].account == "b"
    make_lineage(tmp_path, NAME, server=f"{URL}/", account="b")
    assert configure("certonly", "-d", NAME)[0].account == "b"
    assert AccountStore(StateFolder(tmp_path)).read(URL) == AccountRecord({"b": EAB.fingerprint})
    nobody = AccountSettings(tmp_path / "f", directory_url=URL)
    assert configure("certonly", "-d", NAME, "--account", "a", account=nobody)[0].account == "a"


def test_a_run_that_registers_nothing_stores_nothing(configure, tmp_path):
    """What shows or gives up an account is no proof of who made it."""
    make_account(tmp_path, PLACE, "a")
    assert configure("show_account", "--account", "a", may_register=False)[0].account == "a"
    assert not StateFolder(tmp_path).path.exists()


def test_an_account_is_registered_beside_those_of_other_key_ids(configure, tmp_path):
    """Its key ID is recorded, and the next run uses it and no other account."""
    make_account(tmp_path, PLACE, "old")
    AccountStore(StateFolder(tmp_path)).write(URL, AccountRecord({"old": "of another"}))

    def register(config, done):
        assert (config.server, config.account, config.eab_kid) == (URL, None, EAB.key_id)
        done(make_account(tmp_path, PLACE, "new"))

    config, said = configure("certonly", "-d", NAME, register_beside=register)
    assert config.account == "new"
    assert "made none of the accounts" in said
    assert "a new one is registered beside" in said
    assert AccountStore(StateFolder(tmp_path)).read(URL) == AccountRecord({"old": "of another", "new": EAB.fingerprint})
    config, said = configure("certonly", "-d", NAME, register_beside=pytest.fail)
    assert (config.account, config.eab_kid, said) == ("new", None, "")
    config, _ = configure("register", wants_new_account=True, register_beside=pytest.fail)
    assert config.account == "new"


def test_a_run_that_registers_nothing_uses_no_account_of_another_key_id(configure, tmp_path):
    """What registers nothing names what is missing instead of another one's account."""
    make_account(tmp_path, PLACE, "old")
    AccountStore(StateFolder(tmp_path)).write(URL, AccountRecord({"old": "of another"}))
    with pytest.raises(AccountError, match=r"made none of the accounts.*Name one with --account ID"):
        configure("show_account", may_register=False)


def test_an_account_without_eab_is_used_and_no_key_id_is_noted(tmp_path):
    """Where no EAB was sent, the record has no key ID."""
    config, store = argparse.Namespace(account=None), AccountStore(StateFolder(tmp_path))
    accounts.use_registered(config, store, Selection(URL), "new")
    assert config.account == "new"
    assert store.read(URL) == AccountRecord()


def test_one_eab_is_sent_once_in_a_renewal_run(configure):
    """Certbot asks for each lineage that is due, and a refused pair is refused again."""
    configure("renew")
    with pytest.raises(AccountError, match="has failed already in this run"):
        configure("renew")


@pytest.mark.parametrize(("there", "step"), [(("a",), "Give one of a, or none"), ((), "Leave --account out")])
def test_a_users_account_that_does_not_exist_is_refused(configure, tmp_path, there, step):
    """A typing error in ``unregister --account`` must not deactivate another account."""
    for name in there:
        make_account(tmp_path, PLACE, name)
    with pytest.raises(AccountError, match=f"--account tpyo is no account .*{step}"):
        configure("unregister", "--account", "tpyo", may_register=False)


def test_a_lineage_moves_with_the_file(configure, tmp_path):
    """The notice names the lineage and both CAs; the old CA's account is not used at the new one."""
    make_lineage(tmp_path, NAME, server=OTHER, account="old")

    def stored(config):
        config.server, config.account, config.certname = OTHER, "old", NAME

    config, said = configure("renew", change=stored)
    assert f"Lineage {NAME} moves from {OTHER} to {URL}." in said
    assert "is not on this machine any more" not in said
    assert (config.server, config.account) == (URL, None)
    config, said = configure("certonly", "--cert-name", NAME, "-d", NAME)
    assert config.server == URL
    assert "moves" not in said  # it may not be due


def test_what_belongs_to_the_old_ca_stays_behind(configure, tmp_path, of_file):
    """A profile is dropped, and a key type that the file has for new lineages is not taken; the user hears of both."""
    make_lineage(tmp_path, NAME, server=OTHER, account="old")

    def stored(config):
        config.server, config.account, config.certname = OTHER, "old", NAME

    def stored_with_profile(config):
        stored(config)
        config.required_profile = "tlsserver"

    rsa = replace(of_file, key_type="rsa")
    config, said = configure("renew", "--no-eff-email", account=rsa, change=stored_with_profile)
    assert (config.required_profile, config.key_type, config.eff_email) == (None, "ecdsa", False)
    assert f"The required_profile of lineage {NAME}, tlsserver, is dropped: it is the old CA's." in said
    assert f"Lineage {NAME} keeps its key type, ecdsa: key-type in {of_file.source} is for new certificates." in said
    accounts._ATTEMPTED.clear()
    config, said = configure("renew", "--required-profile", "mine", "--key-type", "ecdsa", account=rsa, change=stored)
    assert config.required_profile == "mine"
    assert "dropped" not in said
    assert "keeps its key type" not in said


def test_a_trial_lineage_is_renewed_at_its_staging_directory(configure, tmp_path, of_file):
    """With a notice that shows how to get a certificate of the real CA."""
    make_lineage(tmp_path, NAME, server=STAGING, account="trial")
    make_account(tmp_path, "staging.example/directory", "trial")

    def stored(config):
        config.server, config.account, config.certname = STAGING, "trial", NAME

    config, said = configure("renew", account=replace(of_file, staging_directory_url=STAGING), change=stored)
    assert (config.server, config.account) == (STAGING, "trial")
    assert f"Lineage {NAME} stays at the staging directory {STAGING}, where it was made as a trial." in said
    assert f"certbot certonly --garr-tcs --cert-name {NAME} --force-renewal" in said


def test_staging_replaces_no_lineage(configure, tmp_path, of_file):
    """--staging stores what it issues: over a lineage of the real CA only with --break-my-certs."""
    staging = replace(of_file, staging_directory_url=STAGING)
    make_lineage(tmp_path, NAME, server=URL, account="live")
    arguments = ("certonly", "--cert-name", NAME, "-d", NAME, "--staging")
    with pytest.raises(AccountError, match=NAME):
        configure(*arguments, account=staging)
    assert configure(*arguments, "--break-my-certs", account=staging)[0].server == STAGING


def test_staging_replaces_no_lineage_that_is_found_by_names(configure, tmp_path, of_file):
    """Neither by --expand, nor where two lineages have the same names; --duplicate makes one of its own."""
    staging = replace(of_file, staging_directory_url=STAGING)
    certificate = trustme.CA().issue_cert(NAME).cert_chain_pems[0].bytes()
    for lineage in ("one", "two"):
        make_lineage(tmp_path, lineage, certificate, server=URL, account="live")
    for arguments in (("-d", NAME), ("-d", NAME, "-d", "more.example.it", "--expand")):
        with pytest.raises(AccountError, match="would replace the certificate of one"):
            configure("certonly", "--staging", *arguments, account=staging)
    assert configure("certonly", "--staging", "-d", NAME, "--duplicate", account=staging)[0].server == STAGING
    assert configure("certonly", "--staging", "-d", "other.example.it", account=staging)[0].server == STAGING


def test_a_renewal_without_a_lineage_on_disk_uses_the_stored_server(configure, tmp_path):
    """Certbot puts the stored CA where --server would be: the user has not set it."""
    account = make_account(tmp_path, OTHER_PLACE, "abc")

    def stored(config):
        config.server, config.account, config.domains = OTHER, account, [NAME]

    config, said = configure("renew", "--force-renewal", account=None, change=stored)
    assert (config.server, config.account, said) == (OTHER, account, "")
    config, said = configure("renew", "--force-renewal", change=stored)
    assert config.server == URL
    assert f"{NAME} moves from {OTHER} to {URL}." in said


def test_a_stored_account_that_is_gone_is_registered_anew(configure, tmp_path):
    """The user hears which account was lost."""
    make_lineage(tmp_path, NAME, server=URL, account="gone")

    def stored(config):
        config.server, config.account, config.certname = URL, "gone", NAME

    config, said = configure("renew", change=stored)
    assert (config.account, config.eab_kid) == (None, EAB.key_id)
    assert f"Account gone at {URL} is not on this machine any more; a new one is registered." in said


def test_dry_runs_go_to_the_staging_directory(configure, tmp_path, of_file):
    """With its EAB, and a notice about the e-mail address that Certbot leaves out."""
    staging = replace(of_file, staging_directory_url=STAGING, staging_eab=EabCredentials("stage", "t" * 43))
    config, said = configure("certonly", "-d", NAME, "--dry-run", account=staging)
    assert (config.server, config.eab_kid) == (STAGING, "stage")
    assert "certbot register --staging --garr-tcs" in said
    make_lineage(tmp_path, NAME, server=URL, account="live")
    config, said = configure("certonly", "-d", NAME, "--cert-name", NAME, "--dry-run", account=staging)
    assert "moves" not in said


def test_nothing_is_registered_where_certbot_would_not(configure):
    """show_account and its like find no account, and get no EAB."""
    config, said = configure("certonly", "-d", NAME, may_register=False)
    assert (config.server, config.account, config.eab_kid, said) == (URL, None, None, "")


def test_no_contact_for_harica(configure, tmp_path):
    """What HARICA would refuse is not sent; an account that is there already needs no contact."""
    harica = AccountSettings(tmp_path / "f", directory_url=HARICA, eab=EAB)
    with pytest.raises(AccountError, match="without an e-mail address"):
        configure("certonly", "-d", NAME, account=harica)
    make_account(tmp_path, "acme.harica.gr/uni/directory", "abc")
    assert configure("certonly", "-d", NAME, account=harica)[0].email is None


def test_must_staple(configure, tmp_path):
    """Set by the user it is refused at a CA without OCSP; stored it is dropped; at other CAs it stays."""
    harica = AccountSettings(tmp_path / "f", directory_url=HARICA, eab=EAB, email="ced@example.it")
    with pytest.raises(AccountError, match="answers no OCSP"):
        configure("certonly", "-d", NAME, "--must-staple", account=harica)

    def stored(config):
        config.must_staple = True

    config, said = configure("renew", account=harica, change=stored)
    assert not config.must_staple
    assert "must_staple is dropped" in said
    assert configure("certonly", "-d", NAME, "--must-staple")[0].must_staple


def test_many_names(configure, tmp_path):
    """More names than HARICA takes are warned about."""
    harica = AccountSettings(tmp_path / "f", directory_url=HARICA, eab=EAB, email="ced@example.it")
    names = ",".join(f"n{number}.example.it" for number in range(21))
    assert "21 names: HARICA is known to refuse more than 20" in configure("certonly", "-d", names, account=harica)[1]


def test_key_types_are_for_new_lineages(configure, of_file, tmp_path):
    """The file's key type is a default: options win; a renewal changes no type, but takes the size for RSA."""
    make_account(tmp_path, PLACE, "abc")
    rsa = replace(of_file, key_type="rsa", rsa_key_size=3072)
    config, _ = configure("certonly", "-d", NAME, account=rsa)
    assert (config.key_type, config.rsa_key_size) == ("rsa", 3072)
    typed = ("--key-type", "ecdsa", "--rsa-key-size", "4096")
    config, _ = configure("certonly", "-d", NAME, *typed, account=rsa)
    assert (config.key_type, config.rsa_key_size) == ("ecdsa", 4096)
    config, _ = configure("renew", account=rsa)
    assert (config.key_type, config.rsa_key_size) == ("ecdsa", 2048)
    for typed, size in ((("rsa",), 3072), (("rsa", "--rsa-key-size", "4096"), 4096), (("ecdsa",), 2048)):
        assert configure("renew", "--key-type", *typed, account=rsa)[0].rsa_key_size == size


def revoking(folder, *arguments, settings=None, **typed):
    """Set a revocation up, as Certbot's parser does; return its namespace and what was selected."""
    config = argparse.Namespace(**vars(parse(folder, "revoke", *arguments).namespace))
    vars(config).update(typed)
    return config, revocation.configure_for_lineage(config, lambda: settings)


def test_revoke_by_name_takes_the_lineages_account(tmp_path):
    """If it exists; --account wins; without any account Certbot would ask for an EAB on the command line."""
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


def test_revoke_by_path_asks_the_lineages_ca(tmp_path, of_file):
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
        assert revoking(tmp_path, "--cert-path", str(path), settings=Configuration(of_file.source, of_file))[1] is None
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
