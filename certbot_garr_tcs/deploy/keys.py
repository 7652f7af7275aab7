"""Read the kinds of values that only a [deploy …] section has (pure)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from certbot_garr_tcs.section_reader import SectionReader

_QUOTES = frozenset("'\"\\")
_NEEDS_SHELL = re.compile(r"[|&;<>()$`*~]|^\s*\w+=")
_PART = re.compile(
    r"""
      \\. | '[^']*'                      # quoted for a shell, too
    | "(?:\\[^$`]|[^"\\$`])*"           # "…" in which nothing is expanded
    | (?P<special> "(?:\\[^$`]|[^"\\$`])*\\?[$`] | (?:^\s*)\w+= | (?:(?<=\s)|^)~ | [|&;<>()$`*]+ )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


def _needs_shell(command: str) -> str:
    """Return what of a command only a shell understands, as it stands outside quotes; empty where there is nothing."""
    for part in _PART.finditer(command):
        special = part.group("special")
        if special:
            return "NAME=value" if special.endswith("=") else special[-1] if special.startswith('"') else special
    return ""


class DeploySectionReader(SectionReader):
    """Read paths, modes, commands and times, and collect what is wrong with them."""

    def path(self, key: str, base: Path | None = None) -> Path | None:
        """Return the absolute path of a file; a relative one is relative to ``base`` where there is one."""
        value = self.value(key)
        if value is None:
            return None
        path = base / value if base else Path(value)
        if not path.is_absolute() or ".." in path.parts or path == Path("/"):
            self.add_problem(key, "is no absolute path of a file; begin with /, and write no .. in it")
            return None
        return path

    def mode(self, key: str, default: int, *, forbidden: int, whose: str) -> int:
        """Return an octal mode that lets the owner read and has none of the forbidden bits."""
        value = self.value(key)
        if value is None:
            return default
        if not re.fullmatch(r"0?[0-7]{3}", value):
            self.add_problem(key, f"is no octal mode; write for example {default:04o}")
            return default
        mode = int(value, 8)
        if mode & forbidden or not mode & 0o400:
            self.add_problem(key, f"is not a mode for {whose}; write for example {default:04o}")
            return default
        return mode

    def commands(self, key: str) -> tuple[tuple[str, ...], ...]:
        """Return argument vectors, split as a shell would split words: one for each line, and none twice."""
        value = self.value(key)
        found = [self._command(key, line) for line in value.splitlines()] if value else []
        return tuple(dict.fromkeys(words for words in found if words))

    def _command(self, key: str, value: str) -> tuple[str, ...]:
        try:
            # Without quotes both say the same, and a timer's run reads hundreds of these.
            words = tuple(shlex.split(value) if _QUOTES.intersection(value) else value.split())
        except ValueError as error:
            self.add_problem(key, f"quotes do not match ({error}); quote it as for a shell")
            return ()
        found = _NEEDS_SHELL.search(value) and _needs_shell(value)
        if found:
            self.add_problem(key, f"{found} needs a shell, and none is used; quote it, or write sh -c '…'")
        if not words or not words[0]:
            self.add_problem(key, "names no command; write for example nginx -t")
            return ()
        return words

    def seconds(self, key: str) -> float | None:
        """Return a number of seconds above zero."""
        value = self.value(key)
        if value is None:
            return None
        if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,9})?", value) or float(value) <= 0:
            self.add_problem(key, "is no number of seconds above zero; write for example 120, without a unit")
            return None
        return float(value)
