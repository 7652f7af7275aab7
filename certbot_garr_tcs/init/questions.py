"""Ask a person at a terminal."""

from __future__ import annotations

import getpass
import sys

from certbot_garr_tcs.errors import ConfigError
from certbot_garr_tcs.init.answers import LABELS, Answers, answer_problem

_SECRET = frozenset({"eab_hmac_key"})
_PROMPTS = {
    "directory_url": "Server URL: ",
    "eab_kid": "Key ID: ",
    "eab_hmac_key": "HMAC Key (it does not show while you type or paste): ",
    "email": "E-mail address for messages of the CA: ",
}
_INTRODUCTION = (
    "The CA's portal shows three strings for an ACME account: Server URL, Key ID and HMAC Key.\n"
    "Copy each of them from there. Ctrl-C ends, and leaves everything as it is.\n\n"
)


def is_terminal() -> bool:
    """Return whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_missing(answers: Answers) -> Answers:
    """Ask for what is missing, again and again until it is usable; secrets do not show."""
    missing = answers.missing()
    if set(missing) - {"email"}:
        sys.stderr.write(_INTRODUCTION)
    for name in missing:
        while True:
            value = _ask(_PROMPTS[name], secret=name in _SECRET)
            problem = answer_problem(answers, name, value) if value else f"The {LABELS[name]} is needed."
            if problem is None:
                break
            sys.stderr.write(f"{problem}\n")
        answers = answers.having(**{name: value})
    return answers


def ask_yes(question: str) -> bool:
    """Ask a question that needs a clear yes."""
    return _ask(f"{question} [y/N] ", secret=False).lower() in {"y", "yes"}


def _ask(prompt: str, *, secret: bool) -> str:
    try:
        if secret:
            return getpass.getpass(prompt).strip()
        sys.stderr.write(prompt)
        sys.stderr.flush()
        return input().strip()
    except EOFError:
        sys.stderr.write("\n")
        raise ConfigError("the input has ended before every question was answered", "Nothing was written.") from None
