"""Add what a CA's failure means, and a next step, where Certbot's words help nobody.

After ``prepare`` Certbot calls us no more when the CA refuses, breaks or is silent. What it logs of the failure is the
one sign of it, and what its acme library logs says which request it was and what the CA answered.
"""

from __future__ import annotations

import contextlib
import json
import logging
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import urlsplit

from certbot_garr_tcs.account import connection_failures, refusals
from certbot_garr_tcs.errors import GarrTcsError, printable
from certbot_garr_tcs.lineages import read_lineage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from certbot_garr_tcs.account.selection import Selection

_LATER = "Nothing is lost: run the command again later, as certbot renew does by itself."
_BLANK = "about:blank"

logger = logging.getLogger(__name__)


def explain_failures(selected: Selection, authenticator: str, renewal_dir: Path) -> None:
    """Explain failures from now on as those of the selected CA, for lineages with our ``authenticator``."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _FailureHandler):
            root.removeHandler(handler)
    root.addHandler(_FailureHandler(selected, authenticator, renewal_dir))


class Exchange:
    """The last request to the CA and its answer, as acme.client logs them.

    ``status`` is 0 and ``answer`` empty until there is an answer.
    """

    def __init__(self, directory_url: str) -> None:
        """Know the directory alone; nothing was asked yet."""
        self.url = ""
        self.status = 0
        self.answer = ""
        self._payload = ""
        self._resources = {directory_url: "the directory"}

    def add(self, message: str, arguments: tuple[Any, ...]) -> None:
        """Read one log record of acme.client; those that say nothing of requests are ignored."""
        if message.startswith("JWS payload") and arguments:
            self._payload = str(arguments[-1])
        elif message.startswith("Sending") and len(arguments) > 1:
            if message.startswith("Sending POST"):
                self.url = str(arguments[0])
            else:
                self.url, self._payload = str(arguments[1]), ""
            self.status, self.answer = 0, ""
        elif message.startswith("Received response") and len(arguments) > 1:
            self.status, self.answer = int(arguments[0]), str(arguments[-1])
            self._learn_resources()

    def _learn_resources(self) -> None:
        """Learn what the URLs are for, from a directory (RFC 8555 §7.1.1) or an order (§7.1.3)."""
        document = self.document
        if not isinstance(document, dict):
            return
        names = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "finalize", "certificate")
        self._resources.update({url: name for name, url in document.items() if name in names and isinstance(url, str)})

    @property
    def document(self) -> Any:
        """Return the answer's JSON, or ``None`` where it has none."""
        try:
            return json.loads(self.answer)
        except (ValueError, RecursionError):
            return None

    @property
    def resource(self) -> str:
        """Return what was asked for: a resource of the directory or of an order, else the path of the URL."""
        return self._resources.get(self.url, urlsplit(self.url).path)

    @property
    def host(self) -> str:
        """Return host and port of the URL."""
        parts = urlsplit(self.url)
        return parts.netloc if parts.port else f"{parts.netloc}:443"

    @property
    def registers(self) -> bool:
        """Tell whether the last request was a registration with a key ID and HMAC key."""
        return self.resource == "newAccount" and "externalAccountBinding" in self._payload


def next_step(error: BaseException, selected: Selection, exchange: Exchange, now: datetime) -> str | None:
    """Return one line for an error that does not explain itself, else ``None``.

    ``now``: what this machine's clock says, aware.
    """
    from acme import errors, messages  # noqa: PLC0415  (something went wrong already: time is no matter)
    from requests import RequestException  # noqa: PLC0415

    title, shown = selected.title, ""
    with contextlib.suppress(Exception):  # acme's own __str__ fails where the CA's words are no text
        shown = str(error)
    gave_up, refused = f"{title} gave the order up", f"{title} refused"
    late = f"{title} did not issue in time. Run the command again with --issuance-timeout 600."
    explanations: tuple[tuple[type[BaseException], Callable[[Any], str | None]], ...] = (
        (errors.IssuanceError, lambda issuance: _refused(issuance.error, gave_up, shown, selected, exchange)),
        (messages.Error, lambda problem: _refused(problem, refused, shown, selected, exchange)),
        (RequestException, lambda failure: _no_answer(failure, selected, exchange, now)),
        (errors.TimeoutError, lambda _: late),
        (errors.ClientError, lambda _: _not_acme(selected, exchange)),
    )
    chain = list(_chain(error))
    for step in chain:
        for kind, explanation in explanations:
            if isinstance(step, kind):
                return explanation(step)
        if type(step) is errors.Error:  # what acme raises for an invalid order that has no error in it
            return f"{gave_up} without a reason. {_again(selected)}"
    return _not_acme(selected, exchange) if exchange.url and any(_in_acme(step) for step in chain) else None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those behind it.

    The end is an error of our own: it explains itself, and what is behind it may be of another plugin.
    """
    while error is not None and not isinstance(error, GarrTcsError):
        yield error
        error = error.__cause__ or error.__context__


def _in_acme(error: BaseException) -> bool:
    """Tell whether an error is about data that the acme library read, as where there is a number for an object."""
    is_of_josepy = type(error).__module__.partition(".")[0] == "josepy"  # acme's reader of JSON
    if not is_of_josepy and not isinstance(error, (AttributeError, LookupError, TypeError, ValueError)):
        return False  # such as a signal that came while acme waited
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") in {"acme.client", "acme.messages"}:
            return True
        trace = trace.tb_next
    return False


def _refused(problem: Any, title: str, shown: str, selected: Selection, exchange: Exchange) -> str | None:
    """Explain a problem document, or what came instead of one.

    ``title``: the CA and what it did. ``shown``: what Certbot shows of it. Certbot 2.1 shows "can't set attribute" (its
    issue 9539), and at a renewal all versions show nothing of an order's error.
    """
    code = problem.code or str(problem.typ or _BLANK)
    words = str(problem.detail or problem.title or "")
    if code == _BLANK and exchange.status == HTTPStatus.NOT_FOUND:
        return _not_acme(selected, exchange)
    if not words and isinstance(exchange.document, str):
        words = exchange.document
    said = f', saying "{printable(words)}"' if words and words not in shown else ""
    answer = " ".join([f"{code}:", words, *(str(sub.detail) for sub in problem.subproblems or ())])
    preset = selected.preset
    known = refusals.find(answer, preset.name if preset else "", registering=exchange.registers)
    if known:
        step = known.step.format(portal=selected.portal, caa=preset.caa if preset else "the CA's own name")
        return f"{title}{said}: {known.meaning}. {step}"
    if words and not said:
        return None
    return f"{title}{said or ' without a reason'}. {_again(selected)}"


def _again(selected: Selection) -> str:
    return (
        f"Run the command again: each try makes a new order. If it stays so, see in {selected.portal} what the account "
        "may issue."
    )


def _not_acme(selected: Selection, exchange: Exchange) -> str:
    answer = "" if exchange.document is None else f" ({printable(exchange.answer, 80)})"
    return (
        f"{selected.title} answered {exchange.resource} with HTTP {exchange.status} and something that is not "
        f"ACME{answer}: it is out of order, or directory-url leads elsewhere (compare it with {selected.portal}). "
        f"{_afterwards(selected, exchange)}"
    )


def _afterwards(selected: Selection, exchange: Exchange) -> str:
    """Say what is lost when a request may have been carried out although there is no good answer."""
    if exchange.registers and selected.eab:
        return (
            f"The pair with key ID {selected.eab.short_key_id} may be used up all the same: if the next try is "
            f"refused for that, have a new pair made in {selected.portal}."
        )
    if exchange.resource == "finalize":
        return "A certificate may be issued all the same; the next try orders another one. Run the command again later."
    return _LATER


def _no_answer(error: BaseException, selected: Selection, exchange: Exchange, now: datetime) -> str:
    failure = connection_failures.explain(error, selected.title, exchange.host, exchange.resource, now)
    return f"{failure.explanation} {_afterwards(selected, exchange) if failure.was_sent else _LATER}"


class _FailureHandler(logging.Handler):
    """Watch what Certbot and acme log, and log a next step after a failure."""

    def __init__(self, selected: Selection, authenticator: str, renewal_dir: Path) -> None:
        super().__init__()
        self._selected = selected
        self._authenticator = authenticator
        self._renewal_dir = renewal_dir
        self._exchange = Exchange(selected.directory_url)
        self._last_line = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Explain the failure that a record is about; what the CA did must not become an error of ours."""
        try:
            self._explain(record)
        except Exception:
            logger.debug("no next step could be found", exc_info=True)

    def _explain(self, record: logging.LogRecord) -> None:
        arguments: Any = record.args if isinstance(record.args, tuple) else ()
        if record.name == "acme.client":
            self._exchange.add(str(record.msg), arguments)
        error, ends_run = self._error(record, arguments)
        if error is None:
            return
        now = datetime.fromtimestamp(record.created, timezone.utc)
        line = next_step(error, self._selected, self._exchange, now)
        if line and ends_run:
            self._last_line = line
        elif line:
            logger.error(line)

    def flush(self) -> None:
        """Say what ends a run after Certbot's own words; logging does this at exit."""
        line, self._last_line = self._last_line, ""
        if line:
            logger.error(line)

    def _error(self, record: logging.LogRecord, arguments: tuple[Any, ...]) -> tuple[BaseException | None, bool]:
        """Return the exception that ends the renewal of one of our lineages, or this run, and which it is."""
        if not record.name.startswith("certbot."):
            return None, False
        if record.exc_info and str(record.msg).startswith("Exiting abnormally"):
            return record.exc_info[1], True
        if record.levelno < logging.ERROR or not arguments or not isinstance(arguments[-1], BaseException):
            return None, False
        # "Failed to renew certificate NAME with error: ERROR". The next lineage may be of somebody else's CA.
        lineage = read_lineage(self._renewal_dir / f"{arguments[0]}.conf")
        ours = lineage is not None and lineage.params.get("authenticator") == self._authenticator
        return (arguments[-1] if ours else None), False
