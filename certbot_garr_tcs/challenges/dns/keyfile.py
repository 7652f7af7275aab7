"""Read a TSIG key file as tsig-keygen prints it and BIND includes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certbot_garr_tcs.errors import ConfigError
from certbot_garr_tcs.section_reader import could_be_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|\#[^\n]*|/\*.*?\*/)|"(?P<quoted>[^"\n]*)"|(?P<mark>[{};])|(?P<word>[^\s{};"\#]+)""",
    re.DOTALL,
)
_MARKS = frozenset("{};")
_NAMES_SHOWN = 5
_HINT = "Print one with: tsig-keygen -a hmac-sha256 NAME"


@dataclass(frozen=True)
class TsigKey:
    """A TSIG key as written (RFC 8945): base64 secret, algorithm name in lower case."""

    name: str
    secret: str = field(repr=False)
    algorithm: str = "hmac-sha256"


def parse_key_file(text: str, wanted: str | None = None) -> TsigKey:
    """Return the ``key`` statement of a BIND key file: the only one, or the one of the name ``wanted``.

    Comments (``//``, ``#``, ``/* */``), quotes and capitals are as in named.conf. A missing algorithm is
    HMAC-SHA256; whether one is strong enough is for the reader of garr-tcs.ini to say. Raises
    ``ConfigError``, which never repeats what the file says but for names of keys: the secret is in it.
    """
    tokens = _tokens(text)
    keys = []
    for token in tokens:
        if token.lower() != "key":
            raise _unusable("something else than a key statement")
        keys.append(_key(tokens))
    if not keys:
        raise _unusable("no key statement")
    found = [key for key in keys if wanted is None or _same_name(key.name, wanted)]
    if not found:
        raise ConfigError(f"the TSIG key file has no key of the name in tsig-name, but {_names(keys)}", "Correct it.")
    if len(found) > 1:
        one_name = all(_same_name(key.name, found[0].name) for key in found)
        raise ConfigError(
            f"the TSIG key file has {len(found)} keys: {_names(found)}",
            "Remove all but one." if one_name else "Write the name of the one to use as tsig-name beside tsig-keyfile.",
        )
    return found[0]


def _names(keys: list[TsigKey]) -> str:
    shown = ["…" if could_be_secret(key.name) else key.name for key in keys[:_NAMES_SHOWN]]
    return ", ".join(shown + ["…"] * (len(keys) > _NAMES_SHOWN))


def _same_name(one: str, other: str) -> bool:
    return one.rstrip(".").lower() == other.rstrip(".").lower()


def _tokens(text: str) -> Iterator[str]:
    """Yield words and marks; a quoted word is one word, whatever is in it."""
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unusable("a quote that nothing closes")
        position = match.end()
        if match.group("skip") is None:
            yield match.group(match.lastgroup or "word")


def _key(tokens: Iterator[str]) -> TsigKey:
    """Read ``NAME { algorithm …; secret …; };``, whose ``key`` is read already."""
    name = next(tokens, "")
    if not name or name in _MARKS or next(tokens, "") != "{":
        raise _unusable("a key statement without name or braces")
    clauses: dict[str, str] = {}
    for written in tokens:
        word = written.lower()
        if word == "}":
            break
        value, end = next(tokens, ""), next(tokens, "")
        if word not in {"algorithm", "secret"} or word in clauses or value in _MARKS or end != ";":
            raise _unusable("a key statement that is not one algorithm and one secret")
        clauses[word] = value
    if "secret" not in clauses or next(tokens, "") != ";":
        raise _unusable("a key statement that is cut off, or has no secret")
    return TsigKey(name, clauses["secret"], clauses.get("algorithm", "hmac-sha256").rstrip(".").lower())


def _unusable(what: str) -> ConfigError:
    return ConfigError(f"the TSIG key file has {what}", _HINT)
