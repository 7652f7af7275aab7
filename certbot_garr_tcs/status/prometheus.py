"""The status as metrics, for node_exporter's textfile collector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.records import FAILED
from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.findings import Level
from certbot_garr_tcs.storage import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from certbot_garr_tcs.status.report import StatusReport

_PREFIX = "garr_tcs"
_READABLE = 0o644  # node_exporter has a user of its own


def write(path: Path, report: StatusReport) -> None:
    """Replace the file, atomically: its readers know nothing of locks."""
    try:
        replace_file(path, metrics(report).encode(), _READABLE)
    except OSError as error:
        raise GarrTcsError(
            f"cannot write {path}: {error.strerror}",
            "Name a file in the folder that node_exporter's --collector.textfile.directory names, as a user who may "
            "write there.",
        ) from error


def metrics(report: StatusReport) -> str:
    """Return everything in Prometheus's text format, version 0.0.4. Times are seconds since 1970."""
    names = [({"lineage": each.name}, each) for each in report.lineages]
    targets = [
        ({"lineage": name["lineage"], "target": each.target, "file": each.source}, each)
        for name, status in names
        for each in status.deployments
    ]
    problems = [sum(each.level is level for each in report.findings) for level in Level]
    families: list[tuple[str, str, Iterable[tuple[dict[str, str], float | None]]]] = [
        (
            "certificate_expiry_timestamp_seconds",
            "When the certificate of a lineage expires.",
            [
                ({**labels, "ca": each.ca or "", "authenticator": each.authenticator or ""}, _seconds(each.ends))
                for labels, each in names
            ],
        ),
        (
            "certificate_renewal_timestamp_seconds",
            "From when on certbot renew renews a lineage.",
            [(labels, _seconds(each.renewal.at if each.renewal else None)) for labels, each in names],
        ),
        (
            "certificate_readable",
            "Whether the certificate of a lineage can be read.",
            [(labels, float(each.ends is not None)) for labels, each in names],
        ),
        (
            "renewal_failed",
            "Whether the last renewal of a lineage failed, by Certbot's log.",
            [(labels, float(each.failure is not None and each.failure.step == "renewal")) for labels, each in names],
        ),
        (
            "deployment_timestamp_seconds",
            "When a target last got a certificate.",
            [(labels, _seconds(each.deployed_at)) for labels, each in targets],
        ),
        (
            "deployment_attempt_timestamp_seconds",
            "When it was last tried to deploy to a target.",
            [(labels, _seconds(each.tried_at)) for labels, each in targets],
        ),
        (
            "deployment_failed",
            "Whether the last deployment to a target failed.",
            [(labels, float(each.outcome == FAILED)) for labels, each in targets],
        ),
        (
            "deployment_current",
            "Whether a target has the current certificate of its lineage.",
            [(labels, None if each.is_current is None else float(each.is_current)) for labels, each in targets],
        ),
        (
            "renew_run_timestamp_seconds",
            "When certbot renew last ran for all certificates, by Certbot's log.",
            [({}, _seconds(report.runs.last_run))],
        ),
        (
            "renew_success_timestamp_seconds",
            "When certbot renew last ran for all certificates without any failure, by Certbot's log.",
            [({}, _seconds(report.runs.last_success))],
        ),
        (
            "findings",
            "How many findings certbot-garr-tcs status has.",
            [({"level": level.value}, float(count)) for level, count in zip(Level, problems) if level is not Level.OK],
        ),
        ("status_timestamp_seconds", "When these metrics were collected.", [({}, _seconds(report.now))]),
    ]
    return "".join(line for family in families for line in _family(*family))


def _family(name: str, text: str, samples: Iterable[tuple[dict[str, str], float | None]]) -> Iterator[str]:
    known = [(labels, value) for labels, value in samples if value is not None]
    if known:
        yield f"# HELP {_PREFIX}_{name} {text}\n# TYPE {_PREFIX}_{name} gauge\n"
    for labels, value in known:
        shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"{_PREFIX}_{name}{f'{{{shown}}}' if shown else ''} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
