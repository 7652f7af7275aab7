"""Read a CA's ACME directory (RFC 8555 section 7.1.1): what is known of a CA before anybody registers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from certbot_garr_tcs.account import presets
from certbot_garr_tcs.account.connection_failures import explain
from certbot_garr_tcs.errors import AccountError, printable

_NOT_FOUND = (404, 410)
_NEEDED = ("newNonce", "newAccount", "newOrder")


@dataclass(frozen=True)
class CaDirectory:
    """What a directory's ``meta`` says; ``terms``: URL of the terms of service."""

    title: str
    eab_required: bool = False
    terms: str | None = None


def fetch_directory(url: str) -> CaDirectory:
    """Fetch a directory over TLS, as Certbot will: same proxies, same trusted roots; raise ``AccountError``."""
    import requests  # noqa: PLC0415  (heavy)
    from acme.client import DEFAULT_NETWORK_TIMEOUT  # noqa: PLC0415  (heavy)

    host = urlsplit(url).netloc
    preset = presets.by_url(url)
    title, portal = (preset.title, preset.portal) if preset else (host, "the CA's portal")
    copy = f"Copy the whole Server URL again from {portal}."
    try:
        answer = requests.get(url, timeout=DEFAULT_NETWORK_TIMEOUT, headers={"Accept": "application/json"})
    except requests.RequestException as error:
        failure = explain(error, title, host, "its directory", datetime.now(timezone.utc))
        raise AccountError(f"the directory of {title} cannot be read", failure.explanation) from error
    if answer.status_code in _NOT_FOUND:
        raise AccountError(f"{title} has no such directory (HTTP {answer.status_code})", copy)
    if answer.status_code != requests.codes.ok:
        said = printable(answer.reason or "", 60)
        raise AccountError(f"{title} does not give its directory: HTTP {answer.status_code} {said}", "Try again later.")
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) or not all(isinstance(document.get(key), str) for key in _NEEDED):
        raise AccountError(f"{title} answers at this URL, but not with an ACME directory", copy)
    return _directory(title, document.get("meta"))


def _directory(title: str, meta: Any) -> CaDirectory:
    meta = meta if isinstance(meta, dict) else {}
    terms = meta.get("termsOfService")
    return CaDirectory(
        title,
        eab_required=meta.get("externalAccountRequired") is True,
        terms=printable(terms) if isinstance(terms, str) and terms else None,
    )
