"""Turn the keys of a [deploy …] section into a Target, or into words that say what is wrong (pure)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.keys import DeploySectionReader
from certbot_garr_tcs.deploy.presets import PRESETS, this_family
from certbot_garr_tcs.deploy.targets import (
    HOLDS_KEY,
    KEY_FORMATS,
    OUTPUTS,
    STARTTLS,
    Output,
    Probe,
    Target,
)
from certbot_garr_tcs.section_reader import could_be_secret, did_you_mean, heading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEYS = (
    "preset",
    "lineage",
    *OUTPUTS,
    "combined-order",
    "pkcs12-password-file",
    "pkcs12-alias",
    "pkcs12-legacy",
    "key-format",
    "owner",
    "mode",
    "key-mode",
    "mkdir",
    "follow-symlinks",
    "test",
    "reload",
    "command-timeout",
    "probe",
    "probe-starttls",
    "probe-name",
    "probe-timeout",
)
"""Every key that a section may have."""

STARTTLS_PORTS = {
    21: "ftp",
    25: "smtp",
    110: "pop3",
    119: "nntp",
    143: "imap",
    389: "ldap",
    587: "smtp",
    3306: "mysql",
    4190: "sieve",
    5222: "xmpp",
    5269: "xmpp-server",
    5432: "postgres",
}
"""Ports where TLS never begins at once (IANA's registry of service names): the default there."""

_COMMANDS = ("test", "reload")
"""SectionReader of which a section with several presets has several values, one a line."""

_PIECES = ("cert", "chain", "fullchain", "key")


def _owner(read: DeploySectionReader) -> tuple[str | None, str | None]:
    value = read.text("owner")
    if value is None:
        return None, None
    match = re.fullmatch(r"([^:\s]+)(?::([^:\s]+))?", value)
    if match is None:
        read.add_problem("owner", "is not user or user:group; write for example root:ssl-cert")
        return None, None
    return match.group(1), match.group(2)


def _combined_order(read: DeploySectionReader) -> tuple[str, ...]:
    value = read.value("combined-order")
    if value is None:
        return ("fullchain", "key")
    pieces = tuple(value.replace(",", " ").split())
    if (
        not pieces
        or len(set(pieces)) < len(pieces)
        or not set(pieces) <= set(_PIECES)
        or "key" not in pieces
        or ("fullchain" in pieces) == ("cert" in pieces)
        or {"fullchain", "chain"} <= set(pieces)
    ):
        read.add_problem("combined-order", "is no order; write for example fullchain key, or key cert chain")
        return ("fullchain", "key")
    return pieces


def _host_and_port(value: str) -> tuple[str, int] | None:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):(\d{1,5})", value)
    if match is None or not 0 < int(match.group(3)) < 1 << 16:
        return None
    return match.group(1) or match.group(2), int(match.group(3))


def _probes(read: DeploySectionReader) -> tuple[Probe, ...]:
    value = read.text("probe")
    starttls = read.one_of("probe-starttls", (*STARTTLS, "none"))
    timeout_seconds = read.seconds("probe-timeout")
    server_name = read.text("probe-name")
    if value is None:
        for key in ("probe-starttls", "probe-name", "probe-timeout"):
            if read.value(key) is not None:
                read.add_problem(key, "says how to probe, but not where; add probe = host:port")
        return ()
    probes = []
    for word in value.split():
        address = _host_and_port(word)
        if address is None:
            read.add_problem("probe", "is not host:port; write for example localhost:443 or [2001:db8::1]:443")
            continue
        host, port = address
        kind = starttls or STARTTLS_PORTS.get(port)
        probe = Probe(host, port, None if kind == "none" else kind, server_name, has_default_timeout=True)
        probes.append(
            replace(probe, timeout_seconds=timeout_seconds, has_default_timeout=False) if timeout_seconds else probe
        )
    return tuple(probes)


def _outputs(read: DeploySectionReader) -> tuple[Output, ...]:
    mode = read.mode("mode", 0o644, forbidden=0o022, whose="files that only the owner may write")
    key_mode = read.mode("key-mode", 0o600, forbidden=0o027, whose="a private key")
    outputs = []
    seen: dict[Path, str] = {}
    for kind in OUTPUTS:
        path = read.path(kind)
        if path is None:
            continue
        if path in seen:
            read.add_problem(kind, f"has the path of {seen[path]} too; give each a file of its own")
        seen[path] = kind
        outputs.append(Output(kind, path, key_mode if kind in HOLDS_KEY else mode))
    return tuple(outputs)


def _password_file(read: DeploySectionReader, base: Path) -> Path | None:
    written = read.values.get("pkcs12-password-file", "")
    if could_be_secret(written) and not written.startswith("/"):
        read.add_problem("pkcs12-password-file", "looks like the password itself; name a file that holds it")
        return None
    return read.path("pkcs12-password-file", base)


def _with_preset(read: DeploySectionReader, family: str) -> dict[str, str]:
    """Return the section's keys on top of its presets'; an empty value drops the presets'."""
    keys = dict(read.values)
    base: dict[str, str] = {}
    keys.pop("preset", None)
    for preset in (read.value("preset") or "").replace(",", " ").split():
        if preset not in PRESETS:
            read.add_problem("preset", f"is none of {', '.join(PRESETS)}{did_you_mean(preset, PRESETS)}")
            continue
        for key, value in PRESETS[preset].keys_for(family, keys.get("lineage", "")).items():
            if key in _COMMANDS and key in base:
                base[key] += f"\n{value}"
            elif base.setdefault(key, value) != value and key not in keys:
                how = "give each service a section of its own" if key in OUTPUTS else f"write {key} yourself"
                read.add_problem("preset", f"has several services that differ in {key}; {how}")
    for key, value in keys.items():
        if not value and key not in base:
            read.value(key)  # notes that it is empty
    return {key: value for key, value in {**base, **keys}.items() if value}


def target_from_keys(
    name: str,
    keys: Mapping[str, str],
    source: Path,
    *,
    family: str | None = None,
    lines: Mapping[str, int] | None = None,
) -> tuple[Target | None, list[str]]:
    """Return the Target that a ``[deploy NAME]`` section asks for, and all that is wrong with it.

    ``keys``: dashes normalised (``key-mode``), values as strings with quotes stripped; ``lines``: the number of each
    key's line. ``family`` chooses
    the preset's distribution; by default this machine's. Each problem names section and key, what is wrong,
    and what would be right. The Target is ``None`` if and only if there is a problem. Neither paths, owners
    nor commands are looked up: that is the rollout's.
    """
    read = DeploySectionReader(heading("deploy", name), keys, KEYS, lines)
    read.values = _with_preset(read, family or this_family())
    lineage = read.text("lineage")
    if lineage is None and "lineage" not in keys:
        read.add_problem("lineage", "is missing; write the name that certbot certificates shows")
    elif lineage is not None and (("/" in lineage) or lineage in (".", "..")):
        read.add_problem("lineage", "is no name of a lineage; write the one that certbot certificates shows")
    outputs = _outputs(read)
    owner, group = _owner(read)
    password_file = _password_file(read, source.parent)
    keystore = any(output.kind == "pkcs12" for output in outputs)
    if keystore and read.value("pkcs12-password-file") is None:
        read.add_problem("pkcs12-password-file", "is missing; pkcs12 needs a file that holds the password")
    target = Target(
        name=name,
        lineage=lineage or "?",
        outputs=outputs,
        source=source,
        owner=owner,
        group=group,
        combined_order=_combined_order(read),
        key_format=read.one_of("key-format", KEY_FORMATS) or "pkcs8",
        pkcs12_password_file=password_file,
        pkcs12_alias=read.value("pkcs12-alias"),
        pkcs12_legacy=read.flag("pkcs12-legacy") or False,
        mkdir=read.flag("mkdir") or False,
        follow_symlinks=read.flag("follow-symlinks") or False,
        tests=read.commands("test"),
        reloads=read.commands("reload"),
        command_timeout_seconds=read.seconds("command-timeout"),
        probes=_probes(read),
    )
    if not read.problems and not (outputs or target.reloads):
        read.add_problem("fullchain", "is missing, and so is every other file and reload; name at least one of them")
    return (None if read.problems else target), read.problems
