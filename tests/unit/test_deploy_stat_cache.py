"""No file is read where stat(2) shows that none has changed."""

import os
from pathlib import Path

import pytest

from certbot_garr_tcs.deploy.records import SETTLED_SECONDS, StatCache, document_of
from certbot_garr_tcs.deploy.settings import Output, Target
from certbot_garr_tcs.lineages import PIECES
from certbot_garr_tcs.storage import StateFolder


class Machine:
    """A target that is up to date, with all of its files, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.live = folder / "live"
        self.live.mkdir()
        self.ini = folder / "garr-tcs.ini"
        self.cert = folder / "www.pem"
        self.password = folder / "password"
        for path in (self.ini, self.cert, self.password, *(self.live / f"{piece}.pem" for piece in PIECES)):
            path.write_text("as it was")
        outputs = (Output("fullchain", self.cert, 0o644),)
        self.target = Target("www", "www", outputs, self.ini, pkcs12_password_file=self.password)
        self.state = StateFolder(folder)
        self.state.write(document_of(self.target), {})
        self.now_seconds = self.cert.stat().st_ctime + SETTLED_SECONDS + 60

    def cache(self) -> StatCache:
        return StatCache(self.state, lambda: self.now_seconds)

    def is_unchanged(self) -> bool:
        return self.cache().is_unchanged(self.target, self.live)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_stored_target_is_unchanged_until_a_file_is(machine):
    """The next process finds it without reading a file; storing the same again writes nothing."""
    assert not machine.is_unchanged()
    cache = machine.cache()
    cache.add(machine.target, machine.live)
    assert cache.is_unchanged(machine.target, machine.live)
    assert machine.is_unchanged()
    document = machine.state.path / "stat-cache.json"
    before = document.stat().st_ino
    machine.cache().add(machine.target, machine.live)
    assert document.stat().st_ino == before


@pytest.mark.parametrize(
    "change",
    [
        lambda machine: machine.cert.write_text("drift!!!!"),
        lambda machine: machine.cert.chmod(0o600),
        lambda machine: machine.cert.unlink(),
        lambda machine: (machine.live / "cert.pem").write_text("a renewal"),
        lambda machine: machine.ini.write_text("another target"),
        lambda machine: machine.password.write_text("another password"),
        lambda machine: machine.state.write(document_of(machine.target), {"failures": 1}),
    ],
    ids=["bytes", "mode", "gone", "lineage", "section", "password", "record"],
)
def test_every_change_is_noticed(machine, change):
    """Content, mode, lineage, section, password and record: every file of the target is compared."""
    machine.cache().add(machine.target, machine.live)
    change(machine)
    assert not machine.is_unchanged()


def test_mtime_can_be_set_back_but_not_ctime(machine):
    """A change of the same size whose mtime is set back is found by ctime."""
    machine.cache().add(machine.target, machine.live)
    seen = machine.cert.stat()
    machine.cert.write_text("AS IT WAS")
    os.utime(machine.cert, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert machine.cert.stat().st_size == seen.st_size
    assert not machine.is_unchanged()


def test_fresh_files_are_not_trusted(machine):
    """Within a tick of the clock a file may change and keep its timestamp."""
    machine.now_seconds = machine.cert.stat().st_ctime + SETTLED_SECONDS / 2
    machine.cache().add(machine.target, machine.live)
    assert not machine.is_unchanged()
