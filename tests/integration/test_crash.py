"""A deployment that is killed at any system call leaves whole files, and the next run corrects the set."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path

import pytest
from support import tracing
from support.needs import need_tracing
from support.pki import material
from support.service import Host

from certbot_garr_tcs.deploy.transaction import Journal
from certbot_garr_tcs.errors import DeployError

pytestmark = pytest.mark.integration

LINEAGE = "www.example.it"


@pytest.fixture(scope="module", autouse=True)
def _may_trace():
    need_tracing()


@pytest.fixture
def tmp_path(tmp_path):
    """Work in memory where that is possible: what is tried here is order, and a disk only makes it slow."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def generations(count=2):
    return [material() for _ in range(count)]


def whole(path, *allowed):
    data = path.read_bytes() if path.exists() else None
    assert data in allowed, f"{path} is neither wholly old nor wholly new"
    if path.suffix == ".key" and data is not None:
        assert path.stat().st_mode & 0o777 == 0o600
    return data


def fresh_host(tmp_path, number, first=None, services=("www",)):
    folder = tmp_path / str(number)
    folder.mkdir()
    host = Host(folder, *services)
    if first is not None:
        host.put_lineage(first)
        host.process().converge(LINEAGE)
    return host


def deploy(host):
    host.process().converge(LINEAGE)


def roll_back(host):
    process = host.process()
    process.restore(1)
    process.restart()


def refused(host):
    host.services["www"].deaf = True
    with pytest.raises(DeployError):
        host.process().converge(LINEAGE)


def kills(prepare, act, check, first=1):
    """Kill ``act`` at every boundary until it runs through; return how many kills that were."""
    boundary = first
    while True:
        host = prepare(boundary)
        if not tracing.run_until(boundary, functools.partial(act, host)):
            return boundary - first
        check(host)
        assert Journal(host.state).unfinished() == []
        assert list(host.tls.glob(".*")) == []
        boundary += 1


def test_a_renewal_killed_anywhere_is_whole_and_mended(tmp_path):
    """At least 200 kills of a deployment over an old one: none leaves a mixed file, or a set that stays mixed."""
    old, new = generations()

    def prepare(number):
        host = fresh_host(tmp_path, number, old)
        host.put_lineage(new)
        return host

    def check(host):
        service = host.services["www"]
        whole(service.cert, old.fullchain_pem, new.fullchain_pem)
        whole(service.key, old.key_pem, new.key_pem)
        host.process().recover()
        assert service.on_disk() is not None, "the set is mixed after recovery"
        host.process().converge(LINEAGE)
        assert host.serves(new)

    assert kills(prepare, deploy, check) >= 200


def test_a_first_deployment_killed_anywhere_is_none_or_all(tmp_path):
    """Where there was nothing before, there is nothing, or everything, after recovery."""
    new = material()

    def prepare(number):
        host = fresh_host(tmp_path, number)
        host.put_lineage(new)
        return host

    def check(host):
        service = host.services["www"]
        whole(service.cert, None, new.fullchain_pem)
        whole(service.key, None, new.key_pem)
        host.process().recover()
        assert service.cert.exists() == service.key.exists()
        host.process().converge(LINEAGE)
        assert host.serves(new)

    assert kills(prepare, deploy, check) >= 200


def test_an_undo_killed_anywhere_ends_with_the_old_set(tmp_path):
    """The service refuses the new certificate, and the undo itself is cut short."""
    old, new = generations()

    def prepare(number):
        host = fresh_host(tmp_path, number, old)
        host.put_lineage(new)
        return host

    def check(host):
        service = host.services["www"]
        whole(service.cert, old.fullchain_pem, new.fullchain_pem)
        whole(service.key, old.key_pem, new.key_pem)
        host.process().recover()
        assert service.cert.read_bytes() == old.fullchain_pem
        assert service.key.read_bytes() == old.key_pem
        host.process().converge(LINEAGE)
        assert host.serves(new)

    # what comes before the service is told is the same as in a renewal, which is tried from the first call on
    assert kills(prepare, refused, check, first=60) >= 200


def test_a_recovery_killed_anywhere_is_taken_up_again(tmp_path):
    """Recovery, of two targets here, may be cut short as often as one likes."""
    old, new = generations()

    def prepare(number):
        host = fresh_host(tmp_path, number, old, services=("www", "mail"))
        host.put_lineage(new)
        process = host.process()
        process.renew_deploy(LINEAGE)
        host.crash(process)
        return host

    def recover(host):
        host.process().recover()

    def check(host):
        host.process().recover()
        for service in host.services.values():
            assert service.cert.read_bytes() == old.fullchain_pem
            assert service.key.read_bytes() == old.key_pem

    assert kills(prepare, recover, check) >= 200


def test_a_rollback_killed_anywhere_is_wholly_done_or_not_at_all(tmp_path):
    """Certbot rollback, too, is one transaction."""
    old, new = generations()

    def prepare(number):
        host = fresh_host(tmp_path, number, old)
        host.put_lineage(new)
        host.process().converge(LINEAGE)
        return host

    def check(host):
        host.process().recover()
        service = host.services["www"]
        assert service.on_disk() is not None
        host.process().converge(LINEAGE)
        assert host.serves(old) or host.serves(new)

    assert kills(prepare, roll_back, check) >= 200
