"""What a request may ask for, and in one line what it may not."""

from datetime import UTC, datetime
from typing import Any

import pytest

from billing_etl.errors import UsageError
from billing_etl.hours import HourRange, parse_hour
from billing_etl.http.requests import Asked, read_request
from billing_etl.pipeline.jobs import COLLECT_AND_RATE, RECONCILE, JobRequest
from billing_etl.settings import Settings, Source

NOW = datetime(2026, 4, 8, 15, 30, tzinfo=UTC)
SETTINGS = Settings(
    sources=(
        Source("jp-1", "http://127.0.0.1:9"),
        Source("de-1", "http://127.0.0.1:9"),
        Source("off-1", "http://127.0.0.1:9", enabled=False),
    )
)
HOURS = {"from_hour": "2026-04-08T12", "to_hour": "2026-04-08T14"}
TWO_HOURS = HourRange(parse_hour("2026-04-08T12"), parse_hour("2026-04-08T14"))


def read(query: dict[str, Any] | None = None, body: object = None, job: str = "") -> Asked:
    pairs = [
        (name, value)
        for name, values in (query or {}).items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return read_request(job or COLLECT_AND_RATE, pairs, body, SETTINGS, NOW)


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ({}, None, Asked(JobRequest(COLLECT_AND_RATE), 300)),
        (HOURS, None, Asked(JobRequest(COLLECT_AND_RATE, TWO_HOURS), 300)),
        ({}, HOURS, Asked(JobRequest(COLLECT_AND_RATE, TWO_HOURS), 300)),
        ({"from_hour": HOURS["from_hour"]}, {"to_hour": "2026-04-08T16:00:00+02:00"},
         Asked(JobRequest(COLLECT_AND_RATE, TWO_HOURS), 300)),
        ({"sources": "jp-1,de-1"}, None,
         Asked(JobRequest(COLLECT_AND_RATE, None, ("de-1", "jp-1")), 300)),
        ({"sources": ["jp-1", "de-1"]}, None,
         Asked(JobRequest(COLLECT_AND_RATE, None, ("de-1", "jp-1")), 300)),
        ({}, {"sources": ["jp-1", "jp-1"]},
         Asked(JobRequest(COLLECT_AND_RATE, None, ("jp-1",)), 300)),
        ({}, {"sources": []}, Asked(JobRequest(COLLECT_AND_RATE), 300)),
        ({}, {"sources": None, "from_hour": None}, Asked(JobRequest(COLLECT_AND_RATE), 300)),
        ({"wait": "false"}, None, Asked(JobRequest(COLLECT_AND_RATE), 0)),
        ({"wait": "FALSE", "wait_seconds": "5"}, None, Asked(JobRequest(COLLECT_AND_RATE), 0)),
        ({}, {"wait": False}, Asked(JobRequest(COLLECT_AND_RATE), 0)),
        ({"wait": "1", "wait_seconds": "5"}, None, Asked(JobRequest(COLLECT_AND_RATE), 5)),
        ({}, {"wait_seconds": 0}, Asked(JobRequest(COLLECT_AND_RATE), 0)),
        ({}, {}, Asked(JobRequest(COLLECT_AND_RATE), 300)),
        (HOURS | {"dry_run": "true"}, None,
         Asked(JobRequest(COLLECT_AND_RATE, TWO_HOURS, (), dry_run=True), 300)),
        ({}, {"dry_run": True, "wait": False},
         Asked(JobRequest(COLLECT_AND_RATE, dry_run=True), 0)),
        ({"dry_run": "0"}, None, Asked(JobRequest(COLLECT_AND_RATE), 300)),
    ],
)  # fmt: skip
def test_a_request_is_read(query: dict[str, Any], body: object, expected: Asked) -> None:
    assert read(query, body) == expected


@pytest.mark.parametrize(
    "spelling",
    [
        "2026-04-08T12:00:00Z", "2026-04-08t12:00:00z", "2026-04-08T12:00:00.000Z",
        "2026-04-08T12:00:00+00:00", "2026-04-08T12:00:00-00:00", "2026-04-08T17:30:00+05:30",
        "2026-04-07T22:15:00-13:45",
    ],
)  # fmt: skip
def test_an_hour_may_be_written_with_any_offset(spelling: str) -> None:
    asked = read({}, {"from_hour": spelling, "to_hour": HOURS["to_hour"]})
    assert asked.job.hours == TWO_HOURS


def test_the_running_hour_may_be_asked_for_and_the_next_may_not() -> None:
    running = read({"from_hour": "2026-04-08T15", "to_hour": "2026-04-08T16"})
    assert str(running.job.hours) == "[2026-04-08T15, 2026-04-08T16)"

    with pytest.raises(UsageError, match="begun, so an end of at most 2026-04-08T16, got"):
        read({"from_hour": "2026-04-08T15", "to_hour": "2026-04-08T17"})


@pytest.mark.parametrize(
    ("query", "body", "message"),
    [
        ({"from_hour": "2026-04-08T12"}, None, "from_hour and to_hour together, got"),
        ({"to_hour": "2026-04-08T12"}, None, "from_hour and to_hour together, got nothing and"),
        ({}, {"from_hour": 12, "to_hour": 13}, "from_hour and to_hour together, got 12 and 13"),
        (HOURS | {"to_hour": "2026-04-08T12"}, None, "a to_hour after from_hour"),
        (HOURS | {"to_hour": "yesterday"}, None, "expected a UTC hour such as"),
        (HOURS | {"to_hour": "2026-04-08T13:30:00Z"}, None, "not on a whole hour"),
        (HOURS | {"from_hour": ""}, None, "expected a UTC hour such as"),
        (HOURS | {"from_hour": "2020-01-01T00"}, None, "at most 8784 of them"),
        (HOURS | {"from_hour": ["2026-04-08T10", "2026-04-08T11"]}, None, "one value, got 2"),
        (HOURS, HOURS, "expected it once"),
        ({"sources": "jp-2"}, None, r"expected some of \['de-1', 'jp-1'\], got \['jp-2'\]"),
        ({"sources": "off-1"}, None, r"got \['off-1'\]"),
        ({}, {"sources": [{"id": 1}]}, "expected ids of sources"),
        ({"hours": "12"}, None, "'hours': expected one of from_hour"),
        ({}, {"token": "x"}, "'token': expected one of from_hour"),
        ({}, [], "expected a JSON object, got list"),
        ({}, "text", "expected a JSON object, got str"),
        ({"wait": "maybe"}, None, "expected true or false, got 'maybe'"),
        ({}, {"wait": 2}, "expected true or false, got 2"),
        ({"dry_run": "yes"}, None, "dry_run: expected true or false, got 'yes'"),
        ({"dry_run": ["1", "0"]}, None, "dry_run: expected one value, got 2"),
        (HOURS | {"from_hour": "2026-04-08T12:00:00 00:00"}, None, r"is written as %2B"),
        (HOURS | {"from_hour": "2026-04-08T12:00Z"}, None, "expected a UTC hour such as"),
        (HOURS | {"from_hour": "2026-04-08T12:00:00"}, None, "expected a UTC hour such as"),
        (HOURS | {"from_hour": "2026-04-08T12:00:00+0000"}, None, "expected a UTC hour such as"),
        (HOURS | {"from_hour": "2026-02-30T12"}, None, "expected a UTC hour such as"),
        (HOURS | {"from_hour": "1969-12-31T23"}, None, "between 1970 and 2970"),
        (HOURS | {"from_hour": "٢026-04-08T12"}, None, "expected a UTC hour such as"),
        ({"wait_seconds": "-1"}, None, "whole number from 0 to 3600"),
        ({"wait_seconds": "3601"}, None, "whole number from 0 to 3600"),
        ({"wait_seconds": "٣"}, None, "whole number from 0 to 3600"),
        ({}, {"wait_seconds": 1.5}, "whole number from 0 to 3600"),
        ({}, {"wait_seconds": True}, "whole number from 0 to 3600"),
    ],
)  # fmt: skip
def test_a_bad_request_is_one_line(query: dict[str, Any], body: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(query, body)
    assert "\n" not in str(caught.value)


def test_what_is_not_understood_is_shown_in_short() -> None:
    for query in ({"x" * 5000: "1"}, {"wait": "x" * 5000}, {"wait_seconds": "9" * 5000}):
        with pytest.raises(UsageError) as caught:
            read(query)
        assert len(str(caught.value)) < 250


def test_reconcile_takes_hours_and_no_sources() -> None:
    assert read(HOURS, job=RECONCILE).job == JobRequest(RECONCILE, TWO_HOURS)
    with pytest.raises(UsageError, match="reconcile compares whole hours"):
        read({"sources": "jp-1"}, job=RECONCILE)
    with pytest.raises(UsageError, match="dry_run: expected none, as it is for collect-and-rate"):
        read({"dry_run": "true"}, job=RECONCILE)
    assert read({"dry_run": "false"}, job=RECONCILE).job == JobRequest(RECONCILE)
