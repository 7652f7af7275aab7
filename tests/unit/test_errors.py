"""An error says what, and the next step, in one line."""

import pytest

from certbot_garr_tcs.errors import ChallengeError, DnsError, GarrTcsError, join_errors, printable, printable_end


@pytest.mark.parametrize(
    ("message", "hint", "text"),
    [
        ("it failed", "", "it failed"),
        ("it failed", "Do this.", "it failed. Do this."),
        ("it failed.", "Do this.", "it failed. Do this."),
        ("leave out ..", "Do this.", "leave out .. Do this."),
        ("it\n  failed", "Do\nthis.", "it failed. Do this."),
    ],
)
def test_the_text_is_one_line(message, hint, text):
    """Certbot shows the repr of some errors: a line break would be seen as it is escaped."""
    assert str(GarrTcsError(message, hint)) == text


def test_a_question_ends_by_itself():
    """No full stop follows a question mark."""
    assert (
        str(GarrTcsError('no such key; did you mean "b"?', "Correct it."))
        == 'no such key; did you mean "b"? Correct it.'
    )


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("No.", 200, "No."),
        ("two\r\nlines\tand a tab", 200, "two lines and a tab"),
        (
            "\x1b[31;1mred\x1b[0m\x1b]0;title\x07 \x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\ \x9b1m\x00\x7f",
            200,
            "red link 1m",
        ),
        ("paypal\u202egnp.exe\u200b", 200, "paypal gnp.exe"),
        ("\x1b]not ended", 200, "]not ended"),
        ("città", 200, "città"),
        ("x" * 10, 10, "x" * 10),
        ("x" * 11, 10, f"{'x' * 9}…"),
        ("word " * 4_000_000, 10, "word word…"),
        ("\x1b[31m" * 1_000_000 + "late", 10, "…"),
    ],
)
def test_foreign_text_is_made_printable(text, limit, line):
    """What a CA or a command says cannot move the cursor, forge a line or fill the screen."""
    assert printable(text, limit) == line
    assert len(line) <= limit


@pytest.mark.parametrize("error", [DnsError("REFUSED", "Allow it."), ZeroDivisionError("fault")])
def test_a_single_error_stays_as_it_is(error):
    """Its class, its hint and its cause are what the caller needs, whoever raised it."""
    assert join_errors([error], ChallengeError) is error
    assert error.__cause__ is None


def test_several_errors_become_one():
    """Each with its hint, the same hint once, and a foreign one with its class."""
    errors = [DnsError("ns1: REFUSED.", "Allow it."), OSError("no route"), DnsError("ns2: REFUSED", "Allow it.")]
    joined = join_errors(errors, ChallengeError)
    assert type(joined) is ChallengeError
    assert str(joined) == "3 errors: (1) ns1: REFUSED. Allow it; (2) OSError: no route; (3) ns2: REFUSED"
    assert joined.__cause__ is errors[0]


def test_equal_errors_are_shown_once_and_many_are_counted():
    """A zone with a hundred names that one server refuses is one line, not a hundred."""
    errors = [DnsError(f"error {number % 8}", f"hint {number}") for number in range(16)]
    text = str(join_errors(errors))
    assert text.startswith("8 errors: (1) error 0. hint 0; (2) error 1. hint 1; ")
    assert text.endswith("(5) error 4. hint 4; and 3 more")
    assert join_errors(errors[::8]) is errors[0]


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("two\r\nlines", 200, "two lines"),
        ("\x1b[2J\x1b]0;title\x07\x1b[31mred\u202e\x1b[0m", 200, "red"),
        ("x" * 10, 10, "x" * 10),
        ("ab" + "x" * 9, 10, f"…{'x' * 9}"),
        ("word " * 4_000_000, 10, "…word word"),
    ],
)
def test_the_end_of_a_foreign_text_is_made_printable(text, limit, line):
    """A command says at the end why it fails."""
    assert printable_end(text, limit) == line
    assert len(line) <= limit
