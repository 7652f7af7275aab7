"""Reachability: what http-01 names resolve to, and the one next step."""

from __future__ import annotations

import socketserver
import threading

import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest

from certbot_garr_tcs.challenges.interfaces import Challenge
from certbot_garr_tcs.challenges.reachability import MOST_NAMES, diagnose, look_up
from certbot_garr_tcs.errors import DnsError

ZONE = {
    ("four.example.it", "A"): ["192.0.2.1", "192.0.2.2"],
    ("six.example.it", "AAAA"): ["2001:db8::1"],
    ("both.example.it", "A"): ["192.0.2.1"],
    ("both.example.it", "AAAA"): ["2001:db8::1"],
}


def resolve(name, record_type):
    """Answer from ZONE; the zone of example.org is broken."""
    if name.endswith("example.org"):
        raise DnsError(f"{record_type} of {name}: SERVFAIL")
    return ZONE.get((name, record_type), [])


def asked(*names, kind="http-01"):
    """Make one challenge for each name."""
    return [Challenge(name, kind, "proof") for name in names]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (
            ["four.example.it"],
            (
                "four.example.it resolves to A 192.0.2.1, 192.0.2.2. Open http://four.example.it/ from another "
                "network: port 80 must reach the server that holds the proof."
            ),
        ),
        (
            ["six.example.it"],
            (
                "six.example.it resolves to AAAA 2001:db8::1. Open http://six.example.it/ from another network: "
                "port 80 must reach the server that holds the proof."
            ),
        ),
        (
            ["four.example.it", "both.example.it", "four.example.it"],
            (
                "four.example.it resolves to A 192.0.2.1, 192.0.2.2. both.example.it resolves to A 192.0.2.1, "
                "AAAA 2001:db8::1. Open http://both.example.it/ from another network, over IPv6 and over IPv4: the CA "
                "tries IPv6 first, and both must reach the server that holds the proof, on port 80."
            ),
        ),
        (
            ["both.example.it", "none.example.it", "www.example.org"],
            (
                "both.example.it resolves to A 192.0.2.1, AAAA 2001:db8::1. none.example.it has no address at this "
                "moment. www.example.org: no answer (A of www.example.org: SERVFAIL). Publish an A or AAAA record of "
                "none.example.it that leads to the server that holds the proof."
            ),
        ),
        (
            ["www.example.org", "both.example.it"],
            (
                "www.example.org: no answer (A of www.example.org: SERVFAIL). both.example.it resolves to A 192.0.2.1, "
                "AAAA 2001:db8::1. See why the resolvers give no answer for www.example.org: the CA stops at a "
                "SERVFAIL."
            ),
        ),
        (
            ["2001:db8::1"],
            (
                "2001:db8::1 is an address. Open http://[2001:db8::1]/ from another network: port 80 must reach the "
                "server that holds the proof."
            ),
        ),
    ],
)
def test_says_what_was_seen_and_one_next_step(names, expected):
    """Every name with its addresses, then the step for the worst of them."""
    assert diagnose(asked(*names), resolve) == expected


def test_says_nothing_about_other_challenges():
    """A dns-01 challenge leads the CA to no web server."""
    assert diagnose(asked("four.example.it", kind="dns-01"), resolve) == ""


def test_names_are_looked_up_at_the_same_time_and_not_too_many():
    """Ten slow names take as long as one; more than ten are counted, not looked up."""
    meeting = threading.Barrier(MOST_NAMES, timeout=10)

    def slow(name, record_type):
        meeting.wait()
        return []

    text = diagnose(asked(*(f"n{number}.example.it" for number in range(MOST_NAMES + 2))), slow)
    assert "n9.example.it has no address" in text
    assert "n10" not in text
    assert "2 more names were not looked up." in text


class OneAnswer(socketserver.BaseRequestHandler):
    """Answer a question over UDP from ZONE; what is not in there does not exist."""

    def handle(self):
        """Send the answer, or SERVFAIL for example.org."""
        data, socket = self.request
        query = dns.message.from_wire(data)
        question = query.question[0]
        answer = dns.message.make_response(query)
        name = question.name.to_text(omit_final_dot=True)
        if name.endswith("example.org"):
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name not in {known for known, _ in ZONE}:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        found = ZONE.get((name, dns.rdatatype.to_text(question.rdtype)))
        if found:
            answer.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", question.rdtype, found[::-1]))
        socket.sendto(answer.to_wire(), self.client_address)


@pytest.fixture
def _name_server(monkeypatch):
    """Let this machine's resolver be a name server on loopback."""
    with socketserver.UDPServer(("127.0.0.1", 0), OneAnswer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = server.server_address[1]
        monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("_name_server")
@pytest.mark.parametrize(
    ("name", "record_type", "expected"),
    [
        ("four.example.it", "A", ("192.0.2.1", "192.0.2.2")),
        ("FOUR.example.it.", "AAAA", ()),
        ("six.example.it", "AAAA", ("2001:db8::1",)),
        ("none.example.it", "A", ()),
    ],
)
def test_asks_this_machines_resolvers(name, record_type, expected):
    """Addresses come in a steady order; a name that is not there has none."""
    assert look_up(name, record_type) == expected


@pytest.mark.usefixtures("_name_server")
def test_no_answer_is_an_error_that_says_so():
    """Where no resolver can answer, the error names type and name, and what was said."""
    with pytest.raises(DnsError, match=r"^AAAA of www\.example\.org: .*SERVFAIL"):
        look_up("www.example.org", "AAAA", lifetime_seconds=1)
