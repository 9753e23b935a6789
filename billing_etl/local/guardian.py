"""Runs one command and ends it, with everything below it, when its owner asks or dies.

A program of its own, see ``billing_etl.local.processes``. Standard input is a pipe whose other end
only the owner holds: a byte asks for an orderly stop, its end means that the owner is gone, also
by SIGKILL. As a subreaper the guardian adopts what is orphaned below it, so that nothing escapes
by starting a session of its own or by forking twice.
"""

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from typing import Final

import psutil

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

# Nobody waits for an orderly end any more, and nothing may live on for long.
_GRACE_OF_AN_ORPHAN_SECONDS: Final = 2.0
# What SIGKILL does not end by then hangs in the kernel.
_KILL_SECONDS: Final = 10.0


class Options(argparse.Namespace):
    """The command line; see ``main``."""

    owner: int
    stop_signal: int
    grace_seconds: float
    uid: int | None
    gid: int | None
    command: list[str]


class Guardian:
    """One command, started by ``run``."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._exit_code: int | None = None
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)

    def run(self) -> int:
        """Gives the command's exit code, 128 + n after signal n."""
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        # Kept: a forgotten Popen reaps its process behind the back of _reap.
        self._command = self._spawn()
        grace_seconds = self._wait_for_a_reason()
        if self._exit_code is None:
            # It is not reaped yet, so the number still is its own.
            os.kill(self._command.pid, self._options.stop_signal)
            self._wait_for_command(grace_seconds)
        self._kill_the_rest()
        code = self._exit_code if self._exit_code is not None else -signal.SIGKILL
        return code if code >= 0 else 128 - code

    def _spawn(self) -> subprocess.Popen[bytes]:
        guardian = os.getpid()

        def die_with_the_guardian() -> None:
            # Set last: a change of user would clear it.
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guardian:
                os.kill(os.getpid(), signal.SIGKILL)

        uid, gid = self._options.uid, self._options.gid
        return subprocess.Popen(
            self._options.command,
            stdin=subprocess.DEVNULL,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            start_new_session=True,
            preexec_fn=die_with_the_guardian,
        )

    def _wait_for_a_reason(self) -> float:
        """Waits until the command ends or has to; gives the seconds that it has for that."""
        while self._exit_code is None:
            ready, _, _ = select.select([sys.stdin, self._woken], [], [], 1)
            if sys.stdin in ready:
                asked = os.read(sys.stdin.fileno(), 1)
                return self._options.grace_seconds if asked else _GRACE_OF_AN_ORPHAN_SECONDS
            # A fork of the owner may hold the pipe open after the owner's death.
            if os.getppid() != self._options.owner:
                return _GRACE_OF_AN_ORPHAN_SECONDS
            if self._woken in ready and self._was_told_to_stop():
                return self._options.grace_seconds
        return 0.0

    def _was_told_to_stop(self) -> bool:
        """Looks at the signals that came; ``set_wakeup_fd`` writes their numbers."""
        numbers = os.read(self._woken, 4096)
        self._reap()
        return any(number != signal.SIGCHLD for number in numbers)

    def _wait_for_command(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._exit_code is None and (left := deadline - time.monotonic()) > 0:
            if select.select([self._woken], [], [], left)[0]:
                self._was_told_to_stop()

    def _kill_the_rest(self) -> None:
        """Kills until nothing is left below: what is being killed may still have forked."""
        deadline = time.monotonic() + _KILL_SECONDS
        while (left := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
            for process in left:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            select.select([self._woken], [], [], 0.02)
            self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._command.pid:
                self._exit_code = os.waitstatus_to_exitcode(status)


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--owner", type=int, required=True, help="process id of the owner")
    parser.add_argument("--stop-signal", type=int, required=True)
    parser.add_argument("--grace-seconds", type=float, required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("command", nargs="+")
    return Guardian(parser.parse_args(namespace=Options())).run()


if __name__ == "__main__":
    sys.exit(main())
