"""An error says what, and the next step, in one line."""

import pytest

from certbot_garr_tcs.errors import GarrTcsError


@pytest.mark.parametrize(
    ("message", "hint", "text"),
    [
        ("it failed", "", "it failed"),
        ("it failed", "Do this.", "it failed. Do this."),
        ("it failed.", "Do this.", "it failed. Do this."),
        ("it\n  failed", "Do\nthis.", "it failed. Do this."),
    ],
)
def test_the_text_is_one_line(message, hint, text):
    """Certbot shows the repr of some errors: a line break would be seen as it is escaped."""
    assert str(GarrTcsError(message, hint)) == text


def test_a_question_ends_by_itself():
    """No full stop follows a question mark."""
    assert str(GarrTcsError('no such key; did you mean "b"?', "Mend it.")) == 'no such key; did you mean "b"? Mend it.'
