"""The dns-01 solver against real BIND: good days and bad ones, and no TXT record left after any."""

from __future__ import annotations

import base64
import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import dns.name
import dns.rdatatype
import pytest
from support.bind import LOOPBACK, BindLab, Named, Zone, free_port, make_key, skip_or_fail
from support.dns_relay import Relay
from support.fake_dns import FakeDns, fails, lame, nothing, says, soa

from certbot_garr_tcs.challenges.dns.client import Client, send, to_key
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server
from certbot_garr_tcs.challenges.dns.location import RecordLocation, UpdateTarget
from certbot_garr_tcs.challenges.dns.resolver import ResolverConfig
from certbot_garr_tcs.challenges.dns.updates import PendingRecord, UpdateRejectedError, build_update, send_update
from certbot_garr_tcs.challenges.interfaces import Challenge
from certbot_garr_tcs.challenges.published import PublishedRecords
from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver
from certbot_garr_tcs.challenges.settings import (
    DNS_01,
    Propagation,
    PropagationMethod,
    Rfc2136Settings,
    SolverSection,
    TsigKey,
)
from certbot_garr_tcs.errors import ChallengeError
from certbot_garr_tcs.storage import StateFolder

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(skip_or_fail()), reason=skip_or_fail())]

KEY = make_key("acme-it")
OTHER = make_key("acme-com")
STALE = {f"stale value number {number:030}" for number in range(50)}

IT = Zone(
    "example.it",
    policy="grant acme-it wildcard *.example.it. TXT;",
    records="\n".join(
        [
            *[f'_acme-challenge.old TXT "{value}"' for value in sorted(STALE)],
            "_acme-challenge.moved CNAME moved.acme.example.com.",
            "_acme-challenge.locked CNAME locked.example.org.",
            "_acme-challenge.round CNAME round.example.it.",
            "round CNAME _acme-challenge.round.example.it.",
        ]
    ),
)
COM = Zone("acme.example.com", policy="grant acme-com subdomain acme.example.com. TXT;")
ORG = Zone("example.org", policy="grant acme-it name nothing.example.org. TXT;")


def challenge(name: str, value: str = "") -> Challenge:
    return Challenge(name, DNS_01, value or f"value for {name}")


def _hosts(count: int) -> list[Challenge]:
    return [challenge(f"h{number}.example.it") for number in range(count)]


def patient(server: str | None, key: TsigKey | None = KEY, seconds: float = 15.0, zone: str | None = None):
    return Rfc2136Settings(server=server, zone=zone, tsig=key, timeout_seconds=seconds)


def section(how: Rfc2136Settings, suffix: str = "") -> SolverSection:
    return SolverSection(DNS_01, suffix, how, Path("garr-tcs.ini"))


def impatient(wire, endpoint, *, timeout_seconds, tcp):
    """Send as always, but give up early: for servers that are known to stay silent."""
    return send(wire, endpoint, timeout_seconds=0.3, tcp=tcp)


class Fast:
    """Time that passes by sleeping, which takes no time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Runner:
    """Make solvers for a lab, and end with no TXT record but those of the zone files."""

    def __init__(self, lab: BindLab, folder: Path) -> None:
        self.lab = lab
        self.state = StateFolder(folder)
        self.resolver = Endpoint(lab.primary.address, lab.port)
        self.lines: list[str] = []

    def solver(self, *sections: SolverSection, resolver: Endpoint | None = None, transport=send, clock=None):
        return Rfc2136Solver(
            sections or [section(patient(self.lab.server))],
            PublishedRecords(self.state),
            client=Client(transport),
            resolver_config=ResolverConfig((resolver or self.resolver,), port=self.lab.port),
            progress=self.lines.append,
            **({"clock": clock, "sleep": clock.sleep} if clock else {}),
        )

    def left(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for zone in self.lab.zones:
            found.update(self.lab.primary.all_txt(zone.name))
        if found.get("_acme-challenge.old.example.it.") == STALE:
            del found["_acme-challenge.old.example.it."]
        return found

    def documents(self) -> list[Path]:
        return list(self.state.path.glob("presented-*"))

    def fails(self, solver: Rfc2136Solver, *challenges: Challenge) -> ChallengeError:
        """Run all of it as the session does, and return what went wrong."""
        try:
            solver.present(challenges)
            solver.wait(challenges)
        except ChallengeError as error:
            return error
        finally:
            try:
                solver.clean_up(challenges)
            except ChallengeError:
                assert self.documents(), "what could not be cleaned is not on disk"
        raise AssertionError("it did not fail")


@pytest.fixture
def lab(tmp_path):
    """Give one server with the zones of this page."""
    with BindLab(tmp_path / "lab", [IT, COM, ORG], [KEY, OTHER]) as running:
        yield running


@pytest.fixture
def run(lab, tmp_path):
    """Give a runner, and check for TXT records and documents at the end."""
    runner = Runner(lab, tmp_path)
    yield runner
    assert runner.left() == {}


def test_two_zones_two_keys_and_a_cname_between_them(run):
    """Apex, wildcard, twenty names and one behind a CNAME: each zone gets one UPDATE to add, one to delete."""
    sections = [
        section(patient(run.lab.server), "example.it"),
        section(patient(run.lab.server), "h7.example.it"),
        section(patient(run.lab.server, OTHER), "acme.example.com"),
    ]
    solver = run.solver(*sections)
    challenges = [challenge(f"h{number}.example.it") for number in range(20)]
    challenges += [challenge("example.it", "apex"), challenge("example.it", "wildcard"), challenge("moved.example.it")]
    challenges += [challenge("www.acme.example.com")]
    solver.present(challenges)
    solver.wait(challenges)
    assert run.lab.primary.txt("_acme-challenge.example.it") == {"apex", "wildcard"}
    assert run.lab.primary.txt("moved.acme.example.com") == {"value for moved.example.it"}
    assert run.lab.primary.relay.counted["UPDATE"] == 2
    solver.clean_up(challenges)
    assert run.lab.primary.relay.counted["UPDATE"] == 4
    assert run.documents() == []


def test_a_hundred_names_and_two_late_secondaries(tmp_path):
    """The wait ends soon after the last secondary has the zone, and costs few questions."""
    with BindLab(tmp_path / "lab", [IT], [KEY], secondaries=2, lag_seconds=1.5, delay_seconds=0.02) as lab:
        run = Runner(lab, tmp_path)
        solver = run.solver()
        challenges = [challenge(f"h{number}.example.it") for number in range(100)]
        solver.present(challenges)
        solver.wait(challenges)
        for secondary in lab.secondaries:
            assert secondary.txt("_acme-challenge.h99.example.it") == {"value for h99.example.it"}
        assert run.lines[-1].startswith("TXT records seen at 3 of 3 name servers")
        solver.clean_up(challenges)
        counted = lab.primary.relay.counted
        assert (counted["UPDATE"], counted["TCP"]) == (2, 2)
        for secondary in lab.secondaries:
            assert secondary.relay.counted["QUERY"] < 150
        assert run.left() == {}


def test_no_key_is_needed_where_the_server_asks_for_none(tmp_path):
    """A server with an address list and no key works, found by the SOA of the zone alone."""
    zone = Zone("example.it", extra="allow-update { 127.0.0.1; };")
    with BindLab(tmp_path / "lab", [zone], []) as lab:
        run = Runner(lab, tmp_path)
        solver = run.solver(section(patient(None, None)))
        solver.present([challenge("www.example.it")])
        solver.wait([challenge("www.example.it")])
        solver.clean_up([challenge("www.example.it")])
        assert lab.primary.relay.counted["UPDATE"] == 2
        assert run.left() == {}


@pytest.mark.parametrize("algorithm", ["hmac-sha224", "hmac-sha384", "hmac-sha512", "hmac-sha1", "hmac-md5"])
def test_every_algorithm_is_what_bind_takes_it_for(tmp_path, algorithm):
    """The names of the algorithms are BIND's, old ones included."""
    key = make_key("acme-it", algorithm)
    with BindLab(tmp_path / "lab", [IT], [key]) as lab:
        run = Runner(lab, tmp_path)
        solver = run.solver(section(patient(lab.server, key)))
        solver.present([challenge("www.example.it")])
        solver.clean_up([challenge("www.example.it")])
        assert run.left() == {}


def test_server_down(run):
    """A server that is down is reported with zone, server and the next step."""
    port = free_port([run.lab.primary.address])
    error = run.fails(run.solver(section(patient(f"{run.lab.primary.address}:{port}"))), challenge("www.example.it"))
    assert error.message == (f"UPDATE of example.it. at {run.lab.primary.address} port {port}: connection refused")
    assert "name it as server in [dns-01]" in error.hint
    assert run.documents() == [], "nothing was written there, so nothing is to be deleted there"


def test_server_silent(run):
    """A server that swallows everything is reported as one that gives no answer."""
    silent = FakeDns({}, address=run.lab.primary.address)  # its port is open, and nobody reads
    try:
        error = run.fails(run.solver(section(patient(silent.server)), transport=impatient), challenge("www.example.it"))
    finally:
        silent._udp.close()
        silent._tcp.close()
    assert error.message == (f"UPDATE of example.it. at {silent.address} port {silent.port}: no answer")


def test_refused(run):
    """A key without the right to this name: REFUSED, and what to grant."""
    error = run.fails(run.solver(section(patient(run.lab.server, OTHER))), challenge("www.example.it"))
    assert error.message == f"UPDATE of example.it. at {_at(run)}: REFUSED"
    assert "grant key acme-com. TXT records at _acme-challenge.www.example.it." in error.hint


def test_one_refused_name_of_several_is_named(tmp_path):
    """The server refuses all of an UPDATE for one name: a second try finds out which, and changes nothing."""
    policy = "".join(f"grant acme-it name _acme-challenge.{host}.example.it. TXT;" for host in ("www", "mail"))
    with BindLab(tmp_path / "lab", [Zone("example.it", policy=policy)], [KEY]) as lab:
        run = Runner(lab, tmp_path)
        before = lab.primary.serial("example.it")
        names = ["www.example.it", "ftp.example.it", "mail.example.it", "example.it"]
        error = run.fails(run.solver(), *map(challenge, names))
        assert error.message == (
            f"UPDATE of example.it. at {_at(run)}: REFUSED for _acme-challenge.ftp.example.it.,"
            " _acme-challenge.example.it. (not for the other names of the same UPDATE)"
        )
        assert error.hint == (
            "Let that server's update-policy (allow-update, acl) for example.it. grant key acme-it. TXT records at"
            " _acme-challenge.ftp.example.it., _acme-challenge.example.it."
        )
        assert lab.primary.serial("example.it") == before
        assert run.documents() == []


def test_where_all_names_are_refused_few_are_tried(run):
    """Twenty names with a key that has no right to any cost no twenty more messages."""
    error = run.fails(run.solver(section(patient(run.lab.server, OTHER))), *_hosts(20))
    assert error.message == f"UPDATE of example.it. at {_at(run)}: REFUSED"
    assert "at _acme-challenge.h0.example.it., " in error.hint
    assert "h4.example.it. and 15 more." in error.hint
    assert run.lab.primary.relay.counted["UPDATE"] == 6


def test_a_secondary_refuses(tmp_path):
    """Where the SOA names a secondary of a hidden primary, the next step is to name that one."""
    with BindLab(tmp_path / "lab", [IT], [KEY], secondaries=1) as lab:
        run = Runner(lab, tmp_path)
        for key in (KEY, None):
            how = patient(f"{lab.secondaries[0].address}:{lab.port}", key)
            error = run.fails(run.solver(section(how)), *_hosts(2))
            assert error.message.endswith("REFUSED")
            assert "name the primary, which may be hidden, as server in [dns-01]" in error.hint
        assert run.left() == {}


def test_a_frozen_zone_refuses(tmp_path):
    """That its zone may be frozen is said to be one of the reasons."""
    with BindLab(tmp_path / "lab", [IT], [KEY], control=True) as lab:
        run = Runner(lab, tmp_path)
        lab.primary.rndc("freeze", "example.it")
        error = run.fails(run.solver(), challenge("www.example.it"))
        assert error.message == f"UPDATE of example.it. at {_at(run)}: REFUSED"
        assert "rndc thaw example.it" in error.hint
        lab.primary.rndc("thaw", "example.it")
        solver = run.solver()
        solver.present([challenge("www.example.it")])
        solver.clean_up([challenge("www.example.it")])
        assert run.left() == {}


def test_refused_without_key(run):
    """No key at all: REFUSED, and where to name one."""
    error = run.fails(run.solver(section(patient(run.lab.server, None))), challenge("www.example.it"))
    assert error.message == f"UPDATE of example.it. at {_at(run)}: REFUSED"
    assert "tsig-keyfile" in error.hint


def test_a_name_in_no_zone_of_ours(run):
    """A server that is not authoritative for the zone: NOTAUTH, and which section to add."""
    elsewhere = {
        ("_acme-challenge.www.example.net", "CNAME"): nothing("example.net."),
        ("example.net", "SOA"): says(soa("example.net.")),
        ("example.net", "NS"): nothing("example.net."),
    }
    with FakeDns(elsewhere) as resolver:
        error = run.fails(run.solver(resolver=resolver.endpoint), challenge("www.example.net"))
    assert error.message == f"UPDATE of example.net. at {_at(run)}: NOTAUTH"
    assert "add a section of its own for the zone" in error.hint


def test_a_zone_that_does_not_hold_the_name(run):
    """A zone written into the section that cannot be right is found before anything is sent."""
    solver = run.solver(section(patient(run.lab.server, zone="example.org")))
    with pytest.raises(Exception, match=r"is not inside zone example\.org\. of \[dns-01\]"):
        solver.present([challenge("www.example.it")])


def test_notzone(lab):
    """BIND's NOTZONE has its own hint."""
    zone, endpoint = dns.name.from_text("example.it"), Endpoint(lab.primary.address, lab.port)
    target = UpdateTarget(zone, (endpoint,), Server(endpoint.address), key=to_key(KEY))
    elsewhere = RecordLocation((dns.name.from_text("www.example.org"),), target)
    with pytest.raises(UpdateRejectedError) as caught:
        send_update(Client(), target, build_update([PendingRecord(elsewhere, "x")], add=True))
    assert caught.value.message.endswith(": NOTZONE")
    assert "Correct zone in [dns-01]" in caught.value.hint


def test_badkey(run):
    """A key that the server does not know: BADKEY, and what to compare."""
    unknown = TsigKey("acme-unknown", KEY.secret)
    error = run.fails(run.solver(section(patient(run.lab.server, unknown))), challenge("www.example.it"))
    assert error.message == f"UPDATE of example.it. at {_at(run)}: NOTAUTH (BADKEY)"
    assert "no key acme-unknown." in error.hint


def test_badsig(run):
    """A key with another secret: BADSIG; the secret is in no message."""
    wrong = TsigKey("acme-it", base64.b64encode(b"wrong" * 7).decode())
    error = run.fails(run.solver(section(patient(run.lab.server, wrong))), challenge("www.example.it"))
    assert error.message == f"UPDATE of example.it. at {_at(run)}: NOTAUTH (BADSIG)"
    assert "copy its key file again" in error.hint
    assert wrong.secret not in str(error)


@pytest.mark.parametrize(
    ("ours", "who"),
    [(4000, "our clock is ahead of the server's by"), (-4000, "the server's clock is ahead of ours by")],
)
def test_badtime(run, monkeypatch, ours, who):
    """Clocks that disagree: BADTIME, and by how much."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ours)
    error = run.fails(run.solver(), challenge("www.example.it"))
    monkeypatch.undo()
    assert error.message.startswith(f"UPDATE of example.it. at {_at(run)}: NOTAUTH (BADTIME, {who} ")
    seconds = int(error.message.split(" by ")[1].split()[0])
    assert 3998 <= seconds <= 4002
    assert "NTP" in error.hint


def test_servfail(tmp_path):
    """A server that cannot write its journal: SERVFAIL, and where to read why."""
    zone = Zone("example.it", policy=IT.policy, extra='journal "journal";')
    lab = BindLab(tmp_path / "lab", [zone], [KEY])
    with lab:
        (lab.primary.folder / "journal").mkdir()
        run = Runner(lab, tmp_path)
        error = run.fails(run.solver(), challenge("www.example.it"))
        assert error.message == f"UPDATE of example.it. at {_at(run)}: SERVFAIL"
        assert "server's log" in error.hint
        assert run.left() == {}


def test_stale_values_stay_untouched(run):
    """Fifty values of somebody else make answers large (TCP), and are all there afterwards."""
    solver = run.solver()
    before = run.lab.primary.relay.counted["TCP"]
    solver.present([challenge("old.example.it")])
    solver.wait([challenge("old.example.it")])
    assert run.lab.primary.txt("_acme-challenge.old.example.it") == STALE | {"value for old.example.it"}
    assert run.lab.primary.relay.counted["TCP"] > before
    solver.clean_up([challenge("old.example.it")])
    assert run.lab.primary.txt("_acme-challenge.old.example.it") == STALE


SHARED = Zone(
    "example.it",
    policy=IT.policy,
    records='_acme-challenge.shared 3600 TXT "theirs"\n*.wild 3600 TXT "v=spf1 -all"\n',
)


def test_the_ttl_of_other_people_s_records_stays(tmp_path):
    """An RRset has one TTL: ours is added with that of the values that are there, and goes again."""
    with BindLab(tmp_path / "lab", [SHARED], [KEY]) as lab:
        run = Runner(lab, tmp_path)
        solver = run.solver()
        shared = challenge("shared.example.it")
        solver.present([shared])
        assert lab.primary.txt("_acme-challenge.shared.example.it") == {"theirs", shared.validation}
        assert lab.primary.ask("_acme-challenge.shared.example.it").answer[0].ttl == 3600
        solver.clean_up([shared])
        assert lab.primary.txt("_acme-challenge.shared.example.it") == {"theirs"}
        assert lab.primary.ask("_acme-challenge.shared.example.it").answer[0].ttl == 3600


def test_the_ttl_of_a_wildcard_is_nobody_s(tmp_path):
    """What a wildcard shows at a name is not there: ours is alone, and is short."""
    with BindLab(tmp_path / "lab", [SHARED], [KEY]) as lab:
        solver = Runner(lab, tmp_path).solver()
        solver.present([challenge("new.wild.example.it"), challenge("www.example.it")])
        for name in ("_acme-challenge.new.wild.example.it", "_acme-challenge.www.example.it"):
            assert lab.primary.ask(name).answer[0].ttl <= 1
        solver.clean_up([challenge("new.wild.example.it"), challenge("www.example.it")])
        assert lab.primary.txt("_acme-challenge.new.wild.example.it") == {"v=spf1 -all"}


def test_a_second_order_does_not_meet_the_first_one_in_a_cache(run, tmp_path):
    """A resolver, such as the CA's, has forgotten the values of one order when those of the next are there."""
    with caching_resolver(run.lab, tmp_path / "resolver") as resolver:
        how = Propagation(PropagationMethod.RESOLVERS, (f"{LOOPBACK}:{resolver.own_port}",))
        for number in range(2):
            solver = run.solver(section(replace(patient(run.lab.server, seconds=8), propagation=how)))
            order = [challenge("www.example.it", f"order {number}")]
            solver.present(order)
            solver.wait(order)
            solver.clean_up(order)


class ViewsLab(BindLab):
    """Two views of each zone: one for who signs with a key, and one for everybody else."""

    def _primary_zones(self) -> str:
        signed = super()._primary_zones()
        public = signed.replace('.zone"', '.public"')
        for zone in self.zones:
            text = (self.primary.folder / f"{zone.name}.zone").read_text()
            (self.primary.folder / f"{zone.name}.public").write_text(text)
        views = (("signed", f"key {KEY.name}", signed), ("public", "any", public))
        return "".join(f'view "{name}" {{ match-clients {{ {who}; }}; {text} }};\n' for name, who, text in views)


@pytest.fixture
def views(tmp_path):
    """Give a runner for a primary whose key leads into a view of its own; its clock runs fast."""
    with ViewsLab(tmp_path / "lab", [Zone("example.it", policy=IT.policy)], [KEY]) as lab:
        yield Runner(lab, tmp_path)


def test_a_view_that_only_the_key_sees(views):
    """What the CA will not see is known after seconds, with its cause, and not when all patience is over."""
    fast = Fast()
    error = views.fails(
        views.solver(section(patient(views.lab.server, seconds=120)), clock=fast), challenge("www.example.it")
    )
    assert error.message == (
        f"ns1.example.it ({_at(views)}) accepted the UPDATE of example.it. and shows _acme-challenge.www.example.it."
        " only to who asks with the key: it has a view of its own for this key"
    )
    assert "match-clients" in error.hint
    assert fast.now < 15


def test_a_view_that_only_this_machine_does_not_see(views):
    """Where the section says not to ask here, the server's answer to the key is proof enough."""
    how = Propagation(PropagationMethod.SECONDS, seconds=1)
    solver = views.solver(section(replace(patient(views.lab.server), propagation=how)))
    solver.present([challenge("www.example.it")])
    solver.wait([challenge("www.example.it")])
    solver.clean_up([challenge("www.example.it")])
    assert views.documents() == []


def test_cname_loop(run):
    """A loop is reported whole, before anything is published."""
    error = run.fails(run.solver(), challenge("round.example.it"))
    assert error.message == (
        "CNAME loop: _acme-challenge.round.example.it. -> round.example.it. -> _acme-challenge.round.example.it."
    )
    assert run.lab.primary.relay.counted["UPDATE"] == 0


def test_cname_into_a_zone_without_key(run):
    """A zone that no section knows refuses: both names are reported, and which section is missing."""
    sections = [section(patient(run.lab.server), "example.it")]
    error = run.fails(run.solver(*sections), challenge("locked.example.it"))
    assert error.message == (
        "_acme-challenge.locked.example.it. is a CNAME that leads to locked.example.org.:"
        f" UPDATE of example.org. at ns1.example.org ({_at(run)}): REFUSED"
    )
    assert error.hint.startswith("Add a section [dns-01 example.org] with the server and key of that zone")


def test_a_stranger_gets_no_signed_message(run):
    """Where no section names the zone that a CNAME leads to, its primary is asked without our key."""
    error = run.fails(run.solver(section(patient(None))), challenge("locked.example.it"))
    assert error.message.endswith(f"UPDATE of example.org. at ns1.example.org ({_at(run)}): REFUSED")
    assert error.hint.startswith("Add a section [dns-01 example.org] with the server and key of that zone")
    (denied,) = [line for line in run.lab.primary.log().splitlines() if "'example.org/IN'" in line]
    assert denied.endswith("update 'example.org/IN' denied")
    assert "acme-it" not in denied


WILD = Zone(
    "example.net",
    policy="grant acme-it wildcard *.example.net. TXT;",
    records="* CNAME web.example.org.\nmail A 192.0.2.1\n*.deep CNAME web.example.net.",
)


@pytest.mark.parametrize("is_named", [True, False])
def test_a_wildcard_s_cname_is_overridden(tmp_path, is_named):
    """Below a wildcard CNAME the record goes to the name itself, of which the wildcard then says nothing more."""
    with BindLab(tmp_path / "lab", [WILD, ORG], [KEY]) as lab:
        run = Runner(lab, tmp_path)
        solver = run.solver(section(patient(lab.server if is_named else None)))
        challenges = [
            challenge(name) for name in ("www.example.net", "example.net", "mail.example.net", "a.deep.example.net")
        ]
        solver.present(challenges)
        assert lab.primary.txt("_acme-challenge.www.example.net") == {"value for www.example.net"}
        solver.wait(challenges)
        solver.clean_up(challenges)
        assert run.left() == {}
        assert "CNAME" in str(lab.primary.ask("_acme-challenge.www.example.net")), "the wildcard is as it was"


@contextlib.contextmanager
def caching_resolver(lab: BindLab, folder: Path):
    """Run a resolver that asks the lab's primary, validates what is signed, and remembers what is missing."""
    keys = [rdata for rrset in lab.primary.ask("example.it", "DNSKEY").answer for rdata in rrset]
    anchors = [
        f'example.it. static-key 257 3 {int(key.algorithm)} "{base64.b64encode(key.key).decode()}";'
        for key in keys
        if key.rdtype == dns.rdatatype.DNSKEY and key.flags == 257
    ]
    resolver = Named(folder, Relay(LOOPBACK, 0, (LOOPBACK, free_port([LOOPBACK]))))
    folder.mkdir()
    try:
        resolver.start(
            f'options {{ directory "{folder}"; listen-on port {resolver.own_port} {{ {LOOPBACK}; }};'
            " listen-on-v6 { none; }; pid-file none; session-keyfile none;"
            f" dnssec-validation {'yes' if anchors else 'no'}; }};\ncontrols {{ }};\n"
            f'zone "example.it" {{ type forward; forward only;'
            f" forwarders {{ {LOOPBACK} port {lab.primary.own_port}; }}; }};\n"
            + (f"trust-anchors {{ {' '.join(anchors)} }};\n" if anchors else "")
        )
        yield resolver
    finally:
        resolver.stop()


@pytest.mark.parametrize("extra", ["", "dnssec-policy default;"], ids=["unsigned", "signed"])
def test_our_own_look_leaves_nothing_in_a_resolver(tmp_path, extra):
    """Without ``server``, the resolver that is asked for the zone still finds the record afterwards.

    It remembers for an hour what was missing, and in a signed zone that nothing is between two names.
    """
    zone = Zone("example.it", policy=IT.policy, extra=extra, records="www A 192.0.2.1", missing_seconds=3600)
    with BindLab(tmp_path / "lab", [zone], [KEY]) as lab:
        if extra:
            _until(lambda: lab.primary.ask("www.example.it", "RRSIG").answer)
        with caching_resolver(lab, tmp_path / "resolver") as resolver:
            endpoint = Endpoint(LOOPBACK, resolver.own_port)
            how = Propagation(PropagationMethod.RESOLVERS, resolvers=(f"{LOOPBACK}:{resolver.own_port}",))
            run = Runner(lab, tmp_path)
            solver = run.solver(section(replace(patient(None, seconds=3.0), propagation=how)), resolver=endpoint)
            challenges = [challenge("www.example.it"), challenge("new.example.it"), challenge("example.it")]
            solver.present(challenges)
            solver.wait(challenges)
            solver.clean_up(challenges)
        assert run.left() == {}


def test_an_update_whose_answer_is_lost_is_looked_at(run):
    """A primary that made the UPDATE, and whose answer never came, shows it: the run goes on."""
    run.lab.primary.relay.swallow_update_answers = True
    solver = run.solver(transport=impatient)
    solver.present([challenge("www.example.it")])
    assert run.lab.primary.txt("_acme-challenge.www.example.it") == {"value for www.example.it"}
    solver.wait([challenge("www.example.it")])
    solver.clean_up([challenge("www.example.it")])
    assert run.documents() == []


@pytest.fixture
def address():
    """Give an address for one more name server."""
    return f"127.{random.randint(20, 250)}.{random.randint(1, 250)}.99"  # noqa: S311 - no secret


def zone_with(*name_servers: tuple[str, str]) -> Zone:
    return Zone("example.it", policy=IT.policy, name_servers=name_servers)


def test_one_of_three_servers_is_dead(tmp_path, address):
    """A name server that is down fails the wait, by name, and nothing is left."""
    with BindLab(tmp_path / "lab", [zone_with(("dead", address))], [KEY], secondaries=1, lag_seconds=0) as lab:
        run = Runner(lab, tmp_path)
        error = run.fails(run.solver(section(patient(lab.server, seconds=2))), challenge("www.example.it"))
        assert "1 of 3 addresses of name servers of example.it." in error.message
        assert f"dead.example.it ({address} port {lab.port})" in error.message
        assert error.message.endswith("connection refused")
        assert "propagation = resolvers" in error.hint
        assert run.left() == {}


@pytest.mark.parametrize(
    ("behaviour", "detail", "step"),
    [
        (lame, "lame: it is not authoritative for the zone", "zone's NS records"),
        (fails("REFUSED"), "lame: it answers REFUSED", "zone's NS records"),
        (fails("SERVFAIL"), "SERVFAIL", "the CA would fail on it too"),
    ],
)
def test_one_of_three_servers_misbehaves(tmp_path, address, behaviour, detail, step):
    """A lame or failing name server fails the wait as it would fail the CA."""
    with BindLab(tmp_path / "lab", [zone_with(("bad", address))], [KEY], secondaries=1, lag_seconds=0) as lab:
        run = Runner(lab, tmp_path)
        table = {("_acme-challenge.www.example.it", "TXT"): behaviour}
        with FakeDns(table, address=address, port=lab.port):
            error = run.fails(run.solver(section(patient(lab.server, seconds=1))), challenge("www.example.it"))
        assert error.message.endswith(
            f"bad.example.it ({address} port {lab.port}) for _acme-challenge.www.example.it.: {detail}"
        )
        assert step in error.hint
        assert run.left() == {}


def test_one_server_without_ipv6_from_here(tmp_path):
    """An IPv6 address that cannot be reached from here does not fail the wait."""
    with BindLab(tmp_path / "lab", [zone_with(("ns1", "2001:db8::53"))], [KEY], secondaries=1, lag_seconds=0) as lab:
        run = Runner(lab, tmp_path)
        solver = run.solver()
        solver.present([challenge("www.example.it")])
        solver.wait([challenge("www.example.it")])
        solver.clean_up([challenge("www.example.it")])
        assert run.lines[-1].startswith("TXT records seen at 2 of 2 name servers")
        assert run.left() == {}


def test_a_secondary_that_does_not_follow(tmp_path):
    """A secondary that never hears of the change is named when time is up."""
    with BindLab(tmp_path / "lab", [IT], [KEY], secondaries=1) as lab:
        run = Runner(lab, tmp_path)
        error = run.fails(run.solver(section(patient(lab.server, seconds=1))), challenge("www.example.it"))
        assert f"ns2.example.it ({lab.addresses[1]} port {lab.port}) for" in error.message
        assert error.message.endswith("NXDOMAIN")
        assert "NOTIFY" in error.hint
        assert run.left() == {}


def test_two_runs_on_one_zone_at_once(run):
    """Two solvers publish at one name at the same time; each removes its own and no more."""
    both = threading.Barrier(2)
    seen: list[set[str]] = []
    solvers = {}

    def mine(value: str) -> list[Challenge]:
        return [challenge("example.it", f"{value} one"), challenge("example.it", f"{value} two")]

    def one(value: str) -> None:
        solver = solvers[value] = run.solver()
        both.wait(10)
        solver.present(mine(value))
        solver.wait(mine(value))
        both.wait(10)
        seen.append(run.lab.primary.txt("_acme-challenge.example.it"))

    threads = [threading.Thread(target=one, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [{"first one", "first two", "second one", "second two"}] * 2
    solvers["first"].clean_up(mine("first"))
    assert run.lab.primary.txt("_acme-challenge.example.it") == {"second one", "second two"}
    solvers["second"].clean_up(mine("second"))
    assert run.lab.primary.txt("_acme-challenge.example.it") == set()


KILLED = """
import sys
from pathlib import Path
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
from certbot_garr_tcs.challenges.dns.resolver import ResolverConfig
from certbot_garr_tcs.challenges.interfaces import Challenge
from certbot_garr_tcs.challenges.published import PublishedRecords
from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver
from certbot_garr_tcs.challenges.settings import Rfc2136Settings, SolverSection, TsigKey
from certbot_garr_tcs.storage import StateFolder
folder, server, name, secret = sys.argv[1:]
address, port = server.split(":")
how = Rfc2136Settings(server=server, zone="example.it", tsig=TsigKey(name, secret))
sections = [SolverSection("dns-01", "", how, Path("garr-tcs.ini"))]
around = ResolverConfig((Endpoint(address, int(port)),), port=int(port))
solver = Rfc2136Solver(sections, PublishedRecords(StateFolder(Path(folder))), resolver_config=around)
names = [f"h{number}.example.it" for number in range(3)]
print("ready", flush=True)
sys.stdin.readline()
solver.present([Challenge(name, "dns-01", f"value for {name}") for name in names])
"""


def test_killed_between_update_and_answer(run, tmp_path):
    """What a killed run sent, without hearing whether it arrived, is deleted by the next one."""
    relay = run.lab.primary.relay
    arguments = [str(tmp_path), run.lab.server, KEY.name, KEY.secret]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        relay.swallow_update_answers = True
        process.stdin.write(b"\n")
        process.stdin.flush()
        _until(lambda: len(run.left()) == 3)
        run.solver().clean_up_stale()
        assert len(run.left()) == 3, "values of a live run were deleted"
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    relay.swallow_update_answers = False
    run.solver().clean_up_stale()
    assert run.left() == {}
    assert run.documents() == []


def _at(run: Runner) -> str:
    return f"{run.lab.primary.address} port {run.lab.port}"


def _until(true, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
