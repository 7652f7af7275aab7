"""Certbot's renewal directory, as we read it."""

from __future__ import annotations

import os
import sys

import pytest
import trustme
from support.certbot_config import make_lineage

from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.lineages import find, holder, read_lineage, read_lineages, replaceable, store

CA = trustme.CA()


def certificate(*names: str) -> bytes:
    """Issue a certificate for these names."""
    return CA.issue_cert(*names).cert_chain_pems[0].bytes()


@pytest.fixture
def renewal(tmp_path):
    """Two lineages with the same names, one with others."""
    make_lineage(tmp_path, "one", certificate("a.example", "B.example"), server="https://ca.example/d", account="x")
    make_lineage(tmp_path, "two", certificate("c.example", "192.0.2.1"))
    make_lineage(tmp_path, "three", certificate("b.example", "a.example"))
    return tmp_path / "config" / "renewal"


def test_a_renewal_file_says_server_and_account(renewal):
    """Both are the lineage's; they may be missing."""
    one = read_lineage(renewal / "one.conf")
    assert (one.name, one.server, one.account) == ("one", "https://ca.example/d", "x")
    assert one.names() == {"a.example", "b.example"}
    two = read_lineage(renewal / "two.conf")
    assert (two.server, two.account) == (None, None)
    assert two.names() == {"c.example", "192.0.2.1"}


def test_lineages_come_by_name(renewal):
    """Broken files are left out: Certbot reports them itself."""
    (renewal / "broken.conf").write_text("[renewalparams\n", encoding="utf-8")
    (renewal / "empty.conf").write_text("", encoding="utf-8")
    (renewal / "half.conf").write_text("cert = /c\n", encoding="utf-8")
    (renewal / "odd.conf").write_text("cert = a, b\n[renewalparams]\nlist = a, b\n", encoding="utf-8")
    (renewal / "binary.conf").write_bytes(b"cert = \xff\xff\n")
    (renewal / "list.conf").write_text("cert = /c\n[renewalparams]\nlist = a, b\nserver = s\n", encoding="utf-8")
    assert [lineage.name for lineage in read_lineages(renewal)] == ["list", "one", "three", "two"]
    assert dict(read_lineage(renewal / "list.conf").params) == {"server": "s"}
    assert read_lineage(renewal / "missing.conf") is None


def test_a_lineage_is_found_by_name_or_names(renewal):
    """Which of two with the same names is meant, nobody can tell here."""
    assert [one.name for one in find(renewal, "two", ["a.example"])] == ["two"]
    assert find(renewal, "nothing", ["a.example"]) == ()
    assert [one.name for one in find(renewal, None, ["A.example", "b.example"])] == ["one", "three"]
    assert [one.name for one in find(renewal, None, ["192.0.2.1", "c.example"])] == ["two"]
    assert find(renewal, None, ["a.example"]) == ()
    assert find(renewal, None, []) == ()


def test_what_certbot_may_replace(renewal):
    """More names expand a lineage, so those with fewer count; without a name to ask for, none does."""
    make_lineage(renewal.parent.parent, "unreadable", b"no certificate")
    assert [one.name for one in replaceable(renewal, None, ["A.example", "b.example", "x.example"])] == ["one", "three"]
    assert [one.name for one in replaceable(renewal, "two", ["a.example", "b.example"])] == ["two"]
    assert replaceable(renewal, "new", ["a.example", "b.example"]) == ()
    assert replaceable(renewal, None, ["a.example"]) == ()
    assert replaceable(renewal, None, []) == ()


def test_a_certificate_that_cannot_be_read_has_no_names(tmp_path):
    """Neither a missing file nor a broken one stops anything."""
    make_lineage(tmp_path, "broken", b"no certificate")
    lineage = read_lineage(tmp_path / "config" / "renewal" / "broken.conf")
    assert lineage.names() == frozenset()
    lineage.certificate.unlink()
    assert lineage.names() == frozenset()


def test_what_is_stored_changes_nothing_else(renewal):
    """One line more, in the same file with the same mode; the second time there is nothing to do."""
    conf = renewal / "one.conf"
    conf.write_text(f"# by hand\n{conf.read_text()}pref_challs = dns-01,\n", encoding="utf-8")
    conf.chmod(0o640)
    before = conf.read_text(encoding="utf-8")
    assert store(conf, installer="garr-tcs")
    assert conf.read_text(encoding="utf-8") == f"{before}installer = garr-tcs\n"
    assert conf.stat().st_mode & 0o777 == 0o640
    assert not store(conf, installer="garr-tcs")
    assert read_lineage(conf).installer == "garr-tcs"
    assert sorted(path.name for path in renewal.iterdir()) == ["one.conf", "three.conf", "two.conf"]


@pytest.mark.parametrize("text", ["[renewalparams\n", "cert = /c\n", None])
def test_what_cannot_be_stored_is_said(renewal, text):
    """With the line to write by hand; nothing is left behind."""
    conf = renewal / "one.conf"
    conf.unlink()
    if text is not None:
        conf.write_text(text, encoding="utf-8")
    with pytest.raises(GarrTcsError, match=r"cannot write .*one.conf.*installer = garr-tcs"):
        store(conf, installer="garr-tcs")
    assert conf.exists() == (text is not None)
    assert list(renewal.glob(".*")) == []


def test_the_former_certificate_is_the_one_before(tmp_path):
    """As Certbot numbers them in its archive; without one there are no names."""
    make_lineage(tmp_path, "one")
    lineage = read_lineage(tmp_path / "config" / "renewal" / "one.conf")
    assert lineage.former_names() == frozenset()
    for number, names in ((9, ("a.example", "b.example")), (10, ("a.example",))):
        (tmp_path / f"cert{number}.pem").write_bytes(certificate(*names))
    lineage.certificate.unlink()
    lineage.certificate.symlink_to(tmp_path / "cert10.pem")
    assert lineage.names() == {"a.example"}
    assert lineage.former_names() == {"a.example", "b.example"}


READ = []
WATCHED = []


def note_read(event, arguments):
    """Note a file that is opened, where a test watches its folder; an audit hook stays for good."""
    if event == "open" and WATCHED and str(arguments[0]).startswith(WATCHED[0]):
        READ.append(str(arguments[0]))


sys.addaudithook(note_read)


def test_every_file_is_read_once(renewal):
    """A renewal of many lineages looks for the right one as often: what has not changed is not read again."""
    READ.clear()
    WATCHED[:] = [str(renewal.parent)]
    for _ in range(3):
        assert len(find(renewal, None, ["a.example", "b.example"])) == 2
    assert len(READ) == 6  # three renewal files, three certificates
    make_lineage(renewal.parent.parent, "four", certificate("a.example", "b.example"))
    READ.clear()
    WATCHED[:] = [str(renewal.parent)]
    assert len(find(renewal, None, ["a.example", "b.example"])) == 3
    assert len(READ) == 2
    WATCHED.clear()


def test_a_file_that_changed_is_read_again(renewal):
    """A renewal in the same process moves a lineage."""
    conf = renewal / "one.conf"
    assert read_lineage(conf).account == "x"
    conf.write_text(conf.read_text(encoding="utf-8").replace("account = x", "account = y"), encoding="utf-8")
    assert read_lineage(conf).account == "y"


def test_a_certificate_is_known_by_its_content(renewal, tmp_path):
    """Wherever it was copied to, with or without its chain; older ones are in the archive."""
    two = read_lineage(renewal / "two.conf")
    assert holder(renewal, two.certificate).name == "two"
    copied = tmp_path / "copied.pem"
    copied.write_bytes(two.certificate.read_bytes() + certificate("chain.example"))
    assert holder(renewal, copied).name == "two"
    older = two.certificate.with_name("cert1.pem")
    older.write_bytes(certificate("older.example"))
    assert holder(renewal, older).name == "two"
    copied.write_bytes(certificate("c.example", "192.0.2.1"))
    assert holder(renewal, copied) is None
    assert holder(renewal, tmp_path / "missing") is None


def test_the_issuer_of_a_certificate(renewal, tmp_path):
    """Another key of the same organisation is the same CA; another organisation is not."""
    one = read_lineage(renewal / "one.conf")
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().issue_cert("a.example").cert_chain_pems[0].bytes())
    assert one.has_issuer_of(other)
    other.write_bytes(trustme.CA(organization_name="another").issue_cert("a.example").cert_chain_pems[0].bytes())
    assert not one.has_issuer_of(other)
    assert not one.has_issuer_of(tmp_path / "missing")


def test_when_a_certificate_was_issued(renewal):
    """By the time of its file."""
    one = read_lineage(renewal / "one.conf")
    os.utime(one.certificate, (1000, 1000))
    assert [one.was_issued_since(since) for since in (999.0, 1000.0, 1001.0)] == [True, True, False]
    one.certificate.unlink()
    assert not one.was_issued_since(0.0)
