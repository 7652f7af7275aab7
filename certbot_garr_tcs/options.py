"""Command-line options, and what their argparse actions do.

Certbot loads no plugin for ``register``, ``show_account``, ``update_account``, ``unregister`` and
``revoke``, but it parses our options for them: there ``--garr-tcs`` sets CA and account while the command
line is parsed.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any, Callable

NAME = "garr-tcs"
FLAG = f"--{NAME}"

# Certbot stores every option whose destination begins with "garr_tcs_" in renewal/*.conf: what counts for
# one run has another destination.
CA = "tcs_ca"
ALLOW_LIVE_DRY_RUN = "tcs_allow_live_dry_run"
_CHOSEN = "tcs_chosen"
_LAST = "tcs_last"

_ROLES = {
    **dict.fromkeys(("certonly", "run", "renew", "reconfigure"), ("authenticator", "installer")),
    **dict.fromkeys(("install", "rollback"), ("installer",)),
}
_ACCOUNT_VERBS = frozenset({"register", "show_account", "update_account", "unregister", "revoke"})

logger = logging.getLogger(__name__)


def add_options(parser: Any) -> None:
    """Add our options to Certbot's argument group for this plugin."""
    chosen: list[argparse.Namespace] = []

    class Choose(argparse._StoreTrueAction):  # noqa: SLF001
        """Do what ``--webroot`` and its like do: they are built into Certbot, ours is not.

        A "store true" of argparse, because cli.ini (``garr-tcs = true``) knows flags by that class.
        """

        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: Any,
            option_string: str | None = None,
        ) -> None:
            super().__call__(parser, namespace, values, option_string)
            chosen.append(namespace)

    def last(_: str) -> str:
        if chosen:
            _flag_was_given(chosen[-1])
        return ""

    parser.add_argument(
        FLAG,
        action=Choose,
        dest=_CHOSEN,
        default=False,
        help="Prove control of names the garr-tcs way, with the CA account of garr-tcs.ini, and deploy to the targets "
        "of that file (short for --authenticator garr-tcs --installer garr-tcs). Also tells register, show_account, "
        "update_account, unregister and revoke which CA and account to use.",
    )
    parser.add_argument(
        f"{FLAG}-config",
        type=absolute_path,
        metavar="PATH",
        default=None,
        help="Configuration file with CA account, solvers and targets, mode 0600; stored with the lineage. "
        "(default: garr-tcs.ini in Certbot's --config-dir)",
    )
    parser.add_argument(
        f"{FLAG}-ca",
        type=ca_name,
        dest=CA,
        metavar="NAME",
        default=None,
        help="CA preset: harica, sectigo-ov, sectigo-ev, sectigo-dv, sectigo-geant-ov or sectigo-enterprise; overrides "
        "the file's ca, for this run. (default: known from the directory URL)",
    )
    parser.add_argument(
        f"{FLAG}-allow-live-dry-run",
        action="store_true",
        dest=ALLOW_LIVE_DRY_RUN,
        default=False,
        help="Let --dry-run really issue from a CA that has no staging directory: it takes away domain validations "
        "that were made beforehand, and throws a real certificate away. For this run. (default: False)",
    )
    # argparse applies the type of an option that was not given to its default, if that is a string, when all
    # others are done: only then is it known which --config-dir and --server were given, in whatever order.
    parser.add_argument(f"{FLAG}-last", type=last, dest=_LAST, default="unset", help=argparse.SUPPRESS)


def absolute_path(text: str) -> str:
    """Return the path made absolute: a renewal runs from another folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; name a file, or leave the option out")
    return str(Path(text).expanduser().absolute())


def ca_name(text: str) -> str:
    """Return the name of a preset, or say which there are."""
    from certbot_garr_tcs.account.presets import PRESETS  # noqa: PLC0415
    from certbot_garr_tcs.keys import did_you_mean  # noqa: PLC0415

    name = text.strip().lower()
    if name not in PRESETS:
        raise argparse.ArgumentTypeError(f"there are {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}")
    return name


def _flag_was_given(namespace: argparse.Namespace) -> None:
    from certbot_garr_tcs import compat  # noqa: PLC0415

    verb = compat.verb()
    if verb in _ROLES:
        compat.choose(namespace, FLAG, NAME, _ROLES[verb])
    elif verb in _ACCOUNT_VERBS:
        namespace.verb = verb
        _set_account(namespace)


def _set_account(namespace: argparse.Namespace) -> None:
    """Set CA and account for a subcommand that loads no plugin."""
    from certbot import errors  # noqa: PLC0415

    from certbot_garr_tcs import account_setup, compat, config, failure_hints  # noqa: PLC0415
    from certbot_garr_tcs.account.selection import Run  # noqa: PLC0415
    from certbot_garr_tcs.state import StateFolder  # noqa: PLC0415

    with compat.user_errors(errors.ConfigurationError):
        if namespace.verb == "revoke" and namespace.certname:
            account_setup.settle_for_lineage(namespace)
            return
        occasion = account_setup.Occasion(
            run=Run.STAGING if namespace.staging else Run.LIVE,
            typed=_typed(namespace, compat.public_server()),
            notify=logger.info if namespace.quiet else logger.warning,
            registers=namespace.verb == "register",
        )
        # Certbot refuses --staging beside any server but Let's Encrypt's; the staging directory is ours here.
        namespace.staging = False
        settings = config.load_named(namespace.garr_tcs_config, namespace.config_dir)
        selected = account_setup.settle(namespace, settings, StateFolder(Path(namespace.work_dir)), occasion)
        if namespace.verb == "revoke":
            account_setup.check_revocation(namespace, selected)
        failure_hints.explain_failures(selected, NAME, Path(namespace.config_dir) / "renewal")


def _typed(namespace: argparse.Namespace, public_server: str) -> Callable[[str], bool]:
    """Return a test for options that were given, while they are still being parsed: their value is no default.

    ``--server`` is looked for on the command line: who types Certbot's default there means it.
    """
    from certbot_garr_tcs import compat  # noqa: PLC0415

    def typed(name: str) -> bool:
        value = getattr(namespace, name, None)
        if name == "server" and value == public_server:
            return compat.on_command_line("--server")
        return bool(value)

    return typed
