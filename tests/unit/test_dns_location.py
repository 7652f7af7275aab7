"""Where records belong, on a real socket: effective names, zones, primaries, name servers, keys."""

from pathlib import Path

import dns.name
import pytest
from support.fake_dns import FakeDns, fails, from_wildcard, lame, nothing, refers_to, says, silent, soa, without_waiting

from certbot_garr_tcs.challenges.dns.client import Client
from certbot_garr_tcs.challenges.dns.endpoints import Server
from certbot_garr_tcs.challenges.dns.location import (
    MOST_CNAMES,
    RecordLocator,
    challenge_name,
    find_apex,
    find_authority,
    find_name_servers,
    find_primary,
    follow_cnames,
)
from certbot_garr_tcs.challenges.dns.resolver import PreferredServer, Resolver, ResolverConfig
from certbot_garr_tcs.challenges.settings import DNS_01, DelegateSettings, Rfc2136Settings, SolverSection, TsigKey
from certbot_garr_tcs.errors import ChallengeError, ConfigError, DnsError

WWW = dns.name.from_text("_acme-challenge.www.example.it")
ZONE = dns.name.from_text("example.it")
FILE = Path("garr-tcs.ini")


def resolver_at(*servers, hosts=lambda _host: (), port=53):
    config = ResolverConfig(tuple(server.endpoint for server in servers), hosts, port)
    return Resolver(Client(without_waiting), config)


def cname(name, target):
    return says(f"{name} 60 CNAME {target}")


def alone(name, zone="example.it."):
    """Say that beside ``name`` there is nothing: what it says is no wildcard's."""
    return {(f"*.{dns.name.from_text(name).parent()}", "CNAME"): nothing(zone)}


def chain(resolver, name=WWW):
    return [str(step) for step in follow_cnames(name, resolver, lambda _: PreferredServer())]


def test_the_name_that_the_ca_asks_for():
    """The prefix is put before the identifier, in lower case (RFC 8555 §8.4)."""
    assert str(challenge_name("WWW.Example.it")) == "_acme-challenge.www.example.it."


def test_without_cname_the_name_is_effective():
    """A name that does not exist yet is where its record goes."""
    with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as server:
        assert chain(resolver_at(server)) == [str(WWW)]


def test_cnames_are_followed_to_the_end():
    """Each CNAME leads on; the last name is effective."""
    with FakeDns(
        {
            (str(WWW), "CNAME"): cname(WWW, "one.acme.example.net."),
            ("one.acme.example.net", "CNAME"): cname("one.acme.example.net", "two.acme.example.net."),
            ("two.acme.example.net", "CNAME"): nothing("acme.example.net."),
            **alone(str(WWW)),
            **alone("one.acme.example.net"),
        }
    ) as server:
        assert chain(resolver_at(server)) == [str(WWW), "one.acme.example.net.", "two.acme.example.net."]


def test_a_cname_loop_is_reported_whole():
    """A loop is reported with every name in it."""
    table = {
        (str(WWW), "CNAME"): cname(WWW, "a.example.it."),
        ("a.example.it", "CNAME"): cname("a.example.it", str(WWW)),
    }
    with FakeDns({**table, **alone(str(WWW)), **alone("a.example.it")}) as server:
        with pytest.raises(DnsError) as caught:
            chain(resolver_at(server))
    assert caught.value.message == f"CNAME loop: {WWW} -> a.example.it. -> {WWW}"
    assert "a.example.it." in caught.value.hint


@pytest.mark.parametrize("most", [MOST_CNAMES, MOST_CNAMES + 1])
def test_cnames_are_not_followed_for_ever(most):
    """Sixteen CNAMEs are followed, as the manual says; one more ends in an error."""
    steps = [str(WWW), *(f"{step}.example.it." for step in range(most))]
    table = {(step, "CNAME"): cname(step, target) for step, target in zip(steps, steps[1:])}
    table |= {(steps[-1], "CNAME"): nothing("example.it."), **alone(str(WWW)), **alone("0.example.it")}
    with FakeDns(table) as server:
        if most == MOST_CNAMES:
            assert chain(resolver_at(server)) == steps
        else:
            with pytest.raises(DnsError, match=rf"more than 16 CNAMEs from {WWW}"):
                chain(resolver_at(server))


def test_a_wildcard_s_cname_is_not_followed():
    """A CNAME that a wildcard makes up gives way to a record at the name: the name itself is effective."""
    target = "web.example.com."
    with FakeDns(
        {(str(WWW), "CNAME"): cname(WWW, target), ("*.www.example.it", "CNAME"): from_wildcard(target)}
    ) as server:
        assert chain(resolver_at(server)) == [str(WWW)]


def test_a_cname_beside_a_wildcard_is_followed():
    """A CNAME of the name's own is followed, whatever a wildcard says of the names beside it."""
    table = {
        (str(WWW), "CNAME"): cname(WWW, "www.acme.example.net."),
        ("*.www.example.it", "CNAME"): from_wildcard("web.example.com."),
        ("www.acme.example.net", "CNAME"): nothing("acme.example.net."),
    }
    with FakeDns(table) as server:
        assert chain(resolver_at(server)) == [str(WWW), "www.acme.example.net."]


def test_a_wildcard_at_the_target_is_not_followed():
    """Where a CNAME leads below a wildcard, the record goes to its target."""
    table = {
        (str(WWW), "CNAME"): cname(WWW, "www.acme.example.net."),
        ("www.acme.example.net", "CNAME"): cname("www.acme.example.net.", "web.example.com."),
        ("*.acme.example.net", "CNAME"): from_wildcard("web.example.com."),
        **alone(str(WWW)),
    }
    with FakeDns(table) as server:
        assert chain(resolver_at(server)) == [str(WWW), "www.acme.example.net."]


def test_an_error_behind_a_cname_names_what_was_asked_for():
    """Where a CNAME leads to nothing that can be looked up, both ends are in the message."""
    table = {(str(WWW), "CNAME"): cname(WWW, "x.gone.example."), ("x.gone.example", "CNAME"): fails("SERVFAIL")}
    with FakeDns({**table, **alone(str(WWW))}) as server, pytest.raises(DnsError) as caught:
        chain(resolver_at(server))
    assert caught.value.message.startswith(f"{WWW} is a CNAME that leads to x.gone.example.: CNAME of x.gone.example.")


def test_the_apex_is_in_the_negative_answer():
    """One question finds CNAME and apex."""
    with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as server:
        resolver = resolver_at(server)
        chain(resolver)
        assert find_apex(WWW, resolver, PreferredServer()) == ZONE
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
        assert find_apex(WWW, resolver_at(server), PreferredServer()) == ZONE


def test_the_apex_is_not_the_one_of_a_cname_s_target():
    """A server that follows a CNAME in its answer adds the SOA of the target's zone, which is not the name's."""
    table = {
        ("_acme-challenge.www.sub.example.it", "CNAME"): cname("_acme-challenge.www.sub.example.it", "web.example.it."),
        ("_acme-challenge.www.sub.example.it", "SOA"): says(
            "_acme-challenge.www.sub.example.it 60 CNAME web.example.it.", authority=soa("example.it.")
        ),
        ("www.sub.example.it", "SOA"): nothing("sub.example.it."),
    }
    with FakeDns(table) as server:
        found = find_apex(
            dns.name.from_text("_acme-challenge.www.sub.example.it"), resolver_at(server), PreferredServer()
        )
    assert str(found) == "sub.example.it."


def authority_of(zone):
    """Say what a resolver knows of a zone with one name server, on this machine."""
    return {
        (zone, "SOA"): says(soa(zone)),
        (zone, "NS"): says(f"{zone} 60 NS ns1.{zone}"),
        (f"ns1.{zone}", "A"): says(f"ns1.{zone} 60 A 127.0.0.1"),
        (f"ns1.{zone}", "AAAA"): nothing(zone),
    }


def test_a_resolver_is_asked_for_nothing_below_the_zone():
    """What is missing, a resolver would remember: it is asked for the zone, and the zone's server for the rest."""
    with (
        FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as server,
        FakeDns(authority_of("example.it.")) as recursive,
    ):
        resolver = resolver_at(recursive, port=server.port)
        assert find_authority(WWW, resolver).endpoints == (server.endpoint,)
        assert {name for name, _ in recursive.asked} == {"example.it.", "ns1.example.it."}


@pytest.mark.parametrize("glue", [("ns.sub.example.it 60 A 127.0.0.1",), ()])
def test_a_delegation_is_followed_to_its_zone(glue):
    """A zone's server that refers to a zone below leads to that one's server, by glue or by its address."""
    name = "_acme-challenge.www.sub.example.it."
    address = (
        {}
        if glue
        else {
            ("ns.sub.example.it", "A"): says("ns.sub.example.it 60 A 127.0.0.1"),
            ("ns.sub.example.it", "AAAA"): nothing("sub.example.it."),
        }
    )

    referral = refers_to("sub.example.it.", "ns.sub.example.it.", glue=glue)
    with FakeDns({(name, "CNAME"): referral}, address="127.0.0.2") as parent:
        with FakeDns({(name, "CNAME"): nothing("sub.example.it.")}, port=parent.port) as child:
            known = authority_of("example.it.") | {("ns1.example.it", "A"): says("ns1.example.it 60 A 127.0.0.2")}
            with FakeDns({**known, **address}) as recursive:
                resolver = resolver_at(recursive, port=parent.port)
                preferred = find_authority(dns.name.from_text(name), resolver)
                assert preferred.endpoints == (child.endpoint,)
                assert find_apex(dns.name.from_text(name), resolver, preferred) == dns.name.from_text("sub.example.it")


@pytest.mark.parametrize("behaviour", [silent, lame, fails("REFUSED"), refers_to(".", "a.root-servers.net.")])
def test_where_no_name_server_answers_the_resolver_is_asked_after_all(behaviour):
    """A zone whose servers cannot be asked from here (or are lame) is looked up through the resolver."""
    table = authority_of("example.it.")
    with FakeDns({(str(WWW), "CNAME"): behaviour}) as server, FakeDns(table) as recursive:
        assert find_authority(WWW, resolver_at(recursive, port=server.port)) == PreferredServer()


@pytest.mark.parametrize("behaviour", [silent, fails("SERVFAIL")])
def test_what_a_resolver_cannot_reach_is_above_the_zone(behaviour):
    """A resolver of a closed network knows its own zones, and nothing of those above: they are not needed."""
    name = dns.name.from_text("_acme-challenge.www.lab.example.it")
    table = authority_of("lab.example.it.") | {("example.it", "SOA"): behaviour}
    with FakeDns({(str(name), "CNAME"): nothing("lab.example.it.")}) as server, FakeDns(table) as recursive:
        assert find_authority(name, resolver_at(recursive, port=server.port)).endpoints == (server.endpoint,)


def test_a_zone_of_one_label_has_name_servers_too():
    """A private zone below the root, without a name of two labels that exists, is found by its SOA."""
    table = authority_of("lan.") | {("host.lan", "SOA"): nothing("lan.")}
    with FakeDns({("_acme-challenge.host.lan", "CNAME"): nothing("lan.")}) as server, FakeDns(table) as recursive:
        found = find_authority(dns.name.from_text("_acme-challenge.host.lan"), resolver_at(recursive, port=server.port))
    assert found.endpoints == (server.endpoint,)


def test_the_root_is_no_zone_to_update():
    """A name that does not exist at all is reported, instead of asking the root's primary."""
    with FakeDns({(str(WWW), "CNAME"): nothing(".")}) as server, pytest.raises(DnsError) as caught:
        find_apex(WWW, resolver_at(server), PreferredServer())
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
        assert find_apex(WWW, resolver_at(server), PreferredServer()) == ZONE


def test_the_primary_is_the_one_of_the_soa():
    """The SOA's MNAME is the server to update."""
    with FakeDns({("example.it", "SOA"): says(soa("example.it.", "hidden"))}) as server:
        assert find_primary(ZONE, resolver_at(server), PreferredServer()) == Server("hidden.example.it")


def test_no_soa_is_an_error():
    """A zone that was written into the file and does not exist is reported."""
    with FakeDns({("example.it", "SOA"): nothing("it.")}) as server:
        with pytest.raises(DnsError, match="has no SOA record"):
            find_primary(ZONE, resolver_at(server), PreferredServer())


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
        found = find_name_servers(ZONE, resolver_at(server, port=5353), PreferredServer())
    assert sorted(map(str, found)) == [
        "ns.example.net (192.0.2.2 port 5353)",
        "ns1.example.it (192.0.2.1 port 5353)",
        "ns1.example.it (2001:db8::1 port 5353)",
    ]


def test_a_name_server_without_address_is_reported():
    """A name server that has no address is a fault that the CA would meet too."""
    with FakeDns(
        {
            ("example.it", "NS"): says("example.it 60 NS ns1.example.it."),
            ("ns1.example.it", "A"): nothing("example.it."),
            ("ns1.example.it", "AAAA"): nothing("example.it."),
        }
    ) as server:
        with pytest.raises(DnsError, match=r"ns1\.example\.it\. of example\.it\. has no address"):
            find_name_servers(ZONE, resolver_at(server), PreferredServer())


def test_the_hosts_file_is_the_first_to_be_asked_for_a_server_that_is_named():
    """What /etc/hosts says of a server in garr-tcs.ini counts before what the DNS says, as for any program."""
    with FakeDns({}) as server:
        resolver = resolver_at(server, hosts=lambda host: {"ns.example.it": ["2001:db8::1", "192.0.2.1"]}[host])
        how = Rfc2136Settings("ns.example.it:5353")
        preferred = RecordLocator([section("", how)], resolver).preferred_server(section("", how))
    assert [str(one) for one in preferred.endpoints] == [
        "ns.example.it (192.0.2.1 port 5353)",
        "ns.example.it (2001:db8::1 port 5353)",
    ]


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
            **alone(str(WWW)),
        }
    ) as server:
        sections = [
            section("example.it", Rfc2136Settings(server.server, tsig=KEY, timeout_seconds=7)),
            section("acme.example.net", Rfc2136Settings(server.server, tsig=OTHER)),
        ]
        location = RecordLocator(sections, resolver_at()).locate("www.example.it")
    assert (str(location.name), str(location.target.zone)) == ("x.acme.example.net.", "acme.example.net.")
    assert location.target.key_name == "two"
    assert location.settings.timeout_seconds == 7
    assert location.target.section == "[dns-01 acme.example.net]"


def leading_away():
    """Say what name servers and resolvers know, where a CNAME leads to a stranger's zone."""
    return {
        (str(WWW), "CNAME"): cname(WWW, "x.example.net."),
        **alone(str(WWW)),
        **authority_of("example.it."),
        **authority_of("example.net."),
        ("www.example.it", "CNAME"): nothing("example.it."),
        ("x.example.net", "CNAME"): nothing("example.net."),
    }


@pytest.mark.parametrize(
    ("how", "suffix", "key"),
    [
        ({}, "", None),
        ({"server": "127.0.0.3"}, "example.it", None),
        ({"server": "127.0.0.3"}, "", "one"),
        ({"zone": "example.net"}, "", "one"),
        ({}, "example.net", "one"),
        ({}, "net", "one"),
    ],
)
def test_only_a_section_that_names_a_zone_signs_for_it(how, suffix, key):
    """A CNAME into a stranger's zone gets no message with our key, but where a section names it."""
    with FakeDns(leading_away()) as server:
        sections = [section(suffix, Rfc2136Settings(tsig=KEY, **how))]
        sections += [] if suffix in {"", "example.it"} else [section("example.it", Rfc2136Settings(tsig=OTHER))]
        target = RecordLocator(sections, resolver_at(server, port=server.port)).locate("www.example.it").target
    assert (target.key and target.key.name.to_text(omit_final_dot=True)) == key
    assert target.key_name == (key or "")
    assert target.missing_section == (key is None)
    assert str(target.zone) == "example.net."


def test_a_cname_within_the_zone_keeps_its_section():
    """A section without suffix and server is meant for all of the zone of the name asked for."""
    table = {
        (str(WWW), "CNAME"): cname(WWW, "proofs.example.it."),
        **alone(str(WWW)),
        **authority_of("example.it."),
        ("www.example.it", "CNAME"): nothing("example.it."),
        ("proofs.example.it", "CNAME"): nothing("example.it."),
    }
    with FakeDns(table) as server:
        target = (
            RecordLocator([section("", Rfc2136Settings(tsig=KEY))], resolver_at(server, port=server.port))
            .locate("www.example.it")
            .target
        )
    assert (target.key_name, target.missing_section) == ("one", False)


def test_where_another_plugin_has_the_effective_name_nothing_is_sent():
    """A delegate cannot publish at a CNAME's target, and no other key may: the error says so, and what to do."""
    with FakeDns(leading_away()) as server:
        sections = [
            section("example.it", Rfc2136Settings(server.server, tsig=KEY)),
            section("example.net", DelegateSettings("dns-cloudflare")),
        ]
        with pytest.raises(ChallengeError) as caught:
            RecordLocator(sections, resolver_at(server)).locate("www.example.it")
    assert caught.value.message == (
        f"{WWW} is a CNAME that leads to x.example.net., and [dns-01 example.net] of garr-tcs.ini has via ="
        " dns-cloudflare: another plugin publishes at the name asked for, never where a CNAME leads"
    )
    assert "Write server and key of that zone into [dns-01 example.net] instead of via" in caught.value.hint


def test_no_zone_for_the_target_of_a_cname_names_the_name_asked_for():
    """Both ends of a CNAME that leads to nowhere are in the message."""
    table = {
        (str(WWW), "CNAME"): cname(WWW, "x.nowhere.invalid."),
        **alone(str(WWW)),
        ("nowhere.invalid", "SOA"): nothing("."),
        ("x.nowhere.invalid", "CNAME"): nothing("."),
    }
    with FakeDns(table) as server, pytest.raises(DnsError) as caught:
        RecordLocator([section("example.it", Rfc2136Settings(server.server))], resolver_at(server)).locate(
            "www.example.it"
        )
    assert caught.value.message == (
        f"{WWW} is a CNAME that leads to x.nowhere.invalid.: no zone found for x.nowhere.invalid."
    )


def test_a_zone_that_is_written_down_is_taken():
    """A zone in the section saves the SOA, and has to hold the name."""
    with FakeDns({(str(WWW), "CNAME"): nothing("www.example.it.")}) as server:
        location = RecordLocator([section("", Rfc2136Settings(server.server, "example.it"))], resolver_at()).locate(
            "www.example.it"
        )
        assert location.target.zone == ZONE
        with pytest.raises(ConfigError, match=r"is not inside zone other\.it\."):
            RecordLocator([section("", Rfc2136Settings(server.server, "other.it"))], resolver_at()).locate(
                "www.example.it"
            )


def test_a_server_without_address_is_reported():
    """A server whose name nobody knows is reported with its section."""
    locator = RecordLocator([section("", Rfc2136Settings("ns.example.it"))], resolver_at())
    with pytest.raises(ChallengeError, match=r"server ns\.example\.it of \[dns-01\] has no address"):
        locator.locate("www.example.it")


def test_a_name_without_section_is_reported():
    """Only rfc2136 sections count here."""
    locator = RecordLocator([section("example.it", DelegateSettings("dns-multi"))], resolver_at())
    with pytest.raises(ConfigError, match=r"www\.example\.it"):
        locator.locate("www.example.it")


@pytest.mark.parametrize(
    ("name", "says_so"),
    [
        ("a..example.it", r"'a\.\.example\.it' is no DNS name: A DNS label is empty"),
        (f"{'a' * 64}.example.it", "is no DNS name: A DNS label is > 63 octets long"),
        (".".join(["a" * 59] * 4), r"^_acme-challenge\.a+\.a.* has 255 characters: a DNS name has 253 at most"),
        (".".join(["a" * 63] * 4), r"^aaa.* has 255 characters: a DNS name has 253 at most"),
    ],
)
def test_what_is_no_name_is_reported(name, says_so):
    """A name that the DNS cannot hold is an error with the name, and with what is wrong."""
    with pytest.raises(DnsError, match=says_so):
        challenge_name(name)


def test_the_longest_name_that_can_be_proved():
    """A challenge name of 253 characters is one."""
    name = ".".join(["a" * 58, "a" * 59, "a" * 59, "a" * 58])
    assert len(challenge_name(name).to_wire()) == 255


def test_many_names_share_what_is_above_them():
    """Each name costs one question; what is above them is asked for once."""
    table = {(f"_acme-challenge.h{n}.example.it", "CNAME"): nothing("example.it.") for n in range(20)}
    with FakeDns(table | authority_of("example.it.")) as server:
        locator = RecordLocator([section("", Rfc2136Settings())], resolver_at(server, port=server.port))
        for number in range(20):
            assert locator.locate(f"h{number}.example.it").target.zone == ZONE
        asked = {question: times for question, times in server.asked.items() if question[1] != "CNAME"}
        assert sum(server.asked.values()) - sum(asked.values()) == 20
        # Once of the resolver, once of the zone's own server, which is the same one here.
        assert set(asked.values()) <= {1, 2}
        assert len(asked) == 4


def test_a_primary_without_address_is_reported():
    """A SOA that names a host that is not there (PowerDNS's default) asks for server in the section."""
    gone = "a.misconfigured.invalid"
    table = {
        (str(WWW), "CNAME"): nothing("example.it."),
        **authority_of("example.it."),
        ("example.it", "SOA"): says(f"example.it. 60 SOA {gone}. hostmaster.example.it. 1 3600 600 86400 5"),
        (gone, "A"): nothing("invalid."),
        (gone, "AAAA"): nothing("invalid."),
    }
    with FakeDns(table) as server:
        with pytest.raises(ChallengeError, match=rf"{gone}, which the SOA of example\.it\. names") as caught:
            RecordLocator([section("", Rfc2136Settings())], resolver_at(server, port=server.port)).locate(
                "www.example.it"
            )
    assert "Set server in [dns-01]" in caught.value.hint


def test_a_zone_without_name_servers_is_reported():
    """A zone that shows no NS records cannot be checked."""
    with FakeDns({("example.it", "NS"): nothing("it.")}) as server:
        with pytest.raises(DnsError, match="has no NS records") as caught:
            find_name_servers(ZONE, resolver_at(server), PreferredServer())
    assert "propagation = resolvers" in caught.value.hint
