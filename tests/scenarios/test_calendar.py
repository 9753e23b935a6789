"""Days and months that are not like the others: hours stay UTC, periods stay on their day."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from oracle.money import rate as rate_by_oracle
from pipeline.audited import assert_as_audited, audited
from pipeline.harness import JSON, A, Fact, Line, facts, ledger, net, readings, resets, usage
from pipeline.world_harness import Found, assert_billed, assert_collected

from billing_etl.hours import Hour

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
# Days on which clocks change, by the UTC hour of the change, and local hours of that day.
CHANGES = [
    pytest.param(BERLIN, "2026-03-29T01", 23, id="Berlin, a missing hour"),
    pytest.param(BERLIN, "2026-10-25T01", 25, id="Berlin, a repeated hour"),
    pytest.param(NEW_YORK, "2026-03-08T07", 23, id="New York, a missing hour"),
    pytest.param(NEW_YORK, "2026-11-01T06", 25, id="New York, a repeated hour"),
]


def utc(hour: str) -> datetime:
    return datetime.fromisoformat(f"{hour}:00:00+00:00")


def label(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H}"


def every_half_hour(start: datetime, hours: int, zone: str) -> list[JSON]:
    """10 bytes each half hour from ``start``, stamped with the zone's offset of the moment."""
    return readings(
        *(
            ((start + timedelta(minutes=30 * n, seconds=3)).astimezone(ZoneInfo(zone)).isoformat(),
             4 * n, 6 * n)
            for n in range(2 * hours)
        )
    )  # fmt: skip


def assert_audited_with(
    line: Line, served: Sequence[JSON], hours: Sequence[str], **book: Any
) -> None:
    """As ``assert_as_audited``, with a price book or an anchor day of its own."""
    result = audited(line, {"jp-1": served}, {"jp-1": hours})
    priced: Mapping[str, Any] = {"plan_members": [], "source_regions": [], "credits": []} | book
    of_facts = {key: fact for hour in result.hours.values() for key, fact in hour.facts.items()}
    result.bill = rate_by_oracle(priced, [{"source_id": "jp-1", "region": "default"}], of_facts)
    found = Found(line.database_url)
    assert_collected(result, found)
    assert_billed(result, found)


# --- days on which clocks change ---------------------------------------------------------------


@pytest.mark.parametrize(("zone", "change", "local_hours"), CHANGES)
def test_a_day_on_which_clocks_change_is_billed_hour_by_hour_of_utc(
    zone: str, change: str, local_hours: int, line: Line
) -> None:
    """Elsewhere local clocks key the minutes: an hour is billed twice over, or not at all."""
    local_midnight = utc(change).astimezone(ZoneInfo(zone)).replace(hour=0)
    start = local_midnight.astimezone(UTC)
    assert (local_midnight + timedelta(days=1)).astimezone(UTC) - start == timedelta(
        hours=local_hours
    )
    served = every_half_hour(start, local_hours, zone)
    assert len({snapshot["collected_at"][-6:] for snapshot in served}) == 2  # the offset jumps
    hours = [label(start + timedelta(hours=n)) for n in range(local_hours)]
    line.serve(served, interval_seconds=1800)

    line.collected(*hours[::2], *hours[1::2])
    line.rate(hours[0], label(start + timedelta(hours=local_hours)))

    # Two readings an hour; the first of the day is the node's baseline.
    per_hour: dict[str, int] = {}
    for minute, quantity in usage(line).items():
        per_hour[minute[:13]] = per_hour.get(minute[:13], 0) + quantity
    assert per_hour == {hour: 10 if hour == hours[0] else 20 for hour in hours}
    assert {fact.span for fact in facts(line)} == {30}
    assert resets(line) == []
    assert_as_audited(line, {"jp-1": served}, {"jp-1": hours})


@pytest.mark.parametrize(
    ("zone", "peak_hour", "change", "peak_minutes"),
    [
        # 02:00 CET becomes 03:00 CEST: no minute of local hour 2 exists.
        pytest.param(BERLIN, 2, "2026-03-29T01", [], id="Berlin, its missing hour"),
        pytest.param(BERLIN, 3, "2026-03-29T01", ["01:00", "01:30"], id="Berlin, the hour after"),
        # 03:00 CEST becomes 02:00 CET: local hour 2 is 00 and 01 UTC.
        pytest.param(
            BERLIN, 2, "2026-10-25T01", ["00:00", "00:30", "01:00", "01:30"],
            id="Berlin, its repeated hour",
        ),
        # 02:00 EST becomes 03:00 EDT.
        pytest.param(NEW_YORK, 2, "2026-03-08T07", [], id="New York, its missing hour"),
        # 02:00 EDT becomes 01:00 EST: local hour 1 is 05 and 06 UTC.
        pytest.param(
            NEW_YORK, 1, "2026-11-01T06", ["05:00", "05:30", "06:00", "06:30"],
            id="New York, its repeated hour",
        ),
    ],
)  # fmt: skip
def test_peak_prices_follow_the_local_clock_through_its_change(
    zone: str, peak_hour: int, change: str, peak_minutes: list[str], line: Line
) -> None:
    """Elsewhere a fixed offset is added: half of the year peak hours are an hour off.

    10 bytes every half hour, without a quota, at 2 each, and three times that at peak.
    """
    day = utc(change).replace(hour=0)
    served = every_half_hour(day - timedelta(minutes=30), 10, zone)
    hours = [label(day + timedelta(hours=n)) for n in range(9)]
    line.serve(served, interval_seconds=1800, lookback_minutes=40)
    line.publish(
        versions=[
            {
                "price_version": "with a peak",
                "from": "2020-01-01T00:00:00Z",
                "price_per_byte": "2",
                "included_quota_bytes": 0,
                "peak": {
                    "hours": [peak_hour],
                    "time_zone": zone,
                    "multiplier": "3",
                    "offpeak_multiplier": "1",
                },
            }
        ]
    )

    line.collected(*hours)
    line.rate(hours[0], label(day + timedelta(hours=9)))

    amounts = line.rows("select minute, amount from billing.usage_minutes order by minute")
    assert [f"{minute:%H:%M}" for minute, amount in amounts if amount == 60] == peak_minutes
    assert {amount for minute, amount in amounts} == ({20, 60} if peak_minutes else {20})
    assert sum(amount for _, amount in net(line).values()) == 20 * 18 + 40 * len(peak_minutes)
    version = {
        "scope": "default",
        "key": None,
        "price_per_byte": "2",
        "included_quota_bytes": 0,
        "from_minute": 0,
        "peak_multiplier": "3",
        "peak_time_zone": zone,
        "peak_hours": [peak_hour],
    }
    assert_audited_with(line, served, hours, versions=[version])


# --- ends of months and years ------------------------------------------------------------------


def sixty_bytes_at(*instants: str) -> list[JSON]:
    """A counter that moved 60 bytes whenever it was read after the first time."""
    return readings(*((at, 60 * number, 0) for number, at in enumerate(instants)))


PERIODS = [
    pytest.param(
        1,
        ["2026-01-31T23:57:03Z", "2026-01-31T23:58:03Z", "2026-01-31T23:59:03Z",
         "2026-02-01T00:00:03Z", "2026-02-01T00:01:03Z", "2026-02-28T23:59:03Z",
         "2026-03-01T00:00:03Z"],
        [0, 20, 0, 20, 60, 0],
        ["2026-01-01", "2026-02-01", "2026-03-01"],
        id="calendar months, January to March",
    ),
    pytest.param(
        28,
        ["2026-01-27T23:58:03Z", "2026-01-27T23:59:03Z", "2026-01-28T00:00:03Z",
         "2026-01-31T23:59:03Z", "2026-02-01T00:00:03Z", "2026-02-27T23:59:03Z",
         "2026-02-28T00:00:03Z", "2026-03-01T00:00:03Z", "2026-03-28T00:00:03Z"],
        [0, 0, 20, 60, 60, 0, 20, 0],
        ["2025-12-28", "2026-01-28", "2026-02-28", "2026-03-28"],
        id="anchor day 28, the last day of February",
    ),
    pytest.param(
        28,
        ["2024-02-27T23:58:03Z", "2024-02-27T23:59:03Z", "2024-02-28T00:00:03Z",
         "2024-02-28T23:59:03Z", "2024-02-29T00:00:03Z", "2024-02-29T23:59:03Z",
         "2024-03-01T00:00:03Z", "2024-03-28T00:00:03Z"],
        [0, 0, 20, 60, 60, 60, 0],
        ["2024-01-28", "2024-02-28", "2024-03-28"],
        id="anchor day 28, through a leap day",
    ),
    pytest.param(
        1,
        ["2024-02-28T23:58:03Z", "2024-02-28T23:59:03Z", "2024-02-29T00:00:03Z",
         "2024-02-29T23:59:03Z", "2024-03-01T00:00:03Z", "2024-03-01T00:01:03Z"],
        [0, 20, 60, 0, 20],
        ["2024-02-01", "2024-03-01"],
        id="a leap day is February's",
    ),
    pytest.param(
        1,
        ["2028-02-28T23:58:03Z", "2028-02-28T23:59:03Z", "2028-02-29T00:00:03Z",
         "2028-02-29T23:59:03Z", "2028-03-01T00:00:03Z", "2028-03-01T00:01:03Z"],
        [0, 20, 60, 0, 20],
        ["2028-02-01", "2028-03-01"],
        id="a leap day ahead of the clock",
    ),
    pytest.param(
        1,
        ["2025-12-31T23:57:03Z", "2025-12-31T23:58:03Z", "2025-12-31T23:59:03Z",
         "2026-01-01T00:00:03Z", "2026-01-01T00:01:03Z"],
        [0, 20, 0, 20],
        ["2025-12-01", "2026-01-01"],
        id="the end of a year",
    ),
    pytest.param(
        28,
        ["2025-12-28T00:00:03Z", "2025-12-31T23:59:03Z", "2026-01-01T00:00:03Z",
         "2026-01-28T00:00:03Z"],
        [0, 20, 0],
        ["2025-12-28", "2026-01-28"],
        id="the end of a year within a period",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("anchor_day", "instants", "rated", "periods"), PERIODS)
def test_the_included_quota_starts_anew_at_the_edge_of_its_period_and_nowhere_else(
    anchor_day: int, instants: list[str], rated: list[int], periods: list[str], line: Line
) -> None:
    """Elsewhere months are 30 days, or a short month shifts the day for ever.

    60 bytes at each instant; 100 are included per period.
    """
    line.settings["billing_period_anchor_day"] = anchor_day
    served = sixty_bytes_at(*instants)
    hours = sorted({instant[:13] for instant in instants})
    line.serve(served)

    line.collected(*reversed(hours))
    line.rate(hours[0], str(Hour(Hour.of(utc(hours[-1])).index + 1)))

    found = line.rows(
        "select minute, rated_bytes, amount from billing.usage_minutes order by minute"
    )
    assert [(f"{minute:%Y-%m-%dT%H:%M}", bytes_, amount) for minute, bytes_, amount in found] == [
        (instant[:16], each, 2 * each) for instant, each in zip(instants[1:], rated, strict=True)
    ]
    edges = line.rows(
        "select period_start, used, remaining from billing.account_months order by period_start"
    )
    assert [f"{start:%Y-%m-%d}" for start, _, _ in edges] == periods
    assert all(used + remaining == 100 for _, used, remaining in edges)
    version = {
        "scope": "default",
        "key": None,
        "price_per_byte": "2",
        "included_quota_bytes": 100,
        "from_minute": 0,
    }
    assert_audited_with(line, served, hours, versions=[version], anchor_day=anchor_day)


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "the new year first"])
def test_bytes_across_midnight_of_new_year_belong_to_the_minute_that_saw_them(
    order: int, line: Line
) -> None:
    """Elsewhere the year's last delta is cut off, billed in both years, or read as a reset."""
    served = readings(
        ("2025-12-31T23:58:03Z", 0, 0),
        ("2025-12-31T23:59:03Z", 80, 0),
        ("2026-01-01T00:00:03Z", 120, 50),
        ("2026-01-01T00:01:03Z", 121, 100),
    )
    hours = ["2025-12-31T23", "2026-01-01T00"]
    line.serve(served)

    line.collected(*hours[::order])
    line.rate("2025-12-31T23", "2026-01-01T01")

    assert facts(line) == [
        Fact("2025-12-31T23:59", A, "tcp", "node-1", 80, 0, 1, False),
        Fact("2026-01-01T00:00", A, "tcp", "node-1", 40, 50, 1, False),
        Fact("2026-01-01T00:01", A, "tcp", "node-1", 1, 50, 1, False),
    ]
    # The old year's quota holds 80 bytes; the new one's 100 hold 90, and 10 of the next 51.
    assert [(entry.hour, entry.rated_bytes, int(entry.amount)) for entry in ledger(line)] == [
        ("2025-12-31T23:00", 0, 0),
        ("2026-01-01T00:00", 41, 82),
    ]
    assert_as_audited(line, {"jp-1": served}, {"jp-1": hours})
