"""Write what acme2certifier and Certbot read: acme_srv.cfg, garr-tcs.ini."""

from __future__ import annotations

import configparser
import io
import json
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from certbot_garr_tcs.sandbox.options import PracticeOptions

EMAIL = "admin@practice.example"


def write_private(path: Path, content: bytes) -> None:
    """Replace a file at once, readable by its owner alone from the first byte on."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


def server_configuration(folder: Path, options: PracticeOptions) -> str:
    """Return acme2certifier's configuration, as its pinned release reads it; [Practice] is read by us alone."""
    sections = {
        "DEFAULT": {"debug": "False"},
        "Nonce": {"nonce_check_disable": "False"},
        "DBhandler": {
            "handler_module": "acme2certifier.dbhandlers.wsgi_handler",
            "dbfile": str(folder / "acme.db"),
        },
        "CAhandler": {
            "handler_module": "certbot_garr_tcs.sandbox.issuing",
            "issuing_ca_key": str(folder / "issuing.key"),
            "issuing_ca_cert": str(folder / "issuing.pem"),
            "issuing_ca_crl": str(folder / "revoked.pem"),
            "cert_save_path": str(folder / "issued"),
            "ca_cert_chain_list": "[]",
            # A subject, as the real CAs give one: with none, the names would have to be critical (RFC 5280 §4.1.2.6),
            # and Java refuses a keystore where they are not.
            "cn_enforce": "True",
        },
        "Practice": {
            "lifetime_days": str(options.lifetime_days),
            "age_days": str(options.age_days),
            "issuing_seconds": str(options.issuing_seconds),
            "eab_once": str(options.eab_once),
            "refused": json.dumps(options.refused),
            "http_port": str(options.http_port),
            "dns_server": options.dns_server,
        },
        "Certificate": {"enrollment_timeout": str(options.enrollment_seconds)},
        "Challenge": {"challenge_validation_disable": "False"},
        "Order": {
            "allowed_domainlist": json.dumps(options.allowed_domains),
            "identifier_limit": str(options.identifier_limit),
            "retry_after_timeout": str(options.retry_after_seconds),
        },
        "Authorization": {"prevalidated_domainlist": json.dumps(options.domains)},
        # An "always due" certificate is due by its dates; what the CA suggests would only blur that.
        "Renewalinfo": {
            "renewal_force": str(options.renew_by_ari),
            "renewalinfo_disable": str(options.always_due and not options.renew_by_ari),
        },
    }
    if options.eab_required:
        sections["EABhandler"] = {
            "eab_handler_module": "acme2certifier.eabhandlers.json_handler",
            "key_file": str(folder / "eab.json"),
        }
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def account_section(directory_url: str, eab_kid: str, eab_hmac_key: str, email: str = EMAIL) -> str:
    """Return the [account] section of a garr-tcs.ini; an empty key ID is a CA without EAB."""
    binding = eab_lines(eab_kid, eab_hmac_key) if eab_kid else ""
    return f"[account]\ndirectory-url = {directory_url}\n{binding}email = {email}\nagree-tos = yes\n"


def eab_lines(eab_kid: str, eab_hmac_key: str) -> str:
    """Return the two lines of [account] that an EAB pair is."""
    return f"eab-kid = {eab_kid}\neab-hmac-key = {eab_hmac_key}\n"


def stored_http_port(folder: Path) -> int | None:
    """Return where the practice CA of the folder looked for http-01 so far; ``None`` where there is none yet."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(folder / "acme_srv.cfg", encoding="utf-8")
    return parser.getint("Practice", "http_port", fallback=None)


def challenge_section(domain: str, http_port: int) -> str:
    """Return a section of garr-tcs.ini that proves names by http-01, where a practice CA looks for it."""
    return f"[http-01 {domain}]\nvia = standalone\nhttp-01-address = 127.0.0.1\nhttp-01-port = {http_port}\n"


def free_port() -> int:
    """Return a loopback port that is free now; another program may take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
