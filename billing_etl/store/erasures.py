"""Accounts whose identifiers were erased, and how they are known again without them.

An erased account has another uuid, chosen at random. Of the one that it had only the SHA-256 is
kept: whoever is served that uuid again can tell whose it is, nobody can tell it from the hash.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from billing_etl.hours import Hour
from billing_etl.store.database import Connection, one_row, sql, take_lock


class KnownAccount(NamedTuple):
    """What is known of a uuid.

    Attributes:
        account_uuid: what the account is called now.
        erasure_id, erased_at: None when it was not erased.
        is_former: whether the uuid that was asked for is the one that was erased.
    """

    account_key: int
    account_uuid: str
    erasure_id: int | None
    erased_at: datetime | None
    is_former: bool | None


class SealedFact(NamedTuple):
    """A sealed fact of an account, with what its events' ids are made of besides the account."""

    series_id: int
    minute: int
    revision: int
    source_id: str
    env: str
    node_id: str
    inbound_tag: str
    event_type: str


class Place(NamedTuple):
    """Where a uuid is found in the database; ``stays``: it cannot be replaced there."""

    name: str
    rows: int
    stays: bool


class SealedObjects(NamedTuple):
    """Objects that were sealed in some hours, those whose payload is kept, those not sent yet."""

    objects: int
    payloads: int
    undelivered: int


def login(connection: Connection) -> str:
    """The login at the database."""
    (name,) = one_row(connection, "select session_user", {})
    return str(name)


def stored_name(connection: Connection) -> Callable[[str], str] | None:
    """Gives what an account is called here by the uuid it is served with; None: just that."""
    rows = connection.execute(sql("erasures/former").encode())
    by_digest = {bytes(digest): str(name) for digest, name in rows}
    return _Names(by_digest).__getitem__ if by_digest else None


class _Names(dict[str, str]):
    """Each uuid is hashed once: an hour serves the same ones again and again."""

    def __init__(self, by_digest: Mapping[bytes, str]) -> None:
        super().__init__()
        self._by_digest = by_digest

    def __missing__(self, account_uuid: str) -> str:
        digest = hashlib.sha256(account_uuid.encode()).digest()
        self[account_uuid] = name = self._by_digest.get(digest, account_uuid)
        return name


def known(connection: Connection, account_uuid: str) -> KnownAccount | None:
    """The account that has this uuid, or had it before it was erased."""
    row = connection.execute(
        sql("erasures/known").encode(), {"account_uuid": account_uuid}
    ).fetchone()
    return None if row is None else KnownAccount(*row)


def places(
    connection: Connection, account_uuid: str, replacement: str | None = None
) -> list[Place]:
    """Where a uuid is found; with a replacement, that stands there from now on."""
    rows = connection.execute(
        "select place, found_rows, stays from billing_core.replace_uuid(%s, %s)",
        (account_uuid, replacement),
    )
    return [Place(*row) for row in rows]


def hours(connection: Connection, account_key: int) -> list[Hour]:
    """The hours in which an account has usage, or had when they were sealed."""
    rows = connection.execute(sql("erasures/hours").encode(), {"account_key": account_key})
    return [Hour(int(hour)) for (hour,) in rows]


def sealed_objects(connection: Connection, of_hours: Sequence[Hour]) -> SealedObjects:
    """What was sealed in some hours."""
    row = one_row(connection, sql("erasures/left"), {"hours": [hour.index for hour in of_hours]})
    return SealedObjects(*row)


def lock_sources(connection: Connection) -> None:
    """Waits until no source is being collected, and keeps it so until the transaction ends."""
    rows = connection.execute("select source_id from billing_core.sources order by source_id")
    for (source_id,) in rows.fetchall():
        take_lock(
            connection,
            "select pg_advisory_xact_lock(hashtextextended('billing_etl source ' || %s, 0))",
            (source_id,),
            who="erase",
            waits_for=f"a run of source {source_id}",
        )


def lock_hours(connection: Connection, of_hours: Sequence[Hour]) -> None:
    """Keeps hours from being sealed until the transaction ends."""
    take_lock(
        connection,
        sql("erasures/lock_hours"),
        {"hours": [hour.index for hour in of_hours]},
        who="erase",
        waits_for="a run that seals the same hours",
    )


def sealed_facts(connection: Connection, account_key: int) -> Iterator[SealedFact]:
    """The sealed facts of an account, read as they are used."""
    with connection.cursor(name="sealed_facts") as cursor:
        cursor.execute(sql("erasures/sealed_facts").encode(), {"account_key": account_key})
        for row in cursor:
            yield SealedFact(*row)


def keep_ids(connection: Connection, ids: Iterable[tuple[SealedFact, list[str]]]) -> int:
    """Keeps the ids of sealed facts and of their events; gives how many facts these are."""
    count = 0
    kept = list(ids)  # a connection cannot copy while it reads
    with (
        connection.cursor() as cursor,
        cursor.copy("copy billing_core.erased_events (series_id, minute, ids) from stdin") as copy,
    ):
        for fact, of_fact in kept:
            copy.write_row((fact.series_id, fact.minute, "{" + ",".join(of_fact) + "}"))
            count += 1
    return count


def record(
    connection: Connection,
    account_key: int,
    replacement: str,
    first_hour: Hour | None,
    reason: str,
    erased_by: str,
    run_id: int,
) -> None:
    """Gives the account another uuid, and records that."""
    connection.execute(
        sql("erasures/record").encode(),
        {
            "account_key": account_key,
            "replacement": replacement,
            "first_hour": None if first_hour is None else first_hour.index,
            "reason": reason,
            "erased_by": erased_by,
            "run_id": run_id,
        },
    )
