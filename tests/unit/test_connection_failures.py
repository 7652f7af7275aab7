"""Why a request to the CA got no answer: each failure is made for real on loopback, and is said to be what it is."""

from __future__ import annotations

import contextlib
import socket
import threading
from datetime import datetime, timedelta, timezone

import pytest
import requests
from support.tls_server import TlsServer

from certbot_garr_tcs.account.connection_failures import explain
from certbot_garr_tcs.sandbox.settings import free_port

NOW = datetime.now(timezone.utc)


def failure(url, **options):
    """Ask in vain; return what is said of it, and whether the request may have been carried out."""
    with pytest.raises(requests.RequestException) as caught:
        requests.get(url, timeout=options.pop("timeout", 5), **options)
    found = explain(caught.value, "The CA", "ca.example:443", "newOrder", NOW)
    assert found.explanation.count("\n") == 0
    assert "object at 0x" not in found.explanation
    return found.explanation, found.was_sent


@pytest.fixture
def listening():
    """Accept one connection, read the request, and then say nothing; ``hang_up`` ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = []

        def accept():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                accepted.append(connection)
                connection.recv(4096)
                if hang_up.is_set():
                    connection.close()

        hang_up = threading.Event()
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"//127.0.0.1:{server.getsockname()[1]}/", hang_up
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in accepted:
            connection.close()


def test_a_host_without_an_address(monkeypatch):
    """A mistake in the URL, or name servers that do not answer."""

    def no_address(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    said, was_sent = failure("https://ca.example/")
    assert said.startswith("ca.example:443 has no address (Name or service not known). See directory-url")
    assert not was_sent


def test_nobody_listens():
    """The firewall is named where there is no connection, and only there."""
    said, was_sent = failure(f"https://127.0.0.1:{free_port()}/")
    assert said.startswith("There is no connection with ca.example:443 (Connection refused). Look at directory-url")
    assert "firewall" in said
    assert not was_sent


def test_a_proxy_that_does_not_answer():
    """HTTPS_PROXY is what is wrong."""
    said, was_sent = failure("https://ca.example/", proxies={"https": f"http://127.0.0.1:{free_port()}"})
    assert said == "The proxy that HTTPS_PROXY names gives no connection with ca.example:443 (Connection refused)."
    assert not was_sent


def test_an_answer_that_takes_too_long(listening):
    """Certbot waits 45 seconds for one answer: the CA is slow, and may have done what it was asked."""
    place, _ = listening
    said, was_sent = failure(f"http:{place}", timeout=0.2)
    assert said == "The CA did not answer newOrder within 45 seconds, Certbot's own limit."
    assert was_sent


def test_a_connection_that_is_closed(listening):
    """The request went out, and no answer came."""
    place, hang_up = listening
    hang_up.set()
    said, was_sent = failure(f"http:{place}")
    assert said == "The CA closed the connection without an answer to newOrder."
    assert was_sent


def test_a_server_that_does_not_speak_tls(listening):
    """Such as one at the port of plain HTTP."""
    place, hang_up = listening
    hang_up.set()
    said, was_sent = failure(f"https:{place}")
    assert said.startswith("There is no TLS connection with ca.example:443 (")
    assert not was_sent


@pytest.mark.parametrize(
    ("days", "address", "trusted", "words"),
    [
        (0, "127.0.0.1", False, "This machine does not trust the TLS certificate of ca.example:443 ("),
        (0, "127.0.0.2", True, "The TLS certificate of ca.example:443 is for another host ("),
        (1000, "127.0.0.1", True, f"By this machine's clock, {NOW:%Y-%m-%d %H:%M} UTC, the TLS certificate of "),
        (-4000, "127.0.0.1", True, "the TLS certificate of ca.example:443 has expired. If that is not the time, set"),
    ],
)
def test_a_certificate_that_does_not_hold(tmp_path, days, address, trusted, words):
    """Trust, host and time are told apart."""
    other = TlsServer(tmp_path, NOW).ca_bundle.read_bytes()
    with TlsServer(tmp_path, NOW + timedelta(days=days), address) as server:
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(server.ca_bundle.read_bytes() if trusted else other)
        said, was_sent = failure(server.directory_url, verify=str(bundle))
    assert words in said
    assert not was_sent
