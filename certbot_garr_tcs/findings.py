"""What the command finds out: data, so that a person, a monitoring system and a help desk read the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certbot_garr_tcs.errors import GarrTcsError


class Level(Enum):
    """How much a finding matters; ``PROBLEM`` makes the command exit with 1."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    ``code``: a name for programs, which stays the same when the words change. ``where``: the lineage, section or file.
    ``what``: what was seen, and ``next_step``: what to do about it; both are whole sentences.
    """

    level: Level
    code: str
    where: str
    what: str
    next_step: str = ""

    @classmethod
    def of_error(cls, code: str, where: str, error: GarrTcsError) -> Finding:
        """Return the finding that an error of ours is: its message, and its hint as the next step."""
        return cls(
            Level.PROBLEM, code, where, f"{error.message[:1].upper()}{error.message[1:].rstrip('.')}.", error.hint
        )

    def as_document(self) -> dict[str, str]:
        """Return it as JSON shows it."""
        return {
            "level": self.level.value,
            "code": self.code,
            "where": self.where,
            "what": self.what,
            "next_step": self.next_step,
        }
