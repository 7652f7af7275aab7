"""Read certificate, chain and key of a lineage, and check that they fit together before they are deployed."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from certbot_garr_tcs.deploy.files import os_error
from certbot_garr_tcs.errors import DeployError, printable
from certbot_garr_tcs.lineages import PIECES, certificate_names, validity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class CertificateBundle:
    """Certificate, chain and key of one lineage.

    ``lineage``: its name. The four PEM texts are Certbot's cert, chain, fullchain and privkey. ``names``:
    what the certificate must cover; empty asks nothing. ``live``: the folder that it was read from, where no
    target may write.
    """

    lineage: str
    cert_pem: bytes
    chain_pem: bytes
    fullchain_pem: bytes
    key_pem: bytes = field(repr=False)
    names: tuple[str, ...] = ()
    live: Path | None = None

    @property
    def fingerprint(self) -> str:
        """Return the leaf's SHA-256 fingerprint in hex; the certificate is not parsed."""
        try:
            block = _CERTIFICATE.findall(self.cert_pem)[0]
            return fingerprint_of(base64.b64decode(b"".join(block.split(b"\n")[1:-1])))
        except (IndexError, ValueError) as error:
            raise DeployError(f"lineage {self.lineage}: cert.pem holds no certificate", _hint(self)) from error


class LineageFiles:
    """The files of one lineage in ``live``, its folder ``live/NAME``; they are read when they are needed."""

    def __init__(self, name: str, live: Path) -> None:
        self.name = name
        self.live: Path | None = live

    @cached_property
    def bundle(self) -> CertificateBundle:
        """Return certificate, chain and key, each file read once."""
        assert self.live is not None  # noqa: S101 - for type checkers
        try:
            cert, chain, fullchain, key = ((self.live / f"{piece}.pem").read_bytes() for piece in PIECES)
        except OSError as error:
            hint = f"Look at it with: certbot certificates --cert-name {self.name}"
            raise os_error(f"lineage {self.name}: cannot read {error.filename}", error, hint) from error
        return CertificateBundle(self.name, cert, chain, fullchain, key, live=self.live)


def fingerprint_of(der: bytes) -> str:
    """Return the SHA-256 fingerprint of a certificate, in hex."""
    return hashlib.sha256(der).hexdigest()


def _hint(bundle: CertificateBundle) -> str:
    return f"Look at it with: certbot certificates --cert-name {bundle.lineage}"


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM text (RFC 7468 §5), in order."""
    return [x509.load_pem_x509_certificate(block) for block in _CERTIFICATE.findall(pem)]


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether ``issuer`` signed ``certificate`` (RFC 5280 §6.1.3 (a)(1) and (a)(4))."""
    key: Any = issuer.public_key()
    signed = (certificate.signature, certificate.tbs_certificate_bytes)
    hashed: Any = certificate.signature_hash_algorithm
    try:
        if isinstance(key, rsa.RSAPublicKey):
            # cryptography before 41 cannot tell PSS from PKCS#1 v1.5; public CAs sign with the latter
            padded = getattr(certificate, "signature_algorithm_parameters", padding.PKCS1v15())
            key.verify(*signed, padded, hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(*signed, ec.ECDSA(hashed))
        elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(*signed)
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return certificate.issuer == issuer.subject


def _spki(key: Any) -> bytes:
    shape = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.DER, shape))


def is_covered(name: str, names: Collection[str]) -> bool:
    """Return whether a certificate for ``names`` is good for ``name`` (RFC 9525 §6.3)."""
    lowered = name.lower()
    return lowered in names or f"*.{lowered.partition('.')[2]}" in names


def _key_problems(key_pem: bytes, leaf: x509.Certificate) -> list[str]:
    try:
        key: Any = serialization.load_pem_private_key(key_pem, None)
        same = _spki(key.public_key()) == _spki(leaf.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ["privkey.pem holds no usable private key without a password"]
    return [] if same else ["privkey.pem is not the key of cert.pem"]


def _validity_problems(what: str, certificate: x509.Certificate, now_seconds: float) -> list[str]:
    now = dt.datetime.fromtimestamp(now_seconds, dt.timezone.utc)
    begins, ends = validity(certificate)
    if now < begins:
        return [f"{what} is valid only from {begins:%Y-%m-%d %H:%M} UTC; is the clock right?"]
    return [f"{what} expired at {ends:%Y-%m-%d %H:%M} UTC"] if now >= ends else []


def problems(bundle: CertificateBundle, now_seconds: float) -> list[str]:
    """Return the reasons why a lineage must not be deployed; empty where there is none.

    The key is the certificate's, the chain leads upwards from the certificate without a gap, fullchain is
    both in that order, all of them are valid now, and the certificate covers ``names``. Trust is not checked.
    """
    try:
        leaves, chain = load_certificates(bundle.cert_pem), load_certificates(bundle.chain_pem)
        fullchain = load_certificates(bundle.fullchain_pem)
    except ValueError:
        return ["a certificate in it cannot be parsed"]
    if len(leaves) != 1:
        return [f"cert.pem holds {len(leaves)} certificates instead of one"]
    leaf = leaves[0]
    found = _key_problems(bundle.key_pem, leaf)
    found += [
        f"certificate {number} of chain.pem ({upper.subject.rfc4514_string()}) did not sign the one "
        f"below it, which is from {lower.issuer.rfc4514_string()}"
        for number, (lower, upper) in enumerate(zip([leaf, *chain], chain), 1)
        if not _issued_by(lower, upper)
    ]
    if fullchain != [leaf, *chain]:
        found.append("fullchain.pem is not cert.pem followed by chain.pem")
    found += _validity_problems("cert.pem", leaf, now_seconds)
    for number, upper in enumerate(chain, 1):
        title = f"certificate {number} of chain.pem ({upper.subject.rfc4514_string()})"
        found += _validity_problems(title, upper, now_seconds)
    names = certificate_names(leaf)
    missing = [name for name in bundle.names if not is_covered(name, names)]
    if missing:
        found.append(f"cert.pem does not cover {', '.join(missing)}")
    return found


@dataclass(frozen=True)
class ServedCertificate:
    """A server's certificate as messages describe it; ``details``: serial and expiry."""

    names: frozenset[str]
    details: str


def read_served(der: bytes) -> ServedCertificate | None:
    """Read a server's certificate, which an attacker may have made; ``None`` where that fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of cryptography, about what later versions will refuse
            certificate = x509.load_der_x509_certificate(der)
            serial = printable(f"{certificate.serial_number:x}", 40)
            expires = f"{validity(certificate)[1]:%Y-%m-%d %H:%M} UTC"
            return ServedCertificate(certificate_names(certificate), f"serial {serial}, expires {expires}")
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return None


def check(bundle: CertificateBundle, now_seconds: float) -> None:
    """Raise DeployError with everything that ``problems`` finds."""
    found = problems(bundle, now_seconds)
    if found:
        raise DeployError(f"lineage {bundle.lineage}: {'; '.join(found)}", _hint(bundle))


def dns_names(bundle: CertificateBundle) -> tuple[str, ...]:
    """Return the certificate's names, sorted, for a probe that has to choose one for SNI."""
    return tuple(sorted(certificate_names(load_certificates(bundle.cert_pem)[0])))


@dataclass(frozen=True)
class FilesOnDisk:
    """The leaf of a target's files, as far as they can be read, and what is wrong with them."""

    leaf: x509.Certificate | None
    problem: str = ""


def read_files(files: Iterable[tuple[str, bytes]], password: bytes | None) -> FilesOnDisk:
    """Read a target's files; ``files``: kind (``cert``, ``key``, …) and content of each.

    A PEM key that needs a password is not read.
    """
    certificates: list[x509.Certificate] = []
    keys: list[Any] = []
    try:
        for kind, data in files:
            if kind == "pkcs12":
                key, certificate, _ = pkcs12.load_key_and_certificates(data, password)
                keys += [key] if key else []
                certificates += [certificate] if certificate else []
            elif kind in ("cert", "fullchain", "combined"):
                certificates += load_certificates(data) if kind == "combined" else load_certificates(data)[:1]
            if kind in ("key", "combined") and b"ENCRYPTED" not in data:
                keys.append(serialization.load_pem_private_key(_CERTIFICATE.sub(b"", data), None))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return FilesOnDisk(None, "they cannot be read")
    leaf = next(iter(certificates), None)
    for key in keys:
        own = [each for each in certificates if _spki(each.public_key()) == _spki(key.public_key())]
        if certificates and not own:
            return FilesOnDisk(None, "their key is not that of their certificate")
        leaf = next(iter(own), leaf)
    return FilesOnDisk(leaf)


def problem_of_old_files(files: Iterable[tuple[str, bytes]], password: bytes | None, now_seconds: float) -> str:
    """Return why the old content of a target's files must not be restored; empty where nothing is wrong."""
    found = read_files(files, password)
    if found.problem or found.leaf is None:
        return found.problem
    return "".join(_validity_problems("their certificate", found.leaf, now_seconds))
