"""What all tests start from."""

from __future__ import annotations

import signal

import pytest

pytest.register_assert_rewrite("support")

# A shell starts what runs in the background with SIGINT ignored, and so would every program under test be: then
# nothing that is to be interrupted ever is.
signal.signal(signal.SIGINT, signal.default_int_handler)
