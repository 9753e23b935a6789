"""The arrears sweep: suspends accounts whose arrears last longer than the grace (R6).

What is found depends on the ledger and the clock alone, so sweeping again changes nothing. The
suspension ends by itself, in the transaction of the entry that ends the arrears.
"""

import logging
from datetime import datetime, timedelta
from typing import Final

from billing_etl.pipeline.engine import Engine
from billing_etl.store import maintenance, ratings
from billing_etl.store.maintenance import Debtor

# Accounts of one transaction, which holds the rating lock: whoever rates waits for no more.
ACCOUNTS_AT_ONCE: Final = 1_000
DEBTORS_SHOWN: Final = 100

_log = logging.getLogger(__name__)


def sweep(
    engine: Engine,
    now: datetime,
    run_id: int | None,
    *,
    most: int = ACCOUNTS_AT_ONCE,
) -> tuple[int, list[Debtor]]:
    """Suspends who is due; their number, and the first ``DEBTORS_SHOWN`` of them.

    Args:
        engine: settings and database.
        now: the wall clock.
        run_id: the run this belongs to; None: nothing is changed, only told.
        most: accounts per transaction.

    Raises:
        RetryableError: another run rates for longer than the lock wait.
    """
    grace = engine.settings.arrears_grace
    if grace is None:
        return 0, []
    if run_id is None:
        with engine.connect() as connection:
            found = maintenance.debtors(connection, now, grace, 2**31)
        return len(found), found[:DEBTORS_SHOWN]
    count, shown = 0, list[Debtor]()
    while True:
        with engine.connect() as connection:
            ratings.lock_rating(connection, "arrears sweep")
            found = maintenance.debtors(connection, now, grace, most)
            maintenance.suspend(connection, found, grace, _reason(grace), run_id)
        count += len(found)
        shown += found[: DEBTORS_SHOWN - len(shown)]
        if len(found) < most:
            return count, shown
        _log.info("arrears: %d accounts suspended so far", count)


def _reason(grace: timedelta) -> str:
    return f"in arrears for longer than the grace of {grace}"
