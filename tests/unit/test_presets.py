"""The presets: data that checks itself, found by URL."""

from dataclasses import replace
from datetime import date

import pytest

from certbot_garr_tcs.account import presets

UUID = "0123abcd-0123-4567-89ab-0123456789ab"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"https://acme-v02.harica.gr/acme/{UUID}/directory", "harica"),
        (f"https://ACME-V02.harica.gr/acme/{UUID}/directory/", "harica"),
        ("https://acme.harica.gr/my-university/directory", "harica"),
        ("https://acme.sectigo.com/v2/OV", "sectigo-ov"),
        ("https://acme.sectigo.com/v2/OV/", "sectigo-ov"),
        ("https://acme.sectigo.com/v2/EV", "sectigo-ev"),
        ("https://acme.sectigo.com/v2/DV", "sectigo-dv"),
        ("https://acme.sectigo.com/v2/GEANTOV", "sectigo-geant-ov"),
        ("https://acme.enterprise.sectigo.com", "sectigo-enterprise"),
        ("https://acme.enterprise.sectigo.com/", "sectigo-enterprise"),
        ("https://acme.sectigo.com/v2/ov", None),
        ("https://acme.sectigo.com:8443/v2/OV", None),
        ("https://acme-v02.harica.gr/acme/not-a-uuid/directory", "harica"),
        ("https://acme-v02.harica.gr.example.org/acme/x/directory", None),
        ("https://acme-v02.api.letsencrypt.org/directory", None),
    ],
)
def test_a_preset_is_known_from_its_url(url, name):
    """A known CA is recognised by its directory URL; any other has no preset, and works too."""
    found = presets.by_url(url)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("url", "expected", "refused"),
    [
        (f"https://acme-v02.harica.gr/acme/{UUID}/directory", True, False),
        (f"https://acme-v02.harica.gr/acme/{UUID.upper()}/directory", True, False),
        (f"https://acme-v02.harica.gr:443/acme/{UUID}/directory", True, False),
        ("https://acme.harica.gr/my-university/directory", True, False),
        (f"https://acme-v03.harica.gr/acme/{UUID}/directory", False, False),
        (f"https://acme-staging.harica.gr/acme/{UUID}/directory", False, False),
        (f"https://acme-v02.harica.gr:8443/acme/{UUID}/directory", False, False),
        ("https://acme-v02.harica.gr/v3/unlike/anything", False, False),
        ("https://cm.harica.gr/", False, True),
        (f"https://cm.harica.gr/acme/{UUID}/directory", True, True),
        ("https://harica.gr", False, True),
        ("https://acme-v02.harica.gr", False, True),
        ("https://acme-v02.harica.gr/directory", False, True),
        ("https://acme-v02.harica.gr/acme/directory/", False, True),
        (f"https://acme-v02.harica.gr/acme/{UUID}", False, True),
        (f"https://acme-v02.harica.gr/acme/{UUID}/directory/x", False, True),
        ("https://acme.harica.gr/XXX/directory", True, True),
        ("https://acme-v02.harica.gr/acme/uuid/directory", False, True),
        ("https://acme.harica.gr/your-alias/directory", True, True),
    ],
)
def test_which_urls_of_harica_are_known(url, expected, refused):
    """What is known to be wrong is refused; a host or a path that is only new is not."""
    assert presets.by_url(url) is presets.GARR_TODAY
    assert presets.GARR_TODAY.refuses_url(url) is refused
    if not refused:
        assert presets.GARR_TODAY.expects_url(url) is expected


@pytest.mark.parametrize("url", ["https://notharica.gr/", "https://harica.gr.example.org/", "https://ca.example/"])
def test_hosts_of_others(url):
    """A host is HARICA's label by label, not by its last letters."""
    assert presets.by_url(url) is None


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        (f"https://ACME-v02.harica.gr:443/acme/{UUID}/directory/", f"https://acme-v02.harica.gr/acme/{UUID}/directory"),
        ("https://acme.sectigo.com/v2/OV/", "https://acme.sectigo.com/v2/OV"),
        ("https://acme.enterprise.sectigo.com/", "https://acme.enterprise.sectigo.com"),
        ("https://acme.other-ca.example/v2/directory/", "https://acme.other-ca.example/v2/directory/"),
    ],
)
def test_a_slash_at_the_end_is_taken_off_where_it_is_known_to_be_wrong(written, canonical):
    """HARICA answers "not found" to it; other CAs' directories may well end in one."""
    assert presets.canonical(written) == canonical
    assert presets.same_directory(written, canonical)


@pytest.mark.parametrize(
    "change",
    [
        {"directory_url": None},
        {"domain": "example.it"},
        {"source": ""},
        {"garr_since": date(2025, 1, 1), "garr_until": date(2024, 1, 1)},
    ],
)
def test_a_broken_preset_cannot_be_built(change):
    """A preset without what makes it usable is refused when it is written, not when it is used."""
    with pytest.raises(ValueError, match="sectigo-ov"):
        replace(presets.PRESETS["sectigo-ov"], **change)


def test_a_shape_needs_an_example():
    """Where the URL differs from account to account, users are shown what it looks like."""
    with pytest.raises(ValueError, match="url_example"):
        replace(presets.PRESETS["harica"], url_example="")


def test_the_sequence_of_garrs_cas_has_one_today():
    """One preset alone is GARR's today, and it began when the last one ended."""
    today = [preset for preset in presets.PRESETS.values() if preset.garr_since and not preset.garr_until]
    assert today == [presets.GARR_TODAY]
    assert presets.WITHOUT_URL.garr_until < presets.GARR_TODAY.garr_since
