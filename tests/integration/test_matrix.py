"""The whole journey, on every Certbot and every Python that we promise."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.certbot import CertbotRunner, need_practice_ca
from support.journeys import walk
from support.matrix import MATRIX
from support.needs import need_built

from certbot_garr_tcs.sandbox.options import PracticeOptions
from certbot_garr_tcs.sandbox.practice_ca import PracticeCa

pytestmark = pytest.mark.integration

BUILT = [entry for entry in MATRIX if entry.executable.exists()]


def travel(entry, folder):
    """Make the journey with an environment's own certbot, between two CAs of its own."""
    first = PracticeCa(folder / "first-ca", PracticeOptions(name="First CA", always_due=True))
    second = PracticeCa(folder / "second-ca", PracticeOptions(name="Second CA", always_due=True))
    with first, second:
        walk(CertbotRunner(entry.executable, folder / "certbot"), first, second, "--garr-tcs")


@pytest.fixture(scope="module")
def travels(request, tmp_path_factory):
    """Set out on all the journeys that are asked for: ACME clients sleep a lot, so several run at once."""
    need_practice_ca()
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    asked = [item.callspec.params["entry"] for item in items]
    pool = ThreadPoolExecutor(3)
    try:
        yield {
            entry: pool.submit(travel, entry, tmp_path_factory.mktemp(entry.name)) for entry in asked if entry in BUILT
        }
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("entry", MATRIX, ids=lambda entry: entry.name)
def test_the_journey_on_each_certbot(entry, travels):
    """A certificate is issued, renewed, moved to another CA, and revoked in both ways."""
    need_built(entry)
    asked = subprocess.run([entry.executable, "--version"], capture_output=True, text=True, check=True)
    assert entry.certbot in {"newest", (asked.stdout or asked.stderr).split()[-1]}
    travels[entry].result()


def test_ci_runs_several_certbots():
    """In CI the journey runs on two versions of Certbot at least, one of them the oldest."""
    versions = {entry.certbot for entry in BUILT}
    if not os.environ.get("CI"):
        pytest.skip(f"CI is not set; built here: {', '.join(sorted(versions)) or 'none'}")
    assert len(versions) >= 2
    assert "2.1.0" in versions
