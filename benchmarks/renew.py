"""What our installer adds to a timer that finds nothing due: ``certbot renew`` over many lineages.

``python benchmarks/renew.py [--lineages 300] [--runs 5]`` in an environment with the extra ``sandbox``. One
certificate is issued by the practice CA and becomes many lineages, each with a target of its own that is right
already. The same lineages with and without our installer are renewed in turns, and medians are compared.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from configobj import ConfigObj

from certbot_garr_tcs.sandbox.certbot import find_certbot

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.certbot_runner import CertbotRunner
from support.practice_ca import PracticeCa

NAME = "www.practice.example"


def multiply(certbot: CertbotRunner, count: int, installer: str | None) -> None:
    """Make many lineages of the one that was issued; it goes."""
    root = certbot.config_dir
    seed = ConfigObj(str(root / "renewal" / f"{NAME}.conf"), encoding="utf-8", interpolation=False)
    for number in range(count):
        name = f"host{number}.practice.example"
        shutil.copytree(root / "archive" / NAME, root / "archive" / name)
        (root / "live" / name).mkdir()
        for kind in ("cert", "chain", "fullchain", "privkey"):
            (root / "live" / name / f"{kind}.pem").symlink_to(f"../../archive/{name}/{kind}1.pem")
            seed[kind] = str(root / "live" / name / f"{kind}.pem")
        seed["archive_dir"] = str(root / "archive" / name)
        seed["renewalparams"]["installer"] = str(installer)
        # Certbot asks the CA once in a while when to renew; that would measure the CA.
        later = (datetime.now() + timedelta(days=1)).isoformat(timespec="seconds")  # noqa: DTZ005  (Certbot's format)
        seed["acme_renewal_info"] = {"ari_retry_after": later}
        seed.filename = str(root / "renewal" / f"{name}.conf")
        seed.write()
    (root / "renewal" / f"{NAME}.conf").unlink()


def section(folder: Path, number: int) -> str:
    """Return a target of the usual shape."""
    return (
        f"[deploy host{number}]\nlineage = host{number}.practice.example\nfullchain = {folder}/{number}.pem\n"
        f"key = {folder}/{number}.key\ntest = true\nreload = true\n"
    )


def renew(certbot: CertbotRunner) -> float:
    """Time one run of the timer."""
    started = time.perf_counter()
    result = certbot.run_as_process("renew", "--no-random-sleep-on-renew")
    seconds = time.perf_counter() - started
    if result.returncode or "(success)" in result.output:
        sys.exit(f"not a run where nothing is due:\n{result.output[-2000:]}")
    return seconds


def main() -> None:
    """Compare, and print a table of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lineages", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tls = folder / "tls"
        tls.mkdir(mode=0o755)
        certbots = {}
        with PracticeCa(folder / "ca") as ca:
            for kind in ("without", "with"):
                certbot = certbots[kind] = CertbotRunner(find_certbot(), folder / kind)
                targets = (
                    "".join(section(tls, number) for number in range(arguments.lineages)) if kind == "with" else ""
                )
                certbot.use(ca, targets)
                certbot.run("certonly", "-n", "-a", "garr-tcs", "-d", NAME)
                multiply(certbot, arguments.lineages, "garr-tcs" if kind == "with" else None)
        for certbot in certbots.values():
            renew(certbot)  # the first one deploys, and warms the caches
        if len(list(tls.iterdir())) != 2 * arguments.lineages:
            sys.exit("not every target was deployed")
        times: dict[str, list[float]] = {kind: [] for kind in certbots}
        for run in range(arguments.runs):
            for kind in certbots if run % 2 else reversed(certbots):
                times[kind].append(renew(certbots[kind]))
    plain, ours = (statistics.median(times[kind]) for kind in ("without", "with"))
    python = ".".join(map(str, sys.version_info[:3]))
    print(f"Python {python}, {arguments.runs} runs each, interleaved, medians")
    print()
    print(f"| `certbot renew`, {arguments.lineages} lineages, none due | seconds |")
    print("|---|---|")
    print(f"| without our installer | {plain:.2f} |")
    print(f"| with it, a target for each | {ours:.2f} |")
    print(f"| ratio | {ours / plain:.2f} |")


if __name__ == "__main__":
    main()
