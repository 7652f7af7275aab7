"""Run a function in a child process, and kill it before its Nth system call (ptrace(2))."""

from __future__ import annotations

import ctypes
import os
import signal
import warnings

_TRACEME, _SYSCALL, _SETOPTIONS = 0, 24, 0x4200
_OPTIONS = 0x100001  # EXITKILL, TRACESYSGOOD
_LIBC = ctypes.CDLL(None, use_errno=True)


def _ptrace(request, pid, data=0):
    if _LIBC.ptrace(request, pid, None, ctypes.c_void_p(data)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def fork():
    """Fork, although pytest-xdist has a thread of its own, of which Python 3.12 and later warn.

    That thread reads from a socket, and holds nothing that the children of these tests want.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def run_until(boundary, act):
    """Fork, run ``act``, and kill it with SIGKILL at the given boundary (1 is the first).

    A boundary lies before each system call: the one before it has happened, this one has not, and nothing
    that others can see changes in between. Returns True if it was killed, False if it ended before that.
    """
    pid = fork()
    if pid == 0:  # pragma: no cover - the child is killed, and cannot say what it covered
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            act()
        except BaseException:  # noqa: BLE001 - the child has no one else to tell
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise OSError("this process may not trace its children")
    _ptrace(_SETOPTIONS, pid, _OPTIONS)
    passed = 0
    pending = 0
    while True:
        _ptrace(_SYSCALL, pid, pending)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if os.WIFSIGNALED(status) or os.WEXITSTATUS(status):
                raise AssertionError(f"the child ended by itself, badly: status {status:#x}")
            return False
        stopped_by = os.WSTOPSIG(status)
        pending = 0 if stopped_by == signal.SIGTRAP | 0x80 else stopped_by
        if not pending:
            passed += 1
            if passed == 2 * boundary - 1:  # stops come in pairs: entry and return
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return True
