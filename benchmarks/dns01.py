"""What dns-01 costs: this plugin, certbot-dns-rfc2136 and lego, for the same names on the same servers.

On loopback: a BIND primary, two secondaries that show changes late, 20 ms per round trip in front of each, and Pebble,
which validates through one of the late secondaries. lego looks at port 53 and nowhere else, so this needs root. Run it
with the Python of an environment that has this project, certbot-dns-rfc2136 and the extra ``test``:

    python benchmarks/dns01.py [--lag 3] [--delay 0.02] [--limit 600] [--only garr-tcs,dns-rfc2136,lego] [--cases 1x1,…]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from support.bind import NAMED, BindLab, Zone, make_key  # noqa: E402 - found by the line above
from support.pebble import Pebble  # noqa: E402

KEY = make_key("acme")
CERTBOT = [sys.executable, "-c", "import sys; from certbot.main import main; sys.exit(main())"]


@dataclass(frozen=True)
class Case:
    """So many names, spread over so many zones."""

    names: int
    zones: int

    def zone_names(self) -> list[str]:
        """Return the zones."""
        return [f"zone{number}.example.it" for number in range(self.zones)]

    def domains(self) -> list[str]:
        """Return the names."""
        zones = self.zone_names()
        return [f"host{number}.{zones[number % len(zones)]}" for number in range(self.names)]


@dataclass(frozen=True)
class Measured:
    """What one run cost; ``seconds`` is ``None`` where it did not end in time or failed."""

    seconds: float | None
    queries: int
    updates: int
    remark: str = ""


class Bench:
    """Hold the servers of one case, and time programs against them."""

    def __init__(self, folder: Path, lab: BindLab, pebble: Pebble, limit_seconds: float) -> None:
        """Keep what a run needs."""
        self.folder = folder
        self.lab = lab
        self.pebble = pebble
        self.limit_seconds = limit_seconds

    def garr_tcs(self, case: Case) -> Measured:
        """Time this plugin."""
        ini = self._private(
            "garr-tcs.ini",
            f"[account]\ndirectory-url = {self.pebble.directory_url}\nemail = a@example.it\nagree-tos = yes\n"
            f"[dns-01]\nserver = {self.lab.primary.address}\ntsig-name = {KEY.name}\ntsig-secret = {KEY.secret}\n",
        )
        return self._time(self._certbot("garr", case, "-a", "garr-tcs", "--garr-tcs-config", str(ini)))

    def dns_rfc2136(self, case: Case) -> Measured:
        """Time Certbot's own plugin, as shipped but for the algorithm of our key."""
        credentials = self._private(
            "rfc2136.ini",
            f"dns_rfc2136_server = {self.lab.primary.address}\ndns_rfc2136_name = {KEY.name}\n"
            f"dns_rfc2136_secret = {KEY.secret}\ndns_rfc2136_algorithm = HMAC-SHA256\n",
        )
        options = ("-a", "dns-rfc2136", "--dns-rfc2136-credentials", str(credentials))
        return self._time(self._certbot("rfc2136", case, *options, "--server", self.pebble.directory_url))

    def lego(self, case: Case) -> Measured:
        """Time Debian's lego, as shipped."""
        domains = [part for domain in case.domains() for part in ("--domains", domain)]
        # lego takes the addresses of name servers from the machine's resolver, so it gets a resolv.conf of its own.
        resolv_conf = self._private("resolv.conf", f"nameserver {self.lab.primary.address}\n")
        command = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"']
        command += [
            str(resolv_conf),
            "lego",
            "--server",
            self.pebble.directory_url,
            "--email",
            "a@example.it",
            "--accept-tos",
        ]
        command += ["--path", str(self.folder / "lego"), "--dns", "rfc2136", "--dns.resolvers"]
        command += [f"{self.lab.primary.address}:53", *domains, "run"]
        environment = {
            "LEGO_CA_CERTIFICATES": str(self.pebble.ca_bundle),
            "RFC2136_NAMESERVER": f"{self.lab.primary.address}:53",
            "RFC2136_TSIG_KEY": f"{KEY.name}.",
            "RFC2136_TSIG_SECRET": KEY.secret,
            "RFC2136_TSIG_ALGORITHM": "hmac-sha256.",
        }
        return self._time(command, environment)

    def baseline(self, case: Case) -> Measured:
        """Time Certbot with a hook that does nothing, at a CA that looks at nothing."""
        hook = ("--manual", "--preferred-challenges", "dns", "--manual-auth-hook", "true")
        return self._time(self._certbot("baseline", case, *hook, "--server", self.pebble.directory_url))

    def _certbot(self, name: str, case: Case, *options: str) -> list[str]:
        folders = [
            part for kind in ("config", "work", "logs") for part in (f"--{kind}-dir", str(self.folder / name / kind))
        ]
        domains = [part for domain in case.domains() for part in ("-d", domain)]
        common = ["certonly", "--non-interactive", "--agree-tos", "-m", "a@example.it", "--cert-name", name]
        return [*CERTBOT, *common, *folders, *options, *domains]

    def _time(self, command: list[str], environment: dict[str, str] | None = None) -> Measured:
        for server in self.lab.servers:
            server.relay.counted.clear()
        trust = {"REQUESTS_CA_BUNDLE": str(self.pebble.ca_bundle)}
        started = time.monotonic()
        seconds: float | None = None
        remark = ""
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **trust, **(environment or {})},
                capture_output=True,
                text=True,
                timeout=self.limit_seconds,
                check=False,
            )
            seconds = time.monotonic() - started
            if done.returncode:
                lines = (done.stdout + done.stderr).strip().splitlines()
                seconds, remark = None, f"failed: {' '.join(lines[-3:])[:300]}"
        except subprocess.TimeoutExpired:
            remark = f"stopped after {self.limit_seconds:.0f} s"
        counted = [server.relay.counted for server in self.lab.servers]
        return Measured(seconds, sum(c["QUERY"] for c in counted), sum(c["UPDATE"] for c in counted), remark)

    def _private(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path


def measure(case: Case, options: argparse.Namespace) -> dict[str, Measured]:
    """Run every program on one case, each on servers of its own, so that none finds another's traces."""
    found = {}
    for program in ["baseline", *options.only.split(",")]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            zones = [Zone(zone, policy=f"grant {KEY.name} subdomain {zone}. TXT;") for zone in case.zone_names()]
            lab = BindLab(
                folder / "bind",
                zones,
                [KEY],
                secondaries=2,
                lag_seconds=options.lag,
                delay_seconds=options.delay,
                port=53,
            )
            fake = {"PEBBLE_VA_ALWAYS_VALID": "1"} if program == "baseline" else {}
            with lab:
                late = f"{lab.secondaries[-1].address}:53"
                with Pebble(folder / "pebble", eab=False, environment=fake, dns_server=late) as pebble:
                    bench = Bench(folder, lab, pebble, options.limit)
                    found[program] = getattr(bench, program.replace("-", "_"))(case)
            print(f"{case.names} names in {case.zones} zones, {program}: {found[program]}", file=sys.stderr)
    return found


def table(results: dict[Case, dict[str, Measured]]) -> str:
    """Write the results as Markdown."""
    lines = [
        "| names | zones | program | wall time (s) | beyond Certbot's baseline (s) | queries | UPDATEs |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, by_program in results.items():
        base = by_program["baseline"].seconds
        for program, one in by_program.items():
            wall = one.remark if one.seconds is None else f"{one.seconds:.1f}"
            beyond = "" if one.seconds is None or base is None or program == "lego" else f"{one.seconds - base:.1f}"
            lines.append(
                f"| {case.names} | {case.zones} | {program} | {wall} | {beyond} | {one.queries} | {one.updates} |"
            )
    return "\n".join(lines)


def versions(programs: list[str]) -> str:
    """Say what was measured."""
    parts = [f"Python {sys.version.split()[0]}"]
    packages = ["certbot", "certbot-garr-tcs", "dnspython"]
    packages += ["certbot-dns-rfc2136"] if "dns-rfc2136" in programs else []
    parts += [f"{package} {importlib.metadata.version(package)}" for package in packages]
    assert NAMED is not None  # noqa: S101 - main has looked
    parts.append(subprocess.run([NAMED, "-v"], capture_output=True, text=True, check=True).stdout.split(" (")[0])
    return ", ".join(parts)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lag", type=float, default=3.0, help="seconds that the secondaries are late")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds that each round trip costs")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a program is stopped")
    parser.add_argument("--only", default="garr-tcs,dns-rfc2136,lego")
    parser.add_argument("--cases", default="1x1,10x1,100x1,100x5", help="names x zones")
    options = parser.parse_args()
    programs = [name for name in ("named", "pebble", "lego") if name != "lego" or "lego" in options.only]
    missing = [name for name in programs if not (shutil.which(name) or (name == "named" and NAMED))]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    cases = [Case(*map(int, text.split("x"))) for text in options.cases.split(",")]
    results = {case: measure(case, options) for case in cases}
    print(f"{time.strftime('%Y-%m-%d')}: {versions(options.only.split(','))}\n")
    print(table(results))


if __name__ == "__main__":
    main()
