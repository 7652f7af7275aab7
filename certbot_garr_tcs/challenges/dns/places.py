"""Find where the TXT record for a name goes: effective name, zone, server and key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dns.exception
import dns.name
import dns.tsig

from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server, parse_server
from certbot_garr_tcs.challenges.dns.lookup import Lookup, Source
from certbot_garr_tcs.challenges.dns.signing import to_key
from certbot_garr_tcs.challenges.dns.zones import challenge_name, find_apex, find_primary, follow_cnames
from certbot_garr_tcs.challenges.routing import best_section
from certbot_garr_tcs.challenges.sections import DNS_01, Rfc2136Settings, SolverSection
from certbot_garr_tcs.errors import ChallengeError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Door:
    """Say through which server, with which key, a zone is updated.

    Two sections that lead to the same addresses with the same key are one door: their values share an
    UPDATE. ``section`` is a title for messages; ``missing_section``: the zone was reached by CNAME, and
    no section says anything about it.
    """

    zone: dns.name.Name
    endpoints: tuple[Endpoint, ...]
    key_name: str
    server: Server = field(compare=False)
    section: str = field(compare=False)
    missing_section: bool = field(default=False, compare=False)
    key: dns.tsig.Key | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Place:
    """Say where the TXT record of one identifier goes, and how long to look for it there.

    ``chain``: the name asked for, and what CNAMEs lead to; the last one is effective. ``source``: whom
    to ask about the zone. ``settings``: those of the section of the name asked for.
    """

    chain: tuple[dns.name.Name, ...]
    door: Door
    source: Source
    settings: Rfc2136Settings

    @property
    def name(self) -> dns.name.Name:
        """Return the effective name."""
        return self.chain[-1]


class Places:
    """Find places by the ``[dns-01]`` sections and by asking the DNS."""

    def __init__(self, sections: Sequence[SolverSection], lookup: Lookup) -> None:
        """Keep all dns-01 sections: those of other plugins take part in the matching."""
        self._sections = [section for section in sections if section.challenge_type == DNS_01]
        self._own = [section for section in self._sections if isinstance(section.how, Rfc2136Settings)]
        self.lookup = lookup

    def find(self, identifier: str) -> Place:
        """Return the place of ``identifier``, or raise ``ChallengeError``.

        The name asked for decides how long to look; server, zone and key are those of the section that
        matches the effective name.
        """
        asked = self._section_asked(identifier)
        name = _name_of(identifier)
        chain = follow_cnames(name, self.lookup, lambda step: self.source(self._section_at(step, asked)))
        section = self._section_at(chain[-1], asked)
        settings = _settings(section)
        source = self.source(section)
        zone = self._zone(chain[-1], section, source)
        server = parse_server(settings.server) if settings.server else find_primary(zone, self.lookup, source)
        title = section.title if section else f"[{DNS_01} {zone.to_text(omit_final_dot=True)}]"
        endpoints = source.endpoints or self.lookup.endpoints(server, source)
        if not endpoints:
            raise ChallengeError(
                f"{server}, which the SOA of {zone} names as primary, has no address",
                f"Set server in {title} to the server that takes updates of that zone.",
            )
        door = Door(
            zone=zone,
            server=server,
            endpoints=endpoints,
            key_name=settings.tsig.name if settings.tsig else "",
            section=title,
            missing_section=section is None,
            key=source.key,
        )
        return Place(tuple(chain), door, source, _settings(asked))

    def source(self, section: SolverSection | None) -> Source:
        """Return whom to ask first about names of ``section``: its server, where it names one."""
        settings = _settings(section)
        key = to_key(settings.tsig) if settings.tsig else None
        if section is None or not settings.server:
            return Source((), key)
        endpoints = self.lookup.endpoints(parse_server(settings.server), Source())
        if not endpoints:
            raise ChallengeError(
                f"server {settings.server} of {section.title} has no address",
                f"Write its address as server in {section.title} of {section.source}",
            )
        return Source(endpoints, key)

    def door_for(self, zone: dns.name.Name, name: dns.name.Name, server: Server) -> Door:
        """Return the door to a zone that is known already, with the key that the sections have now."""
        section = self._section_at(name, None)
        settings = _settings(section)
        return Door(
            zone=zone,
            server=server,
            endpoints=self.lookup.endpoints(server, Source()),
            key_name=settings.tsig.name if settings.tsig else "",
            section=section.title if section else f"[{DNS_01}]",
            key=to_key(settings.tsig) if settings.tsig else None,
        )

    def _section_asked(self, identifier: str) -> SolverSection:
        best = best_section(identifier, self._sections, DNS_01)
        if best is None or not isinstance(best.how, Rfc2136Settings):
            best = best_section(identifier, self._own, DNS_01)
        if best is None:
            raise ConfigError(
                f"no [{DNS_01}] section with a server to update covers {identifier}",
                f"Add a section [{DNS_01} {identifier}] to garr-tcs.ini.",
            )
        return best

    def _section_at(self, name: dns.name.Name, asked: SolverSection | None) -> SolverSection | None:
        """Return the section for an effective name; where another plugin has it, the asked one stays."""
        best = best_section(name.to_text(omit_final_dot=True), self._sections, DNS_01)
        return asked if best is not None and not isinstance(best.how, Rfc2136Settings) else best

    def _zone(self, name: dns.name.Name, section: SolverSection | None, source: Source) -> dns.name.Name:
        written = _settings(section).zone
        if section is None or not written:
            return find_apex(name, self.lookup, source)
        zone = _name_of(written, prefix=False)
        if not name.is_subdomain(zone):
            raise ConfigError(
                f"{name} is not inside zone {zone} of {section.title}",
                f"Remove zone from {section.title} (it is found by SOA), or add a section for that name to"
                f" {section.source}",
            )
        return zone


def _settings(section: SolverSection | None) -> Rfc2136Settings:
    if section is not None and isinstance(section.how, Rfc2136Settings):
        return section.how
    return Rfc2136Settings()


def _name_of(text: str, *, prefix: bool = True) -> dns.name.Name:
    try:
        return challenge_name(text) if prefix else dns.name.from_text(text).canonicalize()
    except dns.exception.DNSException as error:
        raise ChallengeError(f"{text!r} is no DNS name", "Correct it.") from error
