"""
Run a Python program that dies with whoever started it: ``python -P leash.py TARGET ARGUMENTS``.

Standard input is the leash: a pipe whose other end the starter holds and never writes to. It
closes when the starter is gone, be it by SIGKILL, and everything in this process's group is then
killed. So it has to lead a group of its own, or kills nothing but says so.

It is run by its path and imports nothing of this package, so that it costs no time.
"""

import os
import runpy
import signal
import sys
import threading

__all__ = ["main"]


def _hold(fd: int) -> None:
    """Wait until *fd* is closed at its other end, then kill the group."""
    while os.read(fd, 4096):
        pass
    os.killpg(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the program that ``sys.argv`` names, a module or the path of a file, as ``__main__``."""
    threading.Thread(target=_hold, args=(0,), name="leash", daemon=True).start()
    target = sys.argv[1]
    del sys.argv[0]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
