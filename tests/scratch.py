"""Where tests keep the files of services: in memory where the machine offers that."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_ENOUGH_BYTES: Final = 4 * 2**30


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that is gone afterwards.

    Each test has a database of its own, a thousand small files: on a disk that is slow to make
    files, half of the time of all tests goes there.
    """
    with tempfile.TemporaryDirectory(prefix="billing-etl-test-", dir=_parent()) as name:
        directory = Path(name)
        # mkdtemp lets nobody in; as root the server runs as another user.
        directory.chmod(0o711)
        yield directory


def _parent() -> Path | None:
    """None is the usual place of temporary files."""
    usable = os.access(_MEMORY, os.W_OK | os.X_OK)
    if usable and shutil.disk_usage(_MEMORY).free >= _ENOUGH_BYTES:
        return _MEMORY
    return None
