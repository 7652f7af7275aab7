"""The command ``certbot-garr-tcs sandbox``."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs.challenges.dns.endpoints import parse_server
from certbot_garr_tcs.errors import ConfigError, SandboxError
from certbot_garr_tcs.sandbox.ca import PracticeCa
from certbot_garr_tcs.sandbox.certbot import certbot_to_type
from certbot_garr_tcs.sandbox.demo import DOMAIN, NAME, run_demo
from certbot_garr_tcs.sandbox.settings import (
    PracticeOptions,
    challenge_section,
    eab_lines,
    free_port,
    stored_http_port,
)
from certbot_garr_tcs.state import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from certbot_garr_tcs.sandbox.certbot import Certbot

HELP = "practise on a CA of your own, on this machine"
_NAME_COLUMN = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``sandbox``."""
    parser.add_argument(
        "--folder",
        type=Path,
        help="where everything is put; that of an earlier run goes on where it ended (default: a new temporary one)",
    )
    parser.add_argument(
        "--tour",
        action="store_true",
        help="show a certificate's life: issue, deploy, renew, change of CA, challenge, revocation; then stop",
    )
    group = parser.add_argument_group("what the practice CA does (without --tour)")
    group.add_argument(
        "--challenge",
        metavar="NAME",
        type=_domain,
        action="append",
        default=[],
        help=f"NAME and all below it need a challenge, as {DOMAIN} does; may be repeated",
    )
    group.add_argument(
        "--http-port",
        metavar="PORT",
        type=_port,
        help="where it looks for http-01 on this machine (default: a free port)",
    )
    group.add_argument(
        "--dns-server", metavar="HOST[:PORT]", type=_server, help="the name server that it asks for dns-01"
    )
    group.add_argument(
        "--refuse",
        metavar="NAME",
        type=_domain,
        action="append",
        default=[],
        help="refuse NAME and all below it; may be repeated",
    )
    group.add_argument(
        "--slow",
        metavar="SECONDS",
        type=_seconds,
        default=0,
        help="take so long for a certificate (Certbot waits 90 s)",
    )
    group.add_argument("--one-time-eab", action="store_true", help="let each EAB pair make one account only")


def run(args: argparse.Namespace) -> int:
    """Run ``sandbox``; return the exit status. Raises SandboxError."""
    with _terminated_as_interrupted():
        folder = _folder(args.folder, resumable=not args.tour)
        if not args.tour:
            return _keep_running(folder, args)
        run_demo(folder, _say)
        if args.folder is None:
            shutil.rmtree(folder)
        for line in _what_next():
            _say(line)
    return 0


def _keep_running(folder: Path, args: argparse.Namespace) -> int:
    options = PracticeOptions(
        always_due=True,
        challenge_domains=(DOMAIN, *args.challenge),
        http_port=args.http_port or stored_http_port(folder / "ca") or free_port(),
        dns_server=args.dns_server or "",
        refused=tuple(args.refuse),
        eab_once=args.one_time_eab,
        issuing_seconds=args.slow,
    )
    with PracticeCa(folder / "ca", options) as ca, contextlib.suppress(KeyboardInterrupt):
        certbot = certbot_to_type(folder, ca.ca_bundle)
        ini = "\n".join(
            [ca.account_section(), *(challenge_section(name, options.http_port) for name in options.challenge_domains)]
        )
        if not certbot.ini.exists():
            replace_file(certbot.ini, ini.encode())
        for line in _introduction(ca, certbot, ini):
            _say(line)
        while ca.running:
            time.sleep(0.2)
        raise SandboxError("the practice CA has ended by itself", f"Read {ca.log}")
    _say(f"Stopped. To go on: {_own_command()} sandbox --folder {shlex.quote(str(folder))}")
    return 0


def _introduction(ca: PracticeCa, certbot: Certbot, ini: str) -> list[str]:
    """Return the text that is printed when the practice CA has started; ``ini``: a new garr-tcs.ini."""
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
    rows += [(f"{options.domains[0]}, and below", "validated beforehand: no challenge")]
    rows += [(f"{name}, and below", proofs) for name in options.challenge_domains]
    rows += [("every other name", "refused")]
    if options.issuing_seconds:
        rows += [("a certificate", f"takes {options.issuing_seconds:g} seconds")]
    return [f"    {what:<{_NAME_COLUMN}} {how}" for what, how in rows]


def _second_pair(ca: PracticeCa, certbot: Certbot) -> list[str]:
    """Return how to see that an EAB pair works once: unregister, and register again."""
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


def _what_next() -> list[str]:
    return [
        "",
        "What next:",
        f"  - type such commands yourself, on a practice CA:  {_own_command()} sandbox --folder ~/practice",
        '  - install the plugin for your own Certbot:        README.md, "Install it for real"',
    ]


def _own_command() -> str:
    own = Path(sys.argv[0])
    return shlex.quote(str(own)) if own.name == "certbot-garr-tcs" else "certbot-garr-tcs"


def _folder(chosen: Path | None, *, resumable: bool) -> Path:
    """Return the folder to work in: an empty one, or if ``resumable`` that of an earlier run."""
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix="garr-tcs-sandbox-"))
    folder = chosen.expanduser().resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as error:
        raise SandboxError(f"cannot use {folder}: {error.strerror}", "Name another folder with --folder") from error
    if used and not (resumable and (folder / "ca" / "eab.json").exists()):
        raise SandboxError(f"{folder} is not empty", "Remove it, or name another one with --folder")
    return folder


def _server(text: str) -> str:
    try:
        return str(parse_server(text))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _domain(text: str) -> str:
    """Return a domain name in lower case, without a leading ``*.``."""
    name = text.strip().lower().rstrip(".")
    name = name.removeprefix("*.")
    with contextlib.suppress(ConfigError):
        host = parse_server(name)
        if host.port is None and not host.is_address:
            return name
    raise argparse.ArgumentTypeError(f"{text!r} is no domain name; write it like www.example.it")


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 1 to 65535")


def _seconds(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Handle SIGTERM as Ctrl-C, so that everything is cleaned up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
