"""What the plugin costs the rest of Certbot: ``certbot --version`` with and without it.

Run it with a Python that can make virtual environments: ``python benchmarks/startup.py [--runs 20] WHEEL``. Two
environments are made in a temporary folder, alike but for the wheel; both are started in turns, and medians
are compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def environment(folder: Path, *packages: str) -> Path:
    """Make a virtual environment with Certbot and the packages; return its certbot."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    # The same libraries in both: what the plugin needs besides Certbot is installed, but not the plugin.
    subprocess.run([*pip, "certbot", "dnspython>=2.3", "zope.interface>=5.4", *packages], check=True)
    subprocess.run([str(folder / "bin" / "python"), "-m", "compileall", "-q", str(folder / "lib")], check=False)
    return folder / "bin" / "certbot"


def seconds(certbot: Path) -> float:
    """Time one start."""
    started = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([str(certbot), "--version"], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""}, **quiet)
    return time.perf_counter() - started


def main() -> None:
    """Compare, and print a line of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        without = environment(Path(folder) / "without")
        with_it = environment(Path(folder) / "with", str(arguments.wheel.resolve()))
        for certbot in (without, with_it):
            seconds(certbot)
        times: dict[Path, list[float]] = {without: [], with_it: []}
        for run in range(arguments.runs):
            for certbot in (without, with_it) if run % 2 else (with_it, without):
                times[certbot].append(seconds(certbot))
        version = subprocess.run([str(without), "--version"], capture_output=True, text=True, check=True)
    plain, ours = (statistics.median(times[certbot]) for certbot in (without, with_it))
    python = ".".join(map(str, sys.version_info[:3]))
    print(f"{version.stdout.strip()}, Python {python}, {arguments.runs} runs each, interleaved, medians")
    print()
    print("| `certbot --version` | seconds |")
    print("|---|---|")
    print(f"| without the plugin | {plain:.3f} |")
    print(f"| with the plugin | {ours:.3f} |")
    print(f"| ratio | {ours / plain:.3f} |")


if __name__ == "__main__":
    main()
