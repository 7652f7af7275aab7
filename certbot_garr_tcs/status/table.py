"""The status as text: a table, and below it what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.records import FAILED, HELD
from certbot_garr_tcs.errors import printable
from certbot_garr_tcs.renewal_schedule import DISABLED
from certbot_garr_tcs.status.report import PENDING, day, minute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from certbot_garr_tcs.status.report import DeploymentStatus, LineageStatus, StatusReport

_UNKNOWN = "not known"
_HEADINGS = (
    "LINEAGE",
    "CA",
    "DAYS LEFT",
    "NEXT RENEWAL",
    "VALIDATED UNTIL",
    "DEPLOYED",
    "LAST FAILURE",
    "NAMES",
)
_LEAST_NAMES = 20
_GAP = "  "


def lines(report: StatusReport, width: int | None) -> Iterator[str]:
    """Give the lines; ``width``: how many columns a terminal has, ``None`` leaves nothing out."""
    if report.lineages:
        rows = [[_shown(cell) for cell in _row(each, report)] for each in report.lineages]
        yield from _table(rows, width)
    else:
        yield f"No certificates: there is no renewal file in {report.renewal_dir}."
    if report.runs.last_run:
        yield ""
        yield f"Last run of certbot renew for all certificates: {minute(report.runs.last_run)}"
    if report.runs.last_success:
        yield f"Last run of it without any failure: {minute(report.runs.last_success)}"
    for finding in report.findings:
        yield ""
        yield f"{finding.level.value.upper()}: {finding.where}"
        yield f"{_GAP}{finding.what}"
        if finding.next_step:
            yield f"{_GAP}{finding.next_step}"


def _row(status: LineageStatus, report: StatusReport) -> list[str]:
    left = status.days_left(report.now)
    days = _UNKNOWN if left is None else "expired" if left < 0 else str(int(left))
    failure = status.failure
    return [
        status.name,
        status.ca or _UNKNOWN,
        days,
        _renewal(status, report),
        day(status.validated_until) if status.validated_until else _UNKNOWN,
        ", ".join(map(_deployment, status.deployments)) or (f"by {status.installer}" if status.installer else "-"),
        f"{failure.step} {minute(failure.at)}" if failure else "-",
        ", ".join(status.names) or _UNKNOWN,
    ]


def _shown(cell: str) -> str:
    return cell if cell.isprintable() else printable(cell, len(cell))  # a certificate may hold any characters


def _renewal(status: LineageStatus, report: StatusReport) -> str:
    renewal = status.renewal
    if renewal is None or renewal.at is None:
        return "off" if renewal and renewal.rule == DISABLED else _UNKNOWN
    return "due" if renewal.at <= report.now else day(renewal.at)


def _deployment(each: DeploymentStatus) -> str:
    words = {FAILED: "failed", HELD: "held", PENDING: "not yet"}
    if each.outcome in words:
        return f"{each.target} {words[each.outcome]}"
    behind = " (older one)" if each.is_current is False else ""
    return f"{each.target} since {day(each.deployed_at)}{behind}"


def _table(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows)][:-1]
    before = sum(widths) + len(_GAP) * len(widths)
    room = None if width is None else max(_LEAST_NAMES, width - before)
    for *cells, names in (_HEADINGS, *rows):
        padded = [cell.rjust(size) if cell.isdigit() else cell.ljust(size) for cell, size in zip(cells, widths)]
        yield _GAP.join([*padded, _fitting(names.split(", "), room)]).rstrip()


def _fitting(names: Iterable[str], room: int | None) -> str:
    """Return as many names as there is room for, and how many more there are."""
    names = list(names)
    whole = ", ".join(names)
    if room is None or len(whole) <= room:
        return whole
    for shown in range(len(names) - 1, 0, -1):
        text = f"{', '.join(names[:shown])} +{len(names) - shown}"
        if len(text) <= room:
            return text
    return f"{names[0][: room - 5]}... +{len(names) - 1}" if len(names) > 1 else f"{whole[: room - 3]}..."
