"""Accounts and lineages over the years, on the Certbots that administrators have."""

from __future__ import annotations

import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from support.journeys import (
    NAME,
    conf,
    explained,
    key_ids,
    no_secret,
    one_line,
    orders,
    params,
    run_in,
    since_now,
    snapshot,
)
from support.matrix import MATRIX
from support.needs import need_built

from certbot_garr_tcs.sandbox.settings import account_section

pytestmark = pytest.mark.integration

VERSIONS = [entry for entry in MATRIX if entry.name in {"certbot-2.1.0-python3.11", "certbot-newest-python3.11"}]
OTHER = "other.practice.example"


@pytest.fixture(params=VERSIONS, ids=lambda entry: entry.certbot)
def certbot(request, make_certbot):
    """Bind each Certbot in turn to folders of its own."""
    need_built(request.param)
    return make_certbot(request.param.executable)


def new_pair(certbot, ca):
    """Write a new key ID and HMAC key of the same CA into garr-tcs.ini; return them."""
    pair = ca.add_key()
    certbot.write_ini(account_section(ca.directory_url, *pair))
    return pair


def accounts_of(certbot, *lineages):
    """Return the account that each lineage stores."""
    return [params(certbot, lineage)["account"] for lineage in lineages]


def renew(certbot, *more, check=True):
    """Renew now, whatever is due."""
    return certbot.run("renew", "--force-renewal", *more, check=check)


def test_a_dead_account_is_replaced_by_a_new_pair(certbot, due_cas):
    """The CA blocks an account: a new pair in the file registers another beside it, and nothing is given up."""
    ca = due_cas[0]
    certbot.trust(ca)
    old_id, _ = new_pair(certbot, ca)
    certbot.certonly(NAME)
    (old,) = certbot.account_ids()
    ca.remove_key(old_id)
    before = snapshot(certbot)
    assert renew(certbot, check=False).returncode == 1
    assert snapshot(certbot) == before

    asked, given_up = since_now(ca), len(ca.deactivations())
    new_id, secret = new_pair(certbot, ca)
    renewed = renew(certbot)
    said = one_line(renewed.output)
    assert f"EAB key ID {new_id[:8]}… made none of the accounts that Certbot has at {ca.directory_url} ({old})" in said
    assert "a new one is registered beside" in said
    assert "--account ID" in said
    assert key_ids(asked()) == [new_id]
    assert len(ca.deactivations()) == given_up
    (new,) = accounts_of(certbot, NAME)
    assert sorted(certbot.account_ids()) == sorted([old, new])
    no_secret(certbot, renewed, secret)
    renew(certbot)
    assert accounts_of(certbot, NAME) == [new]
    assert key_ids(asked()) == [new_id]


def test_two_files_share_a_directory(certbot, due_cas, tmp_path):
    """Each file has its account; one that dies is replaced, and the other department notices nothing."""
    ca = due_cas[0]
    certbot.trust(ca)
    other_file = tmp_path / "other.ini"
    other_id, _ = new_pair(certbot, ca)
    certbot.ini.rename(other_file)
    new_pair(certbot, ca)
    certbot.certonly(NAME)
    certbot.run("certonly", "-n", "-a", "garr-tcs", "-d", OTHER, "--garr-tcs-config", str(other_file))
    ours, theirs = accounts_of(certbot, NAME, OTHER)
    assert ours != theirs
    renew(certbot)
    assert accounts_of(certbot, NAME, OTHER) == [ours, theirs]

    ca.remove_key(other_id)
    other_file.write_text(account_section(ca.directory_url, *ca.add_key()), encoding="utf-8")
    renew(certbot)
    kept, replaced = accounts_of(certbot, NAME, OTHER)
    assert kept == ours
    assert replaced not in {ours, theirs}
    assert len(certbot.account_ids()) == 3


def test_an_account_from_before_the_plugin(certbot, due_cas):
    """Nobody knows which pair made it, so it is taken; where it is dead, register makes another beside it."""
    ca = due_cas[0]
    certbot.trust(ca)
    old_id, old_key = ca.add_key()
    who = ("--server", ca.directory_url, "-m", "ced@practice.example", "--agree-tos", "--no-eff-email")
    certbot.run("register", "-n", *who, "--eab-kid", old_id, "--eab-hmac-key", old_key)
    (old,) = certbot.account_ids()
    new_id, _ = new_pair(certbot, ca)
    certbot.certonly(NAME)
    assert accounts_of(certbot, NAME) == [old]

    ca.remove_key(old_id)
    assert renew(certbot, check=False).returncode == 1
    asked = since_now(ca)
    registered = certbot.run("register", "-n", "--garr-tcs")
    assert "Account registered." in registered.output
    assert key_ids(asked()) == [new_id]
    (new,) = set(certbot.account_ids()) - {old}
    renew(certbot)
    assert accounts_of(certbot, NAME) == [new]

    again = certbot.run("register", "-n", "--garr-tcs", check=False)
    assert again.returncode == 1
    assert "existing account" in again.output
    assert key_ids(asked()) == [new_id]


def test_looking_binds_nothing(certbot, due_cas):
    """What shows, fails or is refused changes no later renewal; what issues does."""
    ca = due_cas[0]
    certbot.trust(ca)
    old_id, old_key = new_pair(certbot, ca)
    certbot.certonly(NAME)
    (old,) = certbot.account_ids()
    new_pair(certbot, ca)
    renew(certbot)
    (new,) = accounts_of(certbot, NAME)
    assert ca.directory_url in certbot.run("show_account", "--garr-tcs", "--account", old).output
    ca.remove_key(old_id)
    assert certbot.run("unregister", "-n", "--garr-tcs", "--account", old, check=False).returncode == 1
    renew(certbot)
    assert accounts_of(certbot, NAME) == [new]
    assert certbot.run("certonly", "-n", "--garr-tcs", "-d", OTHER, "--account", old, check=False).returncode == 1
    renew(certbot)
    assert accounts_of(certbot, NAME) == [new]
    assert sorted(certbot.account_ids()) == sorted([old, new])

    ca._write_keys({**ca._keys(), old_id: old_key})
    certbot.run("certonly", "-n", "--garr-tcs", "-d", OTHER, "--account", old)
    renew(certbot)
    assert accounts_of(certbot, NAME, OTHER) == [new, old]


def test_account_commands_name_no_stranger(certbot, due_cas):
    """Where the file's pair made none of the accounts, they neither register one nor take another's."""
    ca = due_cas[0]
    certbot.trust(ca)
    new_pair(certbot, ca)
    certbot.certonly(NAME)
    (old,) = certbot.account_ids()
    new_pair(certbot, ca)
    asked = since_now(ca)
    for verb in ("show_account", "update_account", "unregister"):
        refused = certbot.run(verb, "-n", "--garr-tcs", check=False)
        assert refused.returncode == 1
        explained(refused, "made none of the accounts", old, "--account ID")
    assert [request for request in asked() if request.method == "POST"] == []
    assert certbot.account_ids() == [old]


def test_one_bad_pair_is_one_request(certbot, due_cas):
    """A run with several due lineages offers a refused pair once, and says so for each."""
    ca, _ = due_cas
    certbot.use(ca)
    names = [f"n{number}.practice.example" for number in range(3)]
    for name in names:
        certbot.certonly(name)
    certbot.write_ini(account_section(ca.directory_url, "kid-of-nobody", "k" * 43))
    asked = since_now(ca)
    for run in ("beside another account", "as the first account"):
        before = len(key_ids(asked()))
        failed = renew(certbot, check=False)
        assert failed.returncode == 1
        assert len(key_ids(asked())) == before + 1, run
        said = one_line(failed.output)
        assert said.count("Unable to register an account") == 1
        assert said.count("has failed already in this run") == 2
        assert all(f"Failed to renew certificate {name} with error" in said for name in names)
        shutil.rmtree(certbot.config_dir / "accounts")


def test_revoking_asks_the_ca_that_issued(certbot, due_cas, tmp_path):
    """By name or by path, whatever the default file says; where it cannot be known, --server is asked for."""
    first, second = due_cas
    certbot.use(second)
    own_file = certbot.ini.rename(tmp_path / "own.ini")
    certbot.use(first)
    certbot.run("certonly", "-n", "-a", "garr-tcs", "-d", OTHER, "--garr-tcs-config", str(own_file))
    certbot.certonly(NAME)
    of_other, of_name = certbot.certificate(OTHER), certbot.certificate(NAME)
    revoke = ("revoke", "-n", "--garr-tcs", "--no-delete-after-revoke")
    copied = tmp_path / "copied.pem"
    copied.write_bytes(certbot.live(OTHER, "fullchain").read_bytes())
    certbot.run(*revoke, "--cert-path", str(copied))
    assert second.is_revoked(of_other)

    certbot.use(second)
    renew(certbot)
    moved, asked = certbot.certificate(NAME), since_now(second)
    archived = ("--cert-path", str(certbot.config_dir / "archive" / NAME / "cert1.pem"))
    refused = certbot.run(*revoke, *archived, check=False)
    assert refused.returncode == 1
    explained(refused, f"is of lineage {NAME}, but another CA issued it than {second.directory_url}", "--server URL")
    assert [request for request in asked() if request.method == "POST"] == []
    certbot.run(*revoke, *archived, "--server", first.directory_url)
    assert first.is_revoked(of_name)
    certbot.run(*revoke, "--cert-name", NAME)
    assert second.is_revoked(moved)


def test_a_choice_in_cli_ini_is_for_new_lineages(certbot, due_cas, make_pebble, tmp_path):
    """``authenticator = garr-tcs`` there moves no other CA's lineage at a renewal; naming the lineage does."""
    ours = due_cas[0]
    theirs = make_pebble(eab=False, environment={"PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_AUTHZREUSE": "0"})
    certbot.trust(theirs)
    certbot.use(ours)
    port = ("--http-01-port", str(theirs.http_port), "--http-01-address", "127.0.0.1")
    who = ("--server", theirs.directory_url, "-m", "neighbour@elsewhere.example", "--agree-tos", "--no-eff-email")
    certbot.run("certonly", "-n", "--standalone", "-d", OTHER, *port, *who)
    certbot.certonly(NAME)
    cli = tmp_path / "cli.ini"
    for line in ("authenticator = garr-tcs", "garr-tcs = true", "configurator = garr-tcs"):
        stored, before = (
            params(certbot, OTHER),
            certbot.certificate(OTHER),
        )
        cli.write_text(f"{line}\n", encoding="utf-8")
        renewed = renew(certbot, "-c", str(cli))
        assert certbot.certificate(NAME) in ours.issued()
        assert certbot.certificate(OTHER) != before
        now = params(certbot, OTHER)
        assert [now[key] for key in ("server", "account", "authenticator")] == [
            stored[key] for key in ("server", "account", "authenticator")
        ], line
        assert f"Lineages of other authenticators keep theirs, and their CA: {OTHER}." in one_line(renewed.output)
    moved = renew(certbot, "--cert-name", OTHER, "--authenticator", "garr-tcs")
    assert f"Lineage {OTHER} moves from {theirs.directory_url} to {ours.directory_url}." in one_line(moved.output)
    assert certbot.certificate(OTHER) in ours.issued()
    assert params(certbot, OTHER)["authenticator"] == "garr-tcs"


def test_a_key_type_of_the_file_is_for_new_lineages_and_how_to_change_it_is_said(certbot, due_cas):
    """A move names the command, and that command takes the size of the file."""
    first, second = due_cas
    certbot.use(first)
    certbot.run("certonly", "-n", "--garr-tcs", "--key-type", "ecdsa", "-d", NAME)
    certbot.use(second, "key-type = rsa\nrsa-key-size = 3072\n")
    moved = renew(certbot)
    said = one_line(moved.output)
    command = f"certbot renew --force-renewal --cert-name {NAME} --key-type rsa"
    assert f"Lineage {NAME} keeps its key type, ecdsa: key-type in {certbot.ini} is for new certificates." in said
    assert command in said
    assert isinstance(certbot.certificate(NAME).public_key(), ec.EllipticCurvePublicKey)
    certbot.run(*command.split()[1:])
    key = certbot.certificate(NAME).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072
    renew(certbot)
    assert certbot.certificate(NAME).public_key().key_size == 3072


def test_a_trial_is_renewed_where_it_was_made(certbot, due_cas):
    """A lineage of --staging stays at the staging directory, until a real certificate is asked for."""
    live, staging = due_cas
    certbot.trust(live, staging)
    certbot.write_ini(
        live.account_section()
        + f"staging-directory-url = {staging.directory_url}\nstaging-eab-kid = {staging.eab_kid}\n"
        f"staging-eab-hmac-key = {staging.eab_hmac_key}\n"
    )
    certbot.run("certonly", "-n", "--garr-tcs", "--staging", "-d", NAME)
    at_live = since_now(live)
    renewed = renew(certbot)
    assert certbot.certificate(NAME) in staging.issued()
    assert params(certbot, NAME)["server"] == staging.directory_url
    assert at_live() == []
    said = one_line(renewed.output)
    assert f"Lineage {NAME} stays at the staging directory {staging.directory_url}" in said
    command = f"certbot certonly --garr-tcs --cert-name {NAME} --force-renewal -d"
    assert command in said
    certbot.run(*command.split()[1:], NAME, "-n")
    assert certbot.certificate(NAME) in live.issued()
    renew(certbot)
    assert certbot.certificate(NAME) in live.issued()


def test_the_file_answers_the_question_of_the_eff(certbot, due_cas, tmp_path):
    """The address of the file is for the CA: nobody is asked whether the EFF may have it, unless they say so."""
    certbot.use(due_cas[0])
    options = ("--garr-tcs", "--force-interactive", *certbot.folder_options)
    order = run_in(certbot, tmp_path, "certonly", "-d", NAME, *options)
    assert order.returncode == 0, order.output
    assert "Electronic Frontier Foundation" not in order.output
    shutil.rmtree(certbot.config_dir / "accounts")
    registered = run_in(certbot, tmp_path, "register", *options)
    assert registered.returncode == 0, registered.output
    assert "Electronic Frontier Foundation" not in registered.output


def test_twins_move_one_by_one(certbot, due_cas):
    """Of two lineages with the same names each is told of by its own name; a final slash is no move."""
    first, second = due_cas
    certbot.use(first)
    certbot.certonly(NAME)
    certbot.run("certonly", "-n", "-a", "garr-tcs", "-d", NAME, "--cert-name", "twin", "--duplicate")
    certbot.write_ini(first.account_section().replace("/directory\n", "/directory/\n"))
    assert "moves from" not in certbot.run("renew", check=False).output  # whether the CA serves both is its affair
    certbot.use(second)
    said = one_line(renew(certbot).output)
    for lineage in (NAME, "twin"):
        assert said.count(f"Lineage {lineage} moves from {first.directory_url}") == 1
        assert certbot.certificate(lineage) in second.issued()
    assert said.count("moves from") == 2


def test_what_is_not_for_users_is_not_offered_to_them(certbot):
    """An ambiguous option lists options that somebody can give."""
    said = certbot.run("renew", "--garr-tcs-", "x", check=False)
    assert said.returncode == 2
    assert "--garr-tcs-config" in said.output
    assert "last" not in said.output


@pytest.mark.parametrize("certbot", VERSIONS[1:], indirect=True, ids=lambda entry: entry.certbot)
def test_a_required_profile_stays_behind(certbot, due_cas):
    """What only the old CA knows is not asked of the new one, and the user hears of it; another renewal keeps it."""
    first, second = due_cas
    certbot.use(first)
    certbot.certonly(NAME)
    conf_file = certbot.config_dir / "renewal" / f"{NAME}.conf"
    conf_file.write_text(
        conf(certbot, NAME).rstrip("\n") + "\nrequired_profile = theirs\npreferred_profile = nice\n", encoding="utf-8"
    )
    at_first, at_second = since_now(first), since_now(second)
    renew(certbot, check=False)
    certbot.use(second)
    moved = renew(certbot)
    assert not any("profile" in request.payload for request in orders(at_second()))
    assert certbot.certificate(NAME) in second.issued()
    assert [request.payload.get("profile") for request in orders(at_first())] == ["theirs"]
    assert f"The required_profile of lineage {NAME}, theirs, is dropped" in one_line(moved.output)
    assert params(certbot, NAME).get("required_profile", "None") == "None"
