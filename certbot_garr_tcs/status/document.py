"""The status as JSON; docs/command.md has the schema."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certbot_garr_tcs.status.report import LineageStatus, StatusReport

SCHEMA, VERSION = "certbot-garr-tcs status", 1
"""A version keeps its keys and their meaning; keys may be added."""


def as_json(report: StatusReport) -> str:
    """Return the whole report."""
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "created": _utc(report.now),
        "certbot": {
            "version": ".".join(map(str, report.certbot)),
            "last_renew_run": _utc(report.runs.last_run),
            "last_renew_success": _utc(report.runs.last_success),
        },
        "lineages": [_lineage(each, report) for each in report.lineages],
        "findings": [finding.as_document() for finding in report.findings],
    }
    return json.dumps(document, indent=1)


def _lineage(status: LineageStatus, report: StatusReport) -> dict[str, Any]:
    left = status.days_left(report.now)
    return {
        "name": status.name,
        "names": list(status.names),
        "ca": status.ca,
        "server": status.server,
        "authenticator": status.authenticator,
        "installer": status.installer,
        "config_file": status.config_file,
        "valid_from": _utc(status.begins),
        "valid_until": _utc(status.ends),
        "days_left": None if left is None else round(left, 2),
        "next_renewal": _utc(status.renewal.at) if status.renewal else None,
        "next_renewal_rule": status.renewal.rule if status.renewal else None,
        "validated_until": _utc(status.validated_until),
        "deployments": [
            {
                "target": each.target,
                "file": each.source,
                "outcome": each.outcome,
                "deployed": _utc(each.deployed_at),
                "tried": _utc(each.tried_at),
                "current": each.is_current,
                "failures": each.failures,
                "error": each.error or None,
            }
            for each in status.deployments
        ],
        "last_failure": {
            "step": status.failure.step,
            "at": _utc(status.failure.at),
            "error": status.failure.error,
        }
        if status.failure
        else None,
    }


def _utc(moment: datetime | None) -> str | None:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}" if moment else None
