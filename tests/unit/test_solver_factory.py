"""The solver that a section asks for is built when it is needed, and shared where it can be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.challenges import certbot_config

from certbot_garr_tcs.challenges.published import PublishedRecord, PublishedRecords
from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver
from certbot_garr_tcs.challenges.session import SolverFactory, clean_up_stale
from certbot_garr_tcs.challenges.settings import DNS_01, HTTP_01, DelegateSettings, Rfc2136Settings, SolverSection
from certbot_garr_tcs.errors import ConfigError
from certbot_garr_tcs.storage import StateFolder

INI = Path("/etc/letsencrypt/garr-tcs.ini")
ONE = SolverSection(DNS_01, "one.example", Rfc2136Settings(server="192.0.2.1"), INI)
TWO = SolverSection(DNS_01, "two.example", Rfc2136Settings(server="192.0.2.2"), INI)


@pytest.fixture
def state(tmp_path):
    """Name a state folder that is not there yet."""
    return StateFolder(tmp_path / "work")


@pytest.fixture
def make(tmp_path, state):
    """Build the solvers of these sections."""

    def make(*sections, quiet=False):
        config = certbot_config(tmp_path)
        config.quiet = quiet
        return SolverFactory(sections, state, config)

    return make


def test_most_runs_build_nothing(make, state):
    """Before a section's solver is needed, nothing is asked, written or built."""
    solvers = make(ONE)
    assert solvers.session() is not solvers.session()
    assert solvers._rfc2136_solver is None
    assert not state.path.exists()


def test_all_updates_share_one_solver(make):
    """Values of one zone share an UPDATE, whatever sections they come from."""
    solvers = make(ONE, TWO)
    assert isinstance(solvers.solver_for(ONE), Rfc2136Solver)
    assert solvers.solver_for(ONE) is solvers.solver_for(TWO)


def test_a_plugin_is_built_once_for_the_same_options(make, tmp_path):
    """Two sections with one plugin and the same options share it; other options make another."""
    (tmp_path / "www").mkdir()
    one, same = (DelegateSettings("webroot", (("webroot-path", str(tmp_path / "www")),)) for _ in range(2))
    sections = [
        SolverSection(HTTP_01, f"{suffix}.example", method, INI)
        for suffix, method in (("a", one), ("b", same), ("c", DelegateSettings("standalone")))
    ]
    first, second, third = map(make(*sections).solver_for, sections)
    assert first is second
    assert first is not third
    assert first.challenge_type == third.challenge_type == HTTP_01


def read(*sections):
    """Return what reads these sections, and a list that grows with each time."""
    times = []

    def read_sections():
        times.append(len(times))
        return sections

    return read_sections, times


def test_where_nothing_is_left_the_file_is_not_read(state):
    """A run with nothing to clean up lists one folder."""
    read_sections, times = read(ONE)
    clean_up_stale(state, None, read_sections)
    assert times == []
    assert not state.path.exists()


def test_stale_records_are_deleted_once_in_a_process(state, caplog):
    """However many lineages one run renews, it tries once with each file; what cannot be read is logged."""
    state.write("presented-dead.json", {"nothing": "of use"})
    read_sections, times = read(ONE)
    for file in ("a.ini", "a.ini", "b.ini", "a.ini"):
        clean_up_stale(state, file, read_sections)
    assert len(times) == 2
    assert caplog.text.count("is damaged") == 2


def test_cleaning_up_raises_nothing(state, caplog):
    """Where the file cannot be read, another call reports it; no renewal fails because of stale records."""
    state.write("presented-dead.json", {"presented": [], "since": 0})

    def broken():
        raise ConfigError("no such section", "Remove it.")

    clean_up_stale(state, None, broken)
    assert "no such section" in caplog.text


def test_a_living_run_is_left_alone(state):
    """Its lock shows that it is still running."""
    living = PublishedRecords(state)
    living.add([PublishedRecord("one.example.", "_acme-challenge.one.example.", "value", "127.0.0.1:1")])
    clean_up_stale(state, None, read(ONE)[0])
    assert list(state.path.glob("presented-*.json"))
    living.remove([PublishedRecord("one.example.", "_acme-challenge.one.example.", "value", "127.0.0.1:1")])


@pytest.mark.parametrize(("quiet", "stream"), [(True, None), (False, sys.stdout)])
def test_quiet_waits_show_nothing(make, quiet, stream):
    """--quiet is Certbot's own option."""
    assert (make(quiet=quiet).progress._stream is None) is (stream is None)
