"""Read the kinds of values that only a [deploy …] section has (pure)."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from certbot_garr_tcs.keys import Keys

_QUOTES = frozenset("'\"\\")
NEEDS_SHELL = ("|", "||", "&&", ";", "&", ">", ">>", "<", "2>&1")


class DeployKeys(Keys):
    """Read paths, modes, commands and times, and collect what is wrong with them."""

    def path(self, key: str, base: Path | None = None) -> Path | None:
        """Return the absolute path of a file; a relative one is relative to ``base`` where there is one."""
        value = self.value(key)
        if value is None:
            return None
        path = base / value if base else Path(value)
        if not path.is_absolute() or ".." in path.parts or path == Path("/"):
            self.wrong(key, "is no absolute path of a file; begin with / and leave out ..")
            return None
        return path

    def mode(self, key: str, default: int, *, forbidden: int, whose: str) -> int:
        """Return an octal mode that lets the owner read and has none of the forbidden bits."""
        value = self.value(key)
        if value is None:
            return default
        if not re.fullmatch(r"0?[0-7]{3}", value):
            self.wrong(key, f"is no octal mode; write for example {default:04o}")
            return default
        mode = int(value, 8)
        if mode & forbidden or not mode & 0o400:
            self.wrong(key, f"is not a mode for {whose}; write for example {default:04o}")
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
            self.wrong(key, f"quotes do not match ({error}); quote it as for a shell")
            return ()
        shell = [word for word in words if word in NEEDS_SHELL]
        if shell:
            self.wrong(key, f"{shell[0]} needs a shell, and none is used; put the commands into a script")
        if not words or not words[0]:
            self.wrong(key, "names no command; write for example nginx -t")
            return ()
        return words

    def seconds(self, key: str, default: float) -> float:
        """Return a number of seconds above zero."""
        value = self.value(key)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,9})?", value) or float(value) <= 0:
            self.wrong(key, f"is no number of seconds above zero; write for example {default:g}, without a unit")
            return default
        return float(value)
