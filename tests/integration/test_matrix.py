"""The whole journey, the sandbox's demo, on every Certbot and every Python that we promise."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.certbot_runner import CertbotRunner
from support.journeys import assert_stored, key_ids, one_line
from support.matrix import MATRIX
from support.needs import need_built
from support.practice_ca import need_practice_ca

from certbot_garr_tcs.sandbox.demo import NAME, prepared_demo

pytestmark = pytest.mark.integration

BUILT = [entry for entry in MATRIX if entry.executable.exists()]


def run_journey(entry, folder):
    """Run the demo, which checks each of its steps; check what it does not show, and revoke by path as well."""
    said = []
    certbot = CertbotRunner(entry.executable, folder)
    with prepared_demo(folder, entry.executable, said.append) as demo:
        demo.run()
        first, second = demo.first, demo.second
        for ca in (first, second):
            assert key_ids(ca.requests()) == [ca.eab_kid]
        assert len(first.orders()) == 3
        assert not [request for request in first.requests() if "/chall" in request.path]
        notice = f"Lineage {NAME} moves from {first.directory_url} to {second.directory_url}."
        assert notice in one_line("\n".join(said).replace("|", " "))
        assert len(certbot.account_ids()) == 2
        assert_stored(certbot, NAME, second)

        issued, renewed, _, in_use, _ = (one.certificate for one in demo.certificates)
        certbot.write_ini(first.account_section())
        archived = certbot.config_dir / "archive" / NAME / "cert2.pem"
        certbot.run("revoke", "-n", "--cert-path", str(archived), "--garr-tcs", "--no-delete-after-revoke")
        assert first.is_revoked(renewed)
        assert not first.is_revoked(issued)
        assert certbot.certificate(NAME) == in_use
        assert len(certbot.account_ids()) == 2


@pytest.fixture(scope="module")
def journeys(request, tmp_path_factory):
    """Start all the journeys that are asked for: ACME clients sleep a lot, so several run at once."""
    need_practice_ca()
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    asked = [item.callspec.params["entry"] for item in items]
    pool = ThreadPoolExecutor(3)
    try:
        yield {
            entry: pool.submit(run_journey, entry, tmp_path_factory.mktemp(entry.name))
            for entry in asked
            if entry in BUILT
        }
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("entry", MATRIX, ids=lambda entry: entry.name)
def test_the_journey_on_each_certbot(entry, journeys):
    """Issue, deploy, renew, fail to deploy, move to another CA, solve a challenge, and revoke in both ways."""
    need_built(entry)
    asked = subprocess.run([entry.executable, "--version"], capture_output=True, text=True, check=True)
    assert entry.certbot in {"newest", (asked.stdout or asked.stderr).split()[-1]}
    journeys[entry].result()


def test_ci_runs_several_certbots():
    """In CI the journey runs on two versions of Certbot at least, one of them the oldest."""
    versions = {entry.certbot for entry in BUILT}
    if not os.environ.get("CI"):
        pytest.skip(f"CI is not set; built here: {', '.join(sorted(versions)) or 'none'}")
    assert len(versions) >= 2
    assert "2.1.0" in versions
