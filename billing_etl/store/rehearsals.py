"""What a transaction that will be rolled back has changed, compared with what is committed."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from billing_etl.hours import Hour
from billing_etl.store.columns import Numbers
from billing_etl.store.database import Connection, one_row, sql
from billing_etl.store.deliveries import count_changes, meters
from billing_etl.store.sources import TRAFFIC_METER_ID

AccountAndHour = tuple[int, int]


class AccountHourState(NamedTuple):
    """Bytes of an account-hour, and the net amount that the ledger has for it."""

    account_uuid: str
    quantity: int
    amount: Decimal


def begin(connection: Connection, command: str) -> tuple[int, int]:
    """A run record within the transaction, and the newest ledger entry before it."""
    (run_id,) = one_row(
        connection,
        "insert into billing_core.runs (command) values (%(command)s) returning run_id",
        {"command": command},
    )
    (entry_id,) = one_row(
        connection, "select coalesce(max(entry_id), 0) from billing_core.ledger_entries", {}
    )
    return int(run_id), int(entry_id)


def touched(connection: Connection, run_id: int, after_entry: int) -> list[AccountAndHour]:
    """Account-hours that the transaction may have changed; before rating: that wait for it."""
    rows = connection.execute(
        sql("backfill/touched").encode(),
        {"meter_id": TRAFFIC_METER_ID, "run_id": run_id, "after_entry": after_entry},
    )
    return [(int(account_key), int(hour)) for account_key, hour in rows]


def states(
    connection: Connection, keys: Sequence[AccountAndHour]
) -> dict[AccountAndHour, AccountHourState]:
    """State of account-hours as this connection sees them; of an account it sees at all."""
    rows = connection.execute(
        sql("backfill/account_hours").encode(),
        {
            "meter_id": TRAFFIC_METER_ID,
            "account_keys": Numbers([key for key, _ in keys]),
            "hours": Numbers([hour for _, hour in keys]),
        },
    )
    return {
        (int(account_key), int(hour)): AccountHourState(str(uuid), int(quantity), Decimal(amount))
        for account_key, hour, uuid, quantity, amount in rows
    }


def pending_corrections(connection: Connection, hours: Iterable[Hour]) -> dict[Hour, int]:
    """Events that the next sealing of each sealed hour would make, as this connection sees it."""
    sealed = connection.execute(
        sql("backfill/sealed_hours").encode(),
        {"meter_id": TRAFFIC_METER_ID, "hours": [hour.index for hour in hours]},
    ).fetchall()
    (meter,) = (each for each in meters(connection) if each.meter_id == TRAFFIC_METER_ID)
    return {Hour(index): count_changes(connection, Hour(index), meter) for (index,) in sealed}
