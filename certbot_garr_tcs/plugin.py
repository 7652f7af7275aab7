"""The Certbot plugin: passes Certbot's calls on, and our errors back; decides nothing.

Certbot imports this module at every start, whatever plugin is used: all other modules of ours, and what they need, are
imported when they are used.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from acme import challenges
from certbot import errors, interfaces
from certbot.display import util as display_util
from certbot.plugins import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from certbot import achallenges

    from certbot_garr_tcs.certbot_installer import CertbotInstaller
    from certbot_garr_tcs.challenges.interfaces import Challenge
    from certbot_garr_tcs.challenges.session import Session, SolverFactory
    from certbot_garr_tcs.challenges.settings import SolverSection
    from certbot_garr_tcs.config import Configuration
    from certbot_garr_tcs.errors import GarrTcsError
    from certbot_garr_tcs.storage import StateFolder

logger = logging.getLogger(__name__)


class Configurator(
    common.Plugin,
    interfaces.Authenticator,
    interfaces.Installer,
    interfaces.RenewDeployer,
    interfaces.GenericUpdater,
):
    """Authenticator with an organisation's CA account, and installer of the targets of garr-tcs.ini.

    One class, because two entry points cannot share a name. Certbot makes one instance for each run, and one for
    each lineage of ``renew``; it calls nothing but ``generic_updates`` on one that it has not prepared.
    """

    description = "Certificates from your organisation's CA account (GARR TCS), put where services read them"

    def __init__(self, config: Any, name: str) -> None:
        super().__init__(config, name)
        self._solvers: SolverFactory
        self._session: Session | None = None
        self._installer: CertbotInstaller | None = None
        self._is_prepared = False
        self._stores_installer = False
        self._missing: GarrTcsError | None = None

    @classmethod
    def add_parser_arguments(cls, add: Callable[..., None]) -> None:
        """Add nothing: see ``inject_parser_options``."""

    @classmethod
    def inject_parser_options(cls, parser: argparse.ArgumentParser, name: str) -> None:  # noqa: ARG003
        """Add our options; ``--garr-tcs`` itself has not the prefix that ``add_parser_arguments`` would give it."""
        from certbot_garr_tcs import options  # noqa: PLC0415

        options.add_options(parser)

    def more_info(self) -> str:
        """Return what this plugin does, for ``certbot plugins``."""
        return (
            "Uses the CA account of garr-tcs.ini, which may be any CA with external account binding, and proves "
            "control of the names that the CA has not validated beforehand with the solvers of that file. Puts "
            "certificates where the file's targets want them, tests, reloads, checks what is served, and undoes "
            "what does not work."
        )

    def prepare(self) -> None:
        """Set CA and account, where we are the authenticator; open no port.

        No name server is asked, except to delete what a killed run left behind. A deployment that was interrupted is
        rolled back first, whether the CA answers later or not.
        Here, and here alone, Certbot shows a ``PluginError`` as its ``repr``: so what the user has to read is a
        ``ConfigurationError``. A ``PluginError`` is for Certbot, which then leaves us out of its menu.
        """
        if self.name not in {self.config.authenticator, self.config.installer, self.config.configurator}:
            raise errors.PluginError(f"Nobody chose {self.name}: give --authenticator {self.name}")
        self._is_prepared = True
        from certbot_garr_tcs import certbot_api, failure_hints  # noqa: PLC0415
        from certbot_garr_tcs.account.setup import configure_account, run_context  # noqa: PLC0415
        from certbot_garr_tcs.challenges.session import SolverFactory  # noqa: PLC0415

        with certbot_api.as_certbot_errors(errors.ConfigurationError):
            settings, state = self._read()
            if not self.config.dry_run:
                self._installer = self._build()
                self._installer.recover_first()
            # As installer alone, we work with any authenticator and any CA.
            if self.name in {self.config.authenticator, self.config.configurator}:
                account, file = (settings.account, settings.path) if settings else (None, self._default_path())
                context = run_context(self.config, display_util.notify)
                selected = configure_account(self.config, account, file, state, context)
                failure_hints.explain_failures(selected, self.name, Path(self.config.renewal_configs_dir))
                self._solvers = SolverFactory(settings.solvers if settings else (), state, self.config)
                self._clean_up_stale()
                self._choose_installer_of_renewal()

    def _choose_installer_of_renewal(self) -> None:
        """Become the installer of a lineage that has none; for new lineages, ``options`` does this.

        Certbot has chosen its plugins before, but chooses the installer again for the updates after a renewal.
        """
        if self.config.verb == "renew" and not self.config.installer:
            self.config.configurator = self.name
            self._stores_installer = True

    def _read(self) -> tuple[Configuration | None, StateFolder]:
        from certbot_garr_tcs import config, options  # noqa: PLC0415
        from certbot_garr_tcs.storage import StateFolder  # noqa: PLC0415

        settings = config.load_named(self.conf("config"), self.config.config_dir)
        options.report_at_exit(self.conf("config"), self.config.config_dir)
        return settings, StateFolder(Path(self.config.work_dir))

    def _default_path(self) -> Path:
        from certbot_garr_tcs import config  # noqa: PLC0415

        return config.default_path(self.config.config_dir)

    def _clean_up_stale(self) -> None:
        """Delete the TXT records that a killed run left behind."""
        from certbot_garr_tcs.challenges.session import clean_up_stale  # noqa: PLC0415
        from certbot_garr_tcs.storage import StateFolder  # noqa: PLC0415

        def read_sections() -> Sequence[SolverSection]:
            settings, _ = self._read()
            return settings.solvers if settings else ()

        clean_up_stale(StateFolder(Path(self.config.work_dir)), self.conf("config"), read_sections)

    # Authenticator

    def get_chall_pref(self, identifier: str) -> Iterable[type[challenges.Challenge]]:
        """Return the types of challenge that the sections can solve for a name, best first.

        Where they can do nothing, both types are offered: then ``perform`` names all such names at once,
        instead of Certbot the first one.
        """
        from certbot_garr_tcs import certbot_api  # noqa: PLC0415
        from certbot_garr_tcs.challenges.routing import preferences  # noqa: PLC0415

        types = {"dns-01": challenges.DNS01, "http-01": challenges.HTTP01}
        found = preferences(identifier, self._solvers.sections, self.config.pref_challs)
        if f"*.{identifier}" in certbot_api.identifiers(self.config):
            # Certbot asks by the name without "*."; the CA offers nothing but dns-01 for a wildcard.
            found = tuple(dict.fromkeys([*found, "dns-01"]))
        return [types[kind] for kind in found or types]

    def perform(self, achalls: list[achallenges.AnnotatedChallenge]) -> list[challenges.ChallengeResponse]:
        """Prove control of the names that the CA has not validated beforehand."""
        from certbot_garr_tcs import certbot_api  # noqa: PLC0415

        with certbot_api.as_certbot_errors(errors.PluginError):
            self._session = self._solvers.session()
            with self._solvers.progress:
                self._session.solve([_challenge(achall) for achall in achalls])
        return [achall.response(achall.account_key) for achall in achalls]

    def cleanup(self, achalls: list[achallenges.AnnotatedChallenge]) -> None:  # noqa: ARG002  (the session has them)
        """Remove what ``perform`` published; report what could not be removed, and raise nothing."""
        if self._session is not None:
            self._session.clean_up()

    def auth_hint(self, failed_achalls: list[achallenges.AnnotatedChallenge]) -> str:
        """Return what we see of the challenges that the CA did not accept, and one next step."""
        if self._session is None:
            return ""
        return self._session.diagnose([_challenge(achall) for achall in failed_achalls])

    # Installer

    def get_all_names(self) -> Iterable[str]:
        """Offer no names: garr-tcs.ini names lineages, and no web server is asked."""
        return ()

    def deploy_cert(self, domain: str, cert_path: str, key_path: str, chain_path: str, fullchain_path: str) -> None:  # noqa: ARG002  (Certbot's signature)
        """Note the lineage; Certbot calls this once for each name."""
        with self._deploying() as installer:
            installer.deploy_cert(installer.lineages.name_of(Path(cert_path)))

    def save(self, title: str | None = None, temporary: bool = False) -> None:  # noqa: ARG002
        """Write and test, when Certbot has named everything; it calls this without a title after each name."""
        if title is not None:
            with self._deploying() as installer:
                installer.save_and_store(self.name, self.conf("config"), is_all=self.config.verb == "install")

    def renew_deploy(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Write and test for a lineage that was just renewed."""
        with self._deploying() as installer:
            installer.renew_deploy(installer.add(lineage))

    def restart(self) -> None:
        """Reload, probe and commit; after ``certonly``, which names no lineage, converge every target."""
        if self.config.disable_renew_updates and self.config.verb in {"certonly", "renew"}:
            return
        with self._deploying() as installer:
            self._deploy_and_check_names(installer, installer.restart)

    def generic_updates(self, lineage: interfaces.RenewableCert, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Converge the lineage's targets, due or not: drift is repaired, and what failed is tried again."""
        self._clean_up_stale()
        with self._deploying() as installer:
            name = installer.add(lineage)
            if self._stores_installer:
                installer.store_installer(lineage, self.name)
                self._deploy_and_check_names(installer, lambda: installer.converge(name))
            else:
                installer.converge(name)

    def _deploy_and_check_names(self, installer: CertbotInstaller, deploy: Callable[[], None]) -> None:
        """Deploy what was issued, and fail all the same where it has fewer names than were asked for."""
        from certbot_garr_tcs import certbot_api  # noqa: PLC0415
        from certbot_garr_tcs.errors import DeployError  # noqa: PLC0415

        missing = None
        if self.config.verb in {"certonly", "run", "renew"}:
            missing = installer.missing_names(certbot_api.identifiers(self.config))
        if missing and self.config.allow_subset_of_names:
            logger.error("%s", missing)  # --quiet hides what is less
            missing = None
        try:
            deploy()
        except DeployError as error:
            if missing:
                raise DeployError(f"{error.message}; moreover, {missing.message}", error.hint) from error
            raise
        self._missing = missing
        if missing and self.config.verb != "run":
            raise missing

    def recovery_routine(self) -> None:
        """Roll back what is open, from this run or from one that was interrupted."""
        with self._deploying() as installer:
            installer.recover()

    def rollback_checkpoints(self, rollback: int = 1) -> None:
        """Undo what this run deployed; as ``certbot rollback``, restore the previous deployment."""
        with self._deploying() as installer:
            if self.config.verb == "rollback":
                installer.restore(rollback)
            else:
                installer.undo()

    def config_test(self) -> None:
        """Do nothing: each target has a test of its own, which runs when it is deployed."""

    def supported_enhancements(self) -> list[str]:
        """Support none: we write certificates, not a server's configuration.

        Certbot calls this when ``run`` has deployed; after an error of ``restart`` it would report that nothing is.
        """
        from certbot_garr_tcs import certbot_api  # noqa: PLC0415

        with certbot_api.as_certbot_errors(errors.PluginError):
            if self._missing:
                raise self._missing
        return []

    def enhance(self, domain: str, enhancement: str, options: list[str] | str | None = None) -> None:  # noqa: ARG002
        """Refuse; Certbot asks only for what ``supported_enhancements`` names."""
        raise errors.PluginError(f"{self.name} does no {enhancement}: configure it in the server itself")

    @contextlib.contextmanager
    def _deploying(self) -> Iterator[CertbotInstaller]:
        """Yield the installer of this run, and raise its errors as errors of Certbot's."""
        from certbot_garr_tcs import certbot_api  # noqa: PLC0415
        from certbot_garr_tcs.certbot_installer import shared_installer  # noqa: PLC0415
        from certbot_garr_tcs.errors import DeployError  # noqa: PLC0415

        with certbot_api.as_certbot_errors(errors.PluginError):
            if self._installer is None:
                which = (self.conf("config"), self.config.config_dir, self.config.work_dir)
                self._installer = self._build() if self._is_prepared else shared_installer(which, self._build)
            try:
                yield self._installer
            except DeployError as error:
                raise DeployError(f"deploy: {error.message}", error.hint) from error

    def _build(self) -> CertbotInstaller:
        from certbot_garr_tcs.certbot_installer import CertbotInstaller  # noqa: PLC0415

        return CertbotInstaller(self.config, *self._read(), display_util.notify)


def _challenge(achall: Any) -> Challenge:
    from certbot_garr_tcs import certbot_api  # noqa: PLC0415
    from certbot_garr_tcs.challenges.interfaces import Challenge  # noqa: PLC0415

    return Challenge(certbot_api.identifier(achall), achall.typ, achall.validation(achall.account_key), achall)
