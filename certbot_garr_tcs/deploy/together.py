"""Take several steps although one fails, and tell their errors as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from certbot_garr_tcs.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")


def caught(step: Callable[[_T], None], what: _T) -> list[DeployError]:
    """Take a step; return its error instead of raising it."""
    try:
        step(what)
    except DeployError as error:
        return [error]
    return []


def raise_together(errors: Sequence[DeployError]) -> None:
    """Raise what there is to raise; of several, the first one's hint."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        told = "; ".join(error.message for error in errors)
        raise DeployError(f"cannot deploy to {len(errors)} targets: {told}", errors[0].hint)
