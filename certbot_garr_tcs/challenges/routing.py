"""Which section solves a name: of those that can, the one with the longest suffix (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certbot_garr_tcs.challenges.settings import DNS_01, HTTP_01
from certbot_garr_tcs.errors import ChallengeError
from certbot_garr_tcs.section_reader import as_ip_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from certbot_garr_tcs.challenges.interfaces import Challenge
    from certbot_garr_tcs.challenges.settings import SolverSection

_BEST_FIRST = (DNS_01, HTTP_01)


def best_section(name: str, sections: Iterable[SolverSection], challenge_type: str) -> SolverSection | None:
    """Return the section that solves ``name`` by ``challenge_type``, or ``None`` where there is none.

    An IP address is solved by http-01 only, in a section for exactly this address or for everything (RFC 8738 §7); a
    wildcard by dns-01 only. Among the sections that can solve it the longest suffix wins, label by label. Of two
    with the same suffix, the first.
    """
    matching = [
        section
        for section in sections
        if section.challenge_type == challenge_type and _matching_labels(name, section) is not None
    ]
    return max(matching, key=lambda section: _matching_labels(name, section) or 0, default=None)


def preferences(name: str, sections: Sequence[SolverSection], preferred: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the challenge types that the sections can solve for ``name``, best first.

    The longer suffix comes first, and dns-01 before http-01 where both are equally long. With ``preferred``
    (``--preferred-challenges``) its order counts instead, and types that are not in it are left out, as Certbot does
    for any plugin.
    """
    found = {}
    for challenge_type in _BEST_FIRST:
        section = best_section(name, sections, challenge_type)
        if section is not None:
            found[challenge_type] = _matching_labels(name, section) or 0
    if preferred:
        return tuple(kind for kind in dict.fromkeys(preferred) if kind in found)
    return tuple(sorted(found, key=lambda kind: -found[kind]))


def not_covered(challenges: Sequence[Challenge], sections: Sequence[SolverSection]) -> ChallengeError:
    """Return the error for challenges that no section solves: all names, and the sections that would."""
    names = ", ".join(sorted({challenge.identifier for challenge in challenges}))  # the CA's order is random
    where = f" of {sections[0].source}" if sections else " of garr-tcs.ini"
    return ChallengeError(
        f"the CA asks for a proof of control of {names}, and no section{where} can give it",
        "Either your organisation's administrator has what is missing validated in the CA's portal (for a HARICA "
        "Personal account that changes nothing); or prove control here, with a section such as "
        f"{' and '.join(_suggestions(challenges))}.",
    )


def _suggestions(challenges: Sequence[Challenge]) -> list[str]:
    """Return the fewest headings that would cover the challenges, as far as names alone can show.

    A host's parent is taken for its zone; the DNS is not asked.
    """
    suffixes: dict[str, list[str]] = {}
    for challenge in challenges:
        labels = _labels(challenge.identifier)
        is_host = challenge.challenge_type == DNS_01 and len(labels) > 2  # noqa: PLR2004 - example.it
        suffix = ".".join(labels[1:] if is_host else labels)
        suffixes.setdefault(challenge.challenge_type, []).append(suffix)
    return [
        f"[{kind} {suffix}]"
        for kind, found in sorted(suffixes.items())
        for suffix in sorted(set(found))
        if not any(suffix.endswith(f".{other}") for other in found)
    ]


def _matching_labels(name: str, section: SolverSection) -> int | None:
    """Return how many labels of ``name`` the section's suffix has, or ``None`` where the section cannot solve it."""
    labels, suffix = _labels(name), _labels(section.suffix)
    address = as_ip_address(name)
    if address is not None:
        if section.challenge_type != HTTP_01:
            return None
        return len(suffix) if not suffix or address == as_ip_address(section.suffix) else None
    if as_ip_address(section.suffix) is not None or (labels[:1] == ("*",) and section.challenge_type != DNS_01):
        return None
    return len(suffix) if not suffix or labels[-len(suffix) :] == suffix else None


def _labels(name: str) -> tuple[str, ...]:
    stripped = name.rstrip(".").lower()
    return tuple(stripped.split(".")) if stripped else ()
