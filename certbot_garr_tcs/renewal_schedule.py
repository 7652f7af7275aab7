"""When Certbot renews a certificate: its own rules, version by version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

DISABLED, OWN_INTERVAL, DEFAULT, UNKNOWN = "autorenew-off", "renew_before_expiry", "certbot-default", "unknown"

_SHORT = timedelta(days=10)
_BEFORE_4 = timedelta(days=30)
_UNITS = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_INTERVAL = re.compile(r"(\d{1,4})\s*(minute|hour|day|week)s?[\s,]*", re.IGNORECASE)


@dataclass(frozen=True)
class NextRenewal:
    """The moment from which on ``certbot renew`` renews, and the rule that it comes from.

    ``at`` is ``None`` where Certbot does not renew by itself (``autorenew-off``), or where the rule is not understood
    (``unknown``). Since Certbot 4.1 the CA's own renewal information (RFC 9773) can move it; Certbot does not store
    that.
    """

    at: datetime | None
    rule: str


def installed_version() -> tuple[int, ...]:
    """Return major and minor version of the Certbot that this plugin is installed for."""
    from certbot import __version__  # noqa: PLC0415  (its first file alone: light)

    return tuple(int(number) for number in re.findall(r"\d+", __version__)[:2])


def next_renewal(
    begins: datetime, ends: datetime, *, interval: str | None, autorenew: str | None, certbot: tuple[int, ...]
) -> NextRenewal:
    """Apply the rule of a Certbot version.

    ``interval``, ``autorenew``: ``renew_before_expiry`` and ``autorenew`` of the renewal file, as written. Before 4.0
    Certbot renews 30 days before the end; since then when a third of the lifetime is left, or a half where the lifetime
    is shorter than ten days. In 4.0 an interval of the file counts only if it is longer.
    """
    if autorenew is not None and autorenew.lower() in {"false", "no", "off", "0"}:
        return NextRenewal(None, DISABLED)
    lifetime = ends - begins
    default = _BEFORE_4 if certbot < (4,) else lifetime / (2 if lifetime < _SHORT else 3)
    if interval is None:
        return NextRenewal(ends - default, DEFAULT)
    own = parse_interval(interval)
    if own is None:
        return NextRenewal(None, UNKNOWN)
    if (4, 0) <= certbot < (4, 1) and own < default:
        return NextRenewal(ends - default, DEFAULT)
    return NextRenewal(ends - own, OWN_INTERVAL)


def parse_interval(text: str) -> timedelta | None:
    """Return an interval as Certbot's documentation writes it, ``30 days`` or ``3 weeks 2 days``, else ``None``.

    A number alone counts days. Months and years, which differ in length, are left to Certbot.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        text += " days"
    if not re.fullmatch(f"(?:{_INTERVAL.pattern}){{1,4}}", text, re.IGNORECASE):
        return None
    return timedelta(seconds=sum(int(count) * _UNITS[unit.lower()] for count, unit in _INTERVAL.findall(text)))
