"""Targets converge to their lineage at every call of Certbot's, or stay as they were."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.pki import authorities, key_pem_of, material, new_key, with_chain
from support.service import Host, file_at

from certbot_garr_tcs.deploy.folders import FolderReference
from certbot_garr_tcs.deploy.locks import WAIT_SECONDS, TargetLocks
from certbot_garr_tcs.deploy.plan import OwnFiles, inspect
from certbot_garr_tcs.deploy.records import DeploymentRecord, DeploymentRecords, document_of, identity_of
from certbot_garr_tcs.deploy.settings import Output
from certbot_garr_tcs.deploy.transaction import Change, Journal, Transaction
from certbot_garr_tcs.errors import DeployError, GarrTcsError

LINEAGE = "www.example.it"


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.put_lineage(material())
    return host


@pytest.fixture
def deployed(host):
    host.process().converge(LINEAGE)
    return host


def record_of(host, number=0):
    return DeploymentRecords(host.state).read(host.targets[number])


def calls(host, name="www"):
    made, host.services[name].calls = host.services[name].calls, []
    return made


def snapshot(host):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes() if path.is_file() else None)
        for folder in (host.tls, host.work)
        for path in [folder, *folder.rglob("*")]
    }


def cut_short(host):
    process = host.process()
    process.renew_deploy(LINEAGE)
    host.crash(process)


def no_leftovers(host):
    return not list(host.tls.glob(".*")) and Journal(host.state).unfinished() == []


# every call of Certbot's


def test_run_deploys(host):
    """deploy_cert, save and restart write, test, reload, probe and commit, in this order."""
    process = host.process()
    process.deploy_cert(LINEAGE)
    process.deploy_cert(LINEAGE)
    process.save()
    assert calls(host) == ["test", "test"]
    process.restart()
    assert calls(host) == ["reload"]
    assert host.serves(host.lineages[LINEAGE])
    assert host.told == ["deployed to [deploy www]: lineage www.example.it"]
    entry = record_of(host)
    assert (entry.outcome, entry.fingerprint) == ("deployed", host.lineages[LINEAGE].fingerprint)
    assert file_at(host.services["www"].key).metadata.mode == 0o600
    assert no_leftovers(host)


def test_renew_deploys(deployed):
    """renew_deploy and restart bring the new certificate."""
    new = deployed.put_lineage(material())
    process = deployed.process()
    process.renew_deploy(LINEAGE)
    process.restart()
    assert deployed.serves(new)
    assert deployed.seen_names == LINEAGE


def test_certonly_converges_every_target_whose_lineage_exists(tmp_path):
    """Restart alone deploys everything of the file, and passes over lineages that are not there."""
    host = Host(tmp_path, "www", "mail")
    host.targets[1] = host.services["mail"].target("mail.example.it")
    host.put_lineage(material())
    host.process().restart()
    assert host.serves(host.lineages[LINEAGE])
    assert host.services["mail"].calls == []


def test_what_is_right_already_costs_nothing(deployed):
    """A second run of any call writes nothing, runs nothing, and connects to no port."""
    calls(deployed)
    before = snapshot(deployed)
    deployed.process().converge(LINEAGE)
    deployed.process().restart()
    process = deployed.process()
    process.deploy_cert(LINEAGE)
    process.save()
    process.restart()
    process.recover()
    assert calls(deployed) == []
    assert snapshot(deployed) == before


@pytest.mark.parametrize(
    "drift",
    [
        lambda service: service.key.unlink(),
        lambda service: service.key.chmod(0o644),
        lambda service: service.cert.write_bytes(b"x"),
        lambda service: service.key.write_bytes(key_pem_of(new_key())),
    ],
)
def test_drift_is_repaired(deployed, drift):
    """A file that somebody changed, widened or removed is as it should be after the next timer."""
    drift(deployed.services["www"])
    deployed.process().converge(LINEAGE)
    assert deployed.serves(deployed.lineages[LINEAGE])
    assert file_at(deployed.services["www"].key).metadata.mode == 0o600


def test_a_repair_is_no_deployment_to_go_back_to(deployed):
    """Certbot rollback after a repair brings back the former certificate, not the drift."""
    old = deployed.lineages[LINEAGE]
    deployed.put_lineage(material())
    deployed.process().converge(LINEAGE)
    deployed.services["www"].cert.write_bytes(b"drift")
    deployed.process().converge(LINEAGE)
    process = deployed.process()
    process.restore(1)
    process.restart()
    assert deployed.serves(old)


# failures


def test_a_bad_lineage_writes_nothing(deployed):
    """Key and chain are checked before the first byte, under the section's heading."""
    old = deployed.lineages[LINEAGE]
    deployed.put_lineage(with_chain(material(), authorities("rsa")[0]))
    calls(deployed)
    with pytest.raises(DeployError, match=r"\[deploy www\]: lineage www.example.it: certificate 1 of chain.pem"):
        deployed.process().converge(LINEAGE)
    assert calls(deployed) == []
    assert deployed.serves(old)


def test_an_expired_lineage_is_not_deployed(host):
    """The clock decides, and it is an argument."""
    host.now_seconds = host.now() + 90 * 86400
    with pytest.raises(DeployError, match="expired at"):
        host.process().converge(LINEAGE)


def test_red_before_and_green_after_is_good(host):
    """A missing PEM is a good reason why the test of a service fails."""
    process = host.process()
    process.renew_deploy(LINEAGE)
    process.restart()
    assert host.serves(host.lineages[LINEAGE])


@pytest.mark.parametrize("call", ["save", "renew_deploy", "converge"])
def test_a_failure_before_and_after_is_rolled_back(deployed, call):
    """A config that was broken before keeps its old files, is reported, and is tried again."""
    old, new = deployed.lineages[LINEAGE], deployed.put_lineage(material())
    service = deployed.services["www"]
    service.config_red = True
    process = deployed.process()
    process.deploy_cert(LINEAGE)
    with pytest.raises(
        DeployError, match=r"\[deploy www\]: .*no good; it failed before this deployment, too; the old files"
    ):
        getattr(process, call)(*([] if call == "save" else [LINEAGE]))
    assert deployed.serves(old)
    assert "reload" not in calls(deployed)[3:]
    assert record_of(deployed).failures == 1
    service.config_red = False
    deployed.process().converge(LINEAGE)
    assert deployed.serves(new)
    assert (record_of(deployed).failures, record_of(deployed).error) == (0, "")


def test_a_failure_after_success_is_rolled_back(deployed):
    """Files that the service does not like go; the message does not blame the time before."""
    old = deployed.lineages[LINEAGE]
    deployed.put_lineage(material())
    target = replace(deployed.targets[0], outputs=deployed.targets[0].outputs[:1])
    with pytest.raises(DeployError, match=r"no good; the old files are back"):
        deployed.process([target]).converge(LINEAGE)
    assert deployed.serves(old)
    assert no_leftovers(deployed)


def test_a_test_that_cannot_be_run_writes_nothing(deployed):
    """A missing command is reported before anything is written."""
    before = deployed.services["www"].cert.stat().st_ino
    deployed.put_lineage(material())
    target = replace(deployed.targets[0], tests=(("nginx", "nowhere"),))
    with pytest.raises(DeployError, match="cannot run nginx"):
        deployed.process([target]).converge(LINEAGE)
    assert deployed.services["www"].cert.stat().st_ino == before


def test_a_failed_reload_brings_the_old_state_back(deployed):
    """Reload fails once: the old files are back, reloaded and served, and the error is the first one."""
    old = deployed.lineages[LINEAGE]
    deployed.put_lineage(material())
    deployed.services["www"].reload_red = 1
    process = deployed.process()
    process.renew_deploy(LINEAGE)
    calls(deployed)
    with pytest.raises(DeployError, match=r"reload www: exit status 1: no; the old files are back. Run it by hand"):
        process.restart()
    assert calls(deployed) == ["reload", "reload"]
    assert deployed.serves(old)
    process.undo()
    process.restart()
    assert calls(deployed) == []
    assert no_leftovers(deployed)


def test_a_reload_that_fails_twice_is_owed(deployed):
    """Where the old state does not reload either, the error is reported once, and the reload is made up for."""
    old = deployed.lineages[LINEAGE]
    deployed.put_lineage(material())
    deployed.services["www"].reload_red = 2
    with pytest.raises(DeployError, match=r"no; the old files are back, but the service .* in the same way") as caught:
        deployed.process().converge(LINEAGE)
    assert str(caught.value).count("exit status") == 1
    assert record_of(deployed).reload_pending
    assert deployed.state.read(document_of(deployed.targets[0]), {})["reload_owed"]  # the key of the versions before
    deployed.put_lineage(old)
    calls(deployed)
    deployed.process().converge(LINEAGE)
    assert calls(deployed) == ["test", "reload"]
    assert not record_of(deployed).reload_pending


def test_a_service_that_goes_on_with_the_old_certificate_is_found(deployed):
    """The reload succeeds and the port still serves the old leaf: everything is put back."""
    old = deployed.lineages[LINEAGE]
    deployed.put_lineage(material())
    deployed.services["www"].deaf = True
    with pytest.raises(DeployError, match=r"www:443 asked for .* serves another certificate .* \(after 2 s\)"):
        deployed.process().converge(LINEAGE)
    assert deployed.serves(old)


def test_a_service_that_dies_is_found(deployed):
    """Nothing listens after the reload: put back, reloaded, served again."""
    old, service = deployed.lineages[LINEAGE], deployed.services["www"]
    new = deployed.put_lineage(material())
    process = deployed.process()
    process.renew_deploy(LINEAGE)
    key = service.key.read_bytes()
    service.key.write_bytes(b"")
    service.on_disk = lambda: None
    with pytest.raises(DeployError, match=r"no connection at www:443: Connection refused \(after 2 s\); the old files"):
        process.restart()
    del service.on_disk
    assert key == new.key_pem
    assert service.on_disk() is not None
    assert service.key.read_bytes() == old.key_pem


def test_one_bad_target_does_not_hold_up_the_others(tmp_path):
    """The good one is reloaded and committed, also where Certbot will not call restart any more."""
    host = Host(tmp_path, "bad", "good")
    new = host.put_lineage(material())
    host.services["bad"].config_red = True
    process = host.process()
    process.deploy_cert(LINEAGE)
    with pytest.raises(DeployError, match=r"\[deploy bad\]"):
        process.save()
    assert host.serves(new, "good")
    assert not host.services["bad"].cert.exists()
    process.recover()
    assert host.serves(new, "good")
    host.services["good"].config_red = True
    host.put_lineage(material())
    with pytest.raises(DeployError, match=r"^2 errors: \(1\) \[deploy bad\].*; \(2\) \[deploy good\]"):
        host.process().converge(LINEAGE)


def test_a_lineage_that_cannot_be_read_does_not_hold_up_the_others(tmp_path):
    """Its error is reported at the end, when the others are deployed."""
    host = Host(tmp_path, "www", "mail")
    host.targets[1] = host.services["mail"].target("mail.example.it")
    new = host.put_lineage(material())
    read = host.lineages.get

    def load(name):
        if name == "mail.example.it":
            raise DeployError("lineage mail.example.it: cannot read privkey.pem", "Correct it.")
        return read(name)

    host.lineages = SimpleNamespace(get=load)
    with pytest.raises(DeployError, match=r"lineage mail.example.it: cannot read"):
        host.process().restart()
    assert host.serves(new)


def test_recovery_in_the_same_process_puts_back(deployed):
    """Certbot calls recovery_routine when saving failed: what was written is undone."""
    old = deployed.lineages[LINEAGE]
    deployed.put_lineage(material())
    process = deployed.process()
    process.renew_deploy(LINEAGE)
    process.recover()
    assert deployed.services["www"].on_disk() is not None
    assert deployed.serves(old)
    assert no_leftovers(deployed)


def test_a_crash_before_the_reload_is_recovered_by_the_next_run(deployed):
    """Another process restores the old set, reports it, and deploys again."""
    new = deployed.put_lineage(material())
    cut_short(deployed)
    deployed.told.clear()
    deployed.process().converge(LINEAGE)
    assert deployed.serves(new)
    assert deployed.told[0] == "put back the old files of [deploy www]: a deployment was interrupted"


def test_a_crash_after_the_reload_owes_one(deployed):
    """A service that may have read the new files reads the old ones again."""
    old = deployed.lineages[LINEAGE]
    deployed.put_lineage(material())
    cut_short(deployed)
    journal = Journal(deployed.state)
    Transaction.resume(journal, journal.unfinished()[0], frozenset()).mark_reloading()
    deployed.put_lineage(old)
    calls(deployed)
    deployed.process().converge(LINEAGE)
    assert calls(deployed) == ["test", "reload"]


def test_an_unfinished_target_that_left_the_file_is_put_back_too(deployed):
    """The journal alone is enough; where it fails, nobody else's deployment does."""
    deployed.put_lineage(material())
    old_key = deployed.services["www"].key.read_bytes()
    cut_short(deployed)
    deployed.process([]).recover()
    assert deployed.services["www"].key.read_bytes() == old_key
    cut_short(deployed)
    deployed.services["www"].key.unlink()
    deployed.services["www"].key.mkdir()
    deployed.process([]).recover()
    assert deployed.warned[0].startswith(
        "a target that is in no file any more: cannot put back every file of [deploy www]"
    )
    for act in (lambda: deployed.process().recover(), lambda: deployed.process().converge(LINEAGE)):
        with pytest.raises(DeployError, match=r"cannot put back every file"):
            act()


def test_an_interrupt_puts_back(deployed):
    """Control-C while the service tests or reloads leaves the old files, and a reload owed."""
    old = deployed.lineages[LINEAGE]
    deployed.put_lineage(material())
    service = deployed.services["www"]

    def interrupt(at_call, verb):
        service.calls.append(verb)
        if len(service.calls) >= at_call:
            raise KeyboardInterrupt

    for at_call in (2, 3):
        calls(deployed)
        service.command = functools.partial(interrupt, at_call)
        with pytest.raises(KeyboardInterrupt):
            deployed.process().converge(LINEAGE)
        del service.command
        assert deployed.serves(old)
        assert no_leftovers(deployed)
    assert record_of(deployed).reload_pending


def test_renewing_twice_in_one_process_writes_once(deployed):
    """A lineage that is staged already is not written again."""
    new = deployed.put_lineage(material())
    process = deployed.process()
    process.renew_deploy(LINEAGE)
    process.save()
    assert calls(deployed)[3:] == ["test", "test"]
    process.recover()
    assert not deployed.serves(new)


def test_a_roll_back_that_fails_is_told_behind_the_first_error(deployed):
    """Both errors are in the message, and the journal stays open for the next run."""
    deployed.put_lineage(material())
    service = deployed.services["www"]
    process = deployed.process()
    process.renew_deploy(LINEAGE)
    service.reload_red = 9
    for path in (service.cert, service.key):
        path.unlink()
    service.cert.mkdir()
    with pytest.raises(DeployError, match=r"reload www: exit status 1: no; cannot put back every file .*crt is unr"):
        process.restart()
    assert len(Journal(deployed.state).unfinished()) == 1
    service.cert.rmdir()
    service.reload_red = 0
    deployed.process().converge(LINEAGE)
    assert deployed.serves(deployed.lineages[LINEAGE])


def test_an_interrupt_without_files_is_passed_on(host):
    """A target that only reloads has nothing to put back."""
    target = replace(host.targets[0], outputs=(), tests=())

    def interrupt(_):
        raise KeyboardInterrupt

    host.services["www"].command = interrupt
    with pytest.raises(KeyboardInterrupt):
        host.process([target]).converge(LINEAGE)


def test_a_ledger_that_cannot_be_read_or_written_is_named(deployed):
    """Each error has a place and a next step."""
    records = DeploymentRecords(deployed.state)
    path = next(deployed.state.path.glob("deployed-*.json"))
    path.write_text('["no entry"]')
    with pytest.raises(GarrTcsError, match=r"cannot read the record .*Move it away"):
        records.read(deployed.targets[0])
    path.unlink()
    path.mkdir()
    with pytest.raises(DeployError, match=r"cannot write the record of \[deploy www\] in .*: Is a directory"):
        records.write(identity_of(deployed.targets[0]), DeploymentRecord("www", "/x", LINEAGE))
    records.mark_reload_pending("nobody")
    assert list(deployed.state.path.glob("deployed-nobody*")) == []


def as_nobody(act):
    """Do something as a user without rights, then be root again."""
    if os.geteuid() != 0:
        return act()
    os.seteuid(65534)
    try:
        return act()
    finally:
        os.seteuid(0)


def test_only_root_gives_files_away(host):
    """Another user gets the error before anything is written."""
    path = Path("/usr/garr-tcs-test-writes-nothing-here")  # which anybody may look into
    target = replace(host.targets[0], owner="0", outputs=(Output("cert", path, 0o644),))
    with pytest.raises(DeployError, match=r"only root can give .* to 0. Run Certbot as root"):
        as_nobody(lambda: inspect(target, OwnFiles((), ()), None))


def test_a_place_that_was_good_once_and_is_not_any_more_is_told(deployed):
    """The check for an update meets the same error as the deployment, and only the latter reports it."""
    deployed.services["www"].key.unlink()
    deployed.services["www"].key.mkdir()
    with pytest.raises(DeployError, match=r"\[deploy www\]: .*www.key is a folder"):
        deployed.process().converge(LINEAGE)


# certbot rollback


def test_rollback_brings_back_the_former_deployment_and_holds_it(deployed):
    """The timer does not undo a rollback, warns each time, and a newer certificate ends the hold."""
    old, bad = deployed.lineages[LINEAGE], deployed.put_lineage(material())
    deployed.process().converge(LINEAGE)
    process = deployed.process()
    process.restore(1)
    process.restart()
    assert deployed.serves(old)
    assert record_of(deployed).hold == bad.fingerprint
    assert record_of(deployed).fingerprint == old.fingerprint
    deployed.process().converge(LINEAGE)
    assert deployed.warned == [
        (
            "[deploy www] is held at what a rollback brought back, until lineage www.example.it has a newer "
            "certificate; certbot install -i garr-tcs --cert-name www.example.it ends the hold"
        )
    ]
    assert deployed.serves(old)
    new = deployed.put_lineage(material())
    deployed.process().converge(LINEAGE)
    assert deployed.serves(new)
    assert record_of(deployed).hold == ""


def test_install_ends_the_hold(deployed):
    """Certbot install deploys what was rolled back."""
    bad = deployed.put_lineage(material())
    deployed.process().converge(LINEAGE)
    process = deployed.process()
    process.restore(1)
    process.restart()
    process = deployed.process()
    process.deploy_cert(LINEAGE)
    process.save()
    process.restart()
    assert deployed.serves(bad)


def test_rollback_twice_is_refused(deployed):
    """There is one deployment to go back to, and more checkpoints are not kept."""
    deployed.put_lineage(material())
    deployed.process().converge(LINEAGE)
    process = deployed.process()
    process.restore(1)
    process.restart()
    process = deployed.process()
    with pytest.raises(DeployError, match=r"the last one is undone already. certbot install -i garr-tcs"):
        process.restore(1)
    process.restart()
    with pytest.raises(DeployError, match=r"cannot go back 2 deployments"):
        deployed.process().restore(2)


def test_a_first_deployment_cannot_be_rolled_back(deployed):
    """Where nothing stood before, nothing is brought back."""
    with pytest.raises(DeployError, match="no deployment can be undone"):
        deployed.process().restore(1)
    assert deployed.serves(deployed.lineages[LINEAGE])


def test_a_rollback_that_the_service_refuses_changes_nothing(deployed):
    """A failing test, or a service that does not serve the old certificate, leaves the new one."""
    new = deployed.put_lineage(material())
    deployed.process().converge(LINEAGE)
    deployed.services["www"].config_red = True
    with pytest.raises(DeployError, match=r"\[deploy www\]: .*no good"):
        deployed.process().restore(1)
    assert deployed.serves(new)
    deployed.services["www"].config_red = False
    deployed.services["www"].deaf = True
    process = deployed.process()
    process.restore(1)
    with pytest.raises(DeployError, match="the old files are back"):
        process.restart()
    assert deployed.serves(new)
    assert record_of(deployed).hold == ""


def test_a_rollback_without_its_lineage_still_works(deployed):
    """The lineage was deleted meanwhile: its last certificate is the one to hold."""
    old, bad = deployed.lineages[LINEAGE], deployed.put_lineage(material())
    deployed.process().converge(LINEAGE)
    deployed.lineages.clear()
    process = deployed.process()
    process.restore(1)
    process.restart()
    assert deployed.serves(old)
    assert record_of(deployed).hold == bad.fingerprint


# bad days on disk


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda _, target: replace(target, owner="nobody-here"), "there is no user nobody-here on this machine"),
        (lambda _, target: replace(target, owner="0", group="no-such"), "there is no group no-such on this"),
        (lambda host, target: (host.services["www"].key.mkdir(), target)[1], "www.key is a folder"),
        (
            lambda host, target: (host.tls.chmod(0o777), target)[1],
            r"www.crt is not safe: others can write to .*tls \(drwxrwxrwx\)",
        ),
        (
            lambda host, target: replace(target, outputs=(Output("cert", host.tls / "no" / "x", 0o644),)),
            "there is no folder .*/tls/no. Run: mkdir -p",
        ),
        (
            lambda host, target: replace(target, mkdir=True, outputs=(Output("cert", host.work / "f" / "x", 0o644),)),
            "f is no folder. Name a path below a folder",
        ),
        (
            lambda host, target: replace(
                target, outputs=(Output("cert", host.tls / "x", 0o644), Output("key", host.tls / "link", 0o600))
            ),
            "link is another file of this section",
        ),
        (
            lambda host, target: replace(target, outputs=(Output("cert", host.tls / "away", 0o644),)),
            "away is a symbolic link to .*elsewhere. Remove the link",
        ),
        (
            lambda host, target: replace(target, outputs=(Output("cert", host.work / "live" / "x", 0o644),)),
            "x is below .*live, which is Certbot's own",
        ),
    ],
)
def test_a_place_that_will_not_do_is_refused_before_anything_is_written(host, spoil, expected):
    """Every such target names its section and the next step, runs no command, and leaves no file."""
    (host.work / "live").mkdir(parents=True)
    (host.work / "f").write_bytes(b"")
    (host.tls / "link").symlink_to("x")
    (host.tls / "away").symlink_to(host.work / "elsewhere")
    host.put_lineage(replace(material(), live=host.work / "live"))
    target = spoil(host, host.targets[0])
    with pytest.raises(DeployError, match=expected) as caught:
        host.process([target]).converge(LINEAGE)
    assert caught.value.message.startswith("[deploy www]: ")
    assert host.services["www"].calls == []
    assert not host.services["www"].cert.exists()


def test_services_that_share_files_are_deployed_to_together(tmp_path):
    """Every test and reload runs, every port is probed; if one service fails, all are rolled back."""
    host = Host(tmp_path, "smtp", "imap")
    smtp, imap = host.services.values()
    imap.cert, imap.key = smtp.cert, smtp.key
    both, other = host.targets
    shared = {name: getattr(both, name) + getattr(other, name) for name in ("tests", "reloads", "probes")}
    host.targets = [replace(both, **shared)]
    good = host.put_lineage(material())
    host.process().converge(LINEAGE)
    assert [host.serves(good, name) for name in ("smtp", "imap")] == [True, True]
    assert calls(host, "imap") == ["test", "reload"]
    host.put_lineage(material())
    imap.reload_red = 1
    with pytest.raises(DeployError, match="reload imap"):
        host.process().converge(LINEAGE)
    assert [host.serves(good, name) for name in ("smtp", "imap")] == [True, True]


def test_a_keystore_is_written_once(host):
    """PKCS#12 is salted: it is not rewritten at each timer, but is when its password or certificate changes."""
    password = host.tls / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    store = host.tls / "store.p12"
    target = replace(
        host.targets[0],
        outputs=(*host.targets[0].outputs, Output("pkcs12", store, 0o600)),
        pkcs12_password_file=password,
    )
    host.process([target]).converge(LINEAGE)
    inode = store.stat().st_ino
    host.process([target]).converge(LINEAGE)
    host.services["www"].cert.write_bytes(b"drift")
    host.process([target]).converge(LINEAGE)
    assert store.stat().st_ino == inode
    password.write_text("other")
    host.process([target]).converge(LINEAGE)
    assert store.stat().st_ino != inode


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("\n", 0o600, "password is empty"),
        ("x", 0o604, "has mode 0604: others than its owner can"),
        (None, 0, "cannot read .*password: No such"),
    ],
)
def test_a_password_file_must_be_there_closed_and_full(host, text, mode, expected):
    """An empty, open or missing password file stops the target, and shows nothing of it."""
    password = host.tls / "password"
    if text is not None:
        password.write_text(text)
        password.chmod(mode)
    target = replace(
        host.targets[0], outputs=(Output("pkcs12", host.tls / "p12", 0o600),), pkcs12_password_file=password
    )
    with pytest.raises(DeployError, match=expected):
        host.process([target]).converge(LINEAGE)
    assert not (host.tls / "p12").exists()


def test_a_target_without_files_is_reloaded_once(host):
    """A service that reads live/ itself is tested and reloaded for each new certificate, and no more."""
    service = host.services["www"]
    new = host.lineages[LINEAGE]
    service.cert.write_bytes(new.fullchain_pem)
    service.key.write_bytes(new.key_pem)
    target = replace(host.targets[0], outputs=())
    host.process([target]).converge(LINEAGE)
    host.process([target]).converge(LINEAGE)
    assert calls(host) == ["test", "reload"]
    service.config_red = True
    host.put_lineage(material())
    with pytest.raises(DeployError, match="no good"):
        host.process([target]).converge(LINEAGE)
    service.config_red = False
    with pytest.raises(DeployError, match=r"serves another certificate .* \(after 2 s\)"):
        host.process([target]).converge(LINEAGE)


def test_a_target_with_neither_test_nor_reload_is_only_written(host):
    """Grid hosts read their files at each connection; folders are made where the section asks for it."""
    target = replace(
        host.targets[0],
        tests=(),
        reloads=(),
        probes=(),
        mkdir=True,
        outputs=(Output("key", host.tls / "grid" / "hostkey.pem", 0o400),),
    )
    host.process([target]).converge(LINEAGE)
    host.process([target]).converge(LINEAGE)
    assert file_at(host.tls / "grid" / "hostkey.pem").metadata.mode == 0o400
    assert host.services["www"].calls == []


def test_owner_and_mode_stay_where_the_section_says_nothing(host):
    """A numeric owner is taken as it is; without one the file keeps its own."""
    own = replace(host.targets[0], owner=str(os.geteuid()), group=str(os.getegid()))
    host.process([own]).converge(LINEAGE)
    assert file_at(host.services["www"].key).metadata.uid == os.geteuid()


def test_a_busy_target_costs_only_itself(tmp_path):
    """Where another process deploys to a target, the others are deployed first, and it is waited for, not for ever."""
    host = Host(tmp_path, "busy", "free")
    new = host.put_lineage(material())
    other = TargetLocks(host.state, lambda: 0.0, lambda _: None)
    other.take(identity_of(host.targets[0]), "")
    served_while_waiting = []

    def sleep(seconds):
        served_while_waiting.append(host.serves(new, "free"))
        host.seconds += seconds

    host.sleep = sleep
    with pytest.raises(DeployError, match=r"^\[deploy busy\]: another process is deploying to it. Wait for it, then"):
        host.process().converge(LINEAGE)
    assert host.serves(new, "free")
    assert not host.services["busy"].cert.exists()
    assert host.seconds >= WAIT_SECONDS
    assert served_while_waiting[0], "the busy target was waited for before the other was deployed"
    other.release_all()
    host.process().converge(LINEAGE)
    assert host.serves(new, "busy")


def test_the_ledger_lists_every_target(deployed):
    """Monitoring sees all of them, those that left the file too."""
    entries = DeploymentRecords(deployed.state).all()
    assert [(entry.title, entry.outcome, entry.lineage) for entry in entries] == [("[deploy www]", "deployed", LINEAGE)]
    assert DeploymentRecords(replace_state(deployed)).all() == []


def replace_state(host):
    other = Host(host.tls.parent)
    other.work = host.tls.parent / "nothing"
    return other.state


def test_no_secret_is_in_ledger_or_messages(deployed):
    """Only the journal's private bytes hold a key."""
    deployed.put_lineage(material())
    deployed.process().converge(LINEAGE)
    for path in deployed.state.path.rglob("*"):
        if path.is_file() and path.parent.name != "bytes":
            assert b"PRIVATE" not in path.read_bytes()
    assert "PRIVATE" not in "".join(deployed.told)


def test_a_change_is_a_removal_without_data():
    """A restored deployment may have had a file less."""
    assert "key" not in repr(Change("cert", FolderReference("/"), "x", b"key", None))
