"""Disks that are full, files that cannot be changed, two Certbots at once: nothing is lost."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import replace

import pytest
from support import tracing
from support.folders import open_folder
from support.needs import need, need_program, need_root
from support.pki import material
from support.service import Host

from certbot_garr_tcs.deploy.settings import Output
from certbot_garr_tcs.deploy.transaction import Journal
from certbot_garr_tcs.errors import DeployError

pytestmark = pytest.mark.integration

LINEAGE = "www.example.it"


@pytest.fixture
def host():
    with open_folder() as folder:
        host = Host(folder)
        host.put_lineage(material())
        host.process().converge(LINEAGE)
        yield host


def may(*command):
    """Run a command that needs rights which a container may not have; skip without them outside CI."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    need(done.returncode == 0, f"the right to {command[0]} ({done.stderr.strip()})")


@contextlib.contextmanager
def small_disk(folder):
    need_root()
    folder.mkdir(exist_ok=True)
    may(need_program("mount"), "-t", "tmpfs", "-o", "size=32k,mode=755", "none", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def foreign_disk(folder):
    """Mount an NTFS, whose driver accepts chmod and chown, and does nothing."""
    need_root()
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(8 << 20)
    may(need_program("mkntfs"), "-F", "-q", image)
    folder.mkdir()
    may(need_program("ntfs-3g"), "-o", "umask=022", image, folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_ignores_modes_gets_no_key(host):
    """A key for all to read is no deployment: exit 1, each time, and nothing of it is left there."""
    service, old = host.services["www"], host.lineages[LINEAGE]
    with foreign_disk(host.tls / "foreign") as foreign:
        (foreign / "probe").touch(mode=0o600)
        assert (foreign / "probe").stat().st_mode & 0o777 == 0o755
        outputs = (*host.targets[0].outputs, Output("combined", foreign / "copy.pem", 0o600))
        target = replace(host.targets[0], outputs=outputs)
        host.put_lineage(material())
        for _ in range(2):
            with pytest.raises(DeployError, match=r"^\[deploy www\]: the file system of .*foreign keeps no owners and"):
                host.process([target]).converge(LINEAGE)
            assert [path.name for path in foreign.iterdir()] == ["probe"]
        assert host.serves(old)
        assert service.key.stat().st_mode & 0o777 == 0o600


def fill(folder):
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)


def test_a_full_disk_under_the_target_keeps_the_old_set(host):
    """ENOSPC while writing beside: nothing was replaced, and space made later is enough."""
    old = host.lineages[LINEAGE]
    with small_disk(host.tls / "small") as small:
        target = replace(
            host.targets[0],
            outputs=(*host.targets[0].outputs, Output("fullchain", small / "copy.pem", 0o644)),
        )
        host.process([target]).converge(LINEAGE)
        new = host.put_lineage(material())
        fill(small)
        with pytest.raises(DeployError, match=r"cannot write .*copy.pem: No space left on device; the old files are"):
            host.process([target]).converge(LINEAGE)
        assert host.serves(old)
        assert (small / "copy.pem").read_bytes() == old.fullchain_pem
        assert [path.name for path in [*small.iterdir(), *host.tls.iterdir()] if path.name.startswith(".")] == []
        (small / "filler").unlink()
        host.process([target]).converge(LINEAGE)
        assert host.serves(new)
        assert (small / "copy.pem").read_bytes() == new.fullchain_pem


def test_a_full_disk_under_the_journal_changes_nothing(host):
    """Where the old bytes cannot be kept, the new ones are not written."""
    old = host.lineages[LINEAGE]
    host.work = host.tls.parent / "small"
    with small_disk(host.work):
        fill(host.work)
        new = host.put_lineage(material())
        with pytest.raises(DeployError, match=r"cannot keep a journal in .*: No space left on device"):
            host.process().converge(LINEAGE)
        assert host.serves(old)
        (host.work / "filler").unlink()
        host.process().converge(LINEAGE)
        assert host.serves(new)


def test_an_immutable_file_keeps_the_old_set(host):
    """The certificate was replaced before the key refused: it is put back."""
    need_root()
    old, key = host.lineages[LINEAGE], host.services["www"].key
    new = host.put_lineage(material())
    may(need_program("chattr"), "+i", key)
    try:
        with pytest.raises(
            DeployError, match=r"cannot replace .*www.key: Operation not permitted; .*files are back. L"
        ):
            host.process().converge(LINEAGE)
    finally:
        may("chattr", "-i", key)
    assert host.serves(old)
    host.process().converge(LINEAGE)
    assert host.serves(new)


def test_a_roll_back_that_fails_says_which_file_is_how(host):
    """An immutable new file cannot be put back: the error names it, the others are old, the next run corrects it."""
    need_root()
    old = host.lineages[LINEAGE]
    service = host.services["www"]
    new = host.put_lineage(material())
    process = host.process()
    process.renew_deploy(LINEAGE)
    service.reload_red = 1
    may(need_program("chattr"), "+i", service.key)
    try:
        with pytest.raises(DeployError, match=r"cannot put back every file .*www.key is not the old one \(Operation"):
            process.restart()
        assert service.cert.read_bytes() == old.fullchain_pem
        with pytest.raises(DeployError, match=r"cannot put back every file"):
            host.process().converge(LINEAGE)
        assert len(Journal(host.state).unfinished()) == 1
    finally:
        may("chattr", "-i", service.key)
    host.process().converge(LINEAGE)
    assert host.serves(new)


def test_two_certbots_at_once_take_turns(host):
    """Whatever order they come in, the set is one lineage's and no transaction stays open."""
    new = host.put_lineage(material())
    children = []
    for _ in range(4):
        pid = tracing.fork()
        if pid == 0:
            try:
                host.process().converge(LINEAGE)
            except BaseException:  # noqa: BLE001 - the child has no one else to tell
                os._exit(1)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert host.serves(new)
    assert Journal(host.state).unfinished() == []
