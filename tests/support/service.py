"""A service in a box: it tests, reads and serves the files of a target as real ones do, without a network."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from certbot_garr_tcs.deploy.certificate import load_certificates
from certbot_garr_tcs.deploy.commands import CommandFailedError
from certbot_garr_tcs.deploy.environment import Environment
from certbot_garr_tcs.deploy.files import Folder
from certbot_garr_tcs.deploy.installer import Installer
from certbot_garr_tcs.deploy.settings import Output, Probe, Target
from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.storage import StateFolder
from support.pki import NOW_SECONDS, files_of
from support.units import Systemctl


def file_at(path):
    """Return the regular file at a path, or None."""
    with Folder.private(path.parent) as folder:
        return folder.read(path.name)


class Service:
    """Hold what one service has read; its commands are ``test NAME`` and ``reload NAME``."""

    def __init__(self, name, folder):
        """Serve nothing yet."""
        self.name = name
        self.cert, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        self._memory = folder.parent / f"{name}.served"
        self.config_red = False
        self.reload_red = 0
        self.deaf = False
        self.calls = []

    @property
    def served(self):
        """Return the leaf that was read last; it outlives the process that told the service to read."""
        return self._memory.read_bytes() if self._memory.exists() else None

    @served.setter
    def served(self, leaf):
        new = self._memory.with_suffix(".new")
        new.write_bytes(leaf or b"")
        new.replace(self._memory)

    def target(self, lineage="www.example.it", **keys):
        """Return a target that deploys a lineage to this service."""
        shape = {
            "name": self.name,
            "lineage": lineage,
            "outputs": (Output("fullchain", self.cert, 0o644), Output("key", self.key, 0o600)),
            "source": Path("/etc/letsencrypt/garr-tcs.ini"),
            "tests": (("test", self.name),),
            "reloads": (("reload", self.name),),
            "probes": (Probe(self.name, 443, timeout_seconds=2.0),),
        }
        return Target(**{**shape, **keys})

    def on_disk(self):
        """Return the leaf on disk as DER, or None; refuse a key that is not its own."""
        if not (self.cert.exists() and self.key.exists()):
            return None
        leaf = (load_certificates(self.cert.read_bytes()) or [None])[0]
        if leaf is None:
            return None
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        shape = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        if key.public_key().public_bytes(*shape) != leaf.public_key().public_bytes(*shape):
            return None
        return leaf.public_bytes(serialization.Encoding.DER)

    def command(self, verb):
        """Do as a service's own command would."""
        self.calls.append(verb)
        if verb == "test" and (self.config_red or self.on_disk() is None):
            raise CommandFailedError(f"test {self.name}: exit status 1: no good", "Correct it.")
        if verb in {"reload", "restart"}:
            if self.reload_red:
                self.reload_red -= 1
                raise CommandFailedError(f"reload {self.name}: exit status 1: no", "Correct it.")
            if not self.deaf:
                self.served = self.on_disk()


class Host:
    """Bring services, lineages and a clock together, as one machine."""

    def __init__(self, tmp_path, *names):
        """Make the services' folder and the state folder."""
        self.tls = tmp_path / "tls"
        self.tls.mkdir(mode=0o755, exist_ok=True)
        self.work = tmp_path / "work"
        self.services = {name: Service(name, self.tls) for name in names or ("www",)}
        self.lineages = {}
        self.targets = [service.target() for service in self.services.values()]
        self.told = []
        self.warned = []
        self.seconds = 0.0
        self.now_seconds = None
        self.systemctl = Systemctl({})

    @property
    def state(self):
        """Return the state folder."""
        return StateFolder(self.work)

    def run(self, command, timeout_seconds, while_waiting=None):
        """Run a command of a service, which prints nothing, or of systemd."""
        assert timeout_seconds > 0
        if command[0] == "systemctl":
            return self.run_systemctl(command)
        if command[1] not in self.services:
            raise DeployError(f"cannot run {command[0]}: No such file or directory", "Install it.")
        self.services[command[1]].command(command[0])
        return ""

    def run_systemctl(self, command):
        """Return what systemctl prints."""
        if self.systemctl is None:
            status, text = 1, "System has not been booted with systemd as init system (PID 1). Can't operate."
        else:
            status, text = self.systemctl(command[1:])
        if status:
            raise CommandFailedError(f"{' '.join(command)}: exit status {status}: {text}", "Run it by hand.")
        return text

    def look(self, probe, server_name, timeout_seconds):
        """Return what a service serves."""
        assert timeout_seconds > 0
        self.seen_names = server_name
        served = self.services[probe.host].served
        if not served:
            raise DeployError(f"no connection at {probe.where}: Connection refused", "Look at the log.")
        return served

    def sleep(self, seconds):
        """Let time pass."""
        self.seconds += seconds

    def now(self):
        """Return the wall clock."""
        return self.now_seconds or NOW_SECONDS + self.seconds

    def process(self, targets=None):
        """Return an Installer as a fresh process of Certbot has it."""
        environment = Environment(
            notify=self.told.append,
            warn=self.warned.append,
            run=self.run,
            fetch_certificate=self.look,
            now=self.now,
            clock=lambda: self.seconds,
            sleep=self.sleep,
        )
        return Installer(
            self.state,
            self.targets if targets is None else targets,
            lambda name: files_of(self.lineages.get(name)),
            environment,
        )

    def crash(self, process):
        """End a process without another word: the system lets go of its locks, and that is all."""
        process._locks.release_all()

    def put_lineage(self, material):
        """Add or renew a lineage."""
        self.lineages[material.lineage] = material
        return material

    def serves(self, material, name="www"):
        """Tell whether a service serves a lineage, and has it on disk."""
        leaf = ssl.PEM_cert_to_DER_cert(material.cert_pem.decode())
        service = self.services[name]
        return service.served == leaf and service.on_disk() == leaf
