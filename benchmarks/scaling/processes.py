"""CPU of processes and of everything below them, and how long they waited for a core."""

from pathlib import Path

import psutil


def cpu_seconds(process: psutil.Process) -> tuple[float, float]:
    """Used so far by a process, and by all that it started, ended or not."""
    times = process.cpu_times()
    below = times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            of_child = child.cpu_times()
        except psutil.NoSuchProcess:
            continue  # it has just ended and counts with its parent from now on
        below += of_child.user + of_child.system
        below += of_child.children_user + of_child.children_system
    return float(times.user + times.system), float(below)


def machine_seconds() -> float:
    """Used so far by the whole machine."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def scheduled_seconds(schedstat: str) -> tuple[float, float]:
    """CPU used, and waited for a core while ready to run; of a task, to the nanosecond.

    Args:
        schedstat: its file of that name, without ``/proc/``.
    """
    on_cpu, delayed, _ = Path("/proc", schedstat).read_text().split()
    return int(on_cpu) / 1e9, int(delayed) / 1e9


def delayed_seconds() -> float:
    """How long everything below this process has waited for a core so far, threads each."""
    delayed = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                delayed += scheduled_seconds(f"{process.pid}/task/{thread.name}/schedstat")[1]
        except OSError:
            continue  # it has just ended
    return delayed
