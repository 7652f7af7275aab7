"""Trials reach no CA that would issue for real, unless the user says so."""

from __future__ import annotations

import pytest
from support.journeys import NAME, conf, key_ids, one_line, orders, params, since_now

pytestmark = pytest.mark.integration

REFUSED = "has no staging directory"
ALLOW = "--garr-tcs-allow-live-dry-run"


def staging_account(live, staging):
    """Return an [account] whose trials go to ``staging``."""
    return live.account_section() + (
        f"staging-directory-url = {staging.directory_url}\n"
        f"staging-eab-kid = {staging.eab_kid}\n"
        f"staging-eab-hmac-key = {staging.eab_hmac_key}\n"
    )


def test_without_a_staging_directory_no_trial_reaches_the_ca(certbot, practice_ca):
    """Dry runs, --staging and reconfigure are refused before the CA hears of them; then as the user allows."""
    certbot.use(practice_ca)
    certbot.certonly(NAME)
    stored, certificate = conf(certbot, NAME), certbot.live(NAME).read_bytes()
    asked = since_now(practice_ca)
    for trial in (
        ("renew", "--dry-run"),
        ("certonly", "-n", "--garr-tcs", "--dry-run", "-d", NAME),
        ("certonly", "-n", "--garr-tcs", "--staging", "-d", "staging.practice.example"),
    ):
        refused = certbot.run(*trial, check=False)
        assert refused.returncode == 1, trial
        said = one_line(refused.output)
        assert practice_ca.directory_url in said
        assert REFUSED in said
        assert "staging-directory-url" in said
        assert ALLOW in said
        assert orders(asked()) == []
        assert [request for request in asked() if request.method == "POST"] == []
    refused = certbot.run("reconfigure", "-n", "--cert-name", NAME, "--deploy-hook", "true", check=False)
    assert refused.returncode == 1
    assert "reconfigure makes a dry run" in one_line(refused.output)
    assert ALLOW in refused.output
    assert [request for request in asked() if request.method == "POST"] == []
    assert conf(certbot, NAME) == stored
    assert certbot.live(NAME).read_bytes() == certificate
    assert not (certbot.config_dir / "renewal" / "staging.practice.example.conf").exists()


def test_a_live_dry_run_is_live_and_says_so(certbot, practice_ca):
    """What the user allows happens: the CA issues, and the lineage stays as it was."""
    certbot.use(practice_ca)
    certbot.certonly(NAME)
    stored, certificate = conf(certbot, NAME), certbot.live(NAME).read_bytes()
    asked, issued = since_now(practice_ca), len(practice_ca.issued())
    allowed = certbot.run("renew", "--dry-run", ALLOW)
    assert "This dry run is live, as you allowed" in one_line(allowed.output)
    assert orders(asked())
    assert "deactivated" in [request.payload.get("status") for request in asked()]
    assert len(practice_ca.issued()) == issued + 1
    assert conf(certbot, NAME) == stored
    assert certbot.live(NAME).read_bytes() == certificate

    changed = certbot.run("reconfigure", "-n", "--cert-name", NAME, "--deploy-hook", "true", ALLOW)
    assert "This dry run is live, as you allowed" in one_line(changed.output)
    assert params(certbot, NAME)["renew_hook"] == "true"
    assert params(certbot, NAME)["server"] == practice_ca.directory_url
    assert "tcs_allow" not in conf(certbot, NAME)
    assert certbot.live(NAME).read_bytes() == certificate


def test_trials_go_to_the_staging_directory(certbot, due_cas):
    """With a staging directory trials go there, with its EAB; the lineage keeps its CA and its certificate."""
    live, staging = due_cas
    certbot.trust(live, staging)
    certbot.write_ini(staging_account(live, staging))
    certbot.certonly(NAME)
    stored, certificate = conf(certbot, NAME), certbot.live(NAME).read_bytes()
    at_live, at_staging = since_now(live), since_now(staging)

    # A dry run drops the e-mail address, and this CA registers nobody without.
    early = certbot.run("renew", "--dry-run", check=False)
    assert early.returncode == 1
    assert "certbot register --staging --garr-tcs" in one_line(early.output)
    assert certbot.run("register", "-n", "--staging", "--garr-tcs").returncode == 0
    assert key_ids(at_staging())[-1] == staging.eab_kid

    certbot.run("renew", "--dry-run")
    assert orders(at_staging())
    assert [request for request in at_live() if request.method == "POST"] == []
    assert conf(certbot, NAME) == stored
    assert certbot.live(NAME).read_bytes() == certificate

    certbot.run("certonly", "-n", "--garr-tcs", "--staging", "-d", "trial.practice.example")
    assert certbot.certificate("trial.practice.example") in staging.issued()
    assert set(key_ids(at_staging())) == {staging.eab_kid}
    assert [request for request in at_live() if request.method == "POST"] == []
    assert certbot.files_with(staging.eab_hmac_key) == [certbot.ini]

    # Reconfigure would store the staging server: it stays refused, and goes to the lineage's own CA where allowed.
    before = len(at_staging())
    change = ("reconfigure", "-n", "--cert-name", NAME, "--deploy-hook", "true")
    assert certbot.run(*change, check=False).returncode == 1
    assert conf(certbot, NAME) == stored
    certbot.run(*change, ALLOW)
    assert params(certbot, NAME)["renew_hook"] == "true"
    assert params(certbot, NAME)["server"] == live.directory_url
    assert len(at_staging()) == before
