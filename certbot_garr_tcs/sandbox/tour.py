"""Walk the whole way with the real certbot: issue, renew, move to another CA, revoke."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import SandboxError
from certbot_garr_tcs.sandbox.options import PracticeOptions
from certbot_garr_tcs.sandbox.practice_ca import PracticeCa
from certbot_garr_tcs.sandbox.runner import Certbot, dns_names, files_with, find_certbot, issuer_name
from certbot_garr_tcs.sandbox.settings import account_section, write_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

NAME = "www.practice.example"
WILDCARD = ("practice.example", "*.practice.example")

# The timer's `certbot renew` sleeps for up to eight minutes where there is no terminal.
_RENEW = ("renew", "--no-random-sleep-on-renew")
_NOISE = (
    "- - -",
    "Saving debug log",
    "If you like Certbot",
    " * Donating",
    "NEXT STEPS",
    "- The certificate will",
)


@dataclass
class Story:
    """Tell what became of one certificate."""

    certificate: x509.Certificate
    chapters: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the story as one line of the closing table."""
        serial = f"{self.certificate.serial_number:032x}"[:8]
        names = ", ".join(dns_names(self.certificate))
        return f"{serial}  {names:<38} {issuer_name(self.certificate):<19} {', '.join(self.chapters)}"


class Tour:
    """Hold two practice CAs, one certbot, and the stories of the certificates so far."""

    def __init__(self, first: PracticeCa, second: PracticeCa, certbot: Certbot, say: Callable[[str], None]) -> None:
        """Take what the tour is made with; ``say`` prints one line."""
        self._first = first
        self._second = second
        self._certbot = certbot
        self._say = say
        self._stories: list[Story] = []

    def walk(self) -> None:
        """Take every step; raise SandboxError at the first that does not do what it should."""
        self._issue()
        self._renew()
        self._move()
        self._revoke()
        self._look_for_secrets()
        self._say("")
        self._say(f"{'serial':<8}  {'names':<38} {'issued by':<19} story")
        for story in self._stories:
            self._say(story.line())

    def _issue(self) -> None:
        self._title(1, "issue a certificate, with nothing but garr-tcs.ini")
        self._write_account(self._first)
        self._run("certonly", "-n", "-a", "garr-tcs", "-d", NAME)
        story = self._new_story("issued", NAME, (NAME,), self._first)
        asked = [request.path for request in self._first.requests()]
        self._expect(len(self._first.orders()) == 1, f"{self._first.options.name} saw one order")
        self._expect(
            not any(path.startswith("/acme/chall") for path in asked),
            "no challenge ran: the name was validated beforehand",
        )
        self._expect(not self._first.is_revoked(story.certificate), "it is not revoked")

    def _renew(self) -> None:
        self._title(2, "renew it, as the timer does")
        self._run(*_RENEW)
        old = self._stories[-1]
        new = self._new_story("a renewal", NAME, (NAME,), self._first)
        self._expect(new.certificate.serial_number != old.certificate.serial_number, "it is another one than before")
        old.chapters.append("renewed")

    def _move(self) -> None:
        self._title(3, "move to another CA: change [account] in garr-tcs.ini, and renew as ever")
        orders_before = len(self._first.orders())
        self._write_account(self._second)
        self._run(*_RENEW)
        self._stories[-1].chapters.append("moved")
        self._new_story("moved here, in use", NAME, (NAME,), self._second)
        self._expect(len(self._first.orders()) == orders_before, f"{self._first.options.name} saw no order more")
        stored = (self._certbot.config_dir / "renewal" / f"{NAME}.conf").read_text(encoding="utf-8")
        self._expect(self._second.directory_url in stored, "the lineage now renews at the new CA")

    def _revoke(self) -> None:
        self._title(4, "issue another one, with a wildcard, and revoke it")
        names = [part for name in WILDCARD for part in ("-d", name)]
        self._run("certonly", "-n", "-a", "garr-tcs", *names)
        story = self._new_story("issued", WILDCARD[0], WILDCARD, self._second)
        self._run("revoke", "-n", "--cert-name", WILDCARD[0])
        self._expect(self._second.is_revoked(story.certificate), "the CA's revocation list names it")
        self._expect(not self._second.is_revoked(self._certbot.certificate(NAME)), f"that of {NAME} is still good")
        story.chapters.append("revoked")

    def _look_for_secrets(self) -> None:
        self._title(5, "look for the HMAC keys")
        where = (self._certbot.config_dir, self._certbot.work_dir, self._certbot.logs_dir)
        ini = self._certbot.ini
        self._expect(
            files_with(self._second.eab_hmac_key, *where) == [ini],
            f"today's is in {ini.name} and nowhere else",
        )
        self._expect(files_with(self._first.eab_hmac_key, *where) == [], "the first CA's is nowhere any more")

    def _title(self, number: int, text: str) -> None:
        self._say("")
        self._say(f"== {number}. {text}")

    def _write_account(self, ca: PracticeCa) -> None:
        write_private(self._certbot.ini, account_section(ca.directory_url, ca.eab_kid, ca.eab_hmac_key).encode())
        self._say(f"-- {self._certbot.ini}: [account] of {ca.options.name}, {ca.directory_url}")

    def _run(self, *arguments: str) -> None:
        for line in shown_command(self._certbot, *arguments):
            self._say(line)
        result = self._certbot.run(*arguments)
        for line in result.output.splitlines():
            if line.strip() and not line.startswith(_NOISE):
                self._say(f"   | {line}")
        self._expect(result.returncode == 0, f"certbot {arguments[0]} ended with exit status 0")

    def _new_story(self, chapter: str, lineage: str, names: tuple[str, ...], ca: PracticeCa) -> Story:
        certificate = self._certbot.certificate(lineage)
        self._expect(dns_names(certificate) == sorted(names), f"a certificate for {', '.join(names)} is there")
        self._expect(issuer_name(certificate) == ca.options.name, f"{ca.options.name} issued it")
        self._expect(certificate in ca.issued(), "it is in that CA's own books")
        self._stories.append(Story(certificate, [chapter]))
        return self._stories[-1]

    def _expect(self, seen: bool, what: str) -> None:
        if not seen:
            raise SandboxError(
                f"the tour stopped, this is not so: {what}",
                f"Read the logs below {self._certbot.folder.parent}",
            )
        self._say(f"   ok: {what}")


def shown_command(certbot: Certbot, *arguments: str, prompt: str = "$ ") -> list[str]:
    """Return a command as lines that a shell can take."""
    head = shlex.join(["certbot", *arguments])
    return [f"{prompt}{head} \\", f"      {shlex.join(certbot.folder_options)}"]


def walk(folder: Path, say: Callable[[str], None]) -> None:
    """Make two practice CAs and a certbot's folders below ``folder``, take the tour, and stop both.

    Raises SandboxError at the first step that does not do what it should.
    """
    executable = find_certbot()
    options = [PracticeOptions(name=f"{which} Practice CA", always_due=True) for which in ("First", "Second")]
    first = PracticeCa(folder / "first-ca", options[0])
    second = PracticeCa(folder / "second-ca", options[1])
    trust = folder / "trust.pem"
    trust.write_bytes(first.ca_bundle.read_bytes() + second.ca_bundle.read_bytes())
    certbot = Certbot(executable, folder / "certbot", trust)
    certbot.config_dir.mkdir(mode=0o700, parents=True)
    with first, second:
        say(f"Two practice CAs on this machine, all in {folder}; certbot is {executable}.")
        say(f"$ export REQUESTS_CA_BUNDLE={shlex.quote(str(trust))}")
        Tour(first, second, certbot, say).walk()
    say("")
    say("Issued, renewed, moved to another CA, revoked: every step did what it should.")
    say("Both practice CAs are stopped.")
