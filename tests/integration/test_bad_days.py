"""Bad input: the real certbot says one line with a next step, loses nothing, and the CA hears nothing."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest
from support.journeys import NAME, explained, ini, no_secret, snapshot

from certbot_garr_tcs.sandbox.ca import new_key
from certbot_garr_tcs.sandbox.settings import account_section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.certbot_runner import CertbotRunner
    from support.practice_ca import PracticeCa

pytestmark = pytest.mark.integration

KEY = new_key()[1]
NOTHING_SENT = "nothing was sent to the CA"
URL = "https://127.0.0.1:9/directory"


@pytest.fixture(scope="module")
def issued(practice_ca, tmp_path_factory) -> Iterator[tuple[CertbotRunner, PracticeCa]]:
    """Issue one lineage, which every bad file of this module then tries in vain to renew."""
    from support.certbot_runner import CertbotRunner  # noqa: PLC0415  (the type is needed above)

    from certbot_garr_tcs.sandbox.certbot import find_certbot  # noqa: PLC0415

    certbot = CertbotRunner(find_certbot(), tmp_path_factory.mktemp("issued") / "certbot")
    certbot.use(practice_ca)
    certbot.certonly(NAME)
    return certbot, practice_ca


@pytest.fixture
def refuse(issued):
    """Renew with a bad file; the line with all these words is said, and the lineage stays as it was."""
    certbot, ca = issued

    def refuse(*words: str, secret: str | None = KEY, arguments: tuple[str, ...] = ()) -> str:
        before, asked = snapshot(certbot), len(ca.requests())
        result = certbot.run("renew", "--force-renewal", *arguments, check=False)
        assert result.returncode == 1
        line = explained(result, *words)
        assert snapshot(certbot) == before
        assert len(ca.requests()) == asked
        if secret:
            no_secret(certbot, result, secret)
        return line

    return refuse


def test_no_file_at_all(certbot, practice_ca):
    """Without file and options nothing says which CA, and the line says what to write where."""
    certbot.trust(practice_ca)
    result = certbot.certonly(NAME, check=False)
    assert result.returncode == 1
    explained(result, "nothing says which CA to use", f"{certbot.ini} (which does not exist)", "mode 0600")
    assert not certbot.account_ids()


def test_a_named_file_that_is_missing(certbot):
    """Who names a file means it."""
    missing = certbot.config_dir / "missing.ini"
    result = certbot.run("certonly", "-n", "--garr-tcs", "--garr-tcs-config", str(missing), "-d", NAME, check=False)
    assert result.returncode == 1
    explained(result, f"cannot open {missing}: No such file or directory. Give the right path.")


def test_a_file_that_others_can_read(issued, refuse):
    """The chmod that corrects it is in the message; not a byte of the file was read."""
    certbot, _ = issued
    path = certbot.write_ini(account_section(URL, "kid-1", KEY), mode=0o644)
    refuse(f"{path} has mode 0644", f"Run: chmod 600 {path}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user(issued, refuse):
    """Who owns the file decides the CA, so it has to be the one who runs Certbot."""
    certbot, _ = issued
    path = certbot.write_ini(account_section(URL, "kid-1", KEY))
    os.chown(path, 65534, 65534)
    refuse(f"{path} belongs to", f"Run: chown root {path}")


def test_an_empty_file(certbot, practice_ca):
    """An empty file says nothing about the CA, as no file does."""
    certbot.trust(practice_ca)
    certbot.write_ini("")
    result = certbot.certonly(NAME, check=False)
    assert result.returncode == 1
    explained(result, "nothing says which CA to use", f"in {certbot.ini}, nor", "the CA's portal into that file")


def test_an_empty_file_does_not_stop_the_renewal_of_what_is_there(make_certbot, practice_ca):
    """The lineage's stored CA and account go on where the file says nothing."""
    certbot = make_certbot()
    certbot.use(practice_ca)
    certbot.certonly(NAME)
    certbot.write_ini("")
    before = certbot.certificate(NAME).serial_number
    certbot.run("renew", "--force-renewal")
    assert certbot.certificate(NAME).serial_number != before
    assert certbot.renewal(NAME)["renewalparams"]["server"] == practice_ca.directory_url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(
            f"[acount]\neab-hmac-key = {KEY}\n", ("[acount]", 'did you mean "account"'), id="section-misspelt"
        ),
        pytest.param(
            ini(URL, hmac=KEY, hmac_name="eab-hmac-kye"),
            ("eab-hmac-kye is no key of this section", 'did you mean "eab-hmac-key"'),
            id="key-misspelt",
        ),
        pytest.param(
            ini(URL, hmac=KEY) + f"eab-hmac-key = {KEY}\n",
            ("line 6 gives eab-hmac-key again, after line 4",),
            id="key-twice",
        ),
        pytest.param(
            ini(URL, hmac=KEY) + f"eab_hmac_key = {KEY}\n",
            ("line 6 gives eab-hmac-key again, after line 4 (dashes and underscores are the same)",),
            id="key-twice-underscore",
        ),
        pytest.param(
            ini(URL, hmac=f"{KEY[:20]} {KEY[20:]}"),
            ("eab-hmac-key is no base64url", "without blanks inside"),
            id="hmac-with-spaces",
        ),
        pytest.param(
            ini(URL, hmac=KEY[:16]), ("eab-hmac-key is cut off: 96 bits", "at least 128"), id="hmac-truncated"
        ),
        pytest.param(ini(URL, hmac=KEY[:41]), ("eab-hmac-key is cut off", "no base64url"), id="hmac-of-odd-length"),
        pytest.param(ini(URL, hmac=f"{KEY}!"), ("eab-hmac-key is no base64url", "copy"), id="hmac-no-base64"),
        pytest.param(ini(URL, hmac=KEY, kid=""), ("eab-kid is empty",), id="kid-empty"),
        pytest.param(ini(URL, hmac=KEY, kid="<Key ID>"), ("eab-kid still is a placeholder",), id="kid-placeholder"),
        pytest.param(f"[account]\neab-hmac-key = {KEY}\n", ("eab-hmac-key stands alone", "add eab-kid"), id="half"),
        pytest.param(
            ini("https://acme-v02.harica.gr/acme/<uuid>/directory", hmac=KEY),
            ("directory-url still has a placeholder", "copy the whole Server URL"),
            id="url-uuid",
        ),
        pytest.param(
            ini("127.0.0.1:9/directory", hmac=KEY),
            ("directory-url is no URL of the form https://host/path",),
            id="url-without-scheme",
        ),
        pytest.param(
            ini("http://ca.invalid/directory", hmac=KEY),
            ("directory-url is plain http://", "write https://"),
            id="url-plain-http",
        ),
        pytest.param(f"[account]\n{KEY}\n", ("line 2 is neither",), id="a-line-that-is-just-the-secret"),
    ],
)
def test_a_file_that_cannot_be_used(issued, refuse, text, words):
    """Section and key, what is wrong, what would be right; the lineage and the CA notice nothing."""
    certbot, _ = issued
    certbot.write_ini(text)
    refuse(str(certbot.ini), *words, f"Correct the file and run the command again; {NOTHING_SENT}.", secret=KEY[:16])


def test_all_problems_are_said_at_once(issued, refuse):
    """Who corrects a file wants to correct it once."""
    certbot, _ = issued
    certbot.write_ini(ini("nowhere", hmac="abc def", kid="", hmac_name="eab-hmac-key") + "zzz = 1\n")
    refuse("4 problems", "directory-url", "eab-hmac-key", "eab-kid", "line 6 is no key", secret=None)


def test_no_email_for_harica(certbot, practice_ca):
    """HARICA registers nobody without a contact: that is said before the EAB could be used up."""
    before = len(practice_ca.requests())
    certbot.trust(practice_ca)
    text = account_section(practice_ca.directory_url, practice_ca.eab_kid, practice_ca.eab_hmac_key) + "ca = harica\n"
    certbot.write_ini("".join(line for line in text.splitlines(keepends=True) if not line.startswith("email")))
    result = certbot.certonly(NAME, check=False)
    assert result.returncode == 1
    explained(result, "HARICA", "registers no account without an e-mail address", "Add email = … under [account]")
    assert len(practice_ca.requests()) == before
    no_secret(certbot, result, practice_ca.eab_hmac_key)
    typed = certbot.run("certonly", "-n", "-a", "garr-tcs", "-d", NAME, "--agree-tos", "-m", "ced@practice.example")
    assert "Account registered" in typed.output


def test_no_email_elsewhere(certbot, practice_ca):
    """A CA of which nothing is known may want a contact too: the key of the file is named above what Certbot says."""
    certbot.trust(practice_ca)
    text = account_section(practice_ca.directory_url, practice_ca.eab_kid, practice_ca.eab_hmac_key)
    certbot.write_ini("".join(line for line in text.splitlines(keepends=True) if not line.startswith("email")))
    result = certbot.certonly(NAME, check=False)
    assert result.returncode == 1
    explained(result, "No e-mail address is given. If one is wanted, add email = … to [account] in garr-tcs.ini.")


def test_an_unusual_url_of_harica(certbot):
    """A host that HARICA may have made yesterday is asked, after a notice."""
    certbot.write_ini(account_section(f"https://acme-v99.harica.gr:9/acme/{uuid.UUID(int=7)}/directory", "kid-1", KEY))
    result = certbot.certonly(NAME, check=False)
    assert result.returncode == 1
    explained(result, "directory-url is unlike those that HARICA is known to give", "https://cm.harica.gr")
    assert "is not HARICA's whole Server URL" not in result.output


def test_an_empty_option_names_no_file(certbot):
    """A script whose variable is empty is told which option that was."""
    result = certbot.run("certonly", "-n", "-a", "garr-tcs", "--garr-tcs-config", "", "-d", NAME, check=False)
    assert result.returncode == 2
    explained(result, "--garr-tcs-config", "is empty; name a file, or leave the option out")
