"""What a member does with a garr-tcs.ini, from the first certificate to the last, as typed."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from support.certbot_runner import dns_names
from support.journeys import NAME, conf, key_ids, one_line, params, run_in, since_now

from certbot_garr_tcs.sandbox.settings import account_section

pytestmark = pytest.mark.integration

EMAIL = "admin@practice.example"


@pytest.fixture
def first(due_cas):
    """Name the CA of the file."""
    return due_cas[0]


@pytest.fixture
def second(due_cas):
    """Name another CA."""
    return due_cas[1]


def test_the_account_verbs_work_with_the_file_alone(certbot, first):
    """An account is registered, shown, updated and given up with nothing but --garr-tcs."""
    certbot.use(first)
    asked = since_now(first)
    certbot.run("register", "-n", "--garr-tcs")
    assert key_ids(asked()) == [first.eab_kid]
    assert len(certbot.account_ids()) == 1

    shown = certbot.run("show_account", "--garr-tcs")
    assert first.directory_url in shown.output
    assert EMAIL in shown.output

    certbot.run("update_account", "-n", "--garr-tcs", "-m", "new@practice.example")
    assert asked()[-1].payload["contact"] == ["mailto:new@practice.example"]
    assert asked()[-1].status == 200

    certbot.run("unregister", "-n", "--garr-tcs")
    assert [request.payload["status"] for request in asked() if "status" in request.payload] == ["deactivated"]
    assert certbot.account_ids() == []
    assert certbot.files_with(first.eab_hmac_key) == [certbot.ini]


def test_options_work_in_every_order(certbot, first, tmp_path):
    """Nothing depends on which option stands first, --config-dir and --server among them."""
    certbot.use(first)
    elsewhere = certbot.ini.rename(tmp_path / "elsewhere.ini")
    certbot.write_ini(account_section("https://127.0.0.1:9/directory", "kid-1", "k" * 43))
    flag, file, folder, server = parts = (
        ("--garr-tcs",),
        ("--garr-tcs-config", str(elsewhere)),
        ("--config-dir", str(certbot.config_dir)),
        ("--server", first.directory_url),
    )
    rest = ("--work-dir", str(certbot.work_dir), "--logs-dir", str(certbot.logs_dir))
    asked = since_now(first)
    registered = run_in(certbot, tmp_path, "register", "-n", *folder, *flag, *file, *rest)
    assert registered.returncode == 0, registered.output
    assert key_ids(asked()) == [first.eab_kid]
    for order in (parts, parts[::-1], (flag, folder, server, file), (server, file, flag, folder)):
        shown = run_in(certbot, tmp_path, "show_account", *itertools.chain(*order), *rest)
        assert shown.returncode == 0, shown.output
        assert EMAIL in shown.output, order
    ordered = run_in(certbot, tmp_path, *folder, *rest, *file, "certonly", *flag, "-n", "-d", NAME)
    assert ordered.returncode == 0, ordered.output
    assert certbot.certificate(NAME) in first.issued()
    assert [params(certbot, NAME)["account"]] == certbot.account_ids()
    assert len(key_ids(asked())) == 1


def test_cli_ini_chooses_us(certbot, first, tmp_path):
    """``garr-tcs = true`` in a cli.ini is --garr-tcs, for certificates and for accounts."""
    certbot.use(first)
    cli = tmp_path / "cli.ini"
    cli.write_text("garr-tcs = true\n", encoding="utf-8")
    certbot.run("certonly", "-n", "-c", str(cli), "-d", NAME)
    assert params(certbot, NAME)["authenticator"] == "garr-tcs"
    assert params(certbot, NAME)["server"] == first.directory_url
    assert first.directory_url in certbot.run("show_account", "-c", str(cli)).output


def test_a_lineage_with_a_file_of_its_own_stays_there(certbot, first, second, tmp_path):
    """A relative --garr-tcs-config is stored absolute: a plain renew elsewhere finds each lineage's own file."""
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    certbot.use(second)
    file = certbot.ini.rename(there / "own.ini")
    own = "own.practice.example"
    order = ("certonly", "-n", "--garr-tcs", "--garr-tcs-config", "own.ini", "-d", own)
    issued = run_in(certbot, there, *order, *certbot.folder_options)
    assert issued.returncode == 0, issued.output
    assert params(certbot, own)["garr_tcs_config"] == str(file)
    certbot.use(first)
    certbot.certonly(NAME)
    before = {certbot.certificate(name).serial_number for name in (NAME, own)}
    renewed = run_in(certbot, elsewhere, "renew", "--no-random-sleep-on-renew", *certbot.folder_options)
    assert renewed.returncode == 0, renewed.output
    assert certbot.certificate(NAME) in first.issued()
    assert certbot.certificate(own) in second.issued()
    assert not before & {certbot.certificate(name).serial_number for name in (NAME, own)}
    assert params(certbot, own)["garr_tcs_config"] == str(file)
    assert "garr_tcs_config" not in params(certbot, NAME)


def test_the_file_decides_the_key_type_of_new_lineages(certbot, first):
    """A wildcard gets the RSA key that the file asks for, and keeps it when the file asks for another one."""
    certbot.use(first, "key-type = rsa\nrsa-key-size = 3072\n")
    asked = since_now(first)
    certbot.certonly("practice.example", "*.practice.example")
    key = certbot.certificate("practice.example").public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072
    assert dns_names(certbot.certificate("practice.example")) == ["*.practice.example", "practice.example"]
    assert not [request for request in asked() if "/chall" in request.path]

    certbot.write_ini(first.account_section() + "key-type = ecdsa\n")
    before = certbot.certificate("practice.example")
    certbot.run("renew")
    renewed = certbot.certificate("practice.example")
    assert renewed.serial_number != before.serial_number
    kept = renewed.public_key()
    assert isinstance(kept, rsa.RSAPublicKey)
    assert kept.key_size == 3072


def test_a_typed_key_type_wins(certbot, first):
    """What the user types stands above the file."""
    certbot.use(first, "key-type = rsa\n")
    certbot.run("certonly", "-n", "--garr-tcs", "--key-type", "ecdsa", "-d", NAME)
    assert isinstance(certbot.certificate(NAME).public_key(), ec.EllipticCurvePublicKey)


def test_without_any_file_a_renewal_stays(certbot, first):
    """EAB and --server on the command line are enough, and the renewal asks the same CA as the same account."""
    certbot.trust(first)
    asked = since_now(first)
    who = ("--server", first.directory_url, "-m", EMAIL, "--agree-tos")
    binding = ("--eab-kid", first.eab_kid, "--eab-hmac-key", first.eab_hmac_key)
    certbot.run("certonly", "-n", "-a", "garr-tcs", *who, *binding, "-d", NAME)
    assert key_ids(asked()) == [first.eab_kid]
    before = certbot.certificate(NAME)
    certbot.run("renew")
    assert certbot.certificate(NAME) in first.issued()
    assert certbot.certificate(NAME).serial_number != before.serial_number
    assert len(key_ids(asked())) == 1
    assert first.eab_kid not in conf(certbot, NAME)
    assert first.eab_hmac_key not in conf(certbot, NAME)


def test_the_ca_option_holds_for_one_run(certbot, first):
    """--garr-tcs-ca brings the rules of a preset, for this run, and is not stored."""
    certbot.use(first)
    asked = since_now(first)
    order = ("certonly", "-n", "--garr-tcs", "--garr-tcs-ca", "harica", "-d", NAME)
    refused = certbot.run(*order, "--must-staple", check=False)
    assert refused.returncode == 1
    assert "--must-staple: HARICA" in one_line(refused.output)
    assert "Leave --must-staple out, also in cli.ini." in one_line(refused.output)
    assert asked() == []
    issued = certbot.run(*order)
    assert "HARICA" in issued.output
    assert certbot.certificate(NAME) in first.issued()
    assert "harica" not in conf(certbot, NAME)
