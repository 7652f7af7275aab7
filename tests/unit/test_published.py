"""PublishedRecords of what was presented, and who may delete it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from certbot_garr_tcs.challenges.published import DAYS_KEPT, PublishedRecord, PublishedRecords
from certbot_garr_tcs.storage import StateFolder

DAY_SECONDS = 86400
ONE = PublishedRecord("example.it.", "_acme-challenge.www.example.it.", "value one", "192.0.2.53:5353")
TWO = PublishedRecord("example.it.", "_acme-challenge.example.it.", "value two", "ns.example.it")

PRESENT_AND_WAIT = """
import sys
import time
from pathlib import Path
from certbot_garr_tcs.challenges.published import PublishedRecords, PublishedRecord
from certbot_garr_tcs.storage import StateFolder
records_of_this_run = PublishedRecords(StateFolder(Path(sys.argv[1])))
one = PublishedRecord("example.it.", "_acme-challenge.www.example.it.", "value one", "192.0.2.53:5353")
records_of_this_run.add([one])
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path):
    return StateFolder(tmp_path)


def left_by(state):
    return [list(stale.records) for stale in PublishedRecords(state).stale()]


def run_that_dies(state):
    """Have another process publish a value, and kill it as a power cut would."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRESENT_AND_WAIT, str(state.path.parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"written\n"
    during = left_by(state)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    return during


def test_nothing_is_written_before_the_first_value(state):
    """A run that presents nothing leaves no trace, and finds none."""
    published = PublishedRecords(state)
    assert list(published.stale()) == []
    published.remove([ONE])
    assert not state.path.exists()


def test_what_is_removed_is_gone(state):
    """With the last value the document and its lock go."""
    published = PublishedRecords(state)
    published.add([ONE, TWO])
    published.remove([ONE])
    (document,) = state.path.glob("*.json")
    assert json.loads(document.read_text())["presented"] == [[TWO.zone, TWO.name, TWO.value, TWO.server, True]]
    published.remove([TWO])
    assert list(state.path.iterdir()) == []
    published.add([ONE])
    assert len(list(state.path.iterdir())) == 2


def test_values_of_a_live_run_are_left_alone(state):
    """While a process lives, another one does not touch its values; after its death it does."""
    assert run_that_dies(state) == []
    assert left_by(state) == [[ONE]]


def test_a_run_does_not_delete_its_own(state):
    """What this run presents is not left behind."""
    published = PublishedRecords(state)
    published.add([ONE])
    assert list(published.stale()) == []


def test_one_run_at_a_time_deletes(state):
    """While one run deletes what was left, another one does not."""
    run_that_dies(state)
    for _ in PublishedRecords(state).stale():
        assert left_by(state) == []


def test_what_is_deleted_is_forgotten(state):
    """A document whose values are all deleted is removed with its lock."""
    run_that_dies(state)
    for stale in PublishedRecords(state).stale():
        assert stale.retry_later([])
    assert list(state.path.iterdir()) == []


def kept(state, days):
    """Let a run, so many days after the epoch, fail to delete anything; return whether it is left to the next one."""
    (answer,) = [
        stale.retry_later(stale.records) for stale in PublishedRecords(state, lambda: days * DAY_SECONDS).stale()
    ]
    return answer


def test_what_cannot_be_deleted_is_tried_for_days(state):
    """However often runs try within these days, the document stays; after them, the next failure is the last."""
    state.write("presented-dead.json", {"presented": [[ONE.zone, ONE.name, ONE.value, ONE.server]], "since": 0})
    assert all(kept(state, DAYS_KEPT - 0.01) for _ in range(3))
    assert not kept(state, DAYS_KEPT)
    assert list(state.path.iterdir()) == []


def test_documents_of_the_version_that_counted_tries_are_read(state):
    """Their days begin when the file was written last; the tries that it counted count no more."""
    state.write("presented-dead.json", {"presented": [[ONE.zone, ONE.name, ONE.value, ONE.server]], "tries": 4})
    os.utime(state.path / "presented-dead.json", (DAY_SECONDS, DAY_SECONDS))
    assert left_by(state) == [[ONE]]
    assert kept(state, 1.5)
    assert kept(state, DAYS_KEPT)
    assert not kept(state, DAYS_KEPT + 1)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"presented": [[1, 2]], "tries": 0}',
        '{"presented": [], "since": "yesterday"}',
        '{"presented": [], "since": NaN}',
        '{"presented": [], "since": Infinity}',
    ],
)
def test_a_damaged_document_stops_nobody(state, text, caplog):
    """A damaged document is named in the log, and the next one is read."""
    (state.ensure() / "presented-0.json").write_text(text)
    state.write("presented-1.json", {"presented": [[ONE.zone, ONE.name, ONE.value, ONE.server]], "since": time.time()})
    assert left_by(state) == [[ONE]]
    assert "presented-0.json" in caplog.text


def test_a_lock_without_document_is_removed(state):
    """A lock that a killed run left before its first document means nothing, and does no harm."""
    (state.ensure() / "presented-0.lock").touch()
    assert left_by(state) == []


def test_documents_are_private(state):
    """Nobody else reads what is presented where."""
    PublishedRecords(state).add([ONE])
    assert all(path.stat().st_mode & 0o077 == 0 for path in state.path.glob("*.json"))
