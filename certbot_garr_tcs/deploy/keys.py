"""Read typed values out of a section's keys, and collect in words what is wrong with them (pure)."""

from __future__ import annotations

import difflib
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BOOLEANS = dict.fromkeys(("yes", "true", "on", "1"), True) | dict.fromkeys(("no", "false", "off", "0"), False)
NEEDS_SHELL = ("|", "||", "&&", ";", "&", ">", ">>", "<", "2>&1")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question in brackets where a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


class Reader:
    """Read typed values out of one section, and collect what is wrong with them."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Take the keys as written; nothing is wrong yet."""
        self.keys = keys
        self.problems: list[str] = []

    def wrong(self, key: str, what: str) -> None:
        """Note what is wrong with one key."""
        self.problems.append(f"{key}: {what}")

    def text(self, key: str) -> str | None:
        """Return the value as written, or None."""
        return self.keys.get(key)

    def path(self, key: str) -> Path | None:
        """Return an absolute path."""
        value = self.text(key)
        if value is None:
            return None
        path = Path(value)
        if not path.is_absolute() or ".." in path.parts or path == Path("/"):
            self.wrong(key, f"{value!r} is no absolute path of a file; begin with / and leave out ..")
            return None
        return path

    def mode(self, key: str, default: int, *, forbidden: int, whose: str) -> int:
        """Return an octal mode that lets the owner read and has none of the forbidden bits."""
        value = self.text(key)
        if value is None:
            return default
        if not re.fullmatch(r"0?[0-7]{3}", value):
            self.wrong(key, f"{value!r} is no octal mode; write for example {default:04o}")
            return default
        mode = int(value, 8)
        if mode & forbidden or not mode & 0o400:
            self.wrong(key, f"{value} is not a mode for {whose}; write for example {default:04o}")
            return default
        return mode

    def boolean(self, key: str) -> bool:
        """Return yes or no; a missing key is no."""
        value = self.text(key)
        if value is None:
            return False
        if value.lower() not in BOOLEANS:
            self.wrong(key, f"{value!r} is neither yes nor no")
        return BOOLEANS.get(value.lower(), False)

    def choice(self, key: str, known: tuple[str, ...]) -> str | None:
        """Return one of the known words."""
        value = self.text(key)
        if value is not None and value not in known:
            self.wrong(key, f"{value!r} is none of {', '.join(known)}{did_you_mean(value, known)}")
            return None
        return value

    def command(self, key: str) -> tuple[str, ...]:
        """Return an argument vector, split as a shell would split words."""
        value = self.text(key)
        if value is None:
            return ()
        try:
            words = tuple(shlex.split(value))
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
        value = self.text(key)
        if value is None:
            return default
        if not re.fullmatch(r"\d{1,5}(\.\d+)?", value) or float(value) <= 0:
            self.wrong(key, f"{value!r} is no number of seconds above zero; write for example {default:g}")
            return default
        return float(value)
