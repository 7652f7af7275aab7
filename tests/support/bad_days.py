"""What the tests of bad days look at: one line that explains, a lineage as it was, no secret anywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from certbot_garr_tcs.sandbox.certbot import Result
    from support.certbot_runner import CertbotRunner

NAME = "www.practice.example"


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
