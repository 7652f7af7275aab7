"""Session: present all, wait for all, clean up all, whatever happens."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from support.solver_contract import Bench, SolverContract
from zope.interface import Invalid, implementer

from certbot_garr_tcs.challenges.interfaces import Challenge, ISolver
from certbot_garr_tcs.challenges.session import Session
from certbot_garr_tcs.challenges.settings import (
    DNS_01,
    HTTP_01,
    DelegateSettings,
    Rfc2136Settings,
    SolverSection,
)
from certbot_garr_tcs.errors import ChallengeError, ConfigError, DnsError

INI = Path("/etc/letsencrypt/garr-tcs.ini")


def dns(suffix="", *, via=None):
    """Make a dns-01 section."""
    return SolverSection(DNS_01, suffix, DelegateSettings(via) if via else Rfc2136Settings(server=suffix), INI)


def http(suffix=""):
    """Make an http-01 section."""
    return SolverSection(HTTP_01, suffix, DelegateSettings("webroot", (("webroot-path", f"/{suffix}"),)), INI)


def asked(*names, kind=DNS_01):
    """Make one challenge for each name."""
    return [Challenge(name, kind, f"proof {number} of {name}") for number, name in enumerate(names)]


@implementer(ISolver)
class Board:
    """Solves challenges by writing on a board that the test can read."""

    def __init__(self, board=None, *, challenge_type=DNS_01, name="board"):
        self.challenge_type = challenge_type
        self.name = name
        self.board = board if board is not None else set()
        self.mine = set()
        self.log = []

    def present(self, challenges):
        """Write the proofs on the board."""
        self.log.append(("present", tuple(challenges)))
        for challenge in challenges:
            self.board.add(challenge.validation)
            self.mine.add(challenge.validation)

    def wait(self, challenges):
        """Look that the proofs are there."""
        self.log.append(("wait", tuple(challenges)))
        if not {challenge.validation for challenge in challenges} <= self.board:
            raise ChallengeError(f"{self.name} does not show the proofs")

    def clean_up(self, challenges):
        """Wipe the proofs off."""
        self.log.append(("clean_up", tuple(challenges)))
        for challenge in challenges:
            if challenge.validation in self.mine:
                self.mine.remove(challenge.validation)
                self.board.discard(challenge.validation)


class TestBoard(SolverContract):
    """The solver of these tests keeps the contract, so that what they show holds for real ones."""

    @pytest.fixture
    def bench(self):
        """Put a board where a stranger's proof is already."""
        board = {"stranger"}
        return Bench(Board(board), asked("a.example.it", "a.example.it", "b.example.it"), board.copy, {"stranger"})


class Failing(Board):
    """Fails where the test wants, as often as it wants; present fails half-way."""

    def __init__(self, where, error, *, times=1, **kwargs):
        super().__init__(**kwargs)
        self.where = where
        self.error = error
        self.times = times

    def _fail(self, where):
        if where == self.where and self.times:
            self.times -= 1
            raise self.error

    def present(self, challenges):
        """Write the first proof, then fail."""
        super().present(challenges[:1] if self.where == "present" else challenges)
        self._fail("present")

    def wait(self, challenges):
        """Fail, as after a deadline."""
        self._fail("wait")
        super().wait(challenges)

    def clean_up(self, challenges):
        """Fail before anything is wiped off."""
        self._fail("clean_up")
        super().clean_up(challenges)


def session(solvers, *sections):
    """Make a session that gives each section its solver, or raises the error that stands in its place."""

    def solver_for(section):
        found = solvers[sections.index(section)]
        if isinstance(found, Exception):
            raise found
        return found

    return Session(solver_for, sections)


def test_presents_all_waits_for_all_and_cleans_all():
    """Every challenge goes to the solver of its section, in the order asked, and is removed at the end."""
    board = set()
    one, two = Board(board), Board(board, challenge_type=HTTP_01)
    running = session([one, two], dns("example.it"), http("example.com"))
    dns_challenges = asked("example.it", "example.it", "www.example.it")
    http_challenges = asked("example.com", kind=HTTP_01)
    running.solve([dns_challenges[0], *http_challenges, *dns_challenges[1:]])
    assert board == {challenge.validation for challenge in dns_challenges + http_challenges}
    assert running.clean_up() == ()
    assert board == set()
    assert one.log == [(step, tuple(dns_challenges)) for step in ("present", "wait", "clean_up")]
    assert two.log == [(step, tuple(http_challenges)) for step in ("present", "wait", "clean_up")]


def test_sections_that_share_a_solver_are_one_group():
    """One solver of two sections is presented once, with the challenges of both."""
    shared = Board()
    running = session([shared, shared], dns("example.it"), dns("example.com"))
    both = asked("example.it", "example.com")
    running.solve(both)
    running.clean_up()
    assert shared.log == [(step, tuple(both)) for step in ("present", "wait", "clean_up")]


def test_an_order_without_challenges_needs_no_solver():
    """Nothing to prove: nothing is built, presented or waited for."""
    running = session([ConfigError("must not be built")], dns())
    running.solve([])
    assert running.clean_up() == ()


def test_other_plugins_come_after_our_own():
    """Delegates, which may sleep while they present, come last: the others' records spread meanwhile."""
    slow, fast = Board(), Board()
    running = session([slow, fast], dns("example.com", via="dns-cloudflare"), dns("example.it"))
    assert [group.solver for group in running.group_by_solver(asked("example.com", "example.it"))] == [fast, slow]


def test_waits_overlap():
    """Two solvers wait at the same time: each ends only when the other has begun."""
    barrier = threading.Barrier(2, timeout=10)

    class Meeting(Board):
        def wait(self, challenges):
            barrier.wait()

    running = session([Meeting(), Meeting()], dns("example.it"), dns("example.com"))
    running.solve(asked("example.it", "example.com"))
    assert barrier.broken is False
    assert running.clean_up() == ()


@pytest.mark.parametrize(
    ("challenges", "suggestion"),
    [
        (asked("www.example.it"), "[dns-01 example.it]"),
        (asked("example.it"), "[dns-01 example.it]"),
        (asked("www.example.it", "a.b.example.it", "example.it"), "[dns-01 example.it]"),
        (asked("www.example.it", "www.example.com"), "[dns-01 example.com] and [dns-01 example.it]"),
        (asked("www.example.it", kind=HTTP_01), "[http-01 www.example.it]"),
        (asked("192.0.2.1", kind=HTTP_01), "[http-01 192.0.2.1]"),
        (asked("b.it", kind=HTTP_01) + asked("a.it"), "[dns-01 a.it] and [http-01 b.it]"),
        (asked("WWW.example.it.", "mail.EXAMPLE.it"), "[dns-01 example.it]"),
    ],
)
def test_names_that_no_section_covers(challenges, suggestion):
    """One error names them all, who can validate them at the CA, and the section that would solve them here."""
    with pytest.raises(ChallengeError) as caught:
        Session(lambda section: Board(), [dns("example.org")]).solve(challenges)
    names = ", ".join(sorted(challenge.identifier for challenge in challenges))
    assert str(caught.value) == (
        f"the CA asks for a proof of control of {names}, and no section of /etc/letsencrypt/garr-tcs.ini can give it. "
        "Either your organisation's administrator has what is missing validated in the CA's portal (for a HARICA "
        f"Personal account that changes nothing); or prove control here, with a section such as {suggestion}."
    )


def test_apex_and_wildcard_are_one_name_in_a_message():
    """Two challenges for one name do not name it twice."""
    with pytest.raises(ChallengeError, match=r"control of example\.it, and"):
        Session(lambda section: Board(), []).solve(asked("example.it", "example.it"))


def test_a_file_without_sections_is_named_too():
    """Where there is no section at all, the message still says where one would go."""
    with pytest.raises(ChallengeError, match=r"no section of garr-tcs\.ini can give it"):
        Session(lambda section: Board(), []).solve(asked("www.example.it"))


def test_nothing_is_presented_where_one_name_is_not_covered():
    """A name without a section stops everything before the first proof is published."""
    solver = Board()
    running = session([solver], dns("example.it"))
    with pytest.raises(ChallengeError, match=r"control of www\.example\.com, and"):
        running.solve(asked("www.example.it", "www.example.com"))
    assert running.clean_up() == ()
    assert solver.log == []


def test_nothing_is_presented_where_solvers_cannot_be_built():
    """Sections that cannot be used are reported together, before the first proof is published."""
    solver = Board()
    running = session(
        [solver, ConfigError("[dns-01 example.com] is wrong", "Correct it."), ConfigError("[dns-01 example.org] too")],
        dns("example.it"),
        dns("example.com"),
        dns("example.org"),
    )
    with pytest.raises(ChallengeError) as caught:
        running.solve(asked("example.it", "example.com", "example.org"))
    assert str(caught.value) == (
        "2 errors: (1) [dns-01 example.com] is wrong. Correct it; (2) [dns-01 example.org] too"
    )
    assert solver.log == []


def test_one_error_stays_the_error_that_it_is():
    """A single refused section keeps its own class and hint."""
    refused = ConfigError("[dns-01] is wrong", "Correct it.")
    with pytest.raises(ConfigError) as caught:
        session([refused], dns()).solve(asked("example.it"))
    assert caught.value is refused


def test_what_is_no_solver_is_found_when_it_is_built():
    """An object that lacks a method of ISolver is refused before anything is presented."""

    @implementer(ISolver)
    class Half:
        challenge_type = DNS_01

        def present(self, challenges):
            raise AssertionError

    with pytest.raises(Invalid):
        session([Half()], dns()).solve(asked("example.it"))


@pytest.mark.parametrize("where", ["present", "wait"])
def test_after_an_error_everything_is_removed(where):
    """When one solver fails, the proofs of all are gone, and its own error is what is raised."""
    board = set()
    error = DnsError(f"{where} at 192.0.2.53: REFUSED", "Allow it.")
    good, bad = Board(board), Failing(where, error, board=board)
    running = session([good, bad], dns("example.it"), dns("example.com"))
    challenges = asked("example.it", "example.com", "www.example.com")
    with pytest.raises(DnsError) as caught:
        running.solve(challenges)
    assert caught.value is error
    assert board == set()
    assert good.log[-1] == ("clean_up", (challenges[0],))
    assert bad.log[-1] == ("clean_up", tuple(challenges[1:]))
    before = len(good.log), len(bad.log)
    assert running.clean_up() == ()
    assert (len(good.log), len(bad.log)) == before, "what is removed is not removed again"


@pytest.mark.parametrize("where", ["present", "wait"])
def test_errors_of_several_solvers_are_reported_together(where):
    """Two solvers that fail make one error with the text of each."""
    first, second = ChallengeError("ns1 says REFUSED", "Allow it."), ChallengeError("ns2 is not there")
    good = Board()
    running = session(
        [Failing(where, first), good, Failing(where, second)],
        dns("example.it"),
        dns("example.org"),
        dns("example.com"),
    )
    with pytest.raises(ChallengeError) as caught:
        running.solve(asked("example.com", "example.org", "example.it"))
    assert str(caught.value) == ("2 errors: (1) ns2 is not there; (2) ns1 says REFUSED. Allow it")
    assert caught.value.__cause__ is second
    assert good.board == set()


def test_a_deadline_that_passes_removes_all():
    """A solver whose time is up ends the run, and nothing stays behind."""
    board = set()

    class NeverThere(Board):
        def wait(self, challenges):
            raise ChallengeError(f"192.0.2.53 does not show {challenges[0].identifier} after 120 s", "Wait longer.")

    running = session([NeverThere(board), Board(board)], dns("example.it"), dns("example.com"))
    with pytest.raises(ChallengeError, match="after 120 s"):
        running.solve(asked("example.it", "example.com"))
    assert board == set()


@pytest.mark.parametrize("where", ["present", "wait"])
@pytest.mark.parametrize("solvers", [1, 2])
def test_a_fault_of_our_own_is_raised_unchanged(where, solvers):
    """An error that is none of ours reaches the caller as it is, after the clean-up."""
    board = set()
    fault = ZeroDivisionError("fault")
    sections = (dns("example.it"), dns("example.com"))[:solvers]
    running = session([Failing(where, fault, board=board), Board(board)], *sections)
    with pytest.raises(ZeroDivisionError) as caught:
        running.solve(asked(*(section.suffix for section in sections)))
    assert caught.value is fault
    assert board == set()


def test_a_fault_beside_an_error_is_named_by_its_class():
    """In a joined message, an error that is none of ours is shown with its class."""
    running = session(
        [Failing("wait", OSError("no route")), Failing("wait", ChallengeError("ns2 is not there"))],
        dns("example.it"),
        dns("example.com"),
    )
    with pytest.raises(ChallengeError, match=r"\(1\) OSError: no route; \(2\) ns2 is not there"):
        running.solve(asked("example.it", "example.com"))


def test_solvers_that_still_wait_do_not_delay_the_end():
    """At Ctrl-C Certbot ends at once, whatever solvers are waiting for: their threads are daemons."""
    daemons = []

    class Looking(Board):
        def wait(self, challenges):
            daemons.append(threading.current_thread().daemon)

    session([Looking()], dns()).solve(asked("example.it"))
    assert daemons == [True]


def test_an_interrupt_removes_all():
    """Ctrl-C while waiting leaves no proof behind, and is still an interrupt."""
    board = set()
    running = session([Failing("wait", KeyboardInterrupt(), board=board)], dns())
    with pytest.raises(KeyboardInterrupt):
        running.solve(asked("example.it"))
    assert board == set()


def test_cleaning_up_does_not_hide_the_first_error(caplog):
    """When removing fails too, the first error is raised, the second is logged, the others are cleaned."""
    board = set()

    class Stuck(Failing):
        def present(self, challenges):
            super().present(challenges)
            raise ChallengeError("first error")

    stuck = Stuck("clean_up", ChallengeError("second error"), board=board)
    running = session([stuck, Board(board)], dns("example.it"), dns("example.com"))
    challenges = asked("example.it", "example.com")
    with caplog.at_level(logging.WARNING), pytest.raises(ChallengeError, match="first error"):
        running.solve(challenges)
    assert [record.getMessage() for record in caplog.records] == ["Not everything was removed: second error"]
    assert board == {challenges[0].validation}
    assert running.clean_up() == ()
    assert board == set()


def test_one_error_is_reported_once(caplog):
    """A server that cannot be reached fails publishing, and removing twice over, and is one line, not three."""

    class Unreachable(Board):
        def present(self, challenges):
            raise DnsError("UPDATE of example.it.: no answer")

        def clean_up(self, challenges):
            raise DnsError("UPDATE of example.it.: no answer")

    running = session([Unreachable()], dns())
    with pytest.raises(DnsError, match="no answer"):
        running.solve(asked("example.it"))
    assert running.clean_up() == ("UPDATE of example.it.: no answer",)
    assert caplog.records == []


def test_errors_that_were_raised_together_are_logged_by_nobody_again(caplog):
    """Two servers that refuse publishing and removing are one error with both, hints and all, and no warning."""

    class Refused(Board):
        def present(self, challenges):
            raise DnsError(f"{self.name}: REFUSED.", "Allow it.")

        clean_up = present

    running = session([Refused(name="ns1"), Refused(name="ns2")], dns("example.it"), dns("example.com"))
    with pytest.raises(ChallengeError, match=r"\(1\) ns1: REFUSED\. Allow it; \(2\) ns2: REFUSED$"):
        running.solve(asked("example.it", "example.com"))
    assert running.clean_up() == ("ns1: REFUSED. Allow it.", "ns2: REFUSED. Allow it.")
    assert caplog.records == []


def test_what_could_not_be_removed_is_reported_and_tried_again(caplog):
    """clean_up raises nothing, reports what is left, once, and tries only that again."""
    stuck, good = Failing("clean_up", OSError("no route"), times=2), Board()
    running = session([stuck, good], dns("example.it"), dns("example.com"))
    running.solve(asked("example.it", "example.com"))
    assert running.clean_up() == ("OSError: no route",)
    assert [record.getMessage() for record in caplog.records] == ["Not everything was removed: OSError: no route"]
    assert running.clean_up() == ("OSError: no route",)
    assert len(caplog.records) == 1
    assert running.clean_up() == ()
    assert stuck.board == good.board == set()
    assert [step for step, _ in good.log] == ["present", "wait", "clean_up"]


def test_each_solver_diagnoses_its_own():
    """The solvers of refused proofs are asked for a hint, each about its own; what fails or is empty is left out."""

    class Seer(Board):
        def diagnose(self, challenges):
            return f"{self.name} looked at {', '.join(challenge.identifier for challenge in challenges)}."

    class Blind(Board):
        def diagnose(self, challenges):
            raise ChallengeError(f"cannot see {challenges}")

    class Mute(Board):
        def diagnose(self, challenges):
            return ""

    names = ["a.it", "b.it", "c.it", "d.it", "e.it"]
    solvers = [Seer(name="one"), Blind(), Board(), Mute(), Seer(name="two")]
    running = session(solvers, *(dns(name) for name in names))
    challenges = asked("x.a.it", "b.it", "c.it", "d.it", "e.it", "a.it")
    assert running.diagnose(challenges) == "", "nothing is published yet"
    running.solve(challenges)
    assert running.diagnose(challenges) == "one looked at x.a.it, a.it. two looked at e.it."
    assert running.diagnose(challenges[:1]) == "one looked at x.a.it."
    running.clean_up()
    assert running.diagnose(challenges) == ""
