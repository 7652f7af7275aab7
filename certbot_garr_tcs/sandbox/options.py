"""What kind of CA to practise on (data)."""

from __future__ import annotations

from dataclasses import dataclass

from certbot_garr_tcs.errors import SandboxError


@dataclass(frozen=True)
class PracticeOptions:
    """Say what kind of CA to practise on.

    - ``domains`` are validated beforehand; ``*.x`` covers every name below ``x`` and its wildcard, not ``x`` itself.
    - ``challenge_domains`` need a challenge, they and every name below them. http-01 is looked for on this machine
      at ``http_port``; dns-01 at ``dns_server`` (host or address, a port after a colon; empty: nowhere).
    - ``refused``: an order with one of these, or with a name below them, is refused.
    - ``allowed``: what may be ordered at all, in the notation of ``domains``; ``None`` is all of the above.
    - ``eab_once``: a key ID makes one account.
    - ``always_due``: certificates are made so old that a plain ``certbot renew`` renews them, whatever Certbot's
      version. ``renew_by_ari``: the CA asks for renewal at once (RFC 9773), which Certbot heeds since 4.1.
    - ``issuing_seconds``: how long the issuer takes. ``enrollment_seconds``: how long finalize waits for it before it
      answers ``processing`` with ``retry_after_seconds``.
    - ``program``: what Python runs, given the folder as its last argument.
    """

    name: str = "Practice CA"
    domains: tuple[str, ...] = ("practice.example", "*.practice.example")
    challenge_domains: tuple[str, ...] = ()
    http_port: int = 80
    dns_server: str = ""
    refused: tuple[str, ...] = ()
    allowed: tuple[str, ...] | None = None
    eab_required: bool = True
    eab_once: bool = False
    identifier_limit: int = 20
    lifetime_days: float = 90.0
    always_due: bool = False
    renew_by_ari: bool = False
    issuing_seconds: float = 0.0
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
        for name in self.challenge_domains:
            if any(is_below(name, domain) for domain in self.domains):
                raise SandboxError(
                    f"{name} needs no challenge: {self.name} has validated it beforehand",
                    "Choose a name that is not below " + self.domains[0],
                )

    @property
    def age_days(self) -> float:
        """Return how old a certificate is when it is issued."""
        return self.lifetime_days * 8 / 9 if self.always_due else 0.0

    @property
    def allowed_domains(self) -> tuple[str, ...]:
        """Return what may be ordered at all, in the same notation as ``domains``."""
        if self.allowed is not None:
            return self.allowed
        return (*self.domains, *(pattern for name in self.challenge_domains for pattern in (name, f"*.{name}")))


def is_below(name: str, domain: str) -> bool:
    """Return whether a name is the domain itself, its wildcard, or anything below it; ``*.x`` is ``x`` here."""
    name, domain = (one.lower().rstrip(".").removeprefix("*.") for one in (name, domain))
    return name == domain or name.endswith(f".{domain}")
