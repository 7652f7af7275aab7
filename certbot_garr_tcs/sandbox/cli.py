"""The command ``certbot-garr-tcs sandbox``."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import SandboxError
from certbot_garr_tcs.sandbox.options import PracticeOptions
from certbot_garr_tcs.sandbox.practice_ca import PracticeCa
from certbot_garr_tcs.sandbox.runner import Certbot, find_certbot
from certbot_garr_tcs.sandbox.settings import account_section, write_private
from certbot_garr_tcs.sandbox.tour import NAME, shown_command, walk

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

HELP = "practise on a CA of your own, on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``sandbox``."""
    parser.add_argument(
        "--folder", type=Path, help="where everything is put; must be empty (default: a new temporary folder)"
    )
    parser.add_argument(
        "--tour",
        action="store_true",
        help="issue, renew, move to a second practice CA, revoke, and check every step; then stop",
    )


def run(args: argparse.Namespace) -> int:
    """Run ``sandbox``; return the exit status. Raises SandboxError."""
    with _terminated_as_interrupted():
        folder = _fresh_folder(args.folder)
        if not args.tour:
            return _keep_running(folder)
        walk(folder, _say)
        if args.folder is None:
            shutil.rmtree(folder)
    return 0


def _keep_running(folder: Path) -> int:
    with PracticeCa(folder / "ca", PracticeOptions(always_due=True)) as ca:
        certbot = Certbot(find_certbot(), folder / "certbot", ca.ca_bundle)
        certbot.config_dir.mkdir(mode=0o700, parents=True)
        account = account_section(ca.directory_url, ca.eab_kid, ca.eab_hmac_key)
        write_private(certbot.ini, account.encode())
        with contextlib.suppress(KeyboardInterrupt):
            for line in _introduction(ca, certbot, account):
                _say(line)
            while ca.running:
                time.sleep(0.2)
            raise SandboxError("the practice CA has ended by itself", f"Read {ca.log}")
    _say(f"Stopped. What it made is still in {folder}")
    return 0


def _introduction(ca: PracticeCa, certbot: Certbot, account: str) -> list[str]:
    commands = [
        ("certonly", "-n", "-a", "garr-tcs", "-d", NAME),
        ("certificates",),
        ("renew",),
        ("revoke", "-n", "--cert-name", NAME),
    ]
    return [
        f"A practice CA answers at {ca.directory_url}",
        f"It has validated these names beforehand: {', '.join(ca.domains)}",
        "",
        f"{certbot.ini} holds what a real CA's portal would have shown you:",
        "",
        *(f"    {line}" for line in account.splitlines()),
        "",
        "Type in another terminal:",
        "",
        f"    export REQUESTS_CA_BUNDLE={shlex.quote(str(ca.ca_bundle))}",
        *(line for one in commands for line in shown_command(certbot, *one, prompt="    ")),
        "",
        "Its certificates are due at once, so that a plain renew renews. Ctrl-C stops the practice CA.",
    ]


def _fresh_folder(chosen: Path | None) -> Path:
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix="garr-tcs-sandbox-"))
    folder = chosen.expanduser().resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as error:
        raise SandboxError(f"cannot use {folder}: {error.strerror}", "Name another folder with --folder") from error
    if used:
        raise SandboxError(f"{folder} is not empty", "Remove it, or name another one with --folder")
    return folder


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end us as Ctrl-C does, so that everything is cleaned up on the way out."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
