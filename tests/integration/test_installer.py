"""Certbot deploys by every command: run, renew, certonly, install, rollback, and a timer that finds nothing due."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from integration.test_services_nginx import CONFIG
from support.certbot_runner import CertbotRunner
from support.daemons import foreground
from support.folders import open_folder
from support.matrix import MATRIX
from support.needs import need_built, need_program

from certbot_garr_tcs.sandbox.settings import free_port

pytestmark = pytest.mark.integration

NAME = "www.practice.example"


class Nginx:
    """Hold a running nginx and the section that deploys to it."""

    def __init__(self, folder, port):
        self.folder, self.port = folder, port
        self.cert, self.key, self.extra = folder / "www.pem", folder / "www.key", folder / "extra.conf"
        self.command = f"{need_program('nginx')} -q -c {folder}/nginx.conf -e {folder}/error.log"

    def section(self, lineage=NAME, **more):
        keys = {
            "lineage": lineage,
            "fullchain": self.cert,
            "key": self.key,
            "test": f"{self.command} -t",
            "reload": f"{self.command} -s reload",
            "probe": f"127.0.0.1:{self.port}",
            "probe-timeout": "10",
            **more,
        }
        return "\n[deploy www]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())

    def served(self):
        """Return the fingerprint of the certificate that openssl sees."""
        asked = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}"],
            input=b"",
            capture_output=True,
            check=False,
            timeout=20,
        )
        pem = asked.stdout[asked.stdout.index(b"-----BEGIN") :].decode()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END CERTIFICATE-----") + 26])).hexdigest()


@contextlib.contextmanager
def running_nginx():
    with open_folder() as folder:
        nginx = Nginx(folder, free_port())
        (folder / "nginx.conf").write_text(
            CONFIG.format(folder=folder, port=nginx.port, cert=nginx.cert, key=nginx.key)
        )
        nginx.extra.write_text("")
        first = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=first"
        subprocess.run(
            ["openssl", *first.split(), "-keyout", nginx.key, "-out", nginx.cert], check=True, capture_output=True
        )
        with foreground(*nginx.command.split(), port=nginx.port, log=folder / "log"):
            yield nginx


@pytest.fixture
def nginx():
    with running_nginx() as running:
        yield running


def current(certbot, name=NAME):
    return certbot.certificate(name).fingerprint(hashes.SHA256()).hex()


def journey(certbot, nginx):
    """Run and forced renewal: each time nginx serves the new certificate."""
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    first = current(certbot)
    assert nginx.served() == first
    params = certbot.renewal(NAME)["renewalparams"]
    assert (params["authenticator"], params["installer"]) == ("garr-tcs", "garr-tcs")
    certbot.run("renew", "--force-renewal")
    assert current(certbot) != first
    assert nginx.served() == current(certbot)


def test_run_and_renew(practice_ca, certbot, nginx):
    """`certbot run --garr-tcs`, then a renewal: nginx serves the new certificate each time."""
    certbot.use(practice_ca, nginx.section())
    journey(certbot, nginx)


@pytest.mark.parametrize("entry", [entry for entry in MATRIX if entry.certbot == "2.1.0"], ids=lambda entry: entry.name)
def test_run_and_renew_on_debian_12s_certbot(practice_ca, make_certbot, nginx, entry):
    """The same on Certbot 2.1.0, which learns what the user set in another way."""
    need_built(entry)
    certbot = make_certbot(entry.executable)
    certbot.use(practice_ca, nginx.section())
    journey(certbot, nginx)


def test_a_broken_config_fails_the_renewal_until_it_is_mended(practice_ca, certbot, nginx):
    """Roll back, exit 1 with "deploy", the old one served; corrected, a plain renew with nothing due deploys."""
    certbot.use(practice_ca, nginx.section())
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    old = nginx.served()
    nginx.extra.write_text("no such directive;\n")
    refused = certbot.run("renew", "--force-renewal", check=False)
    assert refused.returncode == 1
    assert "deploy: [deploy www]" in refused.output
    assert "unknown directive" in refused.output
    assert nginx.served() == old
    assert current(certbot) != old
    again = certbot.run("renew", check=False)
    assert again.returncode == 1
    assert "not yet due" in again.output
    assert "deploy: [deploy www]" in again.output
    nginx.extra.write_text("")
    certbot.run("renew")
    assert nginx.served() == current(certbot)
    assert "deployed to" not in certbot.run("renew").output


def test_an_older_certificate_that_is_served_is_named(practice_ca, certbot, nginx):
    """The reload does nothing: the error names the lineage of what is served, its serial and its expiry."""
    certbot.use(practice_ca, nginx.section())
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    old = certbot.certificate(NAME)
    certbot.use(practice_ca, nginx.section(reload="true", **{"probe-timeout": "1"}))
    result = certbot.run("renew", "--force-renewal", check=False)
    assert result.returncode == 1
    said = f"serves an older certificate of lineage {NAME} (serial {old.serial_number:x}, expires 2"
    assert said in " ".join(result.output.split())


def test_what_a_command_prints_reaches_neither_terminal_nor_log_raw(practice_ca, certbot, nginx):
    """A service's user decides what the test of its configuration prints: titles of windows, lines over others."""
    evil = r"\033]0;title\007\033[2J\r\342\200\256fake\r\n"
    certbot.use(practice_ca, nginx.section(test=f"sh -c 'printf \"{evil}\"; exit 1'"))
    result = certbot.run("run", "-n", "--garr-tcs", "-d", NAME, check=False)
    assert result.returncode == 1
    assert "exit status 1: fake; it failed before this deployment, too" in " ".join(result.output.split())
    log = (certbot.logs_dir / "letsencrypt.log").read_bytes().decode()
    for letter in "\x1b\r\x07\u202e":
        assert letter not in result.output
        assert letter not in log


def test_rollback_and_its_hold(practice_ca, certbot, nginx):
    """The deployment before the last comes back and stays, until there is a newer certificate."""
    certbot.use(practice_ca, nginx.section())
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    before = nginx.served()
    certbot.run("renew", "--force-renewal")
    undone = nginx.served()
    assert undone != before
    certbot.run("rollback", "-n", "-i", "garr-tcs")
    assert nginx.served() == before
    for quiet in ([], ["-q"]):
        held = certbot.run("renew", *quiet)
        assert held.output.count("is held at what a rollback brought back") == 1
    assert nginx.served() == before
    twice = certbot.run("rollback", "-n", "-i", "garr-tcs", check=False)
    assert twice.returncode == 1
    assert "no deployment can be undone" in twice.output
    many = certbot.run("rollback", "-n", "--garr-tcs", "--checkpoints", "2", check=False)
    assert "cannot go back 2 deployments" in many.output
    certbot.run("renew", "--force-renewal")
    assert nginx.served() == current(certbot)
    assert nginx.served() not in {before, undone}


def test_install_ends_a_hold(practice_ca, certbot, nginx):
    """`certbot install` means: this certificate, now."""
    certbot.use(practice_ca, nginx.section())
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    certbot.run("renew", "--force-renewal")
    newest = nginx.served()
    certbot.run("rollback", "-n", "-i", "garr-tcs")
    assert nginx.served() != newest
    certbot.run("install", "-n", "--garr-tcs", "--cert-name", NAME)
    assert nginx.served() == newest


def test_certonly_converges_what_was_written_later(practice_ca, certbot, nginx):
    """`certonly --garr-tcs` without targets is silent; targets written later are found by the next renew."""
    certbot.use(practice_ca)
    certbot.run("certonly", "-n", "--garr-tcs", "-d", NAME)
    certbot.use(practice_ca, nginx.section())
    certbot.run("renew")
    assert nginx.served() == current(certbot)
    nginx.cert.write_bytes(b"drift")
    nginx.key.chmod(0o644)
    certbot.run("renew")
    assert nginx.served() == current(certbot)
    assert nginx.key.stat().st_mode & 0o777 == 0o600
    other = "other.practice.example"
    certbot.run("certonly", "-n", "--garr-tcs", "-d", other)
    assert nginx.served() == current(certbot)


def test_the_installer_leaves_the_ca_alone(make_pebble, practice_ca, certbot, nginx):
    """Beside another authenticator and another CA the file's account is not looked at."""
    port = free_port()
    pebble = make_pebble(eab=False, http_port=port)
    certbot.use(practice_ca, nginx.section(lineage="127-0-0-1.example.org"))
    certbot.trust(pebble)
    asked = len(practice_ca.requests())
    hook = shutil.which("true")
    result = certbot.run(
        *("run", "-n", "--standalone", "-i", "garr-tcs", "--server", pebble.directory_url, "--agree-tos"),
        *("-m", "ced@example.it", "--http-01-port", str(port), "-d", "localhost", "--cert-name"),
        *("127-0-0-1.example.org", "--pre-hook", hook),
        check=False,
    )
    assert result.returncode == 0, result.output
    assert nginx.served() == current(certbot, "127-0-0-1.example.org")
    params = certbot.renewal("127-0-0-1.example.org")["renewalparams"]
    assert (params["authenticator"], params["server"]) == ("standalone", pebble.directory_url)
    assert len(practice_ca.requests()) == asked


def test_no_deployment_in_trials_and_where_it_is_switched_off(practice_ca, make_practice_ca, certbot, nginx):
    """--dry-run and --disable-renew-updates write nothing."""
    staging = make_practice_ca(name="Staging CA")
    certbot.trust(staging)
    account = (
        f"staging-directory-url = {staging.directory_url}\nstaging-eab-kid = {staging.eab_kid}\n"
        f"staging-eab-hmac-key = {staging.eab_hmac_key}\n"
    )
    certbot.use(practice_ca, account)
    certbot.run("certonly", "-n", "--garr-tcs", "-d", NAME)
    certbot.run("register", "-n", "--staging", "--garr-tcs")
    certbot.use(practice_ca, account + nginx.section())
    before = nginx.served()
    certbot.run("renew", "--dry-run")
    certbot.run("renew", "--disable-renew-updates")
    certbot.run("renew", "--force-renewal", "--disable-renew-updates")
    assert nginx.served() == before
    certbot.run("renew")
    assert nginx.served() == current(certbot)


def test_a_certificate_of_no_lineage_is_refused(practice_ca, certbot, nginx):
    """`install --cert-path` outside live/ names no lineage, and says what to type instead."""
    certbot.use(practice_ca, nginx.section())
    before = nginx.served()
    result = certbot.run(
        *("install", "-n", "--garr-tcs", "-d", NAME, "--cert-path", str(nginx.cert), "--key-path", str(nginx.key)),
        check=False,
    )
    assert result.returncode == 1
    assert "is of no lineage" in result.output
    assert "certbot install -i garr-tcs --cert-name NAME" in result.output
    assert nginx.served() == before


def test_a_deleted_lineage_leaves_its_files(practice_ca, certbot, nginx):
    """Who deletes a lineage keeps the service running: the target waits for a lineage of that name."""
    certbot.use(practice_ca, nginx.section())
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    served = nginx.served()
    certbot.run("delete", "-n", "--cert-name", NAME)
    certbot.run("certonly", "-n", "--garr-tcs", "-d", "other.practice.example")
    certbot.run("renew")
    assert nginx.served() == served


def test_a_renewal_that_fails_deploys_nothing_and_harms_nothing(make_practice_ca, certbot, nginx):
    """Certbot skips the other doors of a lineage whose renewal fails; the next good one converges."""
    ca = make_practice_ca()
    certbot.use(ca, nginx.section())
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    served = nginx.served()
    ca.stop()
    assert certbot.run("renew", "--force-renewal", check=False).returncode == 1
    assert nginx.served() == served


def test_a_wrong_target_says_what_is_wrong_and_the_certificate_is_kept(practice_ca, certbot, nginx):
    """The certificate is issued all the same; the message names section, key and next step."""
    certbot.use(practice_ca, nginx.section(owner="nobody-at-all"))
    result = certbot.run("run", "-n", "--garr-tcs", "-d", NAME, check=False)
    assert result.returncode == 1
    assert "deploy: [deploy www]" in result.output
    assert "nobody-at-all" in result.output
    assert x509.load_pem_x509_certificate(certbot.live(NAME).read_bytes())


def test_two_certbots_of_two_folders_take_turns(practice_ca, tmp_path, certbot, nginx):
    """Two Certbots with folders of their own deploy to one target, one after the other, whole each time."""
    other = CertbotRunner(certbot.executable, tmp_path / "second")
    for runner in (certbot, other):
        runner.use(practice_ca, nginx.section())
        runner.run("certonly", "-n", "-a", "garr-tcs", "-d", NAME)
    for runner in (certbot, other, certbot):
        runner.run("install", "-n", "--garr-tcs", "--cert-name", NAME)
        assert nginx.served() == current(runner)


def kill_between_files_and_reload(certbot, nginx):
    """Start a renewal and kill it when its files are there and its service does not know them."""
    before = nginx.cert.stat().st_ino
    process = certbot.start("renew", "--force-renewal", "--no-random-sleep-on-renew")
    deadline = time.monotonic() + 60
    while nginx.cert.stat().st_ino == before:
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.01)
    process.kill()
    process.communicate()


def test_recovery_does_not_wait_for_the_ca(make_practice_ca, certbot, nginx):
    """What was interrupted is put back although the renewal that follows gets no answer."""
    ca = make_practice_ca()
    certbot.use(ca, nginx.section())
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    old = nginx.cert.read_bytes(), nginx.key.read_bytes()
    certbot.use(ca, nginx.section(test="sleep 10"))
    kill_between_files_and_reload(certbot, nginx)
    assert (nginx.cert.read_bytes(), nginx.key.read_bytes()) != old
    ca.stop()
    certbot.use(ca, nginx.section())
    result = certbot.run("renew", "--force-renewal", check=False)
    assert result.returncode == 1
    assert "put back the old files of [deploy www]" in result.output
    assert (nginx.cert.read_bytes(), nginx.key.read_bytes()) == old


def test_the_command_that_gives_a_deployment_up_works_when_typed(practice_ca, certbot, nginx):
    """Its folder is gone with its disk: certbot renew names the command, and exits 1 until it was typed."""
    place = nginx.folder / "place"
    place.mkdir(mode=0o755)
    section = nginx.section(fullchain=place / "www.pem", key=place / "www.key", test="sleep 4", reload="true")
    certbot.use(practice_ca, section.replace("probe", "# probe"))
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME)
    nginx.cert = place / "www.pem"
    kill_between_files_and_reload(certbot, nginx)
    place.rename(nginx.folder / "gone")
    place.mkdir(mode=0o755)
    stuck = certbot.run("renew", check=False)
    assert stuck.returncode == 1
    (command,) = set(re.findall(r"certbot (install -i garr-tcs --cert-name \S+)", " ".join(stuck.output.split())))
    certbot.run(*command.split(), "-n")
    assert nginx.cert.read_bytes() == certbot.live(NAME, "fullchain").read_bytes()
    assert certbot.run("renew").returncode == 0
