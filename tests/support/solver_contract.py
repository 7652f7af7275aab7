"""What every ISolver must do: subclass ``SolverContract`` and give it a ``bench``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from zope.interface.verify import verifyClass, verifyObject

from certbot_garr_tcs.challenges.interfaces import ISolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certbot_garr_tcs.challenges.interfaces import Challenge


@dataclass
class Bench:
    """Put a solver where its effects can be seen.

    ``challenges``: at least three, two of them for one name. ``seen``: every proof (``validation``)
    that is visible at this moment, a stranger's included. ``strangers``: proofs that somebody else
    has put there before, where the solver's place can hold such.
    """

    solver: Any
    challenges: Sequence[Challenge]
    seen: Callable[[], set[str]]
    strangers: set[str] = field(default_factory=set)

    def ours(self) -> set[str]:
        """Return the visible proofs that are not a stranger's."""
        return self.seen() - self.strangers


class SolverContract:
    """The contract of interfaces.ISolver, as tests; subclasses define the fixture ``bench``."""

    def test_provides_the_interface(self, bench: Bench) -> None:
        """Names and signatures are those of ISolver, in the class and in the object."""
        assert verifyClass(ISolver, type(bench.solver))
        assert verifyObject(ISolver, bench.solver)

    def test_has_one_type_of_challenge(self, bench: Bench) -> None:
        """The solver says which one type of challenge it solves."""
        assert {challenge.challenge_type for challenge in bench.challenges} == {bench.solver.challenge_type}

    def test_presents_all_and_removes_all(self, bench: Bench) -> None:
        """After present and wait every proof is visible, after clean_up none is, and strangers' stay."""
        names = [challenge.identifier for challenge in bench.challenges]
        assert len(set(names)) < len(names), "the bench must have two challenges for one name"
        bench.solver.present(bench.challenges)
        bench.solver.wait(bench.challenges)
        assert bench.ours() == {challenge.validation for challenge in bench.challenges}
        bench.solver.clean_up(bench.challenges)
        assert bench.seen() == bench.strangers

    def test_waiting_changes_nothing(self, bench: Bench) -> None:
        """Between present and clean_up, wait leaves everything as it is."""
        bench.solver.present(bench.challenges)
        before = bench.seen()
        bench.solver.wait(bench.challenges)
        assert bench.seen() == before
        bench.solver.clean_up(bench.challenges)

    def test_cleans_up_what_was_never_presented(self, bench: Bench) -> None:
        """clean_up without present removes nothing of anybody's and raises nothing."""
        bench.solver.clean_up(bench.challenges)
        assert bench.seen() == bench.strangers

    def test_cleans_up_again(self, bench: Bench) -> None:
        """A second clean_up is quiet, and a later present works."""
        bench.solver.present(bench.challenges)
        bench.solver.clean_up(bench.challenges)
        bench.solver.clean_up(bench.challenges)
        assert bench.seen() == bench.strangers
        bench.solver.present(bench.challenges)
        assert bench.ours() == {challenge.validation for challenge in bench.challenges}
        bench.solver.clean_up(bench.challenges)
        assert bench.seen() == bench.strangers

    def test_removes_only_what_it_is_asked_to(self, bench: Bench) -> None:
        """Cleaning one challenge leaves the others, that of the same name included."""
        first, *rest = bench.challenges
        bench.solver.present(bench.challenges)
        bench.solver.clean_up([first])
        assert bench.ours() == {challenge.validation for challenge in rest}
        bench.solver.clean_up(bench.challenges)
        assert bench.seen() == bench.strangers
