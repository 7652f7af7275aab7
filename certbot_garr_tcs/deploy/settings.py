"""What a [deploy …] section of garr-tcs.ini asks for, and how it is read (pure)."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from certbot_garr_tcs.deploy.presets import PRESETS, this_family
from certbot_garr_tcs.section_reader import SectionReader, could_be_secret, did_you_mean, heading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from certbot_garr_tcs.section_reader import Section

OUTPUTS = ("cert", "chain", "fullchain", "key", "combined", "pkcs12")
"""What a target can ask for: key of the section, and name of the content."""

PRIVATE_KEY_OUTPUTS = frozenset({"key", "combined", "pkcs12"})
"""Outputs that contain the private key, and so get ``key-mode``."""

KEY_FORMATS = ("pkcs8", "traditional")
"""PKCS#8 (RFC 5958), or the algorithm's own (RFC 8017 appendix A.1.2, RFC 5915)."""

STARTTLS = (
    "smtp",
    "lmtp",
    "imap",
    "pop3",
    "sieve",
    "nntp",
    "ftp",
    "xmpp",
    "xmpp-server",
    "ldap",
    "postgres",
    "mysql",
    "mariadb",
)
"""Protocols in which TLS begins after a few commands in clear text."""

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
"""Keys that have several values, one a line, in a section with several presets."""

_PIECES = ("cert", "chain", "fullchain", "key")

_QUOTES = frozenset("'\"\\")
_NEEDS_SHELL = re.compile(r"[|&;<>()$`*~]|^\s*\w+=")
_PART = re.compile(
    r"""
      \\. | '[^']*'                      # quoted for a shell, too
    | "(?:\\[^$`]|[^"\\$`])*"           # "…" in which nothing is expanded
    | (?P<special> "(?:\\[^$`]|[^"\\$`])*\\?[$`] | (?:^\s*)\w+= | (?:(?<=\s)|^)~ | [|&;<>()$`*]+ )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Output:
    """One file of a target: its content (``kind``: one of ``OUTPUTS``), path and mode."""

    kind: str
    path: Path
    mode: int

    def __post_init__(self) -> None:
        """Refuse what could not be written, or what others could read a key from."""
        if self.kind not in OUTPUTS or not self.path.is_absolute():
            raise ValueError(f"no output: {self.kind} at {self.path}")
        if self.mode & (0o027 if self.has_private_key else 0o022):
            raise ValueError(f"mode {self.mode:04o} is too wide for {self.kind}")

    @property
    def has_private_key(self) -> bool:
        """Return whether the file contains the private key."""
        return self.kind in PRIVATE_KEY_OUTPUTS


@dataclass(frozen=True)
class Probe:
    """A port where the service serves the certificate.

    ``starttls``: one of ``STARTTLS``, ``None`` where TLS begins at once. ``server_name``: sent as SNI
    (RFC 6066 §3); ``None``: chosen from the certificate's names. ``has_default_timeout``: the section
    has no ``probe-timeout``, and a service that is restarted gets more time.
    """

    host: str
    port: int
    starttls: str | None = None
    server_name: str | None = None
    timeout_seconds: float = 30.0
    has_default_timeout: bool = False

    def __post_init__(self) -> None:
        """Refuse an address that nobody could listen on."""
        if not self.host or not 0 < self.port < 1 << 16 or self.timeout_seconds <= 0:
            raise ValueError(f"no probe: {self.host!r} port {self.port}")
        if self.starttls is not None and self.starttls not in STARTTLS:
            raise ValueError(f"no STARTTLS protocol: {self.starttls}")

    @property
    def where(self) -> str:
        """Return host and port as the user wrote them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Target:
    """A [deploy …] section: which files contain what of one lineage, and the service that reads them.

    ``owner``, ``group``: names or numbers as written, ``None`` for the running user's. ``tests`` and
    ``reloads`` are argument vectors, run without a shell; there are several where several services share the
    files. ``command_timeout_seconds``: ``None`` gives a command that restarts more time than others. A target without
    outputs only tests, reloads and probes: its service reads Certbot's files itself. ``source``: file, for messages.
    """

    name: str
    lineage: str
    outputs: tuple[Output, ...]
    source: Path
    owner: str | None = None
    group: str | None = None
    combined_order: tuple[str, ...] = ("fullchain", "key")
    key_format: str = "pkcs8"
    pkcs12_password_file: Path | None = None
    pkcs12_alias: str | None = None
    pkcs12_legacy: bool = False
    mkdir: bool = False
    follow_symlinks: bool = False
    tests: tuple[tuple[str, ...], ...] = ()
    reloads: tuple[tuple[str, ...], ...] = ()
    command_timeout_seconds: float | None = None
    probes: tuple[Probe, ...] = ()

    @property
    def title(self) -> str:
        """Return the section's heading as the user wrote it, in brackets."""
        return f"[deploy {self.name}]"


def read_target(section: Section, source: Path, *, family: str | None = None) -> tuple[Target | None, list[str]]:
    """Return the target of a section, or every problem of it, in words.

    ``family``: of the distribution whose presets apply; by default this machine's. Paths, owners and commands are
    looked up later, when the target is deployed.
    """
    reader = DeploySectionReader(heading("deploy", section.name), section.values, KEYS, section.lines)
    reader.values = _with_preset(reader, family or this_family())
    lineage = reader.text("lineage")
    if lineage is None and "lineage" not in section.values:
        reader.add_problem("lineage", "is missing; write the name that certbot certificates shows")
    elif lineage is not None and (("/" in lineage) or lineage in (".", "..")):
        reader.add_problem("lineage", "is no name of a lineage; write the one that certbot certificates shows")
    outputs = _outputs(reader)
    owner, group = _owner(reader)
    password_file = _password_file(reader, source.parent)
    keystore = any(output.kind == "pkcs12" for output in outputs)
    if keystore and reader.value("pkcs12-password-file") is None:
        reader.add_problem("pkcs12-password-file", "is missing; pkcs12 needs a file that holds the password")
    target = Target(
        name=section.name,
        lineage=lineage or "?",
        outputs=outputs,
        source=source,
        owner=owner,
        group=group,
        combined_order=_combined_order(reader),
        key_format=reader.one_of("key-format", KEY_FORMATS) or "pkcs8",
        pkcs12_password_file=password_file,
        pkcs12_alias=reader.value("pkcs12-alias"),
        pkcs12_legacy=reader.flag("pkcs12-legacy") or False,
        mkdir=reader.flag("mkdir") or False,
        follow_symlinks=reader.flag("follow-symlinks") or False,
        tests=reader.commands("test"),
        reloads=reader.commands("reload"),
        command_timeout_seconds=reader.seconds("command-timeout"),
        probes=_probes(reader),
    )
    if not reader.problems and not (outputs or target.reloads):
        reader.add_problem("fullchain", "is missing, and so is every other file and reload; name at least one of them")
    return (None if reader.problems else target), reader.problems


def _owner(reader: DeploySectionReader) -> tuple[str | None, str | None]:
    value = reader.text("owner")
    if value is None:
        return None, None
    match = re.fullmatch(r"([^:\s]+)(?::([^:\s]+))?", value)
    if match is None:
        reader.add_problem("owner", "is not user or user:group; write for example root:ssl-cert")
        return None, None
    return match.group(1), match.group(2)


def _combined_order(reader: DeploySectionReader) -> tuple[str, ...]:
    value = reader.value("combined-order")
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
        reader.add_problem("combined-order", "is no order; write for example fullchain key, or key cert chain")
        return ("fullchain", "key")
    return pieces


def _host_and_port(value: str) -> tuple[str, int] | None:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):(\d{1,5})", value)
    if match is None or not 0 < int(match.group(3)) < 1 << 16:
        return None
    return match.group(1) or match.group(2), int(match.group(3))


def _probes(reader: DeploySectionReader) -> tuple[Probe, ...]:
    value = reader.text("probe")
    starttls = reader.one_of("probe-starttls", (*STARTTLS, "none"))
    timeout_seconds = reader.seconds("probe-timeout")
    server_name = reader.text("probe-name")
    if value is None:
        for key in ("probe-starttls", "probe-name", "probe-timeout"):
            if reader.value(key) is not None:
                reader.add_problem(key, "says how to probe, but not where; add probe = host:port")
        return ()
    probes = []
    for word in value.split():
        address = _host_and_port(word)
        if address is None:
            reader.add_problem("probe", "is not host:port; write for example localhost:443 or [2001:db8::1]:443")
            continue
        host, port = address
        kind = starttls or STARTTLS_PORTS.get(port)
        probe = Probe(host, port, None if kind == "none" else kind, server_name, has_default_timeout=True)
        probes.append(
            replace(probe, timeout_seconds=timeout_seconds, has_default_timeout=False) if timeout_seconds else probe
        )
    return tuple(probes)


def _outputs(reader: DeploySectionReader) -> tuple[Output, ...]:
    mode = reader.mode("mode", 0o644, forbidden=0o022, whose="files that only the owner may write")
    key_mode = reader.mode("key-mode", 0o600, forbidden=0o027, whose="a private key")
    outputs = []
    seen: dict[Path, str] = {}
    for kind in OUTPUTS:
        path = reader.path(kind)
        if path is None:
            continue
        if path in seen:
            reader.add_problem(kind, f"has the path of {seen[path]} too; give each a file of its own")
        seen[path] = kind
        outputs.append(Output(kind, path, key_mode if kind in PRIVATE_KEY_OUTPUTS else mode))
    return tuple(outputs)


def _password_file(reader: DeploySectionReader, base: Path) -> Path | None:
    written = reader.values.get("pkcs12-password-file", "")
    if could_be_secret(written) and not written.startswith("/"):
        reader.add_problem("pkcs12-password-file", "looks like the password itself; name a file that holds it")
        return None
    return reader.path("pkcs12-password-file", base)


def _with_preset(reader: DeploySectionReader, family: str) -> dict[str, str]:
    """Return the section's keys on top of its presets'; an empty value drops the presets'."""
    keys = dict(reader.values)
    base: dict[str, str] = {}
    keys.pop("preset", None)
    for preset in (reader.value("preset") or "").replace(",", " ").split():
        if preset not in PRESETS:
            reader.add_problem("preset", f"is none of {', '.join(PRESETS)}{did_you_mean(preset, PRESETS)}")
            continue
        for key, value in PRESETS[preset].keys_for(family, keys.get("lineage", "")).items():
            if key in _COMMANDS and key in base:
                base[key] += f"\n{value}"
            elif base.setdefault(key, value) != value and key not in keys:
                how = "give each service a section of its own" if key in OUTPUTS else f"write {key} yourself"
                reader.add_problem("preset", f"has several services that differ in {key}; {how}")
    for key, value in keys.items():
        if not value and key not in base:
            reader.value(key)  # adds the problem that it is empty
    return {key: value for key, value in {**base, **keys}.items() if value}


def path_conflicts(targets: Iterable[Target]) -> list[str]:
    """Return a problem for each pair of targets that write to the same path, as written in the file.

    ``plan.file_conflicts`` finds different paths of one file, when the targets are deployed.
    """
    first_of: dict[Path, Target] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for target in targets:
        for output in target.outputs:
            first = first_of.setdefault(output.path, target)
            if first is not target:
                shared.setdefault((target.title, first.title), []).append(output.kind)
    return [
        f"{title} {', '.join(kinds)}: the same path as in {other}; give each section paths of its own, or write one "
        "section for services that share their files, with preset = postfix dovecot for example"
        for (title, other), kinds in shared.items()
    ]


class DeploySectionReader(SectionReader):
    """Reads the kinds of values that only a [deploy …] section has: paths, modes, commands, seconds."""

    def path(self, key: str, base: Path | None = None) -> Path | None:
        """Return the absolute path of a file; a relative one is relative to ``base`` where there is one."""
        value = self.value(key)
        if value is None:
            return None
        path = base / value if base else Path(value)
        if not path.is_absolute() or ".." in path.parts or path == Path("/"):
            self.add_problem(key, "is no absolute path of a file; begin with /, and write no .. in it")
            return None
        return path

    def mode(self, key: str, default: int, *, forbidden: int, whose: str) -> int:
        """Return an octal mode that lets the owner read and has none of the forbidden bits."""
        value = self.value(key)
        if value is None:
            return default
        if not re.fullmatch(r"0?[0-7]{3}", value):
            self.add_problem(key, f"is no octal mode; write for example {default:04o}")
            return default
        mode = int(value, 8)
        if mode & forbidden or not mode & 0o400:
            self.add_problem(key, f"is not a mode for {whose}; write for example {default:04o}")
            return default
        return mode

    def commands(self, key: str) -> tuple[tuple[str, ...], ...]:
        """Return argument vectors, split as a shell would split words: one for each line, and none twice."""
        value = self.value(key)
        found = [self._command(key, line) for line in value.splitlines()] if value else []
        return tuple(dict.fromkeys(words for words in found if words))

    def _command(self, key: str, value: str) -> tuple[str, ...]:
        try:
            # Without quotes the results are equal, and a timer's run reads hundreds of these.
            words = tuple(shlex.split(value) if _QUOTES.intersection(value) else value.split())
        except ValueError as error:
            self.add_problem(key, f"quotes do not match ({error}); quote it as for a shell")
            return ()
        found = _NEEDS_SHELL.search(value) and _needs_shell(value)
        if found:
            self.add_problem(key, f"{found} needs a shell, and none is used; quote it, or write sh -c '…'")
        if not words or not words[0]:
            self.add_problem(key, "names no command; write for example nginx -t")
            return ()
        return words

    def seconds(self, key: str) -> float | None:
        """Return a number of seconds above zero."""
        value = self.value(key)
        if value is None:
            return None
        if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,9})?", value) or float(value) <= 0:
            self.add_problem(key, "is no number of seconds above zero; write for example 120, without a unit")
            return None
        return float(value)


def _needs_shell(command: str) -> str:
    """Return the first part of a command, outside quotes, that only a shell understands; empty where there is none."""
    for part in _PART.finditer(command):
        special = part.group("special")
        if special:
            return "NAME=value" if special.endswith("=") else special[-1] if special.startswith('"') else special
    return ""
