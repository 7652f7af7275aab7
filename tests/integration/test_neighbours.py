"""Somebody else's certificates on the same host: nothing of theirs changes, with us installed."""

from __future__ import annotations

import subprocess

import pytest
from journeys import NAME, conf, params, since_now

pytestmark = pytest.mark.integration

OTHERS = "www.elsewhere.example"


@pytest.fixture
def neighbour(certbot, make_pebble, resolver, due_cas):
    """Issue somebody else's certificate, by standalone from another CA; our garr-tcs.ini is there already."""
    other = make_pebble(eab=False, dns_server=resolver, environment={"PEBBLE_AUTHZREUSE": "0"})
    certbot.trust(other)
    certbot.use(due_cas[0])
    return other


def order(other):
    """Return how the neighbours order."""
    port = ("--http-01-port", str(other.http_port), "--http-01-address", "127.0.0.1")
    who = ("--server", other.directory_url, "-m", "neighbour@elsewhere.example", "--agree-tos")
    return ("certonly", "-n", "--standalone", "-d", OTHERS, *port, *who)


def everything(certbot):
    """Return every file of Certbot's configuration and work folders with what it holds."""
    folders = (certbot.config_dir, certbot.work_dir)
    files = (path for folder in folders for path in folder.rglob("*"))
    return {path: path.read_bytes() for path in files if path.is_file()}


def test_another_lineage_is_issued_and_renewed_as_before(certbot, neighbour, due_cas):
    """It keeps its CA, its account and its options, beside a lineage of ours that is renewed in the same run."""
    looks = [since_now(ca) for ca in due_cas]
    certbot.run(*order(neighbour))
    issued, stored = certbot.certificate(OTHERS), conf(certbot, OTHERS)
    assert [look() for look in looks] == [[], []]
    assert not (certbot.work_dir / "garr-tcs").exists()
    assert params(certbot, OTHERS)["server"] == neighbour.directory_url
    assert params(certbot, OTHERS)["authenticator"] == "standalone"
    assert [key for key in params(certbot, OTHERS) if "tcs" in key] == []

    certbot.run("renew", "--force-renewal")
    renewed = certbot.certificate(OTHERS)
    assert renewed.serial_number != issued.serial_number
    assert conf(certbot, OTHERS).replace("2.pem", "1.pem") == stored
    assert [look() for look in looks] == [[], []]
    assert len(certbot.account_ids()) == 1
    assert not (certbot.work_dir / "garr-tcs").exists()

    certbot.certonly(NAME)
    ours = certbot.certificate(NAME)
    certbot.run("renew", "--force-renewal")
    assert certbot.certificate(NAME).serial_number != ours.serial_number
    assert certbot.certificate(NAME) in due_cas[0].issued()
    assert certbot.certificate(OTHERS).serial_number != renewed.serial_number
    assert conf(certbot, OTHERS) == stored
