"""Failures that do not explain themselves get a next step; others are left alone."""

from __future__ import annotations

import logging

import pytest
import requests
from acme import errors, messages
from parsed import make_lineage

from certbot_garr_tcs import aftermath
from certbot_garr_tcs.errors import ChallengeError

TITLE, PORTAL = "HARICA (https://acme.harica.gr/uni/directory)", "the portal"
BARE = messages.Error.from_json({})
CERTBOT = logging.getLogger("certbot._internal.renewal")


def chained(error, outer=None):
    """Return another error that was raised while this one was handled."""
    outer = outer or RuntimeError("while registering")
    outer.__context__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.ConnectionError("x"), "There is no answer from"),
        (requests.ReadTimeout("x"), "There is no answer from"),
        (errors.TimeoutError(), "--issuance-timeout 600"),
        (errors.ClientError("x"), "no ACME"),
        (BARE, "without a reason that Certbot can read. Try again; if it stays so, see in the portal"),
        (chained(BARE), "without a reason"),
        (chained(requests.ConnectionError("x")), "There is no answer from"),
    ],
)
def test_what_does_not_explain_itself(error, words):
    """One line, which names the CA."""
    line = aftermath.next_step(error, TITLE, PORTAL)
    assert words in line
    assert TITLE in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        None,
        ValueError("x"),
        messages.Error.with_code("malformed", detail="the CA's own words"),
        chained(chained(requests.ConnectionError("a delegate's"), ChallengeError("no proof", "Mend it."))),
    ],
)
def test_what_explains_itself(error):
    """Nothing is added to a problem document, nor to what is not the CA's."""
    assert aftermath.next_step(error, TITLE, PORTAL) is None


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ('"No such\\n domain \\u001b[31m"', ', saying "No such domain [31m". Try again'),
        (f'"{"x" * 900}"', f', saying "{"x" * 200}". Try again'),
        ("[1]", "can read. Try again"),
        ("<html>", "can read. Try again"),
        ("", "can read. Try again"),
    ],
)
def test_the_cas_words_are_quoted(answer, quoted):
    """On one line, printable, and not too long."""
    assert quoted in aftermath.next_step(BARE, TITLE, PORTAL, answer)


@pytest.fixture
def listening(tmp_path):
    """Listen as after prepare, for one lineage of ours and one of somebody else's."""
    make_lineage(tmp_path, "ours", authenticator="garr-tcs")
    make_lineage(tmp_path, "theirs", authenticator="webroot")
    before = logging.getLogger().handlers[:]
    for title in ("another CA", TITLE):
        aftermath.explain_failures(title, PORTAL, "garr-tcs", tmp_path / "config" / "renewal")
    yield
    for handler in logging.getLogger().handlers[:]:
        if handler not in before:
            logging.getLogger().removeHandler(handler)


@pytest.mark.usefixtures("listening")
def test_a_failed_renewal_of_ours(caplog):
    """It is explained once, with what the CA said last."""
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("acme.client").debug("Received response:\nHTTP %d\n%s\n\n%s", 400, "", '"Not today."')
        CERTBOT.error("Failed to renew certificate %s with error: %s", "ours", BARE)
    (said,) = [record.message for record in caplog.records if record.name == "certbot_garr_tcs.aftermath"]
    assert said.startswith(f'{TITLE} refused without a reason that Certbot can read, saying "Not today."')


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
    assert "certbot_garr_tcs.aftermath" not in [record.name for record in caplog.records]


@pytest.mark.usefixtures("listening")
def test_a_run_that_ends(caplog):
    """Certbot's last record of a run carries the exception."""
    with caplog.at_level(logging.DEBUG):
        CERTBOT.debug("Exiting abnormally:", exc_info=requests.ConnectionError("refused"))
    assert f"There is no answer from {TITLE}" in caplog.text
