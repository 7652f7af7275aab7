"""What the practice CA is set up with, and the files that acme2certifier and Certbot read."""

from __future__ import annotations

import configparser
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import SandboxError

if TYPE_CHECKING:
    from pathlib import Path

EMAIL = "admin@practice.example"


@dataclass(frozen=True)
class PracticeOptions:
    """The behaviour of a practice CA.

    - ``domains`` are validated beforehand; ``*.x`` covers every name below ``x`` and its wildcard, not ``x`` itself.
    - ``challenge_domains`` need a challenge, they and every name below them. http-01 is validated on this machine at
      ``http_port``; dns-01 at ``dns_server`` (host or address, a port after a colon; empty: nowhere).
    - ``refused``: an order with one of these, or with a name below them, is refused; so is one with any other name.
    - ``eab_once``: a key ID makes one account.
    - ``always_due``: certificates are 80 of their 90 days old, so that a plain ``certbot renew`` renews them, whatever
      Certbot's version.
    - ``issuing_seconds``: how long the issuer takes; then finalize answers ``processing`` after a second.
    """

    name: str = "Practice CA"
    domains: tuple[str, ...] = ("practice.example", "*.practice.example")
    challenge_domains: tuple[str, ...] = ()
    http_port: int = 80
    dns_server: str = ""
    refused: tuple[str, ...] = ()
    eab_once: bool = False
    always_due: bool = False
    issuing_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in self.challenge_domains:
            if any(is_below(name, domain) for domain in self.domains):
                raise SandboxError(
                    f"{name} needs no challenge: {self.name} has validated it beforehand",
                    "Choose a name that is not below " + self.domains[0],
                )


def is_below(name: str, domain: str) -> bool:
    """Return whether a name is the domain itself, its wildcard, or anything below it; ``*.x`` is ``x`` here."""
    name, domain = (one.lower().rstrip(".").removeprefix("*.") for one in (name, domain))
    return name == domain or name.endswith(f".{domain}")


def server_configuration(folder: Path, options: PracticeOptions) -> dict[str, dict[str, str]]:
    """Return the sections of acme2certifier's configuration, as its pinned release reads them.

    The section [Practice] is read by our own code alone.
    """
    below_challenge = [pattern for name in options.challenge_domains for pattern in (name, f"*.{name}")]
    return {
        "DEFAULT": {"debug": "False"},
        "Nonce": {"nonce_check_disable": "False"},
        "DBhandler": {
            "handler_module": "acme2certifier.dbhandlers.wsgi_handler",
            "dbfile": str(folder / "acme.db"),
        },
        "CAhandler": {
            "handler_module": "certbot_garr_tcs.sandbox.handlers",
            "issuing_ca_key": str(folder / "issuing.key"),
            "issuing_ca_cert": str(folder / "issuing.pem"),
            "issuing_ca_crl": str(folder / "revoked.pem"),
            "cert_save_path": str(folder / "issued"),
            "ca_cert_chain_list": "[]",
            # A subject, as the real CAs give one: with none, the names would have to be critical (RFC 5280 §4.1.2.6),
            # and Java refuses a keystore where they are not.
            "cn_enforce": "True",
        },
        "EABhandler": {
            "eab_handler_module": "acme2certifier.eabhandlers.json_handler",
            "key_file": str(folder / "eab.json"),
        },
        "Practice": {
            "lifetime_days": "90",
            "age_days": "80" if options.always_due else "0",
            "issuing_seconds": str(options.issuing_seconds),
            "eab_once": str(options.eab_once),
            "refused": json.dumps(options.refused),
            "http_port": str(options.http_port),
            "dns_server": options.dns_server,
        },
        "Certificate": {"enrollment_timeout": "1" if options.issuing_seconds else "5"},
        "Challenge": {"challenge_validation_disable": "False"},
        "Order": {
            "allowed_domainlist": json.dumps([*options.domains, *below_challenge]),
            "identifier_limit": "20",
            "retry_after_timeout": "2",
        },
        "Authorization": {"prevalidated_domainlist": json.dumps(options.domains)},
        # An "always due" certificate is due by its dates; what the CA suggests (RFC 9773) would only hide that.
        "Renewalinfo": {"renewalinfo_disable": str(options.always_due)},
    }


def stored_http_port(folder: Path) -> int | None:
    """Return the port where the practice CA of this folder validated http-01 before; ``None`` for a new folder."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(folder / "acme_srv.cfg", encoding="utf-8")
    return parser.getint("Practice", "http_port", fallback=None)


def account_section(directory_url: str, eab_kid: str, eab_hmac_key: str, email: str = EMAIL) -> str:
    """Return the [account] section of a garr-tcs.ini; an empty key ID is a CA without EAB."""
    binding = eab_lines(eab_kid, eab_hmac_key) if eab_kid else ""
    return f"[account]\ndirectory-url = {directory_url}\n{binding}email = {email}\nagree-tos = yes\n"


def eab_lines(eab_kid: str, eab_hmac_key: str) -> str:
    """Return the two lines of an EAB pair in [account]."""
    return f"eab-kid = {eab_kid}\neab-hmac-key = {eab_hmac_key}\n"


def challenge_section(domain: str, http_port: int) -> str:
    """Return a section of garr-tcs.ini that solves http-01 for a domain at this port of this machine."""
    return f"[http-01 {domain}]\nvia = standalone\nhttp-01-address = 127.0.0.1\nhttp-01-port = {http_port}\n"


def free_port() -> int:
    """Return a loopback port that is free now; another program may take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
