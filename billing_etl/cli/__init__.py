"""The ``billing-etl`` command: every step without Airflow, on the code that the DAGs call."""

import gc
import logging
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from billing_etl.cli.arguments import parse_arguments
from billing_etl.cli.output import Output
from billing_etl.errors import BillingError, UsageError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; 0 success, 1 the work failed or differs, 2 bad usage or configuration."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # Libraries log requests with their addresses; what matters is in this project's own lines.
    for name in ("httpx", "httpcore", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    arguments = parse_arguments(argv)
    if arguments.verbose:
        logging.getLogger("billing_etl").setLevel(logging.INFO)
    is_for_programs = arguments.json or getattr(arguments, "csv", False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Programs get UTF-8. A terminal that has no sign for a letter gets another one.
            stream.reconfigure(encoding="utf-8" if is_for_programs else None, errors="replace")
    output = Output(as_json=arguments.json)
    gc.freeze()  # modules stay until the end: the collector need not walk through them again
    try:
        code: int = arguments.run(arguments, os.environ, output)
    except UsageError as error:
        output.error(error)
        return 2
    except BillingError as error:
        output.error(error)
        return 1
    except KeyboardInterrupt:
        return 130
    return code
