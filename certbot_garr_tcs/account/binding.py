"""External account binding: parse, normalise, hide (RFC 8555 §7.3.4)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from certbot_garr_tcs.keys import could_be_secret

LEAST_KEY_BYTES = 16
_GOOD_KEY_BYTES = 32
"""An HMAC key of fewer bits than 128 was cut off, or is no HMAC key."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}|[A-Za-z0-9_-]+={0,2}")
_PLACEHOLDER = re.compile(r"[<>{}\u2026]|\.\.\.|^(x+|change-?me|your[-_ ].*)$", re.IGNORECASE)


@dataclass(frozen=True)
class Binding:
    """Hold a key ID and its HMAC key as Certbot takes it: base64url without padding.

    The HMAC key shows in no ``repr``. Build it with ``parse``.
    """

    key_id: str
    hmac_key: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Return a digest of the key ID alone: enough to know it again, not enough to read it."""
        return hashlib.sha256(self.key_id.encode()).hexdigest()[:32]

    @property
    def short_key_id(self) -> str:
        """Return the beginning of the key ID: enough for an administrator to recognise it."""
        shown = 8
        return self.key_id if len(self.key_id) <= shown else f"{self.key_id[:shown]}…"


def is_placeholder(value: str) -> bool:
    """Tell whether ``value`` still is what an example shows: ``<uuid>``, ``...``, ``xxxx``."""
    return bool(_PLACEHOLDER.search(value.strip()))


def key_id_problem(key_id: str) -> str | None:
    """Say what is wrong with a key ID, or ``None``."""
    if not key_id:
        return "is empty; it is the portal's Key ID"
    if is_placeholder(key_id):
        return "still is a placeholder; it is the portal's Key ID"
    if any(character.isspace() for character in key_id):
        return "has a blank inside; copy the portal's Key ID again"
    return None


def are_swapped(key_id: str, hmac_key: str) -> bool:
    """Return whether the two stand in each other's place.

    HS256 asks for a key of 256 bits (RFC 7518 §3.2): the key ID is one, and the HMAC key is not.
    """
    return could_be_secret(key_id) and _count_bytes(key_id) >= _GOOD_KEY_BYTES > _count_bytes(hmac_key)


def _count_bytes(text: str) -> int:
    """Return how many bytes a base64 text holds; none where it is no base64."""
    text = text.strip()
    return len(text.rstrip("=")) * 6 // 8 if _BASE64.fullmatch(text) else 0


def normalise_hmac_key(text: str) -> str:
    """Return an HMAC key as base64url without padding.

    Accepts base64url and base64, padded or not, with blanks around. Raises ``ValueError`` saying what
    is wrong without showing the key.
    """
    key = text.strip()
    if not key:
        raise ValueError("is empty; it is the portal's HMAC key")
    if is_placeholder(key):
        raise ValueError("still is a placeholder; it is the portal's HMAC key")
    if not _BASE64.fullmatch(key):
        raise ValueError("is no base64url; copy the portal's HMAC key again, without blanks inside")
    digits = key.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        secret = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    except binascii.Error:
        # From None: the cause would carry nothing but the length, and the key must not be near a traceback.
        raise ValueError("is cut off: no base64url has that length; copy the portal's HMAC key again") from None
    if len(secret) < LEAST_KEY_BYTES:
        raise ValueError(
            f"is cut off: {len(secret) * 8} bits, at least {LEAST_KEY_BYTES * 8} are needed; "
            "copy the portal's HMAC key again"
        )
    return digits
