"""Pebble in the harness is what other tests take it for."""

from __future__ import annotations

import pytest
from cryptography import x509

pytestmark = pytest.mark.integration

NAME = "www.elsewhere.example"
EMAIL = ("-m", "admin@practice.example", "--agree-tos")


def order(certbot, pebble, *more):
    """Ask for a certificate by http-01, without our plugin."""
    certbot.trust(pebble)
    port = ("--http-01-port", str(pebble.http_port), "--http-01-address", "127.0.0.1")
    who = ("--server", pebble.directory_url, *EMAIL, *more)
    return certbot.run("certonly", "-n", "--standalone", "-d", NAME, *port, *who, check=False)


def test_pebble_issues_and_revokes_and_says_so(certbot, make_pebble):
    """What Pebble issues chains to its management root, and a revocation can be looked up there."""
    pebble = make_pebble(environment={"PEBBLE_VA_ALWAYS_VALID": "1"})
    binding = ("--eab-kid", pebble.eab_kid, "--eab-hmac-key", pebble.eab_hmac_key)
    result = order(certbot, pebble, *binding)
    assert result.returncode == 0, result.output
    certificate = certbot.certificate(NAME)
    root = x509.load_pem_x509_certificate(pebble.issuing_root())
    chain = x509.load_pem_x509_certificates(certbot.live(NAME, "chain").read_bytes())
    assert chain[-1].issuer == root.subject
    assert not pebble.is_revoked(certificate)
    certbot.run("revoke", "-n", "--cert-name", NAME)
    assert pebble.is_revoked(certificate)


def test_pebble_wants_its_own_eab(certbot, pebble):
    """Without EAB it registers nobody."""
    result = order(certbot, pebble)
    assert result.returncode == 1
    assert certbot.account_ids() == []


def test_pebble_without_eab_validates_for_real(certbot, make_pebble):
    """A name that does not resolve to this machine is not issued."""
    pebble = make_pebble(eab=False, dns_server="127.0.0.1:9")
    result = order(certbot, pebble)
    assert result.returncode == 1
    assert len(certbot.account_ids()) == 1
