"""Names that the CA has not validated beforehand: proved here where a section says how, else one error."""

from __future__ import annotations

import functools
import http.server
import threading

import pytest
from support.certbot_runner import dns_names
from support.journeys import conf, one_line
from support.matrix import OLDEST_AND_NEWEST
from support.needs import need_built

pytestmark = pytest.mark.integration

NAME = "www.elsewhere.example"
NONCES_REJECTED_PERCENT = "5"
"""Pebble's own default."""


def standalone(pebble, suffix=""):
    """Return a section that proves names by a web server of Certbot's own, where Pebble looks."""
    return f"""
[http-01 {suffix}]
via = standalone
http-01-port = {pebble.http_port}
http-01-address = 127.0.0.1
"""


def test_names_that_nobody_can_prove_are_named_in_one_error(certbot, make_practice_ca):
    """Without a section all names that the CA has not validated are named at once, and nothing is asked further."""
    ca = make_practice_ca(
        configuration={
            "Order": {"allowed_domainlist": '["practice.example", "*.practice.example", "*.elsewhere.example"]'}
        }
    )
    certbot.use(ca)
    refused = certbot.certonly("www.practice.example", NAME, "mail.elsewhere.example", check=False)
    assert refused.returncode == 1
    said = one_line(refused.output)
    errors = [line for line in refused.output.splitlines() if NAME in line and "mail.elsewhere.example" in line]
    assert any("validated" in line for line in errors), refused.output
    assert "www.practice.example" not in next(line for line in errors if "validated" in line)
    assert "[dns-01 elsewhere.example]" in said
    assert "administrator has what is missing validated in the CA's portal" in said
    assert not [request for request in ca.requests() if "/chall" in request.path]
    assert ca.issued() == []
    assert not certbot.live("www.practice.example").exists()


def test_a_section_proves_what_the_ca_has_not_validated(certbot, make_pebble, resolver):
    """A certificate is issued, renewed and revoked by a CA that validates for real, wants EAB and rejects nonces.

    Certbot tries a request once more by itself; two rejections in a row end the run, and the next run,
    which the timer would make, has to find nothing broken.
    """
    environment = {"PEBBLE_WFE_NONCEREJECT": NONCES_REJECTED_PERCENT, "PEBBLE_AUTHZREUSE": "0"}
    pebble = make_pebble(dns_server=resolver, environment=environment)
    certbot.use(pebble, standalone(pebble, "elsewhere.example"))

    def run(*arguments):
        for _ in range(5):
            result = certbot.run(*arguments, check=False)
            if result.returncode == 0:
                return
            assert "badNonce" in certbot.log_tail(1000), result.output
        pytest.fail(result.output)

    run("certonly", "-n", "--garr-tcs", "-d", NAME)
    issued = certbot.certificate(NAME)
    assert dns_names(issued) == [NAME]
    run("renew", "--force-renewal")
    renewed = certbot.certificate(NAME)
    assert renewed.serial_number != issued.serial_number
    assert "standalone" not in conf(certbot, NAME)
    run("revoke", "-n", "--cert-path", str(certbot.live(NAME)), "--garr-tcs", "--no-delete-after-revoke")
    assert pebble.is_revoked(renewed)
    assert not pebble.is_revoked(issued)
    assert len(certbot.account_ids()) == 1


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files without a log."""

    def log_message(self, *args):
        """Say nothing."""


@pytest.mark.parametrize("entry", OLDEST_AND_NEWEST, ids=lambda entry: entry.certbot)
def test_a_webroot_that_is_not_what_the_web_server_serves(entry, make_certbot, make_pebble, resolver, tmp_path):
    """After the CA's 404 the key of the file is named that says where proofs are put."""
    need_built(entry)
    served, configured = tmp_path / "served", tmp_path / "configured"
    served.mkdir()
    configured.mkdir()
    pebble, certbot = make_pebble(dns_server=resolver), make_certbot(entry.executable)
    certbot.use(pebble, f"[http-01]\nvia = webroot\nwebroot-path = {configured}\n")
    handler = functools.partial(QuietHandler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", pebble.http_port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        refused = certbot.certonly(NAME, check=False)
        server.shutdown()
        thread.join()
    assert refused.returncode == 1
    said = one_line(refused.output)
    assert f"The proof is where webroot-path of [http-01] in {certbot.ini} says ({configured}): correct that if" in said
    assert list(configured.iterdir()) == []
