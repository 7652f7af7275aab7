"""Show a certificate's life with the real certbot: issue, deploy, renew, change of CA, challenge, revocation."""

from __future__ import annotations

import contextlib
import shlex
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from cryptography import x509

from certbot_garr_tcs.errors import SandboxError
from certbot_garr_tcs.sandbox.options import PracticeOptions
from certbot_garr_tcs.sandbox.practice_ca import PracticeCa
from certbot_garr_tcs.sandbox.runner import FolderCertbot, dns_names, files_with, find_certbot, issuer_name
from certbot_garr_tcs.sandbox.settings import account_section, challenge_section, free_port, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = "www.practice.example"
DOMAIN = "challenge.example"
CHALLENGED = f"www.{DOMAIN}"

_COLUMNS = 100
_START_SECONDS = 30.0
_NOISE = (
    "- - -",
    "Saving debug log",
    "If you like Certbot",
    "* Donating",
    "NEXT STEPS",
    "- The certificate will",
    "The following certificates",
    "The following renewals",
    "These files will be updated",
    "This certificate expires on",
    "Processing",
    "$DEMO/config/renewal/",
    "Ask for help or search",
    "See the logfile",
    "Deploying certificate",
    "Reloading garr-tcs server",
    "Congratulations! You have successfully enabled",
)


@dataclass
class CertificateHistory:
    """What became of one certificate."""

    certificate: x509.Certificate
    events: list[str]

    def line(self) -> str:
        """Return the history as one line of the closing table."""
        serial = f"{self.certificate.serial_number:032x}"[:8]
        names = ", ".join(dns_names(self.certificate))
        return f"{serial}  {names:<22} {issuer_name(self.certificate):<19} {', '.join(self.events)}"


class Demo:
    """Two practice CAs, one certbot, one web server, and the certificates so far."""

    def __init__(
        self, first: PracticeCa, second: PracticeCa, certbot: FolderCertbot, web: WebServer, say: Callable[[str], None]
    ) -> None:
        """Take what the demo is made with; ``say`` prints one line."""
        self._first = first
        self._second = second
        self._certbot = certbot
        self._web = web
        self._say = say
        self._sections: dict[str, str] = {}
        self._certificates: list[CertificateHistory] = []

    def run(self) -> None:
        """Take every step; raise SandboxError at the first that does not do what it should."""
        self._issue_and_deploy()
        self._renew()
        self._break_the_web_server()
        self._change_the_ca()
        self._prove_control()
        self._try_a_dry_run()
        self._revoke()
        self._look_for_secrets()
        self._say("")
        self._say(f"{'serial':<8}  {'name':<22} {'issued by':<19} what became of it")
        for one in self._certificates:
            self._say(one.line())

    def _issue_and_deploy(self) -> None:
        self._title(1, "Get a certificate, and put it where the web server reads it.")
        self._configure(account=self._account(self._first), deploy=self._web.deploy_section(NAME))
        self._certbot_run("run", "--garr-tcs", "-n", "-d", NAME)
        self._new_certificate(NAME, self._first, "issued")
        asked = [request.path for request in self._first.requests()]
        self._expect(not any(path.startswith("/acme/chall") for path in asked), "no challenge: the CA knows the name")
        self._expect_served()
        self._note(
            "It expires in 10 days. A practice CA makes certificates that are 80 of their 90 days old, so that they "
            "are due at once and a plain renew renews them."
        )

    def _renew(self) -> None:
        self._title(2, "Renew it, as Certbot's timer does.")
        self._certbot_run("renew")
        self._last.events.append("renewed")
        self._new_certificate(NAME, self._first, "a renewal")
        self._expect_served()

    def _break_the_web_server(self) -> None:
        self._title(3, "Somebody makes a mistake in the web server's configuration. The timer runs.")
        good = self._last
        self._web.break_configuration()
        self._note('web/web.conf now ends with the line "lisen = 443".')
        self._certbot_run("renew", status=1)
        self._new_certificate(NAME, self._first, "renewed, but not deployed")
        self._expect(self._web.served(NAME) == good.certificate, "the web server still serves that of step 2")
        self._note("Certbot's exit status is 1, so the timer's run counts as failed; the next run tries again.")

    def _change_the_ca(self) -> None:
        self._title(4, "The mistake is corrected. And there is another CA now: edit [account]. The timer runs.")
        self._web.configure()
        orders_before = len(self._first.orders())
        self._configure(account=self._account(self._second))
        self._certbot_run("renew")
        self._certificates[1].events.append("then replaced")
        self._new_certificate(NAME, self._second, "in use")
        self._expect(len(self._first.orders()) == orders_before, f"{self._first.options.name} was asked nothing more")
        self._expect_served()

    def _prove_control(self) -> None:
        self._title(5, f"{DOMAIN} is not validated beforehand: prove control by http-01.")
        self._configure(challenge=challenge_section(DOMAIN, self._second.options.http_port))
        self._certbot_run("certonly", "--garr-tcs", "-n", "-d", CHALLENGED)
        asked = [request.path for request in self._second.requests()]
        self._expect(
            any(path.startswith("/acme/chall") for path in asked), "the CA fetched the proof from this machine"
        )
        self._new_certificate(CHALLENGED, self._second, "issued")

    def _try_a_dry_run(self) -> None:
        self._title(6, "Try it with --dry-run? This CA has no staging server: the plugin refuses.")
        before = len(self._second.requests())
        self._certbot_run("certonly", "--garr-tcs", "-n", "-d", NAME, "--dry-run", status=1)
        self._expect(len(self._second.requests()) == before, "the CA was asked nothing; exit status 1")

    def _revoke(self) -> None:
        self._title(7, "Revoke a certificate.")
        self._certbot_run("revoke", "-n", "--cert-name", CHALLENGED)
        self._expect(self._second.is_revoked(self._last.certificate), "the CA's revocation list names it")
        self._expect(not self._second.is_revoked(self._web.served(NAME)), f"that of {NAME} is still good")
        self._last.events.append("revoked")

    def _look_for_secrets(self) -> None:
        self._title(8, "Look for the HMAC keys in all that Certbot wrote, logs included.")
        where = (self._certbot.config_dir, self._certbot.work_dir, self._certbot.logs_dir)
        ini = self._certbot.ini
        self._expect(files_with(self._second.eab_hmac_key, *where) == [ini], f"today's is in {ini.name} alone")
        self._expect(files_with(self._first.eab_hmac_key, *where) == [], "the first CA's is nowhere any more")

    @property
    def _last(self) -> CertificateHistory:
        return self._certificates[-1]

    @staticmethod
    def _account(ca: PracticeCa) -> str:
        return account_section(ca.directory_url, ca.eab_kid, ca.eab_hmac_key)

    def _title(self, number: int, text: str) -> None:
        self._say("")
        self._say(f"== {number}. {text}")

    def _note(self, text: str) -> None:
        for line in textwrap.wrap(text, _COLUMNS - 4):
            self._say(f"   {line}")

    def _configure(self, **sections: str) -> None:
        """Write sections into garr-tcs.ini, and show them without their secret."""
        self._sections.update(sections)
        write_private(self._certbot.ini, "\n".join(self._sections.values()).encode())
        self._note(f"config/{self._certbot.ini.name}:")
        for line in self._short("\n".join(sections.values())).splitlines():
            key, equals, _ = line.partition(" = ")
            self._say(f"     {key}{equals}(a secret)" if key == "eab-hmac-key" else f"     {line}".rstrip())

    def _certbot_run(self, *arguments: str, status: int = 0) -> None:
        self._say(f"$ {self._certbot.shown(*arguments)}")
        result = self._certbot.run(*arguments)
        for line in self._short(result.output).splitlines():
            if line.strip() and not line.strip().startswith(_NOISE):
                indent = " " * (len(line) - len(line.lstrip()))
                for part in textwrap.wrap(line.strip(), _COLUMNS - 6, subsequent_indent="  ", break_on_hyphens=False):
                    self._say(f"   | {indent}{part}")
        if result.returncode != status:
            self._stop(f"certbot {arguments[0]} ended with exit status {status}")

    def _short(self, text: str) -> str:
        return text.replace(str(self._certbot.folder), "$DEMO")

    def _new_certificate(self, lineage: str, ca: PracticeCa, event: str) -> None:
        certificate = self._certbot.certificate(lineage)
        known = [one.certificate for one in self._certificates]
        self._expect(
            certificate not in known and certificate in ca.issued() and dns_names(certificate) == [lineage],
            f"{ca.options.name} issued a new certificate for {lineage}",
        )
        self._certificates.append(CertificateHistory(certificate, [event]))

    def _expect_served(self) -> None:
        self._expect(
            self._web.served(NAME) == self._last.certificate, f"the web server, port {self._web.port}, serves it"
        )

    def _expect(self, seen: bool, what: str) -> None:
        if not seen:
            self._stop(what)
        self._say(f"   ok: {what}")

    def _stop(self, what: str) -> NoReturn:
        raise SandboxError(f"the demo stopped, this is not so: {what}", f"Read the logs below {self._certbot.folder}")


class WebServer:
    """The web server of ``sandbox.web`` in one folder; use it in a ``with`` statement."""

    def __init__(self, folder: Path, trust: Path) -> None:
        """Make its folder, its configuration and its command; start nothing."""
        self.folder = folder
        self.port = 0
        self._trust = trust
        self._command = [sys.executable, "-m", "certbot_garr_tcs.sandbox.web"]
        (folder / "tls").mkdir(mode=0o755, parents=True)
        self.configure()
        script = folder / "webserver"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(self._command)} "$1" {shlex.quote(str(folder))}\n', "utf-8")
        script.chmod(0o755)

    def configure(self) -> None:
        """Write a good configuration."""
        tls = self.folder / "tls"
        (self.folder / "web.conf").write_text(
            f"certificate = {tls / 'www.pem'}\nkey = {tls / 'www.key'}\n", encoding="utf-8"
        )

    def break_configuration(self) -> None:
        """Make a mistake in the configuration."""
        with (self.folder / "web.conf").open("a", encoding="utf-8") as file:
            file.write("lisen = 443\n")

    def deploy_section(self, lineage: str) -> str:
        """Return the section of garr-tcs.ini that deploys a lineage here."""
        tls, script = self.folder / "tls", shlex.quote(str(self.folder / "webserver"))
        return (
            f"[deploy www]\nlineage = {lineage}\nfullchain = {tls / 'www.pem'}\nkey = {tls / 'www.key'}\n"
            f"test = {script} test\nreload = {script} reload\nprobe = 127.0.0.1:{self.port}\n"
        )

    def served(self, name: str) -> x509.Certificate:
        """Return the certificate that is served, verified as a browser does it."""
        trust = ssl.create_default_context(cafile=str(self._trust))
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection,
            trust.wrap_socket(connection, server_hostname=name) as secure,
        ):
            return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")

    @contextlib.contextmanager
    def running(self) -> Iterator[WebServer]:
        """Serve as long as the block lasts."""
        with (self.folder / "log").open("ab") as log:
            # Its own session: Ctrl-C reaches us alone. The pipe ends it, also if we die.
            process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own program
                [*self._command, "serve", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not (self.folder / "port").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SandboxError("the web server of the demo did not start", f"Read {self.folder / 'log'}")
                time.sleep(0.02)
            self.port = int((self.folder / "port").read_text(encoding="utf-8"))
            yield self
        finally:
            process.kill()
            process.communicate()


def run_demo(folder: Path, say: Callable[[str], None]) -> None:
    """Make two practice CAs, a web server and a certbot's folders below ``folder``, and run the demo with them.

    All that was started is stopped. Raises SandboxError at the first step that does not do what it should.
    """
    executable = find_certbot()
    first, second = (
        PracticeCa(
            folder / which.lower(),
            PracticeOptions(
                name=f"{which} Practice CA", always_due=True, challenge_domains=(DOMAIN,), http_port=free_port()
            ),
        )
        for which in ("First", "Second")
    )
    trust = folder / "trust.pem"
    trust.write_bytes(first.ca_bundle.read_bytes() + second.ca_bundle.read_bytes())
    certbot = FolderCertbot(executable, folder, trust)
    certbot.prepare()
    with first, second, WebServer(folder / "web", trust).running() as web:
        say("A certificate's life, on this machine alone. Certbot and the plugin are the real ones; two practice")
        say("CAs stand in for those of TCS, and a small web server for yours.")
        say("")
        say(f"$ DEMO={shlex.quote(str(folder))}")
        say("$ cd $DEMO; export REQUESTS_CA_BUNDLE=$DEMO/trust.pem")
        Demo(first, second, certbot, web, say).run()
    say("")
    say("Every step did what it should. Both practice CAs and the web server are stopped.")
