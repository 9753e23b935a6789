"""Child processes that never outlive this one, also when it is killed with SIGKILL.

Each is started through a guardian (``billing_etl.local.guardian``), which ends it together with
everything that it started.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

HOST: Final = "127.0.0.1"
_GUARDIAN: Final = Path(__file__).with_name("guardian.py")
# The guardian kills within ten seconds after the grace; it is not waited for much longer.
_GUARDIAN_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group that a process runs as."""

    uid: int
    gid: int


class ManagedProcess:
    """A command that runs until ``stop``, its own end, or the end of this process.

    Args:
        command: program and arguments; secrets belong into the environment.
        log: file that its output is appended to.
        environment: the whole environment; that of this process when not given.
        directory: working directory.
        account: who it runs as, when this process is root and it should not be.
        stop_signal: asks it to end in order.
        lock: a locked file; the lock holds until everything below the command is gone.
        grace_seconds: after these it and everything below it is killed.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        account: Account | None = None,
        lock: IO[bytes] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10.0,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        self._grace_seconds = grace_seconds
        options = [
            f"--owner={os.getpid()}",
            f"--stop-signal={int(stop_signal)}",
            f"--grace-seconds={grace_seconds}",
        ]
        if account is not None:
            options += [f"--uid={account.uid}", f"--gid={account.gid}"]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            # -I: neither the environment nor the working directory changes what the guardian is.
            # A session of its own keeps Ctrl-C at the terminal away from it.
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", _GUARDIAN, *options, "--", *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=directory,
                pass_fds=() if lock is None else (lock.fileno(),),
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + n after signal n."""
        return self._guardian.poll()

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Waits for its own end and gives the exit code.

        Raises:
            TimeoutError: it still runs after ``timeout_seconds``.
        """
        try:
            return self._guardian.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"{self.name}: expected to end within {timeout_seconds} s; see {self.log}"
            ) from None

    def ask_to_stop(self) -> None:
        """Asks it to end and does not wait: several can end at the same time."""
        pipe = self._guardian.stdin
        if pipe is None or pipe.closed:
            return
        try:
            pipe.write(b"s")
            pipe.close()
        except BrokenPipeError:
            return  # it has ended already

    def stop(self) -> None:
        """Ends it and everything below it; returns when all of that is gone. Safe to repeat."""
        self.ask_to_stop()
        try:
            self._guardian.wait(self._grace_seconds + _GUARDIAN_SECONDS)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def free_ports(count: int) -> list[int]:
    """Different TCP ports of the loopback address that are free at this moment."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def is_free(port: int) -> bool:
    """Whether a server could listen on this TCP port of the loopback address now."""
    with socket.socket() as probe:
        # As servers do: connections that linger after a server's end do not occupy its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def wait_until_served(ports: Sequence[int], timeout_seconds: float) -> None:
    """Returns once something listens on each of these TCP ports of the loopback address.

    Raises:
        TimeoutError: nothing does on some, after ``timeout_seconds``.
    """
    deadline = time.monotonic() + timeout_seconds
    while silent := [port for port in ports if is_free(port)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected servers on ports {silent} within {timeout_seconds} s")
        time.sleep(0.1)
