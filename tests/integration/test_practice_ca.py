"""The practice CA behaves as a TCS CA does, to the real certbot."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from support.certbot import need_practice_ca, set_faults

from certbot_garr_tcs.errors import SandboxError
from certbot_garr_tcs.sandbox.options import PracticeOptions
from certbot_garr_tcs.sandbox.practice_ca import PracticeCa
from certbot_garr_tcs.sandbox.runner import dns_names, issuer_name

if TYPE_CHECKING:
    from support.certbot import CertbotRunner

    from certbot_garr_tcs.sandbox.runner import Result

pytestmark = pytest.mark.integration

NAME = "www.practice.example"
EMAIL = ("-m", "admin@practice.example")


def order(
    certbot: CertbotRunner, ca: PracticeCa, *names: str, eab: tuple[str, str] | None = None, email=EMAIL
) -> Result:
    """Ask for a certificate as anybody could, without our plugin."""
    key_id, hmac_key = eab or (ca.eab_kid, ca.eab_hmac_key)
    binding = ("--eab-kid", key_id, "--eab-hmac-key", hmac_key) if key_id else ()
    named = [part for name in names or (NAME,) for part in ("-d", name)]
    certbot.trust(ca)
    who = ("--server", ca.directory_url, "--agree-tos", *email, *binding)
    return certbot.run("certonly", "-n", "--standalone", *named, *who, check=False)


def accepts_connections(url: str) -> bool:
    """Return whether anything listens where the URL points."""
    try:
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=5):
            return True
    except OSError:  # refused, or reset by a server that is just going
        return False


def ask(ca: PracticeCa, path: str, body: bytes | None = None, timeout_seconds: float = 10.0) -> tuple[int, bytes]:
    """Ask the CA over TLS, verified as strictly as Python 3.13 does by default."""
    trust = ssl.create_default_context(cafile=str(ca.ca_bundle))
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    url = ca.directory_url.replace("/directory", path)
    try:
        with opener.open(urllib.request.Request(url, data=body), timeout=timeout_seconds) as answer:  # noqa: S310  # https, ours
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_names_validated_beforehand_are_issued_without_a_challenge(certbot, practice_ca):
    """The apex, a name below it and the wildcard come in one certificate; no challenge is ever asked for."""
    names = ["*.practice.example", "practice.example", NAME]
    before = len(practice_ca.requests())
    result = order(certbot, practice_ca, *names)
    assert result.returncode == 0, result.output
    certificate = certbot.certificate("practice.example")
    asked = practice_ca.requests()[before:]
    assert dns_names(certificate) == sorted(names)
    assert issuer_name(certificate) == "Practice CA"
    assert certificate in practice_ca.issued()
    assert not practice_ca.is_revoked(certificate)
    assert not [request for request in asked if "/chall" in request.path]
    ordered = [request for request in asked if request.path == "/acme/neworders"]
    assert [one["value"] for request in ordered for one in request.payload["identifiers"]] == names
    assert [request.status for request in ordered] == [201]


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        ((NAME,), {"eab": ("kid-unknown", "A" * 43)}, "unauthorized"),
        ((NAME,), {"eab": ("", "")}, "external"),
        ((NAME,), {"email": ("--register-unsafely-without-email",)}, "contact"),
        (("www.elsewhere.example",), {}, "rejectedIdentifier"),
        (tuple(f"n{number}.practice.example" for number in range(21)), {}, "limit"),
    ],
    ids=["wrong EAB", "no EAB", "no e-mail", "foreign name", "more than 20 names"],
)
def test_the_ca_refuses(certbot, practice_ca, names, options, said):
    """What a TCS CA refuses, the practice CA refuses, and issues nothing."""
    before = len(practice_ca.issued())
    result = order(certbot, practice_ca, *names, **options)
    assert result.returncode == 1
    assert said.lower() in (result.output + certbot.log_tail(400)).lower(), result.output
    assert len(practice_ca.issued()) == before


def test_the_right_key_id_with_another_key_is_refused(certbot, practice_ca):
    """A known key ID proves nothing without its HMAC key."""
    _, another = practice_ca.add_key()
    result = order(certbot, practice_ca, eab=(practice_ca.eab_kid, another))
    assert result.returncode == 1
    assert certbot.account_ids() == []


def test_twenty_names_are_allowed(certbot, practice_ca):
    """Twenty names are not too many."""
    names = tuple(f"n{number}.practice.example" for number in range(20))
    result = order(certbot, practice_ca, *names)
    assert result.returncode == 0, result.output
    assert len(dns_names(certbot.certificate(names[0]))) == 20


def test_a_certificate_lasts_as_long_as_the_options_say_and_is_not_due(certbot, make_practice_ca):
    """A fresh certificate of 90 days is left alone by a plain renew."""
    ca = make_practice_ca(lifetime_days=90)
    assert order(certbot, ca).returncode == 0
    certificate = certbot.certificate(NAME)
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime == timedelta(days=90)
    assert "not due for renewal" in certbot.run("renew").output.replace("not yet due", "not due")
    assert certbot.certificate(NAME) == certificate


def test_certificates_that_are_always_due_are_renewed_by_a_plain_renew_each_time(certbot, make_practice_ca):
    """Two plain renewals in a row make two new certificates."""
    ca = make_practice_ca(always_due=True)
    assert order(certbot, ca).returncode == 0
    serials = {certbot.certificate(NAME).serial_number}
    for _ in range(2):
        certbot.run("renew")
        serials.add(certbot.certificate(NAME).serial_number)
    assert len(serials) == len(ca.orders()) == 3


def test_ari_tells_certbot_to_renew_at_once(certbot, make_practice_ca):
    """With renew_by_ari the window that the CA suggests has begun long ago (RFC 9773 §4.2)."""
    ca = make_practice_ca(renew_by_ari=True)
    assert order(certbot, ca).returncode == 0
    certbot.run("renew")
    asked = [request for request in ca.requests() if "/renewal-info/" in request.path]
    if not asked:
        pytest.skip("this certbot does not ask for ARI (before 4.1)")
    status, body = ask(ca, asked[0].path)
    start = datetime.strptime(json.loads(body)["suggestedWindow"]["start"], "%Y-%m-%dT%H:%M:%S%z")
    assert status == asked[0].status == 200
    assert start < datetime.now(timezone.utc) - timedelta(days=100)


def test_a_revoked_certificate_is_on_the_list_and_no_other(certbot, make_practice_ca):
    """Revoking puts just that certificate on the CA's list."""
    ca = make_practice_ca()
    assert order(certbot, ca).returncode == 0
    assert order(certbot, ca, "mail.practice.example").returncode == 0
    certificate = certbot.certificate(NAME)
    certbot.run("revoke", "-n", "--cert-name", NAME)
    assert ca.is_revoked(certificate)
    assert not ca.is_revoked(certbot.certificate("mail.practice.example"))


def test_an_eab_key_that_counts_once_makes_one_account(make_certbot, make_practice_ca):
    """The second registration with the same key is refused with Sectigo's words; another key is not."""
    ca = make_practice_ca(eab_once=True)
    assert order(make_certbot(), ca).returncode == 0
    refused = order(make_certbot(), ca)
    assert refused.returncode == 1
    assert "not awaiting external account binding" in refused.output
    assert order(make_certbot(), ca, eab=ca.add_key()).returncode == 0


def test_a_key_taken_back_blocks_its_account(certbot, make_practice_ca):
    """Once the key is gone, the account that it made may order nothing more."""
    ca = make_practice_ca()
    assert order(certbot, ca).returncode == 0
    ca.remove_key(ca.eab_kid)
    assert order(certbot, ca, "mail.practice.example").returncode == 1
    assert len(ca.issued()) == 1


def test_the_log_knows_who_gave_something_up(certbot, make_practice_ca):
    """Unregistering is recorded as a deactivation; issuing is not."""
    ca = make_practice_ca()
    assert order(certbot, ca).returncode == 0
    assert ca.deactivations() == []
    certbot.run("unregister", "-n", "--server", ca.directory_url)
    assert [request.path.startswith("/acme/acct/") for request in ca.deactivations()] == [True]


def test_several_run_at_once_and_each_stops_cleanly(make_practice_ca):
    """Each has a port of its own; after stop() nothing listens there, and stopping again does nothing."""
    cas = [make_practice_ca(name=f"CA {number}") for number in range(3)]
    assert len({ca.directory_url for ca in cas}) == 3
    assert all(ca.running and ask(ca, "/directory")[0] == 200 for ca in cas)
    for ca in cas:
        ca.stop()
        ca.stop()
        assert not ca.running
        assert not accepts_connections(ca.directory_url)
        assert "Traceback" not in ca.log.read_text(encoding="utf-8")


def test_an_idle_connection_holds_nobody_up(practice_ca):
    """A client that connects and says nothing does not keep others from being answered."""
    with socket.create_connection(("127.0.0.1", urlsplit(practice_ca.directory_url).port)):
        assert ask(practice_ca, "/directory", timeout_seconds=5)[0] == 200


def test_the_server_dies_with_whoever_started_it(tmp_path):
    """A starter that is killed leaves no server behind."""
    need_practice_ca()
    program = (
        "import sys, time, pathlib\n"
        "from certbot_garr_tcs.sandbox.practice_ca import PracticeCa\n"
        "ca = PracticeCa(pathlib.Path(sys.argv[1]))\n"
        "ca.start()\n"
        "print(ca.directory_url, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "ca")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        url = starter.stdout.readline().strip()
        assert accepts_connections(url)
        starter.kill()
    deadline = time.monotonic() + 10
    while accepts_connections(url):
        assert time.monotonic() < deadline, "the server outlived its starter"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ({"kind": "503"}, 503, b"<h1>503"),
        ({"kind": "429"}, 429, b"rateLimited"),
        ({"kind": "bare-string", "text": "No."}, 400, b'"No."'),
    ],
    ids=["503", "429", "bare string"],
)
def test_a_faulty_ca_answers_as_it_is_told(make_faulty_ca, fault, status, said):
    """The fault is served where it was asked for and nowhere else, and is healed by the next switch."""
    ca = make_faulty_ca()
    set_faults(ca, newOrder=fault)
    assert ask(ca, "/directory")[0] == 200
    seen, body = ask(ca, "/acme/neworders", b"{}")
    assert seen == status
    assert said in body
    set_faults(ca)
    assert ask(ca, "/acme/neworders", b"{}")[0] not in {429, 503}
    assert ca.orders()[0].status == status


def test_a_faulty_ca_can_say_nothing(make_faulty_ca):
    """It closes the connection without an answer, or keeps the client waiting, once if told so."""
    ca = make_faulty_ca()
    set_faults(ca, everything={"kind": "close"})
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        ask(ca, "/directory")
    set_faults(ca, everything={"kind": "hang", "seconds": 3, "times": 1})
    with pytest.raises(socket.timeout):  # TimeoutError itself since Python 3.10
        ask(ca, "/directory", timeout_seconds=0.5)
    assert ask(ca, "/directory", timeout_seconds=2)[0] == 200


def test_a_certbot_that_waits_too_long_is_ended(certbot, make_faulty_ca):
    """A run that hangs is killed after its time, and the error names the log to read."""
    ca = make_faulty_ca()
    certbot.trust(ca)
    set_faults(ca, everything={"kind": "hang", "seconds": 20})
    with pytest.raises(SandboxError, match=r"register did not end within 3 seconds.*letsencrypt\.log"):
        certbot.run("register", "-n", *EMAIL, "--agree-tos", "--server", ca.directory_url, timeout_seconds=3)


def test_a_server_that_does_not_answer_and_will_not_end_is_killed(tmp_path):
    """The start fails with one line, and the process is gone although it ignores SIGTERM."""
    need_practice_ca()
    program = (
        "import os, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "(folder / 'pid').write_text(str(os.getpid()))\n"
        "(folder / 'port').write_text('1')\n"
        "time.sleep(60)\n"
    )
    ca = PracticeCa(tmp_path / "ca", PracticeOptions(program=("-c", program)))
    with pytest.raises(SandboxError, match="does not answer at https://127"):
        ca.start()
    assert not Path("/proc", (ca.folder / "pid").read_text(encoding="utf-8")).exists()


def test_a_slow_issuer_answers_processing_and_then_issues(certbot, make_faulty_ca):
    """Finalize answers processing with Retry-After until the certificate is there (RFC 8555 §7.4)."""
    ca = make_faulty_ca(enrollment_seconds=1, retry_after_seconds=1)
    set_faults(ca, processing={"seconds": 4})
    started = time.monotonic()
    result = order(certbot, ca)
    assert result.returncode == 0, result.output
    assert time.monotonic() - started > 4
    assert '"status": "processing"' in Path(certbot.logs_dir / "letsencrypt.log").read_text(encoding="utf-8")
    assert len(ca.issued()) == 1


def test_an_order_that_fails_once_works_the_next_time(make_certbot, make_faulty_ca):
    """A fault with ``times`` heals by itself."""
    ca = make_faulty_ca()
    certbot = make_certbot()
    set_faults(ca, newOrder={"kind": "bare-string", "times": 1})
    assert order(certbot, ca).returncode == 1
    assert order(certbot, ca).returncode == 0
