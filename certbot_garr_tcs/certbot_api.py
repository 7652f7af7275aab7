"""What Certbot offers no public interface for, and what differs between its versions, 2.1 to today.

Certbot's private modules are imported in no other module, and here only when they are used.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import json
import logging
import re
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from certbot import configuration, errors, util

from certbot_garr_tcs.errors import GarrTcsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Command = Callable[[Any, Any], Any]

_BY_USER = frozenset({"COMMAND_LINE", "CONFIG_FILE", "ENV_VAR"})


def set_by_user(config: Any, name: str) -> bool:
    """Return whether the user set an option: on the command line, in cli.ini or by the environment.

    Certbot's own ``config.set_by_user`` is also true for what a renewal or ``--dry-run`` set, and it logs the
    value: it must not be asked about secrets.
    """
    sources = getattr(config, "argument_sources", None)
    if sources is not None:  # since 2.7
        source = sources.get(name)
        return source is not None and source.name in _BY_USER
    from certbot._internal import cli  # noqa: PLC0415

    # Before 2.7 Certbot parses the command line a second time, with defaults that can be told apart.
    set_by_cli = getattr(cli, "set_by_cli")  # noqa: B009  (gone since 2.7, so no attribute for mypy)
    set_by_cli("config_dir")
    detector = set_by_cli.detector
    return type(getattr(detector, name)).__name__ != "_Default"


def select_plugin(namespace: argparse.Namespace, flag: str, name: str, roles: Iterable[str]) -> None:
    """Select the plugin ``name`` for ``roles``, as Certbot's own ``--nginx`` and the like do.

    ``roles``: ``authenticator``, ``installer``, or none. A role that is given to another plugin stays there: Certbot
    reports what does not go together. Before 2.7 the second parse of the command line does not see what an action
    did, and takes a flag of our own for an option with a value: there it is replaced by what it stands for.
    """
    ours = [role for role in roles if not getattr(namespace, role)]
    for role in ours:
        setattr(namespace, role, name)
    if hasattr(configuration, "ArgumentSource"):
        return
    from certbot._internal import cli  # noqa: PLC0415

    parser = cli.helpful_parser
    if parser is not None and flag in parser.args:
        rest = [argument for argument in parser.args if argument != flag]
        parser.args[:] = rest + [f"--{role}={name}" for role in ours]


def unset_authenticator(config: Any, name: str) -> bool:
    """Take the role of authenticator from the plugin ``name``; return whether it had it.

    Certbot then uses the authenticator that each lineage stores.
    """
    if name not in {config.authenticator, config.configurator}:
        return False
    if config.configurator == name:
        config.namespace.configurator, config.namespace.installer = None, config.installer or name
    config.namespace.authenticator = None
    if not hasattr(configuration, "ArgumentSource"):
        from certbot._internal import cli  # noqa: PLC0415

        # Before 2.7 it uses a second parse of the command line.
        getattr(cli, "set_by_cli")("config_dir")  # noqa: B009  (gone since 2.7, so no attribute for mypy)
        detector = getattr(cli, "set_by_cli").detector  # noqa: B009
        if detector.authenticator == name:
            detector.authenticator = detector.configurator = getattr(cli, "_Default")()  # noqa: B009
    return True


def wrap_command(wrapper: Callable[[Command, Any, Any], Any]) -> None:
    """Have Certbot call ``wrapper(command, config, plugins)`` where it would call its subcommand's ``command``.

    For subcommands that load no plugin, or not in time; to be called while Certbot is still parsing.
    """
    from certbot._internal import cli  # noqa: PLC0415

    parser = cli.helpful_parser
    if parser is not None:
        command = parser.VERBS[parser.verb]
        parser.VERBS[parser.verb] = lambda config, plugins: wrapper(command, config, plugins)


_RENEWING: list[str] = []


class _RenewalListener(logging.Handler):
    """Remembers the lineage of the last "Processing …" line of Certbot."""

    def emit(self, record: logging.LogRecord) -> None:
        line = re.fullmatch(r"Processing\s+(.+)\.conf", record.getMessage().partition(": ")[2], re.DOTALL)
        if line:
            _RENEWING[:] = [line[1].rpartition("/")[2]]


def watch_renewals() -> None:
    """Listen to what ``certbot renew`` logs, for ``lineage_being_renewed``."""
    _RENEWING.clear()
    display = logging.getLogger("certbot._internal.display.obj")
    if not any(isinstance(handler, _RenewalListener) for handler in display.handlers):
        display.addHandler(_RenewalListener())


def lineage_being_renewed() -> str | None:
    """Return the name of the lineage that ``certbot renew`` is renewing; ``None`` where its log has not named one.

    The configuration that a plugin gets does not contain it, and several lineages can have the same names.
    """
    return _RENEWING[0] if _RENEWING else None


def register_account(config: Any) -> str:
    """Register an account with Certbot's own questions and messages, whatever accounts are there; return its ID.

    Certbot itself registers only where there is none: so it does it in an empty folder, and what it made is moved to
    the others, which are not touched.
    """
    from certbot._internal import main  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix=".garr-tcs-", dir=config.config_dir) as folder:
        namespace = copy.copy(config.namespace)
        namespace.config_dir, namespace.account = folder, None
        empty = configuration.NamespaceConfig(namespace)
        account = str(main._determine_account(empty)[0].id)  # noqa: SLF001
        (Path(empty.accounts_dir) / account).rename(Path(config.accounts_dir) / account)
    return account


def verb() -> str:
    """Return the subcommand, while Certbot is still parsing its command line."""
    from certbot._internal import cli  # noqa: PLC0415

    return str(cli.helpful_parser.verb) if cli.helpful_parser is not None else ""


def on_command_line(option: str) -> bool:
    """Return whether an option is on the command line, while Certbot is still parsing it."""
    from certbot._internal import cli  # noqa: PLC0415

    arguments = cli.helpful_parser.args if cli.helpful_parser is not None else ()
    return any(argument.partition("=")[0] == option for argument in arguments)


def public_server() -> str:
    """Return the directory URL that Certbot uses by default."""
    from certbot._internal import constants  # noqa: PLC0415

    return str(constants.CLI_DEFAULTS["server"])


def public_staging() -> str:
    """Return the staging directory URL that ``--dry-run`` and ``--staging`` use by default."""
    from certbot._internal import constants  # noqa: PLC0415

    return str(constants.STAGING_URI)


def accounts(config: Any, directory_url: str) -> list[str]:
    """Return the IDs of the complete accounts that Certbot has for a directory, oldest first."""
    files = ("regr.json", "meta.json", "private_key.json")
    try:
        entries = _accounts_folder(config, directory_url).iterdir()
        found = [entry for entry in entries if all((entry / name).is_file() for name in files)]
    except OSError:
        return []
    return [entry.name for entry in sorted(found, key=lambda entry: (entry.stat().st_mtime, entry.name))]


def account_created(config: Any, directory_url: str, account: str) -> float:
    """Return when an account was registered, in seconds since the epoch."""
    path = _accounts_folder(config, directory_url) / account / "meta.json"
    try:
        text = json.loads(path.read_text(encoding="utf-8"))["creation_dt"]  # in UTC, as acme writes RFC 3339
        return datetime.strptime(f"{text}+0000", "%Y-%m-%dT%H:%M:%SZ%z").timestamp()
    except (ValueError, KeyError, TypeError):
        return path.stat().st_mtime


def _accounts_folder(config: Any, directory_url: str) -> Path:
    namespace = copy.copy(config if isinstance(config, argparse.Namespace) else config.namespace)
    namespace.server = directory_url
    return Path(configuration.NamespaceConfig(namespace).accounts_dir)


def identifiers(config: Any) -> list[str]:
    """Return the names and IP addresses that are asked for, as text."""
    return [str(name) for name in [*config.domains, *getattr(config, "ip_addresses", [])]]


def identifier(achall: Any) -> str:
    """Return the name or address of an annotated challenge; ``achall.identifier`` is there since 5.3."""
    known = getattr(achall, "identifier", None)
    return str(known.value if known is not None else achall.domain)


@functools.cache
def at_exit(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function when Certbot has done everything else, once with the same arguments."""
    util.atexit_register(function, *arguments)


@contextlib.contextmanager
def as_certbot_errors(kind: type[errors.Error]) -> Iterator[None]:
    """Raise our errors as errors of Certbot's, which it shows unchanged, on one line."""
    try:
        yield
    except GarrTcsError as error:
        raise kind(str(error)) from error
