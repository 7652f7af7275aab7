"""The real certbot command, run in folders of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from certbot_garr_tcs.errors import SandboxError


@dataclass(frozen=True)
class Result:
    """The outcome of one certbot run."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams, standard output first."""
        return self.stdout + self.stderr


@dataclass(frozen=True)
class Certbot:
    """A certbot command whose folders are ``config``, ``work`` and ``logs`` below ``folder``.

    ``certbot.ini`` in that folder names them, so that people type short commands there; ``word``: how they type the
    command itself. ``ca_bundle``: PEM file with the roots of the CAs. The environment's own settings for Certbot and
    for proxies are not passed on: all servers are on loopback.
    """

    executable: Path
    folder: Path
    ca_bundle: Path
    word: str = "certbot"
    timeout_seconds: float = 120.0

    @property
    def config_dir(self) -> Path:
        """Certbot's --config-dir."""
        return self.folder / "config"

    @property
    def work_dir(self) -> Path:
        """Certbot's --work-dir."""
        return self.folder / "work"

    @property
    def logs_dir(self) -> Path:
        """Certbot's --logs-dir."""
        return self.folder / "logs"

    @property
    def ini(self) -> Path:
        """The path of garr-tcs.ini."""
        return self.config_dir / "garr-tcs.ini"

    @property
    def cwd(self) -> Path | None:
        """The folder that certbot is started in."""
        return self.folder

    def prepare(self) -> None:
        """Create the folder for garr-tcs.ini, and write certbot.ini."""
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
        """Return a command as a line for a shell in the folder."""
        return f"{self.word} {shlex.join(self.command(*arguments)[1:])}"

    def environment(self) -> dict[str, str]:
        """Return the environment variables that certbot is run with."""
        dropped = {"http_proxy", "https_proxy", "all_proxy"}
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CERTBOT_") and name.lower() not in dropped
        }
        return {**kept, "REQUESTS_CA_BUNDLE": str(self.ca_bundle)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start certbot without a terminal, and return at once."""
        return subprocess.Popen(  # noqa: S603  # the command that the user would type
            self.command(*arguments),
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )

    def run(self, *arguments: str) -> Result:
        """Run certbot without a terminal, and return its output, whatever its exit status is."""
        with self.start(*arguments) as process:
            try:
                stdout, stderr = process.communicate(timeout=self.timeout_seconds)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise SandboxError(
                    f"certbot {arguments[0]} did not end within {self.timeout_seconds:g} seconds",
                    f"Read {self.logs_dir / 'letsencrypt.log'}",
                ) from error
            except BaseException:
                process.terminate()
                raise
        return Result(self.command(*arguments), process.returncode, stdout, stderr)

    def live(self, lineage: str, name: str = "cert") -> Path:
        """Return the path of one of a lineage's four files."""
        return self.config_dir / "live" / lineage / f"{name}.pem"

    def certificate(self, lineage: str) -> x509.Certificate:
        """Return a lineage's current certificate."""
        return x509.load_pem_x509_certificate(self.live(lineage).read_bytes())

    def files_with(self, secret: str) -> list[Path]:
        """Return every file in config, work and logs that contains the secret; links are not followed."""
        needle = secret.encode()
        folders = (self.config_dir, self.work_dir, self.logs_dir)
        files = (file for folder in folders for file in sorted(folder.rglob("*")))
        return [file for file in files if file.is_file() and not file.is_symlink() and needle in file.read_bytes()]

    def has_plugin(self) -> bool:
        """Return whether this certbot lists our plugin."""
        result = self.run("plugins")
        return result.returncode == 0 and re.search(r"^\* garr-tcs$", result.stdout, re.MULTILINE) is not None


def find_certbot() -> Path:
    """Return the certbot beside this Python, else the one on PATH; raise SandboxError if there is none."""
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


def certbot_to_type(folder: Path, ca_bundle: Path) -> Certbot:
    """Return the certbot that ``certbot`` means in the user's shell, if it has our plugin; else the one beside Python.

    Raises SandboxError if there is none.
    """
    on_path = shutil.which("certbot")
    beside = find_certbot()
    if on_path is not None:
        typed = Certbot(Path(on_path), folder, ca_bundle)
        typed.prepare()
        if typed.executable.resolve() == beside.resolve() or typed.has_plugin():
            return typed
    certbot = Certbot(beside, folder, ca_bundle, shlex.quote(str(beside)))
    certbot.prepare()
    return certbot
