"""Delegates for real: Certbot's own plugins publish proofs that clients on loopback can fetch."""

from __future__ import annotations

import copy
import functools
import http.server
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import dns.message
import dns.name
import dns.query
import dns.rdatatype
import pytest
from certbot._internal.display import obj as display_obj
from support.challenges import certbot_config, challenge, token
from support.needs import need, need_program

from certbot_garr_tcs.challenges.delegated import DelegatedSolver, installed
from certbot_garr_tcs.challenges.session import SolverFactory
from certbot_garr_tcs.challenges.settings import DNS_01, HTTP_01, DelegateSettings, SolverSection
from certbot_garr_tcs.errors import ChallengeError, ConfigError
from certbot_garr_tcs.storage import StateFolder

pytestmark = pytest.mark.integration

INI = Path("/etc/letsencrypt/garr-tcs.ini")


def section(via, kind, suffix, **options):
    """Make a section with ``via`` and options, underscores for dashes."""
    given = tuple((key.replace("_", "-"), str(value)) for key, value in options.items())
    return SolverSection(kind, suffix, DelegateSettings(via, given), INI)


def session(config, sections):
    """Return a session over these sections, with the solvers that a run would have."""
    return SolverFactory(sections, StateFolder(Path(config.work_dir)), config).session()


@pytest.fixture
def config(tmp_path):
    """Certbot's configuration and its display for runs without a keyboard."""
    display_obj.set_display(display_obj.NoninteractiveDisplay(sys.stdout))
    return certbot_config(tmp_path)


@pytest.fixture
def port():
    """Find a port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(port, proof):
    """Fetch a proof as the CA would; return None where it is not there."""
    url = f"http://127.0.0.1:{port}/.well-known/acme-challenge/{token(proof)}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except (urllib.error.URLError, ConnectionError):
        return None


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files without a log."""

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture
def web(tmp_path):
    """Serve a folder over HTTP on loopback; return folder and port."""
    root = tmp_path / "www"
    root.mkdir()
    handler = functools.partial(QuietHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield root, server.server_address[1]
        server.shutdown()
        thread.join()


NAMED_CONF = """
options {{ directory "{folder}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file "{folder}/named.pid"; session-keyfile "{folder}/session.key"; recursion no; dnssec-validation no; }};
controls {{ }};
key "acme." {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "example.net" {{ type primary; file "{folder}/zone";
  update-policy {{ grant acme. subdomain example.net. TXT; }}; }};
"""

ZONE = """$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
"""


@pytest.fixture
def bind(tmp_path, port):
    """Run a BIND that has example.net and one TSIG key; return port and the credentials file."""
    named = need_program("named")
    need("dns-rfc2136" in installed(), "certbot-dns-rfc2136")
    folder = tmp_path / "bind"
    folder.mkdir()
    secret = secrets.token_hex(22)
    (folder / "zone").write_text(ZONE)
    (folder / "named.conf").write_text(NAMED_CONF.format(folder=folder, port=port, secret=secret))
    credentials = folder / "credentials.ini"
    credentials.touch(mode=0o600)
    credentials.write_text(
        f"dns_rfc2136_server = 127.0.0.1\ndns_rfc2136_port = {port}\ndns_rfc2136_name = acme.\n"
        f"dns_rfc2136_secret = {secret}\ndns_rfc2136_algorithm = HMAC-SHA256\n"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([named, "-g", "-c", folder / "named.conf"], stdout=log, stderr=log)
    try:
        for _ in range(100):
            if "running" in (folder / "log").read_text() or process.poll() is not None:
                break
            time.sleep(0.05)
        assert process.poll() is None, (folder / "log").read_text()
        yield port, credentials
    finally:
        process.terminate()
        process.wait(10)


def txt(port, name):
    """Ask for the TXT values of ``name``."""
    query = dns.message.make_query(dns.name.from_text(name), dns.rdatatype.TXT)
    answer = dns.query.udp(query, "127.0.0.1", port=port, timeout=5)
    return {value.decode() for rrset in answer.answer for record in rrset for value in record.strings}


def test_webroot_is_served_and_gone(config, web):
    """A web server that serves the folder serves the proof, until it is removed with its folders."""
    root, port = web
    running = session(config, [section("webroot", HTTP_01, "", webroot_path=root)])
    asked = [challenge("a.example.it"), challenge("b.example.it")]
    running.solve(asked)
    assert [fetch(port, proof) for proof in asked] == [proof.validation for proof in asked]
    assert running.clean_up() == ()
    assert list(root.iterdir()) == []


def test_standalone_is_served_and_gone(config, port):
    """Certbot's standalone serves the proofs of two sections on one port, and then leaves the port."""
    options = {"http_01_port": port, "http_01_address": "127.0.0.1"}
    sections = [section("standalone", HTTP_01, suffix, **options) for suffix in ("example.it", "example.com")]
    running = session(config, sections)
    asked = [challenge("example.it"), challenge("example.com"), challenge("www.example.com")]
    running.solve(asked)
    assert [fetch(port, proof) for proof in asked] == [proof.validation for proof in asked]
    assert running.clean_up() == ()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken(config):
    """Where another program has the port, the error names section and port and the way out."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        built = section("standalone", HTTP_01, "example.it", http_01_port=port, http_01_address="127.0.0.1")
        running = session(config, [built])
        with pytest.raises(ChallengeError) as caught:
            running.solve([challenge("example.it")])
    assert "[http-01 example.it] via standalone could not publish the proof for example.it" in caught.value.message
    assert f"Could not bind TCP port {port} because it is already in use" in caught.value.message
    assert caught.value.hint == "Free the port, or let the program that holds it serve the proof: via = webroot."
    assert running.clean_up() == ()


def test_three_plugins_in_one_order(config, web, bind):
    """One name by DNS, one by a web root, one by a server of its own: what Certbot alone cannot do."""
    root, web_port = web
    dns_port, credentials = bind
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sections = [
        section(
            "dns-rfc2136",
            DNS_01,
            "example.net",
            dns_rfc2136_credentials=credentials,
            dns_rfc2136_propagation_seconds=0,
        ),
        section("webroot", HTTP_01, "example.it", webroot_path=root),
        section("standalone", HTTP_01, "", http_01_port=port, http_01_address="127.0.0.1"),
    ]
    running = session(config, sections)
    stored = copy.deepcopy(vars(config.namespace))
    apex, wildcard = challenge("example.net", DNS_01), challenge("example.net", DNS_01)
    by_root, by_server = challenge("www.example.it"), challenge("example.com")
    running.solve([apex, by_root, wildcard, by_server])
    assert txt(dns_port, "_acme-challenge.example.net") == {apex.validation, wildcard.validation}
    assert fetch(web_port, by_root) == by_root.validation
    assert fetch(port, by_server) == by_server.validation
    assert running.clean_up() == ()
    assert txt(dns_port, "_acme-challenge.example.net") == set()
    assert fetch(web_port, by_root) is None
    assert fetch(port, by_server) is None
    assert vars(config.namespace) == stored, "nothing of the delegates may be stored with the lineage"


def test_one_plugin_that_fails_takes_the_others_proofs_back(config, web, bind):
    """When the name server refuses, the proof in the web root goes too."""
    root, _ = web
    dns_port, credentials = bind
    sections = [
        section("webroot", HTTP_01, "example.it", webroot_path=root),
        section(
            "dns-rfc2136",
            DNS_01,
            "example.org",
            dns_rfc2136_credentials=credentials,
            dns_rfc2136_propagation_seconds=0,
        ),
    ]
    running = session(config, sections)
    with pytest.raises(ChallengeError, match=r"\[dns-01 example\.org\] via dns-rfc2136 could not publish"):
        running.solve([challenge("www.example.it"), challenge("example.org", DNS_01)])
    assert list(root.iterdir()) == []
    assert txt(dns_port, "_acme-challenge.example.org") == set()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"dns_rfc2136_credential": "x"}, r'no option of dns-rfc2136; did you mean "dns-rfc2136-credentials"'),
        ({"credentials": "x"}, "credentials is written in full as dns-rfc2136-credentials"),
        ({"dns_rfc2136_propagation_seconds": "soon"}, "dns-rfc2136-propagation-seconds is not a whole number"),
    ],
)
def test_options_of_a_real_dns_plugin(config, options, problem):
    """What certbot-dns-rfc2136 declares is what a section may say."""
    need("dns-rfc2136" in installed(), "certbot-dns-rfc2136")
    with pytest.raises(ConfigError, match=problem):
        DelegatedSolver(section("dns-rfc2136", DNS_01, "example.it", **options), config)


def test_credentials_that_nobody_wrote_down(config):
    """A DNS plugin that would ask for its credentials says, without a keyboard, what the section lacks."""
    need("dns-rfc2136" in installed(), "certbot-dns-rfc2136")
    running = session(config, [section("dns-rfc2136", DNS_01, "example.it")])
    with pytest.raises(ChallengeError, match=r"RFC 2136 credentials INI file.*Write what is missing into \[dns-01"):
        running.solve([challenge("example.it", DNS_01)])
