"""The solver as a whole, against a fake name server."""

import dataclasses
import socket
import time
from pathlib import Path

import dns.name
import dns.tsig
import pytest
from support.fake_dns import FakeDns, applies, fails, first, nothing, says, shows_txt, silent, soa, tsig_error
from support.solver_contract import Bench as ContractBench
from support.solver_contract import SolverContract

from certbot_garr_tcs.challenges.dns.client import Client
from certbot_garr_tcs.challenges.dns.lookup import Surroundings
from certbot_garr_tcs.challenges.dns.transport import exchange
from certbot_garr_tcs.challenges.interfaces import Challenge
from certbot_garr_tcs.challenges.notes import DAYS_KEPT, Notes, Presented
from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver
from certbot_garr_tcs.challenges.sections import (
    DNS_01,
    HowToLook,
    Propagation,
    Rfc2136Settings,
    SolverSection,
    TsigKey,
)
from certbot_garr_tcs.errors import ChallengeError
from certbot_garr_tcs.sandbox.settings import free_port
from certbot_garr_tcs.state import StateFolder

KEY = TsigKey("acme", "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0")
TSIG = dns.tsig.Key("acme.", b"secret secret secret secret")
NAMES = ("example.it", "www.example.it", "ftp.example.it")


def challenge_of(name, value):
    return Challenge(name, DNS_01, value)


WWW = challenge_of("www.example.it", "for www")
FTP = challenge_of("ftp.example.it", "for ftp")
APEX = challenge_of("example.it", "for the apex")
WILD = challenge_of("example.it", "for the wildcard")


def zone_table(**changes):
    """Say what a name server for example.it answers; changes replace replies, by ``name_type``."""
    table = {
        ("example.it", "UPDATE"): applies,
        ("example.it", "SOA"): says(soa("example.it.")),
        ("example.it", "NS"): says("example.it 60 NS ns1.example.it."),
        ("ns1.example.it", "A"): says("ns1.example.it 60 A 127.0.0.1"),
        ("ns1.example.it", "AAAA"): nothing("example.it."),
        ("example.it", "CAA"): says('example.it 60 CAA 0 issue "harica.gr"'),
    }
    for name in NAMES:
        table[f"_acme-challenge.{name}", "CNAME"] = nothing("example.it.")
        table[f"_acme-challenge.{name}", "TXT"] = shows_txt
        table[f"*.{name}", "TXT"] = nothing("example.it.")
        table.setdefault((name, "CAA"), nothing("example.it."))
    return {**table, **changes.get("replies", {})}


class Bench:
    """A solver with a fake name server, a state folder and a clock of its own."""

    def __init__(self, server, folder, /, **settings):
        self.server = server
        self.state = StateFolder(folder)
        self.now = 0.0
        self.lines = []
        how = Rfc2136Settings(**{"server": server.server, "tsig": KEY, "timeout_seconds": 0.5, **settings})
        self.sections = [
            SolverSection(DNS_01, "", how, Path("garr-tcs.ini")),
            SolverSection(DNS_01, "ftp.example.it", how, Path("garr-tcs.ini")),
        ]
        self.solver = self.new_solver()

    def new_solver(self):
        return Rfc2136Solver(
            self.sections,
            Notes(self.state),
            client=Client(self.carry),
            surroundings=Surroundings((self.server.endpoint,), port=self.server.port),
            clock=lambda: self.now,
            sleep=self.sleep,
            progress=self.lines.append,
        )

    def carry(self, wire, endpoint, *, timeout_seconds, tcp):
        return exchange(wire, endpoint, timeout_seconds=0.2, tcp=tcp)

    def sleep(self, seconds):
        self.now += seconds

    def txt(self, name):
        return self.server.txt.get(dns.name.from_text(f"_acme-challenge.{name}"), set())

    def notes(self):
        return list(self.state.path.glob("presented-*.json"))


class TestRfc2136Solver(SolverContract):
    """The solver keeps the contract of all solvers."""

    @pytest.fixture
    def bench(self, tmp_path):
        """Put it before a zone where a stranger's value is already."""
        with FakeDns(zone_table(), key=TSIG) as server:
            server.txt[dns.name.from_text("_acme-challenge.example.it")] = {"stranger"}
            yield ContractBench(
                Bench(server, tmp_path).solver,
                [APEX, WILD, WWW],
                lambda: set().union(*server.txt.values()),
                {"stranger"},
            )


def test_present_wait_clean_up(tmp_path):
    """Every value comes, is seen and goes; apex and wildcard share a name; all share one UPDATE."""
    with FakeDns(zone_table(), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        everything = [WWW, FTP, APEX, WILD]
        bench.solver.present(everything)
        assert bench.txt("example.it") == {"for the apex", "for the wildcard"}
        assert len(bench.notes()) == 1
        bench.solver.wait(everything)
        assert bench.lines == ["TXT records seen at 1 of 1 name servers after 0 s"]
        bench.solver.clean_up(everything)
        assert not any(server.txt.values())
        assert [len(update.update) for update in server.updates] == [4, 4]
        assert bench.notes() == []
        bench.solver.clean_up(everything)
        assert len(server.updates) == 2


def test_what_is_noted_is_noted_before_it_is_sent(tmp_path):
    """At the moment the server reads the UPDATE, the note is on disk."""
    noted = []

    def looks(server, query, tcp):
        noted.extend(path.read_text() for path in (tmp_path / "garr-tcs").glob("presented-*.json"))
        return applies(server, query, tcp)

    with FakeDns(zone_table(replies={("example.it", "UPDATE"): looks}), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        bench.solver.present([WWW])
        assert "for www" in noted[0]
        assert KEY.secret not in noted[0]


def test_clean_up_without_present_does_nothing(tmp_path):
    """What this solver has not added is not its to remove."""
    with FakeDns(zone_table(), key=TSIG) as server:
        server.txt[dns.name.from_text("_acme-challenge.www.example.it")] = {"for www"}
        bench = Bench(server, tmp_path)
        bench.solver.clean_up([WWW])
        bench.solver.wait([WWW])
        assert bench.txt("www.example.it") == {"for www"}
        assert server.updates == []


def test_a_refused_update_leaves_nothing_to_clean(tmp_path):
    """After a clear no there is nothing to delete, no note, and no second refusal."""
    with FakeDns(zone_table(replies={("example.it", "UPDATE"): fails("REFUSED")}), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        with pytest.raises(
            ChallengeError, match=rf"UPDATE of example\.it\. at 127\.0\.0\.1 port {server.port}: REFUSED"
        ):
            bench.solver.present([WWW])
        bench.solver.clean_up([WWW])
        assert len(server.updates) == 1
        assert bench.notes() == []


def applied_in_silence(server, query, tcp):
    applies(server, query, tcp)


def test_an_update_without_answer_is_looked_at(tmp_path):
    """An UPDATE that was made, though its answer was lost, is as good as any."""
    with FakeDns(zone_table(replies={("example.it", "UPDATE"): applied_in_silence}), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        bench.solver.present([WWW])
        bench.solver.wait([WWW])
        bench.solver.clean_up([WWW])
        assert bench.txt("www.example.it") == set()
        assert bench.notes() == []


def test_an_update_without_answer_is_cleaned(tmp_path):
    """A server that gives no answer at all may have made the UPDATE: clean-up deletes it."""
    txt = ("_acme-challenge.www.example.it", "TXT")
    replies = {("example.it", "UPDATE"): applied_in_silence, txt: silent}
    with FakeDns(zone_table(replies=replies), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        with pytest.raises(ChallengeError, match="connection broken"):
            bench.solver.present([WWW])
        assert bench.txt("www.example.it") == {"for www"}
        server.table[dns.name.from_text("example.it"), "UPDATE"] = applies
        bench.solver.clean_up([WWW])
        assert bench.txt("www.example.it") == set()
        assert bench.notes() == []


def forged_no(server, query, tcp):
    """Say no, in the server's place and without its key, to what it does all the same."""
    applies(server, query, tcp)
    answer = fails("REFUSED")(server, query, tcp)
    answer.tsig = None
    return answer


@pytest.mark.parametrize("refusal", [forged_no, tsig_error("BADKEY")])
def test_what_is_refused_without_a_signature_is_cleaned(tmp_path, refusal):
    """A no that anybody could have sent does not keep the record there."""

    def applied_and_refused(server, query, tcp):
        applies(server, query, tcp)
        return refusal(server, query, tcp)

    replies = {("example.it", "UPDATE"): first(applied_and_refused, applies)}
    with FakeDns(zone_table(replies=replies), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        with pytest.raises(ChallengeError, match=r"REFUSED|BADKEY"):
            bench.solver.present([WWW])
        assert bench.txt("www.example.it") == {"for www"}
        bench.solver.clean_up([WWW])
        assert bench.txt("www.example.it") == set()
        assert bench.notes() == []


def test_a_server_that_never_signs_its_no_is_asked_twice_and_no_more(tmp_path):
    """Where adding and deleting are both refused, nothing is there: no second error, and no note for later runs."""
    with FakeDns(zone_table(replies={("example.it", "UPDATE"): tsig_error("BADKEY")}), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        with pytest.raises(ChallengeError, match="BADKEY"):
            bench.solver.present([WWW])
        assert len(bench.notes()) == 1
        bench.solver.clean_up([WWW])
        bench.solver.clean_up([WWW])
        assert len(server.updates) == 2
        assert bench.notes() == []


def test_a_failing_server_leaves_open_what_it_did(tmp_path):
    """SERVFAIL may come from a secondary that has forwarded the UPDATE: clean-up tries to delete."""
    with FakeDns(zone_table(replies={("example.it", "UPDATE"): fails("SERVFAIL")}), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        with pytest.raises(ChallengeError, match="SERVFAIL"):
            bench.solver.present([WWW])
        server.table[dns.name.from_text("example.it"), "UPDATE"] = applies
        bench.solver.clean_up([WWW])
        assert len(server.updates) == 2
        assert bench.notes() == []


def test_what_cannot_be_cleaned_stays_noted(tmp_path):
    """A clean-up that fails raises, and the note stays for the next run."""
    with FakeDns(zone_table(), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        bench.solver.present([WWW])
        server.table[dns.name.from_text("example.it"), "UPDATE"] = fails("SERVFAIL")
        with pytest.raises(ChallengeError, match="SERVFAIL"):
            bench.solver.clean_up([WWW])
        assert len(bench.notes()) == 1


def test_nothing_is_sent_where_one_name_has_no_place(tmp_path):
    """All places are known before anything is published."""
    with FakeDns(
        zone_table(replies={("_acme-challenge.www.example.it", "CNAME"): fails("SERVFAIL")}), key=TSIG
    ) as server:
        bench = Bench(server, tmp_path)
        with pytest.raises(ChallengeError, match=r"CNAME of _acme-challenge\.www\.example\.it\..*SERVFAIL"):
            bench.solver.present([APEX, WWW])
        assert server.updates == []
        assert not bench.state.path.exists()


def test_a_server_that_was_never_reached_leaves_nothing_to_clean(tmp_path):
    """Where nobody listens nothing was written: no note, and no second try to reach it."""
    with FakeDns(zone_table(), key=TSIG) as server:
        bench = Bench(server, tmp_path, server=f"127.0.0.1:{free_port()}", zone="example.it")
        with pytest.raises(ChallengeError, match="connection refused"):
            bench.solver.present([WWW])
        assert bench.notes() == []
        bench.solver.clean_up([WWW])


def test_what_was_sent_into_silence_is_noted_though_tcp_is_refused(tmp_path):
    """Over UDP it may have arrived."""
    with FakeDns(zone_table(), key=TSIG) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        bench = Bench(server, tmp_path, server=f"127.0.0.1:{deaf.getsockname()[1]}", zone="example.it")
        with pytest.raises(ChallengeError, match="no answer"):
            bench.solver.present([WWW])
        assert len(bench.notes()) == 1


def left_by_a_dead_run(bench, *presented, since=None):
    bench.state.write(
        "presented-dead.json",
        {
            "presented": [list(dataclasses.astuple(one)) for one in presented],
            "since": time.time() if since is None else since,
        },
    )


def test_what_a_killed_run_left_is_deleted(tmp_path, caplog):
    """Values of a dead run go, with the key that the sections have now; others stay."""
    caplog.set_level("INFO")
    with FakeDns(zone_table(), key=TSIG) as server:
        name = dns.name.from_text("_acme-challenge.www.example.it")
        server.txt[name] = {"left", "somebody else's"}
        bench = Bench(server, tmp_path)
        left_by_a_dead_run(bench, Presented("example.it.", str(name), "left", server.server))
        bench.solver.clean_up_stale()
        assert server.txt[name] == {"somebody else's"}
        assert bench.notes() == []
        assert "Deleted TXT records that an earlier run left at _acme-challenge.www.example.it." in caplog.text


def test_what_was_published_without_a_key_is_deleted_without(tmp_path):
    """Where no section named the zone, no later run signs anything for its primary either."""
    with FakeDns(zone_table(), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        name = "_acme-challenge.www.example.it."
        left_by_a_dead_run(bench, Presented("example.it.", name, "left", server.server, signed=False))
        bench.solver.clean_up_stale()
        assert [update.had_tsig for update in server.updates] == [False]


def test_what_cannot_be_deleted_is_logged_and_tried_again(tmp_path, caplog):
    """Deleting is best effort: a server that says no stops nothing, and is asked again in each run."""
    with FakeDns(zone_table(replies={("example.it", "UPDATE"): fails("REFUSED")}), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        left_by_a_dead_run(bench, Presented("example.it.", "_acme-challenge.www.example.it.", "left", server.server))
        for _ in range(20):
            bench.new_solver().clean_up_stale()
        assert len(bench.notes()) == 1
        assert caplog.text.count("REFUSED") == 20
        assert all(record.levelname == "WARNING" for record in caplog.records)


def test_giving_up_is_an_error_that_says_what_to_delete(tmp_path, caplog):
    """After its days a value is tried once more, then given up, in words that --quiet does not hide."""
    with FakeDns(zone_table(replies={("example.it", "UPDATE"): fails("REFUSED")}), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        one = Presented("example.it.", "_acme-challenge.www.example.it.", "left", server.server)
        left_by_a_dead_run(bench, one, since=time.time() - (DAYS_KEPT + 1) * 86400)
        bench.solver.clean_up_stale()
        assert len(server.updates) == 1
        assert bench.notes() == []
    (error,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert f'zone example.it. at {server.server}: update delete _acme-challenge.www.example.it. TXT "left"' in error


def test_one_refused_name_keeps_no_other_one_there(tmp_path, caplog):
    """What the key may still delete is deleted, name by name; the rest stays noted."""

    def grants_www_alone(server, query, tcp):
        if {rrset.name for rrset in query.update} == {dns.name.from_text("_acme-challenge.www.example.it")}:
            return applies(server, query, tcp)
        return fails("REFUSED")(server, query, tcp)

    with FakeDns(zone_table(replies={("example.it", "UPDATE"): grants_www_alone}), key=TSIG) as server:
        names = [f"_acme-challenge.{host}.example.it." for host in ("ftp", "www")]
        for name in names:
            server.txt[dns.name.from_text(name)] = {"left"}
        bench = Bench(server, tmp_path)
        left_by_a_dead_run(bench, *[Presented("example.it.", name, "left", server.server) for name in names])
        bench.solver.clean_up_stale()
        assert (bench.txt("ftp.example.it"), bench.txt("www.example.it")) == ({"left"}, set())
        assert names[0] in bench.notes()[0].read_text()
        assert names[1] not in bench.notes()[0].read_text() + caplog.text


def test_a_note_that_leads_nowhere_stops_nothing(tmp_path, caplog):
    """A server or name that cannot be read any more is logged, and the others are deleted."""
    with FakeDns(zone_table(), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        name = dns.name.from_text("_acme-challenge.www.example.it")
        server.txt[name] = {"left"}
        left_by_a_dead_run(
            bench,
            Presented("example.it.", "www.example.it.", "left", "no server at all"),
            Presented("example.it.", "broken..name.", "left", server.server),
            Presented("example.it.", str(name), "left", server.server),
        )
        bench.solver.clean_up_stale()
        assert "this is no name server" in caplog.text
        assert server.txt[name] == set()


def test_seconds_let_time_pass(tmp_path):
    """Waiting for seconds asks no name server but the one that accepted the UPDATE, and tells that it waits."""
    with FakeDns(zone_table(), key=TSIG) as server:
        bench = Bench(server, tmp_path, propagation=Propagation(HowToLook.SECONDS, seconds=12))
        bench.solver.present([WWW])
        bench.solver.wait([WWW])
        assert bench.now == 12
        assert not any(rdtype == "NS" for _, rdtype in server.asked)
        assert "waiting as configured after 5 s" in bench.lines
        assert "not looked at, as propagation says" in bench.solver.describe([WWW])


def test_resolvers_are_asked_instead(tmp_path):
    """Asking resolvers asks these, and no name server of the zone."""
    with FakeDns(zone_table(), key=TSIG) as server:
        with FakeDns(
            {
                ("_acme-challenge.www.example.it", "TXT"): says(
                    '_acme-challenge.www.example.it 60 TXT "for www"', aa=False
                )
            }
        ) as resolver:
            how = Propagation(HowToLook.RESOLVERS, (resolver.server,))
            bench = Bench(server, tmp_path, propagation=how)
            bench.solver.present([WWW])
            bench.solver.wait([WWW])
            assert sum(resolver.asked.values()) == 1
        assert not any(rdtype == "NS" for _, rdtype in server.asked)


def test_deadline_passed(tmp_path):
    """A value that never shows up ends in an error; clean-up leaves nothing."""
    txt = ("_acme-challenge.www.example.it", "TXT")
    with FakeDns(zone_table(replies={txt: nothing("example.it.")}), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        bench.solver.present([WWW])
        with pytest.raises(ChallengeError, match="NXDOMAIN"):
            bench.solver.wait([WWW])
        bench.solver.clean_up([WWW])
        assert not any(server.txt.values())


def test_describe_says_what_is_seen(tmp_path):
    """The hint for the CA's no says who shows the record, what CAA says, and one next step."""
    with FakeDns(zone_table(), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        bench.solver.present([WWW])
        told = bench.solver.describe([WWW])
    assert f"www.example.it: TXT shown by 1 of 1 addresses; ns1.example.it (127.0.0.1 port {server.port})" in told
    assert 'CAA at example.it.: 0 issue "harica.gr"' in told
    assert "firewall" in told


def test_describe_says_what_is_missing(tmp_path):
    """A record that is not there is told, with the step for it; so is a CAA that cannot be had."""
    with FakeDns(zone_table(replies={("www.example.it", "CAA"): silent}), key=TSIG) as server:
        told = Bench(server, tmp_path).solver.describe([WWW])
    assert "TXT shown by 0 of 1 addresses" in told
    assert "no permission to issue" in told
    assert "NOTIFY" in told


def test_describe_survives_a_broken_dns(tmp_path):
    """Where nothing can be looked up, that is what is said."""
    with FakeDns(
        zone_table(replies={("_acme-challenge.www.example.it", "CNAME"): fails("SERVFAIL")}), key=TSIG
    ) as server:
        told = Bench(server, tmp_path).solver.describe([WWW])
    assert "www.example.it: CNAME of _acme-challenge.www.example.it." in told
    assert "SERVFAIL" in told


def test_describe_follows_cnames(tmp_path):
    """Where a CNAME leads is told, with the warning that not every CA follows it."""
    replies = {
        ("_acme-challenge.www.example.it", "CNAME"): says("_acme-challenge.www.example.it 60 CNAME x.example.it."),
        ("*.www.example.it", "CNAME"): nothing("example.it."),
        ("x.example.it", "CNAME"): nothing("example.it."),
        ("x.example.it", "TXT"): shows_txt,
    }
    with FakeDns(zone_table(replies=replies), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        bench.solver.present([WWW])
        told = bench.solver.describe([WWW])
    assert "CNAME: _acme-challenge.www.example.it. -> x.example.it." in told
    assert "HARICA did not in 2025" in told


def test_a_long_description_is_cut(tmp_path):
    """A hundred names do not become a hundred lines."""
    names = [f"h{n}.example.it" for n in range(10)]
    replies = {}
    for name in names:
        replies[f"_acme-challenge.{name}", "CNAME"] = nothing("example.it.")
        replies[f"_acme-challenge.{name}", "TXT"] = shows_txt
        replies[name, "CAA"] = nothing("example.it.")
    with FakeDns(zone_table(replies=replies), key=TSIG) as server:
        told = Bench(server, tmp_path).solver.describe([challenge_of(name, "x") for name in names])
    assert told.count("TXT shown by") == 3
    assert "and 7 more names" in told


def test_a_resolver_without_address_is_told(tmp_path):
    """A resolver that nobody knows is an error that names it, not an endless wait."""
    replies = {("resolver.example.it", rdtype): nothing("example.it.") for rdtype in ("A", "AAAA")}
    with FakeDns(zone_table(replies=replies), key=TSIG) as server:
        how = Propagation(HowToLook.RESOLVERS, ("resolver.example.it",))
        bench = Bench(server, tmp_path, propagation=how)
        bench.solver.present([WWW])
        with pytest.raises(ChallengeError, match=r"resolver resolver\.example\.it has no address"):
            bench.solver.wait([WWW])
        bench.solver.clean_up([WWW])


def test_an_error_behind_a_cname_names_both_names(tmp_path):
    """Where the target's section exists, its error keeps its own hint."""
    replies = {
        ("_acme-challenge.www.example.it", "CNAME"): says("_acme-challenge.www.example.it 60 CNAME x.example.it."),
        ("*.www.example.it", "CNAME"): nothing("example.it."),
        ("x.example.it", "CNAME"): nothing("example.it."),
        ("x.example.it", "TXT"): nothing("example.it."),
        ("example.it", "UPDATE"): fails("REFUSED"),
    }
    with FakeDns(zone_table(replies=replies), key=TSIG) as server:
        with pytest.raises(ChallengeError) as caught:
            Bench(server, tmp_path).solver.present([WWW])
    assert caught.value.message.startswith(
        "_acme-challenge.www.example.it. is a CNAME that leads to x.example.it.: UPDATE of example.it. at"
    )
    assert "update-policy" in caught.value.hint


@pytest.mark.parametrize("hidden", ["for the apex", "for the wildcard"])
def test_every_value_of_a_name_is_waited_for(tmp_path, hidden):
    """Apex and wildcard share a name: that one of their values is shown is not enough."""
    with FakeDns(zone_table(), key=TSIG) as server:
        bench = Bench(server, tmp_path)
        bench.solver.present([APEX, WILD])
        server.txt[dns.name.from_text("_acme-challenge.example.it")].discard(hidden)
        with pytest.raises(ChallengeError, match=r"_acme-challenge\.example\.it"):
            bench.solver.wait([APEX, WILD])
        bench.solver.clean_up([APEX, WILD])
