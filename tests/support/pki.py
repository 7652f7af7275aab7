"""Make certificates for tests: a root, an intermediate, leaves as they are needed."""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import replace
from types import SimpleNamespace

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from certbot_garr_tcs.deploy.certificate import CertificateBundle

NOW_SECONDS = dt.datetime.now(dt.timezone.utc).timestamp()
DAY = dt.timedelta(days=1)


def pem_of(certificate):
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem_of(key):
    """Return a private key as Certbot writes it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_key(kind="ec"):
    """Return a fresh key, small where size does not matter."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())


class Authority:
    """Sign certificates with one key under one name."""

    def __init__(self, name, kind="ec", parent=None):
        """Make the key and the certificate, by ``parent`` or by itself."""
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = new_key(kind)
        self.certificate = (parent or self).sign(self.name, self.key.public_key(), authority=True)

    def sign(  # noqa: PLR0913 - a certificate has that many parts that tests want to vary
        self, subject, public_key, *, authority=False, names=(), begins_days=-1, ends_days=30, pss=False
    ):
        """Return a certificate."""
        now = dt.datetime.fromtimestamp(NOW_SECONDS, dt.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins_days * DAY)
            .not_valid_after(now + ends_days * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        algorithm = None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        extra = {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)} if pss else {}
        return builder.sign(self.key, algorithm, **extra)


@functools.cache
def _authorities(kind):
    root = Authority(f"Root {kind}", kind)
    return root, Authority(f"Intermediate {kind}", kind, parent=root)


def authorities(kind="ec"):
    """Return a root and its intermediate, made once per kind of key."""
    return _authorities(kind)


def material(lineage="www.example.it", names=("www.example.it",), kind="ec", **how):
    """Return a fresh lineage: leaf, intermediate, key."""
    _, issuer = authorities(kind)
    key = new_key(kind)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, lineage)])
    certificate = issuer.sign(subject, key.public_key(), names=names, **how)
    cert_pem, chain_pem = pem_of(certificate), pem_of(issuer.certificate)
    return CertificateBundle(lineage, cert_pem, chain_pem, cert_pem + chain_pem, key_pem_of(key))


def with_chain(old, *authorities_upwards):
    """Return the same lineage with another chain."""
    chain_pem = b"".join(pem_of(authority.certificate) for authority in authorities_upwards)
    return replace(old, chain_pem=chain_pem, fullchain_pem=old.cert_pem + chain_pem)


def files_of(bundle):
    """Return a lineage as the installer is given it; ``None`` where there is none."""
    return None if bundle is None else SimpleNamespace(name=bundle.lineage, live=bundle.live, bundle=bundle)
