"""What a portal gives for an ACME account: taken from text, and written as the [account] section."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from certbot_garr_tcs import config
from certbot_garr_tcs.errors import ConfigError, printable

LABELS = {
    "directory_url": "Server URL",
    "eab_kid": "Key ID",
    "eab_hmac_key": "HMAC Key",
    "email": "e-mail address",
}
"""Each answer, and how portals call it."""

_ALSO_CALLED = {
    "directory_url": (
        "acmeurl",
        "acmeserverurl",
        "directory",
        "directoryurl",
        "acmedirectory",
        "server",
        "serverurl",
        "url",
    ),
    "eab_kid": ("eabkeyid", "eabkid", "keyid", "kid"),
    "eab_hmac_key": ("eabhmac", "eabhmackey", "hmac", "hmackey", "eabmackey", "mackey"),
    "email": ("contact", "email", "emailaddress", "mail"),
}
_ANSWER_OF = {label: answer for answer, labels in _ALSO_CALLED.items() for label in labels}
_LINE = re.compile(r"[^A-Za-z]*([A-Za-z][A-Za-z _-]{0,30})[\"']?\s*(?:[:=]\s*(.*))?")
_LONGEST_LINE = 4096
_NOTHING = frozenset({"", "n/a", "none", "null"})
_ANY_KEY = "A" * 43


@dataclass(frozen=True)
class Answers:
    """The portal's three strings, the e-mail address, and whether the terms of service are agreed to."""

    directory_url: str = ""
    eab_kid: str = field(default="", repr=False)
    eab_hmac_key: str = field(default="", repr=False)
    email: str = ""
    agree_tos: bool = False

    def having(self, **answers: str) -> Answers:
        """Return a copy with these answers."""
        changed: dict[str, Any] = dict(answers)
        return replace(self, **changed)

    def missing(self) -> list[str]:
        """Return the names of the fields that are empty."""
        return [name for name in LABELS if not getattr(self, name)]

    def section(self) -> str:
        """Return the [account] section of a garr-tcs.ini; what is empty is left out."""
        given = [(name, getattr(self, name)) for name in LABELS if getattr(self, name)]
        lines = [f"{name.replace('_', '-')} = {_quoted(value)}" for name, value in given]
        return "\n".join(["[account]", *lines, *(["agree-tos = yes"] if self.agree_tos else []), ""])


def read_answers(text: str, source: str) -> Answers:
    """Find the answers in a text: ``tcs-garr acme info``, a portal's page, JSON, or a garr-tcs.ini.

    Each stands behind its label and a colon or "=", or in the line after its label; everything else is passed over.
    Raises ``ConfigError``, which shows nothing of the text.
    """
    found: dict[str, str] = {}
    label = ""
    for raw in text.splitlines():
        line = printable(raw, _LONGEST_LINE)
        match = _LINE.fullmatch(line)
        name = re.sub("[ _-]", "", match[1]).lower() if match else ""
        if match and name == "status" and (match[2] or "").strip().lower() == "disabled":
            raise ConfigError(
                f"{source}: the account is disabled in the CA's portal", "Enable it there, or take another one."
            )
        if match and name in _ANSWER_OF:
            label, value = _ANSWER_OF[name], _unquoted(match[2] or "")
        else:
            value = _unquoted(line)
        if label and value.lower() not in _NOTHING:
            if found.setdefault(label, value) != value:
                raise ConfigError(
                    f"{source} has more than one {LABELS[label]}", "Give the strings of one ACME account alone."
                )
            label = ""
        elif line and not (match and name in _ANSWER_OF):
            label = ""
    return Answers().having(**found)


def answer_problem(answers: Answers, name: str, value: str) -> str | None:
    """Return what is wrong with one answer by the checks of garr-tcs.ini, given those before it; else ``None``."""
    if not value.isprintable():
        return f"the {LABELS[name]} has a line break, or another character that does not show; copy it again"
    alone = {
        "eab_kid": Answers(eab_kid=value, eab_hmac_key=_ANY_KEY),
        "eab_hmac_key": Answers(eab_kid=answers.eab_kid or "kid", eab_hmac_key=value),
    }
    path = Path(config.FILE_NAME)
    try:
        config.parse(alone.get(name, Answers().having(**{name: value})).section(), path)
    except ConfigError as error:
        return error.message.removeprefix(f"{path}: ")
    return None


def _unquoted(text: str) -> str:
    text = text.strip()
    quoted = re.fullmatch(r"([\"'])(.*)\1,?", text)
    return quoted[2].strip() if quoted else text


def _quoted(value: str) -> str:
    """Return a value as garr-tcs.ini takes it."""
    if "#" not in value and value[:1] not in {'"', "'"}:
        return value
    quote = "'" if '"' in value else '"'
    return f"{quote}{value}{quote}"
