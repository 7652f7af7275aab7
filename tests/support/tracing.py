"""Run a function in a child process, and kill it between two of its system calls (ptrace(2))."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import warnings

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_OPTIONS = 0x100001  # EXITKILL, TRACESYSGOOD
_LIBC = ctypes.CDLL(None, use_errno=True)
# read, close, fstat, lseek, mmap, mprotect, munmap, brk, rt_sigaction, ioctl, getpid, getuid, geteuid, getegid, futex,
# getdents64, newfstatat, getrandom, statx: they change no file. Other calls, and other machines' numbers, may.
_READING = {0, 3, 5, 8, 9, 10, 11, 12, 13, 16, 39, 102, 107, 108, 202, 217, 262, 318, 332}
_READING_CALLS = _READING if platform.machine() == "x86_64" else set()
_EVERY = 3


class _SyscallInfo(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint8),
        ("architecture", ctypes.c_uint32),
        ("pointers", ctypes.c_uint64 * 2),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 7),
    )


def _ptrace(request, pid, data=0, address=None):
    if _LIBC.ptrace(request, pid, ctypes.c_void_p(address), ctypes.c_void_p(data)) < 0:
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

    A boundary lies before a system call: the one before it has happened, this one has not, and nothing that others
    can see changes in between. All boundaries after a call that may change a file count, and every third of the others.
    Returns True if it was killed, False if it ended before that.
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
    entry, calls, passed, previous = False, 0, 0, None
    info = _SyscallInfo()
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
            entry = not entry  # stops come in pairs: entry and return
            if entry:
                _ptrace(_GET_SYSCALL_INFO, pid, ctypes.addressof(info), ctypes.sizeof(info))
                calls += 1
                passed += previous not in _READING_CALLS or calls % _EVERY == 0
                previous = info.number
            if entry and passed == boundary:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return True
