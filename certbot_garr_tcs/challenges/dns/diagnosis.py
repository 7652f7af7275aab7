"""Say what we see of a name at this moment, when the CA has said no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from certbot_garr_tcs.challenges.dns.caa import find_caa
from certbot_garr_tcs.challenges.dns.propagation import next_step
from certbot_garr_tcs.challenges.dns.sightings import Seen, Sighting, Witness, look
from certbot_garr_tcs.challenges.dns.together import results, together
from certbot_garr_tcs.errors import ChallengeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dns.name

    from certbot_garr_tcs.challenges.dns.client import Client
    from certbot_garr_tcs.challenges.dns.lookup import Lookup
    from certbot_garr_tcs.challenges.dns.places import Place

_ALL_SHOWN = (
    "All of our own looks succeed, so ask the CA's support which server its validation asked; is there a"
    " firewall that lets only some networks ask?"
)
_CNAME = (
    "If the CA does not follow CNAMEs (HARICA did not in 2025), remove the CNAME and have the zone of the"
    " name itself updated."
)


@dataclass(frozen=True)
class View:
    """Hold what we see of one identifier; pure data, so that saying it can be tested."""

    identifier: str
    chain: tuple[dns.name.Name, ...]
    sightings: tuple[tuple[Witness, Sighting], ...]
    caa: str

    @property
    def step(self) -> str:
        """Return one next step, for the first thing that could explain the CA's no."""
        bad = [sighting.seen for _, sighting in self.sightings if sighting.seen is not Seen.SHOWN]
        if bad:
            return next_step(bad)
        return _CNAME if len(self.chain) > 1 else _ALL_SHOWN

    def __str__(self) -> str:
        """Write it in one line."""
        shown = [str(one.endpoint) for one, sighting in self.sightings if sighting.seen is Seen.SHOWN]
        others = [
            f"{one.endpoint}: {sighting.detail}" for one, sighting in self.sightings if sighting.seen is not Seen.SHOWN
        ]
        parts = ["name servers not looked at, as propagation says"]
        if self.sightings:
            parts = [f"TXT shown by {len(shown)} of {len(self.sightings)} addresses", *shown, *others]
        if len(self.chain) > 1:
            parts.append("CNAME: " + " -> ".join(str(name) for name in self.chain))
        parts.append(self.caa)
        return f"{self.identifier}: {'; '.join(parts)}"


def view(
    challenged: tuple[str, frozenset[str]],
    place: Place,
    witnesses: Sequence[Witness],
    client: Client,
    lookup: Lookup,
) -> View:
    """Look once, everywhere, without waiting, for the values of an identifier."""
    identifier, values = challenged

    def one_look(witness: Witness) -> tuple[Witness, Sighting]:
        return witness, look(client, witness, place.name, values)

    sightings = results(together(one_look, list(witnesses)))
    try:
        caa = str(find_caa(identifier, lookup, place.source))
    except ChallengeError as error:
        caa = f"CAA cannot be looked up, which is no permission to issue: {error.message}"
    return View(identifier, place.chain, tuple(sightings), caa)
