"""The status as one line, and an exit status, for Nagios, Icinga and their like."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.records import FAILED
from certbot_garr_tcs.errors import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from certbot_garr_tcs.status.report import LineageStatus, StatusReport

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_WORST_FIRST = (CRITICAL, WARNING, UNKNOWN, OK)
_SHOWN = 3
_WARNING_DAYS, _CRITICAL_DAYS = 14.0, 7.0
_WARNING_SHARE, _CRITICAL_SHARE = 4, 8

_UNSEEN = frozenset(
    {
        "certificate-unreadable",
        "configuration-unusable",
        "logs-unreadable",
        "record-unreadable",
        "renewal-file-unreadable",
        "renewal-folder-unreadable",
        "state-unreadable",
    }
)
_WARNED = frozenset(
    {
        "deployment-behind",
        "deployment-failed",
        "lineage-missing",
        "renewal-failed",
        "renewal-file-broken",
        "renewal-overdue",
        "renew-not-running",
    }
)


@dataclass(frozen=True)
class Thresholds:
    """Fewer days left than these are a warning, or critical.

    What is ``None`` depends on the certificate: 14 and 7 days, but no more than a quarter and an eighth of its
    lifetime, so that one of a few days is no alarm from its first day on.
    """

    warning_days: float | None = None
    critical_days: float | None = None

    def of(self, status: LineageStatus) -> tuple[float, float]:
        """Return both for one certificate."""
        warning, critical = self.warning_days, self.critical_days
        if status.begins and status.ends:
            lifetime = (status.ends - status.begins) / timedelta(days=1)
            warning = min(_WARNING_DAYS, lifetime / _WARNING_SHARE) if warning is None else warning
            critical = min(_CRITICAL_DAYS, lifetime / _CRITICAL_SHARE) if critical is None else critical
        return warning or 0.0, critical or 0.0


def summarise(report: StatusReport, thresholds: Thresholds) -> tuple[int, str]:
    """Return the exit status, and the line with its performance data."""
    expiring = dict(_expiring(report, thresholds))
    found = [*expiring.values(), *_others(report, expiring)]
    if not report.lineages and not found:
        found = [(UNKNOWN, f"there is no renewal file in {report.renewal_dir}")]
    state = next(state for state in _WORST_FIRST if state == OK or any(each == state for each, _ in found))
    reasons = [text for each in _WORST_FIRST for level, text in found if level == each]
    soonest = min((each for each in report.lineages if each.ends), key=lambda each: str(each.ends), default=None)
    if not reasons and soonest:
        days = soonest.days_left(report.now)
        reasons = [f"{len(report.lineages)} certificates, {soonest.name} ends first, in {days:.0f} days"]
    more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    text = printable(f"CERTIFICATES {_WORDS[state]} - {'; '.join(reasons[:_SHOWN])}{more}".replace("|", "/"), 900)
    return state, f"{text} | {' '.join(_performance(report, thresholds, soonest))}"


def _expiring(report: StatusReport, thresholds: Thresholds) -> Iterator[tuple[str, tuple[int, str]]]:
    for each in sorted((each for each in report.lineages if each.ends), key=lambda each: str(each.ends)):
        left = each.days_left(report.now) or 0.0
        warning, critical = thresholds.of(each)
        if left < 0:
            yield each.name, (CRITICAL, f"{each.name} has expired")
        elif left < warning or left < critical:
            yield each.name, (CRITICAL if left < critical else WARNING, f"{each.name} ends in {left:.1f} days")


def _others(report: StatusReport, expiring: Collection[str]) -> Iterator[tuple[int, str]]:
    for finding in report.findings:
        if finding.code == "renewal-overdue" and finding.where in expiring:
            continue  # that it ends soon says more
        if finding.code in _UNSEEN | _WARNED:
            state = UNKNOWN if finding.code in _UNSEEN else WARNING
            yield state, f"{finding.where}: {printable(finding.what, 200)}"


def _performance(report: StatusReport, thresholds: Thresholds, soonest: LineageStatus | None) -> Iterator[str]:
    if soonest:
        warning, critical = thresholds.of(soonest)
        yield f"days_left={soonest.days_left(report.now):.2f};{warning:g}:;{critical:g}:"
    deployments = [each for status in report.lineages for each in status.deployments]
    renewals = [each for each in report.lineages if each.failure and each.failure.step == "renewal"]
    yield f"certificates={len(report.lineages)}"
    yield f"failed_renewals={len(renewals)}"
    yield f"failed_deployments={sum(each.outcome == FAILED for each in deployments)}"
