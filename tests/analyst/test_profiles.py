"""A profile that an account service writes is a dated version of the price book (R2)."""

import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from pipeline.harness import A, B, Line, ledger, ratings, readings

from billing_etl.hours import Hour
from billing_etl.pipeline.prices import list_prices

Connection = psycopg.Connection[Any]
TABLE = "account_billing_profiles"
# As an account service writes it: whether the account is new or not.
UPSERT = f"""
insert into {TABLE} (
    account_uuid, package_name, included_quota_bytes, base_price_per_byte, region_multiplier,
    line_multiplier, peak_multiplier, offpeak_multiplier, pricing_rule_version)
values (%(account)s, %(package)s, %(quota)s, %(price)s, %(region)s, %(line)s, %(peak)s,
        %(offpeak)s, %(rule)s)
on conflict (account_uuid) do update set
    package_name = excluded.package_name, included_quota_bytes = excluded.included_quota_bytes,
    base_price_per_byte = excluded.base_price_per_byte,
    region_multiplier = excluded.region_multiplier, line_multiplier = excluded.line_multiplier,
    peak_multiplier = excluded.peak_multiplier, offpeak_multiplier = excluded.offpeak_multiplier,
    pricing_rule_version = excluded.pricing_rule_version, updated_at = now()
returning created_at, updated_at
"""
PROFILE = {
    "account": A, "package": "gold", "quota": 1000, "price": 0.1, "region": 1.0, "line": 1.0,
    "peak": 1.0, "offpeak": 1.0, "rule": "pricing-v2",
}  # fmt: skip
OWN = {"price_version": "own", "scope": "account", "scope_key": A}


@pytest.fixture
def service(line: Line) -> Iterator[Connection]:
    with psycopg.connect(
        line.database_url, autocommit=True, options="-c search_path=account_read_model"
    ) as connection:
        yield connection


def upsert(connection: Connection, **changed: Any) -> tuple[datetime, datetime]:
    row = connection.execute(UPSERT.encode(), PROFILE | changed).fetchone()
    assert row is not None
    return row[0], row[1]


def versions(line: Line) -> list[dict[str, Any]]:
    return [each for each in list_prices(line.engine) if each["scope"] == "account"]


def stored(connection: Connection, account: str = A) -> dict[str, Any]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute(
            f"select * from {TABLE} where account_uuid = %s".encode(), (account,)
        ).fetchall()
    (row,) = rows
    return row


def coming_hour(line: Line) -> Hour:
    """Usage of A in an hour that has not begun: whatever is written now prices it."""
    hour = Hour(Hour.of(datetime.now(UTC)).index + 2)
    line.settings["initial_included_quota_bytes"] = 0
    line.serve(readings(*((f"{hour}:{minute:02}:03Z", 10 * minute, 0) for minute in range(3))))
    line.collected(str(hour))
    return hour


def rate(line: Line) -> None:
    now = Hour.of(datetime.now(UTC))
    line.rate(str(now), str(Hour(now.index + 4)))


def test_a_profile_is_a_version_from_the_minute_of_writing(line: Line, service: Connection) -> None:
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    created, updated = upsert(service, region=1.5, line=2.0, peak=0.5, offpeak=0.5)
    after = datetime.now(UTC)
    (version,) = versions(line)
    starts = datetime.fromisoformat(version["from"])
    assert before <= starts <= after
    assert before <= created == updated <= after
    assert version == {
        "price_version": f"pricing-v2 {A} {starts:%Y-%m-%dT%H:%MZ}",
        "scope": "account",
        "scope_key": A,
        "from": f"{starts:%Y-%m-%dT%H:%M:%SZ}",
        "price_per_byte": "0.1",
        "included_quota_bytes": 1000,
        "region_multipliers": {"*": "1.5"},
        "line_multipliers": {"*": "2"},
        "peak": {"time_zone": "UTC", "hours": [], "multiplier": "0.5", "offpeak_multiplier": "0.5"},
    }
    assert line.rows("select command, status from billing_core.runs") == [
        ("write profile", "success")
    ]


def test_the_next_rate_finds_what_a_profile_touches(line: Line, service: Connection) -> None:
    hour = coming_hour(line)
    rate(line)
    assert [entry.amount for entry in ledger(line)] == [Decimal(40)]
    upsert(service, price=0.3, region=1.5, rule="dearer")
    assert line.rows("select stale from billing_core.account_hours") == [(True,)]
    rate(line)
    assert [(entry.entry_type, entry.amount) for entry in ledger(line)] == [
        ("traffic_charge", Decimal(40)),
        ("adjustment", Decimal("-31")),
    ]
    assert {amount for _, _, _, amount in ratings(line)} == {Decimal("4.5")}
    names = service.execute("select pricing_rule_version from billing_ledger order by created_at")
    assert names.fetchall() == [("initial",), ("dearer",)]
    assert line.rows("select hour from billing.ledger limit 1") == [(hour.start,)]


def test_what_lies_before_a_profile_keeps_its_price(line: Line, service: Connection) -> None:
    past = Hour(Hour.of(datetime.now(UTC)).index - 2)
    line.serve(readings((f"{past}:00:03Z", 0, 0), (f"{past}:01:03Z", 200, 0)))
    line.collected(str(past))
    line.rate(str(past), str(past.next))
    upsert(service)
    assert line.rows("select stale from billing_core.account_hours") == [(False,)]


def test_an_account_may_be_written_before_it_is_used(line: Line, service: Connection) -> None:
    upsert(service, price=0.25)
    coming_hour(line)
    rate(line)
    assert [entry.amount for entry in ledger(line)] == [Decimal(5)]


def test_written_twice_within_a_minute_the_later_one_follows(
    line: Line, service: Connection
) -> None:
    upsert(service, price=1.0)
    upsert(service, price=2.0)
    service.execute(f"update {TABLE} set base_price_per_byte = 3".encode())
    found = [(datetime.fromisoformat(v["from"]), v["price_per_byte"]) for v in versions(line)]
    assert [price for _, price in found] == ["1", "2", "3"]
    assert found[2][0] - found[0][0] in {timedelta(minutes=2), timedelta(minutes=3)}


def test_written_again_unchanged_it_is_no_new_version(line: Line, service: Connection) -> None:
    created, _ = upsert(service)
    assert upsert(service)[0] == created
    upsert(service, package="silver")  # a name only: no price depends on it
    assert len(versions(line)) == 1
    assert stored(service)["package_name"] == "silver"
    upsert(service, rule="pricing-v3")
    assert len(versions(line)) == 2


def test_many_accounts_share_a_pricing_rule(line: Line, service: Connection) -> None:
    upsert(service)
    upsert(service, account=B)
    assert len(versions(line)) == 2
    rows = service.execute(f"select distinct pricing_rule_version from {TABLE}".encode()).fetchall()
    assert rows == [("pricing-v2",)]


def test_a_published_version_shows_in_the_profile(line: Line, service: Connection) -> None:
    line.publish(versions=[OWN | {"price_per_byte": "0.125", "line_multipliers": {"*": "3"}}])
    row = stored(service)
    assert (row["base_price_per_byte"], row["line_multiplier"]) == (0.125, 3.0)
    assert (row["pricing_rule_version"], row["package_name"]) == ("own", "default")
    assert len(versions(line)) == 1


def test_what_is_not_written_keeps_every_digit_and_name(line: Line, service: Connection) -> None:
    price = "0.1234567890123456789012345"
    peak = {"hours": [20], "multiplier": "2", "time_zone": "Asia/Tokyo"}
    regions = {"region_multipliers": {"jp": "1.5"}}
    line.publish(versions=[OWN | regions | {"price_per_byte": price, "peak": peak}])
    service.execute(f"update {TABLE} set line_multiplier = 3".encode())
    old, new = versions(line)
    assert new["line_multipliers"] == {"*": "3"}
    for key in ("price_per_byte", "included_quota_bytes", "region_multipliers", "peak"):
        assert new[key] == old[key], key
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="one for each of jp, got 2"):
        service.execute(f"update {TABLE} set region_multiplier = 2".encode())


def test_peak_hours_are_those_of_the_price_before(line: Line, service: Connection) -> None:
    peak = {"hours": [1, 2], "multiplier": "2", "time_zone": "Asia/Tokyo"}
    line.publish(versions=[{"price_version": "all", "price_per_byte": "1", "peak": peak}])
    upsert(service, peak=3.0, offpeak=0.5)
    assert versions(line)[0]["peak"] == {
        "time_zone": "Asia/Tokyo",
        "hours": [1, 2],
        "multiplier": "3",
        "offpeak_multiplier": "0.5",
    }


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"price": -0.1}, "expected base_price_per_byte of 0, or from 1e-40 to 1e40, got -0.1"),
        ({"price": math.nan}, "expected base_price_per_byte of 0, or from 1e-40 to 1e40, got NaN"),
        ({"price": None}, "expected base_price_per_byte of 0, or from 1e-40 to 1e40, got null"),
        (
            {"region": math.inf},
            "expected region_multiplier of 0, or from 1e-40 to 1e40, got Infinity",
        ),
        ({"offpeak": -1}, "expected offpeak_multiplier of 0, or from 1e-40 to 1e40, got -1"),
        ({"price": 1e41}, "expected base_price_per_byte of 0, or from 1e-40 to 1e40, got 1e+41"),
        ({"line": 1e-41}, "expected line_multiplier of 0, or from 1e-40 to 1e40, got 1e-41"),
        ({"rule": "é" * 128}, "expected pricing_rule_version of at most 255 bytes, got 256 bytes"),
        ({"package": None}, "expected package_name of at most 255 bytes, got null"),
        ({"quota": -1}, "expected included_quota_bytes of 0 or more, got -1"),
        ({"peak": 2.0}, "the price in force names no peak hours, got 2 and 1"),
    ],
)
def test_what_is_no_price_is_refused_in_one_line(
    line: Line, service: Connection, changed: dict[str, Any], said: str
) -> None:
    for account_is_known in (False, True):
        if account_is_known:
            upsert(service)
        with pytest.raises(psycopg.Error) as refused:
            upsert(service, **changed)
        message = str(refused.value.diag.message_primary)
        assert message.startswith("account_billing_profiles: expected ")
        assert said in message
        assert "\n" not in message
    assert len(versions(line)) == 1
    assert stored(service)["base_price_per_byte"] == 0.1


@pytest.mark.parametrize(
    "statement",
    [f"delete from {TABLE}", f"truncate {TABLE}", f"update {TABLE} set account_uuid = '{B}'"],
)
def test_a_profile_is_never_taken_away(line: Line, service: Connection, statement: str) -> None:
    upsert(service)
    with pytest.raises(psycopg.Error, match=r"^account_billing_profiles: "):
        service.execute(statement.encode())
    assert stored(service)["package_name"] == "gold"


def test_the_largest_and_smallest_prices_leave_every_view_readable(
    line: Line, service: Connection
) -> None:
    """The ledger is never changed: an amount that no float holds would stay in everybody's way."""
    coming_hour(line)
    for exponent in (40, -40):
        price = float(f"1e{exponent}")
        upsert(service, price=price, region=price, line=price)
        rate(line)
        assert ledger(line)[-1].amount != 0
        amounts = service.execute("select amount_delta, balance_after from billing_ledger")
        assert all(math.isfinite(each) for row in amounts for each in row)
        service.execute("select * from account_quota_states")
        service.execute("select * from traffic_minute_buckets")


@pytest.mark.parametrize("setting", ["shows_version", "erases"])
def test_no_setting_of_a_writer_makes_a_profile_that_prices_nothing(
    line: Line, service: Connection, setting: str
) -> None:
    upsert(service)
    service.execute(f"set billing_core.{setting} = 'on'".encode())
    upsert(service, price=99.0)
    assert [version["price_per_byte"] for version in versions(line)] == ["0.1", "99"]


def test_a_profile_written_by_a_trigger_of_the_service_is_a_price_too(
    line: Line, service: Connection
) -> None:
    service.execute(
        "create temp table packages (account uuid);"
        " create function pg_temp.price() returns trigger language plpgsql as $$ begin"
        f" insert into account_read_model.{TABLE} (account_uuid, base_price_per_byte)"
        " values (new.account, 0.5); return new; end $$;"
        " create trigger price before insert on packages"
        " for each row execute function pg_temp.price()"
    )
    service.execute("insert into packages values (%s)", (A,))
    assert [version["price_per_byte"] for version in versions(line)] == ["0.5"]


def test_no_operator_of_a_writer_passes_what_is_no_price(line: Line, service: Connection) -> None:
    service.execute(
        "create schema mine; create function mine.yes(float8, numeric) returns boolean"
        " language sql immutable as 'select true';"
        " create operator mine.>= (leftarg = float8, rightarg = numeric, function = mine.yes);"
        " create operator mine.< (leftarg = float8, rightarg = numeric, function = mine.yes);"
        " set search_path = mine, account_read_model, pg_catalog"
    )
    with pytest.raises(psycopg.errors.CheckViolation):
        upsert(service, price=1e300)


def test_a_price_is_needed(service: Connection) -> None:
    with pytest.raises(
        psycopg.Error, match="expected base_price_per_byte of 0, or from 1e-40 to 1e40, got null"
    ):
        service.execute(f"insert into {TABLE} (account_uuid) values (%s)".encode(), (A,))


def test_who_writes_needs_no_other_right(line: Line, service: Connection) -> None:
    """Triggers have the rights of their owner; a number is read the same in any session."""
    service.execute(
        "set extra_float_digits = -10; create role writer_of_profiles nologin;"
        " grant usage on schema account_read_model to writer_of_profiles;"
        f" grant select, insert, update on {TABLE} to writer_of_profiles;"
        " set role writer_of_profiles"
    )
    try:
        upsert(service, price=0.123456789012345)
        assert versions(line)[0]["price_per_byte"] == "0.123456789012345"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            service.execute("select count(*) from billing_core.price_versions")
    finally:
        service.execute(
            "reset role; drop owned by writer_of_profiles; drop role writer_of_profiles"
        )


def test_a_profile_waits_for_who_rates(line: Line, service: Connection) -> None:
    with psycopg.connect(line.database_url) as rating:
        rating.execute("select pg_advisory_xact_lock(hashtext('billing_etl rating'))")
        writing = threading.Thread(target=upsert, args=(service,))
        writing.start()
        while not line.rows("select from pg_locks where locktype = 'advisory' and not granted"):
            assert writing.is_alive()
        assert rating.execute(f"select from account_read_model.{TABLE}".encode()).fetchall() == []
        rating.commit()
        writing.join()
    assert len(versions(line)) == 1
