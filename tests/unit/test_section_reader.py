"""What may be quoted of a garr-tcs.ini."""

import random

import pytest
from support.spoilt_files import new_secret

from certbot_garr_tcs.section_reader import could_be_secret, did_you_mean, heading


@pytest.mark.parametrize(
    "text",
    [
        "www",
        "www.example.it",
        "web server 1",
        "IdP-2024",
        "cinecaLDAP",
        "vm-3f2a9c1d.example.it",
        "d111111abcdef8.cloudfront.net",
        "xn--mnchen-3ya.example",
        "0123abcd-0123-4567-89ab-0123456789ab",
        "ns-hidden.example.it:5353",
        "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:5353",
        "/etc/letsencrypt/acme.key",
        "/run/credentials/certbot.service/eab-hmac-key",
        "/home/mRossi/TCS2025/AcmeKey.txt",
        "Kexample-acme.+163+12345.private",
        "università",
        "È",
        "",
    ],
)
def test_names_and_paths_may_be_quoted(text):
    """What administrators call their things is no secret."""
    assert not could_be_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "c2VjcmV0",
        "a=",
        "0123456789abcdef0123456789abcdef",
        "mfrggzdfmztwq2lk",
        "x" * 41,
        "a\x1bb",
        "a\u202eb",
        "/etc/letsencrypt/c2VjcmV0LXNlY3JldC1zZWNyZXQ",
    ],
)
def test_what_looks_like_a_secret_may_not(text):
    """Base64, hexadecimal digits, what is too long for a word, and what would not show."""
    assert could_be_secret(text)


def test_every_secret_looks_like_one():
    """Also in the middle of something else."""
    rng = random.Random(7)  # noqa: S311 - the same at every run
    for _ in range(3000):
        secret = new_secret(rng)
        for text in (secret, secret.rstrip("="), f"ns{secret.rstrip('=')}.example.it"):
            assert could_be_secret(text), text


def test_nothing_is_meant_by_a_secret():
    """A word is compared with the known ones; anything else is not even looked at."""
    assert did_you_mean("eab-kidd", ["eab-kid"]) == '; did you mean "eab-kid"?'
    assert did_you_mean("eab-hmac-kEY1a2B", ["eab-hmac-key"]) == ""
    assert did_you_mean("eab" * 14, ["eab"]) == ""


def test_headings():
    """A heading stands in brackets; a name that cannot be shown is left out."""
    assert heading("dns-01", "") == "[dns-01]"
    assert heading("dns-01", "example.it") == "[dns-01 example.it]"
    assert heading("deploy", "c2VjcmV0") == "[deploy …]"
