"""What the user reads when the CA refuses, breaks or is silent: its words and the next step, on old and new Certbot."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from support.certbot_runner import CertbotRunner
from support.journeys import NAME, explained, no_secret, snapshot
from support.matrix import OLDEST_AND_NEWEST
from support.needs import need_built
from support.practice_ca import PracticeCa, need_practice_ca, set_faults
from support.tls_server import TlsServer

from certbot_garr_tcs.sandbox.settings import account_section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.matrix import Entry

    from certbot_garr_tcs.sandbox.certbot import Result

pytestmark = pytest.mark.integration

ERROR = "urn:ietf:params:acme:error"
DELEGATED = "A requested identifier has not been delegated"


@pytest.fixture(scope="module", params=OLDEST_AND_NEWEST, ids=lambda entry: entry.certbot)
def entry(request) -> Entry:
    """Take each of the Certbots in turn."""
    need_built(request.param)
    return request.param


@pytest.fixture(scope="module")
def issued(entry, tmp_path_factory) -> Iterator[tuple[CertbotRunner, PracticeCa]]:
    """Issue one lineage at a CA that every test then breaks in another way."""
    need_practice_ca()
    folder = tmp_path_factory.mktemp("hints")
    with PracticeCa(folder / "ca", faulty=True) as ca:
        certbot = CertbotRunner(entry.executable, folder / "certbot")
        certbot.use(ca)
        certbot.certonly(NAME)
        yield certbot, ca


def refused(issued: tuple[CertbotRunner, PracticeCa], verb: str, **faults: object) -> Result:
    """Renew, or order another certificate, in vain; what there was stays, and nothing secret shows."""
    certbot, ca = issued
    set_faults(ca, **faults)
    before = snapshot(certbot)
    if verb == "renew":
        result = certbot.run("renew", "--force-renewal", "--cert-name", NAME, check=False)
    else:
        result = certbot.certonly(f"another.{NAME}", check=False)
    set_faults(ca)
    assert result.returncode == 1
    assert snapshot(certbot) == before
    no_secret(certbot, result, ca.eab_hmac_key)
    return result


def says(status: int, kind: str, detail: str) -> dict[str, object]:
    """Return the fault of a problem document (RFC 8555 §6.7)."""
    return {"kind": "json", "status": status, "body": {"type": f"{ERROR}:{kind}", "detail": detail}}


@pytest.mark.parametrize("verb", ["certonly", "renew"])
def test_a_known_refusal(issued, verb):
    """The CA's words are there once, whatever Certbot makes of them (its issue 9539), and the next step is."""
    result = refused(issued, verb, newOrder=says(403, "malformed", DELEGATED))
    explained(result, DELEGATED)
    explained(result, issued[1].directory_url, "not delegated to your organisation", "Ask")


def test_a_refusal_that_nobody_knows(issued):
    """Certbot 2.1 hides the words of every refusal at certonly; they are shown in one line, printable, not too long."""
    words = "Not \x1b[31mtoday\x1b[0m,\nnot like this. " + "x" * 2000
    result = refused(issued, "certonly", newOrder=says(403, "compound", words))
    if "can't set attribute" in result.output:
        line = explained(result, "Not today, not like this. xx", "see in the CA's portal")
        assert len(line) < 800
        assert "\x1b" not in result.output
    else:
        assert "not like this" in result.output


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(
            {"type": f"{ERROR}:caa", "detail": "CAA forbids it"}, ("CAA forbids it", "Add one there"), id="known"
        ),
        pytest.param(
            {"type": f"{ERROR}:compound", "detail": "No luck"}, ("No luck", "Run the command again"), id="unknown"
        ),
        pytest.param(None, ("without a reason", "Run the command again"), id="no-reason"),
    ],
)
def test_an_order_that_turns_invalid(issued, error, words):
    """Certbot's own line ends after "with error:"; ours has the CA's error and the next step."""
    body = {"status": "invalid", **({"error": error} if error else {})}
    result = refused(issued, "renew", order={"kind": "json", "body": body})
    explained(result, issued[1].directory_url, *words)


@pytest.mark.parametrize(
    ("place", "status", "body"),
    [
        ("directory", 200, "hello"),
        ("directory", 200, []),
        ("directory", 200, 17),
        ("directory", 404, {"title": "Not Found", "status": 404}),
        ("newOrder", 200, {}),
        ("newOrder", 400, 17),
        ("order", 200, 17),
    ],
)
def test_a_server_that_does_not_speak_acme(issued, place, status, body):
    """Python's words about the answer are followed by ours: what was asked, what came, and where to look."""
    result = refused(issued, "renew", **{place: {"kind": "json", "status": status, "body": body}})
    line = explained(result, issued[1].directory_url, "is not ACME", f"HTTP {status}")
    assert "directory-url" in line


@pytest.mark.parametrize("kind", ["503", "close"])
def test_a_lost_answer_to_a_registration(entry, make_certbot, make_faulty_ca, kind):
    """The pair may be used up by an account that nobody has the key of: nothing says that nothing is lost."""
    ca = make_faulty_ca(eab_once=True)
    certbot = make_certbot(entry.executable)
    certbot.use(ca)
    set_faults(ca, newAccount={"kind": kind, "times": 1})
    result = certbot.certonly(NAME, check=False)
    assert result.returncode == 1
    explained(result, ca.directory_url, f"key ID {ca.eab_kid[:8]}", "may be used up", "new pair")
    assert "Nothing is lost" not in result.output
    no_secret(certbot, result, ca.eab_hmac_key)


@pytest.mark.parametrize(
    ("years", "trusted", "words"),
    [
        pytest.param(3, True, ("is not yet valid", "If that is not the time", "timedatectl"), id="clock-behind"),
        pytest.param(-12, True, ("has expired", "timedatectl"), id="expired"),
        pytest.param(0, False, ("does not trust the TLS certificate", "REQUESTS_CA_BUNDLE"), id="untrusted"),
    ],
)
def test_a_tls_certificate_that_does_not_hold(issued, tmp_path, years, trusted, words):
    """It is said to be that, with the clock where dates are the matter; not "no answer"."""
    certbot, ca = issued
    now = datetime.now(timezone.utc)
    with TlsServer(tmp_path, now + timedelta(days=365 * years)) as server:
        if trusted:
            certbot.trust(server)
        certbot.write_ini(account_section(server.directory_url, ca.eab_kid, ca.eab_hmac_key))
        try:
            result = refused(issued, "renew")
        finally:
            certbot.write_ini(account_section(ca.directory_url, ca.eab_kid, ca.eab_hmac_key))
    line = explained(result, "127.0.0.1", *words)
    assert "no answer" not in result.output
    assert (f"{now:%Y-%m-%d}" in line) is bool(years)
