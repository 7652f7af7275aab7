"""Questions and their answers, on a real socket; several at once."""

import contextlib
import errno
import socket
import threading
import time

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.tsig
import pytest
from support.fake_dns import FakeDns, fails, first, says, silent, truncated, without_edns, without_waiting

from certbot_garr_tcs.challenges.dns import client as client_module
from certbot_garr_tcs.challenges.dns.client import (
    MOST_THREADS,
    Client,
    NoResponseError,
    NoResponseReason,
    Question,
    raise_errors,
    reason_of,
    run_concurrently,
    send,
)
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint
from certbot_garr_tcs.errors import ChallengeError, DnsError

KEY = dns.tsig.Key("acme.", b"0123456789abcdef0123456789abcdef", "hmac-sha256.")
ZONE = dns.name.from_text("example.it")
WWW = dns.name.from_text("_acme-challenge.www.example.it")
TXT = Question(WWW, dns.rdatatype.TXT)
RECORD = f'{WWW} 60 TXT "value"'


def ask(server, **options):
    return Client(without_waiting).query(server.endpoint, TXT, **options)


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


def test_no_answer_names_question_and_server():
    """A server that gives no answer is named, with what it was asked."""
    with FakeDns({(str(WWW), "TXT"): silent}) as server, pytest.raises(NoResponseError) as caught:
        ask(server)
    assert caught.value.message == f"TXT of {WWW} at 127.0.0.1 port {server.port}: no answer"
    assert caught.value.reason is NoResponseReason.TIMED_OUT


def test_a_closed_port_is_known_at_once():
    """A server that is down is known from ICMP, without waiting for the timeout."""
    with FakeDns({}) as server:
        pass
    started = time.monotonic()
    with pytest.raises(NoResponseError, match="connection refused"):
        Client().query(server.endpoint, TXT, timeouts_seconds=(5.0,))
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENETUNREACH, NoResponseReason.NO_ROUTE),
        (errno.EADDRNOTAVAIL, NoResponseReason.NO_ROUTE),
        (errno.EHOSTUNREACH, NoResponseReason.TIMED_OUT),
        (errno.ECONNREFUSED, NoResponseReason.CLOSED),
        (errno.ECONNRESET, NoResponseReason.BROKEN),
    ],
)
def test_no_route_from_here_is_no_fault_of_the_server(number, reason):
    """The reason of no answer is that of the socket's error."""
    assert reason_of(OSError(number, "")) is reason


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

    def other(wire, endpoint, *, timeout_seconds, tcp):
        message = dns.message.make_query(ZONE, dns.rdatatype.TXT)
        message.id = int.from_bytes(wire[:2], "big")
        return dns.message.make_response(message).to_wire()

    with pytest.raises(DnsError, match="another question"):
        Client(other).query(Endpoint("192.0.2.1"), TXT)


@pytest.mark.parametrize("stray", [b"", b"short", b"xx" + b"\x80" * 10, b"\0\1" + bytes(10)])
def test_a_forged_answer_is_passed_over(stray):
    """What has another ID, or is no answer at all, does not end the wait for the right one (RFC 5452 §9.1)."""
    question, right = b"\0\1" + bytes(10), b"\0\1\x80" + bytes(9)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer():
            _, client = server.recvfrom(512)
            for datagram in (stray, right):
                server.sendto(datagram, client)

        thread = threading.Thread(target=answer)
        thread.start()
        assert send(question, Endpoint(*server.getsockname()), timeout_seconds=10, tcp=False) == right
        thread.join()


def test_a_server_that_stays_silent_is_waited_for_as_long_as_asked():
    """The timeout is one of real time."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        started = time.monotonic()
        with pytest.raises(NoResponseError) as caught:
            send(bytes(12), Endpoint(*server.getsockname()), timeout_seconds=0.05, tcp=False)
    assert caught.value.reason is NoResponseReason.TIMED_OUT
    assert 0.05 <= time.monotonic() - started < 2


def test_a_host_that_is_not_there_is_known_soon(monkeypatch):
    """Only who has taken the connection is waited for as long as an UPDATE may take."""
    monkeypatch.setattr(client_module, "_CONNECT_SECONDS", 0.1)
    with contextlib.ExitStack() as open_sockets:
        full = open_sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # Linux lets one more wait than asked for, and leaves the next SYN unanswered
            waiting = open_sockets.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(full.getsockname())
        started = time.monotonic()
        with pytest.raises(NoResponseError, match="no answer"):
            send(b"x" * 12, Endpoint(*full.getsockname()), timeout_seconds=30.0, tcp=True)
    assert time.monotonic() - started < 5


def test_results_are_in_order():
    """Whichever is ready first, results come in the order of the items."""
    assert run_concurrently(lambda number: number * 2, range(100)) == list(range(0, 200, 2))
    assert run_concurrently(lambda number: number, []) == []


def test_items_wait_at_the_same_time():
    """As many as there are threads wait at one time."""
    barrier = threading.Barrier(MOST_THREADS)
    assert len(run_concurrently(lambda _: barrier.wait(10), range(MOST_THREADS))) == MOST_THREADS


def test_one_error_is_raised_as_it_is():
    """A single failure keeps its class; the others had their turn."""
    done = []

    def work(number):
        done.append(number)
        if number == 1:
            raise DnsError("broken", "Repair it.")
        return number

    outcomes = run_concurrently(work, [0, 1, 2])
    assert sorted(done) == [0, 1, 2]
    with pytest.raises(DnsError, match="broken"):
        raise_errors(outcomes)


def test_several_errors_are_raised_as_one():
    """The same error is shown once, and so is the same hint; all are ``ChallengeError``."""
    with pytest.raises(ChallengeError) as caught:
        raise_errors(["result", *(DnsError(f"error {number % 2}", "Repair it.") for number in range(4))])
    assert str(caught.value) == "2 errors: (1) error 0. Repair it; (2) error 1"


def test_other_exceptions_are_not_caught():
    """A mistake of ours is not a challenge that failed."""
    with pytest.raises(ZeroDivisionError):
        run_concurrently(lambda number: 1 / number, [0, 1])
