"""Known refusals of CAs: how to recognise each, what it means, and the next step (data).

docs/cas.md shows the same table; a test compares them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_RFC_8555 = "RFC 8555 §6.7"
_SECTIGO = "docs.sectigo.com, Troubleshooting of Certbot with SCM; read 2026-11"


@dataclass(frozen=True)
class KnownRefusal:
    """One refusal: the CA's answer, its meaning, and the next step.

    ``shown``: the CA's answer as docs/cas.md shows it. ``pattern``: a regular expression that is searched for in
    ``TYPE: DETAIL``, in any case, where TYPE is the ACME error type without its prefix, or ``about:blank`` (RFC 8555
    §6.7, RFC 7807 §4.2). ``step`` may contain ``{portal}`` and ``{caa}``. ``preset``: the one CA of which this is true;
    empty is any CA. ``at_registration``: whether only the answer to a registration means this.
    """

    shown: str
    pattern: str
    meaning: str
    step: str
    source: str
    preset: str = ""
    at_registration: bool = False

    def __post_init__(self) -> None:
        if re.search(self.pattern, ""):
            raise ValueError(f"{self.shown}: the pattern matches anything")
        if not self.source:
            raise ValueError(f"{self.shown}: facts need a source")

    def matches(self, answer: str, preset: str, *, registering: bool) -> bool:
        """Return whether a CA's answer, ``TYPE: DETAIL``, is this refusal."""
        if self.preset not in {"", preset} or (self.at_registration and not registering):
            return False
        return re.search(self.pattern, answer, re.IGNORECASE) is not None


KNOWN = (
    KnownRefusal(
        shown="`The account is not awaiting external account binding`",
        pattern="not awaiting external account binding",
        meaning="this key ID has registered an account already, on this server or on another one",
        step="Have a new pair of key ID and HMAC key made in {portal}, and write both into garr-tcs.ini.",
        source=f"{_SECTIGO}; certbot issue 8944",
    ),
    KnownRefusal(
        shown="`Invalid MAC on JWS request`, `invalid eab credentials`, `unauthorized`, to a registration",
        pattern="^unauthorized:|invalid mac on jws|invalid eab credentials",
        at_registration=True,
        meaning="key ID and HMAC key do not belong together, or one of them is not whole",
        step="Copy both again from {portal}.",
        source="win-acme issue 2565, acme2certifier 0.46; read 2026-11",
    ),
    KnownRefusal(
        shown="`externalAccountRequired`",
        pattern="^externalAccountRequired:",
        meaning="the CA registers no account without external account binding",
        step="Write eab-kid and eab-hmac-key, from {portal}, under [account] in garr-tcs.ini, or give --eab-kid and "
        "--eab-hmac-key.",
        source=_RFC_8555,
    ),
    KnownRefusal(
        shown="`invalidContact`, `unsupportedContact`",
        pattern="^(invalidContact|invalidEmail|unsupportedContact):",
        meaning="the CA does not take the account's e-mail address",
        step="Write another one as email = … under [account] in garr-tcs.ini.",
        source=_RFC_8555,
    ),
    KnownRefusal(
        shown="`A requested identifier has not been delegated`",
        pattern="identifi?er has not been delegated",
        meaning="the name is not delegated to your organisation, or not to the department of this ACME account",
        step="Ask your organisation's administrator to delegate it in {portal}; a solver section does not help.",
        source=_SECTIGO,
    ),
    KnownRefusal(
        shown="`The account is currently suspended`",
        pattern="account is currently suspended",
        meaning="the ACME account is suspended",
        step="Ask your organisation's administrator to reinstate it in {portal}, or for a new pair of key ID and HMAC "
        "key.",
        source="docs.sectigo.com, API guide (SUSPENDACCOUNT, UNSUSPENDACCOUNT); read 2026-11",
    ),
    KnownRefusal(
        shown="`accountDoesNotExist`; an account that is not valid, deactivated or revoked",
        pattern=r"^accountDoesNotExist:|account\b.*\b(not valid|deactivated|revoked)\b",
        meaning="the CA has closed the account that this server uses, or never knew it",
        step="Write a new pair of key ID and HMAC key, from {portal}, into garr-tcs.ini, and run: certbot register "
        "--garr-tcs",
        source="RFC 8555 §7.3.6, Boulder's texts; read 2026-11",
    ),
    KnownRefusal(
        shown="`caa`",
        pattern="^caa:",
        meaning="a CAA record (RFC 8659) of the name, or of a domain above it, does not allow this CA",
        step='Add one there that does: 0 issue "{caa}".',
        source=_RFC_8555,
    ),
    KnownRefusal(
        shown="`orderNotReady`",
        pattern="^orderNotReady:",
        meaning="the CA has not come to the order yet, and Certbot before 4.1 does not wait for that",
        step="Run the command again later, as certbot renew does by itself.",
        source="RFC 8555 §7.4, Certbot's changelog; read 2026-11",
    ),
    KnownRefusal(
        shown="an order that has expired",
        pattern=r"\border\b.*\bexpired\b|\bexpired\b.*\border\b",
        meaning="the order took too long",
        step="Run the command again: each try makes a new order.",
        source="RFC 8555 §7.1.6",
    ),
    KnownRefusal(
        shown="`badCSR`, `badPublicKey`",
        pattern="^(badCSR|badPublicKey):",
        meaning="the CA does not take the certificate's key, or its names",
        step="For another key, run: certbot renew --force-renewal --cert-name NAME --key-type rsa --rsa-key-size 3072",
        source=_RFC_8555,
    ),
    KnownRefusal(
        shown="`unauthorized`, `rejectedIdentifier`",
        pattern="^(unauthorized|rejectedIdentifier):",
        meaning="a name is not validated, or this ACME account may not have it",
        step="Ask your organisation's administrator to see to both in {portal} (an ACME account without rules for "
        "domains issues nothing).",
        source="RFC 8555 §6.7; doku.tid.dfn.de on HARICA's ACME accounts, read 2026-11",
    ),
    KnownRefusal(
        shown="a JSON string, and no problem document (HARICA)",
        pattern="^about:blank:",
        preset="harica",
        meaning="HARICA answers like that at times, and orders of several names have been seen to fail once",
        step="Run the command again. If it stays so, ask your organisation's administrator whether every name is "
        "validated, and allowed for this ACME account, in {portal}; for an Enterprise OV account a solver section does "
        "not help.",
        source="ansible-collections/community.crypto issue 923, simple-acme issue 547; read 2026-11",
    ),
    KnownRefusal(
        shown="`rateLimited`",
        pattern="^rateLimited:",
        meaning="there were too many requests",
        step="Wait before you run the command again; certbot renew tries again by itself.",
        source=_RFC_8555,
    ),
    KnownRefusal(
        shown="`serverInternal`",
        pattern="^serverInternal:",
        meaning="the CA is out of order",
        step="Run the command again later, as certbot renew does by itself.",
        source=_RFC_8555,
    ),
)


def find(answer: str, preset: str, *, registering: bool) -> KnownRefusal | None:
    """Return the first row that matches ``TYPE: DETAIL``; ``preset``: the CA's, or empty."""
    return next((row for row in KNOWN if row.matches(answer, preset, registering=registering)), None)
