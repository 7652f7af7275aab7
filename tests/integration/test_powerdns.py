"""What the page on PowerDNS says, run as written, with a secondary that hears of changes by NOTIFY alone."""

from __future__ import annotations

import base64
import contextlib
import random
import re
import secrets
import sqlite3
import subprocess
from pathlib import Path

import dns.name
import dns.update
import pytest
from support.bind import LOOPBACK, Named, free_port
from support.daemons import foreground
from support.dns_relay import Relay, Relays
from support.needs import need, need_program

from certbot_garr_tcs.challenges.dns.client import Client, to_key
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server
from certbot_garr_tcs.challenges.dns.location import UpdateTarget
from certbot_garr_tcs.challenges.dns.resolver import ResolverConfig
from certbot_garr_tcs.challenges.dns.updates import send_update
from certbot_garr_tcs.challenges.interfaces import Challenge
from certbot_garr_tcs.challenges.published import PublishedRecords
from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver
from certbot_garr_tcs.challenges.settings import DNS_01, Rfc2136Settings, SolverSection, TsigKey
from certbot_garr_tcs.errors import ChallengeError
from certbot_garr_tcs.storage import StateFolder

pytestmark = pytest.mark.integration

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dns-01-powerdns.md"
SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
NAMES = ("example.it", "www.example.it")


def block(language: str, number: int = 0) -> str:
    """Return a block of the page."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return found[number]


class PowerDns:
    """One PowerDNS with the zone example.it, set up as the page says, and a BIND that is its secondary."""

    def __init__(self, folder: Path) -> None:
        """Write what both need."""
        net = f"127.{random.randint(20, 250)}.{random.randint(1, 250)}"  # noqa: S311 - no secret
        self.address, second = f"{net}.1", f"{net}.2"
        self.port = free_port([self.address, second])
        self.folder = folder
        self.secondary = Named(folder / "named", Relay(second, self.port, (LOOPBACK, free_port([LOOPBACK]))))
        for made in (folder, folder / "named"):
            made.mkdir()
        (folder / "acme.lua").write_text(block("lua"))
        (folder / "pdns.conf").write_text(
            block("ini").replace("/etc/powerdns", str(folder))
            + f"launch=gsqlite3\ngsqlite3-database={folder}/pdns.sqlite3\nlocal-address={self.address}\n"
            f"local-port={self.port}\nsocket-dir={folder}\ndaemon=no\nguardian=no\n"
            f"also-notify={LOOPBACK}:{self.secondary.own_port}\n"  # NS records have no ports
        )
        with contextlib.closing(sqlite3.connect(folder / "pdns.sqlite3")) as database:
            database.executescript(SCHEMA.read_text())
        self.pdnsutil("create-zone", "example.it", "ns1.example.it")
        self.pdnsutil("add-record", "example.it", "@", "NS", "ns2.example.it")
        self.pdnsutil("add-record", "example.it", "ns1", "A", self.address)
        self.pdnsutil("add-record", "example.it", "ns2", "A", second)
        for line in block("sh").splitlines():
            program, *words = line.split()
            if program == "pdnsutil":
                self.pdnsutil(*words)
        (name, algorithm, secret), *_ = [
            line.split() for line in self.pdnsutil("list-tsig-keys").splitlines() if line.startswith("acme")
        ]
        self.key = TsigKey(name.rstrip("."), secret, algorithm.rstrip("."))

    def pdnsutil(self, *words: str) -> str:
        """Run pdnsutil on the folder."""
        command = [need_program("pdnsutil"), f"--config-dir={self.folder}", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    @contextlib.contextmanager
    def running(self):
        """Run both servers."""
        command = (need_program("pdns_server"), f"--config-dir={self.folder}")
        with Relays([self.secondary.relay]):
            with foreground(*command, port=self.port, log=self.folder / "log", address=self.address):
                try:
                    self.secondary.start(self._secondary_configuration())
                    yield
                finally:
                    self.secondary.stop()

    def solver(self, key: TsigKey, **clocks) -> Rfc2136Solver:
        """Return a solver with this key."""
        how = Rfc2136Settings(server=f"{self.address}:{self.port}", tsig=key, timeout_seconds=20)
        around = ResolverConfig((Endpoint(self.address, self.port),), port=self.port)
        section = SolverSection(DNS_01, "", how, Path("garr-tcs.ini"))
        return Rfc2136Solver([section], PublishedRecords(StateFolder(self.folder)), resolver_config=around, **clocks)

    def shown(self, name: str, rdtype: str = "TXT"):
        """Return what PowerDNS itself shows."""
        query = dns.message.make_query(name, rdtype)
        answer = dns.query.udp(query, self.address, port=self.port, timeout=5).answer
        return {rdata.to_text().strip('"') for rrset in answer for rdata in rrset}, {rrset.ttl for rrset in answer}

    def _secondary_configuration(self) -> str:
        folder, port = self.secondary.folder, self.secondary.own_port
        return (
            f'options {{ directory "{folder}"; listen-on port {port} {{ {LOOPBACK}; }}; listen-on-v6 {{ none; }};'
            f' pid-file none; recursion no; session-keyfile "{folder}/session.key"; }};\ncontrols {{ }};\n'
            f'zone "example.it" {{ type secondary; file "copy"; allow-notify {{ any; }};'
            f" primaries {{ {self.address} port {self.port}; }}; }};\n"
        )


@pytest.fixture(scope="module")
def powerdns(tmp_path_factory):
    """Run PowerDNS as the page says."""
    for program in ("pdns_server", "pdnsutil", "named"):
        need_program(program)
    need(SCHEMA.exists(), str(SCHEMA))
    made = PowerDns(tmp_path_factory.mktemp("powerdns") / "pdns")
    with made.running():
        yield made


def challenges() -> list[Challenge]:
    return [Challenge(name, DNS_01, f"value for {name}") for name in NAMES]


def test_the_page_works_as_written(powerdns):
    """Both name servers show what was added within seconds; nobody else's record or its TTL is changed."""
    powerdns.pdnsutil("add-record", "example.it", "_acme-challenge.www", "TXT", "3600", '"theirs"')
    solver = powerdns.solver(powerdns.key)
    solver.present(challenges())
    solver.wait(challenges())
    assert powerdns.secondary.txt("_acme-challenge.example.it") == {"value for example.it"}
    assert powerdns.shown("_acme-challenge.www.example.it") == ({"value for www.example.it", "theirs"}, {3600})
    solver.clean_up(challenges())
    assert powerdns.shown("_acme-challenge.example.it")[0] == set()
    assert powerdns.shown("_acme-challenge.www.example.it") == ({"theirs"}, {3600})


def test_what_the_script_forbids_is_known_after_seconds(powerdns):
    """The answer says "no error", and nothing was added: that is said, and not after all patience is over."""
    now = [0.0]
    powerdns.pdnsutil("generate-tsig-key", "other", "hmac-sha256")
    secret = next(line.split() for line in powerdns.pdnsutil("list-tsig-keys").splitlines() if line.startswith("other"))
    solver = powerdns.solver(
        TsigKey("other", secret[2]), clock=lambda: now[0], sleep=lambda pause: now.append(now.pop() + pause)
    )
    solver.present(challenges())
    with pytest.raises(ChallengeError) as caught:
        solver.wait(challenges())
    assert "accepted the UPDATE of example.it. and, after 10 s, does not show _acme-challenge." in str(caught.value)
    assert "Not permitted by policy" in str(caught.value)
    assert "Not permitted by policy" in (powerdns.folder / "log").read_text()
    solver.clean_up(challenges())


@pytest.mark.parametrize(
    ("name", "rdtype", "data", "signed"),
    [
        ("_acme-challenge.www.example.it", "A", "192.0.2.1", True),
        ("www.example.it", "TXT", "proof", True),
        ("_acme-challenge.www.example.it", "TXT", "proof", False),
    ],
)
def test_the_script_grants_nothing_else(powerdns, name, rdtype, data, signed):
    """Another type, another name, no key: the answer is the same, and nothing is changed."""
    message = dns.update.UpdateMessage("example.it")
    message.add(dns.name.from_text(name), 60, rdtype, data)
    key = to_key(powerdns.key) if signed else None
    zone, endpoint = dns.name.from_text("example.it"), Endpoint(powerdns.address, powerdns.port)
    send_update(Client(), UpdateTarget(zone, (endpoint,), Server(powerdns.address), key=key), message)
    assert data not in powerdns.shown(name, rdtype)[0]


@pytest.mark.parametrize("name", ["acme", "unknown"])
def test_a_key_that_is_wrong_is_refused(powerdns, name):
    """A wrong secret and an unknown key get the same answer."""
    wrong = TsigKey(name, base64.b64encode(secrets.token_bytes(32)).decode())
    with pytest.raises(ChallengeError, match="REFUSED"):
        powerdns.solver(wrong).present(challenges())
    assert powerdns.shown("_acme-challenge.example.it")[0] == set()
