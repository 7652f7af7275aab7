"""What a lineage offers is checked, then turned into files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import pkcs12
from support.pki import NOW_SECONDS, Authority, authorities, key_pem_of, material, new_key, pem_of, with_chain

from certbot_garr_tcs.deploy.certificate import check, dns_names, fingerprint_of, problems
from certbot_garr_tcs.deploy.formats import inputs_digest, render
from certbot_garr_tcs.deploy.settings import Output, Target
from certbot_garr_tcs.errors import DeployError

GOOD = material()


def target_for(kind, **keys):
    output = Output(kind, Path("/tls/file"), 0o600)
    return Target("www", "www.example.it", (output,), Path("/garr-tcs.ini"), **keys), output


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_a_good_lineage_has_no_problem(kind):
    """Every kind of key that a CA may use is checked to the top of the chain."""
    root, issuer = authorities(kind)
    assert problems(with_chain(material(kind=kind), issuer, root), NOW_SECONDS) == []
    check(material(kind=kind), NOW_SECONDS)


def test_a_lineage_without_chain_is_good():
    """A private CA may sign with its root."""
    assert problems(with_chain(GOOD), NOW_SECONDS) == []


def test_pss_signatures_are_checked():
    """A CA that signs with RSASSA-PSS is no stranger."""
    if not hasattr(x509.Certificate, "signature_algorithm_parameters"):
        pytest.skip("this cryptography cannot tell PSS")
    assert problems(material(kind="rsa", pss=True), NOW_SECONDS) == []


def garbled(name):
    return replace(GOOD, **{name: GOOD.cert_pem.replace(b"\nMII", b"\nAAA", 1)})


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (replace(GOOD, key_pem=key_pem_of(new_key())), "privkey.pem is not the key of cert.pem"),
        (replace(GOOD, key_pem=b""), "privkey.pem holds no usable private key without a password"),
        (
            with_chain(GOOD, Authority("Old CA")),
            "certificate 1 of chain.pem (CN=Old CA) did not sign",
        ),
        (with_chain(GOOD, authorities()[0]), "certificate 1 of chain.pem (CN=Root ec) did not sign"),
        (
            with_chain(GOOD, authorities()[1], authorities("rsa")[0]),
            "certificate 2 of chain.pem (CN=Root rsa) did not sign the one below it, which is",
        ),
        (
            with_chain(GOOD, Authority("Intermediate ec")),
            "certificate 1 of chain.pem (CN=Intermediate ec)",
        ),
        (replace(GOOD, fullchain_pem=GOOD.cert_pem), "fullchain.pem is not cert.pem followed by chain.pem"),
        (replace(GOOD, cert_pem=b""), "cert.pem holds 0 certificates instead of one"),
        (replace(GOOD, cert_pem=GOOD.fullchain_pem), "cert.pem holds 2 certificates instead of one"),
        (garbled("cert_pem"), "a certificate in it cannot be parsed"),
        (garbled("chain_pem"), "a certificate in it cannot be parsed"),
        (material(begins_days=-9, ends_days=-2), "cert.pem expired at 20"),
        (material(begins_days=2), "cert.pem is valid only from 20"),
        (replace(GOOD, names=("mail.example.it", "x.it")), "cert.pem does not cover mail.example.it, x.it"),
        (replace(material(names=()), names=("x.it",)), "cert.pem does not cover x.it"),
    ],
)
def test_each_misfit_is_found(wrong, expected):
    """One thing wrong with a lineage is one sentence, and check raises it with a next step."""
    found = problems(wrong, NOW_SECONDS)
    assert len(found) == 1
    assert found[0].startswith(expected)
    with pytest.raises(DeployError, match=r"certbot certificates --cert-name www.example.it") as caught:
        check(wrong, NOW_SECONDS)
    assert found[0] in caught.value.message


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"begins_days": -9, "ends_days": -1}, "expired at "),
        ({"begins_days": 1}, "is valid only from "),
    ],
)
def test_an_intermediate_that_is_not_valid_now_is_found(when, expected):
    """Clients refuse the chain, however good the certificate itself is."""
    root, issuer = authorities()
    renewed = SimpleNamespace(certificate=root.sign(issuer.name, issuer.key.public_key(), authority=True, **when))
    (found,) = problems(with_chain(GOOD, renewed, root), NOW_SECONDS)
    assert found.startswith(f"certificate 1 of chain.pem (CN=Intermediate ec) {expected}")


def test_an_issuer_with_a_key_that_signs_nothing_is_a_gap():
    """A certificate whose key type no CA may use is not taken for an issuer."""
    root, _ = authorities()
    stranger = Authority("Stranger")
    stranger.certificate = root.sign(stranger.name, x25519.X25519PrivateKey.generate().public_key())
    found = problems(with_chain(GOOD, stranger), NOW_SECONDS)
    assert found[0].startswith("certificate 1 of chain.pem (CN=Stranger) did not sign")


def test_the_right_key_under_the_wrong_name_is_a_gap():
    """The issuer's name counts as well as its signature."""
    root, issuer = authorities()
    renamed = Authority("Renamed")
    renamed.certificate = root.sign(renamed.name, issuer.key.public_key(), authority=True)
    assert problems(with_chain(GOOD, renamed), NOW_SECONDS)[0].startswith("certificate 1 of chain.pem (CN=Renamed)")


def test_names_are_covered_by_wildcards_one_label_deep():
    """A wildcard is good for one label and not for its own parent."""
    wild = material(names=("*.example.it", "EXAMPLE.it"))
    names = ("www.example.it", "example.it", "*.example.it", "a.b.example.it")
    assert problems(replace(wild, names=names), NOW_SECONDS) == ["cert.pem does not cover a.b.example.it"]
    assert dns_names(wild) == ("*.example.it", "example.it")


def test_the_fingerprint_needs_no_parsing_and_is_the_usual_one():
    """It is what openssl x509 -fingerprint -sha256 says, also with CRLF line ends."""
    expected = fingerprint_of(x509.load_pem_x509_certificate(GOOD.cert_pem).public_bytes(serialization.Encoding.DER))
    assert GOOD.fingerprint == expected
    assert replace(GOOD, cert_pem=GOOD.cert_pem.replace(b"\n", b"\r\n")).fingerprint == expected


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n"])
def test_no_certificate_has_no_fingerprint(pem):
    """A lineage whose cert.pem is empty or broken is an error with a next step."""
    with pytest.raises(DeployError, match=r"cert.pem holds no certificate. Look at it with"):
        _ = replace(GOOD, cert_pem=pem).fingerprint


def test_a_lineage_never_shows_its_key():
    """The private key is not in the repr."""
    assert "PRIVATE" not in repr(GOOD)


@pytest.mark.parametrize(
    ("kind", "keys", "expected"),
    [
        ("cert", {}, GOOD.cert_pem),
        ("chain", {}, GOOD.chain_pem),
        ("fullchain", {}, GOOD.fullchain_pem),
        ("key", {}, GOOD.key_pem),
        ("combined", {}, GOOD.fullchain_pem + GOOD.key_pem),
        ("combined", {"combined_order": ("key", "cert", "chain")}, GOOD.key_pem + GOOD.fullchain_pem),
    ],
)
def test_pem_files_are_the_lineages_own_bytes(kind, keys, expected):
    """PEM is copied, in the order asked for."""
    target, output = target_for(kind, **keys)
    assert render(target, output, GOOD, None) == expected


def test_pieces_of_a_combined_file_stay_apart():
    """A missing newline at the end of one piece does not glue it to the next."""
    target, output = target_for("combined")
    bare = replace(GOOD, fullchain_pem=GOOD.fullchain_pem.rstrip())
    assert render(target, output, bare, None) == GOOD.fullchain_pem + GOOD.key_pem


@pytest.mark.parametrize(("kind", "begins"), [("ec", b"-----BEGIN EC"), ("rsa", b"-----BEGIN RSA")])
def test_keys_change_their_format_both_ways(kind, begins):
    """Traditional is the algorithm's own format, and PKCS#8 is made of it again."""
    old = material(kind=kind)
    target, output = target_for("key", key_format="traditional")
    traditional = render(target, output, old, None)
    assert traditional.startswith(begins)
    target, output = target_for("key")
    assert render(target, output, replace(old, key_pem=traditional), None) == old.key_pem


def test_a_key_without_traditional_format_is_refused():
    """Ed25519 knows PKCS#8 alone."""
    target, output = target_for("key", key_format="traditional")
    with pytest.raises(DeployError, match=r"no traditional format. Leave out key-format"):
        render(target, output, material(kind="ed25519"), None)


@pytest.mark.parametrize(("legacy", "alias", "name"), [(False, None, b"www.example.it"), (True, "jetty", b"jetty")])
def test_pkcs12_holds_key_certificate_chain_and_alias(legacy, alias, name):
    """What goes in comes out again, and the bytes are salted."""
    target, output = target_for("pkcs12", pkcs12_legacy=legacy, pkcs12_alias=alias)
    data = render(target, output, GOOD, b"secret")
    store = pkcs12.load_pkcs12(data, b"secret")
    assert key_pem_of(store.key) == GOOD.key_pem
    assert pem_of(store.cert.certificate) == GOOD.cert_pem
    assert store.cert.friendly_name == name
    assert [pem_of(other.certificate) for other in store.additional_certs] == [GOOD.chain_pem]
    assert render(target, output, GOOD, b"secret") != data
    aes_256_cbc = bytes.fromhex("060960864801650304012a")
    assert (aes_256_cbc in data) is not legacy


@pytest.mark.parametrize("password", [None, b""])
def test_pkcs12_needs_a_password(password):
    """An empty password is refused, and the file that should hold it is named."""
    target, output = target_for("pkcs12", pkcs12_password_file=Path("/tls/pass"))
    with pytest.raises(DeployError, match=r"password of the PKCS#12 file is empty. Write one into /tls/pass"):
        render(target, output, GOOD, password)


def test_the_digest_of_inputs_sees_every_change():
    """Whatever changes a file's content changes the digest, and nothing else does."""
    target, _ = target_for("pkcs12")
    same = inputs_digest(target, GOOD, b"p")
    assert inputs_digest(replace(target, reloads=(("x",),), name="y"), GOOD, b"p") == same
    others = {
        inputs_digest(target, GOOD, b"q"),
        inputs_digest(target, GOOD, None),
        inputs_digest(target, replace(GOOD, key_pem=b"x"), b"p"),
        inputs_digest(target, replace(GOOD, cert_pem=b"x"), b"p"),
        inputs_digest(target, replace(GOOD, chain_pem=b"x"), b"p"),
        inputs_digest(target, replace(GOOD, fullchain_pem=b"x"), b"p"),
        inputs_digest(replace(target, outputs=()), GOOD, b"p"),
        inputs_digest(replace(target, combined_order=("key", "cert")), GOOD, b"p"),
        inputs_digest(replace(target, key_format="traditional"), GOOD, b"p"),
        inputs_digest(replace(target, pkcs12_alias="x"), GOOD, b"p"),
        inputs_digest(replace(target, pkcs12_legacy=True), GOOD, b"p"),
    }
    assert same not in others
    assert len(others) == 11
