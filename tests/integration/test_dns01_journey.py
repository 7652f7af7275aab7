"""One certificate over two zones with two keys, proved by real Certbot to a Pebble that validates."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest
from cryptography import x509
from support.bind import BindLab, Zone, make_key
from support.matrix import MATRIX
from support.needs import need, need_built, need_program

from certbot_garr_tcs.challenges.delegated import installed
from certbot_garr_tcs.sandbox.settings import free_port

pytestmark = pytest.mark.integration

IT, NET = make_key("key-it"), make_key("key-net")
OTHER = make_key("key-it")

SECTIONS = f"""
[dns-01 example.it]
tsig-name = {IT.name}
tsig-secret = {IT.secret}

[dns-01 acme.example.net]
tsig-name = {NET.name}
tsig-secret = {NET.secret}
"""

NAMES = ["example.it", "*.example.it", "moved.example.it", "acme.example.net"]
NAMES += [f"host{number}.{zone}" for number in range(10) for zone in ("example.it", "acme.example.net")]


@pytest.fixture
def lab(tmp_path):
    """Run a primary and a secondary that is a second late, for two zones with a key each."""
    need_program("named")
    zones = [
        Zone(
            "example.it",
            f"grant {IT.name} wildcard *.example.it. TXT;",
            records="_acme-challenge.moved CNAME moved.acme.example.net.",
        ),
        Zone("acme.example.net", f"grant {NET.name} subdomain acme.example.net. TXT;"),
        Zone("example.org", f"grant {IT.name} wildcard *.example.org. TXT;", records="* CNAME host1.acme.example.net."),
    ]
    with BindLab(tmp_path / "bind", zones, [IT, NET], secondaries=1, lag_seconds=1.0, resolves=True) as running:
        yield running


@pytest.fixture(
    params=[None, *(entry for entry in MATRIX if entry.certbot == "2.1.0" and entry.python == "3.11")],
    ids=lambda entry: entry.name if entry else "here",
)
def certbot(request, make_certbot):
    """Bind this environment's certbot, then Debian 12's."""
    entry = request.param
    if entry is not None:
        need_built(entry)
    return make_certbot(entry.executable if entry else None)


def test_two_zones_two_keys_and_a_cname_in_one_certificate(certbot, make_pebble, lab, tmp_path):
    """Server, zone and key are found by SOA; the late secondary is what the CA asks; no TXT record is left."""
    secondary = lab.secondaries[0]
    pebble = make_pebble(dns_server=f"{secondary.address}:{lab.port}")
    certbot.use(pebble, SECTIONS)
    options = [part for name in NAMES for part in ("-d", name)]
    certbot.run("certonly", "-n", "-a", "garr-tcs", *options, env=lab.surroundings(tmp_path / "around"))

    extension = certbot.certificate("example.it").extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert sorted(extension.value.get_values_for_type(x509.DNSName)) == sorted(NAMES)
    assert lab.primary.relay.counted["UPDATE"] == 4, "one UPDATE to add and one to delete, for each zone"
    for zone in lab.zones:
        assert lab.primary.all_txt(zone.name) == {}
    assert dig(lab, "_acme-challenge.host3.example.it") == ""
    for key in (IT, NET):
        assert certbot.files_with(key.secret) == [certbot.ini]


LEFT = "TXT records that an earlier run left at _acme-challenge.killed.example.it. are not deleted"


def test_what_a_killed_run_left_is_deleted_by_a_timer_s_run_with_nothing_due(certbot, make_pebble, lab):
    """A run that cannot delete it fails for that no more than it renews; the first one that can deletes it."""
    pebble = make_pebble(dns_server=f"{lab.primary.address}:{lab.port}", environment={"PEBBLE_AUTHZREUSE": "0"})
    section = f"\n[dns-01]\nserver = {lab.server}\ntsig-name = {IT.name}\ntsig-secret = {{}}\npropagation = {{}}\n"
    certbot.use(pebble, section.format(IT.secret, f"resolvers {lab.server}"))
    good = certbot.ini.read_text()
    for name in ("one.example.it", "two.example.it"):
        certbot.run("certonly", "-n", "-a", "garr-tcs", "-i", "garr-tcs", "-d", name)

    certbot.write_ini(good.replace(f"resolvers {lab.server}", "seconds 600"))
    with certbot.start("certonly", "-n", "-a", "garr-tcs", "-d", "killed.example.it") as process:
        wait_until(lambda: lab.primary.txt("_acme-challenge.killed.example.it"))
        process.kill()
        process.communicate()

    certbot.write_ini(good.replace(IT.secret, OTHER.secret))
    result = certbot.run("renew", "-q")
    assert result.output == ""
    assert certbot.log_tail(1000).count(LEFT) == 1, "once in a run, however many lineages"
    certbot.run("renew", "-q", "--force-renewal", check=False)
    assert certbot.log_tail(1000).count(LEFT) == 1
    assert lab.primary.txt("_acme-challenge.killed.example.it") != set()

    certbot.write_ini(good)
    assert certbot.run("renew", "-q").output == ""
    assert lab.primary.all_txt("example.it") == {}
    assert list(certbot.work_dir.glob("garr-tcs/presented-*")) == []


def wait_until(true, seconds=30):
    """Return when it is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


OURS = f"""
[dns-01]
tsig-name = {IT.name}
tsig-secret = {IT.secret}
"""
THEIRS = """
[dns-01]
via = dns-rfc2136
dns-rfc2136-credentials = {credentials}
dns-rfc2136-propagation-seconds = 2
"""


@pytest.mark.parametrize("sections", [OURS, THEIRS], ids=["ours", "dns-rfc2136"])
def test_a_wildcard_cname_is_in_nobodys_way(make_certbot, make_pebble, lab, tmp_path, sections):
    """Below ``* CNAME …`` we issue with nothing but a key, as certbot-dns-rfc2136 does, which follows no CNAME."""
    need("dns-rfc2136" in installed(), "certbot-dns-rfc2136")
    credentials = tmp_path / "rfc2136.ini"
    credentials.touch(mode=0o600)
    credentials.write_text(
        f"dns_rfc2136_server = {lab.primary.address}\ndns_rfc2136_port = {lab.port}\ndns_rfc2136_name = {IT.name}.\n"
        f"dns_rfc2136_secret = {IT.secret}\ndns_rfc2136_algorithm = HMAC-SHA256\n",
        encoding="utf-8",
    )
    certbot = make_certbot(None)
    certbot.use(
        make_pebble(dns_server=f"{lab.secondaries[0].address}:{lab.port}"), sections.format(credentials=credentials)
    )
    names = ("-d", "www.example.org", "-d", "example.org", "-d", "*.example.org")
    certbot.run("certonly", "-n", "-a", "garr-tcs", *names, env=lab.surroundings(tmp_path / "around"))
    assert lab.primary.all_txt("example.org") == lab.primary.all_txt("acme.example.net") == {}


def test_a_server_that_cannot_be_reached_is_one_line(make_certbot, make_pebble, lab, tmp_path):
    """Nothing listens where the section says: Certbot ends with one line about it, and says where it looked."""
    certbot = make_certbot(None)
    port = free_port()
    sections = f"{OURS}server = 127.0.0.1:{port}\nzone = example.org\n"
    certbot.use(make_pebble(dns_server=f"{lab.primary.address}:{lab.port}"), sections)
    order = ("certonly", "-n", "-a", "garr-tcs", "-d", "www.example.org")
    result = certbot.run(*order, env=lab.surroundings(tmp_path / "around"), check=False)
    assert result.returncode == 1
    (line,) = [line for line in result.output.splitlines() if f"port {port}" in line]
    assert line.startswith(
        f"UPDATE of example.org. at 127.0.0.1 port {port}: connection refused. Is the server running"
    )
    assert "withdrawn" not in result.output


def dig(lab, name):
    """Ask with dig, as a user would."""
    program = shutil.which("dig")
    if program is None:
        return ""
    command = [program, f"@{lab.primary.address}", "-p", str(lab.port), "+short", "TXT", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
