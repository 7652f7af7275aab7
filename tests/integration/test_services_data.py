"""OpenLDAP, PostgreSQL and Java read what their target says."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from support.daemons import LINEAGE, Site, foreground, wait_for_port
from support.folders import open_folder
from support.needs import need_program, need_root
from support.pki import key_pem_of

from certbot_garr_tcs.deploy.settings import read_target
from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.sandbox.settings import free_port
from certbot_garr_tcs.section_reader import Section

pytestmark = pytest.mark.integration

SLAPD = """
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
TLSCertificateFile {cert}
TLSCertificateKeyFile {key}
"""

RESTART_SLAPD = """#!/bin/sh
# what systemctl restart slapd does: slapd reads its certificate once, at start
if test -f {folder}/slapd.pid; then
  pid=$(cat {folder}/slapd.pid)
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
fi
exec {program} -u openldap -g openldap -f {config} -h ldap://127.0.0.1:{port}/
"""


def end(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.05)


@contextlib.contextmanager
def slapd():
    need_root()
    program = need_program("slapd")
    with open_folder() as folder:
        site = Site(folder, free_port())
        cert, key = site.tls / "slapd.crt", site.tls / "slapd.key"
        run = folder / "run"
        run.mkdir()
        os.chown(run, pwd.getpwnam("openldap").pw_uid, -1)
        config, restart = folder / "slapd.conf", folder / "restart"
        config.write_text(SLAPD.format(folder=run, cert=cert, key=key))
        restart.write_text(RESTART_SLAPD.format(folder=run, program=program, config=config, port=site.port))
        restart.chmod(0o755)
        site.section(fullchain=cert, key=key, owner="openldap:openldap", reload=restart, probe_starttls="ldap")
        site.write_first()
        subprocess.run([restart], check=True)
        wait_for_port(site.port)
        try:
            yield site
        finally:
            end(int((run / "slapd.pid").read_text()))


@contextlib.contextmanager
def postgresql():
    need_root()
    places = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    initdb, postgres, control = (need_program(name, *places) for name in ("initdb", "postgres", "pg_ctl"))
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    with open_folder() as folder:
        site = Site(folder, free_port())
        data = folder / "data"
        data.mkdir(mode=0o700)
        os.chown(data, pwd.getpwnam("postgres").pw_uid, -1)
        made = [*as_postgres, initdb, "-D", data, "--no-sync", "-A", "trust"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder)
        cert, key = site.tls / "server.crt", site.tls / "server.key"
        site.section(
            fullchain=cert,
            key=key,
            owner="postgres:postgres",
            reload=f"{' '.join(as_postgres)} {control} reload -D {data}",
            probe_starttls="postgres",
        )
        site.write_first()
        options = {
            "port": site.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": cert,
            "ssl_key_file": key,
            "fsync": "off",
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with foreground(*as_postgres, postgres, "-D", data, *flags, port=site.port, log=folder / "log"):
            yield site


@pytest.mark.parametrize("service", [slapd, postgresql])
def test_each_renewal_is_served_and_keys_belong_to_the_service(service):
    """Two renewals are seen behind STARTTLS; the key has the section's owner and is closed to all others."""
    with service() as site:
        for kind in ("rsa", "ec"):
            new = site.renew(kind=kind)
            site.deploy()
            assert site.served() == new.fingerprint
        status = Path(site.keys["key"]).stat()
        owner = f"{pwd.getpwuid(status.st_uid).pw_name}:{grp.getgrgid(status.st_gid).gr_name}"
        assert (owner, stat.S_IMODE(status.st_mode)) == (site.keys["owner"], 0o600)


def test_a_server_that_cannot_read_the_key_gets_the_old_one_back():
    """PostgreSQL refuses a key of somebody else and goes on with the old one; the probe notices."""
    with postgresql() as site:
        old = site.served()
        key = Path(site.keys["key"])
        was = key.read_bytes()
        site.renew()
        site.section(owner="nobody", probe_timeout=2)
        with pytest.raises(DeployError, match=r"and not the one that is deployed .*the old files are back"):
            site.deploy()
        assert site.served() == old
        assert key.read_bytes() == was
        assert pwd.getpwuid(key.stat().st_uid).pw_name == "postgres"


@pytest.mark.parametrize("legacy", ["no", "yes"])
def test_keytool_reads_the_keystore(legacy):
    """Java finds the key under its alias with the whole chain, before and after a renewal."""
    keytool = need_program("keytool")
    with open_folder() as folder:
        site = Site(folder, free_port())
        password = folder / "password"
        password.write_text("changeit\n")
        password.chmod(0o600)
        store = site.tls / "keystore.p12"
        site.section(pkcs12=store, pkcs12_password_file=password, pkcs12_alias="jetty", pkcs12_legacy=legacy)
        for _ in range(2):
            new = site.write_first()
            shown = subprocess.run(
                [keytool, "-list", "-v", "-keystore", store, "-storepass:file", password],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            assert "Keystore type: PKCS12" in shown
            assert "Alias name: jetty" in shown
            assert "Entry type: PrivateKeyEntry" in shown
            assert "Certificate chain length: 2" in shown
            assert new.fingerprint in shown.replace(":", "").lower()
            assert stat.S_IMODE(store.stat().st_mode) == 0o600


def test_grid_hosts_get_their_modes(tmp_path):
    """The preset for grid hosts writes 0644 and 0400, where /etc/grid-security would be."""
    need_root()
    preset, problems = read_target(
        Section("deploy", "grid", 1, {"preset": "grid-host", "lineage": LINEAGE}), tmp_path / "ini"
    )
    assert problems == []
    with open_folder() as folder:
        site = Site(folder, free_port())
        for output in preset.outputs:
            site.keys[output.kind] = str(site.tls / output.path.name)
        site.section(mode="0644", key_mode=f"{preset.outputs[1].mode:04o}", key_format="traditional")
        new = site.write_first()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in site.tls.iterdir()}
        assert modes == {"hostcert.pem": 0o644, "hostkey.pem": 0o400}
        key = (site.tls / "hostkey.pem").read_bytes()
        assert key.startswith(b"-----BEGIN EC PRIVATE KEY-----")
        assert key_pem_of(load_pem_private_key(key, None)) == new.key_pem
