"""Dynamic updates: what is sent, and what the server's answer means, on a real socket."""

import threading

import dns.name
import dns.tsig
import pytest
from support.fake_dns import FakeDns, applies, fails, first, says, shows_txt, silent, tsig_error, without_waiting

from certbot_garr_tcs.challenges.dns.client import Client, NoResponseError, NoResponseReason
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server
from certbot_garr_tcs.challenges.dns.location import RecordLocation, UpdateTarget
from certbot_garr_tcs.challenges.dns.updates import (
    LARGEST_OCTETS,
    PendingRecord,
    UpdateRejectedError,
    build_update,
    send_update,
    split,
)
from certbot_garr_tcs.errors import DnsError

KEY = dns.tsig.Key("acme.", b"0123456789abcdef0123456789abcdef", "hmac-sha256.")
SERVER = Server("ns.example.it")
ZONE = dns.name.from_text("example.it")
WWW = dns.name.from_text("_acme-challenge.www.example.it")
RECORD = f'{WWW} 60 TXT "value"'


def record(value, name=WWW):
    return PendingRecord(RecordLocation((name,), UpdateTarget(ZONE, (), SERVER)), value)


def send(*endpoints, values=("one",), add=True, transport=without_waiting, key=KEY, **target):
    """Update one name of the zone at a server with these addresses."""
    message = build_update([record(value) for value in values], add=add)
    return send_update(Client(transport), UpdateTarget(ZONE, endpoints, SERVER, key=key, **target), message)


def test_updates_add_and_delete_single_values():
    """Values come and go one by one: what was there stays."""
    with FakeDns({("example.it", "UPDATE"): applies}, key=KEY) as server:
        server.txt[WWW] = {"somebody else's"}
        send(server.endpoint, values=("one", "two"))
        assert server.txt[WWW] == {"somebody else's", "one", "two"}
        send(server.endpoint, add=False)
        assert server.txt[WWW] == {"somebody else's", "two"}
        assert all(message.had_tsig for message in server.updates)


def test_an_update_sent_twice_does_no_harm():
    """A lost answer leads to the same UPDATE again, and to the same zone."""

    def swallowed(server, query, tcp):
        applies(server, query, tcp)

    with FakeDns({("example.it", "UPDATE"): first(swallowed, applies)}, key=KEY) as server:
        send(server.endpoint)
        assert server.txt[WWW] == {"one"}
        assert len(server.updates) == 2


@pytest.mark.parametrize(("timeout", "patience"), [(2, 5.0), (30, 30), (3600, 60.0)])
def test_an_update_may_take_as_long_as_the_section_says(timeout, patience):
    """The section's timeout counts, but for a minute at most, and five seconds at least."""
    waited = []

    def slow(wire, endpoint, *, timeout_seconds, tcp):
        waited.append((tcp, timeout_seconds))
        raise NoResponseError("slow", NoResponseReason.TIMED_OUT)

    with pytest.raises(NoResponseError):
        send(Endpoint("192.0.2.1"), transport=slow, timeout_seconds=timeout)
    assert [seconds for tcp, seconds in waited if tcp] == [patience]


@pytest.mark.parametrize("add", [True, False])
def test_a_silent_server_is_asked_what_it_did(add):
    """An UPDATE whose answer is lost has been made where the server shows it, signed by the same key."""

    def swallowed(server, query, tcp):
        applies(server, query, tcp)

    table = {("example.it", "UPDATE"): swallowed, (str(WWW), "TXT"): shows_txt}
    with FakeDns(table, key=KEY) as server:
        server.txt[WWW] = {"other"} if add else {"other", "one", "two"}
        send(server.endpoint, values=("one", "two"), add=add)
        assert server.txt[WWW] == ({"other", "one", "two"} if add else {"other"})


@pytest.mark.parametrize("shown", [fails("REFUSED"), says(RECORD, aa=False), says(RECORD), silent])
def test_what_does_not_show_the_update_leaves_it_open(shown):
    """One of two values, another answer or none at all is no proof that the UPDATE was made."""
    with FakeDns({("example.it", "UPDATE"): silent, (str(WWW), "TXT"): shown}, key=KEY) as server:
        with pytest.raises(NoResponseError):
            send(server.endpoint, values=("value", "two"))


def test_the_address_that_may_have_taken_it_is_the_one_that_counts():
    """Of two addresses without an answer, the one that may have applied the UPDATE is reported."""

    def half_deaf(wire, endpoint, *, timeout_seconds, tcp):
        raise NoResponseError(
            "x", NoResponseReason.CLOSED if endpoint.address == "192.0.2.1" else NoResponseReason.TIMED_OUT
        )

    with pytest.raises(NoResponseError, match=r"192\.0\.2\.2 port 53: no answer") as caught:
        send(Endpoint("192.0.2.1"), Endpoint("192.0.2.2"), transport=half_deaf)
    assert caught.value.reason.may_have_arrived


def test_large_updates_go_over_tcp():
    """An UPDATE that UDP may not carry never tries UDP."""
    protocols = []

    def applies_by(server, query, tcp):
        protocols.append(tcp)
        return applies(server, query, tcp)

    with FakeDns({("example.it", "UPDATE"): applies_by}, key=KEY) as server:
        send(server.endpoint, values=[f"{number:040}" for number in range(50)])
    assert protocols == [True]


def test_the_second_address_is_tried():
    """An address that gives no answer is not the end."""
    with FakeDns({}) as down:
        pass
    with FakeDns({("example.it", "UPDATE"): applies}, key=KEY) as server:
        send(down.endpoint, server.endpoint)
        assert server.txt[WWW] == {"one"}


def test_a_no_after_silence_is_not_the_last_word():
    """The first address may have applied what the second one refuses."""
    with FakeDns({("example.it", "UPDATE"): silent, (str(WWW), "TXT"): silent}, key=KEY) as mute:
        with FakeDns({("example.it", "UPDATE"): fails("REFUSED")}, key=KEY) as server:
            with pytest.raises(DnsError, match="REFUSED") as caught:
                send(mute.endpoint, server.endpoint)
    assert not isinstance(caught.value, UpdateRejectedError)


@pytest.mark.parametrize("code", ["REFUSED", "NOTAUTH", "NOTZONE", "SERVFAIL", "FORMERR", "NOTIMP", "NXRRSET"])
def test_every_refusal_names_zone_server_and_code(code):
    """A no names zone, server and answer code, and has a next step."""
    with FakeDns({("example.it", "UPDATE"): fails(code)}, key=KEY) as server:
        with pytest.raises(UpdateRejectedError) as caught:
            send(server.endpoint, section="[dns-01 example.it]")
    assert caught.value.message == f"UPDATE of example.it. at 127.0.0.1 port {server.port}: {code}"
    assert caught.value.answer == code
    assert caught.value.definite == (code != "SERVFAIL")
    assert caught.value.hint
    assert "{" not in caught.value.hint


@pytest.mark.parametrize("code", ["REFUSED", "NOTAUTH"])
def test_refused_without_key_asks_for_one(code):
    """Who updates without a key is advised about keys."""
    with FakeDns({("example.it", "UPDATE"): fails(code)}) as server:
        with pytest.raises(UpdateRejectedError) as caught:
            send(server.endpoint, key=None, section="[dns-01 example.it]")
    assert caught.value.hint.startswith("Give [dns-01 example.it] the key that may update example.it.")


@pytest.mark.parametrize(
    ("error", "hint"),
    [("BADKEY", "knows no key acme."), ("BADSIG", "another secret"), ("BADTRUNC", "whole HMACs")],
)
def test_tsig_errors_of_the_server_are_named(error, hint):
    """NOTAUTH with a TSIG error says which one, and what to compare."""
    with FakeDns({("example.it", "UPDATE"): tsig_error(error)}, key=KEY) as server:
        with pytest.raises(UpdateRejectedError) as caught:
            send(server.endpoint)
    assert caught.value.message.endswith(f": NOTAUTH ({error})")
    assert hint in caught.value.hint
    assert not caught.value.definite, "no signature can prove it"


@pytest.mark.parametrize(
    ("ahead", "says_so"),
    [(3600, "the server's clock is ahead of ours by 3600 s"), (-900, "our clock is ahead of the server's by 900 s")],
)
def test_badtime_says_how_far_the_clocks_are_apart(ahead, says_so):
    """BADTIME carries the server's time: the difference is reported, and whose clock is ahead."""
    with FakeDns({("example.it", "UPDATE"): tsig_error("BADTIME", ahead_seconds=ahead)}, key=KEY) as server:
        with pytest.raises(UpdateRejectedError) as caught:
            send(server.endpoint)
    assert caught.value.message.endswith(f": NOTAUTH (BADTIME, {says_so})")
    assert "NTP" in caught.value.hint


@pytest.mark.parametrize("code", ["REFUSED", "NOTAUTH", "NOTZONE", "FORMERR", "NOTIMP"])
def test_an_unsigned_no_is_not_the_last_word(code):
    """Anybody can say no to a signed UPDATE without a signature: whether it was made stays open."""

    def unsigned(server, query, tcp):
        answer = fails(code)(server, query, tcp)
        answer.tsig = None
        return answer

    with FakeDns({("example.it", "UPDATE"): unsigned}, key=KEY) as server:
        with pytest.raises(UpdateRejectedError, match=f": {code}, which is not signed") as caught:
            send(server.endpoint)
    assert not caught.value.definite
    with FakeDns({("example.it", "UPDATE"): fails(code)}) as server, pytest.raises(UpdateRejectedError) as caught:
        send(server.endpoint, key=None)
    assert caught.value.definite, "an UPDATE without a key gets no signed answer"


def test_an_unsigned_yes_is_not_trusted():
    """A server that does not sign its answer to a signed UPDATE may be anybody (RFC 8945 §5.3)."""

    def unsigned(server, query, tcp):
        answer = applies(server, query, tcp)
        answer.tsig = None
        return answer

    with FakeDns({("example.it", "UPDATE"): unsigned}, key=KEY) as server:
        with pytest.raises(DnsError, match="is not signed") as caught:
            send(server.endpoint)
    assert not isinstance(caught.value, UpdateRejectedError)


def test_an_answer_by_another_key_is_not_trusted():
    """A signature that is not by our key is reported, and leaves open what the server did."""
    other = dns.tsig.Key("acme.", b"another secret", "hmac-sha256.")

    def wrongly_signed(server, query, tcp):
        answer = applies(server, query, tcp)
        answer.use_tsig(other)
        return answer

    with FakeDns({("example.it", "UPDATE"): wrongly_signed}, key=KEY) as server:
        with pytest.raises(DnsError, match="not by our key"):
            send(server.endpoint)


def test_an_old_answer_is_not_trusted(monkeypatch):
    """A signature from another time is reported (our own clock may be wrong, too)."""
    sign, ours = dns.tsig.sign, threading.current_thread()

    def sign_late(wire, key, rdata, now, *rest):
        return sign(wire, key, rdata, now - (3600 if threading.current_thread() is not ours else 0), *rest)

    monkeypatch.setattr(dns.tsig, "sign", sign_late)
    with FakeDns({("example.it", "UPDATE"): applies}, key=KEY) as server:
        with pytest.raises(DnsError, match="too old or too new"):
            send(server.endpoint)


def test_a_silent_server_is_tried_over_tcp_too():
    """UDP that nobody answers ends with a try over TCP, then with a message that names zone and server."""
    with FakeDns({("example.it", "UPDATE"): silent, (str(WWW), "TXT"): shows_txt}, key=KEY) as server:
        with pytest.raises(NoResponseError) as caught:
            send(server.endpoint)
    assert caught.value.message.startswith(f"UPDATE of example.it. at 127.0.0.1 port {server.port}: ")
    assert "server in [dns-01]" in caught.value.hint
    assert len(server.updates) == 3


def test_updates_are_cut_only_where_they_are_too_large():
    """What does not fit into one message goes into the next; none is too large, none is lost, none is sent twice."""
    records = [record(f"{n:0255}", dns.name.from_text(f"_acme-challenge.h{n}.example.it")) for n in range(300)]
    parts = list(split([*records, records[0]]))
    assert [one for part in parts for one in part] == records
    assert len(parts) == 2
    message = build_update(parts[0], add=True)
    message.use_tsig(KEY)
    assert LARGEST_OCTETS - 10_000 < len(message.to_wire()) <= LARGEST_OCTETS


def test_a_hundred_values_are_one_message():
    """A hundred names stay in one UPDATE."""
    names = [dns.name.from_text(f"_acme-challenge.host{n}.example.it") for n in range(100)]
    assert len(list(split([record("x" * 43, name) for name in names]))) == 1


def test_values_with_odd_characters_arrive():
    """A value is one character-string, whatever is in it."""
    with FakeDns({("example.it", "UPDATE"): applies, (str(WWW), "TXT"): shows_txt}, key=KEY) as server:
        send(server.endpoint, values=('a "quoted" \\ ; one',))
        assert server.txt[WWW] == {'a "quoted" \\ ; one'}
