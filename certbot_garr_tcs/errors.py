"""The errors of this package: what failed, on what, with what answer, and one next step."""

from __future__ import annotations

import re

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
        ended = self.message if self.message.endswith("?") else f"{self.message.rstrip('.')}."
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
