"""Nothing is read where stat(2) says that no file has changed."""

import os
from pathlib import Path

import pytest

from certbot_garr_tcs.deploy.records import document_of
from certbot_garr_tcs.deploy.stat_cache import SETTLED_SECONDS, StatCache
from certbot_garr_tcs.deploy.targets import Output, Target
from certbot_garr_tcs.lineages import PIECES
from certbot_garr_tcs.storage import StateFolder


class Place:
    """A target with all of its files, found right, and a clock."""

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

    def right(self) -> bool:
        return self.cache().is_unchanged(self.target, self.live)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_what_was_found_right_is_right_until_a_mark_changes(place):
    """The next process needs no more than marks; remembering the same again writes nothing."""
    assert not place.right()
    cache = place.cache()
    cache.remember(place.target, place.live)
    assert cache.is_unchanged(place.target, place.live)
    assert place.right()
    document = place.state.path / "stat-cache.json"
    before = document.stat().st_ino
    place.cache().remember(place.target, place.live)
    assert document.stat().st_ino == before


@pytest.mark.parametrize(
    "change",
    [
        lambda place: place.cert.write_text("drift!!!!"),
        lambda place: place.cert.chmod(0o600),
        lambda place: place.cert.unlink(),
        lambda place: (place.live / "cert.pem").write_text("a renewal"),
        lambda place: place.ini.write_text("another target"),
        lambda place: place.password.write_text("another password"),
        lambda place: place.state.write(document_of(place.target), {"failures": 1}),
    ],
    ids=["bytes", "mode", "gone", "lineage", "section", "password", "ledger"],
)
def test_every_change_is_looked_into(place, change):
    """Bytes, mode, lineage, section, password and ledger: whatever decides the target is among the marks."""
    place.cache().remember(place.target, place.live)
    change(place)
    assert not place.right()


def test_the_time_of_a_file_can_be_set_back_but_not_the_mark(place):
    """Who writes the same number of bytes and sets the time back is found by ctime."""
    place.cache().remember(place.target, place.live)
    seen = place.cert.stat()
    place.cert.write_text("AS IT WAS")
    os.utime(place.cert, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert place.cert.stat().st_size == seen.st_size
    assert not place.right()


def test_fresh_files_are_not_trusted(place):
    """Within a tick of the clock a file may change without another mark."""
    place.now_seconds = place.cert.stat().st_ctime + SETTLED_SECONDS / 2
    place.cache().remember(place.target, place.live)
    assert not place.right()
