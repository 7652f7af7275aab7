"""What differs between Certbots, seen from this one; what is gone from it is put in its place."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
from certbot import configuration, errors
from certbot._internal import account
from support.certbot_config import cli, make_account, parse
from support.challenges import challenge

from certbot_garr_tcs import certbot_api
from certbot_garr_tcs.errors import AccountError

URL, PLACE = "https://ca.example/directory", "ca.example/directory"


def test_set_by_user_is_what_the_user_gave(tmp_path):
    """Not what a renewal sets, nor a default."""
    config = parse(tmp_path, "certonly", "--server", URL, "--must-staple", "-m", "a@example.it")
    assert [certbot_api.set_by_user(config, name) for name in ("server", "must_staple", "email", "key_type")] == [
        True
    ] * 3 + [False]
    assert not certbot_api.set_by_user(parse(tmp_path, "renew"), "server")


@pytest.mark.skipif(not hasattr(configuration, "ArgumentSource"), reason="Certbot before 2.7 keeps no sources")
def test_what_a_run_sets_is_not_typed(tmp_path):
    """Certbot's own set_by_user says it is."""
    config = parse(tmp_path, "renew")
    config.server = URL
    assert config.set_by_user("server")
    assert not certbot_api.set_by_user(config, "server")
    assert not certbot_api.set_by_user(config, "no_such_option")


def test_cli_ini_counts_as_typed(tmp_path):
    """Who wrote an option there means it."""
    ini = tmp_path / "cli.ini"
    ini.write_text(f"server = {URL}\n", encoding="utf-8")
    assert certbot_api.set_by_user(parse(tmp_path, "certonly", "-c", str(ini)), "server")


def test_typed_before_certbot_2_7(monkeypatch):
    """There a second parse with marked defaults says it."""

    class _Default:
        """As Certbot called it."""

    def set_by_cli(name):
        assert name == "config_dir"
        set_by_cli.detector = SimpleNamespace(server=URL, email=_Default())

    monkeypatch.setattr(cli, "set_by_cli", set_by_cli, raising=False)
    assert certbot_api.set_by_user(SimpleNamespace(), "server")
    assert not certbot_api.set_by_user(SimpleNamespace(), "email")


BOTH = ("authenticator", "installer")


def test_the_second_parse_gets_the_roles_by_name(tmp_path, monkeypatch):
    """Before 2.7 a flag of our own would fail there."""
    parse(tmp_path, "certonly", "-d", "a.example", "--garr-tcs")
    monkeypatch.delattr(configuration, "ArgumentSource", raising=False)
    cli.helpful_parser.args[:] = ["certonly", "--garr-tcs", "-n"]
    namespace = SimpleNamespace(authenticator=None, installer=None)
    for _ in range(2):
        certbot_api.select_plugin(namespace, "--garr-tcs", "garr-tcs", BOTH)
        assert (namespace.authenticator, namespace.installer) == ("garr-tcs", "garr-tcs")
        args = ["certonly", "-n", "--authenticator=garr-tcs", "--installer=garr-tcs"]
        assert cli.helpful_parser.args == args
    monkeypatch.setattr(cli, "helpful_parser", None)
    certbot_api.select_plugin(namespace, "--garr-tcs", "garr-tcs", BOTH)


def test_a_role_that_another_plugin_has_stays_there(tmp_path):
    """`-a nginx --garr-tcs` means nginx and, to deploy, us."""
    parse(tmp_path, "certonly", "-d", "a.example")
    namespace = SimpleNamespace(authenticator="nginx", installer=None)
    certbot_api.select_plugin(namespace, "--garr-tcs", "garr-tcs", BOTH)
    assert (namespace.authenticator, namespace.installer) == ("nginx", "garr-tcs")


def test_a_role_is_given_up_to_what_is_stored(tmp_path, monkeypatch):
    """However it was given; another plugin's stays."""
    for options in (("-a", "garr-tcs"), ("--configurator", "garr-tcs")):
        config = parse(tmp_path, "renew", *options)
        assert certbot_api.unset_authenticator(config, "garr-tcs")
        assert (config.authenticator, config.configurator) == (None, None)
        assert config.installer == ("garr-tcs" if "--configurator" in options else None)
    config = parse(tmp_path, "renew", "-a", "standalone")
    assert not certbot_api.unset_authenticator(config, "garr-tcs")
    assert config.authenticator == "standalone"
    # Before 2.7 a second parse of the command line says who has the role.
    monkeypatch.delattr(configuration, "ArgumentSource", raising=False)
    config = SimpleNamespace(authenticator="garr-tcs", configurator=None, namespace=SimpleNamespace())

    def set_by_cli(name):
        """Do as Certbot did."""

    set_by_cli.detector = SimpleNamespace(authenticator="garr-tcs", configurator=None)
    monkeypatch.setattr(cli, "set_by_cli", set_by_cli, raising=False)
    monkeypatch.setattr(cli, "_Default", dict, raising=False)
    assert certbot_api.unset_authenticator(config, "garr-tcs")
    assert set_by_cli.detector.authenticator == {}


def test_a_command_is_wrapped(tmp_path, monkeypatch):
    """Certbot looks its function up when it has parsed."""
    parse(tmp_path, "show_account")
    before = cli.helpful_parser.VERBS["show_account"]
    called = []
    certbot_api.wrap_command(lambda command, config, plugins: called.append((command, config, plugins)))
    cli.helpful_parser.VERBS["show_account"]("config", "plugins")
    assert called == [(before, "config", "plugins")]
    monkeypatch.setattr(cli, "helpful_parser", None)
    certbot_api.wrap_command(pytest.fail)


def test_the_lineage_that_is_renewed_is_known_by_what_certbot_logs():
    """It wraps its messages, and says other things too."""
    log = logging.getLogger("certbot._internal.display.obj")
    log.setLevel(logging.DEBUG)
    for _ in range(2):
        certbot_api.watch_renewals()
        assert certbot_api.lineage_being_renewed() is None
    log.debug("Notifying user: %s", "Processing\n/etc/letsencrypt/renewal/www.example.it.conf")
    assert certbot_api.lineage_being_renewed() == "www.example.it"
    log.debug("Notifying user: %s", "Certificate not yet due for renewal")
    assert certbot_api.lineage_being_renewed() == "www.example.it"
    log.debug("Notifying user: %s", "Processing /a b/renewal/other.conf")
    assert certbot_api.lineage_being_renewed() == "other"
    certbot_api.watch_renewals()


def test_the_verb_is_known_while_certbot_parses(tmp_path, monkeypatch):
    """It is the first word that is one."""
    parse(tmp_path, "show_account")
    assert certbot_api.verb() == "show_account"
    monkeypatch.setattr(cli, "helpful_parser", None)
    assert certbot_api.verb() == ""


def test_public_directories():
    """Certbot's own defaults."""
    assert certbot_api.public_server() == "https://acme-v02.api.letsencrypt.org/directory"
    assert certbot_api.public_staging() == "https://acme-staging-v02.api.letsencrypt.org/directory"


def test_accounts_are_those_that_are_whole(tmp_path):
    """Oldest first; what a killed registration left does not count."""
    config = parse(tmp_path, "certonly")
    assert certbot_api.accounts(config, URL) == []
    for age, name in enumerate(("young", "old")):
        make_account(tmp_path, PLACE, name)
        folder = tmp_path / "config" / "accounts" / PLACE / name
        os.utime(folder, (1000 - age, 1000 - age))
    half = tmp_path / "config" / "accounts" / PLACE / make_account(tmp_path, PLACE, "half")
    (half / "regr.json").unlink()
    assert certbot_api.accounts(config, URL) == ["old", "young"]
    assert certbot_api.accounts(config.namespace, URL) == ["old", "young"]
    assert certbot_api.accounts(config, "https://other.example/directory") == []
    assert config.server == certbot_api.public_server()


def test_identifiers_are_text(tmp_path):
    """Names, and addresses where Certbot knows them."""
    assert certbot_api.identifiers(parse(tmp_path, "certonly", "-d", "a.example,b.example")) == [
        "a.example",
        "b.example",
    ]
    assert certbot_api.identifiers(SimpleNamespace(domains=["a.example"], ip_addresses=["192.0.2.1"])) == [
        "a.example",
        "192.0.2.1",
    ]


def test_the_identifier_of_a_challenge():
    """Certbot has called it domain, and calls it identifier."""
    assert certbot_api.identifier(challenge("a.example").annotated) == "a.example"
    assert certbot_api.identifier(SimpleNamespace(domain="b.example")) == "b.example"
    assert certbot_api.identifier(SimpleNamespace(identifier=SimpleNamespace(value="c.example"))) == "c.example"


def test_our_errors_become_certbots():
    """One line, and where it came from."""
    with (
        pytest.raises(errors.PluginError, match=r"^it failed\. Correct it\.$") as caught,
        certbot_api.as_certbot_errors(errors.PluginError),
    ):
        raise AccountError("it failed", "Correct it.")
    assert isinstance(caught.value.__cause__, AccountError)
    with certbot_api.as_certbot_errors(errors.PluginError):
        pass


def test_when_an_account_was_registered(tmp_path):
    """Certbot stores it in UTC, as its own class writes it; an account without it is as old as its file."""
    moment = datetime(2026, 1, 31, 23, 59, 58, tzinfo=timezone.utc)
    meta = account.Account.Meta(creation_dt=moment, creation_host="", register_to_eff=None)
    config = parse(tmp_path, "certonly")
    make_account(tmp_path, PLACE, "a", created=meta.to_json()["creation_dt"])
    assert certbot_api.account_created(config, URL, "a") == moment.timestamp()
    make_account(tmp_path, PLACE, "b")
    path = tmp_path / "config" / "accounts" / PLACE / "b" / "meta.json"
    os.utime(path, (5.0, 5.0))
    assert certbot_api.account_created(config, URL, "b") == 5.0
