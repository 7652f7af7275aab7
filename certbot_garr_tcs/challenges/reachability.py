"""What http-01 names resolve to at this moment: for the hint to a user whose name the CA has refused."""

from __future__ import annotations

import ipaddress
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable

from certbot_garr_tcs.challenges.settings import HTTP_01
from certbot_garr_tcs.errors import DnsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certbot_garr_tcs.challenges.interfaces import Challenge

Resolve = Callable[[str, str], "Sequence[str]"]
"""From a name and a type (A or AAAA) to its addresses, which may be none; ``DnsError`` where no resolver answers."""

MOST_NAMES = 10
"""That one hint lists."""


def look_up(name: str, record_type: str, lifetime_seconds: float = 5.0) -> tuple[str, ...]:
    """Ask this machine's resolvers for addresses. The CA asks its own, which may get others (split DNS)."""
    import dns.exception  # noqa: PLC0415 - only when something went wrong
    import dns.name  # noqa: PLC0415
    import dns.resolver  # noqa: PLC0415

    try:
        answer = dns.resolver.resolve(dns.name.from_text(name), record_type, lifetime=lifetime_seconds)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ()
    except dns.exception.DNSException as error:
        raise DnsError(f"{record_type} of {name}: {error}") from error
    return tuple(sorted(str(record) for record in answer))


def diagnose(challenges: Sequence[Challenge], resolve: Resolve = look_up) -> str:
    """Return what the http-01 names resolve to now, then one next step; empty where there are none."""
    names = list(dict.fromkeys(challenge.identifier for challenge in challenges if challenge.challenge_type == HTTP_01))
    if not names:
        return ""
    with ThreadPoolExecutor(max_workers=MOST_NAMES) as pool:
        found = list(pool.map(lambda name: _resolve(name, resolve), names[:MOST_NAMES]))
    sentences = [sentence for sentence, _ in found]
    if len(names) > MOST_NAMES:
        sentences.append(f"{len(names) - MOST_NAMES} more names were not looked up.")
    # The most serious case: a name without an address, then one that cannot be looked up, then one with two kinds.
    worst = min(range(len(found)), key=lambda index: found[index][1])
    return " ".join([*sentences, _STEPS[found[worst][1]].format(host=_host(names[worst]))])


_NO_ADDRESS, _NO_ANSWER, _BOTH, _ONE = range(4)

_STEPS = {
    _NO_ADDRESS: "Publish an A or AAAA record of {host} that leads to the server that holds the proof.",
    _NO_ANSWER: "See why the resolvers give no answer for {host}: the CA stops at a SERVFAIL.",
    _BOTH: (
        "Open http://{host}/ from another network, over IPv6 and over IPv4: the CA tries IPv6 first, "
        "and both must reach the server that holds the proof, on port 80."
    ),
    _ONE: "Open http://{host}/ from another network: port 80 must reach the server that holds the proof.",
}


def _resolve(name: str, resolve: Resolve) -> tuple[str, int]:
    """Return a sentence about one name, and which next step fits."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return f"{name} is an address.", _ONE
    try:
        found = {kind: tuple(resolve(name, kind)) for kind in ("A", "AAAA")}
    except DnsError as error:
        return f"{name}: no answer ({error.message}).", _NO_ANSWER
    if not any(found.values()):
        return f"{name} has no address at this moment.", _NO_ADDRESS
    listed = ", ".join(f"{kind} {', '.join(addresses)}" for kind, addresses in found.items() if addresses)
    return f"{name} resolves to {listed}.", _BOTH if all(found.values()) else _ONE


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name
