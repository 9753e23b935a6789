"""UTC clocks as integers: hours, minutes and nanoseconds since 1970 (C1)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_etl.errors import UsageError
from billing_etl.hours import (
    Hour,
    HourRange,
    format_instant_ns,
    minute_start,
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
        "yesterday",
    ],
)
def test_anything_else_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError):
        parse_instant_ns(text)


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
    assert parse_hour(text) == NOON


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
    with pytest.raises(UsageError, match=r"expected a UTC hour such as 2026-04-08T12 .* got"):
        parse_hour(text)


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
    with pytest.raises(UsageError, match="half-open"):
        HourRange(NOON, Hour(NOON.index + hours_later))
