"""A service that is stopped, starting or slow: what an administrator expects of a reload."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.pki import material
from support.service import Host
from support.units import FAILED, RUNNING, STOPPED, Unit

from certbot_garr_tcs.deploy.records import DeploymentRecords
from certbot_garr_tcs.deploy.service import state_from, unit_command
from certbot_garr_tcs.deploy.settings import Probe
from certbot_garr_tcs.errors import DeployError

LINEAGE = "www.example.it"
AUTO_RESTART = ("activating", "auto-restart")
STARTING = ("activating", "start")


def with_unit(tmp_path, verb="reload", state=STOPPED, **how):
    host = Host(tmp_path)
    service = host.services["www"]

    def start():
        service.served = service.on_disk()
        return bool(service.served)

    def stop():
        service.served = None

    def reload():
        service.served = service.on_disk()
        return True

    unit = host.systemctl.units["www"] = Unit(start, reload, stop, state=state, **how)
    host.targets = [service.target(reloads=(("systemctl", verb, "www"),))]
    host.put_lineage(material())
    return host, unit


def asked(host):
    made, host.systemctl.asked = host.systemctl.asked, []
    return made


def record_of(host):
    return DeploymentRecords(host.state).read(host.targets[0])


@pytest.mark.parametrize("verb", ["reload", "restart", "try-restart", "reload-or-restart", "try-reload-or-restart"])
@pytest.mark.parametrize("state", [STOPPED, FAILED, AUTO_RESTART])
def test_a_unit_that_is_not_running_keeps_the_files(tmp_path, verb, state):
    """It is down because they were missing, or disabled: neither started nor probed; once it starts, it has them."""
    host, unit = with_unit(tmp_path, verb, state)
    host.process().converge(LINEAGE)
    host.process().converge(LINEAGE)
    assert asked(host) == []
    assert host.services["www"].on_disk()
    (line,) = host.told
    assert line == (
        f"deployed to [deploy www]: lineage {LINEAGE}; www is not running; it reads the files when it starts, "
        "and nothing was probed"
    )
    assert record_of(host).outcome == "deployed"
    assert unit.start()
    assert host.serves(host.lineages[LINEAGE])


@pytest.mark.parametrize("verb", ["reload", "restart", "try-restart", "reload-or-restart", "try-reload-or-restart"])
def test_a_unit_that_is_running_reads_the_files(tmp_path, verb):
    """As it is written; and it is probed."""
    host, _ = with_unit(tmp_path, verb, RUNNING)
    host.process().converge(LINEAGE)
    assert asked(host) == [(verb, "www")]
    assert host.serves(host.lineages[LINEAGE])
    assert host.told == [f"deployed to [deploy www]: lineage {LINEAGE}"]


def test_a_unit_that_does_not_exist_is_an_error(tmp_path):
    """A slip of the pen is not a stopped service."""
    host, _ = with_unit(tmp_path, state=RUNNING)
    host.targets = [replace(host.targets[0], reloads=(("systemctl", "reload", "wwww"),))]
    with pytest.raises(DeployError, match=r"exit status 5: Failed to reload wwww.service: Unit wwww.service not found"):
        host.process().converge(LINEAGE)


def test_where_systemd_does_not_run_the_command_says_so(tmp_path):
    """A container, or another init: nothing is known of the unit."""
    host, _ = with_unit(tmp_path)
    host.systemctl = None
    with pytest.raises(
        DeployError, match=r"systemctl reload www: exit status 1: System has not been booted .*; the old"
    ):
        host.process().converge(LINEAGE)


def test_of_several_units_the_running_ones_are_reloaded(tmp_path):
    """One command, or several: the stopped ones are named, and nothing is probed."""
    host, _ = with_unit(tmp_path, state=RUNNING)
    for name in ("mail", "imap"):
        host.systemctl.units[name] = Unit(None, None, None, state=STOPPED)
    commands = (("systemctl", "--no-block", "reload", "mail", "www"), ("systemctl", "reload", "imap"))
    host.targets = [replace(host.targets[0], reloads=commands)]
    host.process().converge(LINEAGE)
    assert asked(host) == [("reload", "www")]
    assert host.told[0].endswith(
        "; mail, imap are not running; they read the files when they start, and nothing was probed"
    )


def test_a_unit_that_is_just_starting_is_awaited(tmp_path):
    """It may have read the old files: it is reloaded when it runs. That takes a while, and is said."""
    host, unit = with_unit(tmp_path, state=STARTING)
    sleep = host.sleep

    def and_then(seconds):
        sleep(seconds)
        if host.seconds > 25:
            unit.state = RUNNING

    host.sleep = and_then
    host.process().converge(LINEAGE)
    assert asked(host) == [("reload", "www")]
    assert host.serves(host.lineages[LINEAGE])
    assert host.told[:-1] == [
        "[deploy www]: waiting for www, which is activating (10 s of at most 90 s)",
        "[deploy www]: waiting for www, which is activating (20 s of at most 90 s)",
    ]


def test_a_unit_that_is_starting_for_ever_is_reloaded_as_written(tmp_path):
    """When its start limit is over; the error is systemctl's."""
    host, _ = with_unit(tmp_path, state=STARTING)
    with pytest.raises(DeployError, match=r"www.service is not active, cannot reload"):
        host.process().converge(LINEAGE)
    assert 90 <= host.seconds < 92


def test_what_a_restart_has_stopped_is_started_again(tmp_path):
    """Its service does not start over the new files: the old ones are back, and it runs, whatever the verb."""
    host, unit = with_unit(tmp_path, "try-restart", RUNNING)
    old = host.lineages[LINEAGE]
    host.process().converge(LINEAGE)
    host.put_lineage(material())
    start, tries = unit.start, iter([False])
    unit.start = lambda: next(tries, True) and start()
    asked(host)
    with pytest.raises(
        DeployError, match=r"systemctl try-restart www: exit status 1: Job for www.* old files are back\."
    ):
        host.process().converge(LINEAGE)
    assert asked(host) == [("try-restart", "www"), ("start", "www")]
    assert unit.state == RUNNING
    assert host.serves(old)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_service_that_we_have_stopped_is_no_stopped_one(tmp_path, is_first):
    """It did not start with the old files either: that is an error at every run, until it is up or installed anew."""
    host, unit = with_unit(tmp_path, "reload", RUNNING)
    if not is_first:
        host.process().converge(LINEAGE)
        host.put_lineage(material())

    def die():
        unit.stop()
        unit.state = FAILED
        return False

    reload, unit.reload = unit.reload, die
    start, unit.start = unit.start, lambda: False
    with pytest.raises(DeployError, match=r"the old files are back, but the service with them fails: systemctl start"):
        host.process().converge(LINEAGE)
    for _ in range(2):
        with pytest.raises(DeployError, match=r"not active, cannot reload.; the old.* are back. Run: systemctl status"):
            host.process().converge(LINEAGE)
    if is_first:
        process = host.process()
        process.deploy_cert(LINEAGE)
        process.save()
        process.restart()
        assert host.told[-1].endswith("and nothing was probed")
        assert host.services["www"].on_disk()
    unit.reload, unit.state = reload, RUNNING
    host.put_lineage(material())
    start()
    host.process().converge(LINEAGE)
    assert host.serves(host.lineages[LINEAGE])
    assert record_of(host).running == []


def test_an_interrupt_does_not_forget_what_was_running(tmp_path):
    """Control-C while it restarts may leave it down."""
    host, unit = with_unit(tmp_path, "restart", RUNNING)

    def interrupted():
        unit.state = FAILED
        raise KeyboardInterrupt

    unit.start, start = interrupted, unit.start
    with pytest.raises(KeyboardInterrupt):
        host.process().converge(LINEAGE)
    assert record_of(host).running == ["www"]
    unit.start = start
    host.process().converge(LINEAGE)
    assert host.serves(host.lineages[LINEAGE])


def test_a_wrong_name_of_a_unit_does_not_count_as_stopped_by_us(tmp_path):
    """Corrected later, the unit is stopped, and gets its files."""
    host, _ = with_unit(tmp_path)
    target = host.targets[0]
    host.targets = [replace(target, reloads=(("systemctl", "reload", "wwww"),))]
    for _ in range(2):
        with pytest.raises(DeployError, match=r"not found.*in the same way"):
            host.process().converge(LINEAGE)
    host.targets = [target]
    host.process().converge(LINEAGE)
    assert host.told[-1].endswith("and nothing was probed")


# patience


def slow(host, unit, seconds):
    """Let the service of a unit need so long to start: it listens only then."""
    service, sleep = host.services["www"], host.sleep
    starts = []

    def start():
        service.served = None
        starts.append(host.seconds)
        return True

    def and_then(pause_seconds):
        sleep(pause_seconds)
        if starts and host.seconds - starts[-1] >= seconds:
            service.served = service.on_disk()

    unit.start, host.sleep = start, and_then
    return starts


PROBE = Probe("www", 443, has_default_timeout=True)


@pytest.mark.parametrize(
    ("seconds", "verb", "how", "is_awaited"),
    [
        (40, "restart", {}, True),
        (290, "try-restart", {"start_limit": "infinity"}, True),
        (310, "restart", {}, False),
        (550, "restart", {"start_limit": "10min"}, True),
        (2000, "restart", {"start_limit": "2h"}, False),
        (40, "try-reload-or-restart", {"can_reload": False}, True),
    ],
)
def test_a_slow_service_is_awaited(tmp_path, seconds, verb, how, is_awaited):
    """Minutes after a restart, or as long as its start limit; it is restarted once, and the wait is shown."""
    host, unit = with_unit(tmp_path, verb, RUNNING, **how)
    host.targets = [replace(host.targets[0], probes=(PROBE,))]
    starts = slow(host, unit, seconds)
    if is_awaited:
        host.process().converge(LINEAGE)
        assert len(starts) == 1
        assert host.serves(host.lineages[LINEAGE])
        assert len([line for line in host.told if "[deploy www]: waiting until www:443 serves" in line]) in range(2, 7)
    else:
        with pytest.raises(DeployError, match="no connection at www:443"):
            host.process().converge(LINEAGE)


@pytest.mark.parametrize(
    ("verb", "probe", "most_seconds"),
    [("reload", PROBE, 30), ("restart", replace(PROBE, has_default_timeout=False), 30)],
)
def test_patience_has_an_end(tmp_path, verb, probe, most_seconds):
    """After a reload half a minute is enough; the section's own time limit counts also after a restart."""
    host, unit = with_unit(tmp_path, verb, RUNNING)
    host.targets = [replace(host.targets[0], probes=(probe,))]
    slow(host, unit, 1000)
    unit.reload = unit.start
    with pytest.raises(DeployError, match=rf"after {most_seconds} s"):
        host.process().converge(LINEAGE)


def test_another_command_that_restarts_gets_minutes_too(tmp_path):
    """``service NAME restart``, ``docker restart NAME`` and their like; ``command-timeout`` wins."""
    limits = []
    host, _ = with_unit(tmp_path)
    run = host.run

    def noting(command, timeout_seconds, while_waiting=None):
        limits.append((command[0], timeout_seconds))
        return run(command, timeout_seconds, while_waiting)

    host.run = noting
    host.targets = [replace(host.targets[0], reloads=(("reload", "www"), ("restart", "www")))]
    host.process().converge(LINEAGE)
    host.targets = [replace(host.targets[0], command_timeout_seconds=7.0, tests=())]
    host.process().converge(LINEAGE)
    assert limits == [("test", 60), ("test", 60), ("reload", 60), ("restart", 300), ("reload", 7), ("restart", 7)]


# what systemctl is given, and gives


@pytest.mark.parametrize(
    ("command", "units"),
    [
        ("systemctl reload nginx", ["nginx"]),
        ("/usr/bin/systemctl --user restart a.service b", ["a.service", "b"]),
        ("systemctl --no-block -q --job-mode=fail try-restart a", ["a"]),
        ("systemctl --machine=web reload a", ["a"]),
        ("systemctl -M web reload a", None),
        ("systemctl --root=/mnt reload a", None),
        ("systemctl kill -s HUP a", None),
        ("systemctl start a", None),
        ("systemctl daemon-reload", None),
        ("systemctl reload", None),
        ("nginx -s reload", None),
        ("sudo systemctl reload nginx", None),
    ],
)
def test_the_units_of_a_command(command, units):
    """A command is changed only where all of it is understood; any other runs as written."""
    found = unit_command(command.split())
    assert (list(found.units) if found else None) == units


def test_the_same_manager_is_asked_as_is_told_to_reload():
    """``--user`` and ``--machine=`` choose it."""
    command = unit_command(["systemctl", "--user", "--no-block", "reload", "a"])
    assert command.show("a")[:3] == ("systemctl", "--user", "show")
    assert command.start("a") == ("systemctl", "--user", "start", "a")


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ("1min 30s", 90),
        ("2h 5min", 7500),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("infinity", 0),
        ("1month", 0),
        ("", 0),
    ],
)
def test_a_start_limit_is_read(span, seconds):
    """As systemd.time(7) writes it; what is not understood is no limit to wait for."""
    state = state_from(f"noise\nLoadState=loaded\nActiveState=active\nTimeoutStartUSec={span}\nOther=1=2\n")
    assert (state.start_limit_seconds, state.is_stopped, state.can_reload) == (seconds, False, True)
