"""Read the values of one section of garr-tcs.ini, key by key, and collect its problems."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from certbot_garr_tcs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_PROBLEMS = 20
"""More problems of one file than these are not shown."""

YES = frozenset({"yes", "true", "on", "1"})
NO = frozenset({"no", "false", "off", "0"})
_TOKEN = re.compile(r"[A-Za-z0-9]+")
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_LONGEST_WORD = 40
_MOST_CHANGES = 3
_SHORTEST_KEY = 16


def could_be_secret(text: str) -> bool:
    """Return whether a text could be a key, a token or a part of one, and must not be shown.

    The rule for every message about garr-tcs.ini: what the user wrote is quoted only where it is

    - a known key or kind of section, or so near to one that ``did_you_mean`` finds it;
    - the name of a section, or the path of a file, for which this function returns ``False``.

    A value is never quoted: section and key, or the number of the line, say where it stands. What would be shown
    later (a server, a zone, the name of a TSIG key) is not accepted where this function returns ``True``: see
    ``SectionReader.text``.

    Base64 and hexadecimal digits change between capitals, small letters and figures all the time; words and the
    names of hosts do not. A "=" is base64's padding, or the rest of a line that went wrong.
    """
    if "=" in text or not text.isprintable():
        return True
    tokens = _TOKEN.findall(text)
    changes = [len(_PIECE.findall(token)) - 1 for token in tokens]
    capitals = text != text.lower()
    return (capitals and sum(changes) > _MOST_CHANGES) or any(
        len(token) > _LONGEST_WORD
        or (capitals and count >= _MOST_CHANGES)
        or (len(token) >= _SHORTEST_KEY and count > 1)
        for token, count in zip(tokens, changes)
    )


def as_ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that a text is, or ``None``."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return that of ``known`` which ``word`` may have been meant to be."""
    if len(word) > _LONGEST_WORD or could_be_secret(word):
        return None
    import difflib  # noqa: PLC0415  (only when something is wrong)

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "…"?`` for the nearest of ``known``, or nothing."""
    near = nearest(word, known)
    return f'; did you mean "{near}"?' if near else ""


def heading(kind: str, name: str) -> str:
    """Return the heading of a section, in brackets, as it may be shown; ``kind`` is a known one."""
    return f"[{kind} {'…' if could_be_secret(name) else name}]" if name else f"[{kind}]"


@dataclass
class Section:
    """A section of garr-tcs.ini as written: ``[kind name]`` in line ``line``.

    ``values``: keys with dashes, values as strings without quotes. ``lines``: the number of each key's line.
    """

    kind: str
    name: str
    line: int
    values: dict[str, str] = field(default_factory=dict, repr=False)
    lines: dict[str, int] = field(default_factory=dict, repr=False)


class SectionReader:
    """Reads one section's values; every problem is added to ``problems``, none is raised.

    ``heading``: the section as the user wrote it, in brackets. ``values``: keys with dashes, values as
    strings. ``known``: the keys that may stand there; ``None`` accepts any. ``lines``: the number of each
    key's line. Each getter returns ``None`` where the key is missing or wrong. What is quoted in a problem
    follows the rule of ``could_be_secret``.
    """

    def __init__(
        self,
        heading: str,
        values: Mapping[str, str],
        known: Iterable[str] | None,
        lines: Mapping[str, int] | None = None,
    ) -> None:
        self.heading = heading
        self.values = values
        self.problems: list[str] = []
        if known is None:
            return
        known = list(known)
        for position, key in enumerate(values, 1):
            if key not in known:
                near = did_you_mean(key, known) if len(self.problems) < MOST_PROBLEMS else ""
                where = f"line {lines[key]}" if lines else f"entry {position}"
                self.add_problem(key if near else where, f"is no key of this section{near}")

    def add_problem(self, key: str, what: str) -> None:
        """Add a problem: section, key, what is wrong and what would be right."""
        self.problems.append(f"{self.heading} {key} {what}")

    def has(self, *keys: str) -> bool:
        """Return whether any of ``keys`` is there, right or wrong."""
        return any(key in self.values for key in keys)

    def value(self, key: str) -> str | None:
        """Return a value that is not empty. It may be a secret: no message shows it."""
        value = self.values.get(key)
        if value == "":
            self.add_problem(key, "is empty; give it a value, or remove the line")
            return None
        return value

    def text(self, key: str) -> str | None:
        """Return a value that is not empty, and may be shown later, since it does not look like a secret."""
        value = self.value(key)
        if value is not None and could_be_secret(value):
            self.add_problem(key, "looks like a key or a password, which does not belong there (it is not shown)")
            return None
        return value

    def file(self, key: str, read: Callable[[str], str]) -> str | None:
        """Return what ``read`` finds in the file that is named; it raises ``ConfigError``."""
        name = self.value(key)
        if name is None:
            return None
        try:
            return read(name)
        except ConfigError as error:
            self.add_problem(key, f"cannot be used: {error}")
            return None

    def flag(self, key: str) -> bool | None:
        """Return yes or no as a truth value."""
        value = self.value(key)
        if value is None:
            return None
        if value.lower() in YES:
            return True
        if value.lower() in NO:
            return False
        self.add_problem(key, "must be yes or no")
        return None

    def number(self, key: str, at_least: int, at_most: int) -> int | None:
        """Return a whole number within bounds."""
        value = self.value(key)
        if value is None:
            return None
        # The length first: Python refuses to convert thousands of digits.
        if (
            value.isascii()
            and value.isdigit()
            and len(value) <= len(str(at_most))
            and int(value) in range(at_least, at_most + 1)
        ):
            return int(value)
        self.add_problem(key, f"must be a whole number from {at_least} to {at_most}")
        return None

    def one_of(self, key: str, choices: Iterable[str]) -> str | None:
        """Return one of a few words, in lower case."""
        value = self.value(key)
        if value is None:
            return None
        choices = list(choices)
        if value.lower() in choices:
            return value.lower()
        self.add_problem(key, f"must be one of {', '.join(choices)}{did_you_mean(value.lower(), choices)}")
        return None
