"""Side effects that a deployment needs; tests replace them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.commands import Runner, run
from certbot_garr_tcs.deploy.tls_client import fetch_certificate

if TYPE_CHECKING:
    from collections.abc import Callable

    from certbot_garr_tcs.deploy.probe import CertificateFetcher

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Environment:
    """Messages, commands, network, and clocks (wall and steady, both in seconds).

    ``notify``: for success; ``warn``: for what the administrator must see, also with ``certbot -q``, which shows
    errors alone. ``lineage_of``: returns the lineage of a certificate (DER), and whether it is its current one.
    """

    notify: Callable[[str], None]
    warn: Callable[[str], None] = logger.error
    run: Runner = run
    fetch_certificate: CertificateFetcher = fetch_certificate
    lineage_of: Callable[[bytes], tuple[str, bool] | None] = lambda _: None
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
