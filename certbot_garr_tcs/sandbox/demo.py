"""The demo: issue, deploy, renew, change the CA, solve a challenge and revoke, with the real certbot."""

from __future__ import annotations

import contextlib
import shlex
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from certbot_garr_tcs.errors import SandboxError
from certbot_garr_tcs.lineages import certificate_names
from certbot_garr_tcs.sandbox.ca import PracticeCa
from certbot_garr_tcs.sandbox.certbot import Certbot, find_certbot
from certbot_garr_tcs.sandbox.certificates import issuer_name
from certbot_garr_tcs.sandbox.settings import PracticeOptions, challenge_section, free_port
from certbot_garr_tcs.sandbox.web_server import WebServer
from certbot_garr_tcs.state import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cryptography import x509

NAME = "www.practice.example"
DOMAIN = "challenge.example"
CHALLENGED = f"www.{DOMAIN}"

_COLUMNS = 100
_NOT_SHOWN = (
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
    """A certificate, and what happened to it."""

    certificate: x509.Certificate
    events: list[str]

    def line(self) -> str:
        """Return the history as a line of the table at the end of the demo."""
        serial = f"{self.certificate.serial_number:032x}"[:8]
        names = ", ".join(sorted(certificate_names(self.certificate)))
        return f"{serial}  {names:<22} {issuer_name(self.certificate):<19} {', '.join(self.events)}"


class Demo:
    """The demo's steps, with two practice CAs, one certbot and one web server; ``say`` prints a line."""

    def __init__(
        self, first: PracticeCa, second: PracticeCa, certbot: Certbot, web: WebServer, say: Callable[[str], None]
    ) -> None:
        self.first = first
        self.second = second
        self.certbot = certbot
        self._web = web
        self._say = say
        self._sections: dict[str, str] = {}
        self.certificates: list[CertificateHistory] = []

    def run(self) -> None:
        """Run all steps; raise SandboxError at the first one that does not do what it should."""
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
        for one in self.certificates:
            self._say(one.line())

    def _issue_and_deploy(self) -> None:
        self._title(1, "Get a certificate, and put it where the web server reads it.")
        self._configure(account=self.first.account_section(), deploy=self._web.deploy_section(NAME))
        self._certbot_run("run", "--garr-tcs", "-n", "-d", NAME)
        self._new_certificate(NAME, self.first, "issued")
        asked = [request.path for request in self.first.requests()]
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
        self._new_certificate(NAME, self.first, "a renewal")
        self._expect_served()

    def _break_the_web_server(self) -> None:
        self._title(3, "Somebody makes a mistake in the web server's configuration. The timer runs.")
        good = self._last
        self._web.break_configuration()
        self._note('web/web.conf now ends with the line "lisen = 443".')
        self._certbot_run("renew", status=1)
        self._new_certificate(NAME, self.first, "renewed, but not deployed")
        self._expect(self._web.served(NAME) == good.certificate, "the web server still serves that of step 2")
        self._note("Certbot's exit status is 1, so the timer's run counts as failed; the next run tries again.")

    def _change_the_ca(self) -> None:
        self._title(4, "The mistake is corrected. And there is another CA now: edit [account]. The timer runs.")
        self._web.configure()
        orders_before = len(self.first.orders())
        self._configure(account=self.second.account_section())
        self._certbot_run("renew")
        self.certificates[1].events.append("then replaced")
        self._new_certificate(NAME, self.second, "in use")
        self._expect(len(self.first.orders()) == orders_before, f"{self.first.options.name} was asked nothing more")
        self._expect_served()

    def _prove_control(self) -> None:
        self._title(5, f"{DOMAIN} is not validated beforehand: prove control by http-01.")
        self._configure(challenge=challenge_section(DOMAIN, self.second.options.http_port))
        self._certbot_run("certonly", "--garr-tcs", "-n", "-d", CHALLENGED)
        asked = [request.path for request in self.second.requests()]
        self._expect(
            any(path.startswith("/acme/chall") for path in asked), "the CA fetched the proof from this machine"
        )
        self._new_certificate(CHALLENGED, self.second, "issued")

    def _try_a_dry_run(self) -> None:
        self._title(6, "Try it with --dry-run? This CA has no staging server: the plugin refuses.")
        before = len(self.second.requests())
        self._certbot_run("certonly", "--garr-tcs", "-n", "-d", NAME, "--dry-run", status=1)
        self._expect(len(self.second.requests()) == before, "the CA was asked nothing; exit status 1")

    def _revoke(self) -> None:
        self._title(7, "Revoke a certificate.")
        self._certbot_run("revoke", "-n", "--cert-name", CHALLENGED)
        self._expect(self.second.is_revoked(self._last.certificate), "the CA's revocation list names it")
        self._expect(not self.second.is_revoked(self._web.served(NAME)), f"that of {NAME} is still good")
        self._last.events.append("revoked")

    def _look_for_secrets(self) -> None:
        self._title(8, "Look for the HMAC keys in all that Certbot wrote, logs included.")
        ini = self.certbot.ini
        self._expect(self.certbot.files_with(self.second.eab_hmac_key) == [ini], f"today's is in {ini.name} alone")
        self._expect(self.certbot.files_with(self.first.eab_hmac_key) == [], "the first CA's is nowhere any more")

    @property
    def _last(self) -> CertificateHistory:
        return self.certificates[-1]

    def _title(self, number: int, text: str) -> None:
        self._say("")
        self._say(f"== {number}. {text}")

    def _note(self, text: str) -> None:
        for line in textwrap.wrap(text, _COLUMNS - 4):
            self._say(f"   {line}")

    def _configure(self, **sections: str) -> None:
        """Write sections into garr-tcs.ini, and show them without their secret."""
        self._sections.update(sections)
        replace_file(self.certbot.ini, "\n".join(self._sections.values()).encode())
        self._note(f"config/{self.certbot.ini.name}:")
        for line in self._short("\n".join(sections.values())).splitlines():
            key, equals, _ = line.partition(" = ")
            self._say(f"     {key}{equals}(a secret)" if key == "eab-hmac-key" else f"     {line}".rstrip())

    def _certbot_run(self, *arguments: str, status: int = 0) -> None:
        self._say(f"$ {self.certbot.shown(*arguments)}")
        result = self.certbot.run(*arguments)
        for line in self._short(result.output).splitlines():
            if line.strip() and not line.strip().startswith(_NOT_SHOWN):
                indent = " " * (len(line) - len(line.lstrip()))
                for part in textwrap.wrap(line.strip(), _COLUMNS - 6, subsequent_indent="  ", break_on_hyphens=False):
                    self._say(f"   | {indent}{part}")
        if result.returncode != status:
            self._stop(f"certbot {arguments[0]} ended with exit status {status}")

    def _short(self, text: str) -> str:
        return text.replace(str(self.certbot.folder), "$DEMO")

    def _new_certificate(self, lineage: str, ca: PracticeCa, event: str) -> None:
        certificate = self.certbot.certificate(lineage)
        known = [one.certificate for one in self.certificates]
        self._expect(
            certificate not in known and certificate in ca.issued() and certificate_names(certificate) == {lineage},
            f"{ca.options.name} issued a new certificate for {lineage}",
        )
        self.certificates.append(CertificateHistory(certificate, [event]))

    def _expect_served(self) -> None:
        self._expect(
            self._web.served(NAME) == self._last.certificate, f"the web server, port {self._web.port}, serves it"
        )

    def _expect(self, seen: bool, what: str) -> None:
        if not seen:
            self._stop(what)
        self._say(f"   ok: {what}")

    def _stop(self, what: str) -> NoReturn:
        raise SandboxError(f"the demo stopped, this is not so: {what}", f"Read the logs below {self.certbot.folder}")


@contextlib.contextmanager
def prepared_demo(folder: Path, executable: Path, say: Callable[[str], None]) -> Iterator[Demo]:
    """Create two practice CAs, a web server and Certbot's folders below ``folder``; run the servers until the end."""
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
    certbot = Certbot(executable, folder, trust)
    certbot.prepare()
    with first, second, WebServer(folder / "web", trust).running() as web:
        yield Demo(first, second, certbot, web, say)


def run_demo(folder: Path, say: Callable[[str], None]) -> None:
    """Run the demo in ``folder``; raise SandboxError at the first step that does not do what it should."""
    with prepared_demo(folder, find_certbot(), say) as demo:
        say("A certificate's life, on this machine alone. Certbot and the plugin are the real ones; two practice")
        say("CAs stand in for those of TCS, and a small web server for yours.")
        say("")
        say(f"$ DEMO={shlex.quote(str(folder))}")
        say("$ cd $DEMO; export REQUESTS_CA_BUNDLE=$DEMO/trust.pem")
        demo.run()
    say("")
    say("Every step did what it should. Both practice CAs and the web server are stopped.")
