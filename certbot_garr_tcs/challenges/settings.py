"""The [dns-01 …] and [http-01 …] sections of garr-tcs.ini: their values, and what is wrong with them."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Callable

from certbot_garr_tcs.challenges.dns.endpoints import parse_server
from certbot_garr_tcs.challenges.dns.keyfile import TsigKey, parse_key_file
from certbot_garr_tcs.errors import ConfigError
from certbot_garr_tcs.section_reader import SectionReader, as_ip_address, could_be_secret, did_you_mean, heading

if TYPE_CHECKING:
    from pathlib import Path

    from certbot_garr_tcs.section_reader import Section

DNS_01 = "dns-01"
HTTP_01 = "http-01"

_TSIG_KEYS = ("tsig-name", "tsig-secret", "tsig-secret-file", "tsig-algorithm")
KEYS = ("via", "server", "zone", "tsig-keyfile", *_TSIG_KEYS, "propagation", "timeout")
"""Every key that a section without ``via`` may have."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_PLUGIN = re.compile(r"[a-z][a-z0-9_.:-]{0,63}", re.IGNORECASE)
_DAY_SECONDS = 86400

ALGORITHMS = (
    "hmac-sha256",
    "hmac-sha384",
    "hmac-sha512",
    "hmac-sha224",
    "hmac-sha256-128",
    "hmac-sha384-192",
    "hmac-sha512-256",
    "hmac-sha1",
    "hmac-md5.sig-alg.reg.int",
)
"""TSIG algorithms (RFC 8945 §6) that ``tsig-algorithm`` takes, safest first."""

_WEAK = frozenset({"hmac-sha1", "hmac-md5.sig-alg.reg.int"})


class PropagationMethod(Enum):
    """How to find out that a TXT record can be seen."""

    AUTHORITATIVE = "authoritative"
    RESOLVERS = "resolvers"
    SECONDS = "seconds"


@dataclass(frozen=True)
class Propagation:
    """How to wait for a TXT record before the CA looks for it.

    ``resolvers`` (host or address, optional ``:port``) belongs to RESOLVERS, ``seconds`` to SECONDS.
    """

    method: PropagationMethod = PropagationMethod.AUTHORITATIVE
    resolvers: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Rfc2136Settings:
    """How to update a zone (RFC 2136).

    ``server``: host or address, optional port; ``None`` is the zone's SOA primary. ``zone``: ``None``
    is found by SOA. ``tsig``: ``None`` updates without a key. ``timeout_seconds``: for all of waiting.
    """

    server: str | None = None
    zone: str | None = None
    tsig: TsigKey | None = None
    propagation: Propagation = field(default_factory=Propagation)
    timeout_seconds: float = 120.0


@dataclass(frozen=True)
class DelegateSettings:
    """Another Certbot authenticator, and its options by their full names, as written.

    The options show in no ``repr``: any of them may be that plugin's secret.
    """

    plugin: str
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class SolverSection:
    """One section: the names that it is for, and the method that proves control of them.

    ``suffix``: it is for this name and those below it; lower case without a final dot, empty is every name.
    ``source``: the file, for messages.
    """

    challenge_type: str
    suffix: str
    method: Rfc2136Settings | DelegateSettings
    source: Path

    @property
    def title(self) -> str:
        """The section's heading, in brackets."""
        return f"[{self.challenge_type} {self.suffix}]" if self.suffix else f"[{self.challenge_type}]"


def read_solver_section(
    section: Section, source: Path, read_secret: Callable[[str], str]
) -> tuple[SolverSection | None, list[str]]:
    """Return a section's solver settings, or every problem of it, in words.

    ``read_secret`` reads the file that a key names and raises ``ConfigError``. Options of another plugin are
    checked later, against the plugin.
    """
    challenge_type, suffix = section.kind, section.name.rstrip(".").lower()
    is_delegated = "via" in section.values
    keys = SectionReader(heading(challenge_type, suffix), section.values, None if is_delegated else KEYS, section.lines)
    _check_suffix(keys, challenge_type, suffix)
    method: Rfc2136Settings | DelegateSettings | None = None
    if is_delegated:
        method = _delegate(keys)
    elif challenge_type == DNS_01:
        method = _rfc2136(keys, read_secret)
    else:
        keys.add_problem("via", "is missing: say which Certbot authenticator serves it, such as via = webroot")
    if keys.problems or method is None:
        return None, keys.problems
    return SolverSection(challenge_type, suffix, method, source), []


def _check_suffix(keys: SectionReader, challenge_type: str, suffix: str) -> None:
    if as_ip_address(suffix):
        if challenge_type == DNS_01:
            keys.problems.append(
                f"{keys.heading} names an IP address, which dns-01 cannot prove; use [http-01 {suffix}]"
            )
    elif suffix.startswith("*."):
        keys.problems.append(f"{keys.heading} names a wildcard; {suffix[2:]} alone covers it and everything below")
    elif suffix and not _is_dns_name(suffix):
        keys.problems.append(f"{keys.heading} names no DNS name (internationalised names: write the xn-- form)")


def _is_dns_name(text: str) -> bool:
    return all(_LABEL.fullmatch(label) for label in text.rstrip(".").split("."))


def _delegate(keys: SectionReader) -> DelegateSettings | None:
    plugin = keys.text("via")
    if plugin is None:
        return None
    if not _PLUGIN.fullmatch(plugin):
        keys.add_problem("via", "is no name of a Certbot plugin; certbot plugins lists them")
    if plugin == "garr-tcs":
        keys.add_problem("via", "= garr-tcs would lead back here; name another authenticator, or remove the line")
    options = tuple((key, value) for key, value in keys.values.items() if key != "via")
    return DelegateSettings(plugin, options)


def _rfc2136(keys: SectionReader, read_secret: Callable[[str], str]) -> Rfc2136Settings:
    timeout = keys.number("timeout", 1, _DAY_SECONDS)
    zone = keys.text("zone")
    if zone is not None and not _is_dns_name(zone):
        keys.add_problem("zone", "is no DNS name (internationalised names: write the xn-- form)")
    server = keys.text("server")
    if server is not None:
        _check_server(keys, "server", server)
    return Rfc2136Settings(
        server=server,
        zone=zone.rstrip(".").lower() if zone else None,
        tsig=_tsig(keys, read_secret),
        propagation=_propagation(keys),
        timeout_seconds=float(timeout) if timeout else 120.0,
    )


def _check_server(keys: SectionReader, where: str, text: str) -> None:
    try:
        parse_server(text)
    except ConfigError as error:
        keys.add_problem(where, f"cannot be used: {error}")


def _propagation(keys: SectionReader) -> Propagation:
    text = keys.text("propagation")
    if text is None:
        return Propagation()
    method, *rest = text.split()
    method = method.lower()
    if method == PropagationMethod.AUTHORITATIVE.value and not rest:
        return Propagation()
    if method == PropagationMethod.RESOLVERS.value and rest:
        for position, resolver in enumerate(rest, 1):
            _check_server(keys, f"propagation: resolver {position}", resolver)
        return Propagation(PropagationMethod.RESOLVERS, resolvers=tuple(rest))
    if method == PropagationMethod.SECONDS.value and len(rest) == 1:
        if re.fullmatch(r"[0-9]{1,5}", rest[0]) and int(rest[0]) <= _DAY_SECONDS:
            return Propagation(PropagationMethod.SECONDS, seconds=float(rest[0]))
        keys.add_problem("propagation", f"takes a whole number up to {_DAY_SECONDS}, without a unit: seconds 20")
        return Propagation()
    near = did_you_mean(method, [each.value for each in PropagationMethod])
    keys.add_problem("propagation", f'must be "authoritative", "resolvers ADDRESS …" or "seconds NUMBER"{near}')
    return Propagation()


def _tsig(keys: SectionReader, read_secret: Callable[[str], str]) -> TsigKey | None:
    if keys.has("tsig-keyfile"):
        if keys.has(*(key for key in _TSIG_KEYS if key != "tsig-name")):
            keys.add_problem(
                "tsig-keyfile",
                "holds secret and algorithm; remove tsig-secret, tsig-secret-file and tsig-algorithm (tsig-name "
                "chooses among several keys of the file)",
            )
        return _tsig_from_file(keys, read_secret)
    if not keys.has(*_TSIG_KEYS):
        return None
    name, secret = _tsig_name(keys), _tsig_secret(keys, read_secret)
    if not keys.has("tsig-name"):
        keys.add_problem("tsig-name", "is missing: a TSIG key is a name and a secret")
    if not keys.has("tsig-secret", "tsig-secret-file"):
        keys.add_problem("tsig-secret", "(or tsig-secret-file) is missing: a TSIG key is a name and a secret")
    algorithm = _algorithm(keys)
    if name is None or secret is None or algorithm is None:
        return None
    return TsigKey(name, secret, algorithm)


def _tsig_name(keys: SectionReader) -> str | None:
    name = keys.value("tsig-name")
    if name is None:
        return None
    if could_be_secret(name):
        keys.add_problem("tsig-name", "looks like a secret; if it stands in the place of tsig-secret, swap them")
        return None
    if not _is_dns_name(name):
        keys.add_problem("tsig-name", "is no name of a key: it is like a DNS name")
        return None
    return name


def _tsig_secret(keys: SectionReader, read_secret: Callable[[str], str]) -> str | None:
    if keys.has("tsig-secret") and keys.has("tsig-secret-file"):
        keys.add_problem("tsig-secret", "and tsig-secret-file are both there; keep one")
    if keys.has("tsig-secret-file"):
        where, secret = "tsig-secret-file", keys.file("tsig-secret-file", read_secret)
        secret = None if secret is None else "".join(secret.split())
    else:
        where, secret = "tsig-secret", keys.value("tsig-secret")
    if secret is not None and not _is_base64(secret):
        keys.add_problem(where, "is no base64; copy the key's secret again")
        return None
    return secret


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def _algorithm(keys: SectionReader) -> str | None:
    """Return the algorithm; a weak one is accepted here because the user names it."""
    if not keys.has("tsig-algorithm"):
        return ALGORITHMS[0]
    written = keys.value("tsig-algorithm")
    if written is None:
        return None
    name = _full_name(written)
    if name in ALGORITHMS:
        return name
    keys.add_problem("tsig-algorithm", f"must be one of {', '.join(ALGORITHMS[:4])} …{did_you_mean(name, ALGORITHMS)}")
    return None


def _full_name(algorithm: str) -> str:
    """Return an algorithm's name in the DNS: BIND has a shorter one for MD5."""
    name = algorithm.lower().rstrip(".")
    return "hmac-md5.sig-alg.reg.int" if name == "hmac-md5" else name


def _tsig_from_file(keys: SectionReader, read_secret: Callable[[str], str]) -> TsigKey | None:
    wanted = _tsig_name(keys) if keys.has("tsig-name") else None
    text = keys.file("tsig-keyfile", read_secret)
    if text is None:
        return None
    try:
        key = parse_key_file(text, wanted)
    except ConfigError as error:
        keys.add_problem("tsig-keyfile", f"cannot be used: {error}")
        return None
    algorithm = _full_name(key.algorithm)
    if algorithm not in ALGORITHMS:
        keys.add_problem(
            "tsig-keyfile", f"holds a key for an algorithm that is not known{did_you_mean(algorithm, ALGORITHMS)}"
        )
        return None
    if algorithm in _WEAK:
        keys.add_problem(
            "tsig-keyfile",
            f"holds a key for {key.algorithm}, which is weak; make one with tsig-keygen, or "
            "give the key by tsig-name, tsig-secret-file and tsig-algorithm",
        )
        return None
    return key
