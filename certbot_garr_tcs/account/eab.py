"""External account binding (RFC 8555 §7.3.4): the key ID and HMAC key of a CA's portal, checked and normalised."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from certbot_garr_tcs.section_reader import could_be_secret

_LEAST_KEY_BYTES = 16
"""An HMAC key of fewer bits than 128 was cut off, or is no HMAC key."""

_HS256_KEY_BYTES = 32
"""HS256 asks for a key of 256 bits (RFC 7518 §3.2)."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}|[A-Za-z0-9_-]+={0,2}")
_PLACEHOLDER = re.compile(r"[<>{}\u2026]|\.\.\.|^(x+|change-?me|your[-_ ].*)$", re.IGNORECASE)


@dataclass(frozen=True)
class EabCredentials:
    """A key ID and its HMAC key as Certbot takes it: base64url without padding. Made by ``check_eab``.

    The HMAC key shows in no ``repr``.
    """

    key_id: str
    hmac_key: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """A digest of the key ID: the same for the same key ID, and of no use to anybody else."""
        return hashlib.sha256(self.key_id.encode()).hexdigest()[:32]

    @property
    def short_key_id(self) -> str:
        """The first 8 characters of the key ID, by which an administrator recognises it."""
        shown = 8
        return self.key_id if len(self.key_id) <= shown else f"{self.key_id[:shown]}…"


def check_eab(
    key_id: str | None, hmac_key: str | None, names: tuple[str, str] = ("eab-kid", "eab-hmac-key")
) -> tuple[EabCredentials | None, list[tuple[str, str]]]:
    """Check what was given as key ID and HMAC key; return the credentials, or every problem.

    ``names``: the options or keys that the two came from. A problem is the name of the one that is wrong, and what is
    wrong, in words that show nothing of either. What is ``None`` is not checked, and there are no credentials then.
    """
    kid_name, hmac_name = names
    if key_id is not None and hmac_key is not None and _are_swapped(key_id, hmac_key):
        return None, [(kid_name, f"and {hmac_name} are swapped: the long one is the HMAC key")]
    problems = []
    problem = _key_id_problem(key_id.strip()) if key_id is not None else None
    if problem:
        problems.append((kid_name, problem))
    if hmac_key is not None:
        try:
            hmac_key = _normalise(hmac_key)
        except ValueError as error:
            problems.append((hmac_name, str(error)))
    if key_id is None or hmac_key is None or problems:
        return None, problems
    return EabCredentials(key_id.strip(), hmac_key), []


def is_placeholder(value: str) -> bool:
    """Return whether ``value`` was left as an example shows it: ``<uuid>``, ``...``, ``xxxx``."""
    return bool(_PLACEHOLDER.search(value.strip()))


def _key_id_problem(key_id: str) -> str | None:
    if not key_id:
        return "is empty; it is the portal's Key ID"
    if is_placeholder(key_id):
        return "still is a placeholder; it is the portal's Key ID"
    if any(character.isspace() for character in key_id):
        return "has a blank inside; copy the portal's Key ID again"
    return None


def _are_swapped(key_id: str, hmac_key: str) -> bool:
    """Return whether the key ID has the length of an HMAC key for HS256, and the HMAC key has not."""
    return could_be_secret(key_id) and _count_bytes(key_id) >= _HS256_KEY_BYTES > _count_bytes(hmac_key)


def _count_bytes(text: str) -> int:
    """Return how many bytes a base64 text encodes, 0 where it is no base64."""
    text = text.strip()
    return len(text.rstrip("=")) * 6 // 8 if _BASE64.fullmatch(text) else 0


def _normalise(text: str) -> str:
    """Return an HMAC key as base64url without padding; accept base64 too, padded or not, with blanks around it.

    Raises ``ValueError`` that says what is wrong without showing the key.
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
        # From None: the cause would add nothing but the length, and the key must not be near a traceback.
        raise ValueError("is cut off: no base64url has that length; copy the portal's HMAC key again") from None
    if len(secret) < _LEAST_KEY_BYTES:
        raise ValueError(
            f"is cut off: {len(secret) * 8} bits, at least {_LEAST_KEY_BYTES * 8} are needed; "
            "copy the portal's HMAC key again"
        )
    return digits
