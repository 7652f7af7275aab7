"""The lineages of Certbot's folders are read as they are."""

from __future__ import annotations

import pytest
from support.pki import material

from certbot_garr_tcs.certbot_installer import Lineages
from certbot_garr_tcs.deploy.plan import OwnFiles, inspect
from certbot_garr_tcs.deploy.settings import Output, Target
from certbot_garr_tcs.errors import DeployError

NAME = "www.example.it"


@pytest.fixture
def certbot(tmp_path):
    """Lay out one lineage as Certbot does: archive, live with links, renewal."""
    made = material()
    archive, live, renewal = (tmp_path / "archive" / NAME, tmp_path / "live" / NAME, tmp_path / "renewal")
    for folder in (archive, live, renewal):
        folder.mkdir(parents=True)
    pieces = {
        "cert": made.cert_pem,
        "chain": made.chain_pem,
        "fullchain": made.fullchain_pem,
        "privkey": made.key_pem,
    }
    for piece, data in pieces.items():
        (archive / f"{piece}1.pem").write_bytes(data)
        (live / f"{piece}.pem").symlink_to(f"../../archive/{NAME}/{piece}1.pem")
    (renewal / f"{NAME}.conf").write_text(
        f"cert = {live}/cert.pem\nprivkey = {live}/privkey.pem\n[renewalparams]\nserver = https://x/\n"
    )
    return tmp_path, made


def test_a_lineage_is_read_whole(certbot):
    """Bytes, name and where it was read."""
    root, made = certbot
    read = Lineages(root / "renewal").find(NAME).bundle
    assert (read.lineage, read.fingerprint, read.key_pem) == (NAME, made.fingerprint, made.key_pem)
    assert read.fullchain_pem == made.fullchain_pem
    assert read.live == root / "live" / NAME


@pytest.mark.parametrize("folder", ["live", "archive"])
def test_no_target_writes_into_a_lineage(certbot, folder):
    """Neither the folder of links nor the one that they lead to may be written to."""
    root, _ = certbot
    path = root / folder / NAME / "copy.pem"
    target = Target("www", NAME, (Output("cert", path, 0o644),), root / "ini")
    with pytest.raises(DeployError, match=r"copy.pem is below .*, which is Certbot's own"):
        inspect(target, OwnFiles((), ()), Lineages(root / "renewal").find(NAME).live)


def test_a_lineage_that_was_deleted_is_none(certbot):
    """A target of it has nothing to do."""
    assert Lineages(certbot[0] / "renewal").find("gone.example.it") is None


def test_a_lineage_with_a_missing_file_is_named(certbot):
    """The error names the missing file."""
    root, _ = certbot
    (root / "archive" / NAME / "chain1.pem").unlink()
    with pytest.raises(DeployError, match=r"lineage www.example.it: cannot read .*chain.pem: No such file"):
        _ = Lineages(root / "renewal").find(NAME).bundle


def test_a_path_names_its_lineage(certbot):
    """live/ and archive/ are of a lineage; anything else is refused, with the command to use."""
    root, _ = certbot
    for path in (root / "live" / NAME / "cert.pem", root / "archive" / NAME / "cert1.pem"):
        assert Lineages(root / "renewal").name_of(path) == NAME
    elsewhere = root / "elsewhere" / NAME / "cert.pem"
    for path in (elsewhere, root / "cert.pem"):
        with pytest.raises(DeployError, match=r"is of no lineage.*certbot install -i garr-tcs --cert-name NAME"):
            Lineages(root / "renewal").name_of(path)
