"""Make the content of a target's files from a lineage: PEM, combined PEM, PKCS#12 (pure)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from certbot_garr_tcs.deploy.certificate import load_certificates
from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from certbot_garr_tcs.deploy.certificate import CertificateBundle
    from certbot_garr_tcs.deploy.settings import Output, Target

_PKCS8 = b"-----BEGIN PRIVATE KEY-----"
_KDF_ROUNDS = 20_000  # what OpenSSL 3 and Java's keytool do, within a factor of two


def inputs_digest(target: Target, bundle: CertificateBundle, password: bytes | None) -> str:
    """Return a digest of everything that determines the content of a target's files.

    A PKCS#12 file is salted, and is only compared by this. The private key is part of it, so that nobody can try
    passwords against it.
    """
    digest = hashlib.sha256()
    for part in (
        bundle.cert_pem,
        bundle.chain_pem,
        bundle.fullchain_pem,
        bundle.key_pem,
        password or b"",
        repr(
            (
                [(output.kind, str(output.path)) for output in target.outputs],
                target.combined_order,
                target.key_format,
                target.pkcs12_alias,
                target.pkcs12_legacy,
            )
        ).encode(),
    ):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _with_newline(pem: bytes) -> bytes:
    return pem if not pem or pem.endswith(b"\n") else pem + b"\n"


def _key(target: Target, bundle: CertificateBundle) -> bytes:
    if target.key_format == "pkcs8" and bundle.key_pem.startswith(_PKCS8):
        return bundle.key_pem
    shapes = serialization.PrivateFormat
    shape = shapes.PKCS8 if target.key_format == "pkcs8" else shapes.TraditionalOpenSSL
    key: Any = serialization.load_pem_private_key(bundle.key_pem, None)
    try:
        return bytes(key.private_bytes(serialization.Encoding.PEM, shape, serialization.NoEncryption()))
    except ValueError as error:
        raise DeployError(
            f"{target.title}: the key of lineage {bundle.lineage} has no traditional format",
            "Leave out key-format, or use an RSA or ECDSA key.",
        ) from error


def _pkcs12(target: Target, bundle: CertificateBundle, password: bytes | None) -> bytes:
    if not password:
        raise DeployError(
            f"{target.title}: the password of the PKCS#12 file is empty",
            f"Write one into {target.pkcs12_password_file}.",
        )
    builder = serialization.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(_KDF_ROUNDS)
    if target.pkcs12_legacy:
        builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        builder = builder.hmac_hash(hashes.SHA1())  # noqa: S303 - asked for by name, for old Java
    else:
        builder = builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).hmac_hash(hashes.SHA256())
    key: Any = serialization.load_pem_private_key(bundle.key_pem, None)
    alias = target.pkcs12_alias or bundle.lineage
    return pkcs12.serialize_key_and_certificates(
        alias.encode(),
        key,
        load_certificates(bundle.cert_pem)[0],
        load_certificates(bundle.chain_pem),
        builder.build(password),
    )


def render(target: Target, output: Output, bundle: CertificateBundle, password: bytes | None) -> bytes:
    """Return the content of one file of a target.

    PEM is the lineage's own bytes, PKCS#12 (RFC 7292) is salted: two calls give different bytes. The
    bundle has passed ``check``; ``password`` is for PKCS#12 alone.
    """
    if output.kind == "pkcs12":
        return _pkcs12(target, bundle, password)
    pieces = target.combined_order if output.kind == "combined" else (output.kind,)
    pem = {
        "cert": lambda: bundle.cert_pem,
        "chain": lambda: bundle.chain_pem,
        "fullchain": lambda: bundle.fullchain_pem,
        "key": lambda: _key(target, bundle),
    }
    return b"".join(_with_newline(pem[piece]()) for piece in pieces)
