"""Become another program that dies with its parent: ``python tether.py PARENT-PID PROGRAM ARG...``.

``PR_SET_PDEATHSIG`` (prctl(2)) has the kernel kill this process when its parent ends, however that happens. It has to
be asked for in the child. Doing it here, in a program of its own that then executes the real one, needs no Python
between fork and exec in the parent, where a lock held by another thread would hang the child. The signal is tied to the
parent's *thread* that started the child: start children from the thread that runs the event loop, and keep it.

A session of its own keeps Ctrl-C at the terminal from reaching the program: who stops what, and when, is the parent's.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, program = int(arguments[0]), arguments[1:]
    os.setsid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent ended before this process began")
    try:
        os.execvp(program[0], program)  # noqa: S606  the parent chose it; no shell is wanted
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
