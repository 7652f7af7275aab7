"""What the other tests need works: a missing server is noticed, a secret would be seen, CAs refuse and validate."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.needs import need, need_program
from support.practice_ca import PracticeCa, need_practice_ca

from certbot_garr_tcs.errors import SandboxError
from certbot_garr_tcs.sandbox import ca as sandbox_ca

pytestmark = pytest.mark.integration

NAME = "www.practice.example"


def accepts_connections(url: str) -> bool:
    """Return whether anything listens at the port of the URL."""
    try:
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=5):
            return True
    except OSError:  # refused, or reset by a server that is stopping
        return False


def fetch(ca: PracticeCa) -> int:
    """Fetch the directory over TLS, verified as strictly as Python 3.13 does by default; return the status."""
    trust = ssl.create_default_context(cafile=str(ca.ca_bundle))
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    with opener.open(ca.directory_url, timeout=5) as response:
        status: int = response.status
    return status


def test_a_missing_server_fails_in_ci_and_skips_elsewhere(monkeypatch):
    """What is missing is named in both cases, and what is there goes on."""
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-server is missing"):
        need_program("no-such-server")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no-such-server is missing"):
        need_program("no-such-server")
    need(present=True, what="nothing")


def test_command_lines_are_sampled_while_certbot_runs(certbot, practice_ca):
    """A word of certbot's own command line is seen: so a secret there would be, too."""
    certbot.use(practice_ca)
    result, seen = certbot.watched("certonly", "-n", "-a", "garr-tcs", "-d", NAME)
    assert result.returncode == 0, result.output
    assert f"-a garr-tcs -d {NAME}" in seen
    assert practice_ca.eab_hmac_key not in seen


@pytest.mark.parametrize("arguments", [("--version",), ("renew", "--nonsense"), ("renew", "-q")])
def test_a_forked_certbot_does_what_a_started_one_does(certbot, arguments):
    """Exit status and both streams are the same, what is printed at the end of the process included."""
    certbot.write_ini("[deploy site]\nlineage = www.nowhere.example\nreload = true\n")
    forked, started = certbot.run_by_fork(*arguments), certbot.run_as_process(*arguments)
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert forked.output


def test_a_forked_certbot_is_killed_when_its_time_is_up(certbot, practice_ca):
    """What hangs does not hold up the tests. Without any trusted root, TLS would fail before the peer is silent."""
    certbot.trust(practice_ca)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/directory"
        with pytest.raises(subprocess.TimeoutExpired):
            certbot.run("register", "-n", "-m", "a@x.example", "--agree-tos", "--server", url, timeout_seconds=1)


def test_the_practice_ca_refuses_a_name_that_is_not_its_own(certbot, practice_ca):
    """A CA that issued anything to anybody would prove nothing."""
    certbot.use(practice_ca)
    result = certbot.certonly("www.elsewhere.example", check=False)
    assert result.returncode == 1
    assert "rejectedIdentifier" in result.output + certbot.log_tail(400)


def test_pebble_validates_for_real(certbot, make_pebble):
    """A name that does not resolve to this machine is not issued, although there is an account."""
    pebble = make_pebble(eab=False, dns_server="127.0.0.1:9")
    certbot.trust(pebble)
    who = ("--server", pebble.directory_url, "-m", "admin@practice.example", "--agree-tos")
    port = ("--http-01-port", str(pebble.http_port), "--http-01-address", "127.0.0.1")
    result = certbot.run("certonly", "-n", "--standalone", "-d", NAME, *port, *who, check=False)
    assert result.returncode == 1
    assert len(certbot.account_ids()) == 1


def test_an_idle_connection_blocks_nobody_and_a_stopped_server_is_gone(make_practice_ca):
    """A client that connects and sends nothing does not keep others from an answer; stopping again does nothing."""
    ca = make_practice_ca()
    with socket.create_connection(("127.0.0.1", urlsplit(ca.directory_url).port)):
        assert fetch(ca) == 200
    ca.stop()
    ca.stop()
    assert not ca.running
    assert not accepts_connections(ca.directory_url)
    assert "Traceback" not in ca.log.read_text(encoding="utf-8")


def test_the_server_dies_with_whoever_started_it(tmp_path):
    """A starter that is killed leaves no server behind."""
    need_practice_ca()
    program = (
        "import sys, time, pathlib\n"
        "from certbot_garr_tcs.sandbox.ca import PracticeCa\n"
        "ca = PracticeCa(pathlib.Path(sys.argv[1]))\n"
        "ca.start()\n"
        "print(ca.directory_url, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "ca")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        url = starter.stdout.readline().strip()
        assert accepts_connections(url)
        starter.kill()
    deadline = time.monotonic() + 10
    while accepts_connections(url):
        assert time.monotonic() < deadline, "the server outlived its starter"
        time.sleep(0.05)


def test_a_server_that_does_not_answer_and_will_not_end_is_killed(tmp_path, monkeypatch):
    """The start fails with one line, and the process is gone although it ignores SIGTERM."""
    need_practice_ca()
    monkeypatch.setattr(sandbox_ca, "_STOP_SECONDS", 0.5)
    ca = PracticeCa(tmp_path / "ca")
    ca.program = (
        "-c",
        (
            "import os, pathlib, signal, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "(folder / 'pid').write_text(str(os.getpid()))\n"
            "(folder / 'port').write_text('1')\n"
            "time.sleep(60)\n"
        ),
    )
    with pytest.raises(SandboxError, match="does not answer at https://127"):
        ca.start()
    assert not Path("/proc", (ca.folder / "pid").read_text(encoding="utf-8")).exists()
