"""Say what to do next where Certbot tells of a CA's failure in words that help nobody.

After ``prepare`` no call comes back to us when the CA is silent, out of order, or refuses with a bare JSON
string instead of a problem document (RFC 8555 §6.7; HARICA does): Certbot shows the exception's name then,
such as ``about:blank``. What it logs of the failure is the one sign of it.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from certbot_garr_tcs.errors import GarrTcsError
from certbot_garr_tcs.lineages import read_lineage

if TYPE_CHECKING:
    from pathlib import Path

_MOST_CHARACTERS = 200
_LATER = "Nothing is lost: run the command again later, as certbot renew does by itself."

logger = logging.getLogger(__name__)


def explain_failures(title: str, portal: str, authenticator: str, renewal_dir: Path) -> None:
    """Explain failures from now on as those of the CA ``title``, for lineages with our ``authenticator``."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Listener):
            root.removeHandler(handler)
    root.addHandler(_Listener(title, portal, authenticator, renewal_dir))


def next_step(error: BaseException | None, title: str, portal: str, answer: str = "") -> str | None:
    """Return one line for an error that does not explain itself, else ``None``; ``answer``: the CA's last words."""
    import requests  # noqa: PLC0415  (something went wrong already: time is no matter)
    from acme import errors, messages  # noqa: PLC0415

    # Our own errors explain themselves, and what is behind them may be a delegate's: not of this CA.
    while error is not None and not isinstance(error, GarrTcsError):
        if isinstance(error, requests.RequestException):
            return (
                f"There is no answer from {title}. Look at directory-url, and at this machine's way out (name servers, "
                f"firewall, HTTPS_PROXY). {_LATER}"
            )
        if isinstance(error, errors.TimeoutError):
            return f"{title} did not issue in time. Run the command again with --issuance-timeout 600; nothing is lost."
        if isinstance(error, errors.ClientError):
            return (
                f"{title} answered with something that is no ACME: it is out of order, or directory-url leads "
                f"elsewhere. {_LATER}"
            )
        if isinstance(error, messages.Error) and not error.detail and error.typ in {None, "about:blank"}:
            return (
                f"{title} refused without a reason that Certbot can read{_quoted(answer)}. Try again; if it stays so, "
                f"see in {portal} what the account may issue. Nothing is lost."
            )
        error = error.__cause__ or error.__context__
    return None


def _quoted(answer: str) -> str:
    """Quote the JSON string that an answer is; on one line, not too long."""
    try:
        said = json.loads(answer)
    except ValueError:
        return ""
    if not isinstance(said, str):
        return ""
    words = "".join(character if character.isprintable() else " " for character in said)
    return f', saying "{" ".join(words.split())[:_MOST_CHARACTERS]}"'


class _Listener(logging.Handler):
    """Hear what Certbot and acme log."""

    def __init__(self, title: str, portal: str, authenticator: str, renewal_dir: Path) -> None:
        super().__init__()
        self._about = (title, portal)
        self._authenticator = authenticator
        self._renewal_dir = renewal_dir
        self._answer = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Explain the failure that a record tells of, if it is one of ours and does not explain itself."""
        arguments: Any = record.args if isinstance(record.args, tuple) else ()
        if record.name == "acme.client" and str(record.msg).startswith("Received response"):
            self._answer = str(arguments[-1]) if arguments else ""
        error = self._error(record, arguments)
        line = next_step(error, *self._about, self._answer) if error is not None else None
        if line:
            logger.error(line)

    def _error(self, record: logging.LogRecord, arguments: tuple[Any, ...]) -> BaseException | None:
        """Return the exception that ends this run, or the renewal of one of our lineages."""
        if not record.name.startswith("certbot."):
            return None
        if record.exc_info and str(record.msg).startswith("Exiting abnormally"):
            return record.exc_info[1]
        if record.levelno < logging.ERROR or not arguments or not isinstance(arguments[-1], BaseException):
            return None
        # "Failed to renew certificate NAME with error: ERROR". The next lineage may be of somebody else's CA.
        lineage = read_lineage(self._renewal_dir / f"{arguments[0]}.conf")
        ours = lineage is not None and lineage.params.get("authenticator") == self._authenticator
        return arguments[-1] if ours else None
