"""Dropping a partition shuts out whoever reads its table; who reads for long is not waited for."""

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

import psycopg

from billing_etl.errors import RetryableError

TRIES: Final = 5
_PAUSE_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def shutting_out(drop: Callable[[], _Result], who: str, table: str) -> _Result:
    """Drops at a moment when nobody uses the table; gives what ``drop`` gives.

    Args:
        drop: a transaction that waits for its locks only briefly.
        who: what is not done when that fails, for the message.
        table: what is used, for the message.

    Raises:
        RetryableError: it was in use at every try.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return drop()
        except psycopg.errors.LockNotAvailable:
            _log.info("%s: %s are in use, attempt %d of %d", who, table, attempt, TRIES)
            if attempt < TRIES:
                time.sleep(_PAUSE_SECONDS)
    raise RetryableError(
        f"{who}, {table} were being read or written for longer than is waited; run again when that "
        "has ended"
    )
