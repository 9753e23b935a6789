"""Publishing into the price book; what lies after a new date is rated again (R2)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal

from psycopg.types.json import Jsonb

from billing_etl.errors import UsageError
from billing_etl.hours import Hour
from billing_etl.settings import Source
from billing_etl.store.database import Connection, one_row, sql, take_lock
from billing_etl.store.ratings import AccountHour, lock_rating
from billing_etl.store.sources import TRAFFIC_METER_ID


@dataclass(frozen=True, slots=True)
class Version:
    """A version to publish; the columns of ``billing_core.price_versions``."""

    price_version: str
    scope: str
    scope_key: str
    from_minute: int
    price_per_unit: Decimal
    included_quota: int | None
    region_multipliers: dict[str, str]
    line_multipliers: dict[str, str]
    peak_multiplier: Decimal
    offpeak_multiplier: Decimal
    peak_time_zone: str
    peak_hours: list[int]


@dataclass(frozen=True, slots=True)
class PlanMember:
    """An account's plan from a minute on; an empty plan ends it."""

    account_uuid: str
    plan: str
    from_minute: int


@dataclass(frozen=True, slots=True)
class SourceRegion:
    """A source's region from a minute on."""

    source_id: str
    region: str
    from_minute: int


def publish(connection: Connection, versions: Sequence[Version], run_id: int) -> list[Version]:
    """Adds versions, the oldest first; gives them with the quotas that they have.

    A default that names no quota goes on with that of the default before it (R3).
    """
    published = []
    for version in sorted(versions, key=lambda each: each.from_minute):
        (included_quota,) = one_row(
            connection,
            sql("price/publish"),
            asdict(version)
            | {
                "meter_id": TRAFFIC_METER_ID,
                "region_multipliers": Jsonb(version.region_multipliers),
                "line_multipliers": Jsonb(version.line_multipliers),
                "run_id": run_id,
            },
        )
        published.append(replace(version, included_quota=included_quota))
    return published


def add_plan_members(
    connection: Connection, members: Sequence[PlanMember], run_id: int
) -> list[str]:
    """Adds dated plan memberships of known accounts; gives what to show for each."""
    for member in members:
        parameters = asdict(member) | {"run_id": run_id}
        connection.execute(sql("price/add_plan_member").encode(), parameters)
    return [f"{member.account_uuid} in plan {member.plan or '(none)'}" for member in members]


def add_source_regions(connection: Connection, regions: Sequence[SourceRegion]) -> list[str]:
    """Adds dated regions of sources; gives what to show for each.

    Raises:
        UsageError: the source has never been collected, so it is not known.
    """
    for region in regions:
        added = connection.execute(sql("price/add_source_region").encode(), asdict(region))
        if not added.rowcount:
            raise UsageError(
                f"price: expected a source that was collected before, got {region.source_id!r}"
            )
    return [f"{region.source_id} in region {region.region}" for region in regions]


def lock_touched(
    connection: Connection,
    versions: Sequence[Version],
    members: Sequence[PlanMember],
    regions: Sequence[SourceRegion],
    anchor: int,
) -> list[AccountHour]:
    """Locks the account-hours that something published touches, and all that is stale (R2, R4).

    All at once, and after everything was added: a second lock later on, lower in key order, could
    be held by a collect that waits for the first one.

    Args:
        connection: the transaction that added them and holds the rating lock.
        versions: as added.
        members: as added.
        regions: as added.
        anchor: day of the month on which periods start.
    """
    new = [(each.scope, each.scope_key, each.from_minute) for each in versions]
    new += [("account", each.account_uuid.lower(), each.from_minute) for each in members]
    new += [("source", each.source_id, each.from_minute) for each in regions]
    rows = take_lock(
        connection,
        sql("price/touched"),
        {
            "scopes": [scope for scope, _, _ in new],
            "scope_keys": [scope_key for _, scope_key, _ in new],
            "from_hours": [from_minute // 60 for _, _, from_minute in new],
            "anchor_day": anchor,
            "meter_id": TRAFFIC_METER_ID,
        },
        who="prices",
        waits_for="a run that collects the same account-hours",
    )
    return [AccountHour(int(key), Hour(int(hour)), Hour(int(period))) for key, hour, period in rows]


def follow_region_setting(connection: Connection, source: Source) -> None:
    """Dates the region that a source's setting names, when the setting has changed (R2).

    A change takes the rating lock: a run that rates has read the regions before, and what it rates
    now would not be marked. The caller commits before it locks anything of an hour.

    Raises:
        RetryableError: another run is still rating after the lock wait.
    """
    known, now_hour = one_row(
        connection,
        "select setting_region, floor(extract(epoch from now()) / 3600)::int"
        " from billing_core.sources where source_id = %(source_id)s",
        {"source_id": source.source_id},
    )
    if known == source.region:
        return
    who = f"source {source.source_id}"
    if known is not None:
        lock_rating(connection, who)
    connection.execute(
        sql("collect/register_region").encode(),
        {"source_id": source.source_id, "region": source.region, "now_hour": now_hour},
    )
    if known is not None:
        take_lock(
            connection,
            sql("price/mark_source_stale"),
            {"source_id": source.source_id, "from_hour": now_hour},
            who=who,
            waits_for="a run that collects the same account-hours",
        )
