"""From the portal's strings to a certificate, as somebody does who reads nothing but the screen."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess

import pytest
from support.certbot_runner import sampled_command_lines
from support.matrix import MATRIX
from support.needs import need_built

from certbot_garr_tcs.sandbox.settings import EMAIL

pytestmark = pytest.mark.integration

NAME = "www.practice.example"
ENTRIES = [
    entry
    for entry in MATRIX
    if entry.name in {"certbot-2.1.0-python3.9", "certbot-4.0.0-python3.13", "certbot-newest-python3.13"}
]


@pytest.fixture(params=ENTRIES, ids=lambda entry: entry.name)
def typed(request, make_certbot):
    """Bind the certbot and the command of one environment to folders of their own."""
    need_built(request.param)
    certbot = make_certbot(request.param.executable)

    def run(*arguments, stdin="", expected=0, trusts=True):
        environment = {**certbot.environment(), "LANG": "C"}
        if not trusts:
            del environment["REQUESTS_CA_BUNDLE"]
        result = subprocess.run(
            [request.param.folder / "bin" / "python", "-m", "certbot_garr_tcs.command", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert result.returncode == expected, result.stdout + result.stderr
        return result.stdout + result.stderr

    run.certbot = certbot
    run.folders = certbot.folder_options
    return run


def test_init_run_status(typed, make_practice_ca, tmp_path):
    """``init``, the command that it prints, ``status``; then a renewal that fails. The secret is in the file alone."""
    ca, certbot, shown = make_practice_ca(), typed.certbot, []
    portal = f"ACME URL: {ca.directory_url}\nKey ID: {ca.eab_kid}\nHMAC Key: {ca.eab_hmac_key}\n"
    init = ("init", "--from", "-", "--email", EMAIL, "--agree-tos", "-n", *typed.folders)
    with sampled_command_lines() as command_lines:
        shown.append(typed(*init, stdin=portal, expected=1, trusts=False))
        assert "does not trust the TLS certificate of 127.0.0.1" in shown[-1]
        assert not certbot.ini.exists()

        certbot.trust(ca)
        shown.append(typed(*init, stdin=portal))
        assert stat.S_IMODE(certbot.ini.stat().st_mode) == 0o600
        assert {request.method for request in ca.requests()} <= {"GET"}  # nothing was registered
        shown.append(typed("status", *typed.folders))
        assert "No certificates" in shown[-1]

        (line,) = [each.strip() for each in shown[1].splitlines() if each.startswith("    certbot ")]
        _, verb, *rest = shlex.split(line.replace("www.example.it", NAME))
        copy = tmp_path / "copy.pem"
        with certbot.ini.open("a", encoding="utf-8") as file:
            file.write(f"[deploy copy]\nlineage = {NAME}\nfullchain = {copy}\nreload = true\n")
        assert rest[-6:] == list(typed.folders)
        certbot.run(verb, "-n", *rest[:-6])
        shown.append(typed("status", "--json", *typed.folders))
        document = json.loads(shown[-1])
        shown.append(typed("status", *typed.folders))
        shown.append(typed("status", "--nagios", *typed.folders))

    (lineage,) = document["lineages"]
    assert (lineage["name"], lineage["names"], lineage["ca"]) == (NAME, [NAME], "127.0.0.1")
    (deployment,) = lineage["deployments"]
    assert (deployment["target"], deployment["outcome"], deployment["current"]) == ("copy", "deployed", True)
    assert document["findings"] == []
    assert "copy since 20" in shown[-2]
    assert shown[-1].startswith("CERTIFICATES OK - 1 certificates, www.practice.example ends first, in 90 days | ")

    ca.stop()
    certbot.run("renew", "--force-renewal", check=False)
    shown.append(typed("status", "--json", *typed.folders, expected=1))
    document = json.loads(shown[-1])
    assert document["certbot"]["last_renew_run"] >= lineage["valid_from"]
    assert document["certbot"]["last_renew_success"] is None
    assert document["lineages"][0]["last_failure"]["step"] == "renewal"
    assert "Connection refused" in document["lineages"][0]["last_failure"]["error"]
    assert typed("status", "--nagios", *typed.folders, expected=1).startswith("CERTIFICATES WARNING - ")

    assert certbot.files_with(ca.eab_hmac_key) == [certbot.ini]
    assert ca.eab_hmac_key not in "".join(shown) + "".join(command_lines)
