"""What a target may not be, whom a key may not reach, and what is never restored: each guard by itself."""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import replace

import pytest
from support.pki import authorities, key_pem_of, material, new_key, with_chain
from support.service import Host, file_at

from certbot_garr_tcs.deploy import files
from certbot_garr_tcs.deploy.installer import Installer
from certbot_garr_tcs.deploy.plan import OwnFiles, password_of
from certbot_garr_tcs.deploy.records import DeploymentRecords, identity_of
from certbot_garr_tcs.deploy.settings import Output, Probe
from certbot_garr_tcs.deploy.transaction import Journal
from certbot_garr_tcs.errors import DeployError, GarrTcsError
from certbot_garr_tcs.lineages import PIECES

LINEAGE = "www.example.it"
SERVICE = pwd.getpwnam("nobody").pw_uid
DAY_SECONDS = 86400
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.put_lineage(material())
    return host


@pytest.fixture
def twice(host):
    """Deploy two certificates, one after the other."""
    host.process().converge(LINEAGE)
    host.put_lineage(material())
    host.process().converge(LINEAGE)
    return host


def record_of(host):
    return DeploymentRecords(host.state).read(host.targets[0])


def roll_back(host):
    process = host.process()
    process.restore(1)
    process.restart()


def cut_short(host):
    process = host.process()
    process.renew_deploy(LINEAGE)
    host.crash(process)


def calls(host):
    made, host.services["www"].calls = host.services["www"].calls, []
    return made


# whom a key reaches


@needs_root
@pytest.mark.parametrize("kind", ["cert", "key"])
def test_a_file_of_somebody_whom_the_section_does_not_name_is_refused(host, kind):
    """Who makes an empty file first is not given the key; where the section names him, he is."""
    path = getattr(host.services["www"], kind)
    path.touch()
    os.chown(path, SERVICE, SERVICE)
    with pytest.raises(DeployError, match=r"belongs to nobody, whom the section does not name. Write owner = n"):
        host.process().converge(LINEAGE)
    assert path.read_bytes() == b""
    host.process([replace(host.targets[0], owner="nobody")]).converge(LINEAGE)
    assert path.stat().st_uid == SERVICE


@pytest.mark.parametrize("owner", ["4294967295", "nobody-at-all"])
def test_an_owner_that_is_nobody_is_refused(host, owner):
    """The number above all users means "leave it" to chown(2)."""
    with pytest.raises(DeployError, match=rf"there is no user {owner} on this machine"):
        host.process([replace(host.targets[0], owner=owner)]).converge(LINEAGE)


def acl(named_uid=SERVICE):
    none = 2**32 - 1
    entries = [(1, 6, none), (2, 4, named_uid), (4, 4, none), (0x10, 4, none), (0x20, 4, none)]
    packed = (n.to_bytes(size, "little") for entry in entries for n, size in zip(entry, (2, 2, 4)))
    return (2).to_bytes(4, "little") + b"".join(packed)


def test_an_acl_stays_on_a_certificate_and_stops_a_key(host):
    """It is no drift, is on the next file too, and is never removed in silence."""
    host.process().converge(LINEAGE)
    service = host.services["www"]
    try:
        os.setxattr(service.cert, files.ACL, acl())
    except OSError:
        pytest.skip("no ACL here")
    inode = service.cert.stat().st_ino
    host.process().converge(LINEAGE)
    assert service.cert.stat().st_ino == inode
    new = host.put_lineage(material())
    host.process().converge(LINEAGE)
    assert host.serves(new)
    assert os.getxattr(service.cert, files.ACL) == acl()
    os.setxattr(service.key, files.ACL, acl())
    with pytest.raises(DeployError, match=r"www.key has an ACL that lets others read the private key. Run: setfacl -b"):
        host.process().converge(LINEAGE)
    assert os.getxattr(service.key, files.ACL) == acl()


def test_a_file_system_without_modes_gets_no_key(host, monkeypatch):
    """It is an error at each run, and the file is not there; the certificate is as before."""
    umask = os.umask(0)
    monkeypatch.setattr(os, "fchmod", lambda handle, mode: None)
    try:
        with pytest.raises(DeployError, match=r"\[deploy www\]: the file system of .* keeps no owners and modes"):
            host.process().converge(LINEAGE)
    finally:
        os.umask(umask)
    assert list(host.tls.iterdir()) == []


# the password of a keystore


def keystore(host, password):
    return replace(host.targets[0], outputs=(Output("pkcs12", host.tls / "p12", 0o600),), pkcs12_password_file=password)


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda path: os.mkfifo(path, 0o600), "is no regular file"),
        (lambda path: (path.write_text("x"), path.chmod(0o620)), "has mode 0620"),
        (lambda path: (path.write_text("x" * 5000), path.chmod(0o600)), "is larger than 4096 bytes"),
        (lambda path: path.mkdir(), "is no regular file"),
        (lambda path: None, "No such file or directory. Write the keystore's password into it"),
    ],
    ids=["fifo", "group may write", "huge", "folder", "missing"],
)
def test_a_password_file_is_read_only_if_it_is_one(host, prepare, expected):
    """Kind, mode and size are checked first, and nothing hangs."""
    password = host.tls / "password"
    prepare(password)
    with pytest.raises(DeployError, match=expected):
        password_of(keystore(host, password))


@needs_root
def test_a_password_file_may_be_the_services(host):
    """The configured owner may own it, and nobody else; its group may read it."""
    password = host.tls / "password"
    password.write_text("secret\n")
    password.chmod(0o640)
    os.chown(password, SERVICE, SERVICE)
    with pytest.raises(DeployError, match=r"password belongs to nobody, and Certbot runs as root"):
        password_of(keystore(host, password))
    assert password_of(replace(keystore(host, password), owner="nobody")) == b"secret"
    with pytest.raises(DeployError, match=r"there is no folder .*gone. Write the keystore's password"):
        password_of(keystore(host, host.tls / "gone" / "password"))


# what no target may be


def installer(host, own):
    process = host.process()
    return Installer(host.state, host.targets, process._find_lineage, process._environment, own_files=own)


@pytest.mark.parametrize("spelling", ["plain", "link", "dots"])
def test_no_target_is_below_certbots_folders(host, spelling):
    """By whatever spelling: device and inode are compared."""
    config = host.tls / "letsencrypt"
    (config / "renewal").mkdir(parents=True)
    (host.tls / "link").symlink_to(config)
    (host.tls / "dots").symlink_to("letsencrypt/../letsencrypt")
    folder = {"plain": config, "link": host.tls / "link", "dots": host.tls / "dots"}[spelling]
    host.targets = [replace(host.targets[0], outputs=(Output("cert", folder / "renewal" / "x.conf", 0o644),))]
    with pytest.raises(DeployError, match=r"x.conf is below .*letsencrypt, which is Certbot's own"):
        installer(host, OwnFiles([config], [])).converge(LINEAGE)
    assert list((config / "renewal").iterdir()) == []


@pytest.mark.parametrize("by", ["name", "link", "hard link"])
def test_no_target_is_a_file_that_is_read(host, by):
    """garr-tcs.ini and the passwords of keystores are not written to."""
    ini = host.tls / "garr-tcs.ini"
    ini.write_text("[account]")
    path = ini if by == "name" else host.tls / "copy"
    if by == "link":
        path.symlink_to("garr-tcs.ini")
    elif by == "hard link":
        os.link(ini, path)
    host.targets = [replace(host.targets[0], outputs=(Output("key", path, 0o600),))]
    with pytest.raises(DeployError, match=r"is .*garr-tcs.ini, which this program reads. Name a path of its own"):
        installer(host, OwnFiles([], [ini])).converge(LINEAGE)
    assert ini.read_text() == "[account]"


def test_one_file_in_two_sections_is_found_by_any_spelling(tmp_path):
    """Through a link to the folder, and where the folder is still to be made; neither section is deployed."""
    host = Host(tmp_path, "one", "two")
    host.put_lineage(material())
    (tmp_path / "link").symlink_to(host.tls)
    for name in ("x", "new/x"):
        host.targets = [
            replace(host.services["one"].target(), outputs=(Output("cert", host.tls / name, 0o644),), mkdir=True),
            replace(
                host.services["two"].target(), outputs=(Output("cert", tmp_path / "link" / name, 0o644),), mkdir=True
            ),
        ]
        with pytest.raises(DeployError, match=r"is written by \[deploy one\] and \[deploy two\].*; .* is written by"):
            host.process().converge(LINEAGE)
        assert not (host.tls / name).exists()


# one target does not hold up others


def test_a_target_that_cannot_be_reached_holds_up_no_other(tmp_path, monkeypatch):
    """A dead mount answers with errors of its own: they are this section's, with a next step."""
    host = Host(tmp_path, "dead", "good")
    new = host.put_lineage(material())
    host.targets[0] = replace(host.targets[0], outputs=(Output("cert", host.tls / "mount" / "x", 0o644),))
    (host.tls / "mount").mkdir()
    really = os.open

    def dead(path, *arguments, **keys):
        if path == "x":
            raise OSError(107, "Transport endpoint is not connected")
        return really(path, *arguments, **keys)

    monkeypatch.setattr(os, "open", dead)
    with pytest.raises(DeployError, match=r"^\[deploy dead\]: cannot reach .*x: Transport .*. Mount that file sys"):
        host.process().converge(LINEAGE)
    assert host.serves(new, "good")


def test_a_record_that_cannot_be_read_holds_up_no_other(tmp_path):
    """Its path is in the message, under the section's heading."""
    host = Host(tmp_path, "bad", "good")
    new = host.put_lineage(material())
    host.state.ensure()
    (host.state.path / f"deployed-{identity_of(host.targets[0])}.json").write_text("{")
    with pytest.raises(DeployError, match=r"^\[deploy bad\]: cannot read the state in .*Move it away"):
        host.process().converge(LINEAGE)
    assert host.serves(new, "good")


# an edit of the section


@pytest.mark.parametrize(
    ("edit", "made"),
    [
        ({"reloads": (("reload", "www"),)}, []),
        ({"tests": ()}, ["reload"]),
        ({"reloads": ()}, ["test"]),
        ({"probes": (Probe("www", 8443, timeout_seconds=2.0),)}, ["test", "reload"]),
    ],
)
def test_an_edit_of_a_command_is_tried_at_the_next_run(host, edit, made):
    """Once; where nothing else is to be done, no file is written."""
    host.process().converge(LINEAGE)
    calls(host)
    inode = host.services["www"].cert.stat().st_ino
    target = replace(host.targets[0], **edit)
    host.process([target]).converge(LINEAGE)
    host.process([target]).converge(LINEAGE)
    assert calls(host) == made
    assert host.services["www"].cert.stat().st_ino == inode


def test_the_first_edit_after_an_upgrade_is_tried(host):
    """A record of the version before does not say how the service was reloaded: the first run completes it."""
    host.process().converge(LINEAGE)
    path = host.state.path / f"deployed-{identity_of(host.targets[0])}.json"
    record = json.loads(path.read_text())
    del record["service"]
    path.write_text(json.dumps(record))
    calls(host)
    host.process().converge(LINEAGE)
    host.process().converge(LINEAGE)
    assert calls(host) == []
    host.targets = [replace(host.targets[0], tests=())]
    host.process().converge(LINEAGE)
    assert calls(host) == ["reload"]


def test_more_time_for_a_probe_is_no_reason_to_reload(host):
    """Nor is a longer default of a later release."""
    host.process().converge(LINEAGE)
    calls(host)
    host.targets = [replace(host.targets[0], probes=(replace(host.targets[0].probes[0], timeout_seconds=99.0),))]
    host.process().converge(LINEAGE)
    assert calls(host) == []


def test_a_rollback_after_an_edit_of_a_path_is_refused(twice):
    """What the section does not name any more is not written to, nor is half of it brought back."""
    new, service = twice.lineages[LINEAGE], twice.services["www"]
    elsewhere = replace(twice.targets[0], outputs=(twice.targets[0].outputs[0], Output("key", twice.tls / "k", 0o600)))
    more = replace(twice.targets[0], outputs=(*twice.targets[0].outputs, Output("chain", twice.tls / "c", 0o644)))
    for target, said in (
        (elsewhere, r"and not .*www.key. certbot renew deploys"),
        (more, "other files by now. certbot"),
    ):
        with pytest.raises(DeployError, match=rf"\[deploy www\]: .* is not brought back: the section names .*{said}"):
            twice.process([target]).restore(1)
        assert service.key.read_bytes() == new.key_pem
        assert twice.serves(new)


# the old certificate


def test_a_rollback_to_an_expired_certificate_is_refused(host):
    """The good one stays, nothing is held, and the message names the way out."""
    host.put_lineage(material(ends_days=2))
    host.process().converge(LINEAGE)
    new = host.put_lineage(material())
    host.process().converge(LINEAGE)
    host.seconds = 3 * DAY_SECONDS
    with pytest.raises(
        DeployError, match=r"not brought back: their certificate expired at .*certbot renew --force-renewal --cert-name"
    ):
        roll_back(host)
    assert host.serves(new)
    assert record_of(host).hold == ""


def test_a_rollback_to_a_key_of_another_certificate_is_refused(host):
    """What stood there before was no pair."""
    service = host.services["www"]
    service.cert.write_bytes(material().fullchain_pem)
    service.key.write_bytes(key_pem_of(new_key()))
    service.key.chmod(0o600)
    host.process().converge(LINEAGE)
    with pytest.raises(DeployError, match=r"their key is not that of their certificate"):
        roll_back(host)
    service.cert.write_bytes(b"drift")
    host.process().converge(LINEAGE)
    assert host.serves(host.lineages[LINEAGE])


def test_one_target_that_refuses_a_rollback_holds_up_no_other(tmp_path):
    """Certbot does not call restart then: the others are finished at once."""
    host = Host(tmp_path, "www", "mail")
    host.targets[1] = host.services["mail"].target("mail.example.it")
    old = host.put_lineage(material())
    host.put_lineage(material("mail.example.it", ends_days=2))
    host.process().restart()
    host.put_lineage(material())
    mail = host.put_lineage(material("mail.example.it"))
    host.process().restart()
    host.seconds = 3 * DAY_SECONDS
    process = host.process()
    with pytest.raises(DeployError, match=r"^\[deploy mail\]: .* expired at"):
        process.restore(1)
    process.restart()
    assert host.serves(old)
    assert host.serves(mail, "mail")


def test_a_rolled_back_file_gets_the_mode_of_the_section(host):
    """What stood there was open to all, and had a special mode."""
    service, old = host.services["www"], material()
    service.cert.write_bytes(old.fullchain_pem)
    service.key.write_bytes(old.key_pem)
    service.key.chmod(0o4777)
    host.process().converge(LINEAGE)
    roll_back(host)
    assert service.key.read_bytes() == old.key_pem
    assert file_at(service.key).metadata.mode == 0o600


def test_a_hold_ends_before_the_held_certificate_does(host):
    """First it is only said, also to the quiet; then certbot renew fails; then the current one is deployed."""
    old = host.put_lineage(material(begins_days=-1, ends_days=29))
    host.process().converge(LINEAGE)
    new = host.put_lineage(material(ends_days=90))
    host.process().converge(LINEAGE)
    roll_back(host)
    host.seconds = 22 * DAY_SECONDS
    host.process().converge(LINEAGE)
    assert "is held at what a rollback brought back, until" in host.warned[-1]
    host.seconds = 24 * DAY_SECONDS
    with pytest.raises(DeployError, match=r"is held .* expires at .*; the hold ends in 2.0 days, .*certbot renew"):
        host.process().converge(LINEAGE)
    assert host.serves(old)
    host.seconds = 26.5 * DAY_SECONDS
    host.process().converge(LINEAGE)
    assert host.serves(new)
    assert "is about to expire: the hold ends" in host.warned[-1]


# recovery


def test_an_interrupted_deployment_over_an_expired_certificate_stays(host):
    """All files are new and good: what was before is not put back, and the service reads the new ones."""
    host.put_lineage(material(ends_days=2))
    host.process().converge(LINEAGE)
    new = host.put_lineage(material())
    cut_short(host)
    host.seconds = 3 * DAY_SECONDS
    for targets in ([], None):
        host.process(targets).recover()
        assert host.services["www"].cert.read_bytes() == new.fullchain_pem
    assert host.warned[0].startswith(
        "kept the new files of [deploy www]: of the old ones, their certificate expired at"
    )
    calls(host)
    host.process().converge(LINEAGE)
    assert calls(host) == ["test", "reload"]
    assert host.serves(new)


def test_a_half_written_set_is_rolled_back_whatever_was_before(host):
    """A key without its certificate helps nobody; that the old one has expired is said."""
    old = host.put_lineage(material(ends_days=2))
    host.process().converge(LINEAGE)
    host.put_lineage(material())
    cut_short(host)
    service = host.services["www"]
    service.key.write_bytes(old.key_pem)
    host.seconds = 3 * DAY_SECONDS
    host.process().recover()
    assert service.cert.read_bytes() == old.fullchain_pem
    assert host.warned[0].startswith("the old files of [deploy www] are back, but their certificate expired at")


def test_a_transaction_that_cannot_end_is_given_up_by_install(host):
    """The folder is gone with its disk: the command that the message names ends it, and deploys elsewhere."""
    host.process().converge(LINEAGE)
    new = host.put_lineage(material())
    cut_short(host)
    host.tls.rename(host.tls.with_name("gone"))
    host.tls.mkdir(mode=0o755)
    command = "certbot install -i garr-tcs --cert-name www.example.it"
    for _ in range(2):
        with pytest.raises(DeployError, match=rf"is not the folder any more.*give the old files up.*: {command}$"):
            host.process().converge(LINEAGE)
    host.process().recover_first()
    assert host.warned[-1].startswith("deploy: cannot put back every file of [deploy www]")
    process = host.process()
    process.deploy_cert(LINEAGE)
    process.save()
    process.restart()
    assert host.warned[-1].startswith("gave up what was interrupted before: cannot put back every file")
    assert host.serves(new)
    assert Journal(host.state).unfinished() == []


def test_what_left_the_file_and_cannot_end_is_given_up_by_any_install(tmp_path):
    """It has no section any more that could be installed."""
    host = Host(tmp_path, "left", "stays")
    host.put_lineage(material())
    process = host.process()
    process.renew_deploy(LINEAGE)
    host.crash(process)
    host.tls.rename(host.tls.with_name("gone"))
    host.tls.mkdir(mode=0o755)
    stays = host.targets[1:]
    host.process(stays).recover_first()
    process = host.process(stays)
    process.deploy_cert(LINEAGE)
    process.save()
    process.restart()
    assert Journal(host.state).unfinished() == []
    assert list((host.state.path / "journal" / "bytes").iterdir()) == []


def test_a_kill_between_commit_and_record_is_made_up_for(twice, tmp_path):
    """The record travels with the transaction: rollback brings back the old certificate, not the new one."""
    host = Host(tmp_path)
    password = host.tls / "password"
    password.write_text("secret")
    password.chmod(0o600)
    store = Output("pkcs12", host.tls / "store.p12", 0o600)
    host.targets = [replace(host.targets[0], outputs=(*host.targets[0].outputs, store), pkcs12_password_file=password)]
    old = host.put_lineage(material())
    host.process().converge(LINEAGE)
    path = host.state.path / f"deployed-{identity_of(host.targets[0])}.json"
    before = path.read_bytes()
    host.put_lineage(material())
    host.process().converge(LINEAGE)
    path.write_bytes(before)
    inode = store.path.stat().st_ino
    calls(host)
    host.process().converge(LINEAGE)
    assert (store.path.stat().st_ino, calls(host)) == (inode, [])
    path.write_bytes(before)
    roll_back(host)
    assert host.serves(old)


# what is kept


def test_old_keys_of_targets_that_left_the_file_are_removed(twice):
    """Those of another file's targets are not, as long as that file is there."""
    twice.process().remove_orphans()
    assert Journal(twice.state).restorable() == [identity_of(twice.targets[0])]
    source = twice.tls / "other.ini"
    source.touch()
    other = replace(twice.targets[0], source=source, outputs=(Output("cert", twice.tls / "o", 0o644),), tests=())
    twice.process([other]).remove_orphans()
    assert Journal(twice.state).restorable() == []
    assert list((twice.state.path / "journal" / "bytes").iterdir()) == []
    assert twice.told[-1].startswith("what the last deployment to [deploy www] replaced is removed")
    twice.process([replace(other, probes=())]).converge(LINEAGE)
    twice.process().remove_orphans()
    assert Journal(twice.state).restorable() == [identity_of(other)]
    source.unlink()
    twice.process().remove_orphans()
    assert Journal(twice.state).restorable() == []


# the version before


def test_the_state_of_the_version_before_is_good(twice):
    """Its records and its last journal: nothing is deployed anew, and certbot rollback works."""
    old_cert, service = None, twice.services["www"]
    identity = identity_of(twice.targets[0])
    path = twice.state.path / f"deployed-{identity}.json"
    record = json.loads(path.read_text())
    for name in ("service", "transaction"):
        del record[name]
    path.write_text(json.dumps(record))
    last = twice.state.path / "journal" / "last" / f"{identity}.json"
    document = json.loads(last.read_text())
    for entry in document["entries"]:
        folder, name = entry.pop("folder"), entry.pop("name")
        entry["path"] = f"{folder['path']}/{name}"
        entry["temporary"] = f"{folder['path']}/{entry['temporary']}"
        del entry["kind"], entry["new"], entry["old"]["meta"]["attributes"]
        entry["old"]["meta"]["context"] = None
    about = document["about"]
    about = {key: about[key] for key in ("title", "before", "inputs", "outputs")}
    about.update(reload=["reload", "www"], timeout_seconds=60.0)
    last.write_text(json.dumps({"about": about, "entries": document["entries"], "folders": []}))
    calls(twice)
    twice.process().converge(LINEAGE)
    assert calls(twice) == []
    roll_back(twice)
    assert service.served != old_cert
    assert record_of(twice).fingerprint == about["before"]
    assert record_of(twice).outcome == "held"
    assert service.on_disk() is not None


# a work-dir that is full


def test_a_full_work_dir_matters_only_where_something_is_to_be_done(host, monkeypatch):
    """The cache fails silently; the errors of records and journal have a place and a next step."""
    live = host.tls.parent / "live"
    live.mkdir()
    for piece in PIECES:
        (live / f"{piece}.pem").touch()
    host.targets = [replace(host.targets[0], source=live / "cert.pem")]
    host.put_lineage(replace(material(), live=live))
    host.process().converge(LINEAGE)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("certbot_garr_tcs.storage.StateFolder.write", full)
    host.seconds = 60
    host.process().converge(LINEAGE)
    host.services["www"].cert.unlink()
    with pytest.raises(GarrTcsError, match=r"\[deploy www\]: cannot write the record of .*: No space left.*Free some"):
        host.process().converge(LINEAGE)


def test_a_damaged_chain_is_no_reason_to_hold(twice):
    """A lineage that cannot be deployed changes nothing, and is reported."""
    served = twice.services["www"].served
    twice.put_lineage(with_chain(material(), authorities("rsa")[0]))
    with pytest.raises(DeployError, match=r"certificate 1 of chain.pem"):
        twice.process().converge(LINEAGE)
    assert twice.services["www"].served == served
