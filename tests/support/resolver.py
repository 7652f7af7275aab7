"""A name server to whom every name is this machine: pebble-challtestsrv, on a free port."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query
import pytest

from certbot_garr_tcs.sandbox.settings import free_port
from support.needs import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TRIES = 5
_START_SECONDS = 10.0


@contextlib.contextmanager
def every_name_is_here(log: Path) -> Iterator[str]:
    """Run the name server, and yield its address and port as Pebble's -dnsserver takes them."""
    program = need_program("pebble-challtestsrv")
    with log.open("wb") as output:
        for _ in range(_TRIES):
            port = free_port()
            address = f"127.0.0.1:{port}"
            process = subprocess.Popen(
                [program, "-dns01", address, "-management", f"127.0.0.1:{free_port()}", "-defaultIPv6", ""]
                + [part for kind in ("http01", "https01", "tlsalpn01") for part in (f"-{kind}", "")],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                if _answers(process, port):
                    yield address
                    return
            finally:
                process.terminate()
                process.wait(5)
    pytest.fail(f"pebble-challtestsrv did not start: {log.read_text(encoding='utf-8')}")


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    question = dns.message.make_query("www.example.", "A")
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(dns.exception.DNSException, OSError):
            if dns.query.udp(question, "127.0.0.1", timeout=0.2, port=port).answer:
                return True
        time.sleep(0.02)
    return False
