"""One certificate, four ways of proving its names: issued, refused and renewed by real Certbots."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import contextmanager
from urllib.request import urlopen

import pytest
from cryptography import x509
from support.bind import BindLab, Zone, make_key
from support.matrix import MATRIX
from support.needs import need, need_built, need_program

from certbot_garr_tcs.challenges.delegated import installed

pytestmark = pytest.mark.integration

OURS, THEIRS = make_key("ours"), make_key("theirs")
NAMES = ("example.it", "*.example.it", "example.net", "www.example.net", "one.example.net", "two.example.net")

INI = """
[dns-01 example.it]
server = {server}
tsig-name = {ours.name}
tsig-secret = {ours.secret}
propagation = resolvers {server}

[dns-01 example.net]
via = dns-rfc2136
dns-rfc2136-credentials = {credentials}
dns-rfc2136-propagation-seconds = 1

[http-01 www.example.net]
via = webroot
webroot-path = {root}

[http-01 one.example.net]
via = standalone
http-01-address = 127.0.0.2
http-01-port = {port}

[http-01 two.example.net]
via = standalone
http-01-address = 127.0.0.2
http-01-port = {port}
"""

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def nginx(folder, root, port):
    """Serve ``root`` with nginx."""
    program = need_program("nginx")
    folder.mkdir()
    (root / "index.html").write_text("up")
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, root=root, port=port))
    process = subprocess.Popen([program, "-e", folder / "error.log", "-c", folder / "nginx.conf"])
    try:
        deadline = time.monotonic() + 15
        while True:
            assert process.poll() is None, (folder / "error.log").read_text()
            try:
                with urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                    break
            except OSError:
                assert time.monotonic() < deadline, "nginx does not answer"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


class World:
    """Hold what one certificate with four ways needs: BIND, Pebble, nginx, and the file."""

    def __init__(self, lab, pebble, folder):
        """Name the places."""
        self.lab = lab
        self.pebble = pebble
        self.root = folder / "www"
        self.credentials = folder / "rfc2136.ini"

    def ini(self):
        """Write the sections."""
        return INI.format(
            server=self.lab.server, ours=OURS, credentials=self.credentials, root=self.root, port=self.pebble.http_port
        )

    def left_behind(self):
        """Return every proof that is still to be seen."""
        zones = ("_acme-challenge.example.it", "_acme-challenge.example.net")
        records = {value for name in zones for value in self.lab.primary.txt(name)}
        return records | {path.name for path in self.root.rglob("*") if path.name != "index.html"}


@pytest.fixture
def world(tmp_path, make_pebble):
    """Start everything."""
    zones = [
        Zone("example.it", f"grant {OURS.name} name _acme-challenge.example.it. TXT;"),
        Zone(
            "example.net",
            f"grant {THEIRS.name} subdomain example.net. TXT;",
            records="www A 127.0.0.1\none A 127.0.0.2\ntwo A 127.0.0.2\n",
        ),
    ]
    need_program("named")
    with BindLab(tmp_path / "bind", zones, [OURS, THEIRS]) as lab:
        made = World(lab, make_pebble(dns_server=lab.server, environment={"PEBBLE_AUTHZREUSE": "0"}), tmp_path)
        host, port = lab.server.split(":")
        made.credentials.touch(mode=0o600)
        made.credentials.write_text(
            f"dns_rfc2136_server = {host}\ndns_rfc2136_port = {port}\ndns_rfc2136_name = {THEIRS.name}\n"
            f"dns_rfc2136_secret = {THEIRS.secret}\ndns_rfc2136_algorithm = HMAC-SHA256\n"
        )
        made.root.mkdir()
        with nginx(tmp_path / "nginx", made.root, made.pebble.http_port):
            yield made


@pytest.fixture(
    params=[None, *(entry for entry in MATRIX if entry.python == "3.11")],
    ids=lambda entry: entry.name if entry else "here",
)
def any_certbot(request, make_certbot):
    """Bind this environment's certbot, then those of the matrix that are there."""
    if request.param is None:
        need("dns-rfc2136" in installed(), "certbot-dns-rfc2136")
        return make_certbot()
    need_built(request.param)
    return make_certbot(request.param.executable)


def names_of(certificate):
    """Return the names of a certificate."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(extension.value.get_values_for_type(x509.DNSName))


def test_four_ways_in_one_certificate_and_its_renewal(any_certbot, world):
    """By RFC 2136, by another plugin's RFC 2136, by nginx and by standalone; nothing stays, nothing is stored."""
    any_certbot.use(world.pebble, world.ini())
    any_certbot.certonly(*NAMES)
    first = any_certbot.certificate("example.it")
    assert names_of(first) == set(NAMES)
    assert world.left_behind() == set()
    any_certbot.run("renew", "-n", "--force-renewal")
    assert any_certbot.certificate("example.it").serial_number != first.serial_number
    assert world.left_behind() == set()
    stored = any_certbot.renewal("example.it")
    assert "webroot_map" not in stored
    foreign = ("dns_rfc2136", "webroot", "standalone", "http01")
    assert not [key for key in stored["renewalparams"] if key.startswith(foreign)]
    assert any_certbot.files_with(OURS.secret) == [any_certbot.ini]
    assert any_certbot.files_with(THEIRS.secret) == []


def test_one_way_that_fails_takes_all_proofs_back(certbot, world):
    """Where the port of standalone is taken, nothing is issued, and the others' proofs are gone."""
    certbot.use(world.pebble, world.ini().replace("127.0.0.2", "127.0.0.1"))  # nginx has it
    result = certbot.certonly(*NAMES, check=False)
    assert result.returncode == 1
    assert f"Could not bind TCP port {world.pebble.http_port} because it is already in use" in result.output
    assert "via standalone could not publish the proof for" in result.output
    assert world.left_behind() == set()


def test_a_refused_proof_is_explained(certbot, world):
    """When the CA says no to a web server's proof, the hint says where the name leads, and nothing stays."""
    elsewhere = world.root / "elsewhere"
    elsewhere.mkdir()
    certbot.use(world.pebble, world.ini().replace(f"webroot-path = {world.root}", f"webroot-path = {elsewhere}"))
    result = certbot.certonly("www.example.net", check=False)
    assert result.returncode == 1
    assert "Hint: www.example.net" in result.output
    elsewhere.rmdir()
    assert world.left_behind() == set()


def test_names_that_nothing_covers_are_named_before_anything_is_published(certbot, world):
    """One message names both uncovered names; the names that are covered are not touched."""
    certbot.use(world.pebble, world.ini())
    result = certbot.certonly("example.it", "a.example.org", "b.example.org", check=False)
    assert result.returncode == 1
    assert "the CA asks for a proof of control of a.example.org, b.example.org, and" in " ".join(result.output.split())
    assert "[dns-01 example.org]" in result.output
    assert world.lab.primary.serial("example.it") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_certbot_that_is_told_to_end_takes_its_proofs_back(certbot, world, number):
    """In the middle of another plugin's long sleep, a signal ends Certbot and leaves no proof behind."""
    sleepy = world.ini().replace("propagation-seconds = 1", "propagation-seconds = 300")
    certbot.use(world.pebble, sleepy)
    names = [part for name in ("example.it", "example.net") for part in ("-d", name)]
    with certbot.start("certonly", "-n", "-a", "garr-tcs", *names) as process:
        try:
            deadline = time.monotonic() + 60
            while not world.lab.primary.txt("_acme-challenge.example.net"):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, "nothing is published"
                time.sleep(0.1)
            assert world.lab.primary.txt("_acme-challenge.example.it"), "our own record comes first"
            process.send_signal(number)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode != 0
    assert world.left_behind() == set()
