"""Find where the TXT record for a name goes: effective name, zone, server and key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dns.flags
import dns.name
import dns.rdatatype
import dns.tsig

from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server, parse_server
from certbot_garr_tcs.challenges.dns.lookup import Lookup, Source
from certbot_garr_tcs.challenges.dns.signing import to_key
from certbot_garr_tcs.challenges.dns.zones import (
    behind_cnames,
    challenge_name,
    find_apex,
    find_authority,
    find_primary,
    follow_cnames,
    parse_name,
)
from certbot_garr_tcs.challenges.routing import best_section
from certbot_garr_tcs.challenges.settings import DNS_01, DelegateSettings, Rfc2136Settings, SolverSection
from certbot_garr_tcs.errors import ChallengeError, ConfigError, DnsError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Door:
    """Say through which server, with which key, a zone is updated.

    Two sections that lead to the same addresses with the same key are one door: their values share an
    UPDATE. ``section`` is a title for messages; ``missing_section``: the zone was reached by CNAME, and
    no section names it. ``timeout_seconds``: how long an UPDATE may take.
    """

    zone: dns.name.Name
    endpoints: tuple[Endpoint, ...]
    key_name: str
    server: Server = field(compare=False)
    section: str = field(compare=False)
    missing_section: bool = field(default=False, compare=False)
    timeout_seconds: float = field(default=0.0, compare=False)
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
        self._own = [section for section in self._sections if isinstance(section.method, Rfc2136Settings)]
        self.lookup = lookup

    def find(self, identifier: str) -> Place:
        """Return the place of ``identifier``, or raise ``ChallengeError``.

        The name asked for decides how long to look; server, zone and key are those of the section that
        matches the effective name.
        """
        asked = self._section_asked(identifier)
        chain = follow_cnames(challenge_name(identifier), self.lookup, self._whom_to_ask)
        try:
            return self._place(identifier, chain, asked)
        except DnsError as error:
            raise behind_cnames(chain, error) from error

    def _place(self, identifier: str, chain: list[dns.name.Name], asked: SolverSection) -> Place:
        section = self._section_at(chain[-1])
        if section is not None and isinstance(section.method, DelegateSettings):
            raise _no_plugin_there(identifier, chain, section)
        zone = self._zone(chain[-1], section)
        if section is not None and not self._names(section, chain, zone):
            section = None
        settings = _settings(section)
        source = self.source(section)
        authority = self._whom_to_ask(chain[-1])
        server = parse_server(settings.server) if settings.server else find_primary(zone, self.lookup, authority)
        title = section.title if section else f"[{DNS_01} {zone.to_text(omit_final_dot=True)}]"
        endpoints = source.endpoints or self.lookup.endpoints(server, authority)
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
            timeout_seconds=settings.timeout_seconds,
            key=_key(settings),
        )
        return Place(tuple(chain), door, source, _settings(asked))

    def _names(self, section: SolverSection, chain: list[dns.name.Name], zone: dns.name.Name) -> bool:
        """Tell whether a section names the zone where a chain ends, so that its key is meant for that zone.

        Without a suffix it matches every name, wherever a CNAME leads. Then it is meant for the zone of the name
        asked for, and for others only by its ``server`` or ``zone``: no stranger's primary gets a message signed
        with our key because a CNAME leads there.
        """
        settings = _settings(section)
        if section.suffix or settings.server or settings.zone or len(chain) == 1:
            return True
        # A name with a CNAME is no apex: the name above it is in the same zone.
        zone_asked = find_apex(chain[0].parent(), self.lookup, self._whom_to_ask(chain[0]))
        return bool(zone_asked == zone)

    def _whom_to_ask(self, name: dns.name.Name) -> Source:
        """Return the section's server where it knows the name, or a server of the name's zone."""
        source = self.source(self._section_at(name))
        answer = self.lookup.ask_source(name, dns.rdatatype.CNAME, source)
        if answer is not None and answer.flags & dns.flags.AA:
            return source
        return find_authority(name, self.lookup)

    def source(self, section: SolverSection | None) -> Source:
        """Return whom to ask first about names of ``section``: its server, where it names one."""
        settings = _settings(section)
        if section is None or not settings.server:
            return Source()
        endpoints = self.lookup.endpoints(parse_server(settings.server), Source(), hosts_first=True)
        if not endpoints:
            raise ChallengeError(
                f"server {settings.server} of {section.title} has no address",
                f"Write its address as server in {section.title} of {section.source}",
            )
        return Source(endpoints, _key(settings))

    def door_for(self, zone: dns.name.Name, name: dns.name.Name, server: Server, *, signed: bool = True) -> Door:
        """Return the door to a zone that is known already, with the key that the sections have now.

        Not ``signed``: the value at ``name`` was published without a key, so that server gets none now either.
        """
        section = self._section_at(name)
        settings = _settings(section)
        is_written = settings.server is not None and parse_server(settings.server) == server
        return Door(
            zone=zone,
            server=server,
            endpoints=self.lookup.endpoints(server, Source(), hosts_first=is_written),
            key_name=settings.tsig.name if settings.tsig and signed else "",
            section=section.title if section else f"[{DNS_01}]",
            timeout_seconds=settings.timeout_seconds,
            key=_key(settings) if signed else None,
        )

    def _section_asked(self, identifier: str) -> SolverSection:
        best = best_section(identifier, self._own, DNS_01)
        if best is None:
            raise ConfigError(
                f"no [{DNS_01}] section with a server to update covers {identifier}",
                f"Add a section [{DNS_01} {identifier}] to garr-tcs.ini.",
            )
        return best

    def _section_at(self, name: dns.name.Name) -> SolverSection | None:
        return best_section(name.to_text(omit_final_dot=True), self._sections, DNS_01)

    def _zone(self, name: dns.name.Name, section: SolverSection | None) -> dns.name.Name:
        written = _settings(section).zone
        if section is None or not written:
            return find_apex(name, self.lookup, self._whom_to_ask(name))
        zone = parse_name(written)
        if not name.is_subdomain(zone):
            raise ConfigError(
                f"{name} is not inside zone {zone} of {section.title}",
                f"Remove zone from {section.title} (it is found by SOA), or add a section for that name to"
                f" {section.source}",
            )
        return zone


def _settings(section: SolverSection | None) -> Rfc2136Settings:
    if section is not None and isinstance(section.method, Rfc2136Settings):
        return section.method
    return Rfc2136Settings()


def _key(settings: Rfc2136Settings) -> dns.tsig.Key | None:
    return to_key(settings.tsig) if settings.tsig else None


def _no_plugin_there(identifier: str, chain: list[dns.name.Name], section: SolverSection) -> ChallengeError:
    assert isinstance(section.method, DelegateSettings)  # noqa: S101 - the caller has looked
    return ChallengeError(
        f"{chain[0]} is a CNAME that leads to {chain[-1]}, and {section.title} of {section.source} has via ="
        f" {section.method.plugin}: another plugin publishes at the name asked for, never where a CNAME leads",
        f"Write server and key of that zone into {section.title} instead of via; or add [{DNS_01} {identifier}] with"
        " via = manual and hooks that publish there.",
    )
