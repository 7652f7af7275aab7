"""The whole journey, on every Certbot and every Python that we promise."""

from __future__ import annotations

import os
import subprocess

import pytest
from harness import CertbotRunner
from journeys import walk
from matrix import MATRIX

pytestmark = pytest.mark.integration

BUILT = [entry for entry in MATRIX if entry.executable.exists()]


@pytest.mark.parametrize("entry", MATRIX, ids=lambda entry: entry.name)
def test_the_journey_on_each_certbot(entry, due_cas, tmp_path):
    """A certificate is issued, renewed, moved to another CA, and revoked in both ways."""
    if entry not in BUILT:
        pytest.skip(f"{entry.folder} is not built: make matrix says why")
    asked = subprocess.run([entry.executable, "--version"], capture_output=True, text=True, check=True)
    assert entry.certbot in {"newest", asked.stdout.split()[-1]}
    walk(CertbotRunner(entry.executable, tmp_path / "certbot"), *due_cas, "--garr-tcs")


def test_ci_runs_several_certbots():
    """In CI the journey runs on two versions of Certbot at least, one of them the oldest."""
    versions = {entry.certbot for entry in BUILT}
    if not os.environ.get("CI"):
        pytest.skip(f"CI is not set; built here: {', '.join(sorted(versions)) or 'none'}")
    assert len(versions) >= 2
    assert "2.1.0" in versions
