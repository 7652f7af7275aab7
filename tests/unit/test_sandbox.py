"""The parts of the sandbox that need no server."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import ssl
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from configobj import ConfigObj
from support.practice_ca import PracticeCa

from certbot_garr_tcs import command
from certbot_garr_tcs.errors import SandboxError
from certbot_garr_tcs.sandbox.ca import new_key
from certbot_garr_tcs.sandbox.certbot import Certbot, find_certbot
from certbot_garr_tcs.sandbox.certificates import issuer_name, make_issuing, make_root, make_server
from certbot_garr_tcs.sandbox.demo import CertificateHistory, Demo
from certbot_garr_tcs.sandbox.server import bind_once, read_jws_part, record, refuse
from certbot_garr_tcs.sandbox.settings import PracticeOptions, account_section, is_below, server_configuration

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def encode(document: object) -> str:
    """Return JSON as base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def jws(payload: object, protected: object = None) -> bytes:
    """Return a body as ACME clients send it; the signature is nobody's."""
    return json.dumps({"protected": encode(protected or {}), "payload": encode(payload), "signature": ""}).encode()


def call(application, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Call a WSGI application once."""
    seen: list[int] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "wsgi.input": io.BytesIO(body),
    }
    answer = b"".join(application(environ, lambda status, _headers: seen.append(int(status[:3]))))
    return seen[-1], answer


@pytest.fixture
def certbot(tmp_path) -> Certbot:
    """Bind a certbot that is never run."""
    return Certbot(Path("/opt/certbot"), tmp_path / "a folder", tmp_path / "trust.pem")


@pytest.mark.parametrize(
    ("body", "part", "expected"),
    [
        (jws({"status": "deactivated"}), "payload", {"status": "deactivated"}),
        (jws({}, {"kid": "one"}), "protected", {"kid": "one"}),
        (b'{"protected": "e30", "payload": "", "signature": ""}', "payload", {}),
        (jws(["no", "object"]), "payload", {}),
        (b"", "payload", {}),
        (b"[]", "payload", {}),
        (b"\xff\xfe", "payload", {}),
        (b'{"payload": 7}', "payload", {}),
        (b'{"payload": "!"}', "payload", {}),
    ],
)
def test_a_part_of_a_jws_is_read_and_anything_else_is_nothing(body, part, expected):
    """Requests that are no JWS are recorded as empty, and never end the server."""
    assert read_jws_part(body, part) == expected


def test_each_request_is_recorded_and_still_reaches_the_application(tmp_path):
    """The application sees the whole body; the log holds method, path, status and payload."""
    bodies = []

    def application(environ, start_response):
        bodies.append(environ["wsgi.input"].read())
        start_response("201 Created", [])
        return [b"done"]

    recorded = record(application, tmp_path / "log")
    body = jws({"status": "deactivated"})
    assert call(recorded, "POST", "/acme/authz/1", body) == (201, b"done")
    assert call(recorded, "GET", "/directory") == (201, b"done")
    assert bodies == [body, b""]
    lines = [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]
    assert lines == [
        {"method": "POST", "path": "/acme/authz/1", "status": 201, "payload": {"status": "deactivated"}},
        {"method": "GET", "path": "/directory", "status": 201, "payload": {}},
    ]


def test_a_request_without_an_answer_is_recorded_as_such(tmp_path):
    """An application that breaks off leaves a line with status 0."""

    def application(_environ, _start_response):
        raise ConnectionResetError

    recorded = record(application, tmp_path / "log")
    with pytest.raises(ConnectionResetError):
        call(recorded, "GET", "/directory")
    assert json.loads((tmp_path / "log").read_text(encoding="utf-8"))["status"] == 0


def test_a_binding_is_spent_by_the_account_that_it_made_and_by_nothing_else(tmp_path):
    """A refused registration does not spend the key ID, and no other request is looked at."""
    answers = iter(["401 Unauthorized", "201 Created", "200 OK", "201 Created"])

    def application(_environ, start_response):
        start_response(next(answers), [])
        return [b""]

    def register(key_id: str) -> tuple[int, bytes]:
        binding = json.loads(jws({}, {"kid": key_id}))
        return call(bound, "POST", "/acme/newaccount", jws({"externalAccountBinding": binding}))

    bound = bind_once(application, tmp_path / "used.json")
    assert register("one")[0] == 401
    assert register("one")[0] == 201
    status, problem = register("one")
    assert status == 400
    assert json.loads(problem)["type"] == "urn:ietf:params:acme:error:malformed"
    assert call(bound, "POST", "/acme/neworders", jws({}))[0] == 200
    assert register("two")[0] == 201


@pytest.mark.parametrize(
    ("options", "section", "key", "value"),
    [
        (PracticeOptions(), "Order", "allowed_domainlist", '["practice.example", "*.practice.example"]'),
        (PracticeOptions(domains=("a.example",)), "Authorization", "prevalidated_domainlist", '["a.example"]'),
        (
            PracticeOptions(challenge_domains=("c.example",)),
            "Order",
            "allowed_domainlist",
            '["practice.example", "*.practice.example", "c.example", "*.c.example"]',
        ),
        (PracticeOptions(), "Practice", "age_days", "0"),
        (PracticeOptions(always_due=True), "Practice", "age_days", "80"),
        (PracticeOptions(refused=("no.example",)), "Practice", "refused", '["no.example"]'),
        (PracticeOptions(), "Renewalinfo", "renewalinfo_disable", "False"),
        (PracticeOptions(always_due=True), "Renewalinfo", "renewalinfo_disable", "True"),
        (PracticeOptions(issuing_seconds=9), "Practice", "issuing_seconds", "9"),
        (PracticeOptions(issuing_seconds=9), "Certificate", "enrollment_timeout", "1"),
    ],
)
def test_the_options_reach_the_servers_configuration(options, section, key, value):
    """Each option is where acme2certifier looks for it."""
    assert server_configuration(Path("/ca"), options)[section][key] == value


def test_a_name_cannot_be_validated_beforehand_and_need_a_challenge():
    """The domain's own wildcard covers it: the order would never have a challenge."""
    with pytest.raises(SandboxError, match=r"www\.practice\.example needs no challenge"):
        PracticeOptions(challenge_domains=("www.practice.example",))


@pytest.mark.parametrize(
    ("name", "domain", "expected"),
    [
        ("x.example", "x.example", True),
        ("*.x.example", "x.example", True),
        ("www.X.example.", "*.x.example", True),
        ("notx.example", "x.example", False),
        ("example", "x.example", False),
    ],
)
def test_below_is_counted_in_labels(name, domain, expected):
    """A domain covers itself, its wildcard and everything below, and no name that only ends like it."""
    assert is_below(name, domain) is expected


def test_an_order_with_a_refused_name_never_reaches_the_ca():
    """The answer is rejectedIdentifier (RFC 8555 §6.7), names what is refused, and other orders and requests go on."""

    def application(_environ, start_response):
        start_response("201 Created", [])
        return [b"done"]

    def order(*names, path="/acme/neworders"):
        identifiers = [{"type": "dns", "value": name} for name in names]
        return call(refused, "POST", path, jws({"identifiers": identifiers}))

    refused = refuse(application, ["no.example"])
    status, problem = order("www.practice.example", "www.no.example")
    assert status == 403
    assert json.loads(problem)["type"] == "urn:ietf:params:acme:error:rejectedIdentifier"
    assert json.loads(problem)["detail"].endswith(" www.no.example")
    assert order("www.practice.example")[0] == 201
    assert order("no.example", path="/acme/newaccount")[0] == 201


def test_the_account_section_is_what_garr_tcs_ini_asks_for():
    """The portal's three strings, the e-mail and the terms, in one section."""
    text = account_section("https://127.0.0.1:1/directory", "kid", "hmac", "ced@example.it")
    assert ConfigObj(text.splitlines(), interpolation=False, list_values=False)["account"] == {
        "directory-url": "https://127.0.0.1:1/directory",
        "eab-kid": "kid",
        "eab-hmac-key": "hmac",
        "email": "ced@example.it",
        "agree-tos": "yes",
    }


def test_a_ca_without_eab_gets_a_section_without_it():
    """No key ID, no half of a pair."""
    assert "eab" not in account_section("https://127.0.0.1:1/dir", "", "")


def test_keys_are_256_bits_and_never_look_like_an_option():
    """Certbot's --eab-hmac-key takes a value that begins with a dash for an option."""
    keys = [new_key() for _ in range(200)]
    assert len(set(keys)) == 200
    assert {key[0] for _, key in keys} == {"k"}
    assert {len(base64.urlsafe_b64decode(key + "=")) for _, key in keys} == {32}


def test_the_servers_certificate_passes_strict_verification(tmp_path):
    """A client that verifies as strictly as Python 3.13 does accepts it for the loopback address."""
    root = make_root("Practice", datetime.now(timezone.utc))
    server = make_server(root, datetime.now(timezone.utc))
    for name, content in (("root", root.certificate_pem), ("tls", server.certificate_pem + server.key_pem)):
        (tmp_path / name).write_bytes(content)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(tmp_path / "tls")
    theirs = ssl.create_default_context(cafile=str(tmp_path / "root"))
    theirs.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = theirs.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    peer = ours.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, peer) * 4:
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert client.getpeercert()["subject"] == ((("commonName", "localhost"),),)


def test_the_issuing_ca_stands_below_the_root():
    """What is issued has a chain of two, as with a public CA."""
    root = make_root("Practice", NOW)
    issuing = make_issuing("Practice", root, NOW)
    issuing.certificate.verify_directly_issued_by(root.certificate)
    assert issuer_name(issuing.certificate) == "Practice Root"


def test_a_missing_acme2certifier_is_never_put_beside_somebodys_certbot(tmp_path, monkeypatch):
    """The message advises a virtual environment, never pip in this Python; and no folder is made."""
    monkeypatch.setitem(sys.modules, "acme2certifier", None)
    with pytest.raises(SandboxError, match=r"python3 -m venv ~/practice-ca && ~/practice-ca/bin/pip install") as caught:
        PracticeCa(tmp_path / "ca")
    assert not (tmp_path / "ca").exists()
    said = str(caught.value)
    assert said.count("pip install") == said.count("~/practice-ca/bin/pip install")
    assert "break-system-packages" not in said
    assert sys.executable not in said


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path):
    """What the program said last is in the message, and nothing is left running."""
    pytest.importorskip("acme2certifier")
    ca = PracticeCa(tmp_path / "ca")
    ca.program = ("-c", "raise SystemExit('no luck')")
    with pytest.raises(SandboxError, match="no luck"):
        ca.start()
    assert not ca.running


def test_a_practice_ca_never_shows_its_keys(tmp_path):
    """Neither repr nor str holds the HMAC key."""
    pytest.importorskip("acme2certifier")
    ca = PracticeCa(tmp_path / "ca")
    assert ca.eab_hmac_key
    assert ca.eab_hmac_key not in f"{ca!r} {ca}"


def test_certbot_is_kept_in_its_folder_and_on_loopback(certbot, monkeypatch):
    """The folders are given to every command; what the environment says to Certbot and of proxies is not."""
    monkeypatch.setenv("CERTBOT_SERVER", "https://elsewhere.example/")
    monkeypatch.setenv("HTTPS_PROXY", "http://elsewhere.example/")
    monkeypatch.setenv("https_proxy", "http://elsewhere.example/")
    environment = certbot.environment()
    assert certbot.command("renew") == ("/opt/certbot", "-c", "certbot.ini", "renew")
    assert not {"CERTBOT_SERVER", "HTTPS_PROXY", "https_proxy"} & set(environment)
    assert environment["REQUESTS_CA_BUNDLE"] == str(certbot.ca_bundle)


def test_a_certbot_that_waits_too_long_is_ended(certbot, tmp_path):
    """A run that hangs is killed after its time, and the error names the log to read."""
    script = tmp_path / "certbot"
    script.write_text("#!/bin/sh\nexec sleep 20\n", encoding="utf-8")
    script.chmod(0o755)
    certbot.prepare()
    slow = dataclasses.replace(certbot, executable=script, timeout_seconds=0.2)
    with pytest.raises(SandboxError, match=r"register did not end within 0\.2 seconds.*letsencrypt\.log"):
        slow.run("register")


def test_a_shown_command_is_short_and_can_be_pasted(certbot):
    """Stars are quoted, and the folders are in certbot.ini."""
    certbot.prepare()
    shown = certbot.shown("certonly", "-d", "*.practice.example")
    assert shown == "certbot -c certbot.ini certonly -d '*.practice.example'"
    assert f"config-dir = {certbot.config_dir}\n" in (certbot.cwd / "certbot.ini").read_text(encoding="utf-8")


def test_a_secret_is_found_wherever_it_is(certbot):
    """Every file of config, work and logs is read, and links are left out."""
    deep = certbot.config_dir / "deep" / "er"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"\xff before SECRET after")
    certbot.logs_dir.mkdir()
    (certbot.logs_dir / "other").write_text("nothing", encoding="utf-8")
    (certbot.logs_dir / "link").symlink_to(deep / "file")
    assert certbot.files_with("SECRET") == [deep / "file"]


def test_certbot_is_looked_for_beside_python_and_then_on_path(tmp_path, monkeypatch):
    """The one beside this Python wins; without any the message says how to install it, from the distribution."""
    beside, path = tmp_path / "venv", tmp_path / "path"
    for folder in (beside, path):
        folder.mkdir()
        (folder / "certbot").write_text("#!/bin/sh\n", encoding="utf-8")
        (folder / "certbot").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    monkeypatch.setenv("PATH", str(path))
    assert find_certbot() == beside / "certbot"
    (beside / "certbot").unlink()
    assert find_certbot() == path / "certbot"
    (path / "certbot").unlink()
    with pytest.raises(SandboxError, match="apt install certbot"):
        find_certbot()


def test_a_history_is_one_line():
    """Serial, names, issuer and events stand side by side."""
    root = make_root("Practice", NOW)
    certificate = make_server(root, NOW).certificate
    line = CertificateHistory(certificate, ["issued", "revoked"]).line()
    assert line.split() == [
        f"{certificate.serial_number:032x}"[:8],
        "127.0.0.1,",
        "::1,",
        "localhost",
        "Practice",
        "Root",
        "issued,",
        "revoked",
    ]


def test_the_demo_stops_where_something_is_not_so(certbot):
    """A step that does not do what it should is an error that says which, and is not printed as seen."""
    said: list[str] = []
    demo = Demo(None, None, certbot, None, said.append)  # type: ignore[arg-type]
    demo._expect(seen=True, what="this is so")
    with pytest.raises(SandboxError, match="this is not so: it is revoked"):
        demo._expect(seen=False, what="it is revoked")
    assert said == ["   ok: this is so"]


def test_a_folder_in_use_is_refused_in_one_line(tmp_path, capsys):
    """Exit status 1, the folder, and what to do."""
    (tmp_path / "file").touch()
    assert command.main(["sandbox", "--folder", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.err == f"certbot-garr-tcs: {tmp_path} is not empty. Remove it, or name another one with --folder\n"
    assert not said.out


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path, capsys):
    """A file in the way is named."""
    (tmp_path / "file").touch()
    assert command.main(["sandbox", "--tour", "--folder", str(tmp_path / "file")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sandbox", "--journey"],
        ["sandpit"],
        ["sandbox", "--refuse", "https://www.example.it/"],
        ["sandbox", "--challenge", "192.0.2.1"],
        ["sandbox", "--http-port", "0"],
        ["sandbox", "--dns-server", "ns.example.it:dns"],
        ["sandbox", "--slow", "soon"],
    ],
)
def test_a_wrong_call_ends_with_2(arguments, capsys):
    """Argparse's own exit status, with the usage."""
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert "usage: certbot-garr-tcs" in capsys.readouterr().err
