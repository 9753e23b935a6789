"""The money rules R1-R7: prices, quota, ledger, balances, closed periods."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from billing_etl.errors import RetryableError, UsageError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.accounts import add_credit, close_period
from billing_etl.pipeline.prices import preview_prices, publish_prices, read_price_file
from billing_etl.store import database
from billing_etl.store import ratings as rating_store
from pipeline.harness import (
    HISTORY,
    JSON,
    A,
    B,
    C,
    Entry,
    Line,
    balances,
    command,
    hour_of,
    ledger,
    net,
    ratings,
    readings,
    row_versions,
    sample,
    snapshot,
)

HOUR_12 = ("--from", "2026-04-08T12", "--to", "2026-04-08T13")


def steps(*bytes_per_minute: int, start: str = "12:00", **series: str) -> list[JSON]:
    """A baseline the minute before ``start``, then per minute a snapshot with so many more."""
    hour, minute = map(int, start.split(":"))
    totals = [(hour * 60 + minute - 1, 0)]
    for moved in bytes_per_minute:
        totals.append((totals[-1][0] + 1, totals[-1][1] + moved))
    return readings(
        *((f"{at // 60:02}:{at % 60:02}:03", total, 0) for at, total in totals), **series
    )


def version(name: str, price: str, **more: Any) -> JSON:
    return {"price_version": name, "price_per_byte": price, **more}


def since(clock: str) -> str:
    return clock if "T" in clock else f"2026-04-08T{clock}:00Z"


def amounts(line: Line) -> dict[str, Decimal]:
    """Amount per minute."""
    found: dict[str, Decimal] = {}
    for minute, _, _, amount in ratings(line):
        found[minute] = found.get(minute, Decimal(0)) + amount
    return found


def billed(line: Line, *snapshots: JSON, hours: tuple[str, ...] = ("12",)) -> None:
    line.serve(snapshots)
    line.collected(*hours)
    line.rate()


@pytest.fixture
def unlimited(line: Line) -> Line:
    """A line without included quota."""
    line.settings["initial_included_quota_bytes"] = 0
    return line


# --- R1 ----------------------------------------------------------------------------------------


def test_r1_forty_digits_stay_exact(unlimited: Line) -> None:
    price = "0.1234567890123456789012345678901234567891"
    multiplier = "1.0000000000000000000000000000000000000003"
    unlimited.publish(versions=[version("v", price, line_multipliers={"tcp": multiplier})])

    billed(unlimited, *steps(3, 2**50))

    # 80 digits: more than Decimal's default context holds, so by integers.
    expected = (3 + 2**50) * int(price[2:]) * int(multiplier.replace(".", ""))
    ((_, _, _, rated, amount, _),) = ledger(unlimited)
    assert rated == 3 + 2**50
    assert amount.as_tuple().digits == tuple(map(int, str(expected)))
    assert amount.as_tuple().exponent == -80
    assert balances(unlimited)[A] == amount.copy_negate()


def test_r1_prices_are_read_exactly_also_when_written_as_json_numbers(unlimited: Line) -> None:
    path = unlimited.directory / "prices.json"
    path.write_text('{"versions": [{"price_version": "v", "price_per_byte": 0.1}]}')

    publish_prices(unlimited.engine, read_price_file(path))

    assert unlimited.rows("select price_per_unit::text from billing_core.price_versions") == [
        ("0.1",)
    ]


def test_r1_the_largest_total_is_billed_exactly(unlimited: Line) -> None:
    unlimited.serve(
        readings(("11:59:03", 0, 0), ("12:00:03", 2**63 - 1, 0)), max_bits_per_second=2**63 - 1
    )
    unlimited.collected("12")
    unlimited.rate()

    assert [entry.amount for entry in ledger(unlimited)] == [2 * Decimal(2**63 - 1)]


# --- R2 ----------------------------------------------------------------------------------------


def test_r2_account_before_plan_before_default(unlimited: Line) -> None:
    unlimited.publish(
        versions=[
            version("default", "1"),
            version("gold", "10", scope="plan", scope_key="gold"),
            version("own", "100", scope="account", scope_key=C.upper()),
        ],
        plan_members=[{"account_uuid": B, "plan": "gold"}, {"account_uuid": C, "plan": "gold"}],
    )
    start, end = (
        (sample(account, 0, 0) for account in (A, B, C)),
        (sample(account, 1, 0) for account in (A, B, C)),
    )

    billed(unlimited, snapshot("11:59:03", *start), snapshot("12:00:03", *end))

    assert {entry.account: entry.amount for entry in ledger(unlimited)} == {A: 1, B: 10, C: 100}


def test_r2_an_account_is_found_however_its_uuid_was_spelled(unlimited: Line) -> None:
    unlimited.publish(
        versions=[
            version("default", "1"),
            version("gold", "10", scope="plan", scope_key="gold"),
            version("own", "100", scope="account", scope_key=A.replace("-", "")),
        ],
        plan_members=[{"account_uuid": f"urn:uuid:{B.upper()}", "plan": "gold"}],
    )
    start, end = (
        (sample(account, 0, 0) for account in (A, B)),
        (sample(account, 1, 0) for account in (A, B)),
    )

    billed(unlimited, snapshot("11:59:03", *start), snapshot("12:00:03", *end))

    assert {entry.account: entry.amount for entry in ledger(unlimited)} == {A: 100, B: 10}


def test_r2_a_version_applies_from_its_minute(unlimited: Line) -> None:
    unlimited.publish(
        versions=[
            version("first", "1"),
            version("second", "10", **{"from": since("12:01")}),
            version("third", "100", **{"from": since("12:03")}),
        ]
    )

    billed(unlimited, *steps(1, 1, 1, 1))

    assert amounts(unlimited) == {"12:00": 1, "12:01": 10, "12:02": 10, "12:03": 100}
    assert [entry.amount for entry in ledger(unlimited)] == [Decimal(121)]


def test_r2_membership_in_a_plan_is_dated_also_within_an_hour(unlimited: Line) -> None:
    """In the plan from 12:01 to 12:02 only: the hour ends as it began."""
    unlimited.publish(
        versions=[
            version("default", "1"),
            version("gold", "10", scope="plan", scope_key="gold"),
        ],
        plan_members=[
            {"account_uuid": A, "plan": "gold", "from": since("12:01")},
            {"account_uuid": A, "plan": "", "from": since("12:02")},
        ],
    )

    billed(unlimited, *steps(1, 1, 1))

    assert amounts(unlimited) == {"12:00": 1, "12:01": 10, "12:02": 1}


def test_r2_the_region_of_a_source_is_dated_also_within_an_hour(unlimited: Line) -> None:
    unlimited.publish(versions=[version("v", "1", region_multipliers={"jp": "3", "us": "5"})])
    unlimited.serve(steps(1, 1, 1), region="jp")
    unlimited.collected("12")
    unlimited.rate()
    assert amounts(unlimited) == {"12:00": 3, "12:01": 3, "12:02": 3}

    unlimited.publish(
        source_regions=[
            {"source_id": "jp-1", "region": "us", "from": since("12:01")},
            {"source_id": "jp-1", "region": "jp", "from": since("12:02")},
        ]
    )

    assert amounts(unlimited) == {"12:00": 3, "12:01": 5, "12:02": 3}


def test_r2_another_region_in_the_settings_applies_from_the_running_hour(line: Line) -> None:
    line.serve(steps(1), region="jp")
    line.collected("12")
    hours = {Hour.of(datetime.now(UTC))}
    line.serve(steps(1), region="us")
    line.collected("12")
    hours.add(Hour.of(datetime.now(UTC)))

    dated = line.rows("select region, from_minute from billing_core.source_regions order by 2")
    assert dated[0] == ("jp", 0)
    assert dated[1] in {("us", hour.first_minute) for hour in hours}


def test_r2_the_fact_keeps_the_version_and_every_multiplier(unlimited: Line) -> None:
    unlimited.publish(
        versions=[
            version(
                "v7",
                "2",
                region_multipliers={"jp": "1.5"},
                line_multipliers={"tcp": "0.5", "xhttp": "9"},
                peak={"hours": [12], "multiplier": "4", "offpeak_multiplier": "0.25"},
            )
        ]
    )
    unlimited.serve(steps(10), region="jp")
    unlimited.collected("12")
    unlimited.rate()

    assert unlimited.rows(
        "select price_version, unit_price, multiplier, rated_bytes, amount"
        " from billing.usage_minutes"
    ) == [("v7", Decimal(2), Decimal("3"), 10, Decimal(60))]
    assert unlimited.rows(
        "select region_multiplier, line_multiplier, time_multiplier from billing_core.rates"
    ) == [(Decimal("1.5"), Decimal("0.5"), Decimal(4))]


@pytest.mark.parametrize(
    ("hour", "peak"),
    [
        # Berlin, 29 March 2026: 01:59:59 CET is followed by 03:00:00 CEST at 01:00 UTC.
        pytest.param("2026-03-29T00", 1, id="01 local is peak"),
        pytest.param("2026-03-29T01", 3, id="02 local does not exist, 03 is peak"),
        pytest.param("2026-03-29T02", 0, id="04 local is not"),
        # 25 October 2026: the hour from 02 to 03 comes twice.
        pytest.param("2026-10-25T00", 2, id="02 local, summer time"),
        pytest.param("2026-10-25T01", 2, id="02 local again, winter time"),
    ],
)
def test_r2_peak_hours_over_a_daylight_saving_day(hour: str, peak: int, unlimited: Line) -> None:
    """Multiplier 1 + the local hour would tell them apart; here peak hours are 1, 2 and 3."""
    hours = {1: [1], 2: [2], 3: [3], 0: [1, 2, 3]}[peak]
    unlimited.publish(
        versions=[
            version(
                "v", "1", peak={"hours": hours, "multiplier": "7", "time_zone": "Europe/Berlin"}
            )
        ]
    )
    unlimited.serve(readings((f"{hour}:00:00Z", 0, 0), (f"{hour}:59:59Z", 1, 0)))
    unlimited.collected(hour)
    unlimited.rate(hour, str(hour_of(hour).next))

    assert list(amounts(unlimited).values()) == [Decimal(7 if peak else 1)]


def test_r2_a_zone_of_half_hours_changes_its_peak_within_the_utc_hour(unlimited: Line) -> None:
    """12:29Z is 17:59 in India, 12:30Z is 18:00."""
    peak = {"hours": [18], "multiplier": "7", "time_zone": "Asia/Kolkata"}
    unlimited.publish(versions=[version("v", "1", peak=peak)])

    billed(unlimited, *steps(1, 1, start="12:29"))

    assert amounts(unlimited) == {"12:29": 1, "12:30": 7}


@pytest.mark.parametrize(
    "statement",
    [
        "update billing_core.price_versions set price_per_unit = 0",
        "delete from billing_core.price_versions",
        "update billing_core.rates set price_per_unit = 0",
        "delete from billing_core.rates",
    ],
)
def test_r2_published_versions_are_immutable(statement: str, line: Line) -> None:
    billed(line, *steps(200))

    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        line.execute(statement)


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(version("v", "9", **{"from": since("12:30")}), id="the same name"),
        pytest.param(version("w", "9"), id="the same scope and date"),
    ],
)
def test_r2_a_version_is_published_once(again: JSON, line: Line) -> None:
    line.publish(versions=[version("v", "1")])

    with pytest.raises(UsageError, match="immutable"):
        line.publish(versions=[again])

    assert line.rows("select price_version from billing_core.price_versions") == [("v",)]


@pytest.mark.parametrize("name", ["", "é" * 128])
def test_r2_a_version_has_a_name_that_a_profile_can_show(name: str, line: Line) -> None:
    with pytest.raises(UsageError, match="expected a price_version of 1 to 255 bytes"):
        line.publish(versions=[version(name, "1")])
    own = version("é" * 127, "1", scope="account", scope_key=A)
    line.publish(versions=[own])
    assert line.rows("select pricing_rule_version from account_read_model.account_billing_profiles")


@pytest.mark.parametrize(
    "name", ["PRICE_PER_BYTE", "INITIAL_INCLUDED_QUOTA_BYTES", "INITIAL_BALANCE"]
)
def test_r2_the_environment_differing_later_names_the_price_command(name: str, line: Line) -> None:
    line.serve(steps(200))
    assert command(line.environment(), "pipeline", *HOUR_12).code == 0
    before = row_versions(line, *HISTORY)

    answer = command(line.environment(**{name: "7"}), "pipeline", *HOUR_12)

    assert answer.code == 2
    assert name in answer.err
    assert "billing-etl price" in answer.err
    assert row_versions(line, *HISTORY) == before


def test_r2_the_same_price_spelled_otherwise_is_no_difference(line: Line) -> None:
    line.serve(steps(200))
    assert command(line.environment(), "pipeline", *HOUR_12).code == 0

    assert command(line.environment(PRICE_PER_BYTE="2.000"), "pipeline", *HOUR_12).code == 0


def test_r2_without_any_price_nothing_is_rated_and_one_line_says_what_to_set(line: Line) -> None:
    line.serve(steps(200))
    environment = line.environment(PRICE_PER_BYTE="")

    answer = command(environment, "pipeline", *HOUR_12)

    assert answer.code == 2
    assert answer.err.startswith("billing-etl: PRICE_PER_BYTE: expected")
    assert answer.err.count("\n") == 1
    assert ledger(line) == []


def test_r2_the_environment_seeds_the_default_also_after_an_account_got_its_price(
    line: Line,
) -> None:
    line.publish(versions=[version("own", "100", scope="account", scope_key=B)])

    billed(line, *steps(200))

    assert [(entry.account, entry.amount) for entry in ledger(line)] == [(A, Decimal(200))]


def test_r2_publishing_into_the_past_rates_what_it_touches_again(unlimited: Line) -> None:
    billed(unlimited, *steps(1, 1, start="11:59"), hours=("11", "12"))

    unlimited.publish(versions=[version("v", "5", **{"from": since("12:00")})])

    assert [(e.hour, e.entry_type, e.amount) for e in ledger(unlimited)] == [
        ("11:00", "traffic_charge", Decimal(2)),
        ("12:00", "traffic_charge", Decimal(2)),
        ("12:00", "adjustment", Decimal(3)),
    ]


# --- R3 ----------------------------------------------------------------------------------------


def test_r3_quota_goes_by_minute_then_node_inbound_env_and_source(line: Line) -> None:
    """Seven series of one account with 10 bytes each in one minute; 35 bytes are included."""
    line.settings["initial_included_quota_bytes"] = 35
    order = [
        ("jp-2", "node-B", "prod", "z"),  # B before a: bytes, not letters
        ("jp-1", "node-a", "dev", ""),
        ("jp-2", "node-a", "dev", "tcp"),
        ("jp-1", "node-a", "prod", "tcp"),
        ("jp-2", "node-a", "prod", "tcp"),
        ("jp-1", "node-a", "prod", "xhttp"),
        ("jp-1", "node-ü", "a", "a"),
    ]
    for source_id in ("jp-1", "jp-2"):
        served = [
            snapshot(at, sample(A, up, 0, tag), node=node, env=env)
            for at, up in (("11:59:03", 0), ("12:00:03", 10))
            for source, node, env, tag in random.Random(7).sample(order, len(order))
            if source == source_id
        ]
        line.serve(served, source_id, shared_node=True)
    line.collected("12")
    line.rate()

    included = {
        tuple(row[:4]): row[4]
        for row in line.rows(
            "select source_id, node_id, env, inbound_tag, included_bytes from billing.usage_minutes"
        )
    }
    assert [included[key] for key in order] == [10, 10, 10, 5, 0, 0, 0]


def test_r3_the_earlier_minute_has_the_quota_before_the_first_node_of_the_next(line: Line) -> None:
    line.settings["initial_included_quota_bytes"] = 15
    line.serve(
        [
            snapshot(at, sample(A, up, 0), node=node)
            for at, node, up in (
                ("11:59:03", "node-a", 0),
                ("11:59:04", "node-b", 0),
                ("12:00:03", "node-a", 0),
                ("12:00:04", "node-b", 10),
                ("12:01:03", "node-a", 10),
                ("12:01:04", "node-b", 20),
            )
        ]
    )
    line.collected("12")
    line.rate()

    assert [(minute, included) for minute, included, *_ in ratings(line)] == [
        ("12:00", 10),  # node-b
        ("12:01", 5),  # node-a
        ("12:01", 0),  # node-b
    ]


@pytest.mark.parametrize(
    ("own", "plan", "default", "included"),
    [
        pytest.param(5, 50, 500, 5, id="account"),
        pytest.param(0, 50, 500, 0, id="zero is a quota"),
        pytest.param(None, 50, 500, 50, id="null falls through to the plan"),
        pytest.param(None, None, 500, 500, id="null falls through to the default"),
        pytest.param(None, None, None, 0, id="none anywhere"),
    ],
)
def test_r3_the_narrowest_quota_that_is_not_null(
    own: int | None, plan: int | None, default: int | None, included: int, line: Line
) -> None:
    line.publish(
        versions=[
            version("own", "1", scope="account", scope_key=A, included_quota_bytes=own),
            version("plan", "1", scope="plan", scope_key="gold", included_quota_bytes=plan),
            version("default", "1", included_quota_bytes=default),
        ],
        plan_members=[{"account_uuid": A, "plan": "gold"}],
    )

    billed(line, *steps(1000))

    assert [rating[1] for rating in ratings(line)] == [included]


def test_r3_the_quota_in_force_at_the_first_minute_of_the_period_counts(line: Line) -> None:
    line.publish(
        versions=[
            version("march", "1", included_quota_bytes=10),
            version("mid april", "1", included_quota_bytes=70, **{"from": since("12:00")}),
        ]
    )

    billed(line, *steps(50))
    assert [rating[1] for rating in ratings(line)] == [10]

    line.publish(
        versions=[
            version("april", "1", included_quota_bytes=30, **{"from": "2026-04-01T00:00:00Z"})
        ]
    )
    assert [rating[1] for rating in ratings(line)] == [30]


def test_r3_a_default_without_a_quota_goes_on_with_that_of_the_one_before(line: Line) -> None:
    """From the next period on the quota would be 0 else, which no preview of money shows."""
    served = [
        *steps(80), snapshot("2026-05-01T00:00:03Z", sample(A, 160, 0)),
        snapshot("2026-06-01T00:00:03Z", sample(A, 240, 0)),
    ]  # fmt: skip
    billed(line, *served, hours=("12", "2026-05-01T00", "2026-06-01T00"))
    line.rate("2026-05-01T00", "2026-06-01T01")
    assert [rating[1] for rating in ratings(line)] == [80, 80, 80]

    file = read_price_file(
        line.price_file(
            versions=[
                version("less", "3", included_quota_bytes=30, **{"from": "2026-05-15T00:00:00Z"}),
                version("later", "3", **{"from": "2026-05-16T00:00:00Z"}),  # of the same file
                version("dearer", "3", **{"from": "2026-04-20T00:00:00Z"}),
                version("gold", "1", scope="plan", scope_key="gold"),
            ]
        )
    )
    preview = preview_prices(line.engine, file).as_dict()
    published = publish_prices(line.engine, file).as_dict()

    assert preview == published
    assert published["published"] == ["less", "later", "dearer", "gold"]
    shown = ("price_version", "included_quota_bytes", "quota_as_before")
    assert [tuple(row[name] for name in shown) for row in published["versions"]] == [
        ("gold", None, False), ("dearer", 100, True), ("less", 30, False), ("later", 30, True),
    ]  # fmt: skip
    assert [rating[1] for rating in ratings(line)] == [80, 80, 30]

    # It is part of what was published: an earlier one that comes later does not change it.
    line.publish(
        versions=[version("april", "3", included_quota_bytes=5, **{"from": since("00:00")})]
    )
    assert [rating[1] for rating in ratings(line)] == [80, 80, 30]


def test_r3_each_period_has_a_quota_of_its_own(line: Line) -> None:
    line.settings["billing_period_anchor_day"] = 9
    line.serve(
        readings(
            ("23:58:03", 0, 0),
            ("23:59:03", 80, 0),
            ("2026-04-09T00:00:03Z", 160, 0),
            ("2026-04-09T00:01:03Z", 240, 0),
        )
    )
    line.collected("23", "2026-04-09T00")
    line.rate(end="2026-04-10T00")

    assert [(included, rated) for _, included, rated, _ in ratings(line)] == [
        (80, 0),
        (80, 0),
        (20, 60),
    ]


# --- R4 ----------------------------------------------------------------------------------------

HOURLY = steps(*[1] * 240, start="10:00")


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)], ids=str)
def test_r4_rating_in_any_order_gives_the_same(order: tuple[int, ...], line: Line) -> None:
    line.serve(HOURLY)
    for position in order:
        line.collected(str(10 + position))
        line.rate(str(10 + position), str(11 + position))
    line.rate()

    # 100 of 240 bytes are included: 60 in hour 10, 40 in hour 11.
    assert net(line) == {
        (A, "10:00"): (0, Decimal(0)),
        (A, "11:00"): (20, Decimal(40)),
        (A, "12:00"): (60, Decimal(120)),
        (A, "13:00"): (60, Decimal(120)),
    }


def test_r4_only_touched_accounts_are_rated_again(line: Line) -> None:
    def served(total: int) -> list[JSON]:
        return [
            snapshot("11:59:03", sample(A, 0, 0), sample(B, 0, 0)),
            snapshot("12:00:03", sample(A, total, 0), sample(B, 90, 0)),
            snapshot("13:00:03", sample(A, 200, 0), sample(B, 180, 0)),
        ]

    line.serve(served(90))
    line.collected("12", "13")
    line.rate()
    late = served(90)
    late.insert(1, snapshot("11:59:33", sample(A, 50, 0), sample(B, 0, 0)))
    line.serve(late)
    line.collected("11", "12")

    stale = line.rows(
        "select account_uuid::text, hour - %s from billing_core.account_hours"
        " join billing_core.accounts using (account_key) where stale order by 1, 2",
        hour_of("12").index,
    )
    assert stale == [(A, -1), (A, 0)]
    result = line.rate()

    assert result.account_hours == 3  # of A: 11, 12 and, as it comes after them, 13
    assert line.rows("select 1 from billing_core.account_hours where stale") == []


def test_r4_a_stale_hour_is_rated_wherever_it_lies(line: Line) -> None:
    billed(line, *steps(150))
    line.serve(readings(("11:59:03", 0, 0), ("11:59:33", 20, 0), ("12:00:03", 150, 0)))
    line.collected("11", "12")

    line.rate("11", "12")

    assert net(line) == {(A, "11:00"): (0, Decimal(0)), (A, "12:00"): (50, Decimal(100))}


def test_r4_one_rating_writer_at_a_time(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 0.2)
    with psycopg.connect(line.database_url) as other:
        rating_store.lock_rating(other)

        with pytest.raises(RetryableError, match="another run"):
            line.rate()


# --- R5 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "update billing_core.ledger_entries set amount = 0",
        "delete from billing_core.ledger_entries",
        "truncate billing_core.ledger_entries",
    ],
)
def test_r5_the_ledger_refuses_every_change(statement: str, line: Line) -> None:
    billed(line, *steps(200))
    before = ledger(line)

    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        line.execute(statement)

    assert ledger(line) == before


def test_r5_an_account_with_entries_stays(line: Line) -> None:
    billed(line, *steps(200))

    with pytest.raises(psycopg.errors.RestrictViolation, match="delete of accounts is refused"):
        line.execute("delete from billing_core.accounts")


def test_r5_the_first_entry_is_a_charge_also_when_it_is_zero(line: Line) -> None:
    billed(line, *steps(99))

    assert ledger(line) == [Entry("12:00", A, "traffic_charge", 0, Decimal(0), "usage")]


def test_r5_an_adjustment_is_appended_when_bytes_move_between_hours(unlimited: Line) -> None:
    billed(unlimited, *readings(("11:59:03", 0, 0), ("12:00:03", 90, 0)))

    billed(
        unlimited,
        *readings(("11:59:03", 0, 0), ("11:59:33", 20, 0), ("12:00:03", 90, 0)),
        hours=("11", "12"),
    )

    assert ledger(unlimited) == [
        Entry("12:00", A, "traffic_charge", 90, Decimal(180), "usage"),
        Entry("11:00", A, "traffic_charge", 20, Decimal(40), "usage"),
        Entry("12:00", A, "adjustment", -20, Decimal(-40), "usage changed"),
    ]


def test_r5_an_hour_whose_usage_vanished_is_adjusted_to_zero(unlimited: Line) -> None:
    billed(unlimited, *readings(("11:59:03", 0, 0), ("12:00:03", 90, 0)))

    billed(
        unlimited,
        *readings(("11:59:03", 0, 0), ("11:59:33", 90, 0), ("12:00:03", 90, 0)),
        hours=("11", "12"),
    )

    assert net(unlimited) == {(A, "11:00"): (90, Decimal(180)), (A, "12:00"): (0, Decimal(0))}


def test_r5_an_adjustment_of_bytes_alone_is_appended_too(line: Line) -> None:
    """A free price: rated bytes move although no money does."""
    line.settings |= {"price_per_byte": Decimal(0), "initial_included_quota_bytes": 0}
    billed(line, *readings(("11:59:03", 0, 0), ("12:00:03", 90, 0)))

    billed(
        line,
        *readings(("11:59:03", 0, 0), ("11:59:33", 20, 0), ("12:00:03", 90, 0)),
        hours=("11", "12"),
    )

    assert [(e.hour, e.rated_bytes) for e in ledger(line)] == [
        ("12:00", 90),
        ("11:00", 20),
        ("12:00", -20),
    ]


# --- R6 ----------------------------------------------------------------------------------------


def account_state(line: Line) -> tuple[Any, ...]:
    """Balance, arrears, arrears since, throttle state of A."""
    (row,) = line.rows(
        "select balance, arrears, to_char(arrears_since at time zone 'UTC', 'HH24:MI'),"
        " throttle_state from billing_core.account_balances"
        " join billing_core.accounts using (account_key) where account_uuid = %s",
        A,
    )
    return row


def test_r6_balance_is_opening_plus_credits_minus_charges_and_adjustments(unlimited: Line) -> None:
    unlimited.settings["initial_balance"] = Decimal("1000.5")
    billed(unlimited, *readings(("11:59:03", 0, 0), ("12:00:03", 90, 0)))
    add_credit(unlimited.engine, A, Decimal("0.25"), "thanks")
    unlimited.publish(versions=[version("v", "3", **{"from": since("12:00")})])

    assert balances(unlimited) == {A: Decimal("1000.5") + Decimal("0.25") - 180 - 90}
    after = [row[0] for row in unlimited.rows(
        "select balance_after from billing_core.ledger_entries order by entry_id"
    )]  # fmt: skip
    assert after == [Decimal("820.5"), Decimal("820.75"), Decimal("730.75")]


def test_r6_arrears_begin_with_the_hour_that_overdrew_and_end_with_a_credit(
    unlimited: Line,
) -> None:
    unlimited.settings["initial_balance"] = Decimal(100)
    served = readings(
        ("11:59:03", 0, 0), ("12:00:03", 50, 0), ("13:00:03", 60, 0), ("14:00:03", 61, 0)
    )
    unlimited.serve(served)
    unlimited.collected("12")
    unlimited.rate()
    assert account_state(unlimited) == (Decimal(0), Decimal(0), None, "normal")

    unlimited.collected("13")
    unlimited.rate()
    assert account_state(unlimited) == (Decimal(-20), Decimal(20), "13:00", "throttled")
    unlimited.collected("14")
    unlimited.rate()
    assert account_state(unlimited) == (Decimal(-22), Decimal(22), "13:00", "throttled")

    add_credit(unlimited.engine, A, Decimal("21.99"), "not enough")
    assert account_state(unlimited) == (Decimal("-0.01"), Decimal("0.01"), "13:00", "throttled")
    add_credit(unlimited.engine, A, Decimal("0.01"), "enough")
    assert account_state(unlimited) == (Decimal(0), Decimal(0), None, "normal")


def test_r6_an_adjustment_in_favour_of_the_account_ends_its_arrears(unlimited: Line) -> None:
    billed(unlimited, *steps(10))
    assert account_state(unlimited)[3] == "throttled"

    unlimited.publish(versions=[version("free", "0", **{"from": since("12:00")})])

    assert account_state(unlimited) == (Decimal(0), Decimal(0), None, "normal")


def test_r6_the_states_follow_in_the_transaction_of_the_entries(unlimited: Line) -> None:
    """When the entries are refused, nothing of the balance moves either."""
    unlimited.serve(steps(10))
    unlimited.collected("12")
    unlimited.execute(
        "alter table billing_core.ledger_entries add constraint nothing_today check (amount < 20)"
    )
    before = row_versions(unlimited, *HISTORY)

    with pytest.raises(Exception, match="nothing_today"):
        unlimited.rate()

    assert row_versions(unlimited, *HISTORY) == before


# --- R7 ----------------------------------------------------------------------------------------


def test_r7_after_closing_a_difference_posts_in_the_open_period_and_names_its_hour(
    unlimited: Line,
) -> None:
    billed(unlimited, *steps(10))
    close_period(unlimited.engine, "2026-04")

    unlimited.publish(versions=[version("v", "3", **{"from": since("12:00")})])

    rows = unlimited.rows(
        "select entry_type, hour, to_char(to_timestamp(period_hour * 3600.0) at time zone 'UTC',"
        " 'YYYY-MM-DD'), amount, reason from billing_core.ledger_entries order by entry_id"
    )
    hour = hour_of("12").index
    assert rows == [
        ("traffic_charge", hour, "2026-04-01", Decimal(20), "usage"),
        (
            "adjustment",
            hour,
            "2026-05-01",
            Decimal(10),
            "prices changed, belongs to the closed period of 2026-04-01",
        ),
    ]


def test_r7_usage_first_collected_after_the_closing_is_an_adjustment_too(unlimited: Line) -> None:
    billed(unlimited, *steps(10))
    close_period(unlimited.engine, "2026-04")

    billed(unlimited, *steps(*[10] * 60, start="11:01"), hours=("11", "12"))

    late = [entry for entry in ledger(unlimited) if entry.hour == "11:00"]
    assert [(entry.entry_type, entry.amount) for entry in late] == [
        ("adjustment", Decimal(59 * 20))
    ]


@pytest.mark.parametrize(
    ("period", "says"),
    [
        pytest.param("2026-4-1", "such as 2026-04", id="not a month"),
        pytest.param("2199-01", "has ended", id="not over yet"),
        pytest.param("2026-03", "closed already", id="closed"),
        pytest.param("2026-04", "rate", id="usage not rated yet"),
    ],
)
def test_r7_what_cannot_be_closed(period: str, says: str, line: Line) -> None:
    line.serve(steps(10))
    line.collected("12")
    close_period(line.engine, "2026-03")

    with pytest.raises(UsageError, match=says):
        close_period(line.engine, period)


# --- preview -----------------------------------------------------------------------------------

CHANGES: dict[str, JSON] = {
    "a version in the past": {
        "versions": [version("v", "3", included_quota_bytes=50, **{"from": since("12:01")})]
    },
    "a quota from the start of the period": {
        "versions": [version("v", "2", included_quota_bytes=0, **{"from": "2026-04-01T00:00:00Z"})]
    },
    "an account's own price": {
        "versions": [version("v", "5", scope="account", scope_key=A, **{"from": since("12:00")})]
    },
    "a plan and its member": {
        "versions": [version("v", "7", scope="plan", scope_key="gold")],
        "plan_members": [{"account_uuid": B, "plan": "gold", "from": since("12:02")}],
    },
    "a source's region": {
        "versions": [version("v", "2", region_multipliers={"us": "4"}, **{"from": since("12:00")})],
        "source_regions": [{"source_id": "jp-1", "region": "us", "from": since("12:01")}],
    },
    "nothing that lies in the past": {
        "versions": [version("v", "9", **{"from": "2199-01-01T00:00:00Z"})]
    },
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_preview_changes_nothing_and_publishing_does_what_it_said(
    change: JSON, line: Line
) -> None:
    both = zip(steps(40, 50, 60, 70), steps(90, 80, 70, 60, account=B), strict=True)
    billed(line, *(snapshot_of(*pair) for pair in both))
    before, was = row_versions(line), net(line)
    file = read_price_file(line.price_file(**change))

    preview = preview_prices(line.engine, file)
    assert row_versions(line) == before
    published = publish_prices(line.engine, file)

    assert published == preview
    moved = {
        account: amount - was[account, hour][1]
        for (account, hour), (_, amount) in net(line).items()
    }
    amounts = {each.account_uuid: each.amount for each in published.accounts}
    assert amounts == {k: v for k, v in moved.items() if v}
    now = balances(line)
    for each in published.accounts:
        assert each.balance_after == now[each.account_uuid]
        assert each.balance_before - each.amount == each.balance_after


def snapshot_of(one: JSON, other: JSON) -> JSON:
    return one | {"samples": one["samples"] + other["samples"]}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"versions": [version("v", "-1")]}, id="negative price"),
        pytest.param({"versions": [version("v", "NaN")]}, id="not a number"),
        pytest.param({"versions": [version("v", "abc")]}, id="text"),
        pytest.param({"versions": [version("v", "1", scope="plan")]}, id="plan without a name"),
        pytest.param({"versions": [version("of a@example.org", "1")]}, id="a person's version"),
        pytest.param(
            {"versions": [version("v", "1", scope="plan", scope_key="a@example.org")]},
            id="a person's plan",
        ),
        pytest.param(
            {"plan_members": [{"account_uuid": A, "plan": "a@example.org"}]}, id="member of that"
        ),
        pytest.param(
            {"versions": [version("v", "1", scope="account", scope_key="bob")]},
            id="account that is no uuid",
        ),
        pytest.param(
            {"versions": [version("v", "1", included_quota_bytes=-1)]}, id="negative quota"
        ),
        pytest.param(
            {"versions": [version("v", "1", included_quota_bytes=2**63)]}, id="quota too large"
        ),
        pytest.param({"versions": [version("v", "1", **{"from": "tomorrow"})]}, id="no date"),
        pytest.param(
            {"versions": [version("v", "1", **{"from": "2026-04-08T12:00:30Z"})]},
            id="not on a minute",
        ),
        pytest.param(
            {"versions": [version("v", "1", peak={"hours": [24], "multiplier": "2"})]},
            id="no such hour",
        ),
        pytest.param(
            {
                "versions": [
                    version("v", "1", peak={"hours": [1], "multiplier": "2", "time_zone": "Mars"})
                ]
            },
            id="no such zone",
        ),
        pytest.param(
            {
                "versions": [
                    version("v", "1", peak={"hours": [1], "multiplier": "2", "time_zone": "US"})
                ]
            },
            id="a folder of zones",
        ),
        pytest.param({"versions": [version("v", "1e41")]}, id="price too large"),
        pytest.param({"versions": [version("v", "1e-99999")]}, id="price too small"),
        pytest.param(
            {"versions": [version("v", "1", **{"from": "9999-01-01T00:00:00Z"})]}, id="after all"
        ),
        pytest.param({"plan_members": [{"account_uuid": "bob", "plan": "x"}]}, id="no uuid"),
        pytest.param(
            {"source_regions": [{"source_id": "nobody", "region": "x"}]}, id="unknown source"
        ),
        pytest.param({"verisons": []}, id="unknown key"),
    ],
)
def test_a_bad_price_file_is_exit_2_with_one_line_and_changes_nothing(
    content: JSON, line: Line
) -> None:
    before = row_versions(line, *HISTORY)

    answer = command(line.environment(), "price", "publish", str(line.price_file(**content)))

    assert answer.code == 2, answer.err
    assert answer.err.count("\n") == 1
    assert row_versions(line, *HISTORY) == before


def test_rating_an_hour_without_usage_posts_nothing(line: Line) -> None:
    line.serve(readings(("12:00:03", 5, 5), ("12:01:03", 5, 5)))
    line.collected("12")

    result = line.rate()

    assert (result.account_hours, ledger(line)) == (0, [])


def test_a_range_is_half_open(unlimited: Line) -> None:
    unlimited.serve(readings(("11:59:03", 0, 0), ("12:00:03", 10, 0), ("13:00:03", 20, 0)))
    unlimited.collected("12", "13")

    unlimited.rate("12", "13")

    assert list(net(unlimited)) == [(A, "12:00")]
    assert len(HourRange(hour_of("12"), hour_of("13"))) == 1
