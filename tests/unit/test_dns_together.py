"""Several slow things at once, and what is around this machine."""

import threading

import dns.resolver
import pytest

from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
from certbot_garr_tcs.challenges.dns.lookup import system_surroundings
from certbot_garr_tcs.challenges.dns.together import AT_ONCE, results, together
from certbot_garr_tcs.errors import ChallengeError, DnsError


def test_results_are_in_order():
    """Whoever is ready first, results come in the order of the items."""
    assert together(lambda number: number * 2, range(100)) == list(range(0, 200, 2))
    assert together(lambda number: number, []) == []


def test_items_wait_side_by_side():
    """As many as there are threads wait at one time."""
    barrier = threading.Barrier(AT_ONCE)
    assert len(together(lambda _: barrier.wait(10), range(AT_ONCE))) == AT_ONCE


def test_one_error_is_raised_as_it_is():
    """A single failure keeps its class; the others had their turn."""
    done = []

    def work(number):
        done.append(number)
        if number == 1:
            raise DnsError("broken", "mend it")
        return number

    outcomes = together(work, [0, 1, 2])
    assert sorted(done) == [0, 1, 2]
    with pytest.raises(DnsError, match="broken"):
        results(outcomes)


def test_several_errors_are_told_together():
    """The same error is told once, five are told in full, the rest is counted; the first hint stands."""
    errors = [DnsError(f"error {number % 8}", f"hint {number}") for number in range(16)]
    with pytest.raises(ChallengeError) as caught:
        results(errors)
    assert caught.value.message == "error 0; error 1; error 2; error 3; error 4; and 3 more like these"
    assert caught.value.hint == "hint 0"


def test_other_exceptions_are_not_swallowed():
    """A mistake of ours is not a challenge that failed."""
    with pytest.raises(ZeroDivisionError):
        together(lambda number: 1 / number, [0, 1])


@pytest.fixture
def resolv_conf(tmp_path, monkeypatch):
    """Give dnspython another /etc/resolv.conf."""
    path = tmp_path / "resolv.conf"
    read = dns.resolver.Resolver.read_resolv_conf
    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", lambda self, _: read(self, str(path)))
    return path


def test_the_machine_s_resolvers(resolv_conf):
    """Name servers are taken from resolv.conf, hosts from the system's own tables."""
    resolv_conf.write_text("search example.it\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n")
    found = system_surroundings()
    assert found.resolvers == (Endpoint("192.0.2.1"), Endpoint("2001:db8::1"))
    assert "127.0.0.1" in found.hosts("localhost")
    assert list(found.hosts("x" * 300)) == []


def test_a_machine_without_resolvers(resolv_conf):
    """No resolv.conf, or an empty one, is no error: server in the section may be enough."""
    assert system_surroundings().resolvers == ()
    resolv_conf.write_text("")
    assert system_surroundings().resolvers == ()
