"""Measure what it costs to find that targets are right already: python benchmarks/converge.py [TARGETS]."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.pki import material
from support.service import Host

ROUNDS = 20


def snapshot(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return inode and time of change of everything below a folder."""
    return {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in [folder, *folder.rglob("*")]}


def main(count: int) -> None:
    """Deploy once, then converge again and again: one process for all lineages, and one per lineage."""
    names = [f"www{number}.example.it" for number in range(count)]
    with tempfile.TemporaryDirectory() as name:
        host = Host(Path(name), *names)
        host.targets = [host.services[each].target(each) for each in names]
        for each in names:
            host.put_lineage(material(each, (each,)))
        host.process().restart()
        before = snapshot(Path(name))
        together, apart = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            host.process().converge(*names)
            together.append(time.perf_counter() - started)
            started = time.perf_counter()
            for each in names:
                host.process().converge(each)
            apart.append(time.perf_counter() - started)
        wrote = "nothing" if snapshot(Path(name)) == before else "SOMETHING"
        print(f"{count} targets that are right, one process:            {statistics.median(together):.3f} s")
        print(f"{count} targets that are right, one Rollout per lineage: {statistics.median(apart):.3f} s")
        print(f"written: {wrote}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
