"""Questions, updates and their answers, on a real socket."""

import contextlib
import errno
import socket
import time

import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig
import pytest
from support.fake_dns import (
    FakeDns,
    applies,
    fails,
    first,
    says,
    shows_txt,
    silent,
    truncated,
    tsig_error,
    without_edns,
)

from certbot_garr_tcs.challenges.dns import transport
from certbot_garr_tcs.challenges.dns.answers import UpdateRefusedError
from certbot_garr_tcs.challenges.dns.client import Client, Question
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
from certbot_garr_tcs.challenges.dns.transport import NoAnswerError, Silence, exchange, silence_of
from certbot_garr_tcs.challenges.dns.updates import LARGEST_OCTETS, TxtRecord, build_update, split
from certbot_garr_tcs.errors import DnsError

KEY = dns.tsig.Key("acme.", b"0123456789abcdef0123456789abcdef", "hmac-sha256.")
ZONE = dns.name.from_text("example.it")
WWW = dns.name.from_text("_acme-challenge.www.example.it")
TXT = Question(WWW, dns.rdatatype.TXT)
RECORD = f'{WWW} 60 TXT "value"'


def update(*values, add=True):
    return build_update(ZONE, [TxtRecord(WWW, value) for value in values], add=add)


def impatient(wire, endpoint, *, timeout_seconds, tcp):
    """Carry as always, but do not wait long for fakes that stay silent."""
    return exchange(wire, endpoint, timeout_seconds=0.2, tcp=tcp)


def ask(server, **options):
    return Client().query(server.endpoint, TXT, timeouts_seconds=(0.3, 0.6), **options)


def test_answers_come_back_whatever_their_code():
    """A refusal of a question is an answer."""
    with FakeDns({(str(WWW), "TXT"): fails("SERVFAIL")}) as server:
        assert ask(server).rcode() == dns.rcode.SERVFAIL


def test_truncated_answers_are_fetched_over_tcp():
    """TC over UDP leads to the whole answer over TCP."""
    with FakeDns({(str(WWW), "TXT"): truncated(says(RECORD))}) as server:
        assert len(ask(server).answer) == 1
        assert server.asked[str(WWW), "TXT"] == 2


def test_a_lost_packet_is_sent_again():
    """One lost packet costs one timeout, not the answer."""
    with FakeDns({(str(WWW), "TXT"): first(silent, says(RECORD))}) as server:
        assert len(ask(server).answer) == 1


def test_silence_is_told_with_server_and_question():
    """No answer at all names question and server."""
    with FakeDns({(str(WWW), "TXT"): silent}) as server, pytest.raises(NoAnswerError) as caught:
        ask(server)
    assert caught.value.message == f"TXT of {WWW} at 127.0.0.1 port {server.port}: no answer"
    assert caught.value.silence is Silence.TIMED_OUT


def test_a_closed_port_is_known_at_once():
    """A server that is down is known from ICMP, without waiting for the timeout."""
    with FakeDns({}) as server:
        pass
    started = time.monotonic()
    with pytest.raises(NoAnswerError, match="connection refused"):
        Client().query(server.endpoint, TXT, timeouts_seconds=(5.0,))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("number", "silence"),
    [
        (errno.ENETUNREACH, Silence.NO_ROUTE),
        (errno.EADDRNOTAVAIL, Silence.NO_ROUTE),
        (errno.EHOSTUNREACH, Silence.TIMED_OUT),
        (errno.ECONNREFUSED, Silence.CLOSED),
        (errno.ECONNRESET, Silence.BROKEN),
    ],
)
def test_no_route_from_here_is_told_apart(number, silence):
    """What our own network lacks is not the server's silence."""
    assert silence_of(OSError(number, "")) is silence


@pytest.mark.parametrize("code", ["FORMERR", "NOTIMP"])
@pytest.mark.parametrize("key", [None, KEY])
def test_a_server_without_edns_is_asked_without(code, key):
    """Who does not understand EDNS is asked again without it, and not with it a second time."""
    with FakeDns({(str(WWW), "TXT"): without_edns(says(RECORD), code)}, key=KEY) as server:
        client = Client()
        assert len(client.query(server.endpoint, TXT, key=key).answer) == 1
        assert server.asked[str(WWW), "TXT"] == 2
        assert len(client.query(server.endpoint, TXT, key=key).answer) == 1
        assert server.asked[str(WWW), "TXT"] == 3


def test_an_error_of_a_server_with_edns_stays_one():
    """FORMERR with and without EDNS is the answer."""
    with FakeDns({(str(WWW), "TXT"): fails("FORMERR")}) as server:
        assert ask(server).rcode() == dns.rcode.FORMERR


def test_garbage_is_no_answer_to_use():
    """An answer that cannot be read is an error that says so."""

    def garbage(wire, endpoint, *, timeout_seconds, tcp):
        return wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0broken"

    with pytest.raises(DnsError, match="cannot be read"):
        Client(garbage).query(Endpoint("192.0.2.1"), TXT)


def test_the_answer_to_another_question_is_no_answer():
    """The question that comes back has to be ours."""
    other = Question(ZONE, dns.rdatatype.TXT)

    with FakeDns({("example.it", "TXT"): says()}) as server:
        wires = []

        def wrong(wire, endpoint, *, timeout_seconds, tcp):
            wires.append(wire)
            answer = FakeDns._answer(server, other_wire(wire, other), tcp=False)
            assert answer is not None
            return answer

        with pytest.raises(DnsError, match="another question"):
            Client(wrong).query(server.endpoint, TXT)


def other_wire(wire, question):
    import dns.message  # noqa: PLC0415

    message = dns.message.make_query(question.name, question.rdtype)
    message.id = int.from_bytes(wire[:2], "big")
    return message.to_wire()


def test_updates_add_and_delete_single_values():
    """Values come and go one by one: what was there stays."""
    with FakeDns({("example.it", "UPDATE"): applies}, key=KEY) as server:
        server.txt[WWW] = {"somebody else's"}
        Client().update([server.endpoint], update("one", "two"), KEY)
        assert server.txt[WWW] == {"somebody else's", "one", "two"}
        Client().update([server.endpoint], update("one", add=False), KEY)
        assert server.txt[WWW] == {"somebody else's", "two"}
        assert all(message.had_tsig for message in server.updates)


def test_an_update_sent_twice_does_no_harm():
    """A lost answer leads to the same UPDATE again, and to the same zone."""

    def swallowed(server, query, tcp):
        applies(server, query, tcp)

    with FakeDns({("example.it", "UPDATE"): first(swallowed, applies)}, key=KEY) as server:
        Client().update([server.endpoint], update("one"), KEY)
        assert server.txt[WWW] == {"one"}
        assert len(server.updates) == 2


@pytest.mark.parametrize(("timeout", "patience"), [(2, 5.0), (30, 30), (3600, 60.0)])
def test_an_update_may_take_as_long_as_the_section_says(timeout, patience):
    """The section's timeout counts, but for a minute at most, and five seconds at least."""
    waited = []

    def slow(wire, endpoint, *, timeout_seconds, tcp):
        waited.append((tcp, timeout_seconds))
        raise NoAnswerError("slow", Silence.TIMED_OUT)

    with pytest.raises(NoAnswerError):
        Client(slow).update([Endpoint("192.0.2.1")], update("one"), KEY, timeout_seconds=timeout)
    assert [seconds for tcp, seconds in waited if tcp] == [patience]


def test_a_host_that_is_not_there_is_known_soon(monkeypatch):
    """Only who has taken the connection is waited for as long as an UPDATE may take."""
    monkeypatch.setattr(transport, "_CONNECT_SECONDS", 0.2)
    with contextlib.ExitStack() as open_sockets:
        full = open_sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # Linux lets one more wait than asked for, and leaves the next SYN unanswered
            waiting = open_sockets.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        started = time.monotonic()
        with pytest.raises(NoAnswerError, match="no answer"):
            exchange(b"x" * 12, Endpoint(*full.getsockname()), timeout_seconds=30.0, tcp=True)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("add", [True, False])
def test_what_a_silent_server_did_is_looked_at(add):
    """An UPDATE whose answer is lost has been made where the server shows it, signed by the same key."""

    def swallowed(server, query, tcp):
        applies(server, query, tcp)

    table = {("example.it", "UPDATE"): swallowed, (str(WWW), "TXT"): shows_txt}
    with FakeDns(table, key=KEY) as server:
        server.txt[WWW] = {"other"} if add else {"other", "one", "two"}
        Client(impatient).update([server.endpoint], update("one", "two", add=add), KEY)
        assert server.txt[WWW] == ({"other", "one", "two"} if add else {"other"})


@pytest.mark.parametrize("shown", [fails("REFUSED"), says(RECORD, aa=False), says(RECORD), silent])
def test_what_does_not_show_the_update_leaves_it_open(shown):
    """One of two values, another answer or none at all is no proof that the UPDATE was made."""
    with FakeDns({("example.it", "UPDATE"): silent, (str(WWW), "TXT"): shown}, key=KEY) as server:
        with pytest.raises(NoAnswerError):
            Client(impatient).update([server.endpoint], update("value", "two"), KEY)


def test_closed_tcp_after_silent_udp_is_silence():
    """What went over UDP may have arrived, whatever becomes of the try over TCP."""

    def udp_alone(wire, endpoint, *, timeout_seconds, tcp):
        raise NoAnswerError("x", Silence.CLOSED if tcp else Silence.TIMED_OUT)

    with pytest.raises(NoAnswerError) as caught:
        Client(udp_alone).update([Endpoint("192.0.2.1")], update("one"), KEY)
    assert caught.value.silence.may_have_arrived


def test_the_address_that_may_have_taken_it_is_the_one_that_counts():
    """Of two addresses without an answer, the one that may have applied the UPDATE is reported."""

    def half_deaf(wire, endpoint, *, timeout_seconds, tcp):
        raise NoAnswerError("x", Silence.CLOSED if endpoint.address == "192.0.2.1" else Silence.TIMED_OUT)

    with pytest.raises(NoAnswerError, match=r"192\.0\.2\.2 port 53: no answer") as caught:
        Client(half_deaf).update([Endpoint("192.0.2.1"), Endpoint("192.0.2.2")], update("one"), KEY)
    assert caught.value.silence.may_have_arrived


def test_large_updates_go_over_tcp():
    """An UPDATE that UDP may not carry never tries UDP."""
    protocols = []

    def noted(server, query, tcp):
        protocols.append(tcp)
        return applies(server, query, tcp)

    with FakeDns({("example.it", "UPDATE"): noted}, key=KEY) as server:
        Client().update([server.endpoint], update(*[f"{number:040}" for number in range(50)]), KEY)
    assert protocols == [True]


def test_the_second_address_is_tried():
    """An address that gives no answer is not the end."""
    with FakeDns({}) as down:
        pass
    with FakeDns({("example.it", "UPDATE"): applies}, key=KEY) as server:
        Client().update([down.endpoint, server.endpoint], update("one"), KEY)
        assert server.txt[WWW] == {"one"}


def test_a_no_after_silence_is_not_the_last_word():
    """The first address may have applied what the second one refuses."""
    with FakeDns({("example.it", "UPDATE"): silent, (str(WWW), "TXT"): silent}, key=KEY) as mute:
        with FakeDns({("example.it", "UPDATE"): fails("REFUSED")}, key=KEY) as server:
            with pytest.raises(DnsError, match="REFUSED") as caught:
                Client(impatient).update([mute.endpoint, server.endpoint], update("one"), KEY)
    assert not isinstance(caught.value, UpdateRefusedError)


@pytest.mark.parametrize("code", ["REFUSED", "NOTAUTH", "NOTZONE", "SERVFAIL", "FORMERR", "NOTIMP", "NXRRSET"])
def test_every_refusal_names_zone_server_and_code(code):
    """A no names zone, server and answer code, and has a next step."""
    with FakeDns({("example.it", "UPDATE"): fails(code)}, key=KEY) as server:
        with pytest.raises(UpdateRefusedError) as caught:
            Client().update([server.endpoint], update("one"), KEY, "[dns-01 example.it]")
    assert caught.value.message == f"UPDATE of example.it. at 127.0.0.1 port {server.port}: {code}"
    assert caught.value.answer == code
    assert caught.value.definite == (code != "SERVFAIL")
    assert caught.value.hint
    assert "{" not in caught.value.hint


@pytest.mark.parametrize("code", ["REFUSED", "NOTAUTH"])
def test_refused_without_key_asks_for_one(code):
    """Who updates without a key is told about keys."""
    with FakeDns({("example.it", "UPDATE"): fails(code)}) as server:
        with pytest.raises(UpdateRefusedError) as caught:
            Client().update([server.endpoint], update("one"), None, "[dns-01 example.it]")
    assert caught.value.hint.startswith("Give [dns-01 example.it] the key that may update example.it.")


@pytest.mark.parametrize(
    ("error", "hint"),
    [("BADKEY", "knows no key acme."), ("BADSIG", "another secret"), ("BADTRUNC", "whole HMACs")],
)
def test_complaints_about_the_signature_are_told_apart(error, hint):
    """NOTAUTH with a TSIG error says which one, and what to compare."""
    with FakeDns({("example.it", "UPDATE"): tsig_error(error)}, key=KEY) as server:
        with pytest.raises(UpdateRefusedError) as caught:
            Client().update([server.endpoint], update("one"), KEY)
    assert caught.value.message.endswith(f": NOTAUTH ({error})")
    assert hint in caught.value.hint
    assert not caught.value.definite, "no signature can prove it"


@pytest.mark.parametrize(
    ("ahead", "says_so"),
    [(3600, "the server's clock is ahead of ours by 3600 s"), (-900, "our clock is ahead of the server's by 900 s")],
)
def test_badtime_says_how_far_the_clocks_are_apart(ahead, says_so):
    """BADTIME carries the server's time: the difference is told, and whose clock is ahead."""
    with FakeDns({("example.it", "UPDATE"): tsig_error("BADTIME", ahead_seconds=ahead)}, key=KEY) as server:
        with pytest.raises(UpdateRefusedError) as caught:
            Client().update([server.endpoint], update("one"), KEY)
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
        with pytest.raises(UpdateRefusedError, match=f": {code}, which is not signed") as caught:
            Client().update([server.endpoint], update("one"), KEY)
    assert not caught.value.definite
    with FakeDns({("example.it", "UPDATE"): fails(code)}) as server, pytest.raises(UpdateRefusedError) as caught:
        Client().update([server.endpoint], update("one"), None)
    assert caught.value.definite, "an UPDATE without a key gets no signed answer"


def test_an_unsigned_yes_is_not_believed():
    """A server that does not sign its answer to a signed UPDATE may be anybody (RFC 8945 §5.3)."""

    def unsigned(server, query, tcp):
        answer = applies(server, query, tcp)
        answer.tsig = None
        return answer

    with FakeDns({("example.it", "UPDATE"): unsigned}, key=KEY) as server:
        with pytest.raises(DnsError, match="is not signed") as caught:
            Client().update([server.endpoint], update("one"), KEY)
    assert not isinstance(caught.value, UpdateRefusedError)


def test_an_answer_by_another_key_is_not_believed():
    """A signature that is not by our key is told, and leaves open what the server did."""
    other = dns.tsig.Key("acme.", b"another secret", "hmac-sha256.")

    def wrongly_signed(server, query, tcp):
        answer = applies(server, query, tcp)
        answer.use_tsig(other)
        return answer

    with FakeDns({("example.it", "UPDATE"): wrongly_signed}, key=KEY) as server:
        with pytest.raises(DnsError, match="not by our key"):
            Client().update([server.endpoint], update("one"), KEY)


def test_an_old_answer_is_not_believed():
    """A signature from another time is told (our own clock may be wrong, too)."""
    with FakeDns({("example.it", "UPDATE"): applies}, key=KEY) as server:
        with pytest.raises(DnsError, match="too old or too new"):
            Client(wall_clock=lambda: time.time() + 3600).update([server.endpoint], update("one"), KEY)


def test_a_silent_server_is_tried_over_tcp_too():
    """UDP that nobody answers ends with a try over TCP, then with a message that names zone and server."""
    with FakeDns({("example.it", "UPDATE"): silent, (str(WWW), "TXT"): shows_txt}, key=KEY) as server:
        with pytest.raises(NoAnswerError) as caught:
            Client(impatient).update([server.endpoint], update("one"), KEY, "[dns-01]")
    assert caught.value.message.startswith(f"UPDATE of example.it. at 127.0.0.1 port {server.port}: ")
    assert "server in [dns-01]" in caught.value.hint
    assert len(server.updates) == 3


def test_updates_are_cut_only_where_they_are_too_large():
    """A thousand values need a few messages; none is too large, none is lost, none is sent twice."""
    records = [TxtRecord(dns.name.from_text(f"_acme-challenge.h{n}.example.it"), f"{n:043}") for n in range(2000)]
    parts = list(split([*records, records[0]]))
    assert [record for part in parts for record in part] == records
    assert len(parts) == 3
    for part in parts:
        message = build_update(ZONE, part, add=True)
        message.use_tsig(KEY)
        assert len(message.to_wire()) <= LARGEST_OCTETS


def test_a_hundred_values_are_one_message():
    """A hundred names stay in one UPDATE."""
    names = [dns.name.from_text(f"_acme-challenge.host{n}.example.it") for n in range(100)]
    assert len(list(split([TxtRecord(name, "x" * 43) for name in names]))) == 1


def test_values_with_odd_characters_arrive():
    """A value is one character-string, whatever is in it."""
    with FakeDns({("example.it", "UPDATE"): applies, (str(WWW), "TXT"): shows_txt}, key=KEY) as server:
        Client().update([server.endpoint], update('a "quoted" \\ ; one'), KEY)
        assert server.txt[WWW] == {'a "quoted" \\ ; one'}
