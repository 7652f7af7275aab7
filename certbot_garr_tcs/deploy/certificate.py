"""Check that certificate, chain and key of a lineage fit together, before anything of them is written (pure)."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.lineages import validity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class CertificateBundle:
    """Certificate, chain and key of one lineage, read once.

    ``lineage``: its name. The four PEM texts are Certbot's cert, chain, fullchain and privkey. ``names``:
    what the certificate must cover; empty asks nothing. ``live``: the folder it was read from; no target may
    write there, nor where its links lead.
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
        """Return the leaf's SHA-256 fingerprint in hex, without parsing the certificate."""
        try:
            block = _CERTIFICATE.findall(self.cert_pem)[0]
            return fingerprint_of(base64.b64decode(b"".join(block.split(b"\n")[1:-1])))
        except (IndexError, ValueError) as error:
            raise DeployError(f"lineage {self.lineage}: cert.pem holds no certificate", _hint(self)) from error


def fingerprint_of(der: bytes) -> str:
    """Return the SHA-256 fingerprint of a certificate, in hex."""
    return hashlib.sha256(der).hexdigest()


def _hint(bundle: CertificateBundle) -> str:
    return f"Look at it with: certbot certificates --cert-name {bundle.lineage}"


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM text (RFC 7468 §5), in order."""
    return [x509.load_pem_x509_certificate(block) for block in _CERTIFICATE.findall(pem)]


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether ``issuer`` signed ``certificate`` (RFC 5280 §6.1.3 (a)(1) and (a)(4))."""
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


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {name.lower() for name in names.get_values_for_type(x509.DNSName)} | {
        str(address) for address in names.get_values_for_type(x509.IPAddress)
    }


def covered(name: str, names: Collection[str]) -> bool:
    """Tell whether a certificate for ``names`` is good for ``name`` (RFC 9525 §6.3)."""
    lowered = name.lower()
    return lowered in names or f"*.{lowered.partition('.')[2]}" in names


def _wrong_with_key(key_pem: bytes, leaf: x509.Certificate) -> list[str]:
    try:
        key: Any = serialization.load_pem_private_key(key_pem, None)
        same = _spki(key.public_key()) == _spki(leaf.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ["privkey.pem holds no usable private key without a password"]
    return [] if same else ["privkey.pem is not the key of cert.pem"]


def _wrong_with_time(what: str, certificate: x509.Certificate, now_seconds: float) -> list[str]:
    now = dt.datetime.fromtimestamp(now_seconds, dt.timezone.utc)
    begins, ends = validity(certificate)
    if now < begins:
        return [f"{what} is valid only from {begins:%Y-%m-%d %H:%M} UTC; is the clock right?"]
    return [f"{what} expired at {ends:%Y-%m-%d %H:%M} UTC"] if now >= ends else []


def problems(bundle: CertificateBundle, now_seconds: float) -> list[str]:
    """Return what keeps the lineage from being deployed, in words; an empty list is good.

    The key is the certificate's, the chain leads upwards from the certificate without a gap, fullchain is
    both in that order, all of them are valid now, and the certificate covers ``names``. Nothing is said about trust.
    """
    try:
        leaves, chain = load_certificates(bundle.cert_pem), load_certificates(bundle.chain_pem)
        fullchain = load_certificates(bundle.fullchain_pem)
    except ValueError:
        return ["a certificate in it cannot be parsed"]
    if len(leaves) != 1:
        return [f"cert.pem holds {len(leaves)} certificates instead of one"]
    leaf = leaves[0]
    found = _wrong_with_key(bundle.key_pem, leaf)
    found += [
        f"certificate {number} of chain.pem ({upper.subject.rfc4514_string()}) did not sign the one "
        f"below it, which is from {lower.issuer.rfc4514_string()}"
        for number, (lower, upper) in enumerate(zip([leaf, *chain], chain), 1)
        if not _issued_by(lower, upper)
    ]
    if fullchain != [leaf, *chain]:
        found.append("fullchain.pem is not cert.pem followed by chain.pem")
    found += _wrong_with_time("cert.pem", leaf, now_seconds)
    for number, upper in enumerate(chain, 1):
        title = f"certificate {number} of chain.pem ({upper.subject.rfc4514_string()})"
        found += _wrong_with_time(title, upper, now_seconds)
    missing = [name for name in bundle.names if not covered(name, _names(leaf))]
    if missing:
        found.append(f"cert.pem does not cover {', '.join(missing)}")
    return found


def check(bundle: CertificateBundle, now_seconds: float) -> None:
    """Raise DeployError with everything that ``problems`` finds."""
    found = problems(bundle, now_seconds)
    if found:
        raise DeployError(f"lineage {bundle.lineage}: {'; '.join(found)}", _hint(bundle))


def dns_names(bundle: CertificateBundle) -> tuple[str, ...]:
    """Return the certificate's names, sorted, for a probe that has to choose one for SNI."""
    return tuple(sorted(_names(load_certificates(bundle.cert_pem)[0])))


@dataclass(frozen=True)
class FilesOnDisk:
    """What a target's files hold, or held: the leaf and the private key, as far as they can be read."""

    leaf: x509.Certificate | None
    problem: str = ""


def read_files(files: Iterable[tuple[str, bytes]], password: bytes | None) -> FilesOnDisk:
    """Read a target's files; ``files``: what each holds (``cert``, ``key``, …), and its bytes.

    A key that needs a password is not looked into.
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
    """Return why what once stood in a target's files must not be put there again; empty where nothing is wrong."""
    found = read_files(files, password)
    if found.problem or found.leaf is None:
        return found.problem
    return "".join(_wrong_with_time("their certificate", found.leaf, now_seconds))
