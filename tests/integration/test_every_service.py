"""One certificate from the practice CA, deployed by Certbot to every service at once, then renewed."""

from __future__ import annotations

import contextlib
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes
from integration.test_services_data import postgresql, slapd
from integration.test_services_mail import dovecot, postfix
from integration.test_services_presets import freeradius, mariadb, mosquitto, stunnel, vsftpd
from integration.test_services_web import apache, haproxy
from support.needs import need_program, need_root

pytestmark = pytest.mark.integration

NAME = "www.practice.example"
PASSWORD = "change of cipher"


def section(name, keys):
    """Write a [deploy] section."""
    return f"\n[deploy {name}]\n" + "".join(f"{key} = {value}\n" for key, value in {**keys, "lineage": NAME}.items())


def keytool(store, password):
    """Return what Java reads of a keystore."""
    program = need_program("keytool")
    asked = [program, "-list", "-v", "-keystore", str(store), "-storetype", "PKCS12", "-storepass", password]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def test_one_certificate_for_every_service(practice_ca, certbot, tmp_path):
    """Each serves, over the network, what Certbot got: after `run`, and after the renewal; files are as asked."""
    need_root()
    store, password, grid = tmp_path / "keystore.p12", tmp_path / "password", tmp_path / "grid-security"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    grid.mkdir(mode=0o755)
    files = section("jetty", {"pkcs12": store, "pkcs12-password-file": password, "pkcs12-alias": "jetty"})
    files += section("grid", {"cert": grid / "hostcert.pem", "key": grid / "hostkey.pem", "key-mode": "0400"})
    with contextlib.ExitStack() as running:
        sites = {
            "haproxy": running.enter_context(haproxy()),
            "apache": running.enter_context(apache()),
            "postfix": running.enter_context(postfix()),
            "dovecot": running.enter_context(dovecot(starttls=True)),
            "slapd": running.enter_context(slapd()),
            "postgresql": running.enter_context(postgresql()),
        }
        for service in (freeradius, mariadb, mosquitto, stunnel, vsftpd):
            sites[service.__name__] = running.enter_context(service())
        certbot.use(practice_ca, "".join(section(name, site.keys) for name, site in sites.items()) + files)
        for command in (("run", "-n", "--garr-tcs", "-d", NAME), ("renew", "--force-renewal")):
            certbot.run(*command)
            new = certbot.certificate(NAME).fingerprint(hashes.SHA256())
            assert {name: site.served() for name, site in sites.items()} == dict.fromkeys(sites, new.hex())
            assert ":".join(f"{byte:02X}" for byte in new) in keytool(store, PASSWORD)
            assert (grid / "hostcert.pem").read_bytes() == certbot.live(NAME).read_bytes()
            assert stat.S_IMODE((grid / "hostkey.pem").stat().st_mode) == 0o400
            assert (grid / "hostkey.pem").stat().st_uid == 0
        before = {path: path.stat().st_mtime_ns for path in (store, *grid.iterdir())}
        certbot.run("renew")
        assert {path: path.stat().st_mtime_ns for path in before} == before
