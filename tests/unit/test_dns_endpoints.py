"""Where a name server is, as users write it."""

import pytest

from certbot_garr_tcs.challenges.dns.endpoints import Endpoint, Server, parse_server
from certbot_garr_tcs.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("ns.example.it", "ns.example.it", None),
        ("ns.example.it.", "ns.example.it.", None),
        (" ns.example.it:5353 ", "ns.example.it", 5353),
        ("localhost", "localhost", None),
        ("192.0.2.1", "192.0.2.1", None),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", None),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
        ("2001:db8::53", "2001:db8::53", None),
        ("2001:db8:0:0:0:0:11:53", "2001:db8:0:0:0:0:11:53", None),
        ("[fd00::11:53]", "fd00::11:53", None),
        ("[fd00::11]:53", "fd00::11", 53),
    ],
)
def test_reads_every_form(text, host, port):
    """Host, address, port and brackets are read, and written so that they are read again."""
    server = parse_server(text)
    assert server == Server(host, port)
    assert parse_server(str(server)) == server


@pytest.mark.parametrize(
    "text",
    ["", ":53", "ns.example.it:", "ns.example.it:0", "ns.example.it:65536", "ns.example.it:dns",
     "192.0.2.300", "[ns", "[2001:db8::g]:53", "a b", "-ns.example.it", "ns..example.it", "x" * 64,
     "https://ns.example.it"],
)  # fmt: skip
def test_refuses_what_is_no_server(text):
    """What is no server is refused with the forms that are."""
    with pytest.raises(ConfigError) as caught:
        parse_server(text)
    assert "[2001:db8::1]:5353" in caught.value.hint


@pytest.mark.parametrize("text", ["fd00::11:53", "fd00::11:5353"])
def test_an_address_that_ends_like_a_port_is_not_guessed_at(text):
    """Whether the last group is part of the address or the port is said with brackets."""
    with pytest.raises(ConfigError, match="can be read in two ways") as caught:
        parse_server(text)
    assert "[2001:db8::53] or [2001:db8::1]:53" in caught.value.hint
    assert text not in str(caught.value)


def test_endpoints_are_equal_by_address_and_port():
    """A host name beside the address is for messages only."""
    assert Endpoint("192.0.2.53") == Endpoint("192.0.2.53", host="ns.example.it")
    assert str(Endpoint("192.0.2.53")) == "192.0.2.53 port 53"
    assert str(Endpoint("2001:db8::1", 5353, "ns.example.it")) == "ns.example.it (2001:db8::1 port 5353)"
