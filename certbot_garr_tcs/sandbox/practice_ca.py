"""Run a practice CA: acme2certifier in one folder, on a free loopback port, with TLS and EAB."""

from __future__ import annotations

import importlib.util
import json
import secrets
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from cryptography import x509

from certbot_garr_tcs.errors import SandboxError
from certbot_garr_tcs.sandbox.authority import make_issuing, make_root, make_server
from certbot_garr_tcs.sandbox.options import PracticeOptions
from certbot_garr_tcs.sandbox.settings import server_configuration, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

_OWN_ENVIRONMENT = (
    "python3 -m venv ~/practice-ca && ~/practice-ca/bin/pip install '.[sandbox]' && "
    "~/practice-ca/bin/certbot-garr-tcs sandbox"
)
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Request:
    """Say what the CA was asked once, and how it answered (0: not at all)."""

    method: str
    path: str
    status: int
    payload: Mapping[str, Any] = field(default_factory=dict)


def new_key() -> tuple[str, str]:
    """Return a new key ID and HMAC key (256 bits, base64url).

    The HMAC key never begins with a dash: Certbot's ``--eab-hmac-key`` would take it for an option.
    """
    return f"kid-{secrets.token_hex(8)}", f"k{secrets.token_urlsafe(32)[1:]}"


class PracticeCa:
    """Hold one folder and the server that runs in it; use it in a ``with`` statement.

    The server is ended by its handle on leaving, and by itself if this process dies. ``eab_kid`` and
    ``eab_hmac_key`` are those of the first key; ``add_key`` makes more.
    """

    def __init__(self, folder: Path, options: PracticeOptions | None = None) -> None:
        """Write the CA into ``folder`` (made 0700), or take the one that is there; start nothing.

        A CA that is there keeps its keys, its accounts, what it issued, and its port. Raises SandboxError where
        acme2certifier is not installed.
        """
        if importlib.util.find_spec("acme2certifier") is None:
            raise SandboxError(
                "the practice CA needs acme2certifier, which is not installed for this Python",
                "Give it a virtual environment of its own, so that the packages of your Certbot stay as they are; "
                f"in the folder with the source of certbot-garr-tcs, type: {_OWN_ENVIRONMENT}",
            )
        self.options = options or PracticeOptions()
        self.folder = folder.resolve()
        self.domains = self.options.domains
        self.ca_bundle = self.folder / "root.pem"
        self.log = self.folder / "server.log"
        self._keys_file = self.folder / "eab.json"
        self.request_log = self.folder / "requests.log"
        self.directory_url = ""
        self.eab_kid = ""
        self.eab_hmac_key = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._write()

    def __repr__(self) -> str:
        """Name the CA and where it answers; never its keys."""
        return f"PracticeCa({self.options.name!r}, {self.directory_url or 'stopped'})"

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    def start(self) -> None:
        """Start the server, and return when it answers; raise SandboxError, and leave nothing, if not."""
        port_file = self.folder / "port"
        if port_file.exists():
            port_file.replace(self.folder / "port.last")
        with self.log.open("ab") as log:
            # Its own session: Ctrl-C reaches us alone, and we stop it. The pipe ends it if we die.
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own program
                [sys.executable, *self.options.program, str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            self.directory_url = f"https://127.0.0.1:{self._wait_for_port(port_file)}/directory"
            self._ask_directory()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server, if it runs; what it issued stays in the folder."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            if process.stdin:
                process.stdin.close()

    @property
    def running(self) -> bool:
        """Return whether the server is up."""
        return self._process is not None and self._process.poll() is None

    def spare_key(self) -> tuple[str, str]:
        """Return a key that has made no account yet and is not the first; make one where there is none."""
        path = self.folder / "eab-used.json"
        spent = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        spare = [pair for pair in self._keys().items() if pair[0] not in [self.eab_kid, *spent]]
        return spare[0] if spare else self.add_key()

    def add_key(self) -> tuple[str, str]:
        """Make another EAB key, usable at once, and return its key ID and HMAC key (base64url)."""
        key_id, hmac_key = new_key()
        self._write_keys({**self._keys(), key_id: hmac_key})
        return key_id, hmac_key

    def remove_key(self, key_id: str) -> None:
        """Take an EAB key back: its accounts are blocked at once."""
        self._write_keys({known: key for known, key in self._keys().items() if known != key_id})

    def requests(self) -> list[Request]:
        """Return what the CA was asked so far, oldest first."""
        if not self.request_log.exists():
            return []
        lines = self.request_log.read_text(encoding="utf-8").splitlines()
        return [Request(**json.loads(line)) for line in lines]

    def orders(self) -> list[Request]:
        """Return every request for a new order (RFC 8555 §7.4), refused ones too."""
        return [request for request in self.requests() if request.path == "/acme/neworders"]

    def registrations(self) -> list[Request]:
        """Return every request for an account (RFC 8555 §7.3), refused ones too."""
        return [request for request in self.requests() if request.path == "/acme/newaccount"]

    def deactivations(self) -> list[Request]:
        """Return every request that gives an account or authorization up (RFC 8555 §7.3.6, §7.5.2)."""
        return [request for request in self.requests() if request.payload.get("status") == "deactivated"]

    def issued(self) -> list[x509.Certificate]:
        """Return every certificate that was issued, in no order."""
        files = (self.folder / "issued").glob("*.pem")
        return [x509.load_pem_x509_certificate(file.read_bytes()) for file in files]

    def is_revoked(self, certificate: x509.Certificate) -> bool:
        """Return whether the CA's revocation list names the certificate."""
        path = self.folder / "revoked.pem"
        if not path.exists():
            return False
        revoked = x509.load_pem_x509_crl(path.read_bytes())
        return revoked.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None

    def _write(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._keys_file.exists():
            self._make()
        self.eab_kid, self.eab_hmac_key = next(iter(self._keys().items()))
        configuration = server_configuration(self.folder, self.options)
        write_private(self.folder / "acme_srv.cfg", configuration.encode())

    def _make(self) -> None:
        """Make the keys; those for EAB come last, and their file says that all is there."""
        now = datetime.now(timezone.utc)
        root = make_root(self.options.name, now)
        issuing = make_issuing(self.options.name, root, now)
        server = make_server(root, now)
        for name, pair in (("root", root), ("issuing", issuing), ("tls", server)):
            write_private(self.folder / f"{name}.pem", pair.certificate_pem)
            write_private(self.folder / f"{name}.key", pair.key_pem)
        (self.folder / "issued").mkdir(exist_ok=True)
        self._write_keys(dict([new_key()]))

    def _keys(self) -> dict[str, str]:
        keys: dict[str, str] = json.loads(self._keys_file.read_text(encoding="utf-8"))
        return keys

    def _write_keys(self, keys: Mapping[str, str]) -> None:
        write_private(self._keys_file, json.dumps(keys).encode())

    def _wait_for_port(self, port_file: Path) -> int:
        deadline = time.monotonic() + _START_SECONDS
        while not port_file.exists():
            if not self.running or time.monotonic() > deadline:
                raise SandboxError(f"{self.options.name} did not start: {self._last_words()}", f"Read {self.log}")
            time.sleep(0.02)
        return int(port_file.read_text(encoding="utf-8"))

    def _ask_directory(self) -> None:
        trust = ssl.create_default_context(cafile=str(self.ca_bundle))
        # No proxy: the environment's is for the world outside, and this is loopback.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        try:
            with opener.open(self.directory_url, timeout=_START_SECONDS) as answer:
                json.load(answer)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise SandboxError(
                f"{self.options.name} does not answer at {self.directory_url}: {error}", f"Read {self.log}"
            ) from error

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"
