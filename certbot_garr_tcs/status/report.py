"""How the lineages of this host are (data)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from certbot_garr_tcs.account import presets

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from certbot_garr_tcs.certbot_log import RenewalRuns
    from certbot_garr_tcs.findings import Finding
    from certbot_garr_tcs.renewal_schedule import NextRenewal

PENDING = "pending"
"""Outcome of a target to which nothing was deployed yet; the others are those of the records."""


@dataclass(frozen=True)
class DeploymentStatus:
    """How one target is; ``is_current``: whether it has the lineage's certificate, ``None`` where that is not known."""

    target: str
    source: str
    outcome: str
    deployed_at: datetime | None = None
    tried_at: datetime | None = None
    error: str = ""
    failures: int = 0
    is_current: bool | None = None
    reload_pending: bool = False


@dataclass(frozen=True)
class LastFailure:
    """What failed last for a lineage, and was not made good since. ``step``: ``renewal`` or ``deployment``."""

    step: str
    at: datetime | None
    error: str


@dataclass(frozen=True)
class LineageStatus:
    """How one lineage is; what is ``None`` is not known."""

    name: str
    names: tuple[str, ...]
    server: str | None
    authenticator: str | None
    installer: str | None
    config_file: str | None
    begins: datetime | None = None
    ends: datetime | None = None
    renewal: NextRenewal | None = None
    validated_until: datetime | None = None
    deployments: tuple[DeploymentStatus, ...] = ()
    failure: LastFailure | None = None

    @property
    def ca(self) -> str | None:
        """Return the name of the CA: a preset's title, else its host."""
        return _ca_of(self.server) if self.server else None

    def days_left(self, now: datetime) -> float | None:
        """Return how many days are left of the certificate; below zero once it has expired."""
        return None if self.ends is None else (self.ends - now) / timedelta(days=1)


@dataclass(frozen=True)
class StatusReport:
    """How everything is at one moment."""

    now: datetime
    certbot: tuple[int, ...]
    renewal_dir: Path
    lineages: tuple[LineageStatus, ...]
    runs: RenewalRuns
    findings: tuple[Finding, ...]


@cache
def _ca_of(server: str) -> str:
    preset = presets.by_url(server)
    return preset.title if preset else urlsplit(server).hostname or server


def day(moment: datetime | None) -> str:
    """Return a day as people read it, in this machine's time."""
    return f"{moment.astimezone():%Y-%m-%d}" if moment else "an unknown day"


def minute(moment: datetime | None) -> str:
    """Return a moment as people read it, in this machine's time."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment else "an unknown day"
