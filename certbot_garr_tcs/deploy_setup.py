"""Deploy the targets of a garr-tcs.ini from Certbot's folders."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from certbot_garr_tcs.deploy.glance import Glances
from certbot_garr_tcs.deploy.transaction import Journal

if TYPE_CHECKING:
    from certbot_garr_tcs.config import Configuration
    from certbot_garr_tcs.deploy.material import Material
    from certbot_garr_tcs.deploy.rollout import Rollout
    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.state import StateFolder


class Deployment:
    """Hold one rollout, built when it is needed, and the lineages that Certbot handed us."""

    def __init__(
        self, config: Any, settings: Configuration | None, state: StateFolder, notify: Callable[[str], None]
    ) -> None:
        """Take a file's targets; without a file, or targets in it, nothing is ever done."""
        self._state = state
        self._notify = notify
        self._renewal_dir = Path(config.renewal_configs_dir)
        self._given: dict[str, Path] = {}
        self._targets = settings.targets if settings else ()
        self._targets_of: dict[str, list[Target]] = {}
        for target in self._targets:
            self._targets_of.setdefault(target.lineage, []).append(target)
        self._glances = Glances(state, time.time)
        self._journal = Journal(state)

    @cached_property
    def rollout(self) -> Rollout:
        """Return the rollout, whose methods are the doors of Certbot."""
        from certbot_garr_tcs.deploy.delivery import Hands  # noqa: PLC0415  (mostly nothing is to be done)
        from certbot_garr_tcs.deploy.rollout import Rollout  # noqa: PLC0415

        return Rollout(self._state, self._targets, self._load, Hands(self._notify))

    def given(self, lineage: Any) -> str:
        """Remember where a lineage of Certbot's has its files; return its name."""
        self._given[lineage.lineagename] = Path(lineage.cert_path)
        return str(lineage.lineagename)

    def converge(self, lineage: Any) -> None:
        """Bring a lineage's targets to where they should be; do nothing, cheaply, where they are."""
        name = self.given(lineage)
        live = self._given[name].parent
        right = all(self._glances.is_right(target, live) for target in self._targets_of.get(name, ()))
        if not right or self._journal.unfinished():
            self.rollout.converge(name)

    def _load(self, name: str) -> Material | None:
        from certbot_garr_tcs.deploy.reading import material_at, read_material  # noqa: PLC0415

        given = self._given.get(name)
        return material_at(name, given) if given else read_material(self._renewal_dir, name)


_CONVERGING: dict[tuple[str | None, ...], Deployment] = {}


def converging(key: tuple[str | None, ...], build: Callable[[], Deployment]) -> Deployment:
    """Return the deployment that all lineages of one file share where Certbot has renewed none of them.

    ``certbot renew`` comes by once for every lineage, each time with a new plugin; the file (``key`` says which,
    and in which of Certbot's folders) is read at the first. For nothing else than converging: a rollout that has
    failed to reload does no more in its process.
    """
    if key not in _CONVERGING:
        _CONVERGING[key] = build()
    return _CONVERGING[key]
