"""Do several slow things at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, Union

from certbot_garr_tcs.errors import ChallengeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Outcome = Union["Result", ChallengeError]

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 32
"""Threads: they wait for name servers, they do not compute."""


def together(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Outcome[Result]]:
    """Return, in order, what ``function`` made of each item: its result, or its ``ChallengeError``.

    Every item has its turn, whatever becomes of the others. Other exceptions are raised.
    """

    def attempt(item: Item) -> Outcome[Result]:
        try:
            return function(item)
        except ChallengeError as error:
            return error

    if len(items) < 2:  # noqa: PLR2004 - one item needs no thread
        return [attempt(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(items))) as pool:
        return list(pool.map(attempt, items))


def results(outcomes: Sequence[Outcome[Result]]) -> list[Result]:
    """Return the results, or raise the first error, with the other ones' messages after its own."""
    by_message: dict[str, ChallengeError] = {}
    for bad in outcomes:
        if isinstance(bad, ChallengeError):
            by_message.setdefault(bad.message, bad)
    errors = list(by_message.values())
    if not errors:
        return [good for good in outcomes if not isinstance(good, ChallengeError)]
    if len(errors) == 1:
        raise errors[0]
    shown = [error.message for error in errors[:_SHOWN]]
    if len(errors) > _SHOWN:
        shown.append(f"and {len(errors) - _SHOWN} more like these")
    raise ChallengeError("; ".join(shown), errors[0].hint) from errors[0]


_SHOWN = 5
"""Errors that one message tells: more would hide the first."""
