"""The state folder: private, whole at every moment, one writer at a time."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.storage import StateFolder, replace_file


@pytest.fixture
def state(tmp_path):
    """Name a state folder that is not there yet."""
    return StateFolder(tmp_path / "work")


def test_nothing_is_made_before_it_is_needed(state):
    """Reading creates nothing."""
    assert state.read("a.json", {"default": 1}) == {"default": 1}
    assert not state.path.parent.exists()


def test_what_is_written_is_read_again(state):
    """Folder and document are private, and no temporary file stays."""
    state.write("a.json", {"b": [1]})
    state.write("a.json", {"b": [2]})
    assert state.read("a.json", None) == {"b": [2]}
    assert state.path.stat().st_mode & 0o777 == 0o700
    assert (state.path / "a.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state.path.iterdir()] == ["a.json"]


def test_a_failed_write_keeps_the_old_document(state):
    """What cannot be written leaves no half document, and no temporary file."""
    state.write("a.json", 1)
    with pytest.raises(TypeError):
        state.write("a.json", {"a": object()})
    assert state.read("a.json", None) == 1
    assert [path.name for path in state.path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_a_damaged_document_is_named(state, content):
    """The hint says what to do with it."""
    state.write("a.json", 1)
    (state.path / "a.json").write_bytes(content)
    with pytest.raises(GarrTcsError, match=r"a\.json") as caught:
        state.read("a.json", None)
    assert "Move it away" in caught.value.hint


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_can_write_is_refused(state, mode):
    """Who can write there could say which account is meant."""
    state.ensure().chmod(mode)
    with pytest.raises(GarrTcsError, match="only this user can write") as caught:
        state.write("a.json", 1)
    assert "chmod 700" in caught.value.hint


def test_a_link_is_refused(state, tmp_path):
    """A link could lead into a folder of somebody else's choice."""
    (tmp_path / "work").mkdir()
    (tmp_path / "elsewhere").mkdir()
    state.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GarrTcsError, match="is not a folder"):
        state.ensure()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(state):
    """The chown that corrects it is in the hint."""
    os.chown(state.ensure(), 65534, 65534)
    with pytest.raises(GarrTcsError) as caught:
        state.ensure()
    assert f"chown {os.geteuid()}" in caught.value.hint


def test_a_folder_that_cannot_be_made(state, tmp_path):
    """The operating system's reason is in the message."""
    (tmp_path / "work").write_text("a file", encoding="utf-8")
    with pytest.raises(GarrTcsError, match="cannot keep state") as caught:
        state.ensure()
    assert "--work-dir" in caught.value.hint


def test_a_lock_is_waited_for(state):
    """The second one gets in when the first one is out, and not before."""
    entered = threading.Event()

    def second():
        with state.lock("one"):
            entered.set()

    thread = threading.Thread(target=second)
    with state.lock("one"):
        thread.start()
        assert not entered.wait(0.2)
    thread.join(10)
    assert entered.is_set()


def test_a_private_file_is_private_also_where_it_replaces_a_public_one(tmp_path):
    """The mode is 0600, whatever the umask and whatever was there before."""
    path = tmp_path / "secret"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        replace_file(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]
