"""Choose the section that proves a name: those that can, then the longest suffix."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from certbot_garr_tcs.challenges.sections import DNS_01, HTTP_01

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from certbot_garr_tcs.challenges.sections import SolverSection

_BEST_FIRST = (DNS_01, HTTP_01)


def best_section(name: str, sections: Iterable[SolverSection], challenge_type: str) -> SolverSection | None:
    """Return the section that proves ``name`` by ``challenge_type``, or ``None`` where there is none.

    Sections that cannot prove the name are out first: an IP address is proved by http-01 only, in a
    section for exactly this address or for everything (RFC 8738 §7); a wildcard by dns-01 only. Among
    the others the longest suffix wins, label by label. Of two with one suffix, the first.
    """
    matching = [
        section
        for section in sections
        if section.challenge_type == challenge_type and _length(name, section) is not None
    ]
    return max(matching, key=lambda section: _length(name, section) or 0, default=None)


def preferences(name: str, sections: Sequence[SolverSection], preferred: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the challenge types that the sections can do for ``name``, best first.

    The longer suffix comes first, and dns-01 before http-01 where both are equally long. ``preferred``
    (``--preferred-challenges``) overrules that: then its order counts, and types that are not in it
    are left out, as Certbot does for any plugin.
    """
    found = {}
    for challenge_type in _BEST_FIRST:
        section = best_section(name, sections, challenge_type)
        if section is not None:
            found[challenge_type] = _length(name, section) or 0
    if preferred:
        return tuple(kind for kind in dict.fromkeys(preferred) if kind in found)
    return tuple(sorted(found, key=lambda kind: -found[kind]))


def _length(name: str, section: SolverSection) -> int | None:
    """Return how many labels of ``name`` the section names, or ``None`` where it cannot prove it."""
    wanted = _labels(name)
    given = _labels(section.suffix)
    address = _address(name)
    if address is not None:
        if section.challenge_type != HTTP_01:
            return None
        if not given:
            return 0
        return len(given) if address == _address(section.suffix) else None
    if _address(section.suffix) is not None or (wanted[:1] == ("*",) and section.challenge_type != DNS_01):
        return None
    return len(given) if not given or wanted[-len(given) :] == given else None


def _labels(name: str) -> tuple[str, ...]:
    stripped = name.rstrip(".").lower()
    return tuple(stripped.split(".")) if stripped else ()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
