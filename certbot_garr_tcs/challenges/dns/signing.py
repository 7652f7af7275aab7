"""Sign questions and check the signatures of answers (TSIG, RFC 8945)."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.tsig
import dns.wire

from certbot_garr_tcs.errors import ConfigError

if TYPE_CHECKING:
    from certbot_garr_tcs.challenges.dns.keyfile import TsigKey

ALGORITHMS = {
    "hmac-sha256": dns.tsig.HMAC_SHA256,
    "hmac-sha384": dns.tsig.HMAC_SHA384,
    "hmac-sha512": dns.tsig.HMAC_SHA512,
    "hmac-sha224": dns.tsig.HMAC_SHA224,
    "hmac-sha256-128": dns.tsig.HMAC_SHA256_128,
    "hmac-sha384-192": dns.tsig.HMAC_SHA384_192,
    "hmac-sha512-256": dns.tsig.HMAC_SHA512_256,
    "hmac-sha1": dns.tsig.HMAC_SHA1,
    "hmac-md5": dns.tsig.HMAC_MD5,
    "hmac-md5.sig-alg.reg.int": dns.tsig.HMAC_MD5,
}
"""As users write them (RFC 8945 §6). Whether a weak one may be used is decided where the file is read."""


@dataclass(frozen=True)
class Signed:
    """Hold a signature: owner, rdata and where in the message it starts."""

    owner: dns.name.Name
    rdata: dns.rdata.Rdata
    start: int


def to_key(key: TsigKey) -> dns.tsig.Key:
    """Return the key as dnspython wants it; raise ``ConfigError`` without the secret."""
    algorithm = ALGORITHMS.get(key.algorithm.rstrip(".").lower())
    if algorithm is None:
        raise ConfigError(f"unknown TSIG algorithm {key.algorithm!r}", f"Known are: {', '.join(sorted(ALGORITHMS))}")
    try:
        secret = base64.b64decode("".join(key.secret.split()), validate=True)
        name = dns.name.from_text(key.name)
    except (binascii.Error, ValueError):
        secret = b""
    except dns.exception.DNSException as error:
        raise ConfigError(f"{key.name!r} is no TSIG key name", "Copy it from the server's key statement.") from error
    if not secret:
        raise ConfigError(f"the secret of TSIG key {key.name} is no base64", "Copy it from the server's key statement.")
    return dns.tsig.Key(name, secret, algorithm)


def find_signature(wire: bytes) -> Signed | None:
    """Return the TSIG record of a message, which is its last one (RFC 8945 §5.1), unchecked.

    Raises dnspython's exceptions on a malformed message.
    """
    parser = dns.wire.Parser(wire)
    questions, *sections = struct.unpack("!HHHH", wire[4:12])
    parser.seek(12)
    for _ in range(questions):
        dns.name.from_wire_parser(parser)
        parser.get_bytes(4)
    found = None
    for _ in range(sum(sections)):
        start = parser.current
        owner = dns.name.from_wire_parser(parser)
        rdtype, rdclass, _ttl, length = parser.get_struct("!HHIH")
        with parser.restrict_to(length):
            if rdtype == dns.rdatatype.TSIG:
                rdata = dns.rdata.from_wire_parser(rdclass, dns.rdatatype.TSIG, parser)
                found = Signed(owner, rdata, start)
            else:
                parser.get_remaining()
    return found


def verify(wire: bytes, signed: Signed, key: dns.tsig.Key, request_mac: bytes, now: float) -> str:
    """Return what is wrong with the signature of an answer; empty where it is good.

    The names are those of RFC 8945 §5.2 and §5.3: the server's own complaint (BADKEY, BADSIG, BADTIME,
    BADTRUNC), or what we find ourselves. ``now`` is in seconds since the epoch.
    """
    complaint = signed.rdata.error  # type: ignore[attr-defined]  # the class is dnspython's TSIG
    if complaint:
        return dns.rcode.to_text(complaint, tsig=True)
    try:
        dns.tsig.validate(wire, key, signed.owner, signed.rdata, int(now), request_mac, signed.start)  # type: ignore[no-untyped-call]
    except dns.tsig.BadTime:
        return "its signature is too old or too new"
    except dns.exception.DNSException:
        return "its signature is not by our key"
    return ""


def clocks_apart_seconds(signed: Signed) -> int | None:
    """Return by how many seconds the server's clock is ahead of ours, where a BADTIME says so.

    The server repeats our time, and puts its own into Other Data: 48 bits (RFC 8945 §5.2.3).
    """
    other = signed.rdata.other  # type: ignore[attr-defined]  # the class is dnspython's TSIG
    if len(other) != 6:  # noqa: PLR2004 - 48 bits
        return None
    return int.from_bytes(other, "big") - int(signed.rdata.time_signed)  # type: ignore[attr-defined]
