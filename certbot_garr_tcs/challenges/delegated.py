"""Solve challenges with any other Certbot authenticator that is installed."""

from __future__ import annotations

import copy
import importlib.metadata
import logging
import sys
from typing import TYPE_CHECKING, Any, Callable

from certbot import errors as certbot_errors
from certbot import interfaces as certbot_interfaces
from zope.interface import implementer

from certbot_garr_tcs.challenges.delegate_options import apply_options, without_secrets
from certbot_garr_tcs.challenges.interfaces import ISolver
from certbot_garr_tcs.challenges.reachability import diagnose, look_up
from certbot_garr_tcs.challenges.sections import HTTP_01, DelegateSettings
from certbot_garr_tcs.errors import ChallengeError, ConfigError
from certbot_garr_tcs.keys import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from certbot_garr_tcs.challenges.interfaces import Challenge
    from certbot_garr_tcs.challenges.reachability import Resolve
    from certbot_garr_tcs.challenges.sections import SolverSection

logger = logging.getLogger(__name__)

_OURSELVES = "garr-tcs"

_NEVER_THERE: dict[str, tuple[type[Exception], ...]] = {
    "webroot": (FileNotFoundError, NotADirectoryError),
    "manual": (KeyError,),
}
"""How a plugin complains when it is asked to withdraw what it had not come to before it failed."""


@implementer(ISolver)
class DelegatedSolver:
    """Hand the challenges of a section to the authenticator that its ``via`` names.

    The plugin gets a deep copy of Certbot's configuration, with the section's options on it, so that
    nothing of it is stored with our lineage. Building the solver loads and prepares the plugin and
    checks the options; nothing is published. ``present`` may be slow: Certbot's DNS plugins sleep in it.
    """

    def __init__(self, section: SolverSection, config: Any, resolve: Resolve = look_up) -> None:
        """Load and prepare the plugin; raise ConfigError where it cannot be used as the section says."""
        if not isinstance(section.how, DelegateSettings):
            raise TypeError(f"{section.title} has no via")
        self.challenge_type = section.challenge_type
        self._section = section
        self._resolve = resolve
        self._name = section.how.plugin
        plugin_class = _load(section, installed())
        own = copy.deepcopy(config)
        problems = apply_options(self._name, plugin_class, dict(section.how.options), own.namespace)
        problems += _unattended(self._name, own)
        if problems:
            raise ConfigError(
                f"{section.title} in {section.source}: {'; '.join(problems)}",
                f"Correct the section; this lists the options: certbot --help {self._name}",
            )
        self._plugin = _prepared(section, plugin_class, own)
        self._pending: dict[Challenge, bool] = {}

    def present(self, challenges: Sequence[Challenge]) -> None:
        """Have the plugin publish all proofs; what it may have published is remembered for ``clean_up``."""
        # True: the plugin said that it is there. False: nobody knows.
        self._pending.update(dict.fromkeys(challenges, False))
        try:
            self._plugin.perform([challenge.annotated for challenge in challenges])
        except certbot_errors.SignalExit:  # Certbot is told to end: no fault of the plugin
            raise
        except Exception as error:  # noqa: BLE001 - it is the other plugin's code; raised anew
            raise self._failed("could not publish the proof for", challenges, error) from _cause(error, self._section)
        self._pending.update(dict.fromkeys(challenges, True))

    def wait(self, challenges: Sequence[Challenge]) -> None:
        """Return at once: a plugin that needs to wait has done so in ``perform``."""

    def clean_up(self, challenges: Sequence[Challenge]) -> None:
        """Have the plugin withdraw its proofs, one by one, so that one that fails does not keep the rest.

        A proof that was never there is no error after a ``present`` that failed. What could not be
        withdrawn is tried again at the next call.
        """
        failed: dict[Challenge, Exception] = {}
        stumbled = False
        for challenge in [challenge for challenge in challenges if challenge in self._pending]:
            try:
                self._plugin.cleanup([challenge.annotated])
            except Exception as error:  # noqa: BLE001 - it is the other plugin's code; reported below
                stumbled = True
                if self._pending[challenge] or not isinstance(error, _NEVER_THERE.get(self._name, ())):
                    failed[challenge] = error
                    continue
            del self._pending[challenge]
        if stumbled:
            self._sweep()
        if failed:
            first = next(iter(failed.values()))
            raise self._failed("could not withdraw the proof for", failed, first) from _cause(first, self._section)

    def _sweep(self) -> None:
        """Let the plugin remove what belongs to no single challenge, such as folders that it made."""
        try:
            self._plugin.cleanup([])
        except Exception:  # an extra, in the other plugin's code; the first error counts
            logger.debug("%s: cleanup of nothing failed", self._name, exc_info=True)

    def diagnose(self, challenges: Sequence[Challenge]) -> str:
        """Say where http-01 names lead at this moment, or what the plugin advises; for ``auth_hint``."""
        if self.challenge_type == HTTP_01:
            return " ".join(filter(None, [diagnose(challenges, self._resolve), self._folder_hint()]))
        advise = getattr(self._plugin, "auth_hint", None)
        if advise is None:
            return ""
        return " ".join(str(advise([challenge.annotated for challenge in challenges])).split())

    def _folder_hint(self) -> str:
        """Return where webroot puts proofs: the web server may serve another folder."""
        if self._name != "webroot" or not isinstance(self._section.how, DelegateSettings):
            return ""
        said = " and ".join(
            f"{key} of {self._section.title} in {self._section.source} says ({value})"
            for key, value in self._section.how.options
            if key in {"webroot-path", "webroot-map"}
        )
        return said and (
            f"The proof is where {said}: correct that if the web server serves /.well-known/acme-challenge/ of this "
            "name from another folder."
        )

    def _failed(self, what: str, challenges: Iterable[Challenge], error: Exception) -> ChallengeError:
        logger.debug("%s: %s", self._name, what, exc_info=_cause(error, self._section))
        names = ", ".join(sorted({challenge.identifier for challenge in challenges}))
        return ChallengeError(
            f"{self._section.title} via {self._name} {what} {names}: {_text(error, self._section)}",
            _next_step(self._section, error),
        )


def delegates(config: Any) -> Callable[[SolverSection], DelegatedSolver]:
    """Return a function that builds each section's solver, and one for all sections that say the same.

    Two standalone servers cannot share a port, nor two web server plugins a configuration.
    """
    built: dict[tuple[str, Any], DelegatedSolver] = {}

    def solver_for(section: SolverSection) -> DelegatedSolver:
        key = (section.challenge_type, section.how)
        if key not in built:
            built[key] = DelegatedSolver(section, config)
        return built[key]

    return solver_for


def installed() -> dict[str, Any]:
    """Return the entry points of all installed Certbot plugins, by name; import none of them."""
    if sys.version_info >= (3, 10):
        found = tuple(importlib.metadata.entry_points(group="certbot.plugins"))
    else:
        found = tuple(importlib.metadata.entry_points().get("certbot.plugins", ()))
    return {point.name: point for point in reversed(found)}  # the first on sys.path wins


def _load(section: SolverSection, plugins: Mapping[str, Any]) -> Any:
    """Return the plugin's class, or say why it cannot be a delegate, and how to get it."""
    assert isinstance(section.how, DelegateSettings)  # noqa: S101 - the caller has looked
    name = section.how.plugin
    where = f"{section.title} in {section.source}: via = {name}"
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
            f"{where}: the plugin cannot be loaded: {_text(error, section)}", "Update or reinstall the plugin."
        ) from error
    if not issubclass(plugin_class, certbot_interfaces.Authenticator):
        raise ConfigError(f"{where}: this plugin is no authenticator", "This lists them: certbot plugins")
    return plugin_class


def _unattended(name: str, config: Any) -> list[str]:
    """Say what a plugin lacks that would ask somebody at the keyboard."""
    if name != "manual" or not config.noninteractive_mode:
        return []
    return [
        f"{key} is missing, and nobody can be asked in a non-interactive run"
        for key in ("manual-auth-hook", "manual-cleanup-hook")
        if not getattr(config, key.replace("-", "_"))
    ]


def _prepared(section: SolverSection, plugin_class: Any, config: Any) -> Any:
    """Build and prepare the plugin; see that it solves what the section promises."""
    assert isinstance(section.how, DelegateSettings)  # noqa: S101 - the caller has looked
    name = section.how.plugin
    try:
        plugin = plugin_class(config, name)
        plugin.prepare()
        offered = [challenge.typ for challenge in plugin.get_chall_pref(section.suffix or "example.org")]
    except Exception as error:  # noqa: BLE001 - it is the other plugin's code; raised anew
        raise ConfigError(
            f"{section.title} in {section.source}: {name} cannot be used: {_text(error, section)}",
            _next_step(section, error),
        ) from _cause(error, section)
    if section.challenge_type not in offered:
        raise ConfigError(
            f"{section.title} in {section.source}: {name} does not do {section.challenge_type}",
            f"It does {' and '.join(offered) or 'nothing'}: write [{offered[0]} …], or name another plugin."
            if offered
            else "Name another plugin.",
        )
    return plugin


def _text(error: Exception, section: SolverSection) -> str:
    """Return what a plugin says, without what could be a secret among the values that it got."""
    assert isinstance(section.how, DelegateSettings)  # noqa: S101 - the caller has looked
    return without_secrets(str(error), dict(section.how.options).values()) or type(error).__name__


def _cause(error: Exception, section: SolverSection) -> Exception | None:
    """Return an error for the log, or nothing where it quotes what could be a secret."""
    return error if _text(error, section) in {str(error), type(error).__name__} else None


def _next_step(section: SolverSection, error: Exception) -> str:
    if isinstance(error, certbot_errors.MissingCommandlineFlag):
        return f"Write what is missing into {section.title} of {section.source}, under the option's full name."
    if "already in use" in str(error):
        return "Free the port, or let the program that holds it serve the proof: via = webroot."
    return f"Look at what {section.title} of {section.source} says; --debug shows the plugin's own traceback."
