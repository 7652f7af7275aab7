"""nginx serves what its target says, or goes on as before."""

from __future__ import annotations

import os
import signal
import stat
import subprocess

import pytest
from support import tracing
from support.daemons import LINEAGE, Site, foreground
from support.folders import open_folder
from support.needs import need_program, need_tracing

from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.sandbox.settings import free_port

pytestmark = pytest.mark.integration

CONFIG = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port} ssl;
    server_name www.example.it;
    ssl_certificate {cert}; ssl_certificate_key {key};
  }}
  include {folder}/extra.conf;
}}
"""


@pytest.fixture
def site():
    nginx = need_program("nginx")
    with open_folder() as folder:
        site = Site(folder, free_port())
        cert, key = site.tls / "www.pem", site.tls / "www.key"
        config = folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=folder, port=site.port, cert=cert, key=key))
        (folder / "extra.conf").write_text("")
        command = f"{nginx} -q -c {config} -e {folder}/error.log"
        site.section(fullchain=cert, key=key, test=f"{command} -t", reload=f"{command} -s reload", probe_timeout=5)
        site.write_first()
        with foreground(*command.split(), port=site.port, log=folder / "log") as process:
            site.nginx = process
            yield site


def seen_by_openssl(site):
    asked = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{site.port}", "-servername", LINEAGE],
        input=b"",
        capture_output=True,
        check=False,
        timeout=20,
    )
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"], input=asked.stdout, capture_output=True, check=True
    )
    return shown.stdout.decode().partition("=")[2].strip().replace(":", "").lower()


def test_each_renewal_is_served(site):
    """Openssl s_client sees every new certificate, with keys of both kinds, and modes are as asked."""
    for kind in ("ec", "rsa"):
        new = site.renew(kind=kind)
        site.deploy()
        assert seen_by_openssl(site) == new.fingerprint
    assert stat.S_IMODE((site.tls / "www.key").stat().st_mode) == 0o600
    assert site.entry().outcome == "deployed"


def test_a_config_broken_by_hand_keeps_the_old_certificate(site):
    """Deploying is refused until the config is corrected; then the plain timer deploys."""
    site.renew()
    site.deploy()
    old = site.served()
    new = site.renew()
    (site.folder / "extra.conf").write_text("no such directive;\n")
    for failures in (1, 2):
        with pytest.raises(
            DeployError, match=r"\[deploy site\]: .*unknown directive.*it failed before this deployment, too; the old"
        ):
            site.process().converge(LINEAGE)
        assert site.served() == old
        assert site.entry().failures == failures
    (site.folder / "extra.conf").write_text("")
    site.process().converge(LINEAGE)
    assert site.served() == new.fingerprint


def test_another_vhosts_certificate_is_found(site):
    """The files are right and the port serves something else: put back, and what is served is said."""
    old = site.served()
    site.renew()
    other = site.folder / "other"
    other.mkdir()
    for name in ("www.pem", "www.key"):
        (other / name).write_bytes((site.tls / name).read_bytes())
    config = site.folder / "nginx.conf"
    config.write_text(config.read_text().replace(str(site.tls), str(other)))
    with pytest.raises(
        DeployError, match=r"serves another certificate for the same names \(serial .*, and not the one that"
    ):
        site.deploy()
    assert site.served() == old
    assert (site.tls / "www.pem").read_bytes() == (other / "www.pem").read_bytes()


def test_a_reload_that_kills_the_service_is_found(site):
    """Nobody listens afterwards: the error says so, and the old files are there for whoever starts it again."""
    old = (site.tls / "www.pem").read_bytes()
    site.renew()
    site.section(reload=f"kill -QUIT {site.nginx.pid}", probe_timeout=2)
    with pytest.raises(
        DeployError, match=r"no connection at 127.0.0.1:\d+: Connection refused .*the old files are back"
    ):
        site.deploy()
    assert (site.tls / "www.pem").read_bytes() == old


def test_a_reload_that_hangs_is_ended_and_undone(site):
    """The time limit holds for the service's commands, and the old certificate stays."""
    old = site.served()
    site.renew()
    site.section(reload="sleep 60", command_timeout=0.5)
    with pytest.raises(
        DeployError, match=r"sleep 60 did not end within 0.5 s; the old files are back, but the .* in the same way"
    ):
        site.deploy()
    assert site.served() == old
    assert site.entry().reload_pending


def test_a_deployment_killed_between_files_and_reload_is_mended(site):
    """The next run puts back, deploys again, and nginx serves the lineage's certificate."""
    old = site.served()
    new = site.renew()
    pid = tracing.fork()
    if pid == 0:
        try:
            site.process().renew_deploy(LINEAGE)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (site.tls / "www.key").read_bytes() == new.key_pem
    assert site.served() == old
    site.process().converge(LINEAGE)
    assert site.served() == new.fingerprint
    assert "put back the old files of [deploy site]: a deployment was interrupted" in site.told


def test_a_deployment_killed_anywhere_leaves_nginx_serving(site):
    """Sampled kills, its commands included: the test stays green, and the next run serves the lineage's."""
    need_tracing()
    killed = 0
    for boundary in range(1, 10_000, 17):
        new = site.renew()
        if not tracing.run_until(boundary, lambda: site.process().converge(LINEAGE)):
            break
        killed += 1
        site.process().recover()
        (test,) = site.target.tests
        subprocess.run(test, check=True)
        site.process().converge(LINEAGE)
        assert site.served() == new.fingerprint
    assert killed >= 10


def test_rollback_serves_the_former_certificate(site):
    """Certbot rollback and its restart bring it back, and the timer leaves it."""
    former = site.renew()
    site.deploy()
    site.renew()
    site.deploy()
    process = site.process()
    process.restore(1)
    process.restart()
    assert site.served() == former.fingerprint
    site.process().converge(LINEAGE)
    assert site.served() == former.fingerprint
    with pytest.raises(DeployError, match="undone already"):
        site.process().restore(1)
