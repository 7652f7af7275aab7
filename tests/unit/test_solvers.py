"""The solver that a section asks for is built when it is needed, and shared where it can be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from achalls import certbot_config

from certbot_garr_tcs.challenges.notes import Notes, Presented
from certbot_garr_tcs.challenges.rfc2136 import Rfc2136Solver
from certbot_garr_tcs.challenges.sections import DNS_01, HTTP_01, DelegateSettings, Rfc2136Settings, SolverSection
from certbot_garr_tcs.challenges.solvers import Solvers
from certbot_garr_tcs.state import StateFolder

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
        return Solvers(sections, state, config)

    return make


def test_most_runs_build_nothing(make, state):
    """Nothing is left behind, so nothing is asked, written or built."""
    solvers = make(ONE)
    solvers.withdraw_left_behind()
    assert solvers.session() is not solvers.session()
    assert solvers._updater is None
    assert not state.path.exists()


def test_all_updates_share_one_solver(make):
    """Values of one zone share an UPDATE, whatever sections they come from."""
    solvers = make(ONE, TWO)
    assert isinstance(solvers.solver_for(ONE), Rfc2136Solver)
    assert solvers.solver_for(ONE) is solvers.solver_for(TWO)


def test_a_delegate_is_built_once(make, tmp_path):
    """The same section has the same delegate; another section has another."""
    (tmp_path / "www").mkdir()
    how = DelegateSettings("webroot", (("webroot-path", str(tmp_path / "www")),))
    web, other = SolverSection(HTTP_01, "a.example", how, INI), SolverSection(HTTP_01, "b.example", how, INI)
    solvers = make(web, other)
    assert solvers.solver_for(web) is solvers.solver_for(web)
    assert solvers.solver_for(web).challenge_type == HTTP_01


def test_what_a_killed_run_left_is_looked_at(make, state, caplog):
    """Its note is damaged here: that is said, and stops nobody."""
    state.write("presented-dead.json", {"nothing": "of use"})
    make(ONE).withdraw_left_behind()
    assert "is damaged" in caplog.text


def test_a_living_run_is_left_alone(make, state):
    """Its lock says that it lives."""
    living = Notes(state)
    living.add([Presented("one.example.", "_acme-challenge.one.example.", "value", "127.0.0.1:1")])
    make(ONE).withdraw_left_behind()
    assert list(state.path.glob("presented-*.json"))
    living.remove([Presented("one.example.", "_acme-challenge.one.example.", "value", "127.0.0.1:1")])


@pytest.mark.parametrize(("quiet", "stream"), [(True, None), (False, sys.stdout)])
def test_quiet_waits_show_nothing(make, quiet, stream):
    """--quiet is Certbot's own word for it."""
    assert (make(quiet=quiet).progress._stream is None) is (stream is None)
