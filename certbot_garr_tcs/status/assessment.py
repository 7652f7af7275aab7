"""What is wrong with the lineages of this host, and what to do about it."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy import records
from certbot_garr_tcs.findings import Finding, Level
from certbot_garr_tcs.status.report import PENDING, day, minute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from certbot_garr_tcs.certbot_log import RenewalRuns
    from certbot_garr_tcs.deploy.records import DeploymentRecord
    from certbot_garr_tcs.status.report import DeploymentStatus, LineageStatus

_OURS = "garr-tcs"
_OVERDUE = timedelta(days=2)
"""A timer that comes twice a day has passed four times meanwhile."""

_SILENT = timedelta(days=3)
AS_ROOT = "Run the command as the user that Certbot runs as, usually root."


def assess(status: LineageStatus, now: datetime, usual_file: str) -> Iterator[Finding]:
    """Give the findings of one lineage; ``usual_file``: the garr-tcs.ini that commands need not name."""
    left = status.days_left(now)
    again = f"Run: certbot renew --cert-name {status.name}"
    if left is None:
        yield _unreadable_certificate(status)
    elif left < 0:
        yield Finding(Level.PROBLEM, "expired", status.name, f"The certificate expired on {day(status.ends)}.", again)
    elif status.renewal and status.renewal.at and status.renewal.at < now - _OVERDUE:
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
        option = "" if each.source == usual_file else f" --garr-tcs-config {each.source}"
        yield from _findings_of_deployment(status, each, option)


def _unreadable_certificate(status: LineageStatus) -> Finding:
    return Finding(
        Level.PROBLEM,
        "certificate-unreadable",
        status.name,
        "Its certificate cannot be read.",
        AS_ROOT if os.geteuid() else f"Look at it with: certbot certificates --cert-name {status.name}",
    )


def _findings_of_deployment(status: LineageStatus, each: DeploymentStatus, file_option: str) -> Iterator[Finding]:
    where, lineage = f"[deploy {each.target}] of {each.source}", status.name
    again = "The next certbot renew deploys it."
    if status.installer != _OURS:
        again = f"Its renewals do not deploy; run once: certbot install --garr-tcs{file_option} --cert-name {lineage}"
    if each.outcome == records.FAILED:
        what = f"The deployment of {lineage} on {minute(each.tried_at)} failed: {each.error}"
        retry = "Every certbot renew tries again; run it once the cause is removed."
        yield Finding(Level.PROBLEM, "deployment-failed", where, what, retry)
    elif each.outcome == records.HELD:
        what = f"The deployment of {lineage} was undone by a rollback, and waits for a newer certificate."
        installer = f"-i garr-tcs{file_option}"
        now = f"To deploy the current one: certbot install {installer} --cert-name {lineage}"
        yield Finding(Level.NOTE, "deployment-held", where, what, now)
    elif each.outcome == PENDING:
        yield Finding(Level.WARNING, "never-deployed", where, f"Nothing of {lineage} was deployed there yet.", again)
    elif each.is_current is False:
        what = f"An older certificate than that of {lineage} is deployed there."
        yield Finding(Level.WARNING, "deployment-behind", where, what, again)
    if each.reload_pending:
        what = f"Its service may not have read the files of {lineage} that are there."
        yield Finding(Level.WARNING, "reload-pending", where, what, "The next certbot renew reloads it.")


def sections_without_lineage(
    deployments: Mapping[str, Iterable[DeploymentRecord]], renewal_dir: Path
) -> Iterator[Finding]:
    """Give the findings of sections whose lineage is not there; ``deployments``: by the name of the lineage."""
    for name, found in deployments.items():
        for record in () if os.path.lexists(renewal_dir / f"{name}.conf") else found:
            yield Finding(
                Level.WARNING,
                "lineage-missing",
                f"{record.title} of {record.source}",
                f"Nothing is deployed there, because there is no lineage {name}.",
                "Write a name that certbot certificates shows, or remove the section.",
            )


def assess_runs(runs: RenewalRuns, now: datetime) -> Iterator[Finding]:
    """Give the findings of the timer."""
    if runs.last_run and now - runs.last_run > _SILENT:
        yield Finding(
            Level.WARNING,
            "renew-not-running",
            "certbot renew",
            f"It ran for all certificates on {minute(runs.last_run)} for the last time.",
            "See that the timer is on: systemctl list-timers | grep certbot",
        )
