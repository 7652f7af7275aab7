"""The command ``certbot-garr-tcs init``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs import certbot_folders, config
from certbot_garr_tcs.ca_directory import fetch_directory
from certbot_garr_tcs.certbot_folders import CertbotFolders
from certbot_garr_tcs.errors import ConfigError, GarrTcsError
from certbot_garr_tcs.init import files, questions
from certbot_garr_tcs.init.answers import LABELS, Answers, answer_problem, read_answers
from certbot_garr_tcs.init.template import TEMPLATE

if TYPE_CHECKING:
    import argparse

    from certbot_garr_tcs.account.settings import AccountSettings
    from certbot_garr_tcs.ca_directory import CaDirectory

HELP = "write garr-tcs.ini from the strings that the CA's portal shows; no account is registered"
_MOST_BYTES = 1 << 20
_STANDARD_INPUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``init``; none takes a secret."""
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="take the strings from FILE, or from standard input (-): what tcs-garr acme info shows, a copy of the "
        "portal's page, or lines of the form Key ID: ...",
    )
    parser.add_argument("--directory-url", metavar="URL", default="", help="the portal's Server URL")
    parser.add_argument("--email", metavar="ADDRESS", default="", help="where the CA sends messages")
    parser.add_argument("--agree-tos", action="store_true", help="agree to the CA's terms of service")
    parser.add_argument(
        "--garr-tcs-config", metavar="PATH", help=f"the file to write (default: {config.FILE_NAME} in --config-dir)"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the [account] section of a file that is there, and keep the old file",
    )
    parser.add_argument("--no-check", action="store_true", help="do not ask the CA for its directory")
    parser.add_argument("-n", "--non-interactive", action="store_true", help="ask nothing")
    parser.add_argument("--template", action="store_true", help="print a commented file with every section, and stop")
    certbot_folders.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``init``; return 0 once the file is written. Raises GarrTcsError, and then nothing has changed."""
    if args.template:
        _say(TEMPLATE)
        return 0
    folders = CertbotFolders.of(args)
    path = Path(args.garr_tcs_config).expanduser().absolute() if args.garr_tcs_config else None
    target = path or config.default_path(str(folders.config))
    files.check_place(target, force=args.force)
    can_ask = not args.non_interactive and questions.is_terminal()
    answers = _answers(args, can_ask=can_ask)
    account = _checked(answers, target)
    directory = None if args.no_check else _directory(account)
    if directory and directory.terms and not answers.agree_tos and can_ask:
        agreed = questions.ask_yes(f"Do you agree to the terms of service of {directory.title}, {directory.terms} ?")
        answers = replace(answers, agree_tos=agreed)
    text = files.merged(target, answers.section())
    _checked_whole(text, target)
    backup = files.write(target, text, datetime.now().astimezone())
    _report(target, backup, account, directory, agreed=answers.agree_tos)
    options = [*(["--garr-tcs-config", str(path)] if path else []), *folders.options()]
    _say("\nNow ask for a certificate; this also registers the account. With your own name, type:")
    _say(f"\n    {_next(options)}\n")
    return 0


def _answers(args: argparse.Namespace, *, can_ask: bool) -> Answers:
    answers = Answers()
    if args.source:
        shown = "standard input" if args.source == _STANDARD_INPUT else args.source
        answers = read_answers(_read(args.source), shown)
    given = {name: getattr(args, name).strip() for name in ("directory_url", "email") if getattr(args, name)}
    answers = replace(answers.having(**given), agree_tos=args.agree_tos)
    for name in LABELS:
        value = getattr(answers, name)
        problem = answer_problem(answers, name, value) if value else None
        if problem:
            raise ConfigError(f"the {LABELS[name]} cannot be used: {problem}", "Nothing was written.")
    missing = answers.missing()
    if missing and not can_ask:
        names = ", ".join(LABELS[name] for name in missing)
        raise ConfigError(
            f"missing: {names}",
            "Run the command at a terminal, or give a file that has them with --from (and --email ADDRESS). "
            "Nothing was written.",
        )
    return questions.ask_missing(answers) if missing else answers


def _read(source: str) -> str:
    try:
        if source == _STANDARD_INPUT:
            return sys.stdin.read(_MOST_BYTES)
        with Path(source).open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}", "Give the path of a file, or -.") from error


def _checked(answers: Answers, path: Path) -> AccountSettings:
    """Check the answers together, by the checks of garr-tcs.ini."""
    account = _checked_whole(answers.section(), path)
    assert account is not None  # noqa: S101 - the section is there
    return account


def _checked_whole(text: str, path: Path) -> AccountSettings | None:
    try:
        return config.parse(text, path).account
    except ConfigError as error:
        raise ConfigError(error.message, "Nothing was written.") from error


def _directory(account: AccountSettings) -> CaDirectory:
    try:
        return fetch_directory(str(account.directory_url))
    except GarrTcsError as error:
        hint = f"{error.hint} Nothing was written; --no-check writes the file without asking the CA."
        raise ConfigError(error.message, hint) from error


def _report(
    path: Path, backup: Path | None, account: AccountSettings, directory: CaDirectory | None, *, agreed: bool
) -> None:
    if directory:
        _say(f"{directory.title} answers with its ACME directory.")
        if directory.eab_required:
            _say("It asks for external account binding (EAB), which the Key ID and the HMAC Key are for.")
        else:
            _say("It does not ask for external account binding (EAB). See that the Server URL is the right one.")
        _say("Whether it accepts this Key ID and this HMAC Key shows when the account is registered.")
    for notice in account.notices:
        _say(notice)
    _say(f"{path} is written, readable by its owner alone (mode 0600).")
    if backup:
        _say(f"The old file is kept as {backup}; its [account] section was replaced, the other sections are as before.")
    if not agreed and (directory is None or directory.terms):
        _say("The terms of service are not agreed to: Certbot asks when it registers the account (--agree-tos agrees).")


def _next(options: list[str]) -> str:
    return shlex.join(["certbot", "run", "--garr-tcs", "-d", "www.example.it", *options])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
