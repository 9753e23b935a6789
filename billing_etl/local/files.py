"""Files of the embedded services: secrets that only the owner reads, and locks on directories."""

import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import IO, Final

from billing_etl.errors import RetryableError

# What a killed run leaves is ended by its guardians within this time.
_PREDECESSOR_SECONDS: Final = 8.0
_POLL_SECONDS: Final = 0.05


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent)  # made with mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(draft).replace(path)


def lock_directory(directory: Path) -> IO[bytes]:
    """Keeps other runs off a directory until the file is closed, here and in those who inherit it.

    The kernel takes the lock back when they have died.

    Raises:
        RetryableError: another run holds it, and does not end within moments.
    """
    file = (directory / "lock").open("ab")
    deadline = time.monotonic() + _PREDECESSOR_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                raise RetryableError(
                    f"{directory}: expected it to be free, got another run that uses it; stop that"
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return file
