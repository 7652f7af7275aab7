"""Failures that do not explain themselves get a next step; others are left alone."""

from __future__ import annotations

import logging
from datetime import datetime, timezone

import pytest
import requests
from acme import client, errors, messages
from certbot import errors as certbot_errors
from support.certbot_config import make_lineage

from certbot_garr_tcs import failure_hints
from certbot_garr_tcs.account.eab import EabCredentials
from certbot_garr_tcs.account.presets import PRESETS
from certbot_garr_tcs.account.selection import Selection
from certbot_garr_tcs.errors import ChallengeError

URL = "https://acme.example/directory"
CA = Selection(URL, eab=EabCredentials("kid-0123456789", "k" * 43))
HARICA = Selection(URL, PRESETS["harica"])
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
BARE = messages.Error.from_json({})
CERTBOT = logging.getLogger("certbot._internal.renewal")
DIRECTORY = '{"newAccount": "https://acme.example/acct", "newOrder": "https://acme.example/order"}'


def problem(code, detail):
    """Return a problem document as acme reads it."""
    return messages.Error(typ=f"urn:ietf:params:acme:error:{code}", detail=detail)


def chained(error, outer=None):
    """Return another error that was raised while this one was handled."""
    outer = outer or RuntimeError("while registering")
    outer.__context__ = error
    return outer


def hidden(error):
    """Return what Certbot 2.1 makes of a refusal at certonly (its issue 9539)."""
    return chained(error, AttributeError("can't set attribute"))


def exchange(place, status, answer, payload=b"{}"):
    """Return what acme.client logs of one request, after that for the directory."""
    seen = failure_hints.Exchange(URL)
    seen.add("Sending %s request to %s.", ("GET", URL))
    seen.add("Received response:\nHTTP %d\n%s\n\n%s", (200, "", DIRECTORY))
    seen.add("JWS payload:\n%s", (payload,))
    seen.add("Sending POST request to %s:\n%s", (f"https://acme.example/{place}", "{}"))
    if status:
        seen.add("Received response:\nHTTP %d\n%s\n\n%s", (status, "", answer))
    return seen


NEW_ORDER = exchange("order", 403, "{}")


@pytest.mark.parametrize(
    ("error", "seen", "words"),
    [
        (
            requests.ConnectionError("x"),
            NEW_ORDER,
            "closed the connection without an answer to newOrder. Nothing is lost",
        ),
        (chained(requests.ReadTimeout("x")), NEW_ORDER, "did not answer newOrder within 45 seconds"),
        (errors.TimeoutError(), NEW_ORDER, "--issuance-timeout 600"),
        (
            errors.ClientError("x"),
            exchange("order", 503, "<html>"),
            "answered newOrder with HTTP 503 and something that is",
        ),
        (BARE, NEW_ORDER, "refused without a reason. Run the command again"),
        (chained(BARE), NEW_ORDER, "refused without a reason"),
        (BARE, exchange("order", 404, "{}"), "HTTP 404 and something that is not ACME ({})"),
        (
            errors.Error("The certificate order failed."),
            NEW_ORDER,
            "gave the order up without a reason. Run the command",
        ),
        (
            errors.IssuanceError(problem("x", "No.")),
            NEW_ORDER,
            'gave the order up, saying "No.". Run the command again',
        ),
        (errors.IssuanceError(problem("caa", "No.")), NEW_ORDER, 'saying "No.": a CAA record (RFC 8659)'),
        (hidden(problem("x", "Not today.")), NEW_ORDER, 'refused, saying "Not today.". Run the command again'),
        (hidden(problem("caa", "No.")), NEW_ORDER, 'refused, saying "No.": a CAA record (RFC 8659)'),
        (problem("rateLimited", "Too many."), NEW_ORDER, "refused: there were too many requests. Wait"),
        (messages.Error(typ=17, detail=["x"]), NEW_ORDER, "refused, saying \"['x']\". Run"),
    ],
)
def test_what_does_not_explain_itself(error, seen, words):
    """One line, which names the CA; its words are quoted where Certbot hides them."""
    line = failure_hints.next_step(error, CA, seen, NOW)
    assert words in line
    assert URL in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        problem("malformed", "the CA's own words"),
        certbot_errors.AuthorizationError("Some challenges have failed."),
        chained(chained(requests.ConnectionError("a delegate's"), ChallengeError("no proof", "Correct it."))),
    ],
)
def test_what_explains_itself(error):
    """Nothing is added to an unknown refusal that Certbot shows, nor to what is not the CA's."""
    assert failure_hints.next_step(error, CA, NEW_ORDER, NOW) is None


def read_by_acme(answer, error=None):
    """Return what acme raises when it reads an answer that is no directory."""
    try:
        messages.Directory.from_json(answer)
    except Exception as failure:  # noqa: BLE001 - whatever it is
        return failure
    pytest.fail("acme took it for a directory")


def interrupted():
    """Return the error of a signal that comes while acme waits."""

    class Answer:
        @property
        def headers(self):
            raise certbot_errors.SignalExit("Terminated")

    try:
        client.ClientV2.retry_after(Answer(), 1)
    except certbot_errors.SignalExit as error:
        return error
    pytest.fail("acme asked for no header")


def test_strange_json():
    """Python's words about it are explained, but only after a request: files on this machine are read by acme too."""
    error = read_by_acme(17)
    line = failure_hints.next_step(error, CA, exchange("order", 200, "17"), NOW)
    assert "answered newOrder with HTTP 200 and something that is not ACME (17): it is out of order, or" in line
    assert failure_hints.next_step(error, CA, failure_hints.Exchange(URL), NOW) is None
    assert failure_hints.next_step(interrupted(), CA, NEW_ORDER, NOW) is None


@pytest.mark.parametrize(
    ("place", "payload", "error", "words"),
    [
        (
            "acct",
            b'{"externalAccountBinding": {}}',
            requests.ReadTimeout("x"),
            "The pair with key ID kid-0123… may be used",
        ),
        ("acct", b'{"externalAccountBinding": {}}', requests.ConnectTimeout("x"), "Nothing is lost"),
        ("acct", b'{"onlyReturnExisting": true}', requests.ReadTimeout("x"), "Nothing is lost"),
        ("order", b"{}", requests.ReadTimeout("x"), "Nothing is lost"),
    ],
)
def test_what_is_lost_without_an_answer(place, payload, error, words):
    """A one-time pair may be, once the registration was sent."""
    line = failure_hints.next_step(error, CA, exchange(place, 0, "", payload), NOW)
    assert words in line
    assert ("Nothing is lost" in line) is (words == "Nothing is lost")


def test_a_finalize_without_an_answer():
    """The CA may issue what nobody fetches."""
    seen = exchange("order", 201, '{"finalize": "https://acme.example/order/1/finalize"}')
    seen.add("Sending POST request to %s:\n%s", ("https://acme.example/order/1/finalize", "{}"))
    line = failure_hints.next_step(requests.ReadTimeout("x"), CA, seen, NOW)
    assert "did not answer finalize within 45 seconds" in line
    assert "A certificate may be issued all the same" in line


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ('"No such\\n domain \\u001b[31m"', 'refused, saying "No such domain". Run'),
        ('"has not been delegated: identifier has not been delegated"', "the name is not delegated"),
        ("[1]", "refused without a reason. Run"),
        ("<html>", "refused without a reason. Run"),
        ("[" * 100_000, "refused without a reason. Run"),
        ("", "refused without a reason. Run"),
    ],
)
def test_a_bare_string_is_quoted(answer, quoted):
    """On one line, printable; a known refusal is known in there too."""
    assert quoted in failure_hints.next_step(BARE, CA, exchange("order", 400, answer), NOW)


def test_a_bare_string_of_harica():
    """There it is known to pass, and to be about names."""
    line = failure_hints.next_step(BARE, HARICA, exchange("order", 400, '"Hm."'), NOW)
    assert 'refused, saying "Hm.": HARICA answers like that at times' in line
    assert "https://cm.harica.gr; for an Enterprise OV account a solver section does not help." in line


@pytest.fixture
def listening(tmp_path):
    """Listen as after prepare, for one lineage of ours and one of somebody else's."""
    make_lineage(tmp_path, "ours", authenticator="garr-tcs")
    make_lineage(tmp_path, "theirs", authenticator="webroot")
    before = logging.getLogger().handlers[:]
    for selected in (Selection("https://other.example/"), CA):
        failure_hints.explain_failures(selected, "garr-tcs", tmp_path / "config" / "renewal")
    (added,) = [handler for handler in logging.getLogger().handlers if handler not in before]
    yield added
    logging.getLogger().removeHandler(added)


def hints(caplog):
    """Return what we said."""
    return [record.message for record in caplog.records if record.name == "certbot_garr_tcs.failure_hints"]


@pytest.mark.usefixtures("listening")
def test_a_failed_renewal_of_ours(caplog):
    """It is explained once, with what the CA said last."""
    with caplog.at_level(logging.DEBUG):
        log = logging.getLogger("acme.client").debug
        log("Sending POST request to %s:\n%s", "https://acme.example/order", "{}")
        log("Received response:\nHTTP %d\n%s\n\n%s", 400, "", '"Not today."')
        CERTBOT.error("Failed to renew certificate %s with error: %s", "ours", BARE)
    (said,) = hints(caplog)
    assert said.startswith(f'{URL} refused, saying "Not today."')


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(
    "arguments",
    [
        ("Failed to renew certificate %s with error: %s", "theirs", BARE),
        ("Failed to renew certificate %s with error: %s", "gone", BARE),
        ("Failed to renew certificate %s with error: %s", "ours", "text"),
        ("An error without arguments",),
        ("A mapping: %(a)s", {"a": BARE}),
    ],
)
def test_what_is_not_ours_is_left_alone(caplog, arguments):
    """Somebody else's lineage has a CA of its own."""
    CERTBOT.error(*arguments)
    logging.getLogger("somebody.else").error("%s %s", "ours", BARE)
    assert hints(caplog) == []


def test_a_run_that_ends(caplog, listening):
    """Certbot's record of it carries the exception, and Certbot's own words come first."""
    with caplog.at_level(logging.DEBUG):
        CERTBOT.debug("Exiting abnormally:", exc_info=requests.ReadTimeout("slow"))
        CERTBOT.error("An unexpected error occurred:")
        assert hints(caplog) == []
        listening.flush()
        listening.flush()
    (said,) = hints(caplog)
    assert said.startswith(f"{URL} did not answer")


def test_a_hint_never_becomes_an_error(caplog, listening, monkeypatch):
    """What the CA sent may be stranger than we think: Certbot goes on as it would without us."""
    monkeypatch.setattr(failure_hints, "next_step", lambda *_: 1 / 0)
    with caplog.at_level(logging.DEBUG):
        CERTBOT.error("Failed to renew certificate %s with error: %s", "ours", BARE)
    assert hints(caplog) == ["no next step could be found"]
