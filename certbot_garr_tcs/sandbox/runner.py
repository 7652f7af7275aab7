"""Run the real certbot command in folders of its own, and read what it left there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from certbot_garr_tcs.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUN_SECONDS = 120.0


@dataclass(frozen=True)
class Result:
    """Hold what one run of certbot said."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Return both streams, standard output first."""
        return self.stdout + self.stderr


@dataclass(frozen=True)
class Certbot:
    """Bind a certbot command to the folders ``config``, ``work``, ``logs`` below ``folder``.

    ``trust``: PEM file with the roots of the CAs that it may talk to. The environment's own settings for
    Certbot and for proxies are not passed on: the servers are on loopback.
    """

    executable: Path
    folder: Path
    trust: Path

    @property
    def config_dir(self) -> Path:
        """Return Certbot's --config-dir."""
        return self.folder / "config"

    @property
    def work_dir(self) -> Path:
        """Return Certbot's --work-dir."""
        return self.folder / "work"

    @property
    def logs_dir(self) -> Path:
        """Return Certbot's --logs-dir."""
        return self.folder / "logs"

    @property
    def ini(self) -> Path:
        """Return where garr-tcs.ini is looked for."""
        return self.config_dir / "garr-tcs.ini"

    @property
    def folder_options(self) -> tuple[str, ...]:
        """Return the three options that keep Certbot inside the folder."""
        pairs = (
            ("--config-dir", self.config_dir),
            ("--work-dir", self.work_dir),
            ("--logs-dir", self.logs_dir),
        )
        return tuple(str(part) for pair in pairs for part in pair)

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the whole command for certbot's own arguments (verb first)."""
        return (str(self.executable), *arguments, *self.folder_options)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment that certbot is run in."""
        dropped = {"http_proxy", "https_proxy", "all_proxy"}
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CERTBOT_") and name.lower() not in dropped
        }
        return {**kept, "REQUESTS_CA_BUNDLE": str(self.trust), **(extra or {})}

    @property
    def cwd(self) -> Path | None:
        """Return the folder that certbot is started in; ``None``: wherever we are."""
        return None

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start certbot and return at once; the caller waits for it."""
        return subprocess.Popen(  # noqa: S603  # the command that the user would type
            self.command(*arguments),
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(env),
        )

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout_seconds: float = _RUN_SECONDS
    ) -> Result:
        """Run certbot without a terminal, and return what it said, whatever its exit status."""
        with self.start(*arguments, env=env) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout_seconds)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise SandboxError(
                    f"certbot {arguments[0]} did not end within {timeout_seconds:g} seconds",
                    f"Read {self.logs_dir / 'letsencrypt.log'}",
                ) from error
            except BaseException:
                process.terminate()
                raise
        return Result(tuple(process.args), process.returncode, stdout, stderr)  # type: ignore[arg-type]  # a tuple of str, as given

    def live(self, lineage: str, name: str = "cert") -> Path:
        """Return the path of one of a lineage's four files."""
        return self.config_dir / "live" / lineage / f"{name}.pem"

    def certificate(self, lineage: str) -> x509.Certificate:
        """Return a lineage's current certificate."""
        return x509.load_pem_x509_certificate(self.live(lineage).read_bytes())


@dataclass(frozen=True)
class FolderCertbot(Certbot):
    """Bind a certbot command to a folder by ``-c certbot.ini``, so that people type short commands there.

    ``word``: how people type the command in their shell.
    """

    word: str = "certbot"

    @property
    def cwd(self) -> Path:
        """Return the folder, as the commands name a file in it."""
        return self.folder

    def prepare(self) -> None:
        """Make the folder for garr-tcs.ini, and certbot.ini."""
        self.config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = [
            "# certbot -c certbot.ini: Certbot in this folder, and nowhere else",
            f"config-dir = {self.config_dir}",
            f"work-dir = {self.work_dir}",
            f"logs-dir = {self.logs_dir}",
            "# without a terminal, renew would sleep for up to eight minutes",
            "no-random-sleep-on-renew = true",
        ]
        (self.folder / "certbot.ini").write_text("\n".join([*lines, ""]), encoding="utf-8")

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the whole command for certbot's own arguments (verb first)."""
        return (str(self.executable), "-c", "certbot.ini", *arguments)

    def shown(self, *arguments: str) -> str:
        """Return a command as a line that a shell takes in the folder."""
        return f"{self.word} {shlex.join(self.command(*arguments)[1:])}"

    def has_plugin(self) -> bool:
        """Return whether this certbot lists our plugin."""
        result = self.run("plugins")
        return result.returncode == 0 and re.search(r"^\* garr-tcs$", result.stdout, re.MULTILINE) is not None


def find_certbot() -> Path:
    """Return the certbot beside this Python, else the one on PATH; raise SandboxError without any."""
    beside = Path(sys.executable).parent / "certbot"
    if beside.exists():
        return beside
    found = shutil.which("certbot")
    if found is None:
        raise SandboxError(
            f"there is no certbot command, neither beside {sys.executable} nor on PATH",
            "Install Certbot first: apt install certbot, or dnf install certbot",
        )
    return Path(found)


def certbot_to_type(folder: Path, trust: Path) -> FolderCertbot:
    """Return the certbot that ``certbot`` means in the user's shell, if it has our plugin; else the one beside us.

    Raises SandboxError without any.
    """
    on_path = shutil.which("certbot")
    ours = find_certbot()
    if on_path is not None:
        typed = FolderCertbot(Path(on_path), folder, trust)
        typed.prepare()
        if typed.executable.resolve() == ours.resolve() or typed.has_plugin():
            return typed
    certbot = FolderCertbot(ours, folder, trust, shlex.quote(str(ours)))
    certbot.prepare()
    return certbot


def issuer_name(certificate: x509.Certificate) -> str:
    """Return the common name of the certificate's issuer."""
    return str(certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def dns_names(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names of the certificate, sorted."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return sorted(names.value.get_values_for_type(x509.DNSName))


def files_with(secret: str, *folders: Path) -> list[Path]:
    """Return every file below the folders that holds the secret; links are not followed."""
    needle = secret.encode()
    files = (file for folder in folders for file in sorted(folder.rglob("*")))
    return [file for file in files if file.is_file() and not file.is_symlink() and needle in file.read_bytes()]
