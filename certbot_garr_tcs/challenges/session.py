"""Solve the challenges of an order: present all, wait for all, clean up all."""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from zope.interface.verify import verifyObject

from certbot_garr_tcs.challenges.interfaces import ISolver
from certbot_garr_tcs.challenges.progress import Progress
from certbot_garr_tcs.challenges.published import PublishedRecords, any_on_disk
from certbot_garr_tcs.challenges.routing import best_section, not_covered
from certbot_garr_tcs.challenges.settings import DelegateSettings, Rfc2136Settings
from certbot_garr_tcs.errors import ChallengeError, GarrTcsError, error_text, join_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from certbot_garr_tcs.challenges.interfaces import Challenge
    from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver
    from certbot_garr_tcs.challenges.settings import SolverSection
    from certbot_garr_tcs.storage import StateFolder

logger = logging.getLogger(__name__)

Solver = Any
"""An object that provides ISolver; a type checker cannot see zope's interfaces, verifyObject checks them."""


class SolverFactory:
    """Builds the solvers of one run: one for all RFC 2136 sections, which share messages, and one for each plugin.

    ``config``: Certbot's, of which other plugins get copies. Solvers are imported and built when they are needed:
    most runs need none.
    """

    def __init__(self, sections: Sequence[SolverSection], state: StateFolder, config: Any) -> None:
        self.sections = sections
        self.progress = Progress(None if config.quiet else sys.stdout)
        self._state = state
        self._config = config
        self._rfc2136_solver: Rfc2136Solver | None = None
        self._delegated: dict[tuple[str, DelegateSettings], Solver] = {}

    def session(self) -> Session:
        """Return a session over the sections of this run."""
        return Session(self.solver_for, self.sections)

    def solver_for(self, section: SolverSection) -> Solver:
        """Return the solver of a section, which other sections may share; raise ``GarrTcsError``.

        Sections that name the same plugin with the same options share it: two standalone servers cannot share a
        port, nor two web server plugins a configuration.
        """
        if isinstance(section.method, Rfc2136Settings):
            return self._rfc2136()
        key = (section.challenge_type, section.method)
        if key not in self._delegated:
            from certbot_garr_tcs.challenges.delegated import DelegatedSolver  # noqa: PLC0415

            self._delegated[key] = DelegatedSolver(section, self._config)
        return self._delegated[key]

    def _rfc2136(self) -> Rfc2136Solver:
        if self._rfc2136_solver is None:
            from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver  # noqa: PLC0415

            self._rfc2136_solver = Rfc2136Solver(self.sections, PublishedRecords(self._state), progress=self.progress)
        return self._rfc2136_solver


_CLEANED: set[tuple[Path, str | None]] = set()


def clean_up_stale(state: StateFolder, file: str | None, read_sections: Callable[[], Sequence[SolverSection]]) -> None:
    """Delete the TXT values that earlier runs left behind, once in this process for each garr-tcs.ini (``file``).

    Where there are none, this lists one folder. Failures are logged: they must not stop what the caller does.
    """
    if (state.path, file) in _CLEANED:
        return
    _CLEANED.add((state.path, file))
    try:
        if any_on_disk(state):
            from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver  # noqa: PLC0415

            Rfc2136Solver(read_sections(), PublishedRecords(state)).clean_up_stale()
    except Exception as error:
        logger.debug("clean_up_stale failed", exc_info=True)
        logger.warning("TXT records that an earlier run may have left behind are not deleted: %s", error)


@dataclass(frozen=True)
class SolverGroup:
    """The challenges that one solver solves, in the order in which the CA asked."""

    solver: Solver
    challenges: tuple[Challenge, ...]
    is_delegated: bool = False


class Session:
    """Solves challenges, each with the solver of its section, and cleans up what was presented.

    ``solver_for``: returns the solver of a section; sections that get the same one are presented together. What
    can be refused is refused before anything is presented: names that no section covers, and sections whose solver
    cannot be built.
    """

    def __init__(self, solver_for: Callable[[SolverSection], Solver], sections: Iterable[SolverSection]) -> None:
        self._solver_for = solver_for
        self._sections = tuple(sections)
        self._presented: list[SolverGroup] = []
        self._reported: list[str] = []

    def solve(self, challenges: Sequence[Challenge]) -> None:
        """Present every challenge, and return when the CA will see each proof.

        After an error everything is cleaned up before the error is raised. Errors of several solvers are raised as
        one. After success the proofs stay, until ``clean_up``.
        """
        groups = self.group_by_solver(challenges)
        self._presented.extend(groups)
        try:
            _present_all(groups)
            _wait_for_all(groups)
        except BaseException as error:
            self._reported.append(error_text(error))
            self.clean_up()
            raise

    def group_by_solver(self, challenges: Sequence[Challenge]) -> tuple[SolverGroup, ...]:
        """Return the challenges by solver; raise one error for all names that no section covers."""
        by_section: dict[SolverSection, list[Challenge]] = {}
        uncovered = []
        for challenge in challenges:
            section = best_section(challenge.identifier, self._sections, challenge.challenge_type)
            if section is None:
                uncovered.append(challenge)
            else:
                by_section.setdefault(section, []).append(challenge)
        if uncovered:
            raise not_covered(uncovered, self._sections)
        groups: dict[int, SolverGroup] = {}
        errors: list[BaseException] = []
        for section, of_section in by_section.items():
            try:
                solver = self._solver_for(section)
            except GarrTcsError as error:
                errors.append(error)
                continue
            verifyObject(ISolver, solver)
            before = groups[id(solver)].challenges if id(solver) in groups else ()
            is_delegated = isinstance(section.method, DelegateSettings)
            groups[id(solver)] = SolverGroup(solver, (*before, *of_section), is_delegated)
        _raise_joined(errors)
        # Other plugins may sleep while they present: records that are presented before them spread meanwhile.
        return tuple(sorted(groups.values(), key=lambda group: group.is_delegated))

    def diagnose(self, challenges: Iterable[Challenge]) -> str:
        """Return what can be seen at this moment of proofs that the CA refused, and a next step.

        Solvers that can ``diagnose`` are asked, each about its own challenges, as long as these are presented. What
        fails is logged: this is only a hint.
        """
        refused = tuple(challenges)
        hints = []
        for group in self._presented:
            of_group = [challenge for challenge in refused if challenge in group.challenges]
            if of_group and hasattr(group.solver, "diagnose"):
                try:
                    hints.append(group.solver.diagnose(of_group))
                except Exception:
                    logger.debug("diagnose of %r failed", group.solver, exc_info=True)
        return " ".join(hint for hint in hints if hint)

    def clean_up(self) -> tuple[str, ...]:
        """Remove what was presented; return what could not be removed, in words.

        Raises nothing, so that no first error is hidden: each problem is logged as a warning, once, unless it is
        the very error that ``solve`` raises. May be called again: only what failed is tried again.
        """
        problems = []
        for group in tuple(self._presented):
            try:
                group.solver.clean_up(group.challenges)
            except Exception as error:  # noqa: PERF203 - one that fails must not keep the next from cleaning up
                logger.debug("clean_up of %r failed", group.solver, exc_info=True)
                problems.append(error_text(error))
                message = error.message if isinstance(error, GarrTcsError) else problems[-1]  # joined without its hint
                if not any(message.rstrip(".") in reported for reported in self._reported):
                    logger.warning("Not everything was removed: %s", problems[-1])
                    self._reported.append(problems[-1])
            else:
                self._presented.remove(group)
        return tuple(problems)


def _present_all(groups: Sequence[SolverGroup]) -> None:
    errors: list[BaseException] = []
    for group in groups:
        try:
            group.solver.present(group.challenges)
        except GarrTcsError as error:  # noqa: PERF203 - the network costs more than a try
            errors.append(error)
    _raise_joined(errors)


def _wait_for_all(groups: Sequence[SolverGroup]) -> None:
    """Let all solvers wait at the same time, since one may be slow; each has its own deadline.

    The threads are daemons: Ctrl-C cleans up at once, without joining those that still wait.
    """
    errors: dict[int, BaseException] = {}

    def wait(index: int, group: SolverGroup) -> None:
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
    _raise_joined([errors[index] for index in sorted(errors)])


def _raise_joined(errors: Sequence[BaseException]) -> None:
    if len(errors) > 1:
        for error in errors:
            logger.debug("one of several errors", exc_info=error)
    if errors:
        raise join_errors(errors, ChallengeError)
