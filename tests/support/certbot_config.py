"""Certbot's configuration as Certbot's own parser makes it, with all installed plugins."""

from __future__ import annotations

import argparse
import functools
import json
import warnings
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():
    # Certbots of distributions import what their companions have deprecated since.
    warnings.simplefilter("ignore")
    from certbot import configuration
    from certbot._internal import cli
    from certbot._internal.plugins import disco

if TYPE_CHECKING:
    from pathlib import Path


def parse(folder: Path, *arguments: str) -> Any:
    """Parse a certbot command line (verb first) with config, work and logs folders below ``folder``."""
    if hasattr(cli, "set_by_cli"):  # before 2.7: what another command line said is remembered there
        cli.set_by_cli.detector = None
    folders = [part for name in ("config", "work", "logs") for part in (f"--{name}-dir", str(folder / name))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parsed = cli.prepare_and_parse_args(installed_plugins(), [*arguments, *folders])
    # Before 2.7 certbot's main function did this, not its parser.
    return configuration.NamespaceConfig(parsed) if isinstance(parsed, argparse.Namespace) else parsed


@functools.cache
def installed_plugins() -> Any:
    """Find all installed plugins, once: parsing reads what they declare, and changes none."""
    return disco.PluginsRegistry.find_all()


def make_account(folder: Path, place: str, name: str, created: str = "") -> str:
    """Put a registered account where Certbot stores it; ``place``: host and path of the directory URL."""
    account = folder / "config" / "accounts" / place / name
    account.mkdir(parents=True)
    for file in ("regr.json", "meta.json", "private_key.json"):
        (account / file).write_text("{}", encoding="utf-8")
    if created:
        (account / "meta.json").write_text(json.dumps({"creation_dt": created}), encoding="utf-8")
    return name


def make_lineage(folder: Path, name: str, certificate: bytes = b"", **params: str) -> None:
    """Write a renewal file, and the certificate that it names."""
    live = folder / "config" / "live" / name
    live.mkdir(parents=True)
    (live / "cert.pem").write_bytes(certificate)
    renewal = folder / "config" / "renewal"
    renewal.mkdir(exist_ok=True)
    lines = [f"cert = {live / 'cert.pem'}", "[renewalparams]", *(f"{key} = {value}" for key, value in params.items())]
    (renewal / f"{name}.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
