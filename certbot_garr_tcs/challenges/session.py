"""Prove every name of an order: present all, wait for all, clean all."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from zope.interface.verify import verifyObject

from certbot_garr_tcs.challenges.interfaces import ISolver
from certbot_garr_tcs.challenges.routing import best_section
from certbot_garr_tcs.challenges.sections import DNS_01, DelegateSettings
from certbot_garr_tcs.errors import ChallengeError, GarrTcsError, error_text, join_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from certbot_garr_tcs.challenges.interfaces import Challenge
    from certbot_garr_tcs.challenges.sections import SolverSection

logger = logging.getLogger(__name__)

Solver = Any
"""An object that provides ISolver; a type checker cannot see zope's interfaces, verifyObject does."""


@dataclass(frozen=True)
class Group:
    """Name the challenges that one solver proves, in the order in which they were asked for."""

    solver: Solver
    challenges: tuple[Challenge, ...]
    delegated: bool = False


class Session:
    """Route challenges to solvers, and hold what is still to be withdrawn.

    ``solver_for`` builds the solver of a section, or returns one that it built before: sections that
    share a solver are presented together. Everything that can be refused is refused before anything
    is presented: names that no section covers, sections whose solver cannot be built.
    """

    def __init__(self, solver_for: Callable[[SolverSection], Solver], sections: Iterable[SolverSection]) -> None:
        """Keep both; build and present nothing."""
        self._solver_for = solver_for
        self._sections = tuple(sections)
        self._owed: list[Group] = []
        self._said: list[str] = []

    def plan(self, challenges: Sequence[Challenge]) -> tuple[Group, ...]:
        """Return the challenges by solver; raise one error for all names that cannot be proved here."""
        by_section: dict[SolverSection, list[Challenge]] = {}
        uncovered = []
        for challenge in challenges:
            section = best_section(challenge.identifier, self._sections, challenge.challenge_type)
            if section is None:
                uncovered.append(challenge)
            else:
                by_section.setdefault(section, []).append(challenge)
        if uncovered:
            raise _not_covered(uncovered, self._sections)
        return self._by_solver(by_section)

    def _by_solver(self, by_section: dict[SolverSection, list[Challenge]]) -> tuple[Group, ...]:
        merged: dict[int, Group] = {}
        refused: list[BaseException] = []
        for section, challenges in by_section.items():
            try:
                solver = self._solver_for(section)
            except GarrTcsError as error:
                refused.append(error)
                continue
            verifyObject(ISolver, solver)
            before = merged[id(solver)].challenges if id(solver) in merged else ()
            merged[id(solver)] = Group(solver, (*before, *challenges), isinstance(section.how, DelegateSettings))
        _raise_together(refused)
        # Other plugins may sleep while they present: what is presented before them spreads meanwhile.
        return tuple(sorted(merged.values(), key=lambda group: group.delegated))

    def prove(self, challenges: Sequence[Challenge]) -> None:
        """Present every challenge, and return when each solver says that the CA will see its proofs.

        After an error, everything is withdrawn before the error is raised. Errors of several solvers
        are raised as one. After success the proofs stay, until ``clean_up``.
        """
        groups = self.plan(challenges)
        self._owed.extend(groups)
        try:
            _present_all(groups)
            _wait_for_all(groups)
        except BaseException as error:
            self._said.append(error_text(error))
            self.clean_up()
            raise

    def describe(self, challenges: Iterable[Challenge]) -> str:
        """Say what is to be seen at this moment of proofs that the CA refused, and what to do next.

        Each solver that has a ``describe`` is asked about its own, as long as they are published. A hint
        raises nothing: what fails is logged.
        """
        refused = tuple(challenges)
        said = []
        for group in self._owed:
            mine = [challenge for challenge in refused if challenge in group.challenges]
            if mine and hasattr(group.solver, "describe"):
                try:
                    said.append(group.solver.describe(mine))
                except Exception:
                    logger.debug("describe of %r failed", group.solver, exc_info=True)
        return " ".join(text for text in said if text)

    def clean_up(self) -> tuple[str, ...]:
        """Withdraw what was presented and return what could not be withdrawn, in words.

        Raises nothing, so that no first error is hidden: each problem is logged as a warning, once, unless it is
        the very error that ``prove`` raises. May be called again: only what failed is tried again.
        """
        problems = []
        for group in tuple(self._owed):
            try:
                group.solver.clean_up(group.challenges)
            except Exception as error:  # noqa: PERF203 - whatever one solver does, the next must be cleaned
                logger.debug("clean_up of %r failed", group.solver, exc_info=True)
                problems.append(error_text(error))
                if not any(problems[-1] in said for said in self._said):
                    logger.warning("Not everything was withdrawn: %s", problems[-1])
                    self._said.append(problems[-1])
            else:
                self._owed.remove(group)
        return tuple(problems)


def _present_all(groups: Sequence[Group]) -> None:
    errors: list[BaseException] = []
    for group in groups:
        try:
            group.solver.present(group.challenges)
        except GarrTcsError as error:  # noqa: PERF203 - the network costs more than a try
            errors.append(error)
    _raise_together(errors)


def _wait_for_all(groups: Sequence[Group]) -> None:
    """Let all solvers look at the same time, since one may be slow; each ends by its own deadline.

    The threads are daemons: at Ctrl-C the names are withdrawn at once, without waiting for those
    that still look.
    """
    errors: dict[int, BaseException] = {}

    def wait(index: int, group: Group) -> None:
        try:
            group.solver.wait(group.challenges)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that started this one
            errors[index] = error

    threads = [
        threading.Thread(target=wait, args=pair, name=f"garr-tcs-wait-{pair[0]}", daemon=True)
        for pair in enumerate(groups)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _raise_together([errors[index] for index in sorted(errors)])


def _raise_together(errors: Sequence[BaseException]) -> None:
    if len(errors) > 1:
        for error in errors:
            logger.debug("one of several errors", exc_info=error)
    if errors:
        raise join_errors(errors, ChallengeError)


def _not_covered(challenges: Sequence[Challenge], sections: Sequence[SolverSection]) -> ChallengeError:
    names = ", ".join(sorted({challenge.identifier for challenge in challenges}))  # the CA's order is chance
    where = f" of {sections[0].source}" if sections else " of garr-tcs.ini"
    return ChallengeError(
        f"the CA asks for a proof of control of {names}, and no section{where} can give it",
        "Either your organisation's administrator has what is missing validated in the CA's portal (for a HARICA "
        "Personal account that changes nothing); or prove control here, with a section such as "
        f"{' and '.join(_suggestions(challenges))}.",
    )


def _suggestions(challenges: Sequence[Challenge]) -> list[str]:
    """Return the fewest headings that would cover the challenges, as far as names alone can tell.

    A host's parent is taken for its zone; nothing is looked up.
    """
    suffixes: dict[str, list[str]] = {}
    for challenge in challenges:
        labels = challenge.identifier.rstrip(".").lower().split(".")
        is_host = challenge.challenge_type == DNS_01 and len(labels) > 2  # noqa: PLR2004 - example.it
        suffix = ".".join(labels[1:] if is_host else labels)
        suffixes.setdefault(challenge.challenge_type, []).append(suffix)
    return [
        f"[{kind} {suffix}]"
        for kind, found in sorted(suffixes.items())
        for suffix in sorted(set(found))
        if not any(suffix.endswith(f".{other}") for other in found)
    ]
