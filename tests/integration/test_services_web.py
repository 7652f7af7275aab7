"""HAProxy and Apache serve what their target says, after each renewal."""

from __future__ import annotations

import contextlib

import pytest
from support.daemons import Site, foreground
from support.folders import open_folder
from support.needs import need_program

from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.sandbox.settings import free_port

pytestmark = pytest.mark.integration

HAPROXY = """
global
  maxconn 50
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend tls
  bind 127.0.0.1:{port} ssl crt {folder}/tls/
  http-request return status 200
"""

APACHE = """
ServerRoot {folder}
ServerName www.example.it
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
DefaultRuntimeDir {folder}
Mutex file:{folder}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule socache_shmcb_module {modules}/mod_socache_shmcb.so
LoadModule ssl_module {modules}/mod_ssl.so
StartServers 1
Listen 127.0.0.1:{port}
<VirtualHost 127.0.0.1:{port}>
  SSLEngine on
  SSLCertificateFile {cert}
  SSLCertificateKeyFile {key}
</VirtualHost>
"""


@contextlib.contextmanager
def haproxy():
    program = need_program("haproxy")
    with open_folder() as folder:
        site = Site(folder, free_port())
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(folder=folder, port=site.port))
        site.section(
            combined=site.tls / "www.pem", combined_order="cert chain key", test=f"{program} -c -q -f {config}"
        )
        site.write_first()
        with foreground(program, "-W", "-db", "-f", config, port=site.port, log=folder / "log") as master:
            site.section(reload=f"kill -USR2 {master.pid}")
            yield site


@contextlib.contextmanager
def apache():
    program = need_program("apache2")
    with open_folder() as folder:
        site = Site(folder, free_port())
        cert, key = site.tls / "www.crt", site.tls / "www.key"
        config = folder / "apache.conf"
        modules = "/usr/lib/apache2/modules"
        config.write_text(APACHE.format(folder=folder, port=site.port, modules=modules, cert=cert, key=key))
        command = f"{program} -f {config}"
        site.section(fullchain=cert, key=key, key_mode="0400", test=f"{command} -t", reload=f"{command} -k graceful")
        site.write_first()
        with foreground(*command.split(), "-DFOREGROUND", port=site.port, log=folder / "log"):
            yield site


@pytest.mark.parametrize("service", [haproxy, apache])
def test_each_renewal_is_served_and_a_broken_config_stops_it(service):
    """Two renewals are seen on the wire; a broken config keeps the second; corrected, the third arrives."""
    with service() as site:
        for kind in ("rsa", "ec"):
            new = site.renew(kind=kind)
            site.deploy()
            assert site.served() == new.fingerprint
        config = next(path for path in site.folder.iterdir() if path.suffix in (".cfg", ".conf"))
        good = config.read_text()
        config.write_text(good + "\nno-such-directive\n")
        third = site.renew()
        with pytest.raises(DeployError, match=r"it failed before this deployment, too; the old files are back"):
            site.process().converge("www.example.it")
        assert site.served() == new.fingerprint
        config.write_text(good)
        site.process().converge("www.example.it")
        assert site.served() == third.fingerprint
        assert [path.name for path in site.tls.iterdir() if path.name.startswith(".")] == []
