"""Take the values of one section, key by key, and collect what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_YES = frozenset({"yes", "true", "on", "1"})
_NO = frozenset({"no", "false", "off", "0"})


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "…"?`` for the nearest of ``known``, or nothing."""
    import difflib  # noqa: PLC0415  (only when something is wrong)

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


class Keys:
    """Read one section's values; every problem is kept in ``problems``, none is raised.

    ``heading``: the section as the user wrote it, in brackets. ``values``: keys with dashes, values as
    strings. ``known``: the keys that may stand there; ``None`` accepts any. Each getter returns
    ``None`` where the key is missing or wrong. Problems name the key, never a value that could be a
    secret.
    """

    def __init__(self, heading: str, values: Mapping[str, str], known: Iterable[str] | None) -> None:
        """Note the keys that nobody knows."""
        self.heading = heading
        self.values = values
        self.problems: list[str] = []
        if known is not None:
            known = list(known)
            for key in values:
                if key not in known:
                    self.wrong(key, f"is no key of this section{did_you_mean(key, known)}")

    def wrong(self, key: str, what: str) -> None:
        """Note a problem: section, key, what is wrong and what would be right."""
        self.problems.append(f"{self.heading} {key} {what}")

    def has(self, *keys: str) -> bool:
        """Tell whether any of ``keys`` is there, right or wrong."""
        return any(key in self.values for key in keys)

    def text(self, key: str) -> str | None:
        """Return a value that is not empty."""
        value = self.values.get(key)
        if value == "":
            self.wrong(key, "is empty; give it a value, or remove the line")
            return None
        return value

    def flag(self, key: str) -> bool | None:
        """Return yes or no as a truth value."""
        value = self.text(key)
        if value is None:
            return None
        if value.lower() in _YES:
            return True
        if value.lower() in _NO:
            return False
        self.wrong(key, "must be yes or no")
        return None

    def number(self, key: str, at_least: int, at_most: int) -> int | None:
        """Return a whole number within bounds."""
        value = self.text(key)
        if value is None:
            return None
        if value.isascii() and value.isdigit() and at_least <= int(value) <= at_most:
            return int(value)
        self.wrong(key, f"must be a whole number from {at_least} to {at_most}")
        return None

    def one_of(self, key: str, choices: Iterable[str]) -> str | None:
        """Return one of a few words, in lower case."""
        value = self.text(key)
        if value is None:
            return None
        choices = list(choices)
        if value.lower() in choices:
            return value.lower()
        self.wrong(key, f"must be one of {', '.join(choices)}{did_you_mean(value.lower(), choices)}")
        return None
