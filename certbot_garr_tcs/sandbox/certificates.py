"""The certificates of a practice CA: root, issuing CA, and the TLS certificate of its server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=3650)
_BACKDATED = timedelta(days=730)  # older than any certificate that an "always due" CA backdates

_NO_KEY_USAGE = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as PKCS#8 PEM, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def make_root(name: str, now: datetime) -> KeyPair:
    """Make a self-signed root CA; ``now`` is aware."""
    key = ec.generate_private_key(ec.SECP256R1())
    return KeyPair(_sign(f"{name} Root", key, now, issuer=None, issuer_key=key, is_ca=True), key)


def make_issuing(name: str, root: KeyPair, now: datetime) -> KeyPair:
    """Make the CA that signs the certificates that are ordered, below the root, as public CAs do."""
    key = ec.generate_private_key(ec.SECP256R1())
    signed = _sign(name, key, now, issuer=root.certificate, issuer_key=root.key, is_ca=True)
    return KeyPair(signed, key)


def make_server(root: KeyPair, now: datetime) -> KeyPair:
    """Make the TLS certificate of an ACME server on loopback.

    It passes ``ssl.VERIFY_X509_STRICT``, which Python 3.13 turns on: key identifiers, keyUsage.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    signed = _sign("localhost", key, now, issuer=root.certificate, issuer_key=root.key, is_ca=False)
    return KeyPair(signed, key)


def _sign(  # noqa: PLR0913  # what a certificate is made of
    name: str,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    *,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    is_ca: bool,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    use = {"key_cert_sign": True, "crl_sign": True} if is_ca else {"digital_signature": True}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{**_NO_KEY_USAGE, **use}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_ca:
        loopback = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), *loopback]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def issuer_name(certificate: x509.Certificate) -> str:
    """Return the common name of the certificate's issuer."""
    return str(certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
