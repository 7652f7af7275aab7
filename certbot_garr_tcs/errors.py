"""The errors of this package: what failed, on what, with what answer, and one next step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_ESCAPE_SEQUENCES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\))")
"""What colours a terminal's text, moves its cursor or sets its title (ECMA-48: CSI and OSC)."""


def _one_line(text: str) -> str:
    """Return a text on one line, without what could move a terminal's cursor."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def printable(text: str, limit: int = 200) -> str:
    """Return text that comes from outside, as it may stand in a message or a log.

    One line, without terminal escapes and control characters, which could hide or forge what the user reads; cut
    to ``limit`` characters, the last of which is then an ellipsis.
    """
    head = _ESCAPE_SEQUENCES.sub("", text[: 8 * limit])  # a megabyte is not searched for what is cut off anyway
    line = _one_line("".join(character if character.isprintable() else " " for character in head))
    return line if len(line) <= limit and len(text) <= 8 * limit else f"{line[: limit - 1].rstrip()}…"


def printable_end(text: str, limit: int) -> str:
    """Return the end of a text that comes from outside, as ``printable`` does its beginning; ``…`` stands before it."""
    line = _one_line(_ESCAPE_SEQUENCES.sub("", text[-8 * limit :]))
    return line if len(line) <= limit and len(text) <= 8 * limit else f"…{line[1 - limit :].lstrip()}"


class GarrTcsError(Exception):
    """The base class: what failed and what to do next, in one line.

    ``message``: what failed, on what, with what answer. ``hint``: one next step, naming the option,
    key or command. Both are one line each, because Certbot shows the ``repr`` of some errors.
    Neither ever holds a secret.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = _one_line(message)
        self.hint = _one_line(hint)
        # A message may end with the question "did you mean …?".
        ended = self.message if self.message.endswith(("?", ".")) else f"{self.message}."
        super().__init__(f"{ended} {self.hint}" if self.hint else self.message)


class ConfigError(GarrTcsError):
    """Something in garr-tcs.ini, or among our options, cannot be used."""


class AccountError(GarrTcsError):
    """There is no CA account that may be used for this run."""


class ChallengeError(GarrTcsError):
    """Control of a name could not be proved."""


class DnsError(ChallengeError):
    """A name server gave no answer, or another one than was needed."""


class DeployError(GarrTcsError):
    """A target does not have, or its service does not serve, the certificate that it should."""


class SandboxError(GarrTcsError):
    """The practice CA could not be set up, or did not do what was expected of it."""


_MOST_JOINED = 5
"""So many errors are shown in one message: more would hide the first."""


def error_text(error: BaseException) -> str:
    """Return an error as a message shows it: any class but our own is named."""
    return str(error) if isinstance(error, GarrTcsError) else f"{type(error).__name__}: {error}"


def join_errors(
    errors: Sequence[BaseException], kind: type[GarrTcsError] = GarrTcsError, *, most: int = _MOST_JOINED
) -> BaseException:
    """Join several errors into one of class ``kind``, whose cause is the first; a single error stays as it is.

    Equal messages are shown once, and so are equal hints. What is beyond the first ``most`` is counted.
    """
    distinct: dict[str, BaseException] = {}
    for error in errors:
        distinct.setdefault(error.message if isinstance(error, GarrTcsError) else error_text(error), error)
    if len(distinct) == 1:
        return errors[0]
    shown, hints = [], {""}
    for number, (message, error) in enumerate(list(distinct.items())[:most], 1):
        hint = error.hint if isinstance(error, GarrTcsError) else ""
        text = message if hint in hints else str(GarrTcsError(message, hint))
        hints.add(hint)
        shown.append(f"({number}) {text.rstrip('.')}")
    if len(distinct) > most:
        shown.append(f"and {len(distinct) - most} more")
    joined = kind(f"{len(distinct)} errors: {'; '.join(shown)}")
    joined.__cause__ = errors[0]
    return joined
