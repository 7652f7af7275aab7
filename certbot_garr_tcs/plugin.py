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

    from certbot_garr_tcs.config import Configuration


class Configurator(common.Plugin, interfaces.Authenticator):
    """Authenticator for certificates that come from an organisation's CA account."""

    description = "Certificates from your organisation's CA account (GARR TCS): external account binding, names that the CA has validated beforehand, solvers name by name"  # noqa: E501  (one line in Certbot's menus)

    def __init__(self, config: Any, name: str) -> None:
        """Keep Certbot's configuration; read nothing yet."""
        super().__init__(config, name)
        self._settings: Configuration | None = None
        self._is_prepared = False

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
        """Set CA and account, where we are the authenticator; open no port and ask no name server.

        Errors are not ``PluginError``, whose ``repr`` Certbot would show, but for the one case where
        nobody chose us and Certbot is only making up a menu.
        """
        if self._is_prepared:
            return
        if self.name not in {self.config.authenticator, self.config.configurator}:
            raise errors.PluginError(f"Nobody chose {self.name}: give --authenticator {self.name}")
        from certbot_garr_tcs import account_setup, compat, config  # noqa: PLC0415
        from certbot_garr_tcs.errors import GarrTcsError  # noqa: PLC0415
        from certbot_garr_tcs.state import StateFolder  # noqa: PLC0415

        try:
            self._settings = config.load_named(self.conf("config"), self.config.config_dir)
            occasion = account_setup.occasion_of(self.config, display_util.notify)
            account_setup.settle(self.config, self._settings, StateFolder(Path(self.config.work_dir)), occasion)
        except GarrTcsError as error:
            compat.raise_for_user(error)
        self._is_prepared = True

    def get_chall_pref(self, identifier: str) -> Iterable[type[challenges.Challenge]]:  # noqa: ARG002
        """Return the types of challenge that can be solved for a name, best first."""
        return [challenges.DNS01, challenges.HTTP01]

    def perform(self, achalls: list[achallenges.AnnotatedChallenge]) -> list[challenges.ChallengeResponse]:
        """Prove control of the names that the CA has not validated beforehand."""
        raise errors.PluginError("not yet")

    def cleanup(self, achalls: list[achallenges.AnnotatedChallenge]) -> None:
        """Withdraw what ``perform`` published."""
