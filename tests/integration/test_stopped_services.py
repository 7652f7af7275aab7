"""Certbot deploys to services that systemd has not started: their files stay, and nobody starts them unasked."""

from __future__ import annotations

import os
import subprocess

import pytest
from integration.test_installer import NAME, Nginx, current
from integration.test_services_nginx import CONFIG
from support import units
from support.folders import open_folder

from certbot_garr_tcs.sandbox.settings import free_port

pytestmark = pytest.mark.integration


class Managed(Nginx):
    """An nginx that a ``systemctl`` in PATH starts and stops."""

    def __init__(self, folder):
        super().__init__(folder, free_port())
        (folder / "nginx.conf").write_text(
            CONFIG.format(folder=folder, port=self.port, cert=self.cert, key=self.key).replace("daemon off;", "")
        )
        self.extra.write_text("")
        self.bin = folder / "bin"
        units.install(self.bin, nginx=[*self.command.split(), "-g", "daemon off;"])
        self.env = {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}

    def systemctl(self, *words, check=True):
        return subprocess.run(
            [self.bin / "systemctl", *words], check=check, capture_output=True, text=True, timeout=30
        ).stdout

    @property
    def is_running(self):
        return self.systemctl("is-active", "nginx", check=False) == "active\n"

    def section(self, lineage=NAME, **more):
        return super().section(lineage, **{"reload": "systemctl try-reload-or-restart nginx", **more})


@pytest.fixture
def nginx():
    with open_folder() as folder:
        nginx = Managed(folder)
        try:
            yield nginx
        finally:
            nginx.systemctl("stop", "nginx")


def test_a_server_that_is_down_for_want_of_its_certificate(practice_ca, certbot, nginx):
    """It cannot start without; the first run puts the files there, and says so; then it can."""
    nginx.systemctl("start", "nginx", check=False)
    assert nginx.systemctl("is-active", "nginx", check=False) == "failed\n"
    certbot.use(practice_ca, nginx.section(reload="systemctl reload nginx"))
    result = certbot.run("run", "-n", "--garr-tcs", "-d", NAME, env=nginx.env)
    assert "nginx is not running; it reads the files when it starts" in " ".join(result.output.split())
    nginx.systemctl("start", "nginx")
    assert nginx.served() == current(certbot)
    certbot.run("renew", "--force-renewal", env=nginx.env)
    assert nginx.served() == current(certbot)


def test_hooks_that_stop_and_start_the_server(practice_ca, certbot, nginx):
    """The server is stopped while we deploy: exit 0, and it serves the new certificate afterwards."""
    certbot.use(practice_ca, nginx.section())
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME, env=nginx.env)
    nginx.systemctl("start", "nginx")
    hooks = ("--pre-hook", "systemctl stop nginx", "--post-hook", "systemctl start nginx")
    result = certbot.run("renew", "--force-renewal", *hooks, env=nginx.env)
    assert "nginx is not running" in " ".join(result.output.split())
    assert nginx.is_running
    assert nginx.served() == current(certbot)


def test_a_disabled_server_is_not_started(practice_ca, certbot, nginx):
    """Whoever stopped it had a reason."""
    certbot.use(practice_ca, nginx.section(reload="systemctl restart nginx"))
    certbot.run("run", "-n", "--garr-tcs", "-d", NAME, env=nginx.env)
    certbot.run("renew", "--force-renewal", env=nginx.env)
    assert not nginx.is_running
    assert nginx.cert.read_bytes() == certbot.live(NAME, "fullchain").read_bytes()
    nginx.systemctl("start", "nginx")
    certbot.run("renew", "--force-renewal", env=nginx.env)
    assert nginx.served() == current(certbot)


def test_a_reload_of_another_kind_says_what_helps(practice_ca, certbot, nginx):
    """`nginx -s reload` without a server is an error; the hint names what leaves a stopped service alone."""
    certbot.use(practice_ca, nginx.section(reload=f"{nginx.command} -s reload"))
    result = certbot.run("run", "-n", "--garr-tcs", "-d", NAME, check=False)
    assert result.returncode == 1
    assert result.output.count("nginx.pid") == 1
    assert "reload = systemctl try-reload-or-restart UNIT" in " ".join(result.output.split())
    assert not nginx.cert.exists()
