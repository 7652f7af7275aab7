"""Solve challenges with any other Certbot authenticator that is installed."""

from __future__ import annotations

import copy
import importlib.metadata
import logging
import sys
from typing import TYPE_CHECKING, Any

from certbot import errors as certbot_errors
from certbot import interfaces as certbot_interfaces
from zope.interface import implementer

from certbot_garr_tcs.challenges import reachability
from certbot_garr_tcs.challenges.interfaces import ISolver
from certbot_garr_tcs.challenges.plugin_options import apply_options, without_secrets
from certbot_garr_tcs.challenges.settings import HTTP_01, DelegateSettings
from certbot_garr_tcs.errors import ChallengeError, ConfigError
from certbot_garr_tcs.section_reader import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from certbot_garr_tcs.challenges.interfaces import Challenge
    from certbot_garr_tcs.challenges.reachability import Resolve
    from certbot_garr_tcs.challenges.settings import SolverSection

logger = logging.getLogger(__name__)

_OURSELVES = "garr-tcs"

_NOTHING_TO_REMOVE: dict[str, tuple[type[Exception], ...]] = {
    "webroot": (FileNotFoundError, NotADirectoryError),
    "manual": (KeyError,),
}
"""What a plugin raises when it is asked to remove what it had not yet published when it failed."""


@implementer(ISolver)
class DelegatedSolver:
    """Solves the challenges of a section with the authenticator that its ``via`` names.

    The plugin gets a deep copy of Certbot's configuration, with the section's options set on it, so that
    nothing of it is stored with our lineage. Building the solver loads and prepares the plugin and
    checks the options; nothing is published. Raises ``ConfigError`` where the plugin cannot be used as the section
    says. ``present`` may be slow: Certbot's DNS plugins sleep in it.
    """

    def __init__(self, section: SolverSection, config: Any, resolve: Resolve = reachability.look_up) -> None:
        if not isinstance(section.method, DelegateSettings):
            raise TypeError(f"{section.title} has no via")
        self.challenge_type = section.challenge_type
        self._section = section
        self._resolve = resolve
        self._name = section.method.plugin
        self._options = dict(section.method.options)
        self._where = f"{section.title} in {section.source}"
        plugin_class = self._load()
        own = copy.deepcopy(config)
        problems = apply_options(self._name, plugin_class, self._options, own.namespace)
        problems += _questions(self._name, own)
        if problems:
            raise ConfigError(
                f"{self._where}: {'; '.join(problems)}",
                f"Correct the section; this lists the options: certbot --help {self._name}",
            )
        self._plugin = self._prepare(plugin_class, own)
        self._pending: dict[Challenge, bool] = {}

    def present(self, challenges: Sequence[Challenge]) -> None:
        """Publish all proofs; what the plugin may have published is remembered for ``clean_up``."""
        # True: the plugin has published it. False: it may have.
        self._pending.update(dict.fromkeys(challenges, False))
        try:
            self._plugin.perform([challenge.annotated for challenge in challenges])
        except certbot_errors.SignalExit:  # Certbot was asked to end: no fault of the plugin
            raise
        except Exception as error:  # noqa: BLE001 - it is the other plugin's code; raised anew
            raise self._failed("could not publish the proof for", challenges, error) from self._cause(error)
        self._pending.update(dict.fromkeys(challenges, True))

    def wait(self, challenges: Sequence[Challenge]) -> None:
        """Return at once: a plugin that needs to wait has done so in ``perform``."""

    def clean_up(self, challenges: Sequence[Challenge]) -> None:
        """Remove the proofs one by one, so that one that fails does not keep the rest.

        After a ``present`` that failed, a proof that was never published is no error. What could not be removed is
        tried again at the next call.
        """
        failed: dict[Challenge, Exception] = {}
        has_failed = False
        for challenge in [challenge for challenge in challenges if challenge in self._pending]:
            try:
                self._plugin.cleanup([challenge.annotated])
            except Exception as error:  # noqa: BLE001 - it is the other plugin's code; reported below
                has_failed = True
                if self._pending[challenge] or not isinstance(error, _NOTHING_TO_REMOVE.get(self._name, ())):
                    failed[challenge] = error
                    continue
            del self._pending[challenge]
        if has_failed:
            self._clean_up_rest()
        if failed:
            first = next(iter(failed.values()))
            raise self._failed("could not remove the proof for", failed, first) from self._cause(first)

    def _clean_up_rest(self) -> None:
        """Let the plugin remove what belongs to no single challenge, such as folders that it made."""
        try:
            self._plugin.cleanup([])
        except Exception:  # an extra, in the other plugin's code; the first error counts
            logger.debug("%s: cleanup of no challenges failed", self._name, exc_info=True)

    def diagnose(self, challenges: Sequence[Challenge]) -> str:
        """Return where http-01 names lead at this moment, or the plugin's own hint; for ``auth_hint``."""
        if self.challenge_type == HTTP_01:
            hints = [reachability.diagnose(challenges, self._resolve), self._folder_hint()]
            return " ".join(hint for hint in hints if hint)
        hint = getattr(self._plugin, "auth_hint", None)
        return " ".join(str(hint([challenge.annotated for challenge in challenges])).split()) if hint else ""

    def _folder_hint(self) -> str:
        """Return where webroot puts proofs: the web server may serve another folder."""
        if self._name != "webroot":
            return ""
        said = " and ".join(
            f"{key} of {self._where} says ({value})"
            for key, value in self._options.items()
            if key in {"webroot-path", "webroot-map"}
        )
        return said and (
            f"The proof is where {said}: correct that if the web server serves /.well-known/acme-challenge/ of this "
            "name from another folder."
        )

    def _load(self) -> Any:
        """Return the plugin's class; raise ``ConfigError`` where it is missing, broken or no authenticator."""
        where, name, plugins = f"{self._where}: via = {self._name}", self._name, installed()
        if name == _OURSELVES:
            raise ConfigError(
                f"{where}: garr-tcs cannot delegate to itself",
                "Name another authenticator, or leave out via to update the zone by RFC 2136.",
            )
        if name not in plugins:
            meant = did_you_mean(name, sorted(plugins.keys() - {_OURSELVES}))
            raise ConfigError(
                f"{where}: no Certbot plugin of this name is installed{meant}",
                f"Install it where Certbot is: apt or dnf install python3-certbot-{name}, snap install "
                f"certbot-{name}, or pip install certbot-{name} in Certbot's own environment.",
            )
        try:
            plugin_class = plugins[name].load()
        except Exception as error:
            raise ConfigError(
                f"{where}: the plugin cannot be loaded: {self._text(error)}", "Update or reinstall the plugin."
            ) from error
        if not issubclass(plugin_class, certbot_interfaces.Authenticator):
            raise ConfigError(f"{where}: this plugin is no authenticator", "This lists them: certbot plugins")
        return plugin_class

    def _prepare(self, plugin_class: Any, config: Any) -> Any:
        """Build and prepare the plugin; check that it solves the section's type of challenge."""
        try:
            plugin = plugin_class(config, self._name)
            plugin.prepare()
            types = [challenge.typ for challenge in plugin.get_chall_pref(self._section.suffix or "example.org")]
        except Exception as error:  # noqa: BLE001 - it is the other plugin's code; raised anew
            raise ConfigError(
                f"{self._where}: {self._name} cannot be used: {self._text(error)}", self._next_step(error)
            ) from self._cause(error)
        if self.challenge_type not in types:
            raise ConfigError(
                f"{self._where}: {self._name} does not do {self.challenge_type}",
                f"It does {' and '.join(types)}: write [{types[0]} …], or name another plugin."
                if types
                else "Name another plugin.",
            )
        return plugin

    def _failed(self, what: str, challenges: Iterable[Challenge], error: Exception) -> ChallengeError:
        logger.debug("%s: %s", self._name, what, exc_info=self._cause(error))
        names = ", ".join(sorted({challenge.identifier for challenge in challenges}))
        return ChallengeError(
            f"{self._section.title} via {self._name} {what} {names}: {self._text(error)}", self._next_step(error)
        )

    def _text(self, error: Exception) -> str:
        """Return a plugin's error text, without those values of the section that could be secrets."""
        return without_secrets(str(error), self._options.values()) or type(error).__name__

    def _cause(self, error: Exception) -> Exception | None:
        """Return an error for the log, or ``None`` where it quotes what could be a secret."""
        return error if self._text(error) in {str(error), type(error).__name__} else None

    def _next_step(self, error: Exception) -> str:
        where = f"{self._section.title} of {self._section.source}"
        if isinstance(error, certbot_errors.MissingCommandlineFlag):
            return f"Write what is missing into {where}, under the option's full name."
        if "already in use" in str(error):
            return "Free the port, or let the program that holds it serve the proof: via = webroot."
        return f"Look at what {where} says; --debug shows the plugin's own traceback."


def installed() -> dict[str, Any]:
    """Return the entry points of all installed Certbot plugins, by name; import none of them."""
    if sys.version_info >= (3, 10):
        found = tuple(importlib.metadata.entry_points(group="certbot.plugins"))
    else:
        found = tuple(importlib.metadata.entry_points().get("certbot.plugins", ()))
    return {point.name: point for point in reversed(found)}  # the first on sys.path wins


def _questions(name: str, config: Any) -> list[str]:
    """Return the options without which a plugin would ask a question in a run where nobody can answer."""
    if name != "manual" or not config.noninteractive_mode:
        return []
    return [
        f"{key} is missing, and nobody can be asked in a non-interactive run"
        for key in ("manual-auth-hook", "manual-cleanup-hook")
        if not getattr(config, key.replace("-", "_"))
    ]
