"""What Certbot's own logs say about renewals: when they ran, and which failed."""

from __future__ import annotations

import contextlib
import gzip
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_MOST_FILES = 60
_MOST_BYTES = 4 << 20
"""Of each file its end, and so many files: a month of two runs a day, where Certbot starts a file for each run."""

# As Certbot has logged it from 2.1 to 5.9; each line begins with the local time. The arguments are without the verb.
_LINE = re.compile(
    rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3}:"
    rb"(?:DEBUG:certbot\._internal\.main:Arguments: \[(?P<arguments>[^\n]*)\]"
    rb"|ERROR:certbot\._internal\.renewal:Failed to renew certificate "
    rb"(?P<lineage>[^\n]+?) with error: (?P<error>[^\n]*)"
    rb"|DEBUG:certbot\._internal\.renewal:(?P<success>no renewal failures)"
    rb"|ERROR:certbot\._internal\.log:(?P<failure>\d+ renew failure)[^\n]*)$",
    re.MULTILINE,
)
_SOME_ONLY = re.compile(rb"'(?:--cert-name|--domains?|-d|--dry-run)\b")


@dataclass(frozen=True)
class RenewalFailure:
    """Why ``certbot renew`` failed for a lineage, in Certbot's words."""

    at: datetime
    error: str


@dataclass
class RenewalRuns:
    """What the logs say of ``certbot renew`` for all lineages, once it has come to its end; ``None``: they say nothing.

    ``failures``: for each lineage the last one, unless a run without any failure came later.
    """

    last_run: datetime | None = None
    last_success: datetime | None = None
    failures: dict[str, RenewalFailure] = field(default_factory=dict)


def read_renewal_runs(logs_dir: Path) -> RenewalRuns:
    """Read Certbot's logs, the rotated ones too; raise ``OSError`` where the folder cannot be read."""
    files = sorted(_with_time(logs_dir.iterdir()), reverse=True)[:_MOST_FILES]
    runs = RenewalRuns()
    for _, path in reversed(files):
        _take(runs, _end_of(path))
    return runs


def _with_time(paths: Iterable[Path]) -> Iterator[tuple[float, Path]]:
    for path in paths:
        if re.fullmatch(r"letsencrypt\.log(\.\d+)?(\.gz)?", path.name):
            with contextlib.suppress(OSError):  # rotated away meanwhile
                yield path.stat().st_mtime, path


def _end_of(path: Path) -> bytes:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                return packed.read(_MOST_BYTES)
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MOST_BYTES))
            return file.read(_MOST_BYTES)
    except (OSError, EOFError):  # rotated away meanwhile, or cut off
        return b""


def _take(runs: RenewalRuns, text: bytes) -> None:
    """Go through the runs of one file, oldest first."""
    everything = False
    for line in _LINE.finditer(text):
        at = datetime.fromisoformat(line[1].decode()).astimezone()
        if line["arguments"] is not None:
            everything = not _SOME_ONLY.search(line["arguments"])
        elif line["lineage"]:
            error = printable(line["error"].decode(errors="replace"), 300)
            runs.failures[line["lineage"].decode(errors="replace")] = RenewalFailure(at, error)
        elif everything:
            runs.last_run = at
            if line["success"]:
                runs.last_success = at
                runs.failures.clear()
