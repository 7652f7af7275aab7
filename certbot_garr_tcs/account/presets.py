"""The CAs behind GARR TCS, and where each fact about them comes from (data)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class CaPreset:
    """What is known of one product of a CA before the first request.

    Exactly one of ``directory_url`` (the same for everybody) and ``domain`` (a URL for each ACME account, on a host in
    this domain) is given. ``url_shapes`` and ``wrong_shapes``: regular expressions of host and path, for URLs that are
    known to be right and to be wrong; the CA may use others. ``ocsp``, ``contact_required`` and ``eab_once``:
    ``None`` is not known, and nothing is refused for it. ``most_names``: the CA has refused more than these in one
    certificate. ``caa``: the issuer domain name of RFC 8659. ``garr_since``/``garr_until``: when GARR members got
    their certificates there. ``source``: where the facts were read, and when.
    """

    name: str
    title: str
    product: str
    caa: str
    source: str
    directory_url: str | None = None
    domain: str = ""
    url_shapes: tuple[str, ...] = ()
    wrong_shapes: tuple[str, ...] = ()
    url_example: str = ""
    staging_directory_url: str | None = None
    eab_required: bool = True
    eab_once: bool | None = True
    contact_required: bool | None = None
    ocsp: bool | None = None
    most_names: int | None = None
    portal: str = "the CA's portal"
    garr_since: date | None = None
    garr_until: date | None = None

    def __post_init__(self) -> None:
        if (self.directory_url is None) == (not self.domain):
            raise ValueError(f"{self.name}: give either directory_url or domain")
        if self.domain and not (self.url_shapes and self.url_example):
            raise ValueError(f"{self.name}: a domain needs url_shapes, and a url_example to show")
        if not self.source:
            raise ValueError(f"{self.name}: facts need a source")
        if self.garr_since and self.garr_until and self.garr_until <= self.garr_since:
            raise ValueError(f"{self.name}: GARR's use ends before it begins")

    def has_url(self, url: str) -> bool:
        """Return whether ``url`` is one of this CA, be it its directory URL or not.

        Case of the host, the usual port and a final slash do not count.
        """
        if self.directory_url is not None:
            return same_directory(url, self.directory_url)
        host = (urlsplit(url).hostname or "").lower()
        return host == self.domain or host.endswith(f".{self.domain}")

    def expects_url(self, url: str) -> bool:
        """Return whether a URL of this CA has the form of those that it is known to give out."""
        return self.directory_url is not None or _has_shape(url, self.url_shapes)

    def refuses_url(self, url: str) -> bool:
        """Return whether a URL of this CA is known to be no directory: cut off, an example, or the portal."""
        return _has_shape(url, self.wrong_shapes)


def _has_shape(url: str, shapes: tuple[str, ...]) -> bool:
    text = _host_and_path(url)
    return any(re.fullmatch(shape, text, re.IGNORECASE) for shape in shapes)


def _host_and_path(url: str) -> str:
    """Return host, port and path: the host in lower case, no usual port, no final slash."""
    parts = urlsplit(url)
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    port = f":{parts.port}" if parts.port not in (None, usual) else ""
    return f"{(parts.hostname or '').lower()}{port}{parts.path.rstrip('/')}"


_SECTIGO_SOURCE = (
    "GARR wiki on TCS with Sectigo, and Sectigo's ACME documentation (directories without a suffix, "
    "no staging, EAB used once); read 2026-10"
)
_SECTIGO_SINCE = date(2020, 5, 1)
_SECTIGO_UNTIL = date(2025, 1, 10)


def _sectigo(name: str, product: str, url: str, *, garr: bool) -> CaPreset:
    return CaPreset(
        name=name,
        title="Sectigo",
        product=product,
        directory_url=url,
        caa="sectigo.com",
        portal="Sectigo Certificate Manager",
        garr_since=_SECTIGO_SINCE if garr else None,
        garr_until=_SECTIGO_UNTIL if garr else None,
        source=_SECTIGO_SOURCE,
    )


_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_ALL = (
    CaPreset(
        name="harica",
        title="HARICA",
        product="OV or DV, as the ACME account says",
        domain="harica.gr",
        url_shapes=(rf"acme-v02\.harica\.gr/acme/{_UUID}/directory", r"acme\.harica\.gr/[a-z0-9_.-]+/directory"),
        wrong_shapes=(
            r"((cm|cm-stg|www|guides|developer)\.)?harica\.gr(/.*)?",
            r"[^/]+(/acme)?(/directory)?",
            rf"[^/]+/acme/{_UUID}(?!/directory$)(/.*)?",
            r"[^/]+(/acme)?/(x+|uuid|alias|token|your[^/]*)/directory",
        ),
        url_example="https://acme-v02.harica.gr/acme/<uuid>/directory",
        eab_once=None,
        contact_required=True,
        ocsp=False,
        most_names=20,
        caa="harica.gr",
        portal="HARICA CertManager, https://cm.harica.gr",
        garr_since=date(2025, 1, 11),
        source=(
            "HARICA CertManager and HARICA's notices (no OCSP since 2 March 2026), pages of TCS 2025 members "
            "(contact required, 20 names at most); read 2026-10"
        ),
    ),
    _sectigo("sectigo-ov", "OV", "https://acme.sectigo.com/v2/OV", garr=True),
    _sectigo("sectigo-ev", "EV", "https://acme.sectigo.com/v2/EV", garr=True),
    _sectigo("sectigo-dv", "DV", "https://acme.sectigo.com/v2/DV", garr=False),
    _sectigo("sectigo-geant-ov", "OV, GÉANT's", "https://acme.sectigo.com/v2/GEANTOV", garr=True),
    _sectigo("sectigo-enterprise", "as the account says", "https://acme.enterprise.sectigo.com", garr=False),
)

PRESETS: Mapping[str, CaPreset] = MappingProxyType({preset.name: preset for preset in _ALL})
"""Every preset by the name that users type."""

WITHOUT_URL = PRESETS["sectigo-ov"]
"""The CA where the user gives a key ID and an HMAC key alone: the one that GARR's pages named for years."""

GARR_TODAY = PRESETS["harica"]
"""The CA behind GARR TCS today."""


def by_url(url: str) -> CaPreset | None:
    """Return the preset of the CA that has this URL, or ``None``: any other CA works too."""
    return next((preset for preset in _ALL if preset.has_url(url)), None)


def same_directory(one: str, other: str) -> bool:
    """Return whether two URLs are one directory; case of the host, the usual port and a final slash do not count."""
    return _host_and_path(one) == _host_and_path(other)


def canonical(url: str) -> str:
    """Return a known CA's directory URL as the CA writes it: HARICA answers "not found" to a final slash.

    The URL of any other CA is returned unchanged: there the slash may belong to it.
    """
    preset = by_url(url)
    if preset is None:
        return url
    return preset.directory_url or f"https://{_host_and_path(url)}"
