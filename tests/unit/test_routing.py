"""Routing: which section proves which name, and by which challenge."""

from __future__ import annotations

from pathlib import Path

import pytest

from certbot_garr_tcs.challenges.routing import best_section, preferences
from certbot_garr_tcs.challenges.settings import DNS_01, HTTP_01, DelegateSettings, SolverSection

HOW = DelegateSettings("standalone")


def sections(*titles: str) -> list[SolverSection]:
    """Read ``dns-01 example.it`` as a section."""
    made = []
    for title in titles:
        kind, _, suffix = title.partition(" ")
        made.append(SolverSection(kind, suffix, HOW, Path("garr-tcs.ini")))
    return made


@pytest.mark.parametrize(
    ("name", "kind", "titles", "expected"),
    [
        ("www.example.it", DNS_01, [], None),
        ("www.example.it", DNS_01, ["dns-01"], "[dns-01]"),
        ("www.example.it", DNS_01, ["http-01"], None),
        ("www.example.it", HTTP_01, ["http-01"], "[http-01]"),
        ("example.it", DNS_01, ["dns-01 example.it"], "[dns-01 example.it]"),
        ("a.b.example.it", DNS_01, ["dns-01 example.it"], "[dns-01 example.it]"),
        ("example.it", DNS_01, ["dns-01 www.example.it"], None),
        ("notexample.com", DNS_01, ["dns-01 example.com"], None),
        ("example.com.it", DNS_01, ["dns-01 example.com"], None),
        ("it", DNS_01, ["dns-01 example.it"], None),
        ("WWW.Example.IT.", DNS_01, ["dns-01 example.it"], "[dns-01 example.it]"),
        ("www.example.it", DNS_01, ["dns-01 EXAMPLE.it."], "[dns-01 EXAMPLE.it.]"),
        ("www.example.it", DNS_01, ["dns-01", "dns-01 it", "dns-01 example.it"], "[dns-01 example.it]"),
        ("www.example.it", DNS_01, ["dns-01 example.it", "dns-01 it", "dns-01"], "[dns-01 example.it]"),
        # Longest by labels, not by letters.
        (
            "a.b.verylonglabel",
            DNS_01,
            ["dns-01 verylonglabel", "dns-01 a.b.verylonglabel"],
            "[dns-01 a.b.verylonglabel]",
        ),
        ("www.example.it", DNS_01, ["dns-01 it", "http-01 www.example.it"], "[dns-01 it]"),
        ("*.example.it", DNS_01, ["dns-01 example.it"], "[dns-01 example.it]"),
        ("*.example.it", HTTP_01, ["http-01 example.it", "http-01"], None),
        ("192.0.2.1", DNS_01, ["dns-01", "dns-01 192.0.2.1"], None),
        ("192.0.2.1", HTTP_01, ["http-01"], "[http-01]"),
        ("192.0.2.1", HTTP_01, ["http-01", "http-01 192.0.2.1"], "[http-01 192.0.2.1]"),
        ("192.0.2.1", HTTP_01, ["http-01 2.1"], None),
        ("192.0.2.1", HTTP_01, ["http-01 192.0.2.2"], None),
        ("2001:db8::1", HTTP_01, ["http-01 2001:DB8:0::1"], "[http-01 2001:DB8:0::1]"),
        ("2001:db8::1", HTTP_01, ["http-01 2001:db8::2", "http-01"], "[http-01]"),
        ("2001:db8::1", HTTP_01, ["http-01 example.it"], None),
        ("www.192.0.2.1", HTTP_01, ["http-01 192.0.2.1"], None),
    ],
)
def test_longest_suffix_among_those_that_can(name, kind, titles, expected):
    """The section with the longest matching suffix wins, after those that cannot prove the name are out."""
    found = best_section(name, sections(*titles), kind)
    assert (found.title if found else None) == expected


def test_of_two_equal_sections_the_first_wins():
    """Two sections with one suffix do not make the choice depend on chance."""
    first, second = sections("dns-01 example.it", "dns-01 EXAMPLE.IT")
    assert best_section("example.it", [first, second], DNS_01) is first


@pytest.mark.parametrize(
    ("name", "titles", "preferred", "expected"),
    [
        ("www.example.it", [], (), ()),
        ("www.example.it", ["dns-01 example.com"], (), ()),
        ("www.example.it", ["http-01", "dns-01"], (), (DNS_01, HTTP_01)),
        ("www.example.it", ["http-01 example.it", "dns-01 example.it"], (), (DNS_01, HTTP_01)),
        ("www.example.it", ["dns-01", "http-01 example.it"], (), (HTTP_01, DNS_01)),
        ("www.example.it", ["http-01", "dns-01 it"], (), (DNS_01, HTTP_01)),
        ("www.example.it", ["http-01"], (), (HTTP_01,)),
        ("*.example.it", ["http-01 example.it", "dns-01"], (), (DNS_01,)),
        ("192.0.2.1", ["http-01", "dns-01"], (), (HTTP_01,)),
        ("www.example.it", ["http-01", "dns-01"], (HTTP_01, DNS_01), (HTTP_01, DNS_01)),
        ("www.example.it", ["http-01", "dns-01"], (HTTP_01,), (HTTP_01,)),
        ("www.example.it", ["http-01", "dns-01"], (HTTP_01, HTTP_01), (HTTP_01,)),
        ("www.example.it", ["dns-01"], (HTTP_01,), ()),
        ("www.example.it", ["dns-01"], ("tls-alpn-01", DNS_01), (DNS_01,)),
    ],
)
def test_offers_what_the_sections_can_do(name, titles, preferred, expected):
    """The types that the sections can solve, in the order of the longest suffix or of the user's preference."""
    assert preferences(name, sections(*titles), preferred) == expected
