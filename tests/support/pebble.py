"""Pebble, the test CA of Let's Encrypt: it validates challenges for real."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from certbot_garr_tcs.sandbox.ca import new_key
from certbot_garr_tcs.sandbox.certificates import make_root, make_server
from certbot_garr_tcs.sandbox.settings import account_section, free_port
from support.needs import need_program

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cryptography import x509
    from typing_extensions import Self


@dataclass
class Pebble:
    """Debian's Pebble in one folder, on free ports; use it in a ``with`` statement.

    ``environment``: PEBBLE_… variables over the defaults (no sleeping, no nonce refused on purpose).
    ``dns_server``: host:port that it resolves with. ``http_port``: where it validates http-01.
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
        # Pebble binds its ports itself: another program may take one first, so this is tried again.
        program = need_program("pebble")
        for _ in range(self._TRIES):
            if self._start(program):
                return self
        pytest.fail(f"pebble did not start: {self.log.read_text(encoding='utf-8')}")

    def __exit__(self, *_: object) -> None:
        self._stop()

    def account_section(self) -> str:
        """Return the [account] section of garr-tcs.ini."""
        return account_section(self.directory_url, self.eab_kid, self.eab_hmac_key)

    def get(self, path: str) -> bytes:
        """Return a response of the management port."""
        return self._get(f"{self.management_url}{path}")

    def issuing_root(self) -> bytes:
        """Return the root of the certificates that it issues, a new one at each start."""
        return self.get("/roots/0")

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        """Return whether the certificate is revoked."""
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
