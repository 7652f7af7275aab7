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
_NAMESPACE = "tcs_namespace"
_LAST = "tcs_last"

_ROLES = {
    **dict.fromkeys(("certonly", "run", "renew", "reconfigure"), ("authenticator", "installer")),
    **dict.fromkeys(("install", "rollback"), ("installer",)),
}
_ACCOUNT_VERBS = frozenset({"register", "show_account", "update_account", "unregister", "revoke"})

logger = logging.getLogger(__name__)


def add_options(parser: Any) -> None:
    """Add our options to Certbot's argument group for this plugin."""
    namespaces: list[argparse.Namespace] = []

    class Remember(argparse.Action):
        """Stores the namespace that argparse is filling."""

        def __call__(
            self,
            parser: argparse.ArgumentParser,  # noqa: ARG002
            namespace: argparse.Namespace,
            values: Any,  # noqa: ARG002
            option_string: str | None = None,  # noqa: ARG002
        ) -> None:
            namespaces.append(namespace)

    def last(_: str) -> str:
        if namespaces:
            _options_were_parsed(namespaces[-1])
            _follow_renewals(flag_was_given=bool(getattr(namespaces[-1], _CHOSEN)))
        return ""

    parser.add_argument(
        FLAG,
        action="store_true",
        dest=_CHOSEN,
        default=False,
        help="Issue with the CA account and the solvers of garr-tcs.ini, and deploy to the targets "
        "of that file (short for --authenticator garr-tcs --installer garr-tcs). register, show_account, "
        "update_account, unregister and revoke use the CA and the account of that file.",
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
    # No command line can hold a NUL: nobody can give this one, and no message offers it.
    parser.add_argument("-\0", type=last, dest=_LAST, default="unset", help=argparse.SUPPRESS)
    # What is to be set then is in argparse's namespace, which only an action gets. Ours has to run although nobody
    # gives its option: -a garr-tcs, or authenticator = garr-tcs in cli.ini, is Certbot's own option.
    parser.add_argument("--tcs-namespace", action=Remember, dest=_NAMESPACE, help=argparse.SUPPRESS)
    arguments = getattr(getattr(parser, "_parser", None), "args", None)
    if arguments is not None:
        arguments.insert(0, "--tcs-namespace=")


def absolute_path(text: str) -> str:
    """Return the path made absolute: a renewal runs from another folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; name a file, or leave the option out")
    return str(Path(text).expanduser().absolute())


def ca_name(text: str) -> str:
    """Return the name of a preset, or say which there are."""
    from certbot_garr_tcs.account.presets import PRESETS  # noqa: PLC0415
    from certbot_garr_tcs.section_reader import did_you_mean  # noqa: PLC0415

    name = text.strip().lower()
    if name not in PRESETS:
        raise argparse.ArgumentTypeError(f"there are {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}")
    return name


def _options_were_parsed(namespace: argparse.Namespace) -> None:
    from certbot_garr_tcs import certbot_api  # noqa: PLC0415

    verb = certbot_api.verb()
    if getattr(namespace, _CHOSEN):
        # Who renews everything does not ask to change what other lineages store.
        takes_roles = verb != "renew" or namespace.certname
        certbot_api.select_plugin(namespace, FLAG, NAME, _ROLES.get(verb, ()) if takes_roles else ())
        if verb in _ACCOUNT_VERBS:
            namespace.verb = verb
            _set_account(namespace)
    elif namespace.authenticator == NAME and not namespace.installer and _has_no_other_installer(namespace, verb):
        # With our authenticator and no installer, ours is stored too: so the timer deploys to a [deploy] section that
        # is written later. At ``renew`` the plugin itself does this, because each lineage has its own installer.
        namespace.installer = NAME
    if verb == "renew":  # it may load no plugin of ours
        report_at_exit(namespace.garr_tcs_config, namespace.config_dir)


def _has_no_other_installer(namespace: argparse.Namespace, verb: str) -> bool:
    if verb != "reconfigure":
        return verb in {"certonly", "run"}
    from certbot_garr_tcs.lineages import read_lineage  # noqa: PLC0415

    lineage = read_lineage(Path(namespace.config_dir) / "renewal" / f"{namespace.certname}.conf")
    return lineage is not None and lineage.installer is None


def report_at_exit(named: str | None, config_dir: str) -> None:
    """Report at the end of the run the [deploy] sections that have no effect, once in a process for each file."""
    from certbot_garr_tcs import certbot_api  # noqa: PLC0415

    folder = Path(config_dir).absolute()
    certbot_api.at_exit(_report_idle_sections, Path(named) if named else folder / f"{NAME}.ini", folder)


def _report_idle_sections(path: Path, config_dir: Path) -> None:
    if not path.exists():
        return  # without the file, none of our modules is imported
    from certbot_garr_tcs import certbot_installer, config  # noqa: PLC0415
    from certbot_garr_tcs.errors import GarrTcsError  # noqa: PLC0415

    try:
        for line in certbot_installer.idle_sections(config.load(path), config_dir, NAME):
            logger.error(line)  # --quiet hides what is less
    except GarrTcsError as error:
        logger.debug("[deploy] sections were not checked: %s", error)  # whoever needs the file gets this error


def _follow_renewals(*, flag_was_given: bool) -> None:
    """Note which lineage ``certbot renew`` is renewing, and leave the lineages of other authenticators to these."""
    from certbot_garr_tcs import certbot_api  # noqa: PLC0415

    if certbot_api.verb() != "renew":
        return

    def renew(command: Callable[[Any, Any], Any], config: Any, plugins: Any) -> Any:
        certbot_api.watch_renewals()
        if not config.certname and (certbot_api.unset_authenticator(config, NAME) or flag_was_given):
            _report_other_authenticators(config)
        return command(config, plugins)

    certbot_api.wrap_command(renew)


def _report_other_authenticators(config: Any) -> None:
    from certbot_garr_tcs import lineages  # noqa: PLC0415

    staying = [
        lineage.name
        for lineage in lineages.read_lineages(lineages.folder(config.config_dir))
        if lineage.authenticator != NAME
    ]
    if staying:
        logger.log(
            logging.INFO if config.quiet else logging.WARNING,
            "Lineages of other authenticators keep their authenticator and their CA: %s. To move one: certbot renew "
            "--force-renewal --cert-name NAME --authenticator %s",
            ", ".join(staying),
            NAME,
        )


def _set_account(namespace: argparse.Namespace) -> None:
    """Set CA and account for a subcommand that loads no plugin."""
    from certbot import errors  # noqa: PLC0415

    from certbot_garr_tcs import certbot_api, config, failure_hints, lineages, revocation  # noqa: PLC0415
    from certbot_garr_tcs.account.selection import RunContext, RunMode  # noqa: PLC0415
    from certbot_garr_tcs.account.setup import configure_account  # noqa: PLC0415
    from certbot_garr_tcs.storage import StateFolder  # noqa: PLC0415

    def read() -> config.Configuration | None:
        return config.load_named(namespace.garr_tcs_config, namespace.config_dir)

    with certbot_api.as_certbot_errors(errors.ConfigurationError):
        state = StateFolder(Path(namespace.work_dir))
        set_by_user = _set_by_user_while_parsing(namespace, certbot_api.public_server())
        selected = None
        if namespace.verb == "revoke" and not set_by_user("server"):
            selected = revocation.configure_for_lineage(namespace, read)
            if selected is None and namespace.certname:
                return  # Certbot says what is wrong with the lineage
        if selected is None:
            context = RunContext(
                mode=RunMode.STAGING if namespace.staging else RunMode.LIVE,
                set_by_user=set_by_user,
                notify=logger.info if namespace.quiet else logger.warning,
                register_beside=_register_later,
                may_register=namespace.verb == "register",
                wants_new_account=namespace.verb == "register",
            )
            # Certbot refuses --staging beside any server but Let's Encrypt's; the staging directory is ours here.
            namespace.staging = False
            settings = read()
            account = settings.account if settings else None
            file = settings.path if settings else config.default_path(namespace.config_dir)
            selected = configure_account(namespace, account, file, state, context)
            if namespace.verb == "revoke":
                revocation.check_revocation(namespace, selected)
        failure_hints.explain_failures(selected, NAME, lineages.folder(namespace.config_dir))


def _register_later(_: Any, done: Callable[[str], None]) -> None:
    """Let ``certbot register`` register also where there are accounts; by itself it refuses to."""
    from certbot_garr_tcs import certbot_api  # noqa: PLC0415

    certbot_api.wrap_command(lambda _command, config, _plugins: done(certbot_api.register_account(config)))


def _set_by_user_while_parsing(namespace: argparse.Namespace, public_server: str) -> Callable[[str], bool]:
    """Return a function that tells whether the user set an option, for use while options are still being parsed.

    An option that is not its default was set. ``--server`` is searched on the command line: its default may be given.
    """
    from certbot_garr_tcs import certbot_api  # noqa: PLC0415

    def set_by_user(name: str) -> bool:
        value = getattr(namespace, name, None)
        if name == "server" and value == public_server:
            return certbot_api.on_command_line("--server")
        return bool(value)

    return set_by_user
