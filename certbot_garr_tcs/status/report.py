"""Collect the status of all lineages of this host, from files alone (data)."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from certbot_garr_tcs import config, lineages
from certbot_garr_tcs.account import presets
from certbot_garr_tcs.certbot_log import RenewalRuns, read_renewal_runs
from certbot_garr_tcs.deploy import records
from certbot_garr_tcs.deploy.records import DeploymentRecord, DeploymentRecords
from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.findings import Finding, Level
from certbot_garr_tcs.renewal_schedule import NextRenewal, installed_version, next_renewal
from certbot_garr_tcs.state import StateFolder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from certbot_garr_tcs.certbot_folders import CertbotFolders
    from certbot_garr_tcs.deploy.targets import Target
    from certbot_garr_tcs.lineages import Lineage

OURS = "garr-tcs"
PENDING = "pending"
"""Outcome of a target to which nothing was deployed yet; the others are those of the records."""

OVERDUE = timedelta(days=2)
"""A timer that comes twice a day has passed four times meanwhile."""

_SILENT = timedelta(days=3)
_AS_ROOT = "Run the command as the user that Certbot runs as, usually root."


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


def collect(folders: CertbotFolders, now: datetime) -> StatusReport:
    """Read everything that can be read; what cannot becomes a finding."""
    findings: list[Finding] = []
    certbot = installed_version()
    renewal_dir = lineages.folder(str(folders.config))
    found = list(_lineages(renewal_dir, findings))
    deployments = _deployments(folders, found, findings)
    runs = _runs(folders.logs, findings)
    statuses = tuple(_status(each, deployments.get(each.name, ()), runs, certbot) for each in found)
    for status in statuses:
        findings += _findings(status, now)
    if os.access(renewal_dir, os.R_OK):
        findings += _sections_without_lineage(deployments, renewal_dir)
    findings += _findings_of_runs(runs, now)
    return StatusReport(now, certbot, renewal_dir, statuses, runs, tuple(findings))


@cache
def _ca_of(server: str) -> str:
    preset = presets.by_url(server)
    return preset.title if preset else urlsplit(server).hostname or server


def _lineages(renewal_dir: Path, findings: list[Finding]) -> Iterator[Lineage]:
    try:
        names = sorted(name for name in os.listdir(renewal_dir) if name.endswith(".conf"))  # noqa: PTH208  (1,000 names)
    except FileNotFoundError:
        names = []
    except OSError as error:
        names = []
        findings.append(_unseen("renewal-folder-unreadable", renewal_dir, error))
    for name in names:
        conf = renewal_dir / name
        lineage = lineages.read_lineage(conf)
        if lineage is not None:
            yield lineage
            continue
        problem = _reading_problem(conf)
        findings.append(
            _unseen("renewal-file-unreadable", conf, problem)
            if problem
            else Finding(
                Level.PROBLEM,
                "renewal-file-broken",
                str(conf),
                "The file is damaged: Certbot skips its certificate, which is not renewed.",
                "Repair the file from a backup, or ask for the certificate again with certbot run --garr-tcs.",
            )
        )


def _reading_problem(path: Path) -> OSError | None:
    try:
        path.open("rb").close()
    except OSError as error:
        return error
    return None


def _unseen(code: str, path: Path | str, error: OSError) -> Finding:
    denied = error.errno in {errno.EACCES, errno.EPERM}
    step = _AS_ROOT if denied else f"Look at: ls -l {path}"
    return Finding(Level.PROBLEM, code, str(path), f"It cannot be read: {error.strerror}.", step)


def _deployments(
    folders: CertbotFolders, found: Iterable[Lineage], findings: list[Finding]
) -> dict[str, list[DeploymentRecord]]:
    """Return the records of the targets that the files in use have, by lineage; empty ones where nothing was tried.

    A record whose target left its file is left out, unless the file cannot be read.
    """
    known, read_files = _records(folders.work, findings), set()
    result: dict[str, list[DeploymentRecord]] = {}
    for path, targets in _targets(folders.config, found, findings):
        read_files.add(str(path))
        for target in targets:
            record = known.pop(records.identity_of(target), None)
            result.setdefault(target.lineage, []).append(
                record or DeploymentRecord(target.name, str(path), target.lineage)
            )
    for record in known.values():
        if record.source not in read_files:
            result.setdefault(record.lineage, []).append(record)
    return result


def _records(work_dir: Path, findings: list[Finding]) -> dict[str, DeploymentRecord]:
    state = StateFolder(work_dir)
    store, found = DeploymentRecords(state), {}
    try:
        next(state.path.iterdir(), None)
    except FileNotFoundError:
        return {}
    except OSError as error:
        findings.append(_unseen("state-unreadable", state.path, error))
        return {}
    for identity in sorted(store.identities()):
        try:
            record = store.find(identity)
        except GarrTcsError as error:
            findings.append(Finding.of_error("record-unreadable", str(state.path), error))
            continue
        if record:
            found[identity] = record
    return found


def _targets(
    config_dir: Path, found: Iterable[Lineage], findings: list[Finding]
) -> Iterator[tuple[Path, tuple[Target, ...]]]:
    """Give the targets of each garr-tcs.ini that a lineage uses, and of the default one."""
    default = config.default_path(str(config_dir))
    own = {Path(each.config_file) for each in found if each.config_file}
    for path in [default, *sorted(own - {default})]:
        if path == default and not os.path.lexists(path):
            continue
        try:
            yield path, config.load(path).targets
        except GarrTcsError as error:
            findings.append(Finding.of_error("configuration-unusable", str(path), error))


def _runs(logs_dir: Path, findings: list[Finding]) -> RenewalRuns:
    try:
        return read_renewal_runs(logs_dir)
    except FileNotFoundError:
        pass
    except OSError as error:
        findings.append(_unseen("logs-unreadable", logs_dir, error))
    return RenewalRuns()


def _status(
    lineage: Lineage,
    deployed: Iterable[DeploymentRecord],
    runs: RenewalRuns,
    certbot: tuple[int, ...],
) -> LineageStatus:
    validity = lineage.validity()
    begins, ends = validity or (None, None)
    renewal = None
    if validity:
        renewal = next_renewal(
            *validity,
            interval=lineage.renew_before_expiry,
            autorenew=lineage.params.get("autorenew"),
            certbot=certbot,
        )
    deployments = tuple(_deployment(each, lineage) for each in deployed)
    return LineageStatus(
        lineage.name,
        tuple(sorted(lineage.names())),
        lineage.server,
        lineage.authenticator,
        lineage.installer,
        lineage.config_file,
        begins,
        ends,
        renewal,
        deployments=deployments,
        failure=_failure(lineage, deployments, runs),
    )


def _deployment(record: DeploymentRecord, lineage: Lineage) -> DeploymentStatus:
    current = lineage.fingerprint() if record.fingerprint else None
    return DeploymentStatus(
        record.name,
        record.source,
        record.outcome or PENDING,
        _time(record.deployed_at_seconds),
        _time(record.tried_at_seconds),
        record.error if record.outcome == records.FAILED else "",
        record.failures,
        current == record.fingerprint if current else None,
        record.reload_owed,
    )


def _time(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, timezone.utc) if seconds else None


def _failure(lineage: Lineage, deployments: Iterable[DeploymentStatus], runs: RenewalRuns) -> LastFailure | None:
    """Return the newest failure that was not made good: by a newer certificate, or by a deployment."""
    failures = [
        LastFailure("deployment", each.tried_at, each.error) for each in deployments if each.outcome == records.FAILED
    ]
    logged = runs.failures.get(lineage.name)
    if logged and not lineage.was_issued_since(logged.at.timestamp()):
        # Certbot logs a deployment that failed like a renewal; the records know more of it.
        tried = [each.tried_at for each in deployments if each.tried_at]
        if not (logged.error.startswith("deploy: ") and tried and max(tried) >= logged.at - timedelta(minutes=1)):
            failures.append(LastFailure("renewal", logged.at, logged.error))
    return max(failures, key=lambda each: each.at.timestamp() if each.at else 0.0, default=None)


def _findings(status: LineageStatus, now: datetime) -> Iterator[Finding]:
    left = status.days_left(now)
    again = f"Run: certbot renew --cert-name {status.name}"
    if left is None:
        yield _unreadable_certificate(status)
    elif left < 0:
        yield Finding(Level.PROBLEM, "expired", status.name, f"The certificate expired on {day(status.ends)}.", again)
    elif status.renewal and status.renewal.at and status.renewal.at < now - OVERDUE:
        yield Finding(
            Level.WARNING,
            "renewal-overdue",
            status.name,
            f"The renewal has been due since {day(status.renewal.at)}, unless the CA asked for a later one.",
            again,
        )
    if status.failure and status.failure.step == "renewal":
        yield Finding(
            Level.PROBLEM,
            "renewal-failed",
            status.name,
            f"The renewal of {minute(status.failure.at)} failed: {status.failure.error}",
            again,
        )
    for each in status.deployments:
        yield from _findings_of_deployment(status, each)


def _unreadable_certificate(status: LineageStatus) -> Finding:
    return Finding(
        Level.PROBLEM,
        "certificate-unreadable",
        status.name,
        "Its certificate cannot be read.",
        _AS_ROOT if os.geteuid() else f"Look at it with: certbot certificates --cert-name {status.name}",
    )


def _findings_of_deployment(status: LineageStatus, each: DeploymentStatus) -> Iterator[Finding]:
    where, lineage = f"[deploy {each.target}] of {each.source}", status.name
    again = "The next certbot renew deploys it."
    if status.installer != OURS:
        again = f"Its renewals do not deploy; run once: certbot install --garr-tcs --cert-name {lineage}"
    if each.outcome == records.FAILED:
        what = f"The deployment of {lineage} on {minute(each.tried_at)} failed: {each.error}"
        retry = "Every certbot renew tries again; run it once the cause is removed."
        yield Finding(Level.PROBLEM, "deployment-failed", where, what, retry)
    elif each.outcome == records.HELD:
        what = f"The deployment of {lineage} was undone by certbot rollback, and waits for a newer certificate."
        now = f"To deploy the current one: certbot install -i garr-tcs --cert-name {lineage}"
        yield Finding(Level.NOTE, "deployment-held", where, what, now)
    elif each.outcome == PENDING:
        yield Finding(Level.WARNING, "never-deployed", where, f"Nothing of {lineage} was deployed there yet.", again)
    elif each.is_current is False:
        what = f"An older certificate than that of {lineage} is deployed there."
        yield Finding(Level.WARNING, "deployment-behind", where, what, again)
    if each.reload_pending:
        what = f"Its service may not have read the files of {lineage} that are there."
        yield Finding(Level.WARNING, "reload-pending", where, what, "The next certbot renew reloads it.")


def _sections_without_lineage(
    deployments: Mapping[str, Iterable[DeploymentRecord]], renewal_dir: Path
) -> Iterator[Finding]:
    for name, found in deployments.items():
        for record in () if os.path.lexists(renewal_dir / f"{name}.conf") else found:
            yield Finding(
                Level.WARNING,
                "lineage-missing",
                f"{record.title} of {record.source}",
                f"Nothing is deployed there, because there is no lineage {name}.",
                "Write a name that certbot certificates shows, or remove the section.",
            )


def _findings_of_runs(runs: RenewalRuns, now: datetime) -> Iterator[Finding]:
    if runs.last_run and now - runs.last_run > _SILENT:
        yield Finding(
            Level.WARNING,
            "renew-not-running",
            "certbot renew",
            f"It ran for all certificates on {minute(runs.last_run)} for the last time.",
            "See that the timer is on: systemctl list-timers | grep certbot",
        )


def day(moment: datetime | None) -> str:
    """Return a day as people read it, in this machine's time."""
    return f"{moment.astimezone():%Y-%m-%d}" if moment else "an unknown day"


def minute(moment: datetime | None) -> str:
    """Return a moment as people read it, in this machine's time."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if moment else "an unknown day"
