"""Start real services on free loopback ports, below a folder of their own, and end them by their handle."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time

from certbot_garr_tcs.deploy.certificate import fingerprint_of
from certbot_garr_tcs.deploy.environment import Environment
from certbot_garr_tcs.deploy.installer import Installer
from certbot_garr_tcs.deploy.records import DeploymentRecords
from certbot_garr_tcs.deploy.settings import read_target
from certbot_garr_tcs.deploy.tls_client import fetch_certificate
from certbot_garr_tcs.section_reader import Section
from certbot_garr_tcs.storage import StateFolder
from support.pki import files_of, material

LINEAGE = "www.example.it"


def wait_for_port(port, process=None, seconds=20, address="127.0.0.1"):
    """Return when somebody listens."""
    deadline = time.monotonic() + seconds
    with socket.socket() as first:
        listening = first.connect_ex((address, port)) == 0
    while not listening:
        ended = process is not None and process.poll() is not None
        assert not ended, f"the service of port {port} has ended"
        assert time.monotonic() < deadline, f"nobody listens on port {port}"
        time.sleep(0.05)
        with socket.socket() as sock:
            listening = sock.connect_ex((address, port)) == 0


@contextlib.contextmanager
def foreground(*command, port, log, env=None, address="127.0.0.1"):
    """Run a service in the foreground as long as the block lasts."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
        )
    try:
        wait_for_port(port, process, address=address)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Site:
    """One service with one target: what a lineage's renewal does to it."""

    def __init__(self, folder, port):
        """Keep certificates in ``folder/tls``, state in ``folder/work``."""
        self.folder, self.port = folder, port
        self.tls = folder / "tls"
        self.tls.mkdir(mode=0o755)
        self.keys = {"lineage": LINEAGE, "probe": f"127.0.0.1:{port}", "probe-timeout": "10"}
        self.lineage = None
        self.told = []

    @property
    def state(self):
        """Return the state folder."""
        return StateFolder(self.folder / "work")

    @property
    def target(self):
        """Return the target of the section, as config reads it."""
        target, problems = read_target(Section("deploy", "site", 1, self.keys), self.folder / "garr-tcs.ini")
        assert problems == []
        return target

    def section(self, **keys):
        """Add keys to the section."""
        self.keys.update({key.replace("_", "-"): str(value) for key, value in keys.items()})
        return self

    def process(self):
        """Return an Installer with the real environment."""
        return Installer(self.state, [self.target], lambda _: files_of(self.lineage), Environment(self.told.append))

    def renew(self, **how):
        """Put a fresh certificate into the lineage."""
        self.lineage = material(LINEAGE, **how)
        return self.lineage

    def write_first(self):
        """Write a first certificate as the service needs it to start: by deploying without commands."""
        first = self.renew()
        kept = dict(self.keys)
        for key in ("test", "reload", "probe", "probe-timeout", "probe-starttls", "command-timeout"):
            self.keys.pop(key, None)
        self.process().converge(LINEAGE)
        self.keys = kept
        return first

    def deploy(self):
        """Do as renew and its doors do."""
        process = self.process()
        process.renew_deploy(LINEAGE)
        process.restart()

    def served(self):
        """Return the fingerprint of what the port serves, asked from scratch."""
        return fingerprint_of(fetch_certificate(self.target.probes[0], LINEAGE, 10))

    def entry(self):
        """Return the ledger's entry."""
        return DeploymentRecords(self.state).read(self.target)
