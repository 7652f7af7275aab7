"""One file, and a set of files, change wholly or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certbot_garr_tcs.deploy import files
from certbot_garr_tcs.deploy.files import Meta, check_folder, locate, look, make_folder, remove, stage, swap
from certbot_garr_tcs.deploy.transaction import Change, Journal, Transaction
from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.state import StateFolder

ME = Meta(os.geteuid(), os.getegid(), 0o640)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def tls(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def journal(tmp_path):
    return Journal(StateFolder(tmp_path / "work"))


def change(path, data, meta=ME):
    return Change(path, data, meta)


def put(path, data=b"old", mode=0o600):
    path.write_bytes(data)
    path.chmod(mode)
    return path


def left_over(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# one file


def test_a_path_resolves_to_itself(tls):
    """A plain path, present or not, is where the write ends; folders are resolved."""
    (tls.parent / "link").symlink_to(tls)
    assert locate(tls / "a", follow_symlinks=False) == tls / "a"
    assert locate(tls.parent / "link" / "a", follow_symlinks=False) == tls / "a"


def test_links_are_followed_within_their_folder(tls):
    """A link to a neighbour is replaced there; elsewhere only where the section allows it."""
    put(tls / "real")
    (tls / "near").symlink_to("real")
    (tls / "new").symlink_to("absent")
    (tls / "far").symlink_to(tls.parent / "other")
    assert locate(tls / "near", follow_symlinks=False) == tls / "real"
    assert locate(tls / "new", follow_symlinks=False) == tls / "absent"
    assert locate(tls / "far", follow_symlinks=True) == tls.parent / "other"
    with pytest.raises(DeployError, match=r"far is a symbolic link to .*other. Remove the link, name that path"):
        locate(tls / "far", follow_symlinks=False)


def test_a_loop_of_links_is_refused(tls):
    """A link that leads nowhere is an error, not a hang."""
    (tls / "a").symlink_to("b")
    (tls / "b").symlink_to("a")
    with pytest.raises(DeployError, match=r"leads nowhere"):
        locate(tls / "a", follow_symlinks=True)


def test_looking_tells_bytes_owner_and_mode(tls):
    """What is there is told whole; nothing is None."""
    seen = look(put(tls / "a", b"x", 0o640))
    assert (seen.data, seen.meta) == (b"x", ME)
    assert "x" not in repr(seen).replace("context", "").replace("hex", "")
    assert look(tls / "b") is None


def test_only_regular_small_files_are_looked_at(tls):
    """Folders, pipes, big files and paths through files are refused with a next step."""
    (tls / "folder").mkdir()
    os.mkfifo(tls / "pipe")
    (tls / "link").symlink_to("pipe")
    with (tls / "big").open("wb") as file:
        file.truncate(2 << 20)
    for name, expected in [
        ("folder", "is a folder. Name the path of a file"),
        ("pipe", "is no regular file"),
        ("link", "cannot read .*link: Too many levels"),
        ("big", "holds 2097152 bytes"),
        ("big/x", "Not a directory. Name a path below a folder"),
    ]:
        with pytest.raises(DeployError, match=expected):
            look(tls / name)


def test_a_file_is_replaced_with_its_mode(tls):
    """The mode is the asked one whatever the umask says, and nothing is left beside it."""
    path = put(tls / "a")
    stage(tls / ".new", b"new", ME)
    swap(tls / ".new", path)
    assert look(path).meta.mode == 0o640
    assert path.read_bytes() == b"new"
    assert left_over(tls) == []
    remove(path)
    remove(path)
    assert not path.exists()


def test_staging_starts_afresh(tls):
    """A staged file that a crash left behind is not written into: it may be open to others."""
    put(tls / ".new", b"stale and longer", 0o666)
    stage(tls / ".new", b"new", ME)
    assert look(tls / ".new").meta.mode == 0o640
    assert (tls / ".new").read_bytes() == b"new"


@needs_root
def test_owner_and_context_are_kept(tls):
    """A file is given away, and carries the SELinux context that it is told to."""
    meta = Meta(65534, 65534, 0o400, "system_u:object_r:cert_t:s0\0")
    stage(tls / "a", b"new", meta)
    try:
        assert look(tls / "a").meta == meta
    except OSError:  # pragma: no cover - a file system without security attributes
        pytest.skip("no security attributes here")


def test_keys_go_only_into_folders_that_nobody_else_can_write(tls):
    """The folder itself, and what is above it unless sticky, must be closed to others."""
    mine = frozenset({0, os.geteuid()})
    check_folder(tls, mine)
    check_folder(tls / "not" / "yet", mine)
    for mode in (0o777, 0o775, 0o1777):
        tls.chmod(mode)
        with pytest.raises(DeployError, match=r"no key is put into .*can write to .*chmod go-w"):
            check_folder(tls, mine)
    tls.chmod(0o1777)
    check_folder(tls / "below", mine)
    tls.chmod(0o777)
    with pytest.raises(DeployError, match=r"no key is put into"):
        check_folder(tls / "below", mine)
    tls.chmod(0o755)
    with pytest.raises(DeployError, match=r"no key is put into"):
        check_folder(tls, frozenset({12345}))
    with pytest.raises(DeployError, match=r"cannot look at"):
        check_folder(put(tls / "file") / "below", mine)


# a set of files


def test_a_set_is_committed(tls, journal):
    """After commit all files are new, the journal is over, and what was there is kept privately."""
    put(tls / "cert", b"old cert")
    changes = [change(tls / "cert", b"new cert"), change(tls / "key", b"new key")]
    transaction = Transaction.begin(journal, "id", changes, {"title": "[deploy www]"})
    assert transaction.about == {"title": "[deploy www]"}
    assert journal.unfinished() == ["id"]
    transaction.apply(changes)
    transaction.commit(restorable=True)
    assert (tls / "cert").read_bytes() == b"new cert"
    assert (tls / "key").read_bytes() == b"new key"
    assert journal.unfinished() == []
    entries = journal.read(journal.last / "id.json")["entries"]
    assert journal.old(entries[0]).data == b"old cert"
    assert journal.old(entries[1]) is None
    for folder, mode in [(journal.open.parent, 0o700), (journal.bytes, 0o700)]:
        assert folder.stat().st_mode & 0o777 == mode
    assert {path.stat().st_mode & 0o777 for path in journal.bytes.iterdir()} == {0o600}
    assert left_over(tls) == []


def test_only_the_last_deployment_is_kept(tls, journal):
    """Old bytes that no journal names are swept away; a repair keeps the former journal."""
    for number, restorable in enumerate([True, True, False]):
        changes = [change(put(tls / "cert", b"old %d" % number), b"new")]
        transaction = Transaction.begin(journal, "id", changes, {})
        transaction.apply(changes)
        transaction.commit(restorable=restorable)
    kept = journal.old(journal.read(journal.last / "id.json")["entries"][0])
    assert kept.data == b"old 1"
    assert len(list(journal.bytes.iterdir())) == 1


def test_a_set_is_rolled_back(tls, journal):
    """Changed, new and removed files are as before, with their modes; folders made on the way are gone."""
    put(tls / "cert", b"old cert", 0o604)
    put(tls / "gone", b"was here", 0o600)
    deep = tls / "a" / "b" / "key"
    changes = [change(tls / "cert", b"x"), change(deep, b"y"), change(tls / "gone", None)]
    transaction = Transaction.begin(journal, "id", changes, {})
    transaction.apply(changes)
    assert deep.read_bytes() == b"y"
    assert not (tls / "gone").exists()
    transaction.roll_back()
    assert look(tls / "cert").meta.mode == 0o604
    assert (tls / "cert").read_bytes() == b"old cert"
    assert (tls / "gone").read_bytes() == b"was here"
    assert sorted(path.name for path in tls.iterdir()) == ["cert", "gone"]
    assert journal.unfinished() == []
    assert list(journal.bytes.iterdir()) == []


def test_another_process_rolls_back(tls, journal, tmp_path):
    """What one process left open, the next one finds and undoes, at any point before commit."""
    put(tls / "cert", b"old")
    changes = [change(tls / "cert", b"x"), change(tls / "new" / "key", b"y")]
    Transaction.begin(journal, "id", changes, {})
    stage(tls / Path(journal.read(journal.open / "id.json")["entries"][0]["temporary"]).name, b"half", ME)
    later = Journal(StateFolder(tmp_path / "work"))
    assert later.unfinished() == ["id"]
    Transaction.resume(later, "id").roll_back()
    assert sorted(path.name for path in tls.iterdir()) == ["cert"]
    assert (tls / "cert").read_bytes() == b"old"
    assert Transaction.resume(later, "id") is None


def test_somebody_elses_file_keeps_its_folder(tls, journal):
    """A folder that we made is left alone where somebody else uses it by now."""
    changes = [change(tls / "new" / "key", b"y")]
    transaction = Transaction.begin(journal, "id", changes, {})
    transaction.apply(changes)
    put(tls / "new" / "theirs")
    transaction.roll_back()
    assert [path.name for path in (tls / "new").iterdir()] == ["theirs"]


def test_a_missing_folder_is_an_error_before_anything_changes(tls, journal):
    """The first file is not replaced where the second cannot be written."""
    put(tls / "cert", b"old")
    put(tls / "file")
    changes = [change(tls / "cert", b"x"), change(tls / "file" / "key", b"y")]
    with pytest.raises(DeployError, match=r"cannot read .*file/key: Not a directory"):
        Transaction.begin(journal, "id", changes, {})
    assert journal.unfinished() == []
    assert list(journal.bytes.iterdir()) == []
    assert (tls / "cert").read_bytes() == b"old"


def test_apply_says_what_it_could_not_do(tls, journal):
    """Each step's error names its file; the caller rolls back."""
    (tls / "was").mkdir()
    for spoil, mend, expected in [
        (lambda: put(tls / "new"), (tls / "new").unlink, "cannot create the folder .*new: File exists"),
        ((tls / "was").rmdir, (tls / "was").mkdir, "cannot write .*was/cert: No such file or directory. Create"),
    ]:
        changes = [change(tls / "was" / "cert", b"x"), change(tls / "new" / "key", b"y")]
        transaction = Transaction.begin(journal, "id", changes, {})
        spoil()
        with pytest.raises(DeployError, match=expected):
            transaction.apply(changes)
        mend()
        transaction.roll_back()
        assert not (tls / "new").exists()


def test_a_place_taken_meanwhile_is_said(tls, journal):
    """A folder that appears in a file's place stops the replacement, and then the roll back too."""
    changes = [change(tls / "cert", b"x")]
    transaction = Transaction.begin(journal, "id", changes, {"title": "[deploy www]"})
    (tls / "cert").mkdir()
    with pytest.raises(DeployError, match=r"cannot replace .*cert: Is a directory"):
        transaction.apply(changes)
    with pytest.raises(
        DeployError, match=r"cannot put back every file of \[deploy www\]: .*cert is unreadable \(Is a directory\)"
    ):
        transaction.roll_back()
    assert journal.unfinished() == ["id"]
    (tls / "cert").rmdir()
    transaction.roll_back()
    assert journal.unfinished() == []


def test_a_failed_roll_back_says_which_file_is_how(tls, journal):
    """Files that can be put back are; of the others the error tells the state, and the journal stays open."""
    names = ["lost", "also-lost", "good", "same"]
    for name in names:
        put(tls / name, name.encode())
    changes = [change(tls / name, b"x") for name in [*names, "fresh"]]
    transaction = Transaction.begin(journal, "id", changes, {})
    transaction.apply(changes)
    entries = journal.read(journal.open / "id.json")["entries"]
    for entry in (entries[0], entries[1], entries[3]):
        (journal.bytes / entry["old"]["bytes"]).unlink()
    remove(tls / "also-lost")
    put(tls / "same", b"same")
    with pytest.raises(DeployError, match=r"cannot put back every file of id") as caught:
        transaction.roll_back()
    text = caught.value.message
    assert f"{tls}/lost is not the old one (the old bytes of {tls}/lost are lost)" in text
    assert f"{tls}/also-lost is missing" in text
    assert f"{tls}/same is old" in text
    assert (tls / "good").read_bytes() == b"good"
    assert not (tls / "fresh").exists()
    assert journal.unfinished() == ["id"]


def test_a_folder_without_space_for_the_journal_changes_nothing(tls, journal):
    """Where no journal can be kept, no file is touched."""
    put(tls / "cert", b"old")
    journal.make()
    journal.bytes.rmdir()
    put(journal.bytes)
    with pytest.raises(DeployError, match=r"cannot keep a journal in .*journal: (File exists|Not a directory)"):
        Transaction.begin(journal, "id", [change(tls / "cert", b"x")], {})
    assert (tls / "cert").read_bytes() == b"old"


def test_a_broken_journal_is_named(journal):
    """A journal that is not JSON stops the run with its path."""
    journal.make()
    put(journal.open / "id.json", b"{")
    with pytest.raises(DeployError, match=r"cannot read the journal .*id.json. Move it away"):
        Transaction.resume(journal, "id")


@pytest.mark.parametrize("restorable", [True, False, None])
def test_a_journal_that_cannot_be_closed_is_named(tls, journal, restorable):
    """Commit and roll back say where their journal is when the system refuses its end."""
    changes = [change(tls / "cert", b"x")]
    transaction = Transaction.begin(journal, "id", changes, {})
    transaction.apply(changes)
    (journal.open / "id.json").rename(journal.open / "moved")
    (journal.open / "id.json").mkdir()
    (journal.open / "id.json" / "x").mkdir()
    put(journal.last / "id.json", b"{}")
    with pytest.raises(DeployError, match=r"cannot close the journal"):
        transaction.roll_back() if restorable is None else transaction.commit(restorable=restorable)


def test_a_mark_outlives_the_process(tls, journal):
    """What is noted before the reload is there for the next process; an unwritable journal is named."""
    transaction = Transaction.begin(journal, "id", [change(tls / "cert", b"x")], {})
    transaction.mark()
    assert Transaction.resume(journal, "id").about == {"reloading": True}
    journal.bytes.rename(journal.bytes.with_name("moved"))
    with pytest.raises(DeployError, match=r"cannot keep a journal in .*open: No such file"):
        transaction.mark()


def test_what_is_over_stays_over(tls, journal):
    """Rolling back after commit, or twice, changes nothing: Certbot may call its doors more than once."""
    put(tls / "cert", b"old")
    changes = [change(tls / "cert", b"new")]
    transaction = Transaction.begin(journal, "id", changes, {})
    transaction.apply(changes)
    transaction.commit(restorable=False)
    transaction.roll_back()
    assert (tls / "cert").read_bytes() == b"new"


def test_folders_are_made_open_and_left_as_they_are(tls):
    """A new folder is 0755 whatever the umask says; one that is there is not touched."""
    old = os.umask(0o077)
    try:
        make_folder(tls / "new")
    finally:
        os.umask(old)
    assert (tls / "new").stat().st_mode & 0o777 == 0o755
    (tls / "new").chmod(0o700)
    make_folder(tls / "new")
    assert (tls / "new").stat().st_mode & 0o777 == 0o700


def test_every_hint_is_a_next_step():
    """An unknown answer of the system still comes with something to do."""
    assert files.complaint("x", OSError(99999, "odd")).hint == "Mend that, and run certbot renew again."
    assert str(files.complaint("cannot write /x", OSError(28, "No space left"))) == (
        "cannot write /x: No space left. Free some space there, and run certbot renew again."
    )
