"""UTC clocks as integers: hours, minutes and nanoseconds since 1970 (C1)."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_etl.errors import UsageError
from billing_etl.hours import (
    Hour,
    HourRange,
    format_instant_ns,
    hour_ranges,
    minute_start,
    parse_date,
    parse_hour,
    parse_instant_ns,
)

NOON = Hour.of(datetime(2026, 4, 8, 12, tzinfo=UTC))
NOON_NS = NOON.index * 3600 * 10**9
# From 1970 to 9999.
SPELLABLE_NS = st.integers(0, 253_402_300_800 * 10**9 - 1)


@pytest.mark.parametrize(
    ("text", "after_noon_ns"),
    [
        pytest.param("2026-04-08T12:00:00Z", 0, id="whole seconds"),
        pytest.param("2026-04-08T12:00:00.5Z", 500_000_000, id="one digit"),
        pytest.param("2026-04-08T12:00:00.000000001Z", 1, id="nine digits"),
        pytest.param("2026-04-08T12:00:00.0000000019Z", 1, id="further digits are cut off"),
        pytest.param("2026-04-08T20:00:00+08:00", 0, id="east"),
        pytest.param("2026-04-08T06:30:00-05:30", 0, id="west, half hours"),
        pytest.param("2026-04-08t12:00:00z", 0, id="lower case"),
        pytest.param("2026-04-08T11:59:60Z", 0, id="leap second"),
    ],
)
def test_an_instant_is_read_to_the_nanosecond(text: str, after_noon_ns: int) -> None:
    assert parse_instant_ns(text) == NOON_NS + after_noon_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-04-08",
        "2026-04-08T12:00:00",
        "2026-04-08 12:00:00Z",
        "2026-04-08T12:00Z",
        "2026-04-08T12:00:00.Z",
        "2026-13-08T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2026-04-08T24:00:00Z",
        "2026-04-08T12:00:61Z",
        "2026-04-08T12:00:00Z ",
        "２026-04-08T12:00:00,5Z",
        "２026-04-08T12:00:00Z",
        "2026-04-08T12:00:00+24:00",
        "2026-04-08T12:00:00-01:60",
        "yesterday",
    ],
)
def test_anything_else_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError):
        parse_instant_ns(text)


def test_the_error_shows_what_is_no_instant() -> None:
    with pytest.raises(ValueError) as caught:
        parse_instant_ns("yesterday")

    assert str(caught.value) == "not an RFC 3339 instant: 'yesterday'"


@pytest.mark.parametrize(
    ("after_noon_ns", "text"),
    [
        (0, "2026-04-08T12:00:00Z"),
        (1, "2026-04-08T12:00:00.000000001Z"),
        (500_000_000, "2026-04-08T12:00:00.500000000Z"),
    ],
)
def test_a_fraction_is_written_with_nine_digits_or_not_at_all(
    after_noon_ns: int, text: str
) -> None:
    assert format_instant_ns(NOON_NS + after_noon_ns) == text


@given(SPELLABLE_NS)
def test_what_is_written_is_read_back(instant_ns: int) -> None:
    assert parse_instant_ns(format_instant_ns(instant_ns)) == instant_ns


@given(SPELLABLE_NS, SPELLABLE_NS)
def test_written_instants_of_whole_seconds_sort_as_they_are(one: int, other: int) -> None:
    one, other = one // 10**9 * 10**9, other // 10**9 * 10**9
    assert (format_instant_ns(one) < format_instant_ns(other)) == (one < other)


@given(st.integers(0, 10**6), st.integers(-23 * 60, 23 * 60))
def test_the_offset_does_not_matter(minute: int, offset_minutes: int) -> None:
    at_offset = minute_start(minute).astimezone(timezone(timedelta(minutes=offset_minutes)))

    assert parse_instant_ns(at_offset.isoformat()) == minute * 60 * 10**9


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-08T12",
        "2026-04-08T12:00:00Z",
        "2026-04-08T21:00:00+09:00",
        "2026-04-08T12:00:00.0Z",
    ],
)
def test_an_hour_is_read(text: str) -> None:
    hour = parse_hour(text)

    assert hour == NOON
    assert type(hour.index) is int


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("2026-04-08", id="a day"),
        pytest.param("2026-04-08T12:30:00Z", id="half past"),
        pytest.param("2026-04-08T12:00:00.000000001Z", id="a nanosecond past"),
        pytest.param("2026-04-08T12:00:00+05:30", id="whole only where it was written"),
        pytest.param("2026-04-08T25", id="no such hour"),
        pytest.param("12", id="no day"),
    ],
)
def test_anything_else_is_no_hour_and_the_error_shows_one(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_hour(text)

    why = ", which is not on a whole hour" if "T12:" in text else ""
    assert str(caught.value) == (
        "hours: expected a UTC hour such as 2026-04-08T12 or 2026-04-08T12:00:00Z, "
        f"got {text!r}{why}"
    )


FIRST, LAST = Hour(0), Hour(1000 * 365 * 24 - 1)


@pytest.mark.parametrize("hour", [FIRST, FIRST.next, LAST], ids=str)
def test_hours_are_counted_from_1970_for_a_thousand_years(hour: Hour) -> None:
    assert parse_hour(str(hour)) == hour


@pytest.mark.parametrize("hour", [FIRST.previous, LAST.next], ids=str)
def test_an_hour_before_or_after_them_is_refused(hour: Hour) -> None:
    with pytest.raises(UsageError) as caught:
        parse_hour(str(hour))

    assert str(caught.value) == f"hours: expected an hour between 1970 and 2970, got '{hour}'"


def test_the_last_microsecond_of_an_hour_is_in_it_a_thousand_years_from_now() -> None:
    """Floats cannot tell it from the next hour any more."""
    last_microsecond = datetime(2970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)

    assert str(Hour.of(last_microsecond)) == "2969-12-31T23"


@given(st.integers(1, 10**6))
def test_an_hour_is_half_open(index: int) -> None:
    hour = Hour(index)

    assert Hour.of(hour.start) == hour
    assert Hour.of(hour.end - timedelta(microseconds=1)) == hour
    assert Hour.of(hour.end) == hour.next
    assert hour.next.previous == hour
    assert (hour.start_ns, hour.end_ns) == (hour.first_minute * 60 * 10**9, hour.next.start_ns)
    assert parse_hour(str(hour)) == hour


def test_a_range_is_half_open_and_in_order() -> None:
    hours = HourRange(NOON, Hour(NOON.index + 3))

    assert list(hours) == [NOON, NOON.next, NOON.next.next]
    assert len(hours) == 3
    assert list(HourRange.single(NOON)) == [NOON]
    assert str(hours) == "[2026-04-08T12, 2026-04-08T15)"


@pytest.mark.parametrize("hours_later", [0, -1])
def test_an_empty_or_reversed_range_is_refused(hours_later: int) -> None:
    end = Hour(NOON.index + hours_later)

    with pytest.raises(UsageError) as caught:
        HourRange(NOON, end)

    assert str(caught.value) == (
        f"hours: --to {end} is not after --from 2026-04-08T12; ranges are half-open, so one hour "
        "is --from 2026-04-08T12 --to 2026-04-08T13"
    )


@pytest.mark.parametrize(
    ("now", "latest"),
    [
        ("2026-04-08T12:59:59.999999+00:00", "2026-04-08T13"),
        ("2026-04-08T13:00:00+00:00", "2026-04-08T14"),
        ("2026-04-08T22:00:00+09:00", "2026-04-08T14"),
    ],
)
def test_the_running_hour_has_begun_and_the_next_has_not(now: str, latest: str) -> None:
    clock, end = datetime.fromisoformat(now), parse_hour(latest)
    begun = HourRange(NOON, end)

    assert begun.begun(clock) is begun
    with pytest.raises(UsageError) as caught:
        HourRange(NOON, end.next).begun(clock)

    assert str(caught.value) == (
        f"hours: expected hours that have begun, so an end of at most {latest}, got "
        f"[2026-04-08T12, {end.next}); it is {clock.astimezone(UTC):%Y-%m-%dT%H:%MZ} here"
    )


def test_hours_that_begin_soon_are_taken_where_that_is_allowed() -> None:
    clock = datetime(2026, 4, 8, 12, 30, tzinfo=UTC)
    day = HourRange(NOON, Hour(NOON.index + 25))

    assert day.begun(clock, within_hours=24) is day
    with pytest.raises(UsageError) as caught:
        HourRange(NOON, day.end.next).begun(clock, within_hours=24)

    assert str(caught.value) == (
        "hours: expected hours that have begun or do within 24 hours, so an end of at most "
        "2026-04-09T13, got [2026-04-08T12, 2026-04-09T14); it is 2026-04-08T12:30Z here"
    )


def test_the_time_of_a_refusal_is_utc_wherever_the_machine_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as away:
        away.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        with pytest.raises(UsageError, match="it is 2026-04-08T12:30Z here"):
            HourRange(NOON, Hour(NOON.index + 2)).begun(datetime(2026, 4, 8, 12, 30, tzinfo=UTC))
    time.tzset()


@pytest.mark.parametrize(
    ("after_noon", "ranges"),
    [
        pytest.param([], [], id="none"),
        pytest.param([0], [(0, 1)], id="one"),
        pytest.param([2, 0, 1, 1], [(0, 3)], id="joined, in any order, each once"),
        pytest.param([5, 0, 1, 3], [(0, 2), (3, 4), (5, 6)], id="gaps"),
    ],
)
def test_hours_are_the_fewest_ranges_oldest_first(
    after_noon: list[int], ranges: list[tuple[int, int]]
) -> None:
    hours = [Hour(NOON.index + later) for later in after_noon]

    assert hour_ranges(hours) == [
        HourRange(Hour(NOON.index + start), Hour(NOON.index + end)) for start, end in ranges
    ]


@pytest.mark.parametrize(
    ("text", "form", "hour"),
    [
        ("2026-04-08", "%Y-%m-%d", "2026-04-08T00"),
        ("1970-01", "%Y-%m", "1970-01-01T00"),
        ("2968-12", "%Y-%m", "2968-12-01T00"),
    ],
)
def test_a_date_is_its_first_instant(text: str, form: str, hour: str) -> None:
    assert Hour.of(parse_date(text, form)) == parse_hour(hour)


@pytest.mark.parametrize("text", ["1969-12", "2969-01", "9999-12", "2026-13", "2026-04-08", ""])
def test_anything_else_is_no_month(text: str) -> None:
    with pytest.raises(ValueError):
        parse_date(text, "%Y-%m")


def test_a_year_beyond_those_that_hours_are_counted_in_is_named() -> None:
    with pytest.raises(ValueError, match=r"^not a year from 1970 to 2968: '2969-01'$"):
        parse_date("2969-01", "%Y-%m")


def test_the_period_of_the_last_month_ends_within_the_hours() -> None:
    assert parse_hour("2969-01-31T23") > Hour.of(parse_date("2968-12", "%Y-%m"))
