"""What tests read and assert after a certbot run: requests, stored parameters, explanations, unchanged files."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs.sandbox.certbot import Result

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from certbot_garr_tcs.sandbox.ca import Request
    from support.certbot_runner import CertbotRunner
    from support.practice_ca import PracticeCa

NAME = "www.practice.example"


def since_now(ca: PracticeCa) -> Callable[[], list[Request]]:
    """Return a function that returns the requests to a shared CA since now."""
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
    """Return output of Certbot without its line breaks: it wraps at the terminal's width."""
    return " ".join(text.split())


def conf(certbot: CertbotRunner, lineage: str) -> str:
    """Return the text of a lineage's renewal configuration."""
    return (certbot.config_dir / "renewal" / f"{lineage}.conf").read_text(encoding="utf-8")


def params(certbot: CertbotRunner, lineage: str) -> dict[str, Any]:
    """Return the parameters that are stored for the renewal of a lineage."""
    return dict(certbot.renewal(lineage)["renewalparams"])


def run_in(certbot: CertbotRunner, folder: Path, *arguments: str, keys: str = "") -> Result:
    """Run certbot from ``folder`` with just these arguments; ``keys`` is what somebody types meanwhile."""
    done = subprocess.run(
        [str(certbot.executable), *arguments],
        cwd=folder,
        env=certbot.environment(),
        input=keys,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Result(tuple(done.args), done.returncode, done.stdout, done.stderr)


def assert_stored(certbot: CertbotRunner, lineage: str, ca: PracticeCa) -> None:
    """Assert that a lineage stores its CA and our plugin in both roles, and nothing that counts for one run."""
    stored = params(certbot, lineage)
    assert stored["server"] == ca.directory_url
    assert (stored["authenticator"], stored["installer"]) == ("garr-tcs", "garr-tcs")
    assert stored["account"] in certbot.account_ids()
    assert [key for key in stored if key.startswith(("eab", "tcs_"))] == []


def ini(url: str, *, hmac: str, kid: str = "kid-1", hmac_name: str = "eab-hmac-key") -> str:
    """Return an [account] section that may be wrong in one place; the HMAC key stands on line 4."""
    return f"[account]\ndirectory-url = {url}\neab-kid = {kid}\n{hmac_name} = {hmac}\nemail = ced@practice.example\n"


def explained(result: Result, *words: str) -> str:
    """Return the one line of the output that has all these words."""
    lines = [line for line in result.output.splitlines() if all(word in line for word in words)]
    assert len(lines) == 1, f"{len(lines)} lines with {words}:\n{result.output}"
    assert "Traceback" not in result.output
    return lines[0]


def snapshot(certbot: CertbotRunner) -> Mapping[str, tuple[str, bytes]]:
    """Return every file and link of all lineages, byte for byte: live, archive, renewal."""
    return {
        str(path): ("link", os.fsencode(path.readlink())) if path.is_symlink() else ("file", path.read_bytes())
        for folder in ("live", "archive", "renewal")
        for path in sorted((certbot.config_dir / folder).rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def no_secret(certbot: CertbotRunner, result: Result, secret: str) -> None:
    """Fail where a secret shows in the output, or in any file but garr-tcs.ini."""
    assert secret not in result.output
    assert certbot.files_with(secret) in ([], [certbot.ini])
