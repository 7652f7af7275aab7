"""Servers and certbots that integration tests are made of; each is ended by its handle."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from configobj import ConfigObj

from certbot_garr_tcs.sandbox.authority import make_root, make_server
from certbot_garr_tcs.sandbox.practice_ca import new_key
from certbot_garr_tcs.sandbox.runner import Certbot, Result, files_with
from certbot_garr_tcs.sandbox.settings import account_section, write_private
from support.needs import free_port, need, need_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cryptography import x509
    from typing_extensions import Self

    from certbot_garr_tcs.sandbox.practice_ca import PracticeCa
    from support.tls_server import TlsServer

FAULTY_SERVER = Path(__file__).with_name("faulty_server.py")


def need_practice_ca() -> None:
    """End the test as ``need`` does where acme2certifier is not installed."""
    need(importlib.util.find_spec("acme2certifier") is not None, "acme2certifier (extra: sandbox)")


class CertbotRunner:
    """Run one certbot executable (of any virtual environment) in folders of its own."""

    def __init__(self, executable: Path, folder: Path) -> None:
        """Make the configuration folder, and an empty list of trusted roots."""
        self.bound = Certbot(executable, folder, folder / "trust.pem")
        self.config_dir = self.bound.config_dir
        self.work_dir = self.bound.work_dir
        self.logs_dir = self.bound.logs_dir
        self.ini = self.bound.ini
        self.config_dir.mkdir(mode=0o700, parents=True)
        self.bound.trust.touch()

    def trust(self, *servers: PracticeCa | Pebble | TlsServer) -> None:
        """Trust the TLS certificates of these servers too."""
        with self.bound.trust.open("ab") as file:
            for server in servers:
                file.write(server.ca_bundle.read_bytes())

    def use(self, ca: PracticeCa | Pebble, more: str = "") -> None:
        """Trust a CA, and write a garr-tcs.ini with its account and whatever ``more`` says."""
        self.trust(ca)
        self.write_ini(account_section(ca.directory_url, ca.eab_kid, ca.eab_hmac_key) + more)

    def write_ini(self, text: str, mode: int = 0o600) -> Path:
        """Replace garr-tcs.ini."""
        write_private(self.ini, text.encode())
        self.ini.chmod(mode)
        return self.ini

    def run(
        self,
        *arguments: str,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        timeout_seconds: float = 120.0,
    ) -> Result:
        """Run certbot; with ``check``, fail the test unless it ends with 0.

        ``renew`` gets --no-random-sleep-on-renew: without a terminal it sleeps up to eight minutes.
        """
        if arguments[0] == "renew":
            arguments = (*arguments, "--no-random-sleep-on-renew")
        result = self.bound.run(*arguments, env=env, timeout_seconds=timeout_seconds)
        if check:
            assert result.returncode == 0, f"{result.command}\n{result.output}\n{self.log_tail()}"
        return result

    def certonly(self, *names: str, check: bool = True) -> Result:
        """Order a certificate with our authenticator, non-interactively."""
        named = [part for name in names for part in ("-d", name)]
        return self.run("certonly", "-n", "-a", "garr-tcs", *named, check=check)

    def watched(self, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[Result, str]:
        """Run certbot, and return also every command line that any process had meanwhile."""
        with sampled_command_lines() as seen:
            result = self.run(*arguments, check=False, env=env)
        return result, "\n".join(sorted(seen))

    def certificate(self, lineage: str) -> x509.Certificate:
        """Return a lineage's current certificate."""
        return self.bound.certificate(lineage)

    def live(self, lineage: str, name: str = "cert") -> Path:
        """Return the path of one of a lineage's four files."""
        return self.bound.live(lineage, name)

    def renewal(self, lineage: str) -> Mapping[str, Any]:
        """Return a lineage's renewal configuration."""
        path = self.config_dir / "renewal" / f"{lineage}.conf"
        return ConfigObj(str(path), encoding="utf-8", interpolation=False, file_error=True)

    def account_ids(self) -> list[str]:
        """Return the IDs of all accounts that certbot keeps."""
        return sorted(path.parent.name for path in self.config_dir.glob("accounts/**/regr.json"))

    def files_with(self, secret: str) -> list[Path]:
        """Return every file in config, work and logs that holds the secret."""
        return files_with(secret, self.config_dir, self.work_dir, self.logs_dir)

    def log_tail(self, lines: int = 60) -> str:
        """Return the end of certbot's own log."""
        path = self.logs_dir / "letsencrypt.log"
        return "\n".join(path.read_text(encoding="utf-8").splitlines()[-lines:]) if path.exists() else ""


@contextlib.contextmanager
def sampled_command_lines(pause_seconds: float = 0.005) -> Iterator[set[str]]:
    """Collect what /proc/*/cmdline shows, again and again, until the block ends."""
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(pause_seconds):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):  # it ended while we looked
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def set_faults(ca: PracticeCa, **faults: Mapping[str, Any]) -> None:
    """Switch the faults of a faulty practice CA; none given heals it (see faulty_server.py)."""
    write_private(ca.folder / "faults.json", json.dumps(faults).encode())


@dataclass
class Pebble:
    """Run Debian's Pebble in one folder, on free ports; use it in a ``with`` statement.

    ``environment``: PEBBLE_… variables over the defaults (no sleeping, no nonce refused on purpose).
    ``dns_server``: host:port that it resolves with. ``http_port``: where it looks for http-01.
    """

    folder: Path
    eab: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    dns_server: str | None = None
    http_port: int = 0
    directory_url: str = ""
    management_url: str = ""
    eab_kid: str = ""
    eab_hmac_key: str = ""

    _TRIES = 5
    _START_SECONDS = 15.0

    def __post_init__(self) -> None:
        """Write the folder; start nothing."""
        self.folder.mkdir(parents=True)
        self.ca_bundle = self.folder / "root.pem"
        now = datetime.now(timezone.utc)
        root = make_root("Pebble TLS", now)
        server = make_server(root, now)
        self.ca_bundle.write_bytes(root.certificate_pem)
        (self.folder / "tls.pem").write_bytes(server.certificate_pem)
        (self.folder / "tls.key").write_bytes(server.key_pem)
        self.log = self.folder / "pebble.log"
        if self.eab:
            self.eab_kid, self.eab_hmac_key = new_key()
        self.http_port = self.http_port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it; its ports cannot be bound beforehand, so a lost race is run again."""
        program = need_program("pebble")
        for _ in range(self._TRIES):
            if self._start(program):
                return self
        pytest.fail(f"pebble did not start: {self.log.read_text(encoding='utf-8')}")

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._stop()

    def get(self, path: str) -> bytes:
        """Return what the management port says."""
        return self._get(f"{self.management_url}{path}")

    def issuing_root(self) -> bytes:
        """Return the root of the certificates that it issues; it makes a new one at each start."""
        return self.get("/roots/0")

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        """Return whether it holds the certificate for revoked."""
        status = json.loads(self.get(f"/cert-status-by-serial/{certificate.serial_number:x}"))
        return bool(status["Status"] == "Revoked")

    def _get(self, url: str) -> bytes:
        trust = ssl.create_default_context(cafile=str(self.ca_bundle))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with opener.open(url, timeout=10) as answer:
            content: bytes = answer.read()
        return content

    def _configuration(self, port: int, management_port: int) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{management_port}",
            "certificate": str(self.folder / "tls.pem"),
            "privateKey": str(self.folder / "tls.key"),
            "httpPort": self.http_port,
            "tlsPort": free_port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.eab,
            "retryAfter": {"authz": 1, "order": 1},
        }
        if self.eab:
            settings["externalAccountMACKeys"] = {self.eab_kid: self.eab_hmac_key}
        return {"pebble": settings}

    def _start(self, program: str) -> bool:
        port, management_port = free_port(), free_port()
        path = self.folder / "pebble.json"
        path.write_text(json.dumps(self._configuration(port, management_port)), encoding="utf-8")
        command = [program, "-config", str(path)]
        if self.dns_server:
            command += ["-dnsserver", self.dns_server]
        defaults = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **defaults, **self.environment},
            )
        self.directory_url = f"https://127.0.0.1:{port}/dir"
        self.management_url = f"https://127.0.0.1:{management_port}"
        deadline = time.monotonic() + self._START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, OSError):
                self._get(self.directory_url)
                self.issuing_root()
                return True
            time.sleep(0.05)
        self._stop()
        return False

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
