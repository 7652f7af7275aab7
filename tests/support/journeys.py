"""What users' journeys have in common: the way from issue to revocation, and looks at its traces."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs.sandbox.runner import Result, dns_names, issuer_name
from certbot_garr_tcs.sandbox.settings import account_section

if TYPE_CHECKING:
    from pathlib import Path

    from certbot_garr_tcs.sandbox.practice_ca import PracticeCa, Request
    from support.certbot import CertbotRunner

NAME = "www.practice.example"


def account_of(ca: Any) -> str:
    """Return the [account] section for a CA, Pebble too."""
    return account_section(ca.directory_url, ca.eab_kid, ca.eab_hmac_key)


def since_now(ca: PracticeCa) -> Callable[[], list[Request]]:
    """Return a look at what a shared CA is asked from now on."""
    before = len(ca.requests())
    return lambda: ca.requests()[before:]


def orders(asked: list[Request]) -> list[Request]:
    """Return the requests for a new order among these."""
    return [request for request in asked if request.path == "/acme/neworders"]


def key_ids(asked: list[Request]) -> list[str | None]:
    """Return the EAB key ID of each request for an account, ``None`` where it had no EAB."""
    bindings = [
        request.payload.get("externalAccountBinding")
        for request in asked
        if request.path == "/acme/newaccount" and not request.payload.get("onlyReturnExisting")
    ]
    return [None if binding is None else protected(binding)["kid"] for binding in bindings]


def protected(jws: dict[str, str]) -> dict[str, Any]:
    """Return the protected header of a JWS (RFC 7515)."""
    text = jws["protected"]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return header


def one_line(text: str) -> str:
    """Return what Certbot said without its line breaks: it wraps at the terminal's width."""
    return " ".join(text.split())


def conf(certbot: CertbotRunner, lineage: str) -> str:
    """Return the text of a lineage's renewal configuration."""
    return (certbot.config_dir / "renewal" / f"{lineage}.conf").read_text(encoding="utf-8")


def params(certbot: CertbotRunner, lineage: str) -> dict[str, Any]:
    """Return what is stored for the renewal of a lineage."""
    return dict(certbot.renewal(lineage)["renewalparams"])


def run_in(certbot: CertbotRunner, folder: Path, *arguments: str, keys: str = "") -> Result:
    """Run certbot from ``folder`` with just these arguments; ``keys`` is what somebody types meanwhile."""
    done = subprocess.run(
        [str(certbot.bound.executable), *arguments],
        cwd=folder,
        env=certbot.bound.environment(),
        input=keys,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Result(tuple(done.args), done.returncode, done.stdout, done.stderr)


def walk(certbot: CertbotRunner, first: PracticeCa, second: PracticeCa, *chosen: str) -> None:
    """Issue, renew, change the CA, revoke in both ways; both CAs' certificates have to be due at once.

    ``chosen``: how the authenticator is chosen. Each effect is asserted.
    """
    certbot.use(first)
    certbot.trust(second)
    at_first, at_second = since_now(first), since_now(second)

    certbot.run("certonly", "-n", *chosen, "-d", NAME)
    issued = certbot.certificate(NAME)
    assert dns_names(issued) == [NAME]
    assert issued in first.issued()
    assert key_ids(at_first()) == [first.eab_kid]
    assert_stored(certbot, NAME, first)

    certbot.run("renew")
    renewed = certbot.certificate(NAME)
    assert renewed.serial_number != issued.serial_number
    assert renewed in first.issued()
    assert key_ids(at_first()) == [first.eab_kid]
    assert len(orders(at_first())) == 2
    assert not [request for request in at_first() if "/chall" in request.path]
    assert at_second() == []

    certbot.write_ini(account_of(second))
    moving = certbot.run("renew")
    moved = certbot.certificate(NAME)
    assert issuer_name(moved) == second.options.name
    assert moved in second.issued()
    assert f"Lineage {NAME} moves from {first.directory_url} to {second.directory_url}." in one_line(moving.output)
    assert key_ids(at_second()) == [second.eab_kid]
    assert len(orders(at_first())) == 2
    assert len(certbot.account_ids()) == 2
    assert_stored(certbot, NAME, second)

    certbot.write_ini(account_of(first))
    archived = certbot.config_dir / "archive" / NAME / "cert2.pem"
    certbot.run("revoke", "-n", "--cert-path", str(archived), "--garr-tcs", "--no-delete-after-revoke")
    assert first.is_revoked(renewed)
    assert not first.is_revoked(issued)
    assert not second.is_revoked(moved)

    certbot.run("revoke", "-n", "--cert-name", NAME)
    assert second.is_revoked(moved)
    assert not certbot.live(NAME).exists()
    assert len(certbot.account_ids()) == 2


def assert_stored(certbot: CertbotRunner, lineage: str, ca: PracticeCa) -> None:
    """Assert that a lineage stores its CA and our plugin in both roles, and nothing that counts for one run."""
    stored = params(certbot, lineage)
    assert stored["server"] == ca.directory_url
    assert (stored["authenticator"], stored["installer"]) == ("garr-tcs", "garr-tcs")
    assert stored["account"] in certbot.account_ids()
    assert [key for key in stored if key.startswith(("eab", "tcs_"))] == []
