"""Read everything that Certbot's folders say of lineages; what cannot be read becomes a finding."""

from __future__ import annotations

import errno
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs import config, lineages
from certbot_garr_tcs.certbot_log import RenewalRuns, read_renewal_runs
from certbot_garr_tcs.deploy import records
from certbot_garr_tcs.deploy.records import DeploymentRecord, DeploymentRecords
from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.findings import Finding, Level
from certbot_garr_tcs.renewal_schedule import installed_version, next_renewal
from certbot_garr_tcs.status.assessment import AS_ROOT, assess, assess_runs, sections_without_lineage
from certbot_garr_tcs.status.report import PENDING, DeploymentStatus, LastFailure, LineageStatus, StatusReport
from certbot_garr_tcs.storage import StateFolder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from certbot_garr_tcs.certbot_folders import CertbotFolders
    from certbot_garr_tcs.deploy.settings import Target
    from certbot_garr_tcs.lineages import Lineage


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
        findings += assess(status, now, str(config.default_path(str(folders.config))))
    if os.access(renewal_dir, os.R_OK):
        findings += sections_without_lineage(deployments, renewal_dir)
    findings += assess_runs(runs, now)
    return StatusReport(now, certbot, renewal_dir, statuses, runs, tuple(findings))


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
                "Repair the file from a backup, or ask for the certificate again.",
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
    step = AS_ROOT if denied else f"Look at: ls -l {path}"
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
        record.reload_pending,
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
