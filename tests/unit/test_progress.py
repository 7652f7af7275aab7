"""A long wait shows how it goes; a short one shows nothing."""

from __future__ import annotations

import io

from certbot_garr_tcs.challenges.progress import Progress


class Terminal(io.StringIO):
    """A stream that somebody watches."""

    def isatty(self):
        """Say so."""
        return True


class Clock:
    """A clock that the test turns."""

    now = 100.0

    def __call__(self):
        """Return the time in seconds."""
        return self.now


def test_a_terminal_shows_one_line_that_changes():
    """A shorter line covers the longer one before it; the end is a line break."""
    stream, clock = Terminal(), Clock()
    progress = Progress(stream, clock)
    with progress:
        clock.now += 1
        progress("too early")
        clock.now += 1
        progress("1 of 10")
        progress("2 of 2")
    assert stream.getvalue() == "\r1 of 10\r2 of 2 \n"


def test_a_log_gets_a_line_now_and_then():
    """Nobody watches: fifteen seconds are often enough."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock)
    with progress:
        for _ in range(40):
            clock.now += 1
            progress(f"after {clock.now - 100:.0f} s")
    assert stream.getvalue() == "after 15 s\nafter 30 s\n"


def test_each_wait_starts_anew():
    """What came before does not make the next wait long."""
    stream, clock = Terminal(), Clock()
    progress = Progress(stream, clock)
    with progress:
        clock.now += 60
        progress("long")
    with progress:
        progress("nothing to talk about")
    assert stream.getvalue() == "\rlong\n"


def test_quiet_shows_nothing():
    """Without a stream nothing is shown, and nothing breaks."""
    clock = Clock()
    progress = Progress(None, clock)
    with progress:
        clock.now += 60
        progress("unheard")
