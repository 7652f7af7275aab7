"""The command ``certbot-garr-tcs status``."""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path

from certbot_garr_tcs import certbot_folders
from certbot_garr_tcs.certbot_folders import CertbotFolders
from certbot_garr_tcs.findings import Level
from certbot_garr_tcs.status import document, nagios, prometheus, table
from certbot_garr_tcs.status.collect import collect

HELP = "show every certificate of this host: its CA, days left, next renewal, where it is deployed, what failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``status``."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write JSON, for programs")
    form.add_argument(
        "--prometheus",
        metavar="FILE",
        type=Path,
        help="write metrics into FILE, for node_exporter's textfile collector (a name that ends with .prom)",
    )
    form.add_argument(
        "--nagios",
        action="store_true",
        help="write one line for Nagios or Icinga; exit with 0 (OK), 1 (warning), 2 (critical) or 3 (unknown)",
    )
    for name, (days, share) in {"warning": (14, "a quarter"), "critical": (7, "an eighth")}.items():
        parser.add_argument(
            f"--{name}",
            metavar="DAYS",
            type=_days,
            help=f"with --nagios: {name} if fewer days are left (default: {days}, at most {share} of the lifetime)",
        )
    certbot_folders.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``status``; return 0, or 1 where there is a problem; with ``--nagios`` what Nagios expects."""
    folders, now = CertbotFolders.of(args), datetime.now(timezone.utc)
    report = collect(folders, now)
    if args.nagios:
        state, line = nagios.summarise(report, nagios.Thresholds(args.warning, args.critical))
        _write(line)
        return state
    if args.prometheus:
        prometheus.write(args.prometheus, report)
        return 0
    if args.json:
        _write(document.as_json(report))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in table.lines(report, width):
            _write(line)
    return int(any(finding.level is Level.PROBLEM for finding in report.findings))


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return days


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
