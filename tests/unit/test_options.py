"""Our options, parsed by Certbot's own parser."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pytest
from certbot import errors
from support.certbot_config import make_account, make_lineage, parse

from certbot_garr_tcs import config, options

URL, PLACE = "https://ca.example/directory", "ca.example/directory"
PUBLIC = "https://acme-v02.api.letsencrypt.org/directory"
KEY = "k" * 43
FILE = (
    f"[account]\ndirectory-url = {URL}\neab-kid = kid-1\neab-hmac-key = {KEY}\nemail = a@example.it\nagree-tos = yes\n"
)
STAGING = "staging-directory-url = https://staging.example/directory\n"


@pytest.fixture(autouse=True)
def no_listener():
    """Stop listening for failures when the test is over."""
    before = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = before


@pytest.fixture
def ini(tmp_path):
    """Write a garr-tcs.ini where it is looked for."""
    path = tmp_path / "config" / "garr-tcs.ini"
    path.parent.mkdir()
    path.write_text(FILE, encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("arguments", [("certonly",), ("run",), ("renew", "--cert-name", "www.example.it")])
def test_the_flag_chooses_the_authenticator(tmp_path, arguments):
    """Where Certbot loads plugins, the flag only says which."""
    assert parse(tmp_path, *arguments, "--garr-tcs").authenticator == "garr-tcs"
    assert parse(tmp_path, *arguments).authenticator is None


def test_the_flag_changes_no_lineage_that_nobody_names(tmp_path):
    """A renewal of everything goes by what each lineage stores."""
    config = parse(tmp_path, "renew", "--garr-tcs")
    assert (config.authenticator, config.installer) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "installer"),
    [
        (("certonly", "-a", "garr-tcs"), "garr-tcs"),
        (("run", "--authenticator=garr-tcs"), "garr-tcs"),
        (("certonly", "-a", "garr-tcs", "-i", "null"), "null"),
        (("certonly", "-a", "standalone"), None),
        (("renew", "-a", "garr-tcs"), None),
        (("reconfigure", "-a", "garr-tcs"), None),
        (("reconfigure", "-a", "garr-tcs", "--cert-name", "none"), "garr-tcs"),
        (("reconfigure", "-a", "garr-tcs", "--cert-name", "old"), "garr-tcs"),
        (("reconfigure", "-a", "garr-tcs", "--cert-name", "other"), None),
    ],
)
def test_who_chooses_us_alone_gets_our_installer(tmp_path, arguments, installer):
    """Also by Certbot's own option; a renewal asks each lineage, and nobody else's installer goes."""
    make_lineage(tmp_path, "none", authenticator="standalone")
    make_lineage(tmp_path, "old", installer="None")
    make_lineage(tmp_path, "other", installer="nginx")
    assert parse(tmp_path, *arguments).installer == installer


def test_the_file_is_where_it_is_read(tmp_path, caplog, ini):
    """What is reported at the end of a run is the default file's, where nobody names one; a broken one is not ours."""
    assert Path(config.default_path(str(tmp_path))) == tmp_path / f"{options.NAME}.ini"
    ini.write_text(f"{FILE}[deploy www]\nlineage = www\nreload = true\n", encoding="utf-8")
    options._report_idle_sections(ini, ini.parent)
    assert "there is no lineage www" in caplog.text
    caplog.clear()
    ini.write_text("[deploy www]\n", encoding="utf-8")
    options._report_idle_sections(ini, ini.parent)
    options._report_idle_sections(tmp_path / "none.ini", ini.parent)
    assert caplog.text == ""


def test_another_authenticator_that_was_named_stays(tmp_path):
    """Who names an authenticator means it."""
    assert parse(tmp_path, "certonly", "-a", "standalone", "--garr-tcs").authenticator == "standalone"


def test_register_gets_everything_from_the_file(tmp_path, ini, caplog):
    """Certbot loads no plugin for register: CA and EAB are set while the options are parsed."""
    config = parse(tmp_path, "register", "--garr-tcs")
    assert (config.server, config.eab_kid, config.eab_hmac_key) == (URL, "kid-1", KEY)
    assert (config.email, config.tos) == ("a@example.it", True)
    assert ini.exists()
    assert "Registering an account" in caplog.text
    assert KEY not in caplog.text


def test_quiet_is_quiet(tmp_path, ini, caplog):
    """With --quiet notices go to the log file alone."""
    with caplog.at_level(logging.INFO):
        parse(tmp_path, "register", "--garr-tcs", "--quiet")
    assert ini.exists()
    assert {record.levelno for record in caplog.records if "Registering" in record.message} == {logging.INFO}


@pytest.mark.parametrize("verb", ["show_account", "update_account", "unregister"])
def test_other_account_verbs_find_the_account(tmp_path, ini, verb):
    """The account is the file's, and nobody is registered."""
    assert parse(tmp_path, verb, "--garr-tcs").account is None
    account = make_account(tmp_path, PLACE, "abc")
    config = parse(tmp_path, verb, "--garr-tcs")
    assert (config.server, config.account, config.eab_kid) == (URL, account, None)
    assert parse(tmp_path, verb).account is None
    assert ini.exists()


def test_staging_means_the_files_staging_directory(tmp_path, ini):
    """Certbot's own --staging beside another CA would be an error."""
    ini.write_text(FILE + STAGING, encoding="utf-8")
    config = parse(tmp_path, "show_account", "--garr-tcs", "--staging")
    assert config.server == "https://staging.example/directory"


def test_a_typed_server_wins(tmp_path, ini, caplog):
    """Without the file's EAB, and with a notice."""
    config = parse(tmp_path, "register", "--garr-tcs", "--server", "https://other.example/d")
    assert (config.server, config.eab_kid) == ("https://other.example/d", None)
    assert str(ini) in caplog.text


@pytest.mark.parametrize("verb", ["register", "show_account", "revoke"])
def test_a_bad_file_is_one_of_certbots_errors(tmp_path, ini, verb):
    """Certbot shows it as it is: one line."""
    ini.chmod(0o644)
    with pytest.raises(errors.ConfigurationError, match="chmod 600"):
        parse(tmp_path, verb, "--garr-tcs")


def test_a_missing_file_is_named(tmp_path):
    """Who has no file learns which one would have been read."""
    where = f"in {tmp_path / 'config' / 'garr-tcs.ini'} (which does not exist), nor"
    with pytest.raises(errors.ConfigurationError) as caught:
        parse(tmp_path, "register", "--garr-tcs")
    assert where in str(caught.value)


@pytest.mark.parametrize("server", [["--server", PUBLIC], [f"--server={PUBLIC}"]])
def test_the_default_server_counts_where_it_is_typed(tmp_path, ini, server):
    """Who asks to unregister at Let's Encrypt does not give the file's account up."""
    account = make_account(tmp_path, PLACE, "abc")
    assert parse(tmp_path, "unregister", "--garr-tcs").account == account
    for arguments in ([*server, "--garr-tcs"], ["--garr-tcs", *server]):
        config = parse(tmp_path, "unregister", *arguments)
        assert (config.server, config.account) == (PUBLIC, None)
    assert ini.exists()


def test_revoke_by_path_needs_an_account(tmp_path, ini):
    """There is nothing to revoke with where nobody is registered."""
    with pytest.raises(errors.ConfigurationError, match="revoke with"):
        parse(tmp_path, "revoke", "--garr-tcs", "--cert-path", str(ini))
    make_account(tmp_path, PLACE, "abc")
    assert parse(tmp_path, "revoke", "--garr-tcs", "--cert-path", str(ini)).account == "abc"


def test_revoke_by_name_asks_the_lineage(tmp_path):
    """Not the file, which may have moved on to another CA."""
    make_lineage(tmp_path, "www.example.it", server=URL, account="abc")
    make_account(tmp_path, PLACE, "abc")
    assert parse(tmp_path, "revoke", "--garr-tcs", "--cert-name", "www.example.it").account == "abc"


def test_revoke_by_a_name_that_is_not_there_is_left_to_certbot(tmp_path):
    """It says so; our file has nothing to do with it."""
    assert parse(tmp_path, "revoke", "--garr-tcs", "--cert-name", "nothing").account is None


def test_other_verbs_do_nothing(tmp_path):
    """The flag means nothing to ``plugins`` and its like, and breaks nothing."""
    config = parse(tmp_path, "plugins", "--garr-tcs")
    assert (config.authenticator, config.account) == (None, None)


def test_paths_are_absolute(tmp_path, monkeypatch):
    """A path counts from where it was typed, now and later."""
    monkeypatch.chdir(tmp_path)
    assert parse(tmp_path, "certonly", "--garr-tcs-config", "uni.ini").garr_tcs_config == str(tmp_path / "uni.ini")
    assert options.absolute_path("~/uni.ini") == str(Path("~/uni.ini").expanduser())
    with pytest.raises(argparse.ArgumentTypeError, match="is empty"):
        options.absolute_path(" ")


def test_names_of_cas(tmp_path, capsys):
    """An unknown one is refused with those that there are."""
    assert parse(tmp_path, "certonly", "--garr-tcs-ca", "HARICA").tcs_ca == "harica"
    with pytest.raises(SystemExit):
        parse(tmp_path, "certonly", "--garr-tcs-ca", "haricaa")
    said = capsys.readouterr().err
    assert "there are harica, sectigo-ov" in said
    assert 'did you mean "harica"?' in said


def test_what_counts_for_one_run_is_not_stored(tmp_path):
    """Certbot stores what begins with garr_tcs_; only the file's path may."""
    config = parse(tmp_path, "certonly", "--garr-tcs", "--garr-tcs-ca", "harica", "--garr-tcs-allow-live-dry-run")
    assert config.tcs_allow_live_dry_run
    assert [name for name in vars(config.namespace) if name.startswith("garr_tcs_")] == ["garr_tcs_config"]
