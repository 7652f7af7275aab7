"""Effective names, apexes, primaries and name servers, on a real socket."""

from pathlib import Path

import dns.name
import dns.rdatatype
import pytest
from fakes import FakeDns, fails, lame, nothing, says, silent, soa

from certbot_garr_tcs.challenges.dns.caa import find_caa
from certbot_garr_tcs.challenges.dns.client import Client
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server
from certbot_garr_tcs.challenges.dns.lookup import Lookup, Source, Surroundings
from certbot_garr_tcs.challenges.dns.places import Places
from certbot_garr_tcs.challenges.dns.transport import exchange
from certbot_garr_tcs.challenges.dns.zones import (
    MOST_CNAMES,
    challenge_name,
    find_apex,
    find_name_servers,
    find_primary,
    follow_cnames,
)
from certbot_garr_tcs.challenges.sections import DNS_01, DelegateSettings, Rfc2136Settings, SolverSection, TsigKey
from certbot_garr_tcs.errors import ChallengeError, ConfigError, DnsError

WWW = dns.name.from_text("_acme-challenge.www.example.it")
ZONE = dns.name.from_text("example.it")
FILE = Path("garr-tcs.ini")


def quick(wire, endpoint, *, timeout_seconds, tcp):
    """Carry as always, but do not wait long for fakes that stay silent."""
    return exchange(wire, endpoint, timeout_seconds=0.2, tcp=tcp)


def lookup_at(*resolvers, hosts=lambda _host: (), port=53):
    return Lookup(Client(quick), Surroundings(tuple(server.endpoint for server in resolvers), hosts, port))


def cname(name, target):
    return says(f"{name} 60 CNAME {target}")


def chain(lookup, name=WWW):
    return [str(step) for step in follow_cnames(name, lookup, lambda _: Source())]


def test_the_name_that_the_ca_asks_for():
    """The prefix is put before the identifier, in lower case (RFC 8555 §8.4)."""
    assert str(challenge_name("WWW.Example.it")) == "_acme-challenge.www.example.it."


def test_without_cname_the_name_is_effective():
    """A name that does not exist yet is where its record goes."""
    with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as server:
        assert chain(lookup_at(server)) == [str(WWW)]


def test_cnames_are_followed_to_the_end():
    """Each CNAME leads on; the last name is effective."""
    with FakeDns(
        {
            (str(WWW), "CNAME"): cname(WWW, "one.acme.example.net."),
            ("one.acme.example.net", "CNAME"): cname("one.acme.example.net", "two.acme.example.net."),
            ("two.acme.example.net", "CNAME"): nothing("acme.example.net."),
        }
    ) as server:
        assert chain(lookup_at(server)) == [str(WWW), "one.acme.example.net.", "two.acme.example.net."]


def test_a_cname_loop_is_told_whole():
    """A loop is reported with every name in it."""
    with FakeDns(
        {(str(WWW), "CNAME"): cname(WWW, "a.example.it."), ("a.example.it", "CNAME"): cname("a.example.it", str(WWW))}
    ) as server:
        with pytest.raises(DnsError) as caught:
            chain(lookup_at(server))
    assert caught.value.message == f"CNAME loop: {WWW} -> a.example.it. -> {WWW}"
    assert "a.example.it." in caught.value.hint


def test_cnames_are_not_followed_for_ever():
    """A chain that is too long ends in an error."""
    table = {(str(WWW), "CNAME"): cname(WWW, "0.example.it.")}
    for step in range(MOST_CNAMES + 1):
        table[f"{step}.example.it", "CNAME"] = cname(f"{step}.example.it", f"{step + 1}.example.it.")
    with FakeDns(table) as server, pytest.raises(DnsError, match="more than 16 CNAMEs"):
        chain(lookup_at(server))


def test_the_apex_is_told_by_the_negative_answer():
    """One question tells CNAME and apex."""
    with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as server:
        lookup = lookup_at(server)
        chain(lookup)
        assert find_apex(WWW, lookup, Source()) == ZONE
        assert sum(server.asked.values()) == 1


def test_the_apex_is_looked_for_upwards():
    """Where no SOA comes along, each ancestor is asked for its own."""
    with FakeDns(
        {
            (str(WWW), "CNAME"): says(),
            (str(WWW), "SOA"): says(),
            ("www.example.it", "SOA"): says(),
            ("example.it", "SOA"): says(soa("example.it.")),
        }
    ) as server:
        assert find_apex(WWW, lookup_at(server), Source()) == ZONE


def test_the_root_is_no_zone_to_update():
    """A name that does not exist at all is reported, instead of asking the root's primary."""
    with FakeDns({(str(WWW), "CNAME"): nothing(".")}) as server, pytest.raises(DnsError) as caught:
        find_apex(WWW, lookup_at(server), Source())
    assert str(WWW) in caught.value.message
    assert "set zone and server" in caught.value.hint


def test_a_soa_of_another_zone_is_not_taken():
    """A SOA that is not above the name does not count."""
    with FakeDns(
        {
            (str(WWW), "CNAME"): nothing("other.it."),
            (str(WWW), "SOA"): nothing("example.it."),
        }
    ) as server:
        assert find_apex(WWW, lookup_at(server), Source()) == ZONE


def test_the_primary_is_the_one_of_the_soa():
    """The SOA's MNAME is the server to update."""
    with FakeDns({("example.it", "SOA"): says(soa("example.it.", "hidden"))}) as server:
        assert find_primary(ZONE, lookup_at(server), Source()) == Server("hidden.example.it")


def test_no_soa_is_an_error():
    """A zone that was written into the file and does not exist is reported."""
    with FakeDns({("example.it", "SOA"): nothing("it.")}) as server:
        with pytest.raises(DnsError, match="has no SOA record"):
            find_primary(ZONE, lookup_at(server), Source())


def test_every_address_of_every_name_server():
    """IPv4 and IPv6 of each name server are found."""
    with FakeDns(
        {
            ("example.it", "NS"): says("example.it 60 NS ns1.example.it.", "example.it 60 NS ns.example.net."),
            ("ns1.example.it", "A"): says("ns1.example.it 60 A 192.0.2.1"),
            ("ns1.example.it", "AAAA"): says("ns1.example.it 60 AAAA 2001:db8::1"),
            ("ns.example.net", "A"): says("ns.example.net 60 A 192.0.2.2"),
            ("ns.example.net", "AAAA"): nothing("example.net.", "NOERROR"),
        }
    ) as server:
        found = find_name_servers(ZONE, lookup_at(server, port=5353), Source())
    assert sorted(map(str, found)) == [
        "ns.example.net (192.0.2.2 port 5353)",
        "ns1.example.it (192.0.2.1 port 5353)",
        "ns1.example.it (2001:db8::1 port 5353)",
    ]


def test_a_name_server_without_address_is_told():
    """A name server that has no address is a fault that the CA would meet too."""
    with FakeDns(
        {
            ("example.it", "NS"): says("example.it 60 NS ns1.example.it."),
            ("ns1.example.it", "A"): nothing("example.it."),
            ("ns1.example.it", "AAAA"): nothing("example.it."),
        }
    ) as server:
        with pytest.raises(DnsError, match=r"ns1\.example\.it\. of example\.it\. has no address"):
            find_name_servers(ZONE, lookup_at(server), Source())


def test_the_hosts_file_is_the_last_to_be_asked():
    """A host that the DNS does not know may be in /etc/hosts."""
    with FakeDns({("ns.local", "A"): nothing("."), ("ns.local", "AAAA"): nothing(".")}) as server:
        lookup = lookup_at(server, hosts=lambda host: {"ns.local": ["2001:db8::1", "192.0.2.1"]}[host])
        found = lookup.endpoints(Server("ns.local", 53), Source())
    assert found == (Endpoint("192.0.2.1"), Endpoint("2001:db8::1"))


def test_the_section_s_server_is_asked_first():
    """A hidden primary knows its zone before any resolver does; the resolver is not asked."""
    with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as hidden, FakeDns({}) as resolver:
        source = Source((hidden.endpoint,))
        assert find_apex(WWW, lookup_at(resolver), source) == ZONE


@pytest.mark.parametrize("behaviour", [lame, silent, fails("REFUSED"), fails("SERVFAIL")])
def test_a_server_that_does_not_know_leaves_it_to_the_resolver(behaviour):
    """Only an authoritative answer of the section's server counts."""
    with FakeDns({(str(WWW), "CNAME"): behaviour}) as hidden:
        with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as resolver:
            assert find_apex(WWW, lookup_at(resolver), Source((hidden.endpoint,))) == ZONE


def test_the_next_resolver_is_asked():
    """A resolver that fails or stays silent is not the last word."""
    with FakeDns({(str(WWW), "CNAME"): fails("SERVFAIL")}) as bad, FakeDns({(str(WWW), "CNAME"): silent}) as mute:
        with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as good:
            assert find_apex(WWW, lookup_at(bad, mute, good), Source()) == ZONE


def test_servfail_everywhere_is_told():
    """The first resolver's failure is what is told."""
    with FakeDns({(str(WWW), "CNAME"): fails("SERVFAIL")}) as bad, pytest.raises(DnsError) as caught:
        find_apex(WWW, lookup_at(bad), Source())
    assert caught.value.message == f"CNAME of {WWW} at 127.0.0.1 port {bad.port}: SERVFAIL"


def test_nobody_to_ask():
    """A machine without resolvers needs server in the section."""
    with pytest.raises(DnsError, match="nobody to ask") as caught:
        find_apex(WWW, lookup_at(), Source())
    assert "server in the [dns-01] section" in caught.value.hint


def test_caa_is_looked_for_upwards():
    """The nearest CAA records count (RFC 8659 §3)."""
    with FakeDns(
        {
            ("www.example.it", "CAA"): nothing("example.it."),
            ("example.it", "CAA"): says('example.it 60 CAA 0 issue "harica.gr"'),
        }
    ) as server:
        found = find_caa("www.example.it", lookup_at(server), Source())
    assert str(found) == 'CAA at example.it.: 0 issue "harica.gr"'


def test_no_caa_anywhere():
    """Without any CAA record any CA may issue."""
    with FakeDns({("example.it", "CAA"): nothing("it."), ("it", "CAA"): nothing("it.", "NOERROR")}) as server:
        assert "any CA may issue" in str(find_caa("example.it", lookup_at(server), Source()))


KEY = TsigKey("one", "c2VjcmV0")
OTHER = TsigKey("two", "c2VjcmV0")


def section(suffix, how):
    return SolverSection(DNS_01, suffix, how, FILE)


def test_key_and_server_are_those_of_the_effective_name():
    """A CNAME into another zone leads to that zone's section; waiting stays with the name asked for."""
    with FakeDns(
        {
            (str(WWW), "CNAME"): cname(WWW, "x.acme.example.net."),
            ("x.acme.example.net", "CNAME"): nothing("acme.example.net."),
        }
    ) as server:
        sections = [
            section("example.it", Rfc2136Settings(server.server, tsig=KEY, timeout_seconds=7)),
            section("acme.example.net", Rfc2136Settings(server.server, tsig=OTHER)),
        ]
        place = Places(sections, lookup_at()).find("www.example.it")
    assert (str(place.name), str(place.door.zone)) == ("x.acme.example.net.", "acme.example.net.")
    assert place.door.key_name == "two"
    assert place.settings.timeout_seconds == 7
    assert place.door.section == "[dns-01 acme.example.net]"


def test_a_zone_without_section_is_updated_without_key():
    """The key of one zone is not tried on another; the missing section is remembered for the error."""
    with FakeDns(
        {
            (str(WWW), "CNAME"): cname(WWW, "x.example.net."),
            ("x.example.net", "CNAME"): nothing("example.net."),
            ("example.net", "SOA"): says(soa("example.net.")),
            ("ns1.example.net", "A"): says("ns1.example.net 60 A 192.0.2.7"),
            ("ns1.example.net", "AAAA"): nothing("example.net."),
        }
    ) as server:
        places = Places([section("example.it", Rfc2136Settings(server.server, tsig=KEY))], lookup_at(server))
        place = places.find("www.example.it")
    assert (place.door.key, place.door.missing_section) == (None, True)
    assert place.door.endpoints == (Endpoint("192.0.2.7"),)


def test_where_another_plugin_has_the_effective_name_the_asked_section_stays():
    """A delegate cannot be given a CNAME's target, so the section of the name asked for goes on."""
    with FakeDns(
        {(str(WWW), "CNAME"): cname(WWW, "x.example.net."), ("x.example.net", "CNAME"): nothing("example.net.")}
    ) as server:
        sections = [
            section("example.it", Rfc2136Settings(server.server, tsig=KEY)),
            section("example.net", DelegateSettings("dns-cloudflare")),
        ]
        assert Places(sections, lookup_at()).find("www.example.it").door.key_name == "one"


def test_a_zone_that_is_written_down_is_taken():
    """A zone in the section saves the SOA, and has to hold the name."""
    with FakeDns({(str(WWW), "CNAME"): nothing("www.example.it.")}) as server:
        place = Places([section("", Rfc2136Settings(server.server, "example.it"))], lookup_at()).find("www.example.it")
        assert place.door.zone == ZONE
        with pytest.raises(ConfigError, match=r"is not inside zone other\.it\."):
            Places([section("", Rfc2136Settings(server.server, "other.it"))], lookup_at()).find("www.example.it")


def test_a_server_without_address_is_told():
    """A server whose name nobody knows is told with its section."""
    places = Places([section("", Rfc2136Settings("ns.example.it"))], lookup_at())
    with pytest.raises(ChallengeError, match=r"server ns\.example\.it of \[dns-01\] has no address"):
        places.find("www.example.it")


def test_a_name_without_section_is_told():
    """Only rfc2136 sections count here."""
    places = Places([section("example.it", DelegateSettings("dns-multi"))], lookup_at())
    with pytest.raises(ConfigError, match=r"www\.example\.it"):
        places.find("www.example.it")


def test_what_is_no_name_is_told():
    """A name that the DNS cannot hold is an error with the name."""
    with pytest.raises(ChallengeError, match=r"a\.\.example\.it"):
        Places([section("", Rfc2136Settings("192.0.2.1"))], lookup_at()).find("a..example.it")


def test_a_hundred_names_share_what_is_above_them():
    """Each name costs one question; the zone's SOA is asked for once."""
    table = {(f"_acme-challenge.h{n}.example.it", "CNAME"): nothing("example.it.") for n in range(100)}
    table |= {
        ("example.it", "SOA"): says(soa("example.it.")),
        ("ns1.example.it", "A"): says("ns1.example.it 60 A 192.0.2.7"),
        ("ns1.example.it", "AAAA"): nothing("example.it."),
    }
    with FakeDns(table) as server:
        places = Places([section("", Rfc2136Settings())], lookup_at(server))
        for number in range(100):
            assert places.find(f"h{number}.example.it").door.zone == ZONE
        assert sum(server.asked.values()) == 103


def test_a_primary_without_address_is_told():
    """A SOA that names a host that is not there (PowerDNS's default) asks for server in the section."""
    gone = "a.misconfigured.invalid"
    with FakeDns(
        {
            (str(WWW), "CNAME"): nothing("example.it."),
            ("example.it", "SOA"): says(f"example.it. 60 SOA {gone}. hostmaster.example.it. 1 3600 600 86400 5"),
            (gone, "A"): nothing("invalid."),
            (gone, "AAAA"): nothing("invalid."),
        }
    ) as server:
        with pytest.raises(ChallengeError, match=rf"{gone}, which the SOA of example\.it\. names") as caught:
            Places([section("", Rfc2136Settings())], lookup_at(server)).find("www.example.it")
    assert "Set server in [dns-01]" in caught.value.hint


def test_a_zone_without_name_servers_is_told():
    """A zone that shows no NS records cannot be looked at."""
    with FakeDns({("example.it", "NS"): nothing("it.")}) as server:
        with pytest.raises(DnsError, match="has no NS records") as caught:
            find_name_servers(ZONE, lookup_at(server), Source())
    assert "propagation = resolvers" in caught.value.hint


def test_an_answer_that_cannot_be_read_leaves_it_to_the_next():
    """Garbage from one resolver is not the last word."""

    def garbled(wire, endpoint, *, timeout_seconds, tcp):
        if endpoint == bad.endpoint:
            return wire[:2] + b"\x84\x00\0\1\0\1\0\0\0\0broken"
        return exchange(wire, endpoint, timeout_seconds=1.0, tcp=tcp)

    with FakeDns({}) as bad, FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as good:
        lookup = Lookup(Client(garbled), Surroundings((bad.endpoint, good.endpoint)))
        assert find_apex(WWW, lookup, Source()) == ZONE
