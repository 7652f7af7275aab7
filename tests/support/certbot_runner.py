"""A certbot of any virtual environment in folders of its own, and what it did there."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configobj import ConfigObj

from certbot_garr_tcs.lineages import certificate_names
from certbot_garr_tcs.sandbox.certbot import Certbot, Result
from certbot_garr_tcs.state import replace_file
from support.fork_server import server_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cryptography import x509

    from support.pebble import Pebble
    from support.practice_ca import PracticeCa
    from support.tls_server import TlsServer


@dataclass(frozen=True)
class CertbotRunner(Certbot):
    """The sandbox's certbot for tests: every command names the folders itself, and runs in the test's own folder.

    ``variables``: more environment variables.
    """

    ca_bundle: Path = field(init=False)
    variables: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ca_bundle", self.folder / "trust.pem")
        self.config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ca_bundle.touch()

    @property
    def cwd(self) -> None:
        """Wherever the test is."""
        return

    @property
    def folder_options(self) -> tuple[str, ...]:
        """The three options that keep Certbot inside the folder."""
        pairs = (("--config-dir", self.config_dir), ("--work-dir", self.work_dir), ("--logs-dir", self.logs_dir))
        return tuple(str(part) for pair in pairs for part in pair)

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the whole command for certbot's own arguments (verb first)."""
        return (str(self.executable), *arguments, *self.folder_options)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that certbot is run with."""
        return {**super().environment(), **self.variables}

    def trust(self, *servers: PracticeCa | Pebble | TlsServer) -> None:
        """Trust the TLS certificates of these servers too."""
        with self.ca_bundle.open("ab") as file:
            for server in servers:
                file.write(server.ca_bundle.read_bytes())

    def use(self, ca: PracticeCa | Pebble, more: str = "") -> None:
        """Trust a CA, and write a garr-tcs.ini with its account, followed by ``more``."""
        self.trust(ca)
        self.write_ini(ca.account_section() + more)

    def write_ini(self, text: str, mode: int = 0o600) -> Path:
        """Replace garr-tcs.ini."""
        replace_file(self.ini, text.encode(), mode)
        return self.ini

    def run(  # type: ignore[override]  # more parameters, with defaults
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
        one = dataclasses.replace(self, timeout_seconds=timeout_seconds, variables=env or {})
        result = one.run_as_process(*arguments) if env else one.run_by_fork(*arguments)
        if check:
            assert result.returncode == 0, f"{result.command}\n{result.output}\n{self.log_tail()}"
        return result

    def run_as_process(self, *arguments: str) -> Result:
        """Run certbot as people do."""
        return super().run(*arguments)

    def run_by_fork(self, *arguments: str) -> Result:
        """Run certbot in a child of a fork server, which is faster."""
        server = server_for(self.executable)
        if server is None:
            return self.run_as_process(*arguments)
        command = self.command(*arguments)
        return Result(command, *server.run(command, self.environment(), self.cwd, self.timeout_seconds))

    def certonly(self, *names: str, check: bool = True) -> Result:
        """Order a certificate with our authenticator, non-interactively."""
        named = [part for name in names for part in ("-d", name)]
        return self.run("certonly", "-n", "-a", "garr-tcs", *named, check=check)

    def watched(self, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[Result, str]:
        """Run certbot, and return also every command line that any process had meanwhile."""
        with sampled_command_lines() as seen:
            result = dataclasses.replace(self, variables=env or {}).run_as_process(*arguments)
        return result, "\n".join(sorted(seen))

    def renewal(self, lineage: str) -> Mapping[str, Any]:
        """Return a lineage's renewal configuration."""
        path = self.config_dir / "renewal" / f"{lineage}.conf"
        return ConfigObj(str(path), encoding="utf-8", interpolation=False, file_error=True)

    def account_ids(self) -> list[str]:
        """Return the IDs of all accounts that certbot has."""
        return sorted(path.parent.name for path in self.config_dir.glob("accounts/**/regr.json"))

    def log_tail(self, lines: int = 60) -> str:
        """Return the end of certbot's own log."""
        path = self.logs_dir / "letsencrypt.log"
        return "\n".join(path.read_text(encoding="utf-8").splitlines()[-lines:]) if path.exists() else ""


def dns_names(certificate: x509.Certificate) -> list[str]:
    """Return the names of a certificate, sorted."""
    return sorted(certificate_names(certificate))


@contextlib.contextmanager
def sampled_command_lines(pause_seconds: float = 0.005) -> Iterator[set[str]]:
    """Collect what /proc/*/cmdline shows, again and again, until the block ends."""
    seen: set[str] = set()
    done = threading.Event()

    def sample() -> None:
        while not done.wait(pause_seconds):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
