"""Publishing into the price book; what lies after a new date is marked stale (R2)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal

from psycopg.types.json import Jsonb

from billing_etl.errors import UsageError
from billing_etl.store.database import Connection, sql
from billing_etl.store.sources import TRAFFIC_METER_ID, mark_stale


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


def publish(connection: Connection, versions: Sequence[Version], run_id: int) -> list[str]:
    """Adds versions and marks the account-hours that they touch stale; gives their names."""
    for version in versions:
        connection.execute(
            sql("price/publish").encode(),
            asdict(version)
            | {
                "meter_id": TRAFFIC_METER_ID,
                "region_multipliers": Jsonb(version.region_multipliers),
                "line_multipliers": Jsonb(version.line_multipliers),
                "run_id": run_id,
            },
        )
        mark_stale(
            connection,
            "mark_stale",
            {
                "meter_id": TRAFFIC_METER_ID,
                "scope": version.scope,
                "scope_key": version.scope_key,
                "from_hour": version.from_minute // 60,
            },
        )
    return [version.price_version for version in versions]


def add_plan_members(
    connection: Connection, members: Sequence[PlanMember], run_id: int
) -> list[str]:
    """Adds dated plan memberships of known accounts; gives what to show for each."""
    for member in members:
        parameters = asdict(member) | {"run_id": run_id}
        connection.execute(sql("price/add_plan_member").encode(), parameters)
        mark_stale(
            connection,
            "mark_stale",
            {
                "meter_id": TRAFFIC_METER_ID,
                "scope": "account",
                "scope_key": member.account_uuid.lower(),
                "from_hour": member.from_minute // 60,
            },
        )
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
        mark_stale(
            connection,
            "mark_source_stale",
            {"source_id": region.source_id, "from_hour": region.from_minute // 60},
        )
    return [f"{region.source_id} in region {region.region}" for region in regions]


def amounts_of_run(connection: Connection, run_id: int) -> list[tuple[str, Decimal]]:
    """What a run appended to the ledger, per account, largest first."""
    rows = connection.execute(
        "select a.account_uuid::text, sum(e.amount) from billing_core.ledger_entries e"
        " join billing_core.accounts a using (account_key) where e.run_id = %s"
        " group by 1 order by abs(sum(e.amount)) desc, 1",
        (run_id,),
    )
    return [(str(account), Decimal(amount)) for account, amount in rows]
