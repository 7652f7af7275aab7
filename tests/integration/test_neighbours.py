"""Somebody else's certificates on the same host: nothing of theirs changes, with us installed."""

from __future__ import annotations

import re

import pytest
from support.journeys import NAME, conf, orders, params, run_in, since_now

pytestmark = pytest.mark.integration

OTHERS = "www.elsewhere.example"


@pytest.fixture
def neighbour(certbot, make_pebble, resolver, due_cas):
    """Run the neighbours' CA, which validates for real; our garr-tcs.ini is there already."""
    other = make_pebble(eab=False, dns_server=resolver, environment={"PEBBLE_AUTHZREUSE": "0"})
    certbot.trust(other)
    certbot.use(due_cas[0])
    return other


def asked_by_neighbours(other):
    """Return how the neighbours order, but for the authenticator."""
    port = ("--http-01-port", str(other.http_port), "--http-01-address", "127.0.0.1")
    who = ("--server", other.directory_url, "-m", "neighbour@elsewhere.example", "--agree-tos", "--no-eff-email")
    return ("certonly", "-d", OTHERS, *port, *who)


def everything(certbot):
    """Return every file of Certbot's configuration and work folders with what it holds."""
    files = (path for folder in (certbot.config_dir, certbot.work_dir) for path in folder.rglob("*"))
    return {path: path.read_bytes() for path in files if path.is_file()}


def test_another_lineage_is_issued_and_renewed_as_before(certbot, neighbour, due_cas):
    """It keeps its CA, its account and its options, also where one renew renews a lineage of ours."""
    first, second = due_cas
    at_first, at_second = since_now(first), since_now(second)
    certbot.run(*asked_by_neighbours(neighbour), "-n", "--standalone")
    issued, stored = certbot.certificate(OTHERS), conf(certbot, OTHERS)
    accounts = certbot.account_ids()
    assert at_first() == []
    assert not (certbot.work_dir / "garr-tcs").exists()
    assert params(certbot, OTHERS)["server"] == neighbour.directory_url
    assert params(certbot, OTHERS)["account"] == accounts[0]
    assert params(certbot, OTHERS)["authenticator"] == "standalone"
    assert [key for key in params(certbot, OTHERS) if "tcs" in key] == []

    certbot.certonly(NAME)
    ours = certbot.certificate(NAME)
    certbot.run("renew", "--force-renewal")
    assert certbot.certificate(OTHERS).serial_number != issued.serial_number
    assert certbot.certificate(OTHERS).issuer != certbot.certificate(NAME).issuer
    assert conf(certbot, OTHERS) == stored
    assert certbot.certificate(NAME).serial_number != ours.serial_number
    assert certbot.certificate(NAME) in first.issued()
    assert [request.payload["identifiers"] for request in orders(at_first())] == [[{"type": "dns", "value": NAME}]] * 2
    assert at_second() == []
    assert len(certbot.account_ids()) == len(accounts) + 1


def test_looking_at_the_plugins_changes_nothing(certbot, neighbour, due_cas, tmp_path):
    """Listing the plugins writes nothing, and Certbot's menu offers and does what it did without us."""
    at_first = since_now(due_cas[0])
    before = everything(certbot)
    listed = certbot.run("plugins", "--prepare")
    assert "* standalone" in listed.output
    assert "* garr-tcs" in certbot.run("plugins").output
    assert everything(certbot) == before

    order = (*asked_by_neighbours(neighbour), "--force-interactive", *certbot.folder_options)
    menu = run_in(certbot, tmp_path, *order, keys="c\n").stdout
    assert "How would you like to authenticate" in menu
    assert "garr-tcs" not in menu
    assert "external account binding" not in menu
    assert everything(certbot) == before
    (number,) = re.findall(r"^(\d+): [^:]*\(standalone\)$", menu, re.MULTILINE)
    chosen = run_in(certbot, tmp_path, *order, keys=f"{number}\n")
    assert chosen.returncode == 0, chosen.output
    assert params(certbot, OTHERS)["server"] == neighbour.directory_url
    assert params(certbot, OTHERS)["authenticator"] == "standalone"
    assert [key for key in params(certbot, OTHERS) if "tcs" in key] == []
    assert at_first() == []
    assert not (certbot.work_dir / "garr-tcs").exists()
