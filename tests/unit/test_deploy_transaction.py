"""One file, and a set of files, change wholly or not at all, at the section's path and nowhere else."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
from dataclasses import asdict

import pytest
from support.service import file_at

from certbot_garr_tcs.deploy import files
from certbot_garr_tcs.deploy.files import FileMetadata, Folder, acl_shows_to_others
from certbot_garr_tcs.deploy.folders import administrators, open_folder, open_location
from certbot_garr_tcs.deploy.transaction import Change, Journal, Transaction
from certbot_garr_tcs.errors import DeployError
from certbot_garr_tcs.storage import StateFolder

ME = FileMetadata(os.geteuid(), os.getegid(), 0o640)
US = administrators()
SERVICE = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def tls(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def journal(tmp_path):
    return Journal(StateFolder(tmp_path / "work"))


def change(path, data, metadata=ME, trusted=US):
    with open_location(path, trusted) as location:
        return Change("cert", location.reference, location.name, data, metadata)


def begin(journal, changes, about=None, trusted=US):
    return Transaction.begin(journal, "id", changes, about or {}, trusted)


def resume(journal):
    return Transaction.resume(journal, "id", US)


def put(path, data=b"old", mode=0o600):
    path.write_bytes(data)
    path.chmod(mode)
    return path


def left_over(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def ends_at(path, trusted=US, **how):
    with open_location(path, trusted, **how) as location:
        return location.folder.path.joinpath(*location.missing, location.name)


# where a path leads


def test_a_path_leads_to_itself(tls):
    """A plain path, present or not, is where the write ends; an administrator's links to folders are followed."""
    (tls.parent / "link").symlink_to(tls)
    (tls.parent / "absolute").symlink_to(f"/{tls}/../tls/.")
    for folder in (tls, tls.parent / "link", tls.parent / "absolute"):
        assert ends_at(folder / "a") == tls / "a"
    assert ends_at(tls / "b" / "c" / "a") == tls / "b" / "c" / "a"


def test_links_are_followed_within_their_folder(tls):
    """A link to a neighbour is replaced there; elsewhere only where the section allows it."""
    put(tls / "real")
    (tls / "near").symlink_to("real")
    (tls / "new").symlink_to("absent")
    (tls / "far").symlink_to(tls.parent / "other")
    (tls / "back").symlink_to("../tls/real")
    assert ends_at(tls / "near") == tls / "real"
    assert ends_at(tls / "new") == tls / "absent"
    assert ends_at(tls / "back") == tls / "real"
    assert ends_at(tls / "far", follow_symlinks=True) == tls.parent / "other"
    with pytest.raises(DeployError, match=r"far is a symbolic link to .*other. Remove the link, name that path"):
        ends_at(tls / "far")


@pytest.mark.parametrize("target", ["b", "..", "/", "gone/../x"])
def test_links_that_lead_to_no_file_are_refused(tls, target):
    """A loop, a link to a folder above, and a way through what is not there are errors, not a hang."""
    (tls / "a").symlink_to(target)
    (tls / "b").symlink_to("a")
    with pytest.raises(DeployError, match=r"leads nowhere|leads to no file|leads through"):
        ends_at(tls / "a", follow_symlinks=True)


def test_a_folder_that_others_can_write_to_is_refused(tls):
    """The folder itself, and what is above it unless sticky, must be closed to others."""
    for mode in (0o777, 0o775, 0o1777):
        tls.chmod(mode)
        with pytest.raises(DeployError, match=r"tls/a is not safe: others can write to .*tls \(d"):
            ends_at(tls / "a")
    ends_at(tls / "below" / "a")
    tls.chmod(0o777)
    with pytest.raises(DeployError, match=r"a is not safe: others can write to .*Run: chmod go-w"):
        ends_at(tls / "below" / "a")
    tls.chmod(0o755)
    with pytest.raises(DeployError, match=r"file is no folder. Name a path below a folder"):
        ends_at(put(tls / "file") / "below")
    with pytest.raises(DeployError, match=r"cannot reach .*: File name too long. Name a shorter path"):
        ends_at(tls / ("x" * 256))


@needs_root
def test_a_folder_of_somebody_whom_the_section_does_not_name_is_refused(tls):
    """Only root, the running user and the configured owner may own a folder on the way."""
    below = tls / "below"
    below.mkdir()
    os.chown(tls, SERVICE, SERVICE)
    with pytest.raises(DeployError, match=r"tls belongs to nobody, who is neither root nor.*Write owner = nobody into"):
        ends_at(below / "a")
    assert ends_at(below / "a", US | {SERVICE}) == below / "a"


@needs_root
@pytest.mark.parametrize("made_by", ["service", "root in the service's folder", "service, hard link of root's"])
def test_no_link_is_followed_that_the_service_could_have_put_there(tls, made_by):
    """Its own, and every one that lies in its folder: it may have moved it there."""
    own = tls / "own"
    own.mkdir()
    link = own / "link"
    link.symlink_to(tls)
    os.chown(own, SERVICE, SERVICE)
    if made_by == "service":
        os.chown(link, SERVICE, SERVICE, follow_symlinks=False)
    elif made_by != "root in the service's folder":
        link.rename(tls / "roots")
        os.link(tls / "roots", link, follow_symlinks=False)
    for path in (link, link / "a"):
        with pytest.raises(DeployError, match=r"own/link is a symbolic link, which nobody can change"):
            ends_at(path, US | {SERVICE}, follow_symlinks=True)


def test_a_folder_is_opened_by_the_same_rules(tls):
    """What is not there is said, with the command that makes it."""
    with open_folder(tls, US) as folder:
        assert folder.path == tls
    with pytest.raises(DeployError, match=r"there is no folder .*gone. Run: mkdir -p .*gone"):
        open_folder(tls / "gone", US)
    tls.chmod(0o1777)
    with pytest.raises(DeployError, match=r"not safe"):
        open_folder(tls, US)


# one file


def test_reading_gives_bytes_owner_and_mode(tls):
    """What is there is read whole; nothing is None."""
    seen = file_at(put(tls / "a", b"x", 0o640))
    assert (seen.data, seen.metadata) == (b"x", ME)
    assert "b'x'" not in repr(seen)
    assert file_at(tls / "b") is None


def test_only_regular_small_files_are_read(tls):
    """Folders, pipes, links and big files are refused with a next step, and nothing hangs."""
    (tls / "folder").mkdir()
    os.mkfifo(tls / "pipe")
    (tls / "link").symlink_to("pipe")
    with (tls / "big").open("wb") as file:
        file.truncate(2 << 20)
    for name, expected in [
        ("folder", "is a folder. Name the path of a file"),
        ("pipe", "is no regular file"),
        ("link", "link is a symbolic link"),
        ("big", "holds more than 1048576 bytes"),
    ]:
        with pytest.raises(DeployError, match=expected):
            file_at(tls / name)


@needs_root
def test_a_hard_link_in_the_services_folder_is_not_read(tls):
    """It may be another user's file, of which the service would get a copy."""
    secret = put(tls / "secret")
    own = tls / "own"
    own.mkdir()
    os.link(secret, own / "a")
    assert file_at(own / "a").data == b"old"
    os.chown(own, SERVICE, SERVICE)
    with pytest.raises(DeployError, match=r"own/a is a file that has 2 names \(hard links\). Remove .*own/a"):
        file_at(own / "a")


@needs_root
def test_a_lease_does_not_hold_anybody_up(tls):
    """Whoever owns a file may have the kernel ask him before it is opened (fcntl(2)): it is not waited for."""
    path = put(tls / "a")
    with path.open("r+b") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(file, fcntl.F_SETSIG, 28)  # SIGWINCH, which is ignored, instead of SIGIO
        with pytest.raises(DeployError, match=r"cannot read .*a: Resource temporarily unavailable"):
            file_at(path)


def stage(path, data, metadata=ME):
    with Folder.private(path.parent) as folder:
        folder.stage(path.name, data, metadata)


def test_a_file_is_replaced_with_its_mode(tls):
    """The mode is the requested one, whatever the umask, and nothing is left beside it."""
    path = put(tls / "a")
    stage(tls / ".new", b"new")
    with Folder.private(tls) as folder:
        folder.replace(".new", "a")
        assert file_at(path).metadata.mode == 0o640
        assert path.read_bytes() == b"new"
        assert left_over(tls) == []
        folder.remove("a")
        folder.remove("a")
    assert not path.exists()


def test_staging_starts_afresh(tls):
    """A staged file that a crash left behind, or somebody prepared, is not written into: it may be open to others."""
    put(tls / "theirs", b"theirs")
    for prepare in (lambda path: put(path, b"stale and longer", 0o666), lambda path: path.symlink_to("theirs")):
        prepare(tls / ".new")
        stage(tls / ".new", b"new")
        assert file_at(tls / ".new").metadata.mode == 0o640
        assert (tls / ".new").read_bytes() == b"new"
        (tls / ".new").unlink()
    assert (tls / "theirs").read_bytes() == b"theirs"


@needs_root
def test_owner_and_attributes_are_kept(tls):
    """A file is given away, and carries the SELinux context and the user's attributes that it is asked to."""
    context = b"system_u:object_r:cert_t:s0\0".hex()
    metadata = FileMetadata(SERVICE, SERVICE, 0o400, (("security.selinux", context), ("user.note", b"x".hex())))
    try:
        stage(tls / "a", b"new", metadata)
    except OSError:  # pragma: no cover - a file system without attributes
        pytest.skip("no attributes here")
    assert file_at(tls / "a").metadata == metadata


def test_no_special_mode_is_given(tls):
    """Set-user-ID and its like are never set, whatever an old file had."""
    stage(tls / "a", b"x", FileMetadata(ME.uid, ME.gid, 0o755))
    (tls / "a").chmod(0o4755)
    kept = asdict(file_at(tls / "a").metadata)
    assert kept["mode"] == 0o4755
    assert FileMetadata.from_document(kept).mode == 0o755
    assert not file_at(tls / "a").metadata.satisfies(FileMetadata.from_document(kept))


def test_a_file_system_that_keeps_no_modes_is_refused(tls, monkeypatch):
    """Where chmod does nothing, without an error, as on CIFS, a key would be open to all."""
    umask = os.umask(0)
    monkeypatch.setattr(os, "fchmod", lambda handle, mode: None)
    try:
        with pytest.raises(DeployError, match=r"keeps no owners and modes: 0640 of .* and 0600 of .* it is"):
            stage(tls / "a", b"key")
    finally:
        os.umask(umask)
    assert (tls / "a").read_bytes() == b""


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY_READS = acl((1, 6, 2**32 - 1), (2, 4, SERVICE), (4, 0, 2**32 - 1), (0x10, 4, 2**32 - 1), (0x20, 0, 2**32 - 1))


def test_an_acl_is_kept_and_one_by_default_is_not_taken(tls):
    """What setfacl gave a file stays on its successor; what its folder would give is not asked for."""
    path = put(tls / "a")
    try:
        os.setxattr(path, files.ACL, NOBODY_READS)
        os.setxattr(tls, "system.posix_acl_default", NOBODY_READS)
    except OSError:
        pytest.skip("no ACL here")
    old = file_at(path).metadata
    assert old.acl == NOBODY_READS
    stage(tls / "b", b"x", old)
    assert file_at(tls / "b").metadata.acl == NOBODY_READS
    stage(tls / "c", b"x")
    assert file_at(tls / "c").metadata == ME


@pytest.mark.parametrize(
    ("entries", "mode", "shows"),
    [
        ([(1, 6, 0), (4, 4, 0), (0x20, 0, 0)], 0o640, False),
        ([(1, 6, 0), (4, 4, 0), (0x20, 0, 0)], 0o600, True),
        ([(1, 6, 0), (2, 4, 5), (4, 0, 0), (0x10, 4, 0), (0x20, 0, 0)], 0o640, True),
        ([(1, 6, 0), (2, 4, 5), (4, 0, 0), (0x10, 0, 0), (0x20, 0, 0)], 0o640, False),
        ([(1, 6, 0), (8, 4, 5), (4, 0, 0), (0x10, 7, 0), (0x20, 0, 0)], 0o600, True),
        ([(1, 6, 0), (2, 2, 5), (4, 0, 0), (0x10, 7, 0), (0x20, 0, 0)], 0o600, False),
    ],
)
def test_who_reads_by_an_acl(entries, mode, shows):
    """Named users and groups, and the group beyond the mode, as far as the mask lets them."""
    assert acl_shows_to_others(acl(*entries), mode) is shows


# a set of files


def test_a_set_is_committed(tls, journal):
    """After commit all files are new, the journal is over, and what was there is kept privately."""
    put(tls / "cert", b"old cert")
    changes = [change(tls / "cert", b"new cert"), change(tls / "key", b"new key")]
    transaction = begin(journal, changes, {"title": "[deploy www]"})
    assert transaction.about["title"] == transaction.title == "[deploy www]"
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
        transaction = begin(journal, changes)
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
    transaction = begin(journal, changes)
    transaction.apply(changes)
    assert deep.read_bytes() == b"y"
    assert not (tls / "gone").exists()
    transaction.roll_back()
    assert file_at(tls / "cert").metadata.mode == 0o604
    assert (tls / "cert").read_bytes() == b"old cert"
    assert (tls / "gone").read_bytes() == b"was here"
    assert sorted(path.name for path in tls.iterdir()) == ["cert", "gone"]
    assert journal.unfinished() == []
    assert list(journal.bytes.iterdir()) == []


def test_another_process_rolls_back(tls, journal, tmp_path):
    """What one process left open, the next one finds and undoes, at any point before commit."""
    put(tls / "cert", b"old")
    changes = [change(tls / "cert", b"x"), change(tls / "new" / "key", b"y")]
    begin(journal, changes)
    stage(tls / journal.read(journal.open / "id.json")["entries"][0].temporary, b"half")
    later = Journal(StateFolder(tmp_path / "work"))
    assert later.unfinished() == ["id"]
    resume(later).roll_back()
    assert sorted(path.name for path in tls.iterdir()) == ["cert"]
    assert (tls / "cert").read_bytes() == b"old"
    assert resume(later) is None


def test_somebody_elses_file_keeps_its_folder(tls, journal):
    """A folder that we made is left alone where somebody else uses it by now."""
    changes = [change(tls / "new" / "key", b"y")]
    transaction = begin(journal, changes)
    transaction.apply(changes)
    put(tls / "new" / "theirs")
    transaction.roll_back()
    assert [path.name for path in (tls / "new").iterdir()] == ["theirs"]


def test_a_missing_folder_is_an_error_before_anything_changes(tls, journal):
    """The first file is not replaced where the second cannot be written."""
    put(tls / "cert", b"old")
    (tls / "folder").mkdir()
    changes = [change(tls / "cert", b"x"), change(tls / "folder" / "key", b"y")]
    (tls / "folder").rename(tls / "moved")
    with pytest.raises(DeployError, match=r"there is no folder .*folder. Run: mkdir -p"):
        begin(journal, changes)
    assert journal.unfinished() == []
    assert list(journal.bytes.iterdir()) == []
    assert (tls / "cert").read_bytes() == b"old"


def test_apply_says_what_it_could_not_do(tls, journal):
    """Each step's error names its file; the caller rolls back."""
    (tls / "was").mkdir()
    for spoil, repair, expected in [
        (lambda: put(tls / "new"), (tls / "new").unlink, "cannot open the folder .*new: Not a directory"),
        (
            lambda: (tls / "was").rename(tls / "moved"),
            lambda: (tls / "moved").rename(tls / "was"),
            "there is no folder .*was. Run: mkdir -p",
        ),
    ]:
        changes = [change(tls / "was" / "cert", b"x"), change(tls / "new" / "key", b"y")]
        transaction = begin(journal, changes)
        spoil()
        with pytest.raises(DeployError, match=expected):
            transaction.apply(changes)
        repair()
        transaction.roll_back()
        assert not (tls / "new").exists()


def test_a_path_taken_meanwhile_is_reported(tls, journal):
    """A folder that appears in a file's place stops the replacement, and then the roll back too."""
    changes = [change(tls / "cert", b"x")]
    transaction = begin(journal, changes, {"title": "[deploy www]"})
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
    """Files that can be restored are; of the others the error gives the state, and the journal stays open."""
    names = ["lost", "also-lost", "good", "same"]
    for name in names:
        put(tls / name, name.encode())
    changes = [change(tls / name, b"x") for name in [*names, "fresh"]]
    transaction = begin(journal, changes)
    transaction.apply(changes)
    entries = journal.read(journal.open / "id.json")["entries"]
    for entry in (entries[0], entries[1], entries[3]):
        (journal.bytes / entry.old["bytes"]).unlink()
    (tls / "also-lost").unlink()
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
    journal.ensure()
    journal.bytes.rmdir()
    put(journal.bytes)
    with pytest.raises(DeployError, match=r"cannot keep a journal in .*journal: (File exists|Not a directory)"):
        begin(journal, [change(tls / "cert", b"x")])
    assert (tls / "cert").read_bytes() == b"old"


def test_a_broken_journal_is_named(journal):
    """A journal that is not JSON stops the run with its path."""
    journal.ensure()
    put(journal.open / "id.json", b"{")
    with pytest.raises(DeployError, match=r"cannot read the journal .*id.json. Move it away"):
        resume(journal)


@pytest.mark.parametrize("restorable", [True, False, None])
def test_a_journal_that_cannot_be_closed_is_named(tls, journal, restorable):
    """Commit and roll back say where their journal is when the system refuses its end."""
    changes = [change(tls / "cert", b"x")]
    transaction = begin(journal, changes)
    transaction.apply(changes)
    (journal.open / "id.json").rename(journal.open / "moved")
    (journal.open / "id.json").mkdir()
    (journal.open / "id.json" / "x").mkdir()
    put(journal.last / "id.json", b"{}")
    with pytest.raises(DeployError, match=r"cannot close the journal"):
        transaction.roll_back() if restorable is None else transaction.commit(restorable=restorable)


def test_a_mark_outlives_the_process(tls, journal):
    """What is noted before the reload is there for the next process; an unwritable journal is named."""
    transaction = begin(journal, [change(tls / "cert", b"x")])
    transaction.mark_reloading()
    assert resume(journal).about["reloading"]
    journal.bytes.rename(journal.bytes.with_name("moved"))
    with pytest.raises(DeployError, match=r"cannot keep a journal in .*open: No such file"):
        transaction.mark_reloading()


def test_what_is_over_stays_over(tls, journal):
    """Rolling back after commit, or twice, changes nothing: Certbot may call more than once."""
    put(tls / "cert", b"old")
    changes = [change(tls / "cert", b"new")]
    transaction = begin(journal, changes)
    transaction.apply(changes)
    transaction.commit(restorable=False)
    transaction.roll_back()
    assert (tls / "cert").read_bytes() == b"new"


def test_folders_are_made_open_and_left_as_they_are(tls):
    """A new folder is 0755, whatever the umask; one that is there is not touched."""
    old = os.umask(0o077)
    try:
        with Folder.private(tls) as folder:
            folder.make_folder("new")
    finally:
        os.umask(old)
    assert (tls / "new").stat().st_mode & 0o777 == 0o755
    (tls / "new").chmod(0o700)
    with Folder.private(tls) as folder:
        folder.make_folder("new")
    assert (tls / "new").stat().st_mode & 0o777 == 0o700


def test_every_hint_is_a_next_step():
    """An unknown answer of the system still comes with something to do."""
    assert files.os_error("x", OSError(99999, "odd")).hint == "Correct that, and run certbot renew again."
    assert str(files.os_error("cannot write /x", OSError(28, "No space left"))) == (
        "cannot write /x: No space left. Free some space there, and run certbot renew again."
    )


# the service's user, meanwhile


@pytest.fixture
def services(tls):
    """Make a folder of the service's own, with one old file, and a place elsewhere."""
    own = tls / "own"
    own.mkdir()
    put(own / "cert", b"old")
    (tls / "elsewhere").mkdir()
    os.chown(own, SERVICE, SERVICE)
    return own


THEIRS = US | {SERVICE}


def replace_by_link(own):
    """Do as the service could: its folder goes, and a link leads elsewhere."""
    own.rename(own.with_name("moved"))
    own.symlink_to("elsewhere")
    os.chown(own, SERVICE, SERVICE, follow_symlinks=False)


def replace_by_folder(own):
    """Do as the service could: another folder of its own stands there."""
    own.rename(own.with_name("moved"))
    own.mkdir()
    os.chown(own, SERVICE, SERVICE)


@needs_root
@pytest.mark.parametrize("replace_folder", [replace_by_link, replace_by_folder])
@pytest.mark.parametrize("step", ["begin", "apply", "roll_back", "another process"])
def test_a_replaced_folder_is_refused_at_every_step(tls, journal, services, replace_folder, step):
    """Nothing is written, replaced or removed in what stands there now, whether link or folder."""
    changes = [
        change(services / "cert", b"new", trusted=THEIRS),
        change(services / "key", b"key", trusted=THEIRS),
    ]
    refused = pytest.raises(
        DeployError, match=r"is not the folder any more|is a symbolic link, which nobody can change"
    )
    if step == "begin":
        replace_folder(services)
        with refused:
            begin(journal, changes, trusted=THEIRS)
    else:
        transaction = begin(journal, changes, trusted=THEIRS)
        if step != "apply":
            transaction.apply(changes)
        replace_folder(services)
        put(tls / "elsewhere" / "cert", b"theirs")
        put(tls / "elsewhere" / "key", b"theirs")
        with refused:
            transaction.apply(changes) if step == "apply" else None
            (transaction if step == "roll_back" else resume(journal)).roll_back()
        assert {path.read_bytes() for path in (tls / "elsewhere").iterdir()} == {b"theirs"}
        assert journal.unfinished() == ["id"]
        transaction.abandon()
        assert list(journal.bytes.iterdir()) == []
    assert services.is_symlink() or list(services.iterdir()) == []


@needs_root
def test_the_folder_moved_back_is_rolled_back(tls, journal, services):
    """The same folder in its place again: everything is as before."""
    changes = [change(services / "cert", b"new", trusted=THEIRS)]
    transaction = begin(journal, changes, trusted=THEIRS)
    transaction.apply(changes)
    replace_by_link(services)
    with pytest.raises(DeployError, match="cannot put back every file"):
        transaction.roll_back()
    services.unlink()
    (tls / "moved").rename(services)
    resume(journal).roll_back()
    assert (services / "cert").read_bytes() == b"old"


@needs_root
def test_files_are_swapped_for_links_and_pipes_in_vain(tls, journal, services):
    """What stands in a file's place is replaced, never followed, opened or given away."""
    secret = put(tls / "elsewhere" / "secret", b"secret")
    changes = [change(services / "cert", b"new", FileMetadata(SERVICE, SERVICE, 0o644), trusted=THEIRS)]
    transaction = begin(journal, changes, trusted=THEIRS)
    (services / "cert").unlink()
    (services / "cert").symlink_to("../elsewhere/secret")
    transaction.apply(changes)
    assert (services / "cert").read_bytes() == b"new"
    for put_there in (
        lambda path: path.symlink_to("../elsewhere/secret"),
        os.mkfifo,
        lambda path: os.link(secret, path),
    ):
        with contextlib.suppress(FileNotFoundError):
            (services / "cert").unlink()
        put_there(services / "cert")
        with contextlib.suppress(FileExistsError):  # the name of the temporary file is guessed, and taken
            put_there(services / transaction.entries[0].temporary)
        Transaction(journal, "id", journal.read(journal.open / "id.json")).roll_back()
        assert (services / "cert").read_bytes() == b"old"
        assert left_over(services) == []
        journal.write("id", "again", {"about": {}, "trusted": sorted(THEIRS), "entries": transaction.entries})
        (journal.bytes / transaction.entries[0].old["bytes"]).write_bytes(b"old")
    assert secret.read_bytes() == b"secret"
    assert secret.stat().st_uid == 0


@needs_root
def test_a_made_folder_that_was_swapped_is_refused(tls, journal, services):
    """A folder that was made in the service's is left by now: what stands there is the service's own."""
    changes = [change(services / "new" / "key", b"key", trusted=THEIRS)]
    transaction = begin(journal, changes, trusted=THEIRS)
    transaction.apply(changes)
    (services / "new").rename(services / "old")
    (services / "new").mkdir(0o700)
    put(services / "new" / "key", b"theirs")
    os.chown(services / "new", SERVICE, SERVICE)
    with pytest.raises(DeployError, match=r"new was made by nobody and not by us"):
        transaction.roll_back()
    assert (services / "new" / "key").read_bytes() == b"theirs"
    assert (services / "new").stat().st_mode & 0o777 == 0o700


def test_devices_are_numbered_anew_at_each_boot(tls, journal):
    """After a boot the inode identifies the folder; within one, the device as well."""
    put(tls / "cert", b"old")
    changes = [change(tls / "cert", b"new")]
    begin(journal, changes).apply(changes)
    path = journal.open / "id.json"
    document = json.loads(path.read_text())
    document["entries"][0]["folder"]["device"] += 1
    path.write_text(json.dumps(document))
    with pytest.raises(DeployError, match=r"is not the folder any more"):
        resume(journal).roll_back()
    document["entries"][0]["folder"]["boot"] = "the one before"
    path.write_text(json.dumps(document))
    resume(journal).roll_back()
    assert (tls / "cert").read_bytes() == b"old"


def test_what_is_old_needs_no_putting_back(tls, journal, monkeypatch):
    """On a disk that cannot be written to any more, a transaction that had not begun to replace can end."""
    put(tls / "cert", b"old")
    changes = [change(tls / "cert", b"new")]
    begin(journal, changes)
    inode = (tls / "cert").stat().st_ino
    transaction = resume(journal)
    stage(tls / transaction.entries[0].temporary, b"half")
    unlink = os.unlink

    def read_only(path, *, dir_fd=None):
        if str(path).startswith(".garr-tcs"):
            raise OSError(30, "Read-only file system")
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", read_only)
    transaction.roll_back()
    assert journal.unfinished() == []
    assert (tls / "cert").stat().st_ino == inode
    assert transaction.unremoved == [f"{tls}/{transaction.entries[0].temporary} (Read-only file system)"]


# the version before


def test_an_open_journal_of_the_version_before_is_rolled_back(tls, journal):
    """Its paths were resolved; folders that it made go again, and it names no folder's inode."""
    (tls / "a").mkdir()
    put(tls / "a" / "key", b"new")
    put(tls / "cert", b"new")
    journal.ensure()
    put(journal.bytes / "id-1-0", b"old")
    old = {"bytes": "id-1-0", "sha256": "", "meta": {"uid": ME.uid, "gid": ME.gid, "mode": 0o4604, "context": None}}
    old["sha256"] = file_at(journal.bytes / "id-1-0").sha256
    entries = [
        {"path": f"{tls}/cert", "temporary": f"{tls}/.garr-tcs-id-1-0", "old": old},
        {"path": f"{tls}/a/key", "temporary": f"{tls}/a/.garr-tcs-id-1-1", "old": None},
    ]
    document = {"about": {"title": "[deploy www]"}, "entries": entries, "folders": [f"{tls}/a"]}
    (journal.open / "id.json").write_text(json.dumps(document))
    transaction = resume(journal)
    transaction.mark_reloading()
    assert not transaction.is_applied()
    resume(journal).roll_back()
    assert [path.name for path in tls.iterdir()] == ["cert"]
    assert (tls / "cert").read_bytes() == b"old"
    assert file_at(tls / "cert").metadata.mode == 0o604
    assert journal.unfinished() == []


# when the folders of the journal or of the target are not what they were


def test_a_journal_that_is_no_folder_is_named(journal):
    """Recovery and the next deployment end with its path, and not with a bare errno."""
    journal.ensure()
    journal.open.rmdir()
    journal.open.touch()
    with pytest.raises(DeployError, match=rf"cannot read the journal {journal.open}: Not a directory"):
        journal.unfinished()
    with pytest.raises(DeployError, match=r"cannot read the journal .*id\.json: Not a directory"):
        resume(journal)


def test_a_transaction_that_another_process_has_just_finished_is_no_error(journal):
    """Its name was listed, and it is gone when its age is asked for."""
    journal.ensure()
    (journal.open / "gone.json").symlink_to("nowhere")
    assert journal.unfinished() == ["gone"]


def test_a_folder_that_vanishes_as_it_is_made_is_reported(tls, journal, monkeypatch):
    """Somebody removes it between mkdir(2) and open(2)."""
    wanted = change(tls / "new" / "a", b"x")
    begun = begin(journal, [wanted])
    monkeypatch.setattr(Folder, "make_folder", lambda *_: None)
    with pytest.raises(DeployError, match=r"cannot create the folder .*new: somebody removes it"):
        begun.apply([wanted])


def test_what_cannot_be_seen_is_not_applied(tls, journal):
    """In the place of the folder there is another one."""
    wanted = change(put(tls / "a"), b"new")
    begun = begin(journal, [wanted])
    begun.apply([wanted])
    assert begun.is_applied()
    tls.rename(tls.parent / "away")
    tls.mkdir(mode=0o755)
    assert not begun.is_applied()


def test_folders_that_were_never_made_need_no_removal(tls, journal):
    """Killed before the first of two was made."""
    begin(journal, [change(tls / "new" / "below" / "a", b"x")])
    resume(journal).roll_back()
    assert list(tls.iterdir()) == []
    assert journal.unfinished() == []
