"""Every view against sums that pandas makes of what was served, in whatever zone a session is."""

from datetime import datetime
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import psycopg
import pytest
from pipeline.harness import Line

from analyst import served_world as world

Rows = list[tuple[Any, ...]]
SUMS = ["uplink_bytes", "downlink_bytes", "total_bytes", "included_bytes", "rated_bytes", "amount"]


@pytest.fixture
def facts(line: Line) -> pd.DataFrame:
    """What was used and what it costs, as pandas has it; the line has collected and rated it."""
    snapshots, good = world.served(seed=7)
    world.build(line, snapshots)
    return world.rated(world.minutes(good))


def asked(line: Line, columns: list[str], relation: str) -> Rows:
    """The rows of a relation, which are the same in whatever zone a session is."""
    names = ["account_uuid::text" if name == "account_uuid" else name for name in columns]
    query = f"select {', '.join(names)} from {relation}".encode()
    found = []
    for zone in ("UTC", "America/St_Johns", "Asia/Kathmandu"):
        with psycopg.connect(
            line.database_url, options=f"-c timezone={zone} -c search_path=account_read_model"
        ) as session:
            found.append(sorted(tuple(map(_in_utc, row)) for row in session.execute(query)))
    assert found[0] == found[1] == found[2]
    return found[0]


def _in_utc(value: Any) -> Any:
    return pd.Timestamp(value).tz_convert("UTC") if isinstance(value, datetime) else value


def rows_of(table: pd.DataFrame) -> Rows:
    return sorted(table.itertuples(index=False, name=None))


def test_every_view_has_the_bytes_and_the_money(line: Line, facts: pd.DataFrame) -> None:
    columns = [
        "minute", *world.SERIES, "region", *SUMS, "unit_price", "multiplier", "price_version",
        "is_reset",
    ]  # fmt: skip
    assert asked(line, columns, "billing.usage_minutes") == rows_of(facts[columns])
    for name, unit, relation in (("hour", "h", "usage_hours"), ("day", "D", "usage_days")):
        by = ["account_uuid", "region", name]
        sums = facts.assign(**{name: facts["minute"].dt.floor(unit)}).groupby(by)[SUMS].sum()
        assert asked(line, [*by, *SUMS], f"billing.{relation}") == rows_of(sums.reset_index())

    hourly = facts.assign(hour=facts["minute"].dt.floor("h"))
    posted = hourly.groupby(["account_uuid", "hour"])[["rated_bytes", "amount"]].sum()
    entries = "(select account_uuid, hour, sum(rated_bytes)::bigint as rated_bytes,"
    entries += " sum(amount) as amount from billing.ledger group by 1, 2) e"
    columns = ["account_uuid", "hour", "rated_bytes", "amount"]
    assert asked(line, columns, entries) == rows_of(posted.reset_index())


def test_months_and_balances(line: Line, facts: pd.DataFrame) -> None:
    owed = facts.groupby("account_uuid")["amount"].sum()
    months = []
    for (account, month), of in facts.groupby(
        ["account_uuid", facts["minute"].dt.strftime("%Y-%m")]
    ):
        start = pd.Timestamp(f"{month}-01T00:00Z")
        quota, used = world.quota(account, month), of["total_bytes"].sum()
        months.append(
            (account, start, start + pd.DateOffset(months=1), used, quota, min(quota, used),
             max(quota - used, 0), of["amount"].sum(), -owed[account], owed[account],
             of["minute"].max())
        )  # fmt: skip
    columns = [
        "account_uuid", "period_start", "period_end", "bytes", "quota", "used", "remaining",
        "amount", "balance", "arrears", "last_minute",
    ]  # fmt: skip
    assert asked(line, columns, "billing.account_months") == sorted(months)

    columns = ["account_uuid", "current_balance", "arrears", "last_rated_bucket_at"]
    last = facts.groupby("account_uuid")["minute"].max()
    assert asked(line, columns, "account_quota_states") == sorted(
        (account, -float(owed[account]), True, last[account]) for account in owed.index
    )


def test_an_account_service_reads_the_same(line: Line, facts: pd.DataFrame) -> None:
    named = facts.assign(
        node_id=facts["env"] + ":" + facts["node_id"],
        bucket_start=facts["minute"],
        line_code=facts["inbound_tag"],
        multiplier=facts["multiplier"].map(float),
        rating_status="rated",
    )
    columns = [
        "bucket_start", "node_id", "account_uuid", "region", "line_code", "uplink_bytes",
        "downlink_bytes", "total_bytes", "multiplier", "rating_status",
    ]  # fmt: skip
    assert asked(line, columns, "traffic_minute_buckets") == rows_of(named[columns])

    delta = "-sum(amount_delta::numeric(38, 12)) as owed"
    entries = f"(select account_uuid, {delta} from billing_ledger group by 1) e"
    owed: dict[str, Any] = dict(asked(line, ["account_uuid", "owed"], entries))
    expected = facts.groupby("account_uuid")["amount"].sum()
    assert {account: round(float(amount), 6) for account, amount in owed.items()} == {
        account: round(float(amount), 6) for account, amount in expected.items()
    }


def test_what_was_served_is_accounted_for(line: Line, facts: pd.DataFrame) -> None:
    """Samples, bad samples, resets: of each the count that was served."""
    snapshots, good = world.served(seed=7)
    served = [
        (source, one["collected_at"][:13], sample)
        for source, of in snapshots.items()
        for one in of
        for sample in one["samples"]
    ]
    table = pd.DataFrame(served, columns=["source_id", "hour", "sample"])
    table["hour"] = pd.to_datetime(table["hour"] + ":00Z")
    table["bad"] = table["sample"].map(lambda each: each["uplink_bytes_total"] < 0)
    counts = table.groupby(["source_id", "hour"])["bad"].agg(["size", "sum"]).reset_index()
    columns = ["source_id", "hour", "samples", "quarantined"]
    assert asked(line, columns, "billing.source_hours") == rows_of(counts)
    bad = asked(line, ["source_id", "hour"], "billing.quarantine")
    assert bad == rows_of(table[table["bad"]][["source_id", "hour"]])

    resets = world.resets(good)
    columns = ["reset_at", "hour", *world.SERIES, "total_bytes"]
    assert asked(line, columns, "billing.counter_resets") == rows_of(resets[columns])


@pytest.mark.parametrize("schema", ["billing", "account_read_model"])
def test_every_view_can_be_asked_before_anything_is_there(line: Line, schema: str) -> None:
    names = line.rows(
        "select relname from pg_class where relnamespace = %s::regnamespace"
        " and relkind in ('v', 'r')",
        schema,
    )
    full = [name for (name,) in names if line.rows(f"select * from {schema}.{name}")]
    # It says of each event type how its delivery is, also of one that has no event yet.
    assert full == (["delivery_health"] if schema == "billing" else [])
