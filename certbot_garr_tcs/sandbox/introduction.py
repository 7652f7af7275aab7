"""Tell somebody whose practice CA has just started what it does, and what to type."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from certbot_garr_tcs.sandbox.demo import DOMAIN, NAME
from certbot_garr_tcs.sandbox.settings import eab_lines

if TYPE_CHECKING:
    from certbot_garr_tcs.sandbox.practice_ca import PracticeCa
    from certbot_garr_tcs.sandbox.runner import FolderCertbot

_COLUMN = 32


def introduction(ca: PracticeCa, certbot: FolderCertbot, ini: str) -> list[str]:
    """Return the lines that somebody reads whose practice CA has just started; ``ini``: a new garr-tcs.ini."""
    commands = [
        ("run", "--garr-tcs", "-n", "-d", NAME),
        ("certonly", "--garr-tcs", "-n", "-d", f"www.{DOMAIN}"),
        ("certificates",),
        ("renew",),
        ("revoke", "-n", "--cert-name", NAME),
    ]
    if certbot.ini.read_bytes() == ini.encode():
        about = "config/garr-tcs.ini has what the portal of a real CA shows, and how to prove control:"
    else:
        about = "config/garr-tcs.ini stays as you left it. A new one would be:"
    return [
        f"A practice CA answers at {ca.directory_url}; all is in {certbot.folder}",
        "",
        *_behaviour(ca),
        "",
        about,
        "",
        *(f"    {line}".rstrip() for line in ini.splitlines()),
        "",
        "Type in another terminal:",
        "",
        f"    cd {shlex.quote(str(certbot.folder))}",
        "    export REQUESTS_CA_BUNDLE=$PWD/ca/root.pem",
        *(f"    {certbot.shown(*one)}" for one in commands),
        "",
        *_second_pair(ca, certbot),
        "Certificates expire in 10 days: they are made 80 of their 90 days old, so that a plain renew renews them.",
        "Ctrl-C stops the practice CA; with --folder it starts again where it was.",
    ]


def _behaviour(ca: PracticeCa) -> list[str]:
    options = ca.options
    proofs = f"http-01 at 127.0.0.1 port {options.http_port}"
    if options.dns_server:
        proofs += f", or dns-01 at {options.dns_server}"
    rows = [(f"{name}, and below", "refused") for name in options.refused]
    rows += [(f"{ca.domains[0]}, and below", "validated beforehand: no challenge")]
    rows += [(f"{name}, and below", proofs) for name in options.challenge_domains]
    rows += [("every other name", "refused")]
    if options.issuing_seconds:
        rows += [("a certificate", f"takes {options.issuing_seconds:g} seconds")]
    return [f"    {what:<{_COLUMN}} {how}" for what, how in rows]


def _second_pair(ca: PracticeCa, certbot: FolderCertbot) -> list[str]:
    """Return what to do where a pair works once: give the account up, and register again."""
    if not ca.options.eab_once:
        return []
    key_id, hmac_key = ca.spare_key()
    return [
        "Each EAB pair makes one account only. To see that, give the account up, and ask again:",
        "",
        f"    {certbot.shown('unregister', '-n', '--garr-tcs')}",
        f"    {certbot.shown('certonly', '--garr-tcs', '-n', '-d', NAME, '--force-renewal')}",
        "",
        "It is refused until config/garr-tcs.ini has a new pair, as the portal of a CA would show it:",
        "",
        *(f"    {line}" for line in eab_lines(key_id, hmac_key).splitlines()),
        "",
    ]
