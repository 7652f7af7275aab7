"""TSIG keys: key files, algorithms, secrets."""

import pytest

from certbot_garr_tcs.challenges.dns.client import TSIG_ALGORITHMS, to_key
from certbot_garr_tcs.challenges.dns.keyfile import parse_key_file
from certbot_garr_tcs.challenges.settings import ALGORITHMS as PERMITTED
from certbot_garr_tcs.challenges.settings import TsigKey
from certbot_garr_tcs.errors import ConfigError

SECRET = "c2VjcmV0Ly9zZWNyZXQ="
AS_PRINTED = f'key "acme" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (AS_PRINTED, TsigKey("acme", SECRET)),
        (f"key acme. {{ secret {SECRET}; algorithm HMAC-SHA512; }};", TsigKey("acme.", SECRET, "hmac-sha512")),
        (f'key "a.b" {{ secret "{SECRET}"; }};', TsigKey("a.b", SECRET)),
        (f"// one\n# two\n/* three\n key x */ {AS_PRINTED} // four", TsigKey("acme", SECRET)),
        ('key "k" { algorithm hmac-sha256; secret "ab//c#d="; };', TsigKey("k", "ab//c#d=")),
        (f'KEY "acme" {{ ALGORITHM HMAC-SHA256; SECRET "{SECRET}"; }};', TsigKey("acme", SECRET)),
    ],
)
def test_reads_key_files(text, key):
    """What named-checkconf takes as a key statement is read, comments and quotes included."""
    assert parse_key_file(text) == key


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no key statement"),
        ("# nothing\n", "no key statement"),
        (AS_PRINTED[:-4], "cut off"),
        (f'key "acme" {{ secret "{SECRET}', "a quote that nothing closes"),
        (f'key {{ secret "{SECRET}"; }};', "without name or braces"),
        ('key "acme" { algorithm hmac-sha256; };', "has no secret"),
        (f'key "acme" {{ secret "{SECRET}"; secret "{SECRET}"; }};', "not one algorithm and one secret"),
        (f'key "acme" {{ colour "{SECRET}"; }};', "not one algorithm and one secret"),
        (f'zone "x" {{ secret "{SECRET}"; }};', "something else"),
        (f"acme:{SECRET}", "something else"),
    ],
)
def test_refuses_what_is_no_key_file(text, says):
    """A broken key file is refused, and its secret is in no message."""
    with pytest.raises(ConfigError) as caught:
        parse_key_file(text)
    assert says in caught.value.message
    assert "tsig-keygen" in caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "name", "says"),
    [
        ("acme", "acme", ""),
        ("OTHER.", "other", ""),
        (None, "", "has 2 keys: acme, other. Write the name of the one to use as tsig-name beside tsig-keyfile."),
        ("third", "", "has no key of the name in tsig-name, but acme, other."),
    ],
)
def test_one_key_of_several_is_chosen_by_name(wanted, name, says):
    """A file with the keys of several zones is used as it is, and names those that it has."""
    text = AS_PRINTED + f'key "other" {{ secret "{SECRET}"; }};'
    if not says:
        assert parse_key_file(text, wanted).name == name
        return
    with pytest.raises(ConfigError) as caught:
        parse_key_file(text, wanted)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_key_that_stands_there_twice():
    """One name chooses between two keys of that name as little as no name does."""
    for wanted in (None, "acme"):
        with pytest.raises(ConfigError, match=r"has 2 keys: acme, acme\. Remove all but one\."):
            parse_key_file(AS_PRINTED + AS_PRINTED, wanted)


def test_a_secret_in_the_place_of_a_name_is_not_shown():
    """Names of keys are shown, but for one that looks like a secret."""
    with pytest.raises(ConfigError, match=r"has 2 keys: acme, …\. Write") as caught:
        parse_key_file(AS_PRINTED + f'key "{SECRET}" {{ secret "{SECRET}"; }};')
    assert SECRET not in str(caught.value)


def test_every_algorithm_of_the_file_is_known():
    """What may stand in garr-tcs.ini can be signed with; what may not is named."""
    for algorithm in PERMITTED:
        assert to_key(TsigKey("acme", "c2VjcmV0", algorithm)).algorithm == TSIG_ALGORITHMS[algorithm]
    with pytest.raises(ConfigError, match="hmac-sha999"):
        to_key(TsigKey("acme", "c2VjcmV0", "hmac-sha999"))


def test_key_for_dnspython():
    """The secret is decoded strictly, with blanks allowed; names and algorithms become absolute."""
    key = to_key(TsigKey("acme", "c2Vj\n cmV0"))
    assert (str(key.name), key.secret, str(key.algorithm)) == ("acme.", b"secret", "hmac-sha256.")


@pytest.mark.parametrize("secret", ["", "not base64!", "c2VjcmV0x"])
def test_bad_secrets_are_not_repeated(secret):
    """A secret that is no base64 is refused without being shown."""
    with pytest.raises(ConfigError) as caught:
        to_key(TsigKey("acme", secret))
    assert "acme" in caught.value.message
    assert not secret or secret not in str(caught.value)


def test_bad_key_name():
    """A key name that is no DNS name is named."""
    with pytest.raises(ConfigError, match=r"a\.\.b"):
        to_key(TsigKey("a..b", "c2VjcmV0"))


def test_secret_has_no_repr():
    """A key's repr does not hold the secret."""
    assert SECRET not in repr(parse_key_file(AS_PRINTED))
