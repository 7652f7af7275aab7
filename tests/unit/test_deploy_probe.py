"""The certificate that a port serves is fetched without trust and in bounded time, and compared."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

import pytest
import trustme

from certbot_garr_tcs.certbot_installer import Lineages
from certbot_garr_tcs.deploy import tls_client
from certbot_garr_tcs.deploy.certificate import fingerprint_of
from certbot_garr_tcs.deploy.probe import name_for_sni, wait_until_served
from certbot_garr_tcs.deploy.settings import STARTTLS, Probe
from certbot_garr_tcs.deploy.tls_client import fetch_certificate
from certbot_garr_tcs.errors import DeployError

NAME = "www.example.it"


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture(scope="module")
def leaf(ca):
    return ca.issue_cert(NAME)


def der_of(leaf):
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


class Server:
    """Serve one connection after another on a free loopback port: ``talk``, then TLS if that returned true."""

    def __init__(self, talk, leaf=None):
        """Listen at once."""
        self.talk, self.leaf, self.names = talk, leaf, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        """Serve until the listener is shut down."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock, contextlib.suppress(OSError):
                sock.settimeout(20)
                if self.talk(sock) and self.leaf:
                    self.serve_tls(sock)

    def serve_tls(self, sock):
        """Make the handshake, and wait for the end."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.leaf.configure_cert(context)
        context.sni_callback = lambda _tls, name, _context: self.names.append(name)
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(1)

    def __enter__(self):
        """Return the server."""
        return self

    def __exit__(self, *_):
        """Stop listening, and wait for the thread."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


# the words before TLS: what the client sends, and what the server answers; the first answer is its greeting

LDAP_ASKED = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
MYSQL_ASKED = bytes.fromhex("20000001008a00000000000121") + bytes(23)
XML = b"<?xml version='1.0'?>"
XMPP_ASKED = XML + (
    b"<stream:stream to=\"www.example.it\" version='1.0' xmlns='jabber:%s' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)
XMPP_OPENED = XML + b"<stream:stream id='1' version='1.0' xmlns='jabber:client' from='www.example.it'>"
XMPP_TLS = b"xmlns='urn:ietf:params:xml:ns:xmpp-tls'"
XMPP_FEATURES = XMPP_OPENED + b"<stream:features><starttls " + XMPP_TLS + b"><required/></starttls></stream:features>"
XMPP_STARTTLS = b"<starttls " + XMPP_TLS + b"/>"


def mysql_greeting(flags, version=10):
    payload = bytes([version]) + b"5.5.5-10.11.19-MariaDB\0" + bytes(4 + 8 + 1) + flags + bytes(31)
    return len(payload).to_bytes(3, "little") + b"\0" + payload


DIALOGUES = {
    "smtp": [
        (b"", b"220-mx.example.it\r\n220 ESMTP\r\n"),
        (b"EHLO localhost\r\n", b"250-mx\r\n250-SIZE 1\r\n250 starttls\r\n"),
        (b"STARTTLS\r\n", b"220 go\r\n"),
    ],
    "lmtp": [
        (b"", b"220 mx.example.it\r\n"),
        (b"LHLO localhost\r\n", b"250-mx\r\n250 STARTTLS\r\n"),
        (b"STARTTLS\r\n", b"220 go\r\n"),
    ],
    "imap": [(b"", b"* OK ready\r\n"), (b"a1 STARTTLS\r\n", b"* CAPABILITY IMAP4rev1\r\na1 ok begin\r\n")],
    "pop3": [(b"", b"+OK ready\r\n"), (b"STLS\r\n", b"+OK begin\r\n")],
    "sieve": [
        (b"", b'"IMPLEMENTATION" "Dovecot"\r\n"STARTTLS"\r\nOK "ready."\r\n'),
        (b"STARTTLS\r\n", b'OK "Begin TLS negotiation now."\r\n'),
    ],
    "nntp": [(b"", b"201 no posting\r\n"), (b"STARTTLS\r\n", b"382 Begin\r\n")],
    "ftp": [(b"", b"220-first\r\nsecond\r\n 221 third\r\n220 ready\r\n"), (b"AUTH TLS\r\n", b"234 AUTH TLS ok\r\n")],
    "xmpp": [
        (XMPP_ASKED % b"client", XMPP_FEATURES),
        (XMPP_STARTTLS, b"<proceed " + XMPP_TLS + b"/>"),
    ],
    "xmpp-server": [
        (XMPP_ASKED % b"server", XMPP_FEATURES),
        (XMPP_STARTTLS, b"<proceed " + XMPP_TLS + b"></proceed>"),
    ],
    "ldap": [(LDAP_ASKED, bytes.fromhex("300c02010178070a010004000400"))],
    "postgres": [(bytes.fromhex("0000000804d2162f"), b"S")],
    "mysql": [(b"", mysql_greeting(b"\xfe\xff")), (MYSQL_ASKED, b"")],
    "mariadb": [(b"", mysql_greeting(b"\x00\x0a")), (MYSQL_ASKED, b"")],
}
"""One agreement for each word of probe-starttls."""

LDAP_LONG_LENGTHS = [bytes.fromhex(head + "02010178070a010004000400") for head in ("30810c", "30840000000c")]


def speak(steps, *, in_pieces=False):
    """Return a talk that wants each of the client's words, and gives each answer, perhaps byte by byte."""

    def talk(sock):
        for wanted, answer in steps:
            heard = b""
            while len(heard) < len(wanted):
                heard += sock.recv(len(wanted) - len(heard)) or wanted
            if heard != wanted:
                sock.sendall(b"unexpected " + heard)
                return False
            for piece in [answer[i : i + 1] for i in range(len(answer))] if in_pieces else [answer]:
                sock.sendall(piece)
        return True

    return talk


def test_each_word_has_a_dialogue():
    """What a section may say is what can be spoken, and each of them is tested here."""
    assert set(STARTTLS) == set(tls_client._DIALOGUES) == set(DIALOGUES)


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize(
    ("protocol", "steps"),
    [(None, []), *DIALOGUES.items(), *(("ldap", [(LDAP_ASKED, answer)]) for answer in LDAP_LONG_LENGTHS)],
)
def test_the_served_certificate_is_fetched(leaf, protocol, steps, in_pieces):
    """At once, or after each protocol's words, however they are cut; nobody asks who signed it."""
    with Server(speak(steps, in_pieces=in_pieces), leaf) as server:
        assert fetch_certificate(Probe("127.0.0.1", server.port, protocol), NAME, 5) == der_of(leaf)
        assert server.names == [NAME]


def test_a_server_that_prefers_no_certificate_shows_one(leaf):
    """Postfix may choose a cipher without a certificate, where a client offers one."""

    def talk(sock):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:ALL:@SECLEVEL=0")
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(1)

    with Server(talk) as server:
        assert fetch_certificate(Probe("127.0.0.1", server.port), NAME, 5) == der_of(leaf)


def say(text):
    """Return a dialogue that sends this, whatever it receives."""

    def talk(sock):
        sock.sendall(text)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass

    return talk


ESCAPES = b"554 \x1b]0;owned\x07\x1b[31mred\x9b\xe2\x80\xae\r\n"


@pytest.mark.parametrize(
    ("protocol", "said", "expected"),
    [
        (None, b"220 plain text\r\n" * 9, r"no TLS handshake at 127.0.0.1:\d+: WRONG_VERSION_NUMBER.*probe-starttls"),
        (None, b"", r"no TLS handshake at 127.0.0.1:\d+: the server closed the connection"),
        ("smtp", b"", r"no STARTTLS for smtp at 127.0.0.1:\d+: the server closed the connection\. Name the right port"),
        ("smtp", b"554 go away\r\n", r"no STARTTLS for smtp at 127.0.0.1:\d+: the server answered '554 go away'"),
        ("smtp", b"220 x\r\n250 x\r\n454 later\r\n", "answered '454 later'"),
        ("smtp", b"220-x", "closed the connection after '220-x'"),
        ("smtp", ESCAPES, "the server answered '554 red[^\x1b\x9b\u202e]*'"),
        ("lmtp", b"220 x\r\n500 what\r\n", "answered '500 what'"),
        ("imap", b"* BYE\r\n", r"answered '\* BYE'"),
        ("imap", b"* PREAUTH x\r\n", r"answered '\* PREAUTH x'"),
        ("imap", b"* OK x\r\na1 BAD what\r\n", "answered 'a1 BAD what'"),
        ("imap", b"* OK x\r\n* BYE\r\n", r"answered '\* BYE'"),
        ("pop3", b"-ERR x\r\n", "answered '-ERR x'"),
        ("pop3", b"+OK x\r\n-ERR no TLS\r\n", "answered '-ERR no TLS'"),
        ("sieve", b'"IMPLEMENTATION" "x"\r\nBYE "x"\r\n', "answered 'BYE \"x\"'"),
        ("sieve", b'OK\r\nNO "x"\r\n', "answered 'NO \"x\"'"),
        ("nntp", b"200 x\r\n580 x\r\n", "answered '580 x'"),
        ("nntp", b"400 x\r\n", "answered '400 x'"),
        ("ftp", b"220 x\r\n500 x\r\n", "answered '500 x'"),
        ("xmpp", XMPP_OPENED + b"<stream:features/>", "no STARTTLS for xmpp at .* the server offers no TLS"),
        ("xmpp", XMPP_OPENED + b"<stream:error><host-unknown/></stream:error></stream:stream>", "'<stream:error><h"),
        ("xmpp", XMPP_FEATURES + b"<failure/></stream:stream>", "answered '<failure/>'"),
        ("ldap", bytes.fromhex("300c02010178070a010104000400"), "no STARTTLS for ldap at .* the server answered"),
        ("ldap", b"HTTP/1.1 400", "answered 'HT'"),
        ("ldap", bytes.fromhex("3003020101"), "the server answered"),
        ("ldap", bytes.fromhex("30050201010a0100"), "the server answered"),
        ("ldap", b"0\x0c\x02", "closed the connection"),
        ("ldap", b"0\xff" + b"\xff" * 127, "closed the connection"),
        ("postgres", b"N", "no STARTTLS for postgres at .* the server answered 'N'"),
        ("mysql", mysql_greeting(b"\x00\xf7"), "no STARTTLS for mysql at .* the server offers no TLS"),
        ("mysql", mysql_greeting(b"\xff\xff", version=9), "answered '5.5.5-10"),
        ("mysql", b"\x1c\0\0\0\xffj\x04Host '::1' is not allowed", "answered .*j Host '::1' is not allowed"),
        ("mysql", b"\x00\0\0\0", "answered ''"),
    ],
)
def test_what_is_no_tls_is_said(protocol, said, expected):
    """Plain text ports, wrong protocols and refusals show what the server answered, in harmless characters."""
    with Server(say(said)) as server, pytest.raises(DeployError, match=expected) as caught:
        fetch_certificate(Probe("127.0.0.1", server.port, protocol), NAME, 5)
    assert str(caught.value).isprintable()


# a peer that wants to hold Certbot up


def drip(first=b""):
    """Return a talk that goes on with one byte every twentieth of a second."""

    def talk(sock):
        sock.sendall(first)
        for _ in range(200):
            time.sleep(0.05)
            sock.sendall(b"2")

    return talk


def flood(first, again):
    """Return a talk that goes on for many megabytes."""

    def talk(sock):
        sock.sendall(first)
        for _ in range(1 << 15):
            sock.sendall(again)

    return talk


def silent(sock):
    while sock.recv(4096):
        pass


HELLO_REQUESTS = b"\x16\x03\x03\x40\x00" + bytes(1 << 14)  # a client ignores each of them (RFC 5246 §7.4.1.1)


@pytest.mark.parametrize(
    ("protocol", "talk", "expected"),
    [
        (None, silent, "no TLS handshake at .*: timed out"),
        (None, drip(b"\x16\x03\x03\x40\x00\x02"), "no TLS handshake at .*: timed out"),
        ("smtp", silent, "no STARTTLS for smtp at .*: timed out"),
        ("postgres", silent, "no STARTTLS for postgres at .*: timed out"),
        ("smtp", drip(b"220"), "no STARTTLS for smtp at .*: timed out after '2202"),
        ("imap", drip(b"* OK x\r\n* "), "no STARTTLS for imap at .*: timed out after '[*] 2"),
        ("ldap", drip(b"0\x82\x40\x00"), "no STARTTLS for ldap at .*: timed out after '22"),
        ("mysql", drip(b"\xff\xff\xff\x00"), "no STARTTLS for mysql at .*: timed out after '22"),
        ("xmpp", drip(XMPP_OPENED), 'no STARTTLS for xmpp at .*: timed out after "<[?]xml'),
    ],
)
def test_an_attempt_ends_in_bounded_time(protocol, talk, expected):
    """Silence, or a few bytes at a time: one deadline for everything."""
    with Server(talk) as server:
        started = time.monotonic()
        with pytest.raises(DeployError, match=expected) as caught:
            fetch_certificate(Probe("127.0.0.1", server.port, protocol), NAME, 0.35)
        assert time.monotonic() - started < 5
        assert caught.value.hint


@pytest.mark.parametrize(
    ("protocol", "talk"),
    [
        (None, flood(b"", HELLO_REQUESTS)),
        ("smtp", flood(b"", b"220-x\r\n" * 99)),
        ("imap", flood(b"* OK x\r\n", b"2" * 999)),
        ("mysql", flood(b"\xff\xff\xff\x00", b"2" * 999)),
        ("ldap", flood(b"0\x84\xff\xff\xff\xff", b"2" * 999)),
        ("xmpp", flood(XMPP_FEATURES, b"<proceed" * 99)),
    ],
)
def test_an_attempt_reads_so_much_and_no_more(protocol, talk):
    """Whoever never stops: one limit holds for the words before TLS, and for the handshake."""
    with Server(talk) as server, pytest.raises(DeployError, match=r"the server sent more than 256 KiB.*\. [A-Z]"):
        fetch_certificate(Probe("127.0.0.1", server.port, protocol), NAME, 20)


def test_a_peer_that_reads_nothing_holds_nobody_up():
    """Sending ends at the deadline too."""
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(OSError, match="timed out"):
        tls_client._Peer(ours, time.monotonic() + 0.2).send(bytes(1 << 24))


def test_nobody_listening_is_said():
    """A closed port has another error than one that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DeployError, match=r"no connection at 127.0.0.1:\d+: Connection refused\. Is the service runn"):
        fetch_certificate(Probe("127.0.0.1", port), None, 5)


@contextlib.contextmanager
def full_listener():
    """Open a port whose queue is full: connecting to it hangs."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_each_address_gets_its_share_of_the_time(leaf, monkeypatch):
    """A host's first address may not answer, its second refuse, and its third serve."""
    with full_listener() as full, socket.create_server(("127.0.0.1", 0)) as gone, Server(speak([]), leaf) as server:
        refused = gone.getsockname()[1]
        gone.close()
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (full, refused)]
        unusable = (socket.AF_PACKET, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0))
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found, unusable, good])
        assert fetch_certificate(Probe("www.example.it", 443), NAME, 1.5) == der_of(leaf)
        started = time.monotonic()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found[:1]] * 9)
        with pytest.raises(DeployError, match=r"no connection at www\.example\.it:443: timed out"):
            fetch_certificate(Probe("www.example.it", 443), NAME, 0.5)
        assert time.monotonic() - started < 2


def test_a_resolver_that_hangs_holds_nobody_up(monkeypatch):
    """getaddrinfo(3) has no timeout of ours; what it raises is said too."""
    ends = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ends.wait(20))
    with pytest.raises(DeployError, match=r"no connection at www.example.it:443: timed out while the address of www"):
        fetch_certificate(Probe("www.example.it", 443), None, 0.3)
    ends.set()

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DeployError, match=r"no connection at www.example.it:443: Name or service not known"):
        fetch_certificate(Probe("www.example.it", 443), None, 5)
    monkeypatch.undo()
    with pytest.raises(DeployError, match=r"no connection at x{64}:443: "):
        fetch_certificate(Probe("x" * 64, 443), None, 5)


def test_a_name_that_sni_cannot_carry_is_said(leaf):
    """The name comes from the section, and may be anything."""
    with Server(speak([]), leaf) as server, pytest.raises(DeployError, match="no TLS handshake"):
        fetch_certificate(Probe("127.0.0.1", server.port), "x" * 64 + ".it", 5)


# waiting for the deployed certificate


class Clock:
    """Count seconds that pass by sleeping."""

    def __init__(self):
        """Begin at zero."""
        self.seconds = 0.0
        self.slept = []

    def sleep(self, seconds):
        """Let time pass."""
        self.slept.append(seconds)
        self.seconds += seconds


def wait(probe, fetch, *, names=(), expected=b"new", lineage_of=lambda _: None):
    clock = Clock()
    wait_until_served(
        probe,
        fingerprint_of(expected),
        names,
        fetch_certificate=fetch,
        lineage_of=lineage_of,
        clock=lambda: clock.seconds,
        sleep=clock.sleep,
    )
    return clock


def test_waiting_ends_when_the_new_certificate_is_served():
    """Old and new workers answer side by side for a while: only the new one three times in a row is good."""
    answers = [b"old", DeployError("no connection"), b"new", b"old", b"new", DeployError("x"), b"new", b"new", b"new"]

    def fetch(probe, server_name, timeout_seconds):
        assert server_name == NAME
        assert timeout_seconds <= probe.timeout_seconds
        answer = answers.pop(0)
        if isinstance(answer, DeployError):
            raise answer
        return answer

    assert wait(Probe(NAME, 443, timeout_seconds=9), fetch, names=(NAME,)).seconds < 1
    assert answers == []


def test_waiting_ends_when_time_is_up():
    """The pauses grow, the last one ends in time, and what was served last is said."""
    clock = Clock()
    with pytest.raises(DeployError, match=r"^\[::1\]:443 serves a certificate that cannot be read.*\(after 9 s\)"):
        wait_until_served(
            Probe("::1", 443, timeout_seconds=9),
            fingerprint_of(b"new"),
            (),
            fetch_certificate=lambda *_: b"old",
            lineage_of=lambda _: None,
            clock=lambda: clock.seconds,
            sleep=clock.sleep,
        )
    assert 8 <= clock.seconds <= 9
    assert max(clock.slept) <= 1


# whose certificate is it?


class CertbotFolder:
    """Certbot's renewal directory, with certificates that are given."""

    def __init__(self, folder):
        """Make it."""
        self.folder = folder
        (folder / "renewal").mkdir()

    def add(self, name, *leaves):
        """Add a lineage with these certificates; the last one is the current one."""
        live, archive = self.folder / "live" / name, self.folder / "archive" / name
        live.mkdir(parents=True)
        archive.mkdir(parents=True)
        for number, leaf in enumerate(leaves, 1):
            (archive / f"cert{number}.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
        (live / "cert.pem").symlink_to(archive / f"cert{len(leaves)}.pem")
        (self.folder / "renewal" / f"{name}.conf").write_text(f"cert = {live}/cert.pem\n[renewalparams]\n")

    @property
    def lineages(self):
        """Return the lineages as our installer reads them."""
        return Lineages(self.folder / "renewal")


SERIAL = r"\(serial [0-9a-f]+, expires \d{4}-\d\d-\d\d \d\d:\d\d UTC\)"
SHARED = rf"Does another server share this name\? Then write probe = localhost:443 and probe-name = {NAME} into"
READS = "See that the service reads the files of this section"


@pytest.mark.parametrize(
    ("host", "served", "expected"),
    [
        (
            NAME,
            "other",
            rf"serves the certificate of lineage other {SERIAL}.*{READS}.*probe-name chooses a virtual host",
        ),
        (NAME, "old", rf"serves an older certificate of lineage www {SERIAL}, and not the one that is dep.*{READS}"),
        (NAME, "foreign", rf"serves another certificate for the same names {SERIAL}.*{SHARED}.*{READS}"),
        ("localhost", "foreign", rf"serves another certificate for the same names {SERIAL}[^?]*{READS}"),
        ("127.0.0.1", "foreign", rf"serves another certificate for the same names {SERIAL}[^?]*{READS}"),
        (NAME, "elsewhere", rf"serves a certificate for a.example, b.example, c.example and 1 more {SERIAL}.*{SHARED}"),
        (
            "localhost",
            "elsewhere",
            rf"serves a certificate for a.example, .*{SERIAL}[^?]*probe-name chooses[^?]*{READS}",
        ),
        (NAME, "nameless", rf"serves a certificate for no name {SERIAL}"),
    ],
)
def test_a_wrong_certificate_is_described(ca, leaf, tmp_path, host, served, expected):  # noqa: PLR0913, PLR0917 - a table
    """Another lineage's, an older one, another server's for the same names, another host's: each has its own hint."""
    letsencrypt, other_ca = CertbotFolder(tmp_path), trustme.CA()
    old = ca.issue_cert(NAME)
    certificates = {
        "other": ca.issue_cert("mail.example.it"),
        "old": old,
        "foreign": other_ca.issue_cert(NAME),
        "elsewhere": other_ca.issue_cert("d.example", "c.example", "b.example", "a.example"),
        "nameless": other_ca.issue_cert(common_name="x"),
    }
    letsencrypt.add("other", certificates["other"])
    letsencrypt.add("www", old, leaf)
    (letsencrypt.folder / "renewal" / "broken.conf").write_text("cert = /nowhere/cert.pem\n[renewalparams]\n")
    with Server(speak([]), certificates[served]) as server:

        def fetch(probe, server_name, timeout_seconds):
            return fetch_certificate(Probe("127.0.0.1", server.port), server_name, timeout_seconds)

        with pytest.raises(DeployError, match=rf"^{host}:443 asked for {NAME} {expected}"):
            wait(
                Probe(host, 443, timeout_seconds=0.01),
                fetch,
                names=(NAME,),
                expected=der_of(leaf),
                lineage_of=letsencrypt.lineages.holder_of,
            )


def with_serial(der, serial):
    """Return a certificate with another serial number, and no good signature any more."""
    rest = der[15 + der[14] :]  # before it: two heads of four bytes, version, tag and length of the serial
    length = bytes([len(serial)]) if len(serial) < 128 else b"\x82" + len(serial).to_bytes(2, "big")
    inner = der[8:13] + b"\x02" + length + serial + rest
    signed = int.from_bytes(der[6:8], "big") + len(inner) - len(der[8:])
    body = b"\x30\x82" + signed.to_bytes(2, "big") + inner
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


def test_a_certificate_made_to_confuse_is_described(leaf):
    """Names are shown in harmless characters, numbers not without end, and what cannot be parsed is no crash."""
    good = der_of(leaf)
    confusing = {
        "escapes": good.replace(b"www.example.it", b"ww\x1b]0;abcd\x07.it"),
        "twice": good.replace(b"\x55\x1d\x0f", b"\x55\x1d\x11"),  # two extensions subjectAltName
        "x400": good.replace(b"\x82\x0ewww", b"\xa3\x0ewww"),
        "version": good[:12] + b"\x05" + good[13:],
        "long": with_serial(good, b"\x01" * 9999),
        "zero": with_serial(good, b"\x00"),
        "empty": b"",
        **{str(number): good[:number] + b"\xff" + good[number + 1 :] for number in range(len(good))},
    }
    messages = {}
    for name, served in confusing.items():
        with pytest.raises(DeployError) as caught:
            wait(Probe(NAME, 443, timeout_seconds=0.1), lambda *_, served=served: served, names=(NAME,))
        messages[name] = str(caught.value)
        assert messages[name].isprintable()
        assert len(messages[name]) < 600
    assert "serves a certificate for ww.it (serial " in messages["escapes"]
    assert f"serial {'1' + '01' * 19}…" in messages["long"]
    assert "serial 0," in messages["zero"]
    for name in ("twice", "x400", "version", "empty"):
        assert "serves a certificate that cannot be read" in messages[name]


@pytest.mark.parametrize(
    ("host", "name", "names", "expected"),
    [
        ("www.example.it", None, ("www.example.it", "a.example.it"), "www.example.it"),
        ("www.example.it", "a.example.it", ("www.example.it",), "a.example.it"),
        ("localhost", None, ("www.example.it",), "www.example.it"),
        ("192.0.2.1", None, ("*.example.it", "192.0.2.1", "www.example.it"), "www.example.it"),
        ("x.example.it", None, ("*.example.it", "example.it"), "x.example.it"),
        ("x.example.it", None, ("*.example.it",), "x.example.it"),
        ("x.example.it", ".x.example.it.", ("*.example.it",), "x.example.it"),
        ("2001:db8::1", None, ("2001:db8::1",), None),
        ("localhost", None, (), "localhost"),
    ],
)
def test_sni_is_a_name_that_the_certificate_is_for(host, name, names, expected):
    """probe-name wins; else the host if the certificate is for it; never an address."""
    assert name_for_sni(Probe(host, 443, server_name=name), names) == expected
