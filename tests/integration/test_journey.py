"""What a member does with a garr-tcs.ini, from the first certificate to the last, as typed."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from support.certbot import sampled_command_lines
from support.journeys import NAME, account_of, conf, key_ids, one_line, orders, params, run_in, since_now, walk

from certbot_garr_tcs.sandbox.runner import dns_names
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


def test_the_whole_journey_keeps_its_secrets(certbot, first, second):
    """Issue, renew, move, revoke; the HMAC keys stand in garr-tcs.ini alone, and in no process list."""
    with sampled_command_lines() as seen:
        walk(certbot, first, second, "-a", "garr-tcs")
    for verb in ("certonly", "renew", "revoke"):
        assert any(f"{certbot.bound.executable} {verb}" in line for line in seen)
    assert certbot.files_with(first.eab_hmac_key) == [certbot.ini]
    assert certbot.files_with(second.eab_hmac_key) == []
    assert not [line for line in seen if first.eab_hmac_key in line or second.eab_hmac_key in line]


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
    """The flag, the file and the folder that says where everything is may come in any order."""
    certbot.use(first)
    elsewhere = certbot.ini.rename(tmp_path / "elsewhere.ini")
    certbot.run("register", "-n", "--garr-tcs", "--garr-tcs-config", str(elsewhere))
    parts = [("--garr-tcs",), ("--garr-tcs-config", str(elsewhere)), ("--config-dir", str(certbot.config_dir))]
    rest = ("--work-dir", str(certbot.work_dir), "--logs-dir", str(certbot.logs_dir))
    for order in itertools.permutations(parts):
        shown = run_in(certbot, tmp_path, "show_account", *itertools.chain(*order), *rest)
        assert shown.returncode == 0, shown.output
        assert first.directory_url in shown.output, order
    flag, file, folder = parts
    ordered = run_in(certbot, tmp_path, *folder, *rest, *file, "certonly", *flag, "-n", "-d", NAME)
    assert ordered.returncode == 0, ordered.output
    assert certbot.certificate(NAME) in first.issued()


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
    issued = run_in(certbot, there, *order, *certbot.bound.folder_options)
    assert issued.returncode == 0, issued.output
    assert params(certbot, own)["garr_tcs_config"] == str(file)
    certbot.use(first)
    certbot.certonly(NAME)
    before = {certbot.certificate(name).serial_number for name in (NAME, own)}
    renewed = run_in(certbot, elsewhere, "renew", "--no-random-sleep-on-renew", *certbot.bound.folder_options)
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

    certbot.write_ini(account_of(first) + "key-type = ecdsa\n")
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


def test_server_counts_for_one_run_and_gets_no_eab_of_the_file(certbot, first, make_practice_ca):
    """With --server of another CA the file's EAB stays at home, and the next renewal returns to the file's CA."""
    other = make_practice_ca(name="Other CA", eab_required=False, always_due=True)
    certbot.use(first)
    certbot.trust(other)
    at_first = since_now(first)
    visited = certbot.run("certonly", "-n", "--garr-tcs", "--server", other.directory_url, "-d", NAME)
    assert certbot.certificate(NAME) in other.issued()
    assert key_ids(other.requests()) == [None]
    assert at_first() == []
    assert f"--server {other.directory_url} counts for this run alone" in one_line(visited.output)

    returned = certbot.run("renew")
    assert certbot.certificate(NAME) in first.issued()
    assert key_ids(at_first()) == [first.eab_kid]
    assert len(orders(other.requests())) == 1
    assert f"Lineage {NAME} moves from {other.directory_url} to {first.directory_url}." in one_line(returned.output)


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
    assert asked() == []
    issued = certbot.run(*order)
    assert "HARICA" in issued.output
    assert certbot.certificate(NAME) in first.issued()
    assert "harica" not in conf(certbot, NAME)


def test_a_stored_must_staple_does_not_come_along_to_harica(certbot, first, second):
    """A lineage that moves to a CA without OCSP drops what its next server could not staple, and says so."""
    certbot.use(first)
    certbot.trust(second)
    certbot.run("certonly", "-n", "--garr-tcs", "--must-staple", "-d", NAME)
    assert params(certbot, NAME)["must_staple"] == "True"
    certbot.write_ini(account_of(second) + "ca = harica\n")
    moved = certbot.run("renew")
    assert "must_staple is dropped" in one_line(moved.output)
    assert certbot.certificate(NAME) in second.issued()
    assert params(certbot, NAME).get("must_staple", "False") == "False"


def test_the_account_fits_the_file(certbot, first):
    """Another key ID at the same CA gets an account of its own, unless the user says that the one there is right."""
    certbot.use(first)
    certbot.run("register", "-n", "--garr-tcs")
    (account,) = certbot.account_ids()
    key_id, hmac_key = first.add_key()
    certbot.write_ini(account_section(first.directory_url, key_id, hmac_key))
    asked = since_now(first)
    certbot.run("certonly", "-n", "-a", "garr-tcs", "-d", NAME, "--account", account)
    certbot.run("renew")
    assert len(orders(asked())) == 2
    assert key_ids(asked()) == []
    assert params(certbot, NAME)["account"] == account
    certbot.write_ini(account_section(first.directory_url, *first.add_key()))
    certbot.run("renew")
    assert len(key_ids(asked())) == 1
    assert params(certbot, NAME)["account"] != account
    assert account in certbot.account_ids()
