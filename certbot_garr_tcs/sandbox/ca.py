"""The practice CA: acme2certifier in one folder, on a free loopback port, with TLS and EAB."""

from __future__ import annotations

import configparser
import importlib.util
import io
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
from certbot_garr_tcs.sandbox.certificates import make_issuing, make_root, make_server
from certbot_garr_tcs.sandbox.settings import PracticeOptions, account_section, server_configuration
from certbot_garr_tcs.state import replace_file

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
    """A request that the CA received, and the status of its answer (0: none)."""

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
    """A practice CA in one folder, and its server; use it in a ``with`` statement.

    The server is stopped on leaving, and stops by itself if this process dies. ``eab_kid`` and
    ``eab_hmac_key`` are the first EAB pair; ``add_key`` makes more.
    """

    program: tuple[str, ...] = ("-m", "certbot_garr_tcs.sandbox.server")
    """What Python runs, with the folder as its last argument."""

    def __init__(self, folder: Path, options: PracticeOptions | None = None) -> None:
        """Create the CA in ``folder`` (mode 0700), or use the one that is there; start nothing.

        A CA that is there keeps its keys, accounts, certificates and port. Raises SandboxError if acme2certifier is
        not installed.
        """
        if importlib.util.find_spec("acme2certifier") is None:
            raise SandboxError(
                "the practice CA needs acme2certifier, which is not installed for this Python",
                "Give it a virtual environment of its own, so that the packages of your Certbot stay as they are; "
                f"in the folder with the source of certbot-garr-tcs, type: {_OWN_ENVIRONMENT}",
            )
        self.options = options or PracticeOptions()
        self.folder = folder.resolve()
        self.ca_bundle = self.folder / "root.pem"
        self.log = self.folder / "server.log"
        self._keys_file = self.folder / "eab.json"
        self._request_log = self.folder / "requests.log"
        self.directory_url = ""
        self.eab_kid = ""
        self.eab_hmac_key = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._write()

    def __repr__(self) -> str:
        return f"PracticeCa({self.options.name!r}, {self.directory_url or 'stopped'})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, and return when it answers; if it does not, stop it and raise SandboxError."""
        port_file = self.folder / "port"
        if port_file.exists():
            port_file.replace(self.folder / "port.last")
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C does not reach it, we stop it. It ends with the pipe if we die.
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter, our own program
                [sys.executable, *self.program, str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            self.directory_url = f"https://127.0.0.1:{self._wait_for_port(port_file)}/directory"
            self._fetch_directory()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server if it runs; the folder stays as it is."""
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
        """Whether the server runs."""
        return self._process is not None and self._process.poll() is None

    def spare_key(self) -> tuple[str, str]:
        """Return an EAB pair that has made no account yet and is not the first; add one if there is none."""
        path = self.folder / "eab-used.json"
        spent = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        spare = [pair for pair in self._keys().items() if pair[0] not in [self.eab_kid, *spent]]
        return spare[0] if spare else self.add_key()

    def add_key(self) -> tuple[str, str]:
        """Add an EAB pair, usable at once, and return its key ID and HMAC key (base64url)."""
        key_id, hmac_key = new_key()
        self._write_keys({**self._keys(), key_id: hmac_key})
        return key_id, hmac_key

    def account_section(self) -> str:
        """Return the [account] section of garr-tcs.ini for the first EAB pair."""
        return account_section(self.directory_url, self.eab_kid, self.eab_hmac_key)

    def requests(self) -> list[Request]:
        """Return all requests so far, oldest first."""
        if not self._request_log.exists():
            return []
        lines = self._request_log.read_text(encoding="utf-8").splitlines()
        return [Request(**json.loads(line)) for line in lines]

    def orders(self) -> list[Request]:
        """Return all requests for a new order (RFC 8555 §7.4), refused ones too."""
        return [request for request in self.requests() if request.path == "/acme/neworders"]

    def issued(self) -> list[x509.Certificate]:
        """Return all certificates that were issued, in no order."""
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
            self._create()
        self.eab_kid, self.eab_hmac_key = next(iter(self._keys().items()))
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_dict(self.configuration())
        text = io.StringIO()
        parser.write(text)
        replace_file(self.folder / "acme_srv.cfg", text.getvalue().encode())

    def configuration(self) -> dict[str, dict[str, str]]:
        """Return the sections of acme2certifier's configuration."""
        return server_configuration(self.folder, self.options)

    def _create(self) -> None:
        """Create all keys; the file with the EAB pairs comes last: where it exists, the others do."""
        now = datetime.now(timezone.utc)
        root = make_root(self.options.name, now)
        issuing = make_issuing(self.options.name, root, now)
        server = make_server(root, now)
        for name, pair in (("root", root), ("issuing", issuing), ("tls", server)):
            replace_file(self.folder / f"{name}.pem", pair.certificate_pem)
            replace_file(self.folder / f"{name}.key", pair.key_pem)
        (self.folder / "issued").mkdir(exist_ok=True)
        self._write_keys(dict([new_key()]))

    def _keys(self) -> dict[str, str]:
        keys: dict[str, str] = json.loads(self._keys_file.read_text(encoding="utf-8"))
        return keys

    def _write_keys(self, keys: Mapping[str, str]) -> None:
        replace_file(self._keys_file, json.dumps(keys).encode())

    def _wait_for_port(self, port_file: Path) -> int:
        deadline = time.monotonic() + _START_SECONDS
        while not port_file.exists():
            if not self.running or time.monotonic() > deadline:
                raise SandboxError(f"{self.options.name} did not start: {self._last_log_line()}", f"Read {self.log}")
            time.sleep(0.02)
        return int(port_file.read_text(encoding="utf-8"))

    def _fetch_directory(self) -> None:
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

    def _last_log_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"
