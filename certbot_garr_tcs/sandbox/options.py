"""What kind of CA to practise on (data)."""

from __future__ import annotations

from dataclasses import dataclass

from certbot_garr_tcs.errors import SandboxError


@dataclass(frozen=True)
class PracticeOptions:
    """Say what kind of CA to practise on.

    ``domains`` are validated beforehand; ``*.x`` covers every name below ``x`` and its wildcard, not
    ``x`` itself. ``allowed``: what may be ordered at all, ``None`` is just ``domains``. ``eab_once``: a
    key ID makes one account. ``always_due``: certificates are made so old that a plain ``certbot
    renew`` renews them, whatever Certbot's version. ``renew_by_ari``: the CA asks for renewal at once
    (RFC 9773), which Certbot heeds since 4.1. ``enrollment_seconds``: how long finalize waits for a
    slow issuer before it answers ``processing`` with ``retry_after_seconds``. ``program``: what Python
    runs, given the folder as its last argument.
    """

    name: str = "Practice CA"
    domains: tuple[str, ...] = ("practice.example", "*.practice.example")
    allowed: tuple[str, ...] | None = None
    eab_required: bool = True
    eab_once: bool = False
    identifier_limit: int = 20
    lifetime_days: float = 90.0
    always_due: bool = False
    renew_by_ari: bool = False
    enrollment_seconds: int = 5
    retry_after_seconds: int = 2
    program: tuple[str, ...] = ("-m", "certbot_garr_tcs.sandbox.server")

    def __post_init__(self) -> None:
        """Refuse options that no CA could be made of."""
        if not self.domains or self.lifetime_days <= 0 or self.identifier_limit < 1:
            raise SandboxError(
                f"{self.name} needs at least one domain, one identifier per order, and some lifetime",
                "Change the options that it is made with",
            )

    @property
    def age_days(self) -> float:
        """Return how old a certificate is when it is issued."""
        return self.lifetime_days * 8 / 9 if self.always_due else 0.0
