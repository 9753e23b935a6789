"""Archived days: where they are, what of them is kept, and the facts of days that are to go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from billing_etl.errors import ArchivedError
from billing_etl.hours import Hour, HourRange
from billing_etl.records import Int64Array
from billing_etl.store.columns import Numbers, Rows, fetch_rows
from billing_etl.store.database import Connection, one_row, sql
from billing_etl.store.facts import FACT

MINUTES_PER_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Archive:
    """An archived day, counted from 1970; ``dropped_at`` None: its facts are frozen and here."""

    day: int
    bucket: str
    prefix: str
    root: bytes
    frozen_at: datetime
    dropped_at: datetime | None
    facts: int | None

    @property
    def place(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def __str__(self) -> str:
        since = self.dropped_at or self.frozen_at
        return f"archived at {self.place} since {since:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Sums:
    """Facts summed, exactly, and the SHA-256 over them in order of minute and series."""

    facts: int
    uplink: int
    downlink: int
    included: int
    amount: Decimal
    facts_sha256: bytes

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class ArchivedObject(NamedTuple):
    """A verified object of a day."""

    ordinal: int
    object_key: str
    facts: int
    size_bytes: int
    sha256: bytes


class ArchivedHour(NamedTuple):
    """What a statement knew of an hour before its facts went."""

    hour: int
    numbers: dict[str, int | str]
    inputs: dict[str, dict[str, Any]]
    amounts: list[dict[str, Any]]
    place: str


def end(connection: Connection) -> Hour:
    """The end of the archived hours; the first hour of 1970 when nothing is archived."""
    (index,) = one_row(connection, "select billing_core.archive_end()", {})
    return Hour(int(index))


def of_hour(connection: Connection, hour: Hour) -> Archive | None:
    """The archive of an hour; None while its facts may still change."""
    with connection.cursor(row_factory=class_row(Archive)) as cursor:
        return cursor.execute(sql("archive/of_hour").encode(), {"hour": hour.index}).fetchone()


def of_day(connection: Connection, day: int) -> Archive | None:
    with connection.cursor(row_factory=class_row(Archive)) as cursor:
        return cursor.execute(sql("archive/of_day").encode(), {"day": day}).fetchone()


def places_of_hour(connection: Connection, hour: Hour) -> tuple[list[str], datetime | None]:
    """Addresses of the objects with the facts of an hour, and since when; None: they are here."""
    rows = connection.execute(sql("archive/places_of_hour").encode(), {"hour": hour.index})
    found = rows.fetchall()
    return [str(place) for place, _ in found], found[0][1] if found else None


def refuse(connection: Connection, hour: Hour, who: str) -> None:
    """Keeps facts of archived hours from being changed or made again.

    Args:
        connection: the connection.
        hour: the earliest hour that is to be done.
        who: what is refused.

    Raises:
        ArchivedError: it is archived.
    """
    found = of_hour(connection, hour)
    if found is not None:
        raise ArchivedError(
            f"{who}: hour {hour} is {found}; what is archived is not done again, ask the archive, "
            f"and correct money by a credit; {end(connection)} is the first hour that can be done"
        )


# --- the facts of a day --------------------------------------------------------------------------


def fact_days(connection: Connection) -> list[int]:
    """Days that have a partition of facts, oldest first."""
    return [int(day) for (day,) in connection.execute(sql("archive/fact_days").encode())]


def facts_per_minute(connection: Connection, day: int) -> list[tuple[int, int]]:
    """Minutes of a day with facts, and how many."""
    minutes = range(day * MINUTES_PER_DAY, (day + 1) * MINUTES_PER_DAY)
    rows = connection.execute(sql("archive/minutes").encode(), _minutes(minutes))
    return [(int(minute), int(facts)) for minute, facts in rows]


def facts(connection: Connection, minutes: range) -> Rows:
    """Facts of some minutes in order of minute and series, as rows of ``facts.FACT``."""
    return fetch_rows(connection, sql("archive/facts"), _minutes(minutes), FACT)


def sums(connection: Connection, minutes: range) -> Sums:
    """Sums and digest as the server computes them."""
    row = one_row(connection, sql("archive/sums"), _minutes(minutes))
    count, uplink, downlink, included, amount, sha256 = row
    return Sums(int(count), int(uplink), int(downlink), int(included), amount, bytes(sha256))


def series(connection: Connection, series_ids: Int64Array) -> list[dict[str, Any]]:
    """Names of series, in order of their ids."""
    return _rows(connection, "archive/series", {"series_ids": Numbers(series_ids)}, "series_id")


def rates(connection: Connection, rate_ids: Int64Array) -> list[dict[str, Any]]:
    """What facts were rated with, in order of the rates' ids."""
    return _rows(connection, "archive/rates", {"rate_ids": Numbers(rate_ids)}, "rate_id")


def regions(connection: Connection) -> dict[int, list[tuple[int, str]]]:
    """Per source its regions with the minute from which each applies, in order."""
    found: dict[int, list[tuple[int, str]]] = {}
    for source, from_minute, region in connection.execute(sql("archive/regions").encode()):
        found.setdefault(source, []).append((from_minute, region))
    return found


# --- archiving -----------------------------------------------------------------------------------


def freeze(
    connection: Connection, day: int, bucket: str, prefix: str, root: str, run_id: int
) -> None:
    """Holds the facts of a day as they are, in a transaction of its own.

    Raises:
        psycopg.errors.LockNotAvailable: somebody writes them.
    """
    with connection.transaction():
        connection.execute(
            "select billing_core.freeze_facts(%s, %s, %s, %s, %s)",
            (day, bucket, prefix, bytes.fromhex(root), run_id),
        )


def thaw(connection: Connection, day: int) -> None:
    """Takes a freeze back; only for a day of which nothing lies in the store."""
    with connection.transaction():
        connection.execute("select billing_core.thaw_facts(%s)", (day,))


def objects(connection: Connection, day: int) -> list[ArchivedObject]:
    rows = connection.execute(sql("archive/objects").encode(), {"day": day})
    return [ArchivedObject(*row) for row in rows]


def add_object(
    connection: Connection,
    day: int,
    minutes: range,
    found: ArchivedObject,
    of: Sums,
    etag: str,
    run_id: int,
) -> None:
    """Writes a verified object down."""
    parameters = {"day": day, "etag": etag, "run_id": run_id} | found._asdict() | of.as_dict()
    with connection.transaction():
        connection.execute(sql("archive/add_object").encode(), parameters | _minutes(minutes))


def drop_facts(
    connection: Connection,
    day: int,
    kept: Mapping[Hour, tuple[Mapping[str, Any], Mapping[str, Any], Sequence[Mapping[str, Any]]]],
) -> None:
    """Keeps what statements need and drops the facts of a frozen day: both or neither.

    Args:
        connection: in autocommit.
        day: of which every fact lies in verified objects; the database counts them again.
        kept: numbers, digests and amounts of each hour.

    Raises:
        psycopg.errors.LockNotAvailable: facts are being read for longer than is waited.
        psycopg.errors.RestrictViolation: the objects do not hold what is here.
    """
    with connection.transaction():
        connection.execute(
            sql("archive/add_hours").encode(),
            {
                "hours": [hour.index for hour in kept],
                "numbers": [Jsonb(numbers) for numbers, _, _ in kept.values()],
                "inputs": [Jsonb(inputs) for _, inputs, _ in kept.values()],
                "amounts": [Jsonb(amounts) for _, _, amounts in kept.values()],
            },
        )
        connection.execute("select billing_core.drop_archived_facts(%s)", (day,))


def hours(connection: Connection, of: HourRange) -> dict[int, ArchivedHour]:
    """Those of the hours whose facts are archived, by hour index."""
    rows = connection.execute(
        sql("archive/hours").encode(), {"start": of.start.index, "end": of.end.index}
    )
    return {int(row[0]): ArchivedHour(*row) for row in rows}


def _rows(
    connection: Connection, name: str, parameters: Mapping[str, Any], key: str
) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(sql(name).encode(), parameters).fetchall()
    return sorted(found, key=lambda row: int(row[key]))


def _minutes(minutes: range) -> dict[str, int]:
    return {"from_minute": minutes.start, "until_minute": minutes.stop}
