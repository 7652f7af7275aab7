"""Write what acme2certifier and Certbot read: acme_srv.cfg, garr-tcs.ini."""

from __future__ import annotations

import configparser
import io
import json
import os
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
    """Return acme2certifier's configuration, as its pinned release reads it."""
    allowed = options.domains if options.allowed is None else options.allowed
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
            "practice_lifetime_days": str(options.lifetime_days),
            "practice_age_days": str(options.age_days),
        },
        "Certificate": {"enrollment_timeout": str(options.enrollment_seconds)},
        "Challenge": {"challenge_validation_disable": "False"},
        "Order": {
            "allowed_domainlist": json.dumps(allowed),
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
    binding = f"eab-kid = {eab_kid}\neab-hmac-key = {eab_hmac_key}\n" if eab_kid else ""
    return f"[account]\ndirectory-url = {directory_url}\n{binding}email = {email}\nagree-tos = yes\n"
