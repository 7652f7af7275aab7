"""Bad days of the CA: it refuses, breaks or is silent; what there was stays, and the way on is said."""

from __future__ import annotations

import base64
import importlib.metadata
import shutil
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from support.certbot_runner import CertbotRunner
from support.journeys import NAME, explained, no_secret, snapshot
from support.practice_ca import PracticeCa, need_practice_ca, set_faults

from certbot_garr_tcs.sandbox.ca import new_key
from certbot_garr_tcs.sandbox.certbot import find_certbot
from certbot_garr_tcs.sandbox.certificates import issuer_name
from certbot_garr_tcs.sandbox.settings import account_section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from certbot_garr_tcs.sandbox.certbot import Result

pytestmark = pytest.mark.integration

KEY = new_key()[1]
WAITS_FOR_THE_ISSUER = (4, 1)  # Certbot heeds "processing" since then
CERTBOT = tuple(int(part) for part in importlib.metadata.version("certbot").split(".")[:2])


def renew(certbot: CertbotRunner, *, check: bool = True) -> Result:
    """Renew now, as the timer would when it is time."""
    return certbot.run("renew", "--force-renewal", check=check)


def refused_renewal(certbot: CertbotRunner, secret: str) -> Result:
    """Renew in vain: every byte of the lineage stays, and nothing secret is said or written."""
    before = snapshot(certbot)
    result = renew(certbot, check=False)
    assert result.returncode == 1
    assert snapshot(certbot) == before
    no_secret(certbot, result, secret)
    return result


def asked_for_must_staple(ca: PracticeCa) -> bool:
    """Tell whether the last request for a certificate had the extension of RFC 7633 (the practice CA drops it)."""
    encoded = [request.payload["csr"] for request in ca.requests() if "csr" in request.payload][-1]
    request = x509.load_der_x509_csr(base64.urlsafe_b64decode(encoded + "=="))
    return any(extension.oid == ExtensionOID.TLS_FEATURE for extension in request.extensions)


@pytest.mark.parametrize("key_id_is_known", [True, False])
def test_an_eab_with_a_wrong_key_is_refused(certbot, practice_ca, key_id_is_known):
    """The CA's refusal is shown, with where to compare key ID and key; the right key then works."""
    certbot.use(practice_ca)
    kid = practice_ca.eab_kid if key_id_is_known else "kid-of-nobody"
    certbot.write_ini(account_section(practice_ca.directory_url, kid, KEY))
    result = certbot.certonly(NAME, check=False)
    assert result.returncode == 1
    explained(result, "Unable to register an account", "invalid eab credentials")
    explained(result, "compare eab-kid and eab-hmac-key with", "in the CA's portal", kid[:8])
    assert not certbot.account_ids()
    no_secret(certbot, result, KEY)
    certbot.use(practice_ca)
    certbot.certonly(NAME)


def test_an_eab_that_was_used_already(make_certbot, make_practice_ca):
    """A second machine with a spent pair is refused, and told to have a new one made."""
    ca = make_practice_ca(eab_once=True)
    first, second = make_certbot(), make_certbot()
    first.use(ca)
    first.certonly(NAME)
    second.use(ca)
    result = second.certonly(NAME, check=False)
    assert result.returncode == 1
    explained(result, "The account is not awaiting external account binding")
    explained(result, "compare eab-kid and eab-hmac-key", "works only once", "make a new one")
    assert not second.account_ids()
    no_secret(second, result, ca.eab_hmac_key)
    renew(first)


def test_a_deleted_account_folder_registers_again(certbot, practice_ca):
    """Where the CA takes the pair again, the timer corrects it alone, and says so."""
    certbot.use(practice_ca)
    certbot.certonly(NAME)
    (gone,) = certbot.account_ids()
    shutil.rmtree(certbot.config_dir / "accounts")
    result = renew(certbot)
    explained(result, f"Account {gone}", "is not on this machine any more; a new one is registered.")
    assert certbot.account_ids() == [certbot.renewal(NAME)["renewalparams"]["account"]]
    assert certbot.account_ids() != [gone]


def test_a_deleted_account_folder_and_a_spent_eab(certbot, make_practice_ca):
    """Where the pair is spent, the lineage stays, and a new pair in the file corrects it."""
    ca = make_practice_ca(eab_once=True)
    certbot.use(ca)
    certbot.certonly(NAME)
    shutil.rmtree(certbot.config_dir / "accounts")
    result = refused_renewal(certbot, ca.eab_hmac_key)
    explained(result, "is not on this machine any more")
    explained(result, "works only once", "make a new one")
    certbot.write_ini(account_section(ca.directory_url, *ca.add_key()))
    renew(certbot)


def test_two_accounts_for_one_server(make_certbot, practice_ca, tmp_path):
    """The file's key ID chooses among them; --account settles which one it stands for where nobody knows."""
    certbot, other = make_certbot(), make_certbot()
    keys = {name: practice_ca.add_key() for name in ("one", "two")}
    certbot.trust(practice_ca)
    other.trust(practice_ca)
    certbot.write_ini(account_section(practice_ca.directory_url, *keys["one"]))
    other.write_ini(account_section(practice_ca.directory_url, *keys["two"]))
    certbot.certonly(NAME)
    renew(certbot)  # sees which account the first run made, before there is another
    other.run("register", "-n", "--garr-tcs")
    (one,), (two,) = certbot.account_ids(), other.account_ids()
    shutil.copytree(other.config_dir / "accounts", certbot.config_dir / "accounts", dirs_exist_ok=True)

    def account_of(name: str) -> str:
        return str(certbot.renewal(name)["renewalparams"]["account"])

    renew(certbot)
    assert account_of(NAME) == one
    certbot.write_ini(account_section(practice_ca.directory_url, *keys["two"]))
    asked = len(practice_ca.requests())
    result = refused_renewal(certbot, keys["two"][1])
    explained(result, f"nothing says whether EAB key ID {keys['two'][0][:8]}… made one of the accounts", two)
    explained(result, "--account ID", "certbot register --garr-tcs")
    assert len(practice_ca.requests()) == asked

    certbot.run("certonly", "-n", "-a", "garr-tcs", "-d", f"two.{NAME}", "--account", two)
    assert account_of(f"two.{NAME}") == two
    renew(certbot)
    assert account_of(NAME) == two
    certbot.write_ini(account_section(practice_ca.directory_url, *keys["one"]))
    renew(certbot)
    assert (account_of(NAME), account_of(f"two.{NAME}")) == (one, one)
    assert sorted(certbot.account_ids()) == sorted([one, two])
    assert (tmp_path / "certbot-0" / "work" / "garr-tcs" / "accounts.json").stat().st_mode & 0o777 == 0o600


def test_another_server_never_gets_the_files_eab(certbot, make_practice_ca):
    """With --server of another CA the file's EAB stays here; its own, typed, is enough; then the file decides."""
    ours, other = make_practice_ca(name="Ours"), make_practice_ca(name="Other")
    certbot.use(ours)
    certbot.trust(other)
    elsewhere = ("certonly", "-n", "-a", "garr-tcs", "-d", NAME, "--server", other.directory_url)
    result = certbot.run(*elsewhere, check=False)
    assert result.returncode == 1
    explained(result, f"--server {other.directory_url} counts for this run alone", "--garr-tcs-config PATH")
    explained(result, "requires external account binding")
    assert not [request for request in other.registrations() if "externalAccountBinding" in request.payload]
    no_secret(certbot, result, ours.eab_hmac_key)

    certbot.run(*elsewhere, "--eab-kid", other.eab_kid, "--eab-hmac-key", other.eab_hmac_key)
    assert ours.requests()[1:] == []
    assert issuer_name(certbot.certificate(NAME)) == "Other"
    moved = renew(certbot)
    explained(moved, f"Lineage {NAME} moves from {other.directory_url} to {ours.directory_url}.")
    assert issuer_name(certbot.certificate(NAME)) == "Ours"


def test_the_file_changed_to_a_ca_that_refuses(certbot, make_practice_ca):
    """The old lineage stays as it was, byte for byte, and the file changed back renews it."""
    old, new = make_practice_ca(name="Old"), make_practice_ca(name="New")
    certbot.use(old)
    certbot.certonly(NAME)
    good = certbot.ini.read_text(encoding="utf-8")
    certbot.trust(new)
    certbot.write_ini(account_section(new.directory_url, new.eab_kid, KEY))
    asked = len(old.requests())
    result = refused_renewal(certbot, KEY)
    explained(result, f"Lineage {NAME} moves from {old.directory_url} to {new.directory_url}.")
    explained(result, "compare eab-kid and eab-hmac-key with")
    assert (len(old.requests()), new.orders()) == (asked, [])
    certbot.write_ini(good)
    renew(certbot)
    assert issuer_name(certbot.certificate(NAME)) == "Old"


def test_a_stored_must_staple_does_not_move_to_harica(certbot, make_practice_ca):
    """HARICA answers no OCSP: the lineage moves there without it, and the user hears why."""
    old, harica = make_practice_ca(name="Old"), make_practice_ca(name="New")
    certbot.use(old)
    certbot.run("certonly", "-n", "-a", "garr-tcs", "-d", NAME, "--must-staple")
    assert asked_for_must_staple(old)
    certbot.use(harica, "ca = harica\n")
    explained(renew(certbot), "The lineage's must_staple is dropped: HARICA", "answers no OCSP.")
    assert issuer_name(certbot.certificate(NAME)) == "New"
    assert not asked_for_must_staple(harica)
    assert certbot.renewal(NAME)["renewalparams"].get("must_staple", "False") == "False"


def test_more_names_than_harica_takes(certbot, practice_ca):
    """The warning stands above the CA's refusal, with the way on."""
    certbot.use(practice_ca, "ca = harica\n")
    result = certbot.certonly(*(f"n{number}.practice.example" for number in range(21)), check=False)
    assert result.returncode == 1
    explained(result, "21 names: HARICA is known to refuse more than 20", "ask for several certificates")


@pytest.mark.skipif(CERTBOT < WAITS_FOR_THE_ISSUER, reason="Certbot waits for a slow issuer since 4.1")
def test_an_issuer_that_takes_ten_seconds(certbot, make_faulty_ca):
    """The CA answers processing, Certbot comes back later, and the certificate is there."""
    ca = make_faulty_ca(configuration={"Certificate": {"enrollment_timeout": "1"}})
    set_faults(ca, processing={"seconds": 10})
    certbot.use(ca)
    certbot.certonly(NAME)
    assert certbot.certificate(NAME) in ca.issued()


def test_a_host_that_does_not_resolve(certbot, practice_ca):
    """The host is named, with the key of the file that leads there."""
    certbot.use(practice_ca)
    certbot.certonly(NAME)
    certbot.write_ini(account_section("https://ca.invalid/directory", "kid-1", KEY))
    result = refused_renewal(certbot, KEY)
    explained(result, f"Lineage {NAME} moves from {practice_ca.directory_url} to https://ca.invalid/directory.")
    explained(result, "Failed to renew certificate", "ca.invalid")
    explained(
        result, "ca.invalid:443 has no address", "See directory-url for a mistake, and this machine's name servers"
    )


NO_ANSWER = "closed the connection without an answer to"
NO_ACME = "HTTP 503 and something that is not ACME: it is out of order, or directory-url leads elsewhere"
BARE_STRING = 'refused, saying "The order could not be created.". Run the command again'


FAULTS = pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param("503", NO_ACME, id="503"),
        pytest.param("bare-string", BARE_STRING, id="bare-string"),
        pytest.param("close", NO_ANSWER, id="close"),
    ],
)


@pytest.fixture(scope="module")
def issued_by_faulty_ca(tmp_path_factory) -> Iterator[tuple[CertbotRunner, PracticeCa]]:
    """Issue one lineage at a CA that every test then breaks in another way."""
    need_practice_ca()
    folder = tmp_path_factory.mktemp("broken")
    with PracticeCa(folder / "ca", faulty=True) as ca:
        certbot = CertbotRunner(find_certbot(), folder / "certbot")
        certbot.use(ca)
        certbot.certonly(NAME)
        yield certbot, ca


@FAULTS
@pytest.mark.parametrize("place", ["directory", "newOrder", "authz", "finalize"])
def test_a_broken_ca_breaks_nothing_here(issued_by_faulty_ca, place, kind, words):
    """Whatever it answers, and wherever: a next step is said, and the lineage stays byte for byte."""
    certbot, ca = issued_by_faulty_ca
    set_faults(ca, **{place: {"kind": kind}})
    result = refused_renewal(certbot, ca.eab_hmac_key)
    explained(result, f"Failed to renew certificate {NAME} with error")
    explained(result, ca.directory_url, words)


def test_what_was_broken_renews_when_it_is_healed(issued_by_faulty_ca):
    """No failed try leaves anything behind that stops the next one."""
    certbot, ca = issued_by_faulty_ca
    before = certbot.certificate(NAME).serial_number
    set_faults(ca, finalize={"kind": "503"})
    refused_renewal(certbot, ca.eab_hmac_key)
    set_faults(ca)
    renew(certbot)
    assert certbot.certificate(NAME).serial_number != before


@FAULTS
def test_a_ca_that_breaks_while_registering(certbot, make_faulty_ca, kind, words):
    """A first order has the same next step; nothing half-registered is left, and the next try works."""
    ca = make_faulty_ca()
    certbot.use(ca)
    set_faults(ca, newAccount={"kind": kind, "times": 1})
    result = certbot.certonly(NAME, check=False)
    assert result.returncode == 1
    explained(result, ca.directory_url, words)
    assert not certbot.account_ids()
    no_secret(certbot, result, ca.eab_hmac_key)
    certbot.certonly(NAME)


@pytest.mark.parametrize("verb", ["register", "unregister", "revoke"])
def test_commands_that_load_no_plugin_explain_failures_too(certbot, make_faulty_ca, verb):
    """There Certbot's words are no better, and the account and lineage stay as they were."""
    ca = make_faulty_ca()
    certbot.use(ca)
    if verb != "register":
        certbot.certonly(NAME)
    before, accounts = snapshot(certbot), certbot.account_ids()
    set_faults(ca, directory={"kind": "503"})
    path = ("--cert-path", str(certbot.live(NAME))) if verb == "revoke" else ()
    result = certbot.run(verb, "-n", "--garr-tcs", *path, check=False)
    assert result.returncode == 1
    explained(result, ca.directory_url, NO_ACME)
    assert (snapshot(certbot), certbot.account_ids()) == (before, accounts)
    no_secret(certbot, result, ca.eab_hmac_key)


@pytest.mark.skipif(CERTBOT < WAITS_FOR_THE_ISSUER, reason="Certbot waits for a slow issuer since 4.1")
def test_an_issuer_that_takes_too_long(certbot, make_faulty_ca):
    """Certbot gives up without a word of its own: the option that gives the CA more time is named."""
    ca = make_faulty_ca(configuration={"Certificate": {"enrollment_timeout": "1"}})
    set_faults(ca, processing={"seconds": 12})
    certbot.use(ca)
    result = certbot.run("certonly", "-n", "--garr-tcs", "-d", NAME, "--issuance-timeout", "2", "-q", check=False)
    assert result.returncode == 1
    explained(result, f"{ca.directory_url} did not issue in time.", "--issuance-timeout 600")


def test_a_ca_that_is_down(certbot, make_practice_ca):
    """A CA that does not answer at all costs nothing but this try."""
    ca: PracticeCa = make_practice_ca()
    certbot.use(ca)
    certbot.certonly(NAME)
    ca.stop()
    result = refused_renewal(certbot, ca.eab_hmac_key)
    explained(result, "Failed to renew certificate", "Connection refused")
    explained(
        result, "There is no connection with 127.0.0.1", "(Connection refused). Look at directory-url", "firewall"
    )
