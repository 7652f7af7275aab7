"""Read Certbot's renewal directory."""

from __future__ import annotations

import io
import re
import stat
from dataclasses import dataclass
from datetime import timezone
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configobj import ConfigObj, ConfigObjError

from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.storage import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from cryptography.x509 import Certificate

PIECES = ("cert", "chain", "fullchain", "privkey")
"""What a lineage is made of: ``live/NAME/PIECE.pem``."""


@dataclass(frozen=True)
class Lineage:
    """A lineage: what its ``renewal/NAME.conf`` contains; ``certificate`` is its ``live/NAME/cert.pem``.

    ``renew_before_expiry``: as the administrator wrote it, ``None`` where Certbot's own rule applies.
    """

    name: str
    certificate: Path
    params: Mapping[str, str]
    renew_before_expiry: str | None = None

    @property
    def server(self) -> str | None:
        """Return the directory URL that issued it."""
        return self.params.get("server")

    @property
    def account(self) -> str | None:
        """Return the ID of the account that ordered it."""
        return self.params.get("account")

    @property
    def installer(self) -> str | None:
        """Return the installer that its renewals use."""
        return self._stored("installer")

    @property
    def config_file(self) -> str | None:
        """Return the garr-tcs.ini of its own, where it has one."""
        return self._stored("garr_tcs_config")

    def _stored(self, key: str) -> str | None:
        value = self.params.get(key)
        return None if value == "None" else value  # as Certbot writes it

    @property
    def authenticator(self) -> str | None:
        """Return the plugin that proves control of its names."""
        return self.params.get("authenticator")

    def names(self) -> frozenset[str]:
        """Return the names of the certificate, in lower case; none where it cannot be read."""
        return _names_in(self.certificate)

    def validity(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last moment of the certificate; ``None`` where it cannot be read."""
        read = self._read()
        return validity(read) if read else None

    def fingerprint(self) -> str | None:
        """Return the SHA-256 fingerprint of the certificate, in hex; ``None`` where it cannot be read."""
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415  (heavy, and seldom needed)

        read = self._read()
        return read.fingerprint(SHA256()).hex() if read else None

    def _read(self) -> Certificate | None:
        version = _version(self.certificate)
        return _read_version(self.certificate, version) if version else None

    def former_names(self) -> frozenset[str]:
        """Return the names of the certificate before the current one; none where there is none."""
        current = self.certificate.resolve()
        match = re.fullmatch(r"cert(\d+)", current.stem)
        return _names_in(current.with_name(f"cert{int(match.group(1)) - 1}.pem")) if match else frozenset()

    def has_issuer_of(self, certificate: Path) -> bool:
        """Return whether a certificate has the same issuer as the lineage's: the organisation counts, if it is named.

        One CA signs RSA and ECDSA keys with different keys of its own.
        """
        ours, other = _read_certificate(self.certificate), _read_certificate(certificate)
        return ours is not None and other is not None and _issuer(ours) == _issuer(other)

    def is_current(self, der: bytes) -> bool:
        """Tell whether this is its current certificate."""
        return _read_der(self.certificate) == der

    def was_issued_since(self, since: float) -> bool:
        """Return whether the certificate was written at or after a time as of files."""
        try:
            return self.certificate.stat().st_mtime >= since
        except OSError:
            return False


def folder(config_dir: str) -> Path:
    """Return the folder of Certbot's renewal files."""
    return Path(config_dir) / "renewal"


def _version(path: Path) -> tuple[int, ...] | None:
    """Return what changes with a file, ``None`` where there is none: what was read of a version is read once.

    ``certbot renew`` comes by once for every lineage that is due.
    """
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _read_certificate(path: Path) -> Certificate | None:
    """Read the first certificate of a file; ``None`` where there is none."""
    from cryptography import x509  # noqa: PLC0415  (heavy, and seldom needed)

    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def _read_der(path: Path) -> bytes | None:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    certificate = _read_certificate(path)
    return certificate.public_bytes(Encoding.DER) if certificate else None


@cache
def _read_version(path: Path, _: tuple[int, ...]) -> Certificate | None:
    return _read_certificate(path)


def validity(certificate: Certificate) -> tuple[datetime, datetime]:
    """Return the first and the last moment of a certificate, with their zone (cryptography 42 or before)."""
    if hasattr(certificate, "not_valid_after_utc"):
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (  # pragma: no cover - cryptography before 42, which the matrix of tests runs
        certificate.not_valid_before.replace(tzinfo=timezone.utc),
        certificate.not_valid_after.replace(tzinfo=timezone.utc),
    )


def _issuer(certificate: Certificate) -> list[str]:
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    organisations = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return [str(name.value) for name in organisations] or [certificate.issuer.rfc4514_string()]


def _names_in(certificate: Path) -> frozenset[str]:
    version = _version(certificate)
    return _names(certificate, version) if version else frozenset()


@cache
def _names(certificate: Path, version: tuple[int, ...]) -> frozenset[str]:
    read = _read_version(certificate, version)
    try:
        return certificate_names(read) if read else frozenset()
    except ValueError:
        return frozenset()


def certificate_names(certificate: Certificate) -> frozenset[str]:
    """Return the DNS names, in lower case, and the IP addresses of a certificate; ``ValueError`` if unreadable."""
    from cryptography import x509  # noqa: PLC0415  (heavy, and seldom needed)

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(
        [name.lower() for name in names.get_values_for_type(x509.DNSName)]
        + [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    )


def read_lineage(conf: Path) -> Lineage | None:
    """Read one renewal file; ``None`` where it is broken (Certbot reports that itself)."""
    version = _version(conf)
    return _read_lineage(conf, version) if version else None


_GRAPHIC = r"[!$&(-+\--~]"
_PLAIN_LINE = re.compile(
    rf"(?:#[ -~]*)?|\[(?P<section>\w+)\]|\[\[(?P<below>\w+)\]\]"
    rf"|(?P<key>[\w.-]+) = (?P<value>{_GRAPHIC}(?:[ !$&(-+\--~]*{_GRAPHIC})?)",
    re.ASCII,
)


def _parse_plain(text: str) -> dict[str, Any] | None:
    """Parse a renewal file as Certbot mostly writes it; ``None`` where it needs ConfigObj.

    That is where a line has a quote, a list, a comment at its end, or anything else that may mean more than it shows.
    ConfigObj takes five times as long, and there may be a thousand files.
    """
    top: dict[str, Any] = {}
    section, current = None, top
    for line in text.split("\n"):
        match = _PLAIN_LINE.fullmatch(line)
        if match is None:
            return None
        name = match["section"] or match["below"] or match["key"]
        if name is None:
            continue
        parent = top if match["section"] else section if match["below"] else current
        if parent is None or name in parent:
            return None
        if match["key"]:
            parent[name] = match["value"]
        else:
            parent[name] = current = {}
            section = current if match["section"] else section
    return top


@cache
def _read_lineage(conf: Path, _: tuple[int, ...]) -> Lineage | None:
    try:
        text = conf.read_text(encoding="utf-8")
        parsed = _parse_plain(text)
        if parsed is None:
            parsed = ConfigObj(str(conf), encoding="utf-8", default_encoding="utf-8", file_error=True)
    except (OSError, ConfigObjError, UnicodeDecodeError):
        return None
    params = parsed.get("renewalparams")
    certificate = parsed.get("cert")
    if not isinstance(params, dict) or not isinstance(certificate, str):
        return None
    before = parsed.get("renew_before_expiry")
    return Lineage(
        conf.name[: -len(".conf")],
        Path(certificate),
        {key: value for key, value in params.items() if isinstance(value, str)},
        before if isinstance(before, str) else None,
    )


def read_lineages(renewal_dir: Path) -> Iterator[Lineage]:
    """Read every renewal file that is whole, by name."""
    for conf in sorted(renewal_dir.glob("*.conf")):
        lineage = read_lineage(conf)
        if lineage:
            yield lineage


def store(conf: Path, **params: str) -> bool:
    """Change parameters in a renewal file, as its owner could with an editor; return whether anything changed.

    Certbot stores options with a new certificate only. Its own locks are held while a plugin runs.
    """
    try:
        parsed = ConfigObj(str(conf), encoding="utf-8", default_encoding="utf-8", file_error=True, interpolation=False)
        stored = parsed["renewalparams"]
        if all(stored.get(key) == value for key, value in params.items()):
            return False
        stored.update(params)
        written = io.BytesIO()
        parsed.write(written)
        replace_file(conf, written.getvalue(), mode=stat.S_IMODE(conf.stat().st_mode))
    except (OSError, ConfigObjError, UnicodeDecodeError, KeyError) as error:
        raise GarrTcsError(
            f"cannot write {conf}: {error}",
            f"Write under [renewalparams] there: {', '.join(map(' = '.join, params.items()))}",
        ) from error
    return True


def find(renewal_dir: Path, cert_name: str | None, names: Iterable[str]) -> tuple[Lineage, ...]:
    """Return the lineage called ``cert_name``, or those whose certificate has exactly these names."""
    if cert_name:
        lineage = read_lineage(renewal_dir / f"{cert_name}.conf")
        return (lineage,) if lineage else ()
    wanted = frozenset(name.lower() for name in names)
    return tuple(lineage for lineage in read_lineages(renewal_dir) if wanted and lineage.names() == wanted)


def replaceable(renewal_dir: Path, cert_name: str | None, names: Iterable[str]) -> tuple[Lineage, ...]:
    """Return what Certbot may replace: the lineage called ``cert_name``, or those with no other names than these.

    Fewer names are ``--expand``'s case, or that of somebody who is asked whether to expand.
    """
    if cert_name:
        return find(renewal_dir, cert_name, ())
    wanted = frozenset(name.lower() for name in names)
    return tuple(lineage for lineage in read_lineages(renewal_dir) if lineage.names() and lineage.names() <= wanted)


def holder(renewal_dir: Path, path: Path) -> Lineage | None:
    """Return the lineage that a certificate belongs to, today or in its archive; ``None`` where none has it."""
    der = _read_der(path)
    return holder_of(renewal_dir, der) if der else None


def holder_of(renewal_dir: Path, der: bytes) -> Lineage | None:
    """Return the lineage that a certificate belongs to, as ``holder`` does."""
    for lineage in read_lineages(renewal_dir):
        archive = lineage.certificate.resolve().parent
        if any(_read_der(version) == der for version in sorted(archive.glob("cert*.pem"))):
            return lineage
    return None
