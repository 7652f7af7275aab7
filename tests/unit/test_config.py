"""garr-tcs.ini: what is read, what is refused, and in which words."""

import os
import time
from pathlib import Path

import pytest

from certbot_garr_tcs import config
from certbot_garr_tcs.challenges.settings import DelegateSettings, PropagationMethod, Rfc2136Settings
from certbot_garr_tcs.errors import ConfigError

KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC0xMjM"
UUID = "0123abcd-0123-4567-89ab-0123456789ab"
HARICA = f"https://acme-v02.harica.gr/acme/{UUID}/directory"
ACCOUNT = f"[account]\ndirectory-url = {HARICA}\neab-kid = kid-1\neab-hmac-key = {KEY}\nemail = ced@example.it\n"


@pytest.fixture
def write(tmp_path):
    """Write a garr-tcs.ini, 0600 unless said otherwise, and return its path."""

    def write(text: str, mode: int = 0o600, name: str = "garr-tcs.ini") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    return write


def test_the_file_of_the_manual_is_read_whole(write):
    """Every section becomes values that later rooms can use without looking at the file again."""
    path = write(
        ACCOUNT
        + f"""agree-tos = yes
ca = harica
key-type = rsa
rsa-key-size = 3072

[dns-01]
server = ns-hidden.example.it
tsig-name = acme
tsig-secret = c2VjcmV0
propagation = resolvers 192.0.2.1 192.0.2.2
timeout = 90

[dns-01 Example.com]
via = dns-cloudflare
dns-cloudflare-credentials = /etc/letsencrypt/cloudflare.ini

[http-01 www.example.it]
via = webroot
webroot_path = /var/www/html
# {KEY}
"""
    )
    loaded = config.load(path)
    assert loaded.account.directory_url == HARICA
    assert loaded.account.eab.key_id == "kid-1"
    assert loaded.account.eab.hmac_key == KEY
    assert (loaded.account.agree_tos, loaded.account.key_type, loaded.account.rsa_key_size) == (True, "rsa", 3072)
    first, second, third = loaded.solvers
    assert isinstance(first.method, Rfc2136Settings)
    assert (first.suffix, first.method.server, first.method.timeout_seconds) == ("", "ns-hidden.example.it", 90.0)
    assert first.method.tsig.algorithm == "hmac-sha256"
    assert first.method.propagation.method is PropagationMethod.RESOLVERS
    assert first.method.propagation.resolvers == ("192.0.2.1", "192.0.2.2")
    assert (second.title, second.method) == (
        "[dns-01 example.com]",
        DelegateSettings("dns-cloudflare", (("dns-cloudflare-credentials", "/etc/letsencrypt/cloudflare.ini"),)),
    )
    assert third.method == DelegateSettings("webroot", (("webroot-path", "/var/www/html"),))
    assert KEY not in repr(loaded)
    assert "c2VjcmV0" not in repr(loaded)
    assert "cloudflare.ini" not in repr(loaded)  # another plugin's options: any of them may be a secret


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("email = a@b.example, c@d.example", "a@b.example, c@d.example"),
        ("email = 'a@b.example'", "a@b.example"),
        ('email = "a@b.example"', "a@b.example"),
        ("email = a%b@c.example", "a%b@c.example"),
        ("email = a;b@c.example", "a;b@c.example"),
        ("email = a=b@c.example", "a=b@c.example"),
        ("email = a@b.example # the office", "a@b.example"),
        ('email = "a#b@c.example"', "a#b@c.example"),
        ("email=a@b.example", "a@b.example"),
        ("  EMAIL = a@b.example  ", "a@b.example"),
        ("email = %(home)s@b.example", "%(home)s@b.example"),
        ("email = $HOME@b.example", "$HOME@b.example"),
    ],
)
def test_values_come_out_as_they_were_written(write, line, value):
    """Commas, %, =, ;, quotes and # mean nothing special but for outer quotes and comments."""
    assert config.load(write(f"[account]\n{line}\n")).account.email == value


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "[dns-01]\nserver = 192.0.2.1\n"])
def test_a_file_without_account_says_nothing_about_the_ca(write, text):
    """An empty file is a file that says nothing."""
    assert config.load(write(text)).account is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[acount]\n", 'did you mean "account"'),
        ("[something]\n", "line 1 begins no section; there are [account]"),
        ("[deploy]\n", "needs a name"),
        (
            "[deploy a]\npreset = postfix\nlineage = m\n[deploy b]\npreset = dovecot\nlineage = m\n",
            "[deploy b] fullchain, key: the same path as in [deploy a]",
        ),
        ("[account x]\n", "takes no name"),
        ("[account]\neab-kidd = x\n", 'did you mean "eab-kid"'),
        ("[account]\nzzz = x\n", "[account] line 2 is no key of this section"),
        (
            "eab-kid = x\neab-hmac-key = y\n",
            "ini: line 1 stands before the first section; put a heading, such as [account]",
        ),
        ("[account]\nemail = a@b.example\nemail = c@d.example\n", "line 3 gives email again, after line 2"),
        ("[account]\nzzz = 1\nzzz = 2\n", "line 3 gives its key again, after line 2"),
        ("[account]\n[account]\n", "line 2: [account] stands there twice"),
        ("[deploy WWW]\n[deploy www]\n[deploy www]\n", "line 3: [deploy www] stands there twice"),
        ("[dns-01 a.example]\n[dns-01 A.example.]\n", "stands there twice"),
        ("[account]\neab-kid = x\neab_kid = y\n", "dashes and underscores"),
        ("[account]\nthis is no line\n", 'line 2 is neither "[section]" nor "key = value"'),
        ("[account]\nemail: a@b.example\n", 'line 2 wants a = right after the key: "email = …"'),
        ("[account]\nemail a@b.example\n", 'line 2 wants a = right after the key: "email = …"'),
        ('{\n"eab-kid": "x",\n', "line 1 stands before the first section"),
        ('[account]\n"eab-kid": "x",\n', 'line 2 wants a = right after the key: "eab-kid = …"'),
        ("[account]\nemail =\n  a@b.example\n", "line 3 is neither"),
        ('[account]\nemail = "a@b.example\n', "line 2 has quotes that do not match"),
        ("[account]\nemail = a@b.example\x1b[2J\n", "line 2 has a character that does not show (U+001B)"),
        ("[account]\nemail = a@\u200bb.example\n", "line 2 has a character that does not show (U+200B)"),
        ("[dep\0loy]\n", "line 1 has a character that does not show (U+0000)"),
        ("[account\n", "line 1"),
        ("[account]\n[[inner]]\nx = y\n", "line 2 has two brackets; sections stand in single brackets"),
        ("[[account]]\n", "line 1 has two brackets"),
        ("[account]x\n", "line 1 is no [section]: the brackets do not match"),
        ("[]\n", "line 1 begins no section"),
        ("[account]\nemail = '''a\nb@c.example'''\n", "line 2 begins a value of several lines"),
        ("[account]\nemail =\n", "email is empty"),
        ("[account]\nemail = nobody\n", "is no e-mail address"),
        ("[account]\nemail = <you>@example.it\n", "is no e-mail address"),
        ("[account]\nagree-tos = perhaps\n", "must be yes or no"),
        ("[account]\nrsa-key-size = 1024\n", "from 2048 to 8192"),
        ("[account]\nrsa-key-size = many\n", "from 2048 to 8192"),
        (f"[account]\nrsa-key-size = {'9' * 5000}\n", "from 2048 to 8192"),
        ("[account]\nkey-type = dsa\n", "must be one of rsa, ecdsa"),
        ("[account]\nkey-type = ecdsa\nrsa-key-size = 3072\n", "goes with key-type = rsa"),
        ("[account]\nca = haricaa\n", 'did you mean "harica"'),
        ("[account]\nca = harica\n", "needs directory-url too"),
        (f"[account]\nca = sectigo-ov\ndirectory-url = {HARICA}\n", "does not fit directory-url"),
        ("[account]\ndirectory-url = acme.sectigo.com/v2/OV\n", "is no URL"),
        ("[account]\ndirectory-url = ftp://acme.sectigo.com/v2/OV\n", "is no URL"),
        ("[account]\ndirectory-url = https://host:port/\n", "is no URL"),
        ("[account]\ndirectory-url = https://[host/\n", "is no URL"),
        ("[account]\ndirectory-url = https://ca.example/a b\n", "is no URL"),
        ("[account]\ndirectory-url = https://u:p@ca.example/\n", "only https://, host and path"),
        ("[account]\ndirectory-url = https://ca.example/?x=1\n", "only https://, host and path"),
        ("[account]\ndirectory-url = http://ca.example/directory\n", "plain http"),
        ("[account]\ndirectory-url = http://192.0.2.1/directory\n", "plain http"),
        ("[account]\ndirectory-url = https://acme-v02.harica.gr/acme/<uuid>/directory\n", "placeholder"),
        ("[account]\ndirectory-url = https://acme-v02.harica.gr/directory\n", "is not HARICA's whole Server URL"),
        ("[account]\ndirectory-url = https://cm.harica.gr/\n", "https://acme-v02.harica.gr/acme/<uuid>/directory"),
        (f"[account]\neab-hmac-key = {KEY}\n", "eab-hmac-key stands alone; add eab-kid"),
        ("[account]\neab-kid = x\n", "eab-kid stands alone; add eab-hmac-key"),
        (f"[account]\neab-kid =\neab-hmac-key = {KEY}\n", "eab-kid is empty"),
        (f"[account]\neab-kid = a b\neab-hmac-key = {KEY}\n", "has a blank inside"),
        (f"[account]\neab-kid = <Key ID>\neab-hmac-key = {KEY}\n", "placeholder"),
        ("[account]\neab-kid = x\neab-hmac-key = ...\n", "placeholder"),
        ("[account]\neab-kid = x\neab-hmac-key = abc def\n", "no base64url"),
        ("[account]\neab-kid = x\neab-hmac-key = YWJj\n", "cut off"),
        (f"[account]\neab-kid = {KEY}\neab-hmac-key = kid-1\n", "eab-kid and eab-hmac-key are swapped"),
        (f"[account]\neab-kid = {KEY}\neab-hmac-key = {UUID}\n", "ini: [account] eab-kid and eab-hmac-key are swapped"),
        ("[account]\neab-kid = x\neab-kid-file = y\neab-hmac-key = z\n", "eab-kid and eab-kid-file are both there"),
        ("[account]\neab-kid = x\neab-hmac-key-file = /nowhere/x\n", "cannot open /nowhere/x"),
        ("[account]\neab-kid = x\neab-hmac-key-file =\n", "eab-hmac-key-file is empty"),
        (f"[account]\nstaging-eab-kid = x\nstaging-eab-hmac-key = {KEY}\n", "goes with staging-directory-url"),
        (f"[account]\ndirectory-url = {HARICA}\nstaging-directory-url = {HARICA}/\n", "is the real directory"),
        (
            "[account]\nca = sectigo-ev\nstaging-directory-url = https://acme.sectigo.com/v2/EV\n",
            "is the real directory",
        ),
        ("[account]\nstaging-directory-url = https://ACME.sectigo.com/v2/OV\n", "is the real directory"),
        ("[dns-01]\nserver = a\nsrver = b\n", 'did you mean "server"'),
        ("[dns-01]\nserver = ns_1..example\n", "server cannot be used: this is no name server. Write it like"),
        ("[dns-01]\nserver = fd00::11:53\n", "can be read in two ways, as an IPv6 address or as address and port"),
        ("[dns-01]\nzone = exa mple\n", "zone is no DNS name"),
        (f"[dns-01 {'a.' * 126}ab]\nserver = a\n", "line 1: the name of this [dns-01 …] is longer than 253 octets"),
        (f"[deploy {'a.' * 126}ab]\n", "line 1: the name of this [deploy …] is longer"),
        (f"[dns-01]\ntsig-name = {KEY}\ntsig-secret = acme\n", "in the place of tsig-secret, swap them"),
        ("[dns-01]\ntsig-name = a..b\ntsig-secret = c2VjcmV0\n", "is no name of a key"),
        ("[dns-01]\nserver = 192.0.2.1:99999\n", "has no port between 1 and 65535"),
        (
            "[dns-01]\npropagation = resolvers 192.0.2.1 a/b\n",
            "propagation: resolver 2 cannot be used: this is no name server",
        ),
        ("[dns-01 *.example.it]\nserver = a\n", "example.it alone covers it"),
        ("[dns-01 exa mple]\nserver = a\n", "names no DNS name"),
        ("[dns-01 192.0.2.1]\nserver = a\n", "use [http-01 192.0.2.1]"),
        ("[dns-01]\npropagation = authoritativ\n", 'did you mean "authoritative"'),
        ("[dns-01]\npropagation = resolvers\n", '"resolvers ADDRESS'),
        ("[dns-01]\npropagation = seconds soon\n", "a whole number up to 86400, without a unit: seconds 20"),
        ("[dns-01]\npropagation = seconds 20s\n", "a whole number up to 86400, without a unit: seconds 20"),
        ("[dns-01]\npropagation = seconds 86401\n", "a whole number up to 86400"),
        (f"[dns-01]\npropagation = seconds {'9' * 40}\n", "a whole number up to 86400"),
        (f"[dns-01]\npropagation = seconds {'9' * 5000}\n", "looks like a key or a password, which does not belong"),
        ("[dns-01]\npropagation = wait 20\n", '"seconds NUMBER"'),
        ("[dns-01]\ntimeout = 0\n", "from 1 to 86400"),
        ("[dns-01]\ntsig-name = x\n", "tsig-secret (or tsig-secret-file) is missing"),
        ("[dns-01]\ntsig-secret = c2VjcmV0\n", "tsig-name is missing"),
        ("[dns-01]\ntsig-name = x\ntsig-secret = !!\n", "is no base64"),
        ("[dns-01]\ntsig-name = x\ntsig-secret = c2VjcmV0\ntsig-secret-file = y\n", "are both there"),
        ("[dns-01]\ntsig-name = x\ntsig-secret-file = /nowhere/x\n", "cannot open /nowhere/x"),
        ("[dns-01]\ntsig-name = x\ntsig-secret = c2VjcmV0\ntsig-algorithm = sha256\n", "must be one of hmac-sha256"),
        ("[dns-01]\ntsig-name = x\ntsig-secret = c2VjcmV0\ntsig-algorithm =\n", "tsig-algorithm is empty"),
        ("[dns-01]\ntsig-keyfile = x\ntsig-secret = y\n", "remove tsig-secret, tsig-secret-file and tsig-algorithm"),
        ("[dns-01]\ntsig-keyfile = /nowhere/key\n", "cannot open /nowhere/key"),
        ("[dns-01]\ntsig-keyfile =\n", "tsig-keyfile is empty"),
        ("[http-01]\n", "via is missing"),
        ("[http-01]\nvia =\n", "via is empty"),
        ("[http-01]\nvia = garr-tcs\n", "would lead back here"),
        ("[http-01]\nvia = the webroot\n", "is no name of a Certbot plugin"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(write, text, words):
    """Section, key, what is wrong, what would be right: and that nothing was sent."""
    with pytest.raises(ConfigError) as caught:
        config.load(write(text))
    assert words in str(caught.value)
    assert "garr-tcs.ini" in str(caught.value)
    assert "nothing was sent" in caught.value.hint
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        f"eab-hmac-key = {KEY[:30]}#{KEY[30:]}",
        f"eab-hmac-key = {KEY[:30]}#{KEY[30:]} # comment",
        "email = a#b@c.example",
    ],
)
def test_a_sharp_that_would_cut_a_value_is_refused(write, line):
    """The library would take the rest for a comment, silently."""
    with pytest.raises(ConfigError, match="no blank precedes"):
        config.load(write(f"[account]\neab-kid = x\n{line}\n"))


def test_all_problems_are_reported_at_once(write):
    """Who corrects a file wants to correct it once."""
    with pytest.raises(ConfigError) as caught:
        config.load(write("[account]\nemail = x\nagree-tos = x\nzzz = 1\n[dns-02]\n"))
    text = str(caught.value)
    assert "4 problems" in text
    assert all(word in text for word in ("email", "agree-tos", "line 4 is no key", "dns-02"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[account]\n" + "nothing\n" * 20, "20 problems: line 2"),
        ("[account]\n" + "nothing\n" * 21, "more than 20 problems, of which these are the first: line 2"),
        ("[account]\n" + "\n".join(f"k{number} = 1" for number in range(30000)), "more than 20 problems"),
        ("\n".join(f"[deploy {number}]\nreload = x" for number in range(9000)), "more than 20 problems"),
        ("[account]\n" + "[" * 1_000_000, "line 2 has two brackets"),
        ("[account]\nemail =" + " " * 500_000 + "x" + " " * 500_000 + "y", "is no e-mail address"),
        ("[account]\nemail = " + '"' * 1_000_000 + "x", "line 2 begins a value of several lines"),
        ('[account]\nemail = "' + 'x"' * 200_000 + "x", "line 2 has quotes that do not match"),
        ("[account]\n" + "x" * 1_000_000, "line 2 is neither"),
        ("[" + "x" * 1_000_000 + "]", "line 1 begins no section"),
        ("[deploy " + "x" * 1_000_000 + "]", "is longer than 253"),
        ("[account]\neab-kid-file = " + "x/" * 500_000, "there is no such file"),
        ("[account]\neab-kid-file = ./" + "a." * 200, "File name too long"),
    ],
    ids=range(13),
)
def test_a_huge_mess_is_a_short_message_soon(write, text, words):
    """The first twenty problems are said; a file of a megabyte takes no longer than a moment."""
    path = write(text)
    began = time.process_time()
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert time.process_time() - began < 3
    assert words in str(caught.value)
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_file_that_others_can_get_at_is_refused_unread(write, mode):
    """The chmod that corrects it is in the message."""
    path = write("[this is not even parsed", mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}") as caught:
        config.load(path)
    assert caught.value.hint == f"Run: chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read(write, mode):
    """Readable by its owner alone is private enough."""
    assert config.load(write(ACCOUNT, mode)).account


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(write):
    """Who owns the file decides the CA: it must be the user that Certbot runs as."""
    path = write(ACCOUNT)
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to") as caught:
        config.load(path)
    assert caught.value.hint.startswith("Run: chown ")


def test_what_is_no_file_is_refused(tmp_path):
    """A folder, a missing file, binary or endless content: each has its message."""
    with pytest.raises(ConfigError, match="no regular file"):
        config.load(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot open /.*/missing\.ini: No such file"):
        config.load(tmp_path / "missing.ini")
    path = tmp_path / "binary.ini"
    path.write_bytes(b"\xff\xfe[account]")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.load(path)
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        config.load(path)


def test_secrets_come_from_files_beside(write):
    """A *-file key names a private file, relative to garr-tcs.ini; quotes and line breaks do not count."""
    write(f'"{KEY[:20]}\n{KEY[20:]}"\n', name="hmac")
    write("kid-1\n", name="kid")
    loaded = config.load(write("[account]\neab-kid-file = kid\neab-hmac-key-file = hmac\n"))
    assert (loaded.account.eab.key_id, loaded.account.eab.hmac_key) == ("kid-1", KEY)


def test_secret_files_are_checked_like_the_file_itself(write):
    """A secret that others can read is refused, with the chmod."""
    write(KEY, 0o644, name="hmac")
    with pytest.raises(ConfigError, match=r"eab-hmac-key-file cannot be used: .*chmod 600"):
        config.load(write("[account]\neab-kid = kid-1\neab-hmac-key-file = hmac\n"))


def test_a_tsig_secret_comes_from_a_file(write):
    """The secret may stand over several lines, as some tools print it."""
    write("c2Vj\ncmV0\n", name="tsig")
    loaded = config.load(write("[dns-01]\ntsig-name = acme\ntsig-secret-file = tsig\ntsig-algorithm = HMAC-MD5\n"))
    assert loaded.solvers[0].method.tsig.secret == "c2VjcmV0"
    assert loaded.solvers[0].method.tsig.algorithm == "hmac-md5.sig-alg.reg.int"


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ("hmac-sha512", None),
        ("HMAC-SHA256", None),
        ("hmac-sha1", "which is weak; make one with tsig-keygen"),
        ("hmac-md5", "which is weak; make one with tsig-keygen"),
        ("hmac-sha265", 'not known; did you mean "hmac-sha256"'),
    ],
)
def test_a_bind_key_file(write, algorithm, words):
    """Name, secret and algorithm come from it; a weak one must be asked for key by key."""
    write(f'key "acme" {{ algorithm {algorithm}; secret "c2VjcmV0"; }};\n', name="acme.key")
    path = write("[dns-01]\ntsig-keyfile = acme.key\n")
    if words:
        with pytest.raises(ConfigError, match=words) as caught:
            config.load(path)
        assert "c2VjcmV0" not in str(caught.value)
    else:
        tsig = config.load(path).solvers[0].method.tsig
        assert (tsig.name, tsig.secret, tsig.algorithm) == ("acme", "c2VjcmV0", algorithm.lower())


def test_one_key_of_a_key_file(write):
    """Beside tsig-keyfile, tsig-name says which of the file's keys is meant."""
    write('KEY "one" { secret "c2VjcmV0"; };\nkey "two" { secret "b3RoZXI="; };\n', name="all.keys")
    tsig = config.load(write("[dns-01]\ntsig-keyfile = all.keys\ntsig-name = Two.\n")).solvers[0].method.tsig
    assert (tsig.name, tsig.secret) == ("two", "b3RoZXI=")
    with pytest.raises(ConfigError, match="tsig-keyfile cannot be used: the TSIG key file has 2 keys: one, two"):
        config.load(write("[dns-01]\ntsig-keyfile = all.keys\n"))


@pytest.mark.parametrize(
    ("written", "read", "notice"),
    [
        (HARICA, HARICA, ""),
        (f"{HARICA}/", HARICA, ""),
        (f"https://ACME-V02.harica.gr:443/acme/{UUID}/directory", HARICA, ""),
        (HARICA.replace("v02", "v03"), HARICA.replace("v02", "v03"), "directory-url is unlike those that HARICA"),
        ("https://acme.sectigo.com/v2/OV/", "https://acme.sectigo.com/v2/OV", ""),
        ("https://acme.digicert.com/v2/acme/directory/", "https://acme.digicert.com/v2/acme/directory/", ""),
    ],
)
def test_directory_urls(write, written, read, notice):
    """A known CA's URL is put right where it is read; one of its that nobody knows yet counts, with a notice."""
    account = config.load(write(f"[account]\ndirectory-url = {written}\n")).account
    assert account.directory_url == read
    assert [notice in said for said in account.notices] == ([True] if notice else [])


def test_a_pair_that_may_be_swapped_counts_with_a_notice(write):
    """A key ID that is longer than its HMAC key is unusual, and no more than that."""
    text = f"[account]\neab-kid = {KEY}{KEY[:20]}\neab-hmac-key = {KEY}\n"
    assert "may have been swapped" in config.load(write(text)).account.notices[0]
    assert config.load(write(ACCOUNT)).account.notices == ()


def test_targets_and_preset_alone(write):
    """A file may name its CA by preset, and what is deployed where."""
    loaded = config.load(write("[account]\nca = sectigo-ov\n[deploy www]\nlineage = www\nfullchain = /tmp/www.pem\n"))
    assert (loaded.account.ca, loaded.account.directory_url) == ("sectigo-ov", None)
    assert [target.name for target in loaded.targets] == ["www"]


@pytest.mark.parametrize(("word", "value"), [("no", False), ("OFF", False), ("1", True)])
def test_yes_and_no(write, word, value):
    """In the usual words."""
    assert config.load(write(f"[account]\nagree-tos = {word}\n")).account.agree_tos is value


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_nobody_that_has_a_name(write):
    """An owner without a name is told by number."""
    path = write(ACCOUNT)
    os.chown(path, 4000000, 4000000)
    with pytest.raises(ConfigError, match="belongs to 4000000"):
        config.load(path)


def test_an_address_is_proved_by_http(write):
    """A section for an IP address is fine where it can do something."""
    (section,) = config.load(write("[http-01 192.0.2.1]\nvia = webroot\n")).solvers
    assert section.suffix == "192.0.2.1"


@pytest.mark.parametrize(
    ("text", "how", "seconds"),
    [("authoritative", PropagationMethod.AUTHORITATIVE, 0.0), ("seconds 60", PropagationMethod.SECONDS, 60.0)],
)
def test_propagation(write, text, how, seconds):
    """Looking is the default; waiting is there for networks that block port 53."""
    propagation = config.load(write(f"[dns-01]\npropagation = {text}\n")).solvers[0].method.propagation
    assert (propagation.method, propagation.seconds) == (how, seconds)


def test_the_default_file_may_be_missing_a_named_one_may_not(write, tmp_path):
    """Without --garr-tcs-config the file is optional, and looked for in --config-dir."""
    assert config.load_named(None, str(tmp_path)) is None
    with pytest.raises(ConfigError, match="cannot open"):
        config.load_named(str(tmp_path / "missing.ini"), str(tmp_path))
    path = write(ACCOUNT)
    assert config.load_named(None, str(tmp_path)).path == path
    assert config.load_named(str(path), "/nowhere").path == path


def test_a_dangling_link_is_no_missing_file(tmp_path):
    """Who links to a file means it: that it is gone must be said."""
    (tmp_path / "garr-tcs.ini").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="cannot open"):
        config.load_named(None, str(tmp_path))


def test_a_folder_that_cannot_be_looked_into_is_no_missing_file(tmp_path):
    """Why the file cannot be reached is said; only where it is not there, it is not there."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match="cannot open"):
        config.load_named(None, str(loop))
    (tmp_path / "file").touch()
    assert config.load_named(None, str(tmp_path / "file")) is None
