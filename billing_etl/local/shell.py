"""The environment of a development run as a file that a shell reads: ``. .data/env``."""

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from billing_etl.local.files import write_private
from billing_etl.local.postgres import programs

_HEAD: Final = (
    "# Written by `make run`. `. .data/env` in another terminal: then billing-etl, airflow and\n"
    "# psql work on this run. It holds its passwords: only you may read it.\n"
)


def write_shell_environment(path: Path, environment: Mapping[str, str]) -> None:
    """Writes what an environment has beyond the one of this process, and where programs are.

    ``billing-etl`` and ``airflow`` come first; ``psql`` of the embedded server serves where no
    other is installed.
    """
    own = Path(sys.executable).parent
    lines = [f'export PATH={shlex.quote(str(own))}:"$PATH":{shlex.quote(str(programs()))}']
    lines += [
        f"export {name}={shlex.quote(value)}"
        for name, value in sorted(environment.items())
        if os.environ.get(name) != value
    ]
    write_private(path, _HEAD + "\n".join(lines) + "\n")
