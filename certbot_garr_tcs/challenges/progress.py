"""Progress of a long wait: one line that changes on a terminal, a line every 15 seconds elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from typing import TextIO

QUIET_SECONDS = 2.0
"""A shorter wait shows nothing."""

SPARSE_SECONDS = 15.0
"""Between two lines where the output is no terminal, such as in a timer's log."""


class Progress:
    """A callable that gets a line whenever something may have changed, and shows some of them.

    ``stream``: where to write; ``None`` shows nothing (``--quiet``). Used in a ``with`` statement, one for each wait.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started = self._last = clock()
        self._width = 0

    def __enter__(self) -> None:
        self._started = self._last = self._clock()

    def __exit__(self, *_: object) -> None:
        if self._stream is not None and self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0

    def __call__(self, line: str) -> None:
        """Show ``line``, unless it comes too early."""
        now = self._clock()
        if self._stream is None or now - self._started < QUIET_SECONDS:
            return
        if self._stream.isatty():
            self._stream.write(f"\r{line:<{self._width}}")
            self._stream.flush()
            self._width = len(line)
        elif now - self._last >= SPARSE_SECONDS:
            self._last = now
            self._stream.write(f"{line}\n")
            self._stream.flush()
