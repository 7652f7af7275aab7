"""A service's commands are run with a limit, and its port is looked at without trust."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

import pytest
import trustme

from certbot_garr_tcs.deploy import commands
from certbot_garr_tcs.deploy.certificate import fingerprint_of
from certbot_garr_tcs.deploy.commands import CommandFailedError, _environment, run
from certbot_garr_tcs.deploy.probe import name_for_sni, served_leaf, wait_until_served
from certbot_garr_tcs.deploy.starttls import starttls
from certbot_garr_tcs.deploy.targets import Probe
from certbot_garr_tcs.errors import DeployError


def python(code):
    return [sys.executable, "-c", code]


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


# commands


def test_a_green_command_says_nothing():
    """Exit status 0 is good, and there is no shell: words are words."""
    run([*python("import sys; assert sys.argv[1] == '$HOME && x'"), "$HOME && x"], 30)


def test_a_red_command_tells_what_it_said():
    """Exit status and the end of the output, both streams, are in one line of the error."""
    with pytest.raises(CommandFailedError, match=r"exit status 3: …(x*) out err\. Run it by hand") as caught:
        run(python("import sys; print('x' * 9999); print('out', flush=True); sys.stderr.write('err'); sys.exit(3)"), 30)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_a_silent_or_killed_command_is_told_too():
    """A command without output, and one that a signal ended, are named with their end."""
    with pytest.raises(CommandFailedError, match=r"^false: exit status 1\. Run"):
        run(["false"], 30)
    with pytest.raises(CommandFailedError, match=r"ended by signal 9"):
        run(python("import os; os.kill(os.getpid(), 9)"), 30)


def test_a_missing_command_is_not_a_red_one():
    """What cannot be run is another error than a test that says no."""
    with pytest.raises(DeployError, match=r"cannot run /no/such -t: No such file or directory") as caught:
        run(["/no/such", "-t"], 30)
    assert not isinstance(caught.value, CommandFailedError)


@pytest.mark.parametrize("deaf", [False, True])
def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path, monkeypatch, deaf):
    """Time is up: the whole process group goes, also where it ignores SIGTERM."""
    monkeypatch.setattr(commands, "_GRACE_SECONDS", 0.2)
    pids = tmp_path / "pids"
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" if deaf else ""
    code = (
        f"{ignore}import os, subprocess, sys, time; child = subprocess.Popen(['sleep', '60']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}'); print('still here', flush=True);"
        "time.sleep(60)"
    )
    with pytest.raises(DeployError, match=r"did not end within 1 s: still here\. Run it by hand; command-timeout"):
        run(python(code), 1)
    deadline = time.monotonic() + 5
    while not all(gone(pid) for pid in pids.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(gone(pid) for pid in pids.read_text().split())


def test_a_command_that_prints_without_end_is_ended(tmp_path):
    """Nothing of it is kept but the end; a whole disk of it would be, in a file."""
    code = "import os, sys\nwhile True: os.write(1, b'no end ' * 9999)"
    with pytest.raises(
        DeployError, match=r"printed more than 16 MiB, and was ended: ….*no end.*\. Run it by"
    ) as caught:
        run(python(code), 60)
    assert len(str(caught.value)) < 1000
    assert not isinstance(caught.value, CommandFailedError)


def test_what_a_command_prints_cannot_reach_the_terminal_raw(capfd):
    """Escapes, carriage returns and letters that turn the line round are the service's user's to print."""
    evil = "\x1b]0;title\x07\x1b[2J\rfake: ok\u202egnp\x9b1m\x00\x08"
    with pytest.raises(CommandFailedError) as caught:
        run(python(f"import sys; sys.stdout.buffer.write({evil.encode()!r}); sys.exit(1)"), 30)
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("exit status 1: fake: ok gnp 1m. Run it by hand, and correct what it names.")
    assert capfd.readouterr() == ("", "")


def test_the_end_of_the_output_is_returned():
    """What systemctl show prints is read by us."""
    assert run(python("print('x' * 9999); print('A=b')"), 30).splitlines()[-1] == "A=b"


def test_what_was_printed_last_is_not_lost():
    """The command ends while we are elsewhere."""
    assert run(["sh", "-c", "echo first; sleep 0.2; echo last"], 30, lambda: time.sleep(0.6)) == "first\nlast\n"


def test_somebody_hears_that_a_command_still_runs():
    """For a restart of minutes."""
    heard = []
    run(["sleep", "0.3"], 30, lambda: heard.append(1))
    assert heard


def test_a_daemon_that_keeps_the_output_open_does_not_hold_us_up(tmp_path):
    """A reload may start a daemon that inherits its output and lives on."""
    pid = tmp_path / "pid"
    started = time.monotonic()
    assert run(["sh", "-c", f"sleep 30 & echo $! | tee {pid}; exec sleep 0.2"], 20) == pid.read_text()
    assert time.monotonic() - started < 10
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_an_interrupt_ends_the_command():
    """Control-C does not leave a test or reload behind."""
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(["sleep", "30"], 30)
    timer.join()


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"PATH": "/snap/certbot/1/bin:/usr/bin", "SNAP": "/snap/certbot/1", "CERTBOT_SNAPPED": "True"}, "/usr/bin"),
        ({"PATH": "/snap/certbot/1/bin:/usr/bin", "SNAP": "/snap/certbot/1"}, "/snap/certbot/1/bin:/usr/bin"),
        ({"PATH": "/usr/bin"}, "/usr/bin"),
    ],
)
def test_the_hosts_commands_get_the_hosts_libraries(given, path):
    """Certbot's snap puts its own first: a command of the host would load the wrong ones."""
    kept = _environment(given)
    assert (kept["PATH"], kept["LC_ALL"]) == (path, "C")


# the served leaf


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


class Server:
    """Serve one connection after another on a free loopback port: words in clear, then TLS."""

    def __init__(self, leaf, talk=None):
        """Listen at once."""
        self.leaf, self.talk, self.names = leaf, talk, []
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
                sock.settimeout(5)
                if self.talk is not None and not self.talk(sock):
                    continue
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


def der_of(leaf):
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


def expect(sock, *steps):
    for wanted, answer in steps:
        if wanted is not None:
            assert sock.recv(4096) == wanted
        sock.sendall(answer)
    return True


def smtp(sock):
    return expect(
        sock,
        (None, b"220-mx.example.it\r\n220 ESMTP\r\n"),
        (b"EHLO localhost\r\n", b"250-mx\r\n250-SIZE 1\r\n250 starttls\r\n"),
        (b"STARTTLS\r\n", b"220 go\r\n"),
    )


def imap(sock):
    return expect(sock, (None, b"* OK ready\r\n"), (b"a1 STARTTLS\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK begin\r\n"))


LDAP_ASKED = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
LDAP_YES = bytes.fromhex("300c02010178070a010004000400")
LDAP_YES_LONG = bytes.fromhex("30840000000c02010178070a010004000400")
LDAP_NO = bytes.fromhex("300c02010178070a010104000400")


def ldap(sock):
    return expect(sock, (LDAP_ASKED, LDAP_YES))


def ldap_long(sock):
    return expect(sock, (LDAP_ASKED, bytes.fromhex("30810c") + LDAP_YES[2:]))


def postgres(sock):
    return expect(sock, (bytes.fromhex("0000000804d2162f"), b"S"))


@pytest.mark.parametrize(
    ("protocol", "talk"),
    [
        (None, None),
        ("smtp", smtp),
        ("imap", imap),
        ("ldap", ldap),
        ("ldap", ldap_long),
        ("postgres", postgres),
    ],
)
def test_the_served_leaf_is_read(ca, protocol, talk):
    """Directly, or after each protocol's words, the leaf comes back as DER; nobody asks who signed it."""
    leaf = ca.issue_cert("www.example.it")
    with Server(leaf, talk) as server:
        probe = Probe("127.0.0.1", server.port, protocol)
        assert served_leaf(probe, "www.example.it", 5) == der_of(leaf)
        assert server.names == ["www.example.it"]


def say(text):
    def talk(sock):
        sock.sendall(text)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass

    return talk


@pytest.mark.parametrize(
    ("protocol", "talk", "expected"),
    [
        (None, say(b"220 plain text\r\n" * 9), r"no TLS handshake at 127.0.0.1:\d+: "),
        (None, lambda _: None, r"no TLS handshake at 127.0.0.1:\d+: "),
        ("smtp", say(b""), "no STARTTLS for smtp: the server answered ''"),
        ("smtp", say(b"554 go away\r\n"), "no STARTTLS for smtp: the server answered '554 go away'"),
        ("smtp", say(b"220 x\r\n250 SIZE 1\r\n"), "no STARTTLS for smtp: the server answered 'SIZE 1'"),
        ("smtp", say(b"220 x\r\n250 STARTTLS\r\n454 later\r\n"), "answered '454 later'"),
        ("smtp", say(b"220-x\r\n" * 200), "answered 'no end'"),
        ("smtp", say(b"2" * 5000), "answered '2222"),
        ("imap", say(b"* BYE\r\n"), r"no STARTTLS for imap: the server answered '\* BYE'"),
        ("imap", say(b"* OK x\r\na1 BAD what\r\n"), "answered 'a1 BAD what'"),
        ("imap", say(b"* OK x\r\n" * 200), "answered 'no end'"),
        ("ldap", say(LDAP_NO), "no STARTTLS for ldap: the server answered"),
        ("ldap", say(b"HTTP/1.1 400"), "answered 'HT'"),
        ("ldap", say(LDAP_YES_LONG), "answered '0"),
        ("ldap", say(bytes.fromhex("3003020101")), "no STARTTLS for ldap"),
        ("ldap", say(b"0\x0c\x02"), "no STARTTLS for ldap"),
        ("postgres", say(b"N"), "no STARTTLS for postgres: the server answered 'N'"),
        ("postgres", say(b""), "no STARTTLS for postgres: the server answered ''"),
    ],
)
def test_what_is_no_tls_is_said(ca, protocol, talk, expected):
    """Plain text ports, wrong protocols and refusals show what the server answered."""
    with Server(ca.issue_cert("x"), talk) as server, pytest.raises(DeployError, match=expected):
        served_leaf(Probe("127.0.0.1", server.port, protocol), None, 5)


def test_nobody_listening_is_said():
    """A port that nobody answers, and one that is closed, are told apart."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(DeployError, match=r"no TLS handshake at 127.0.0.1:\d+: .*timed out"):
            served_leaf(Probe("127.0.0.1", port), None, 0.3)
    with pytest.raises(DeployError, match=r"no connection at 127.0.0.1:\d+: Connection refused"):
        served_leaf(Probe("127.0.0.1", port), None, 5)


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


def test_waiting_ends_when_the_new_leaf_is_served():
    """Old and new workers answer side by side for a while: only the new leaf three times in a row is good."""
    clock = Clock()
    answers = [b"old", DeployError("no connection"), b"new", b"old", b"new", b"new", b"new"]

    def look(probe, server_name, timeout_seconds):
        assert server_name == "www.example.it"
        assert timeout_seconds <= probe.timeout_seconds
        answer = answers.pop(0)
        if isinstance(answer, DeployError):
            raise answer
        return answer

    wait_until_served(
        Probe("www.example.it", 443, timeout_seconds=9),
        fingerprint_of(b"new"),
        ("www.example.it",),
        look=look,
        clock=lambda: clock.seconds,
        sleep=clock.sleep,
    )
    assert answers == []
    assert clock.seconds < 1


def test_waiting_ends_when_time_is_up():
    """The last thing seen is told, with the name asked for and the time it took."""
    clock = Clock()
    with pytest.raises(DeployError, match=r"\[::1\]:443 serves SHA-256 .*… and not SHA-256 .*… \(after 9 s\)"):
        wait_until_served(
            Probe("::1", 443, timeout_seconds=9),
            fingerprint_of(b"new"),
            (),
            look=lambda *_: b"old",
            clock=lambda: clock.seconds,
            sleep=clock.sleep,
        )
    assert 8 <= clock.seconds <= 9
    assert max(clock.slept) <= 1


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


def test_an_unknown_protocol_cannot_be_asked_for():
    """The table of protocols is closed."""
    with socket.socket() as sock, pytest.raises(KeyError):
        starttls("pop3", sock)
