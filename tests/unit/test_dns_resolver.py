"""Which servers are asked, and whose answer counts, on a real socket."""

import dns.name
import dns.resolver
import pytest
from support.fake_dns import FakeDns, fails, lame, nothing, says, silent, without_waiting

from certbot_garr_tcs.challenges.dns.client import Client
from certbot_garr_tcs.challenges.dns.diagnosis import find_caa
from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server
from certbot_garr_tcs.challenges.dns.location import find_apex
from certbot_garr_tcs.challenges.dns.resolver import PreferredServer, Resolver, ResolverConfig, system_resolver_config
from certbot_garr_tcs.errors import DnsError

WWW = dns.name.from_text("_acme-challenge.www.example.it")
ZONE = dns.name.from_text("example.it")


def resolver_at(*servers, hosts=lambda _host: (), transport=without_waiting):
    return Resolver(Client(transport), ResolverConfig(tuple(server.endpoint for server in servers), hosts))


def test_the_hosts_file_is_the_last_to_be_asked_for_a_name_server():
    """A name server that the DNS does not know may be in /etc/hosts."""
    with FakeDns({("ns.local", "A"): nothing("."), ("ns.local", "AAAA"): nothing(".")}) as server:
        resolver = resolver_at(server, hosts=lambda host: {"ns.local": ["2001:db8::1", "192.0.2.1"]}[host])
        found = resolver.addresses(Server("ns.local", 53), PreferredServer())
    assert found == (Endpoint("192.0.2.1"), Endpoint("2001:db8::1"))


def test_the_section_s_server_is_asked_first():
    """A hidden primary knows its zone before any resolver does; the resolver is not asked."""
    with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as hidden, FakeDns({}) as resolver:
        preferred = PreferredServer((hidden.endpoint,))
        assert find_apex(WWW, resolver_at(resolver), preferred) == ZONE


@pytest.mark.parametrize("behaviour", [lame, silent, fails("REFUSED"), fails("SERVFAIL")])
def test_a_server_that_does_not_know_leaves_it_to_the_resolver(behaviour):
    """Only an authoritative answer of the section's server counts."""
    with FakeDns({(str(WWW), "CNAME"): behaviour}) as hidden:
        with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as resolver:
            assert find_apex(WWW, resolver_at(resolver), PreferredServer((hidden.endpoint,))) == ZONE


def test_the_next_resolver_is_asked():
    """A resolver that fails or stays silent is not the last word."""
    with FakeDns({(str(WWW), "CNAME"): fails("SERVFAIL")}) as bad, FakeDns({(str(WWW), "CNAME"): silent}) as mute:
        with FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as good:
            assert find_apex(WWW, resolver_at(bad, mute, good), PreferredServer()) == ZONE


def test_servfail_everywhere_is_reported():
    """The first resolver's failure is what is reported."""
    with FakeDns({(str(WWW), "CNAME"): fails("SERVFAIL")}) as bad, pytest.raises(DnsError) as caught:
        find_apex(WWW, resolver_at(bad), PreferredServer())
    assert caught.value.message == f"CNAME of {WWW} at 127.0.0.1 port {bad.port}: SERVFAIL"


def test_nobody_to_ask():
    """A machine without resolvers needs server in the section."""
    with pytest.raises(DnsError, match="nobody to ask") as caught:
        find_apex(WWW, resolver_at(), PreferredServer())
    assert "server in the [dns-01] section" in caught.value.hint


def test_an_answer_that_cannot_be_read_leaves_it_to_the_next():
    """Garbage from one resolver is not the last word."""

    def garbled(wire, endpoint, *, timeout_seconds, tcp):
        if endpoint == bad.endpoint:
            return wire[:2] + b"\x84\x00\0\1\0\1\0\0\0\0broken"
        return without_waiting(wire, endpoint, timeout_seconds=timeout_seconds, tcp=tcp)

    with FakeDns({}) as bad, FakeDns({(str(WWW), "CNAME"): nothing("example.it.")}) as good:
        assert find_apex(WWW, resolver_at(bad, good, transport=garbled), PreferredServer()) == ZONE


def test_caa_is_looked_for_upwards():
    """The nearest CAA records count (RFC 8659 §3)."""
    with FakeDns(
        {
            ("www.example.it", "CAA"): nothing("example.it."),
            ("example.it", "CAA"): says('example.it 60 CAA 0 issue "harica.gr"'),
        }
    ) as server:
        found = find_caa("www.example.it", resolver_at(server), PreferredServer())
    assert found == 'CAA at example.it.: 0 issue "harica.gr"'


def test_no_caa_anywhere():
    """Without any CAA record any CA may issue."""
    with FakeDns({("example.it", "CAA"): nothing("it."), ("it", "CAA"): nothing("it.", "NOERROR")}) as server:
        assert "any CA may issue" in find_caa("example.it", resolver_at(server), PreferredServer())


@pytest.fixture
def resolv_conf(tmp_path, monkeypatch):
    """Give dnspython another /etc/resolv.conf."""
    path = tmp_path / "resolv.conf"
    read = dns.resolver.Resolver.read_resolv_conf
    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", lambda self, _: read(self, str(path)))
    return path


def test_the_machine_s_resolvers(resolv_conf):
    """Name servers are taken from resolv.conf, hosts from the system's own tables."""
    resolv_conf.write_text("search example.it\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n")
    found = system_resolver_config()
    assert found.resolvers == (Endpoint("192.0.2.1"), Endpoint("2001:db8::1"))
    assert "127.0.0.1" in found.hosts("localhost")
    assert list(found.hosts("x" * 300)) == []


def test_a_machine_without_resolvers(resolv_conf):
    """No resolv.conf, or an empty one, is no error: server in the section may be enough."""
    assert system_resolver_config().resolvers == ()
    resolv_conf.write_text("")
    assert system_resolver_config().resolvers == ()
