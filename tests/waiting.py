"""Waiting in tests for what other processes do."""

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], object], seconds: float, pause_seconds: float = 0.02) -> None:
    """Returns once it is so; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(pause_seconds)
