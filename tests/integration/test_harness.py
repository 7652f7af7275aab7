"""The harness sees what it says it sees."""

from __future__ import annotations

import stat

import pytest
from support.needs import need, need_program

pytestmark = pytest.mark.integration

NAME = "www.practice.example"


def test_a_missing_server_fails_in_ci_and_skips_elsewhere(monkeypatch):
    """What is missing is named in both cases, and what is there goes on."""
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-server is missing"):
        need_program("no-such-server")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no-such-server is missing"):
        need_program("no-such-server")
    need(present=True, what="nothing")


def test_command_lines_are_sampled_while_certbot_runs(certbot, practice_ca):
    """A word of certbot's own command line is seen: so a secret there would be, too."""
    certbot.use(practice_ca)
    result, seen = certbot.watched("certonly", "-n", "-a", "garr-tcs", "-d", NAME)
    assert result.returncode == 0, result.output
    assert f"-a garr-tcs -d {NAME}" in seen
    assert practice_ca.eab_hmac_key not in seen


def test_what_certbot_keeps_can_be_read(certbot, practice_ca):
    """Certificate, renewal configuration, account, and the one file that holds the secret."""
    certbot.use(practice_ca, "# a comment\n")
    certbot.certonly(NAME)
    assert certbot.certificate(NAME) in practice_ca.issued()
    assert certbot.live(NAME, "privkey").exists()
    assert certbot.renewal(NAME)["renewalparams"]["server"] == practice_ca.directory_url
    assert len(certbot.account_ids()) == 1
    assert certbot.files_with(practice_ca.eab_hmac_key) == [certbot.ini]
    assert stat.S_IMODE(certbot.ini.stat().st_mode) == 0o600
    assert "garr-tcs" in certbot.log_tail(1000)


def test_ini_files_get_the_mode_that_a_test_wants(certbot):
    """A loose mode can be set on purpose."""
    assert stat.S_IMODE(certbot.write_ini("[account]\n", mode=0o644).stat().st_mode) == 0o644
