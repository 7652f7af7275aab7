"""The command certbot-garr-tcs sandbox, typed as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.bind import BindLab, Zone, make_key
from support.certbot_runner import dns_names, sampled_command_lines
from support.journeys import one_line
from support.matrix import MATRIX
from support.needs import need_built, need_program
from support.practice_ca import need_practice_ca

from certbot_garr_tcs.sandbox.certbot import Certbot, find_certbot
from certbot_garr_tcs.sandbox.certificates import issuer_name
from certbot_garr_tcs.sandbox.settings import free_port

pytestmark = pytest.mark.integration

COMMAND = [sys.executable, "-m", "certbot_garr_tcs.command", "sandbox"]
PREPARED = "www.practice.example"
CHALLENGED = "www.challenge.example"


def processes_naming(text: str) -> list[str]:
    """Return the command line of every process that names the text, and that is there for a tenth of a second."""
    with sampled_command_lines() as seen:
        time.sleep(0.1)
    return [line for line in seen if text in line]


def shell(text: str, path: str = "") -> subprocess.CompletedProcess[str]:
    """Paste lines into a shell whose ``certbot`` is found in ``path`` first."""
    first = path or str(Path(sys.executable).parent)
    return subprocess.run(
        ["bash", "-e", "-c", text],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PATH": f"{first}{os.pathsep}{os.environ['PATH']}"},
    )


class Practising:
    """A sandbox that runs, what it printed, and a Certbot in its folder."""

    def __init__(self, folder: Path, printed: str) -> None:
        """Keep all three."""
        self.folder = folder
        self.printed = printed
        self.certbot = Certbot(find_certbot(), folder, folder / "ca" / "root.pem")

    @property
    def commands(self) -> str:
        """Return the lines to paste, a comment of ours none of them."""
        return self.printed.split("another terminal:\n")[1].split("Certificates expire")[0].split("Each EAB pair")[0]

    @property
    def url(self) -> str:
        """Return where the CA answers."""
        return re.search(r"answers at (\S+);", self.printed).group(1)

    def certonly(self, *names: str, status: int = 0) -> str:
        """Ask for a certificate; return what Certbot said, as one line."""
        result = self.certbot.run("certonly", "-n", "--garr-tcs", *(part for name in names for part in ("-d", name)))
        assert result.returncode == status, result.output
        return one_line(result.output)


@contextlib.contextmanager
def practising(folder: Path, *options: str, path: str = ""):
    """Run the sandbox as long as the block lasts, then press Ctrl-C."""
    need_practice_ca()
    first = path or str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{first}{os.pathsep}{os.environ['PATH']}"}
    printed = folder.with_name(f"{folder.name}.printed")
    command = [*COMMAND, "--folder", str(folder), *options]
    with printed.open("wb") as output, subprocess.Popen(command, stdout=output, env=environment) as sandbox:
        try:
            deadline = time.monotonic() + 30
            while "Ctrl-C stops" not in printed.read_text(encoding="utf-8"):
                assert sandbox.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield Practising(folder, printed.read_text(encoding="utf-8"))
        finally:
            sandbox.send_signal(signal.SIGINT)
            assert sandbox.wait(20) == 0
    assert processes_naming(str(folder)) == []


def test_the_demo_goes_all_the_way_and_leaves_nothing_running(tmp_path):
    """It ends with 0, shows what became of five certificates and what to do next, and ends all its servers.

    The HMAC keys are in no process list; the demo itself looks for them in all files.

    It fits a terminal of 100 columns: however long the folder's name is, it is written once.
    """
    need_practice_ca()
    folder = tmp_path / ("demo-with-a-long-name" * 4)
    with sampled_command_lines(pause_seconds=0.05) as seen:
        done = subprocess.run(
            [*COMMAND, "--tour", "--folder", str(folder)], capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in seen if "certbot -c certbot.ini revoke" in line]
    for ca in ("first", "second"):
        (hmac_key,) = json.loads((folder / ca / "eab.json").read_text(encoding="utf-8")).values()
        assert not [line for line in seen if hmac_key in line]
    histories = done.stdout.split("what became of it\n")[1].splitlines()[:5]
    assert [line.split("Practice CA")[1].strip() for line in histories] == [
        "issued, renewed",
        "a renewal, then replaced",
        "renewed, but not deployed",
        "in use",
        "issued, revoked",
    ]
    assert "ok: the CA fetched the proof" in done.stdout
    assert "ok: the web server still serves that of step 2" in done.stdout
    assert "no staging directory" in one_line(done.stdout.replace("|", " "))
    assert "expires in 10 days" in done.stdout
    assert "sandbox --folder" in done.stdout.split("What next:")[1]
    assert [line for line in done.stdout.splitlines() if len(line) > 100] == [f"$ DEMO={folder}"]
    assert processes_naming(str(folder)) == []


@pytest.mark.parametrize(
    "entry",
    [None, *(entry for entry in MATRIX if entry.certbot == "2.1.0" and entry.python == "3.11")],
    ids=lambda entry: entry.name if entry else "here",
)
def test_the_sandbox_prints_commands_that_work_and_stops_at_ctrl_c(tmp_path, entry):
    """Pasted into a shell, the printed lines issue, with and without a challenge, renew and revoke; Ctrl-C ends with 0.

    ``certbot`` in that shell is another environment's than the practice CA's, Debian 12's for example.
    """
    path = ""
    if entry is not None:
        need_built(entry)
        path = str(entry.executable.parent)
    with practising(tmp_path / "sand box", path=path) as sandbox:
        ini = sandbox.certbot.ini
        assert stat.S_IMODE(ini.stat().st_mode) == 0o600
        assert all(line in sandbox.printed for line in ini.read_text(encoding="utf-8").splitlines())
        assert "\n    certbot -c certbot.ini renew\n" in sandbox.printed
        done = shell(sandbox.commands, path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "all renewals succeeded" in done.stdout
        assert "successfully revoked" in done.stdout
        certificate = sandbox.certbot.certificate(CHALLENGED)
        assert (dns_names(certificate), issuer_name(certificate)) == ([CHALLENGED], "Practice CA")


def test_a_certbot_without_the_plugin_is_not_suggested(tmp_path):
    """The commands name the certbot of the practice CA's environment by its path."""
    other = tmp_path / "bin"
    other.mkdir()
    (other / "certbot").write_text("#!/bin/sh\necho '* standalone'\n", encoding="utf-8")
    (other / "certbot").chmod(0o755)
    with practising(tmp_path / "sandbox", path=str(other)) as sandbox:
        command = f"{shlex.quote(str(find_certbot()))} -c certbot.ini"
        assert f"\n    {command} renew\n" in sandbox.printed
        done = shell(sandbox.commands.split(f"    {command} certonly")[0], str(other))
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_goes_on_where_it_was_stopped(tmp_path):
    """The CA has the same address, accounts and revocation list; the user's garr-tcs.ini is as it was left."""
    folder = tmp_path / "sandbox"
    with practising(folder) as first:
        first.certonly(PREPARED)
        first.certonly(CHALLENGED)
        with first.certbot.ini.open("a", encoding="utf-8") as file:
            file.write("\n# mine\n")
        mine = first.certbot.ini.read_bytes()
        before = first.certbot.certificate(CHALLENGED)
    with practising(folder, "--refuse", "www.challenge.example") as second:
        assert second.url == first.url
        assert second.certbot.ini.read_bytes() == mine
        assert "stays as you left it" in second.printed
        result = second.certbot.run("renew")
        assert result.returncode == 1
        assert "rejectedIdentifier" in result.output or "may not order" in result.output
        assert second.certbot.certificate(CHALLENGED) == before
        assert len(list((folder / "ca" / "issued").glob("*.pem"))) == 3, "one of the two was renewed"
    with practising(folder) as third:
        assert third.certbot.run("renew").returncode == 0


def test_a_folder_that_runs_already_is_not_started_twice(tmp_path):
    """The second one ends with 1 and says which port is taken; the first one runs on."""
    folder = tmp_path / "sandbox"
    with practising(folder) as sandbox:
        again = subprocess.run(
            [*COMMAND, "--folder", str(folder)], capture_output=True, text=True, timeout=60, check=False
        )
        assert again.returncode == 1
        assert "is taken; does it run already?" in again.stderr
        sandbox.certonly(PREPARED)


def test_a_refused_name_is_refused_and_no_other(tmp_path):
    """The CA's words are on the screen, and nothing is issued; the name beside it is not concerned."""
    with practising(tmp_path / "sandbox", "--refuse", PREPARED) as sandbox:
        said = sandbox.certonly(PREPARED, "mail.practice.example", status=1)
        assert f"may not order certificates for {PREPARED}" in said
        assert not sandbox.certbot.live(PREPARED).exists()
        sandbox.certonly("mail.practice.example")


def test_a_slow_ca_lets_certbot_wait(tmp_path):
    """The order is processing for as long as was asked for, and then there is the certificate."""
    with practising(tmp_path / "sandbox", "--slow", "4") as sandbox:
        started = time.monotonic()
        sandbox.certonly(PREPARED)
        assert time.monotonic() - started > 4
        log = (sandbox.certbot.logs_dir / "letsencrypt.log").read_text(encoding="utf-8")
        assert '"status": "processing"' in log


def test_a_pair_that_works_once_is_refused_and_the_next_pair_is_shown(tmp_path):
    """What is printed leads into the refusal, and out of it."""
    with practising(tmp_path / "sandbox", "--one-time-eab") as sandbox:
        sandbox.certonly(PREPARED)
        exercise = sandbox.printed.split("Each EAB pair")[1]
        commands = [line.strip() for line in exercise.splitlines() if " -c certbot.ini " in line]
        prepare = "\n".join(line for line in sandbox.commands.splitlines() if "certbot.ini" not in line)
        refused = shell("\n".join([prepare, *commands]))
        assert refused.returncode == 1
        assert "not awaiting external account binding" in one_line(refused.stdout + refused.stderr)
        pair = re.findall(r"^    (eab-(?:kid|hmac-key) = .*)$", exercise, re.MULTILINE)
        assert len(pair) == 2
        text = sandbox.certbot.ini.read_text(encoding="utf-8")
        for line in pair:
            text = re.sub(rf"^{line.split(' = ')[0]} = .*$", line, text, flags=re.MULTILINE)
        sandbox.certbot.ini.write_text(text, encoding="utf-8")
        issued = shell("\n".join([prepare, commands[-1]]))
        assert issued.returncode == 0, issued.stdout + issued.stderr


def test_a_proof_that_is_not_there_is_refused_by_the_ca(tmp_path):
    """The practice CA validates for real: it says where it looked, and issues nothing."""
    with practising(tmp_path / "sandbox", "--challenge", "moved.example") as sandbox:
        text = sandbox.certbot.ini.read_text(encoding="utf-8")
        port = re.search(r"http-01-port = (\d+)", text).group(1)
        sandbox.certbot.ini.write_text(text.replace(port, str(free_port())), encoding="utf-8")
        said = sandbox.certonly("www.moved.example", status=1)
        assert f"/.well-known/acme-challenge/ at 127.0.0.1 port {port}: [Errno 111] Connection refused" in said
        sandbox.certbot.ini.write_text(text, encoding="utf-8")
        sandbox.certonly("www.moved.example")


def test_dns_01_is_validated_at_the_name_server_that_was_named(tmp_path):
    """A wildcard is proved by a signed UPDATE of BIND, and looked up there by the practice CA."""
    need_program("named")
    key = make_key("practice")
    zone = Zone("challenge.example", f"grant {key.name} name _acme-challenge.challenge.example. TXT;")
    with (
        BindLab(tmp_path / "bind", [zone], [key]) as lab,
        practising(tmp_path / "sandbox", "--dns-server", lab.server, "--http-port", "1") as sandbox,
    ):
        assert f"or dns-01 at {lab.server}" in sandbox.printed
        with sandbox.certbot.ini.open("a", encoding="utf-8") as file:
            file.write(
                f"\n[dns-01 challenge.example]\nserver = {lab.server}\ntsig-name = {key.name}\n"
                f"tsig-secret = {key.secret}\npropagation = resolvers {lab.server}\n"
            )
        sandbox.certonly("*.challenge.example")
        assert dns_names(sandbox.certbot.certificate("challenge.example")) == ["*.challenge.example"]
        assert lab.primary.txt("_acme-challenge.challenge.example") == set()


def test_a_terminated_sandbox_stops_its_ca(tmp_path):
    """SIGTERM cleans up as Ctrl-C does."""
    need_practice_ca()
    folder = tmp_path / "sandbox"
    with subprocess.Popen([*COMMAND, "--folder", str(folder)], stdout=subprocess.PIPE, text=True) as sandbox:
        assert "answers at" in sandbox.stdout.readline()
        sandbox.terminate()
        assert sandbox.wait(20) == 0
    assert processes_naming(str(folder)) == []


def test_an_interrupted_demo_leaves_nothing_running(tmp_path):
    """Ctrl-C in the middle of a certbot run ends certbot, both CAs and the web server, with 130."""
    need_practice_ca()
    folder = tmp_path / "demo"
    command = [*COMMAND, "--tour", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        while not demo.stdout.readline().startswith("$ certbot"):
            assert demo.poll() is None
        time.sleep(0.5)
        demo.send_signal(signal.SIGINT)
        _, complaints = demo.communicate(timeout=20)
    assert demo.returncode == 130
    assert not complaints
    assert processes_naming(str(folder)) == []
