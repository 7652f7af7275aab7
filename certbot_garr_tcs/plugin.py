"""The Certbot plugin: translates Certbot's calls and our errors; decides nothing.

Certbot imports this module at every start, also for other people's certificates: our rooms, and what they
need, are imported when they are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from acme import challenges
from certbot import errors, interfaces
from certbot.display import util as display_util
from certbot.plugins import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from certbot import achallenges

    from certbot_garr_tcs.challenges.interfaces import Challenge
    from certbot_garr_tcs.challenges.session import Session
    from certbot_garr_tcs.challenges.solvers import Solvers


class Configurator(common.Plugin, interfaces.Authenticator):
    """Authenticator for certificates that come from an organisation's CA account."""

    description = "Certificates from your organisation's CA account (GARR TCS): external account binding, names that the CA has validated beforehand, solvers name by name"  # noqa: E501  (one line in Certbot's menus)

    def __init__(self, config: Any, name: str) -> None:
        """Keep Certbot's configuration; read nothing yet."""
        super().__init__(config, name)
        self._solvers: Solvers
        self._session: Session | None = None

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """Add nothing: see ``inject_parser_options``."""

    @classmethod
    def inject_parser_options(cls, parser: argparse.ArgumentParser, name: str) -> None:  # noqa: ARG003
        """Add our options; ``--garr-tcs`` itself has not the prefix that ``add_parser_arguments`` would give it."""
        from certbot_garr_tcs import options  # noqa: PLC0415

        options.add_options(parser)

    def more_info(self) -> str:
        """Say what this plugin does, for ``certbot plugins``."""
        return (
            "Uses the CA account of garr-tcs.ini, which may be any CA with external account binding, and proves "
            "control of the names that the CA has not validated beforehand with the solvers of that file."
        )

    def prepare(self) -> None:
        """Set CA and account, where we are the authenticator; open no port.

        No name server is asked, but to withdraw what a killed run left behind.
        Errors are not ``PluginError``, whose ``repr`` Certbot would show, but for the one case where
        nobody chose us and Certbot is only making up a menu.
        """
        if self.name not in {self.config.authenticator, self.config.configurator}:
            raise errors.PluginError(f"Nobody chose {self.name}: give --authenticator {self.name}")
        from certbot_garr_tcs import account_setup, aftermath, compat, config  # noqa: PLC0415
        from certbot_garr_tcs.challenges.solvers import Solvers  # noqa: PLC0415
        from certbot_garr_tcs.state import StateFolder  # noqa: PLC0415

        with compat.user_errors(errors.ConfigurationError):
            settings = config.load_named(self.conf("config"), self.config.config_dir)
            state = StateFolder(Path(self.config.work_dir))
            occasion = account_setup.occasion_of(self.config, display_util.notify)
            selected = account_setup.settle(self.config, settings, state, occasion)
            renewal_dir = Path(self.config.renewal_configs_dir)
            aftermath.explain_failures(selected.title, selected.portal, self.name, renewal_dir)
            self._solvers = Solvers(settings.solvers if settings else (), state, self.config)
            self._solvers.withdraw_left_behind()

    def get_chall_pref(self, identifier: str) -> Iterable[type[challenges.Challenge]]:
        """Return the types of challenge that the sections can solve for a name, best first.

        Where they can do nothing, both types are offered: then ``perform`` names all such names at once,
        instead of Certbot the first one.
        """
        from certbot_garr_tcs import compat  # noqa: PLC0415
        from certbot_garr_tcs.challenges.routing import preferences  # noqa: PLC0415

        types = {"dns-01": challenges.DNS01, "http-01": challenges.HTTP01}
        found = preferences(identifier, self._solvers.sections, self.config.pref_challs)
        if f"*.{identifier}" in compat.identifiers(self.config):
            # Certbot asks by the name without "*."; the CA offers nothing but dns-01 for a wildcard.
            found = tuple(dict.fromkeys([*found, "dns-01"]))
        return [types[kind] for kind in found or types]

    def perform(self, achalls: list[achallenges.AnnotatedChallenge]) -> list[challenges.ChallengeResponse]:
        """Prove control of the names that the CA has not validated beforehand."""
        from certbot_garr_tcs import compat  # noqa: PLC0415

        with compat.user_errors(errors.PluginError):
            self._session = self._solvers.session()
            with self._solvers.progress:
                self._session.prove([_challenge(achall) for achall in achalls])
        return [achall.response(achall.account_key) for achall in achalls]

    def cleanup(self, achalls: list[achallenges.AnnotatedChallenge]) -> None:  # noqa: ARG002  (the session knows)
        """Withdraw what ``perform`` published; report what could not be, and raise nothing."""
        if self._session is not None:
            self._session.clean_up()

    def auth_hint(self, failed_achalls: list[achallenges.AnnotatedChallenge]) -> str:
        """Say what we see of the proofs that the CA did not accept, and one next step."""
        if self._session is None:
            return ""
        return self._session.describe([_challenge(achall) for achall in failed_achalls])


def _challenge(achall: Any) -> Challenge:
    from certbot_garr_tcs import compat  # noqa: PLC0415
    from certbot_garr_tcs.challenges.interfaces import Challenge  # noqa: PLC0415

    return Challenge(compat.identifier(achall), achall.typ, achall.validation(achall.account_key), achall)
