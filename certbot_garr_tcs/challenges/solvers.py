"""Build the solver that a section asks for."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.challenges.progress import Progress
from certbot_garr_tcs.challenges.published import PublishedRecords, any_on_disk
from certbot_garr_tcs.challenges.sections import Rfc2136Settings
from certbot_garr_tcs.challenges.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver
    from certbot_garr_tcs.challenges.sections import SolverSection
    from certbot_garr_tcs.state import StateFolder

logger = logging.getLogger(__name__)


class Solvers:
    """Hold the solvers of one run: one for all updates, so that they share messages; delegates as asked for.

    ``config`` is Certbot's, for delegates, which get copies of it. Nothing is imported or built before it is
    needed: most runs need no solver at all.
    """

    def __init__(self, sections: Sequence[SolverSection], state: StateFolder, config: Any) -> None:
        """Keep what is needed; build nothing."""
        self.sections = sections
        self._state = state
        self._config = config
        self.progress = Progress(None if config.quiet else sys.stdout)
        self._updater: Rfc2136Solver | None = None
        self._delegate_for: Any = None

    def session(self) -> Session:
        """Return a session over these sections."""
        return Session(self.solver_for, self.sections)

    def solver_for(self, section: SolverSection) -> Any:
        """Return the solver of a section; sections that can share one get the same."""
        if isinstance(section.how, Rfc2136Settings):
            return self._rfc2136()
        if self._delegate_for is None:
            from certbot_garr_tcs.challenges.delegated import delegates  # noqa: PLC0415

            self._delegate_for = delegates(self._config)
        return self._delegate_for(section)

    def _rfc2136(self) -> Rfc2136Solver:
        if self._updater is None:
            from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver  # noqa: PLC0415

            self._updater = Rfc2136Solver(self.sections, PublishedRecords(self._state), progress=self.progress)
        return self._updater


_CLEANED: set[tuple[Path, str | None]] = set()


def clean_up_stale(state: StateFolder, file: str | None, read_sections: Callable[[], Sequence[SolverSection]]) -> None:
    """Delete the TXT values that earlier runs left behind, once in this process for each garr-tcs.ini (``file``).

    Where there are none, this lists one folder. Raises nothing: whoever calls has something better to do.
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
