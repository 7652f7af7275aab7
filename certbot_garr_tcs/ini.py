"""Split the text of garr-tcs.ini into sections and keys, with the numbers of their lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from certbot_garr_tcs.section_reader import Section, could_be_secret

if TYPE_CHECKING:
    from collections.abc import Collection

_KEY = re.compile(r"[a-z0-9-]{1,64}")
_REST = re.compile(r"\s*(?:#.*)?$")


def split(text: str, known: Collection[str]) -> tuple[list[Section], list[str]]:
    """Return the sections of a file, and all that is wrong with its lines; a wrong line is left out.

    ``known``: the keys of all kinds of sections. No problem shows what stands in a line, but for one of those: a
    key that is cut over two lines, or lost its "=", looks like anything.
    """
    sections: list[Section] = []
    problems: list[str] = []
    current: Section | None = None
    for number, written in enumerate(text.split("\n"), 1):
        line = written.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if line.startswith("["):
                current = Section("", "", number)  # what stands below a wrong heading is not looked at
                current = _section(line, number)
                sections.append(current)
            elif current is not None:
                _take(line, current, number, known)
            else:
                current = Section("", "", number)
                raise ValueError("stands before the first section; put a heading, such as [account], above it")  # noqa: TRY301
        except ValueError as error:
            problems.append(f"line {number} {error}")
    return sections, problems


def _section(line: str, number: int) -> Section:
    _check_characters(line)
    name, closed, rest = line[1:].partition("]")
    if name.startswith("["):
        raise ValueError("has two brackets; sections stand in single brackets")
    if not closed or not _REST.fullmatch(rest):
        raise ValueError("is no [section]: the brackets do not match")
    kind, *words = _unquoted(name.strip()).split() or [""]
    return Section(kind.lower(), " ".join(words), number)


def _take(line: str, section: Section, number: int, known: Collection[str]) -> None:
    """Put the key and the value of a line into ``section``; raise ``ValueError`` where it has none."""
    _check_characters(line)
    before, equals, after = line.partition("=")
    written = _unquoted(before.strip())
    key = written.lower().replace("_", "-")
    if not equals or (key not in known and (not _KEY.fullmatch(key) or could_be_secret(written))):
        word = re.search(r"[a-z0-9-]+", key)
        if word and word.group() in known:
            raise ValueError(f'wants a = right after the key: "{word.group()} = …"')
        raise ValueError('is neither "[section]" nor "key = value"; a value stands in the line of its key')
    if key in section.values:
        which = key if key in known else "its key"
        raise ValueError(
            f"gives {which} again, after line {section.lines[key]} (dashes and underscores are the same); keep one"
        )
    section.values[key] = _value(after.strip())
    section.lines[key] = number


def _check_characters(line: str) -> None:
    plain = line.replace("\t", " ")
    if not plain.isprintable():
        hidden = next(character for character in plain if not character.isprintable())
        raise ValueError(f"has a character that does not show (U+{ord(hidden):04X}); type the line anew")


def _value(text: str) -> str:
    """Return a value without its outer quotes and without its comment."""
    quote = text[:1]
    if quote and quote in "\"'":
        if text.startswith(quote * 3):
            raise ValueError("begins a value of several lines; put it on one, in one pair of quotes")
        end = text.find(quote, 1)
        while end > 0 and not _REST.match(text, end + 1):
            end = text.find(quote, end + 1)
        if end < 0:
            raise ValueError("has quotes that do not match")
        return text[1:end]
    value, sharp, _ = text.partition("#")
    if sharp and value and not value[-1].isspace():
        raise ValueError("has a # that no blank precedes, which would cut the value; put the whole value in quotes")
    return value.rstrip()


def _unquoted(text: str) -> str:
    pair = 2
    return text[1:-1] if len(text) >= pair and text[0] == text[-1] and text[0] in "\"'" else text
