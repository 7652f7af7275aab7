"""Waiting until every name server shows every value."""

import dns.name
import dns.tsig
import pytest
from support.fake_dns import FakeDns, fails, first, lame, nothing, says, silent, truncated, without_waiting

from certbot_garr_tcs.challenges.dns.client import Client, NoResponseError, NoResponseReason
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
from certbot_garr_tcs.challenges.dns.propagation import (
    LONGEST_PAUSE_SECONDS,
    CheckResult,
    CheckStatus,
    NameServerAddress,
    PropagationCheck,
    ServerProgress,
    next_pause_seconds,
    unreachable_from_here,
    wait_until_shown,
)
from certbot_garr_tcs.errors import ChallengeError

KEY = dns.tsig.Key("acme.", b"secret secret secret secret")
ZONE = dns.name.from_text("example.it")
WWW = dns.name.from_text("_acme-challenge.www.example.it")
SHOWN = says(f'{WWW} 60 TXT "v"')
MISSING = nothing("example.it.")


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def check(*servers, values=None, timeout_seconds=20.0, recursive=False):
    addresses = tuple(
        NameServerAddress(Endpoint(server.address, server.port, f"ns{n}.example.it"), recursive)
        for n, server in enumerate(servers, start=1)
    )
    return PropagationCheck(ZONE, values or {WWW: frozenset({"v"})}, addresses, timeout_seconds)


def wait(*checks, transport=without_waiting):
    clock, seen = Clock(), []
    wait_until_shown(checks, Client(transport), clock=clock, sleep=clock.sleep, report=lambda *line: seen.append(line))
    return clock, seen


def test_nothing_is_waited_for_where_all_is_there():
    """Values that are shown cost one question, and no pause."""
    with FakeDns({(str(WWW), "TXT"): SHOWN}) as server:
        clock, seen = wait(check(server))
        assert clock.slept == []
        assert seen == [(1, 1, 0.0)]
        assert sum(server.asked.values()) == 1


def test_all_servers_have_to_show_it():
    """The last server decides; progress counts those that are done."""
    with FakeDns({(str(WWW), "TXT"): SHOWN}) as early:
        with FakeDns({(str(WWW), "TXT"): first(MISSING, SHOWN)}) as late:
            clock, seen = wait(check(early, late))
            assert len(clock.slept) == 1
            assert [line[:2] for line in seen] == [(1, 2), (2, 2)]
            assert early.asked[str(WWW), "TXT"] == 1


def test_two_values_at_one_name():
    """Apex and wildcard share a name: one of two values is not enough, and strangers do not matter."""
    both = says(f'{WWW} 60 TXT "one"', f'{WWW} 60 TXT "two"', f'{WWW} 60 TXT "somebody else\'s"')
    with FakeDns({(str(WWW), "TXT"): first(says(f'{WWW} 60 TXT "one"'), both)}) as server:
        clock, _ = wait(check(server, values={WWW: frozenset({"one", "two"})}))
        assert len(clock.slept) == 1


def test_truncated_answers_are_read_whole():
    """A name with many stale values is read over TCP."""
    many = says(*[f'{WWW} 60 TXT "stale{n:040}"' for n in range(50)], f'{WWW} 60 TXT "v"')
    with FakeDns({(str(WWW), "TXT"): truncated(many)}) as server:
        wait(check(server))
        assert server.asked[str(WWW), "TXT"] == 2


def test_a_late_server_is_asked_for_one_name_at_a_time():
    """Forty names cost a late server one question per round, not forty."""
    names = [dns.name.from_text(f"_acme-challenge.h{n}.example.it") for n in range(40)]
    asked = []

    def late(server, query, tcp):
        asked.append(query.question[0].name)
        shown = len(asked) > 5
        return (says(f'{query.question[0].name} 60 TXT "v"') if shown else MISSING)(server, query, tcp)

    with FakeDns({(str(name), "TXT"): late for name in names}) as server:
        wait(check(server, values={name: frozenset({"v"}) for name in names}))
        assert sum(server.asked.values()) == 45
        assert len(set(asked[:6])) == 6


@pytest.mark.parametrize(
    ("behaviour", "detail", "step"),
    [
        (MISSING, "NXDOMAIN", "NOTIFY"),
        (nothing("example.it.", "NOERROR"), "no TXT record", "NOTIFY"),
        (says(f'{WWW} 60 TXT "stale"'), "1 of 1 values missing, 1 others there", "NOTIFY"),
        (fails("SERVFAIL"), "SERVFAIL", "the CA would fail on it too"),
        (fails("REFUSED"), "lame: it answers REFUSED", "take the server out of the zone's NS records"),
        (lame, "lame: it is not authoritative for the zone", "take the server out"),
        (silent, "no answer", "port 53 open from here"),
    ],
)
def test_when_time_is_up_it_says_who_showed_what(behaviour, detail, step):
    """The error names zone, server, address, name and what was seen; the hint fits that."""
    with FakeDns({(str(WWW), "TXT"): SHOWN}) as good, FakeDns({(str(WWW), "TXT"): behaviour}) as bad:
        with pytest.raises(ChallengeError) as caught:
            wait(check(good, bad, timeout_seconds=0.3))
    assert caught.value.message == (
        f"after 0 s, 1 of 2 addresses of name servers of example.it. do not show the TXT records:"
        f" ns2.example.it (127.0.0.1 port {bad.port}) for {WWW}: {detail}"
    )
    assert step in caught.value.hint


def test_resolvers_need_not_be_authoritative():
    """A resolver is believed without AA, and is called a resolver."""
    with FakeDns({(str(WWW), "TXT"): says(f'{WWW} 60 TXT "v"', aa=False)}) as server:
        wait(check(server, recursive=True))
    with FakeDns({(str(WWW), "TXT"): fails("REFUSED")}) as server:
        with pytest.raises(ChallengeError, match=r"addresses of resolvers .* REFUSED"):
            wait(check(server, recursive=True, timeout_seconds=1))


def test_an_answer_that_cannot_be_read_is_a_failure():
    """Garbage from a name server is reported as what it is."""

    def garbage(wire, endpoint, *, timeout_seconds, tcp):
        return wire[:2] + b"\x84\x00\0\1\0\1\0\0\0\0broken"

    with FakeDns({}) as server, pytest.raises(ChallengeError, match="an answer that cannot be read") as caught:
        wait(check(server, timeout_seconds=0.05), transport=garbage)
    assert "the CA would fail on it too" in caught.value.hint


def test_the_first_deadline_counts():
    """The section with the shortest patience ends the wait for all."""
    other = dns.name.from_text("_acme-challenge.other.it")
    with FakeDns({(str(WWW), "TXT"): MISSING, (str(other), "TXT"): nothing("other.it.")}) as server:
        patient = check(server, timeout_seconds=100)
        hasty = PropagationCheck(dns.name.from_text("other.it"), {other: frozenset({"v"})}, patient.servers, 2.0)
        with pytest.raises(ChallengeError, match=r"after 2 s, 1 of 2 addresses of name servers of other\.it\."):
            wait(patient, hasty)


def test_many_failing_servers_are_cut_short():
    """Twenty lines of the same would hide the first."""
    with FakeDns({(str(WWW), "TXT"): MISSING}) as server, pytest.raises(ChallengeError, match="and 4 more") as caught:
        wait(check(*[server] * 10, timeout_seconds=0.1))
    assert caught.value.message.count("NXDOMAIN") == 6


def test_an_address_without_route_is_passed_over_where_its_server_answers():
    """No route to IPv6 from here is not the server's fault."""

    def no_ipv6(wire, endpoint, *, timeout_seconds, tcp):
        if endpoint.is_ipv6:
            raise NoResponseError(str(endpoint), NoResponseReason.NO_ROUTE)
        return without_waiting(wire, endpoint, timeout_seconds=timeout_seconds, tcp=tcp)

    with FakeDns({(str(WWW), "TXT"): SHOWN}) as server:
        four = NameServerAddress(Endpoint(server.address, server.port, "ns1.example.it"))
        six = NameServerAddress(Endpoint("2001:db8::1", 53, "ns1.example.it"))
        clock, seen = wait(PropagationCheck(ZONE, {WWW: frozenset({"v"})}, (four, six), 5.0), transport=no_ipv6)
        assert (clock.slept, seen[-1][:2]) == ([], (1, 1))
        alone = NameServerAddress(Endpoint("2001:db8::2", 53, "ns2.example.it"))
        with pytest.raises(ChallengeError, match=r"ns2\.example\.it .* no route from here") as caught:
            wait(PropagationCheck(ZONE, {WWW: frozenset({"v"})}, (four, alone), 1.0), transport=no_ipv6)
    assert "propagation = resolvers" in caught.value.hint


def progress(address, host, seen):
    one = ServerProgress(
        PropagationCheck(ZONE, {WWW: frozenset({"v"})}, (), 1.0), NameServerAddress(Endpoint(address, 53, host))
    )
    one.last_result = CheckResult(seen, "")
    return one


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([("192.0.2.1", "ns1", CheckStatus.SHOWN)], True),
        ([("192.0.2.1", "ns1", CheckStatus.MISSING)], True),
        ([("192.0.2.1", "ns1", CheckStatus.NO_ANSWER)], False),
        ([("192.0.2.1", "ns2", CheckStatus.SHOWN)], False),
        ([("192.0.2.1", "ns1", CheckStatus.SHOWN), ("2001:db8::9", "ns3", CheckStatus.SHOWN)], False),
        ([], False),
    ],
)
def test_silent_ipv6_is_passed_over_only_where_all_ipv6_is_silent(others, expected):
    """Where some IPv6 works, an IPv6 address that stays silent is the server's fault."""
    one = progress("2001:db8::1", "ns1", CheckStatus.NO_ANSWER)
    assert unreachable_from_here(one, [one, *[progress(*other) for other in others]]) is expected


def after_update(server, *others, listed=True, timeout_seconds=100.0):
    """Return a check of the server that accepted the UPDATE, and of others."""
    rest = check(*others)
    accepted = NameServerAddress(
        Endpoint(server.address, server.port, "ns9.example.it"), accepted=True, listed=listed, key=KEY
    )
    return PropagationCheck(ZONE, rest.values, (accepted, *rest.servers), timeout_seconds)


def test_the_server_that_accepted_is_asked_first():
    """As long as it shows nothing, nobody else is asked: a resolver would remember that there was nothing."""
    with FakeDns({(str(WWW), "TXT"): first(MISSING, SHOWN)}) as accepted, FakeDns({(str(WWW), "TXT"): SHOWN}) as other:
        clock, seen = wait(after_update(accepted, other))
        assert len(clock.slept) == 1
        assert [line[:2] for line in seen] == [(0, 2), (2, 2)]
        assert other.asked[str(WWW), "TXT"] == 1


def test_what_was_accepted_and_is_not_there_ends_the_wait():
    """Waiting would not help: seconds are enough, whatever the section's patience."""
    with FakeDns({(str(WWW), "TXT"): MISSING}, key=KEY) as accepted, FakeDns({}) as other:
        with pytest.raises(ChallengeError) as caught:
            wait(after_update(accepted, other))
    assert caught.value.message == (
        f"ns9.example.it (127.0.0.1 port {accepted.port}) accepted the UPDATE of example.it. and, after 10 s,"
        f" does not show {WWW}: NXDOMAIN"
    )
    assert "policy" in caught.value.hint


@pytest.mark.parametrize("behaviour", [silent, lame, fails("REFUSED"), fails("SERVFAIL")])
def test_a_hidden_server_that_cannot_be_asked_is_no_reason_to_wait(behaviour):
    """A hidden primary may answer nobody: then the zone's name servers decide, and they alone are counted."""
    with FakeDns({(str(WWW), "TXT"): behaviour}, key=KEY) as hidden, FakeDns({(str(WWW), "TXT"): SHOWN}) as other:
        clock, seen = wait(after_update(hidden, other, listed=False))
        assert clock.slept == []
        assert seen[-1][:2] == (1, 1)


def test_a_listed_server_that_accepted_and_fails_is_waited_for():
    """The CA asks it too."""
    with FakeDns({(str(WWW), "TXT"): fails("SERVFAIL")}, key=KEY) as accepted:
        with pytest.raises(ChallengeError, match=r"after 30 s, 1 of 1 addresses .* SERVFAIL"):
            wait(after_update(accepted, timeout_seconds=30.0))


@pytest.mark.parametrize("listed", [True, False])
def test_a_view_for_the_key_alone(listed):
    """Where others ask this server too, it is an error; behind a hidden primary it is nobody's concern."""

    def by_key(server, query, tcp):
        return (SHOWN if query.had_tsig else MISSING)(server, query, tcp)

    with FakeDns({(str(WWW), "TXT"): by_key}, key=KEY) as accepted:
        if not listed:
            assert wait(after_update(accepted, listed=False))[0].slept == []
            return
        with pytest.raises(ChallengeError, match="only to who asks with the key"):
            wait(after_update(accepted))


def test_pauses_grow_with_the_time_waited():
    """Short at first; later a share of what has passed, so that little is added to a long delay."""
    pauses = [next_pause_seconds(waited) for waited in (0, 1, 3, 30, 300)]
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.2
    assert pauses[2] <= 0.5
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
