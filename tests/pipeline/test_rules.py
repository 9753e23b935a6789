"""The collecting rules C1-C15, each through HTTP into PostgreSQL."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from billing_etl.hours import Hour, HourRange, format_instant_ns
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.store import database, sources
from pipeline.harness import (
    DAY,
    HISTORY,
    JSON,
    A,
    B,
    C,
    Fact,
    Line,
    checkpoint,
    facts,
    finding_kinds,
    findings,
    gaps,
    hour_of,
    net,
    ns,
    readings,
    resets,
    row_versions,
    sample,
    snapshot,
    source_hour,
    state,
    usage,
)

MBIT = 1_000_000
NOTHING_COLLECTED = ("facts", "closings", "node_instants", "source_hours", "account_hours")


def every_minute(start: str, end: str, **serving: Any) -> list[JSON]:
    """A snapshot of account A three seconds into each minute of ``[start, end)``; 10 bytes each."""
    first, last = ns(f"{start}:00") // 60_000_000_000, ns(f"{end}:00") // 60_000_000_000
    return [
        snapshot(
            format_instant_ns((minute * 60 + 3) * 10**9),
            sample(A, 4 * (minute % 1440), 6 * (minute % 1440)),
            **serving,
        )
        for minute in range(first, last)
    ]


# --- C1 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes_ahead", "kinds"),
    [
        pytest.param(-1, [], id="behind the exporter's clock"),
        pytest.param(4, [], id="4 minutes ahead"),
        pytest.param(6, ["clock_ahead"], id="6 minutes ahead"),
    ],
)
def test_c1_a_snapshot_far_ahead_of_the_date_header_is_a_finding(
    minutes_ahead: int, kinds: list[str], line: Line
) -> None:
    at = datetime.now(UTC) + timedelta(minutes=minutes_ahead)
    line.serve([snapshot(at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), sample(A, 1, 2))])

    line.collected(str(Hour.of(at)))

    assert finding_kinds(line) == kinds


def test_c1_a_sample_belongs_to_its_own_time_whatever_the_offset(line: Line) -> None:
    line.serve(readings((f"{DAY}T20:59:59.999999999+09:00", 1, 1), (f"{DAY}T21:00:00+09:00", 2, 3)))

    line.collected("12")

    assert usage(line) == {"12:00": 3}
    assert source_hour(line, "12")["snapshots"] == 1


# --- C2 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expectation", "says"),
    [
        pytest.param({"expected_node_id": "node-2"}, ["'node-2'", "'node-1'"], id="node"),
        pytest.param({"expected_env": "dev"}, ["'dev'", "'prod'"], id="environment"),
    ],
)
def test_c2_a_mismatch_fails_the_source_hour_and_no_other_source(
    expectation: dict[str, str], says: list[str], line: Line
) -> None:
    line.serve(every_minute("12:00", "12:10"), "jp-1", "nanosecond", **expectation)
    line.serve(every_minute("12:00", "12:05", node="node-9"), source_id="us-1")

    summary = line.collect("12")

    ((source_id, hour, error),) = summary.failures
    assert (source_id, str(hour)) == ("jp-1", "2026-04-08T12")
    for word in ["jp-1", "2026-04-08T12", *says]:
        assert word in error
    assert "\n" not in error
    assert {fact.node for fact in facts(line)} == {"node-9"}
    assert (state(line, "12"), state(line, "12", "us-1")) == (None, "partial")
    assert line.rows("select node_id from billing_core.nodes") == [("node-9",)]


def test_c2_a_node_called_like_a_person_is_in_no_record(line: Line) -> None:
    line.serve(every_minute("12:00", "12:10", node="a@example.org"), expected_node_id="node-1")

    ((_, _, error),) = line.collect("12").failures

    assert "expected node 'node-1', got '***'" in error
    for query in (
        "select r::text from billing_core.runs r",
        "select f::text from billing_core.failed_source_hours f",
        "select s::text from billing_core.sources s",
    ):
        assert all("example.org" not in text for (text,) in line.rows(query))


def test_c2_a_mismatch_on_a_later_page_writes_nothing_either(line: Line) -> None:
    served = every_minute("12:00", "12:10")
    served[-1]["node_id"] = "node-2"
    line.serve(served, expected_node_id="node-1", page_size=2)

    assert len(line.collect("12").failures) == 1

    assert all(not line.rows(f"select 1 from billing_core.{name}") for name in NOTHING_COLLECTED)


def test_c2_a_mismatch_leaves_what_was_collected_before(line: Line) -> None:
    line.serve(every_minute("12:00", "12:10"), expected_env="prod")
    line.collected("12")
    before = row_versions(line, *HISTORY, "failed_source_hours")
    line.serve(every_minute("12:00", "12:20", env="dev"))

    assert len(line.collect("12").failures) == 1

    assert row_versions(line, *HISTORY, "failed_source_hours") == before


def test_c2_node_and_environment_are_those_of_each_snapshot(line: Line) -> None:
    line.serve(
        [
            snapshot("11:59:03", sample(A, 1, 1), node="node-1"),
            snapshot("11:59:04", sample(A, 5, 5), node="node-1", env="dev"),
            snapshot("12:00:03", sample(A, 3, 3), node="node-1"),
            snapshot("12:00:04", sample(A, 9, 9), node="node-1", env="dev"),
        ]
    )

    line.collected("12")

    assert [fact.up for fact in facts(line)] == [2, 4]


# --- C3, C6 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("again", "totals", "kinds", "duplicates"),
    [
        pytest.param((10, 20), (10, 20), [], 1, id="equal values count once"),
        pytest.param((12, 20), (12, 20), ["conflicting_samples"], 1, id="the larger uplink"),
        pytest.param((12, 15), (12, 20), ["conflicting_samples"], 1, id="the larger per counter"),
        pytest.param((2, 5), (10, 20), ["conflicting_samples"], 1, id="the second is smaller"),
    ],
)
def test_c3_one_series_twice_at_one_instant(
    again: tuple[int, int],
    totals: tuple[int, int],
    kinds: list[str],
    duplicates: int,
    line: Line,
) -> None:
    line.serve(
        [
            snapshot("11:59:03", sample(A, 0, 0)),
            snapshot("12:00:03", sample(A, 10, 20), sample(A, *again)),
        ]
    )

    line.collected("12")

    assert [(fact.up, fact.down) for fact in facts(line)] == [totals]
    assert finding_kinds(line) == kinds
    counts = source_hour(line, "12")
    assert (counts["samples"], counts["used"], counts["duplicates"]) == (2, 1, duplicates)


def test_c3_samples_are_ordered_by_time_before_anything_is_computed(line: Line) -> None:
    """Nanoseconds decide, and the order of serving does not: as text, .5Z sorts before 0Z."""
    line.serve(
        readings(
            ("12:00:01.5", 40, 0),
            ("12:00:01.000000002", 20, 0),
            ("12:00:01.000000001", 10, 0),
            ("12:00:01", 0, 0),
        )
    )

    line.collected("12")

    assert (usage(line), resets(line)) == ({"12:00": 40}, [])


def test_c6_a_snapshot_served_twice_is_counted_and_not_used_again(line: Line) -> None:
    served = every_minute("12:00", "12:04")
    line.serve([*served, served[2]])

    line.collected("12")

    assert usage(line) == {"12:01": 10, "12:02": 10, "12:03": 10}
    counts = source_hour(line, "12")
    assert (counts["snapshots"], counts["samples"], counts["duplicates"]) == (4, 5, 1)
    assert counts["used"] + counts["baselines"] == 4


# --- C4 ----------------------------------------------------------------------------------------


def test_c4_the_predecessor_is_the_newest_closing_however_old(line: Line) -> None:
    line.serve(readings(("2026-04-01T05:30:00Z", 100, 200), ("12:00:03", 107, 203)))

    line.collected("2026-04-01T05", "12")

    days_in_minutes = (ns("12:00:00") - ns("2026-04-01T05:30:00Z")) // 60_000_000_000
    assert facts(line) == [Fact("12:00", A, "tcp", "node-1", 7, 3, days_in_minutes, False)]


@pytest.mark.parametrize(
    ("minutes", "bytes_of_the_hour"),
    [
        pytest.param(10, {"12:00": 30}, id="ten minutes reach 11:50"),
        pytest.param(5, {}, id="five do not"),
        pytest.param(0, {}, id="none"),
    ],
)
def test_c4_look_back(minutes: int, bytes_of_the_hour: dict[str, int], line: Line) -> None:
    line.serve(readings(("11:50:03", 10, 10), ("12:00:03", 20, 30)), lookback_minutes=minutes)

    line.collected("12")

    assert usage(line) == bytes_of_the_hour


def test_c4_look_back_is_not_read_where_a_closing_stands(line: Line) -> None:
    """The closing of hour 10 counts: what 11:55 read is news to hour 12 once 11 is collected."""
    line.serve(readings(("10:30:03", 10, 0), ("11:55:03", 50, 0), ("12:00:03", 60, 0)))
    line.collected("10", "12")
    assert usage(line) == {"12:00": 50}

    line.collected("11")

    assert usage(line) == {"11:55": 40, "12:00": 10}


def test_c4_what_look_back_kept_goes_when_a_closing_before_it_is_collected(line: Line) -> None:
    """The same as in order: hour 12 leans on hour 10, and 11:55 is not known."""
    line.serve(readings(("10:30:03", 10, 0), ("11:55:03", 50, 0), ("12:00:03", 60, 0)))
    line.collected("12")
    assert usage(line) == {"12:00": 10}

    line.collected("10")

    assert usage(line) == {"12:00": 50}


# --- C5 ----------------------------------------------------------------------------------------


def four_series(at: str, *ups: int) -> JSON:
    return snapshot(at, *(sample(A, up, 0, f"tag-{number}") for number, up in enumerate(ups)))


@pytest.mark.parametrize(
    ("before", "after", "classes"),
    [
        pytest.param((9, 9, 9, 9), (1, 1, 1, 1), ["node_restart"] * 4, id="all fell"),
        pytest.param((9, 9, 9, 9), (1, 1, 1, 9), ["node_restart"] * 3, id="most fell"),
        pytest.param((9, 9, 9, 9), (1, 1, 9, 9), ["single_series"] * 2, id="half fell"),
        pytest.param((9, 9, 9, 9), (1, 9, 9, 9), ["single_series"], id="one fell"),
        pytest.param((9,), (1, 50, 50, 50), ["node_restart"], id="new series cannot be compared"),
        pytest.param((9, 9), (1,), ["node_restart"], id="absent series cannot be compared"),
    ],
)
@pytest.mark.parametrize("instant", ["12:00:03", "12:07:03"])
def test_c5_a_reset_counts_from_zero_and_is_classed(
    instant: str, before: tuple[int, ...], after: tuple[int, ...], classes: list[str], line: Line
) -> None:
    """At the hour's first snapshot, judged from closings, and between samples of the hour."""
    first = [four_series("12:05:03", *before)] if instant > "12:05" else []
    line.serve([four_series("11:59:03", *before), *first, four_series(instant, *after)])

    line.collected("12")

    assert [(at, kind, up) for at, kind, up, _ in resets(line)] == [
        (instant, kind, 9) for kind in classes
    ]
    marked = [fact.up for fact in facts(line) if fact.is_reset]
    assert marked == [1] * len(classes)
    expected = ["single_series_reset"] * classes.count("single_series")
    assert finding_kinds(line) == expected


def test_c5_either_counter_falling_is_a_reset_of_both(line: Line) -> None:
    line.serve(readings(("12:00:03", 100, 200), ("12:01:03", 150, 40)))

    line.collected("12")

    assert usage(line) == {"12:01": 190}


# --- C7 ----------------------------------------------------------------------------------------


def birth(total: int) -> list[JSON]:
    """Node 1 is first seen at 11:59; account B appears at 12:01, a minute after 12:00."""
    return [
        snapshot("11:59:03", sample(A, 500, 500)),
        snapshot("12:00:03", sample(A, 500, 500)),
        snapshot("12:01:03", sample(A, 500, 500), sample(B, total, 0)),
    ]


@pytest.mark.parametrize(
    ("policy", "charged"),
    [
        pytest.param("auto", {"12:01": 70}, id="auto: only the born account"),
        pytest.param("charge", {"12:00": 0, "12:01": 70}, id="charge"),
        pytest.param("baseline", {}, id="baseline"),
    ],
)
def test_c7_first_sight_by_policy(policy: str, charged: dict[str, int], line: Line) -> None:
    line.serve(birth(70), first_sight=policy)

    line.collected("12")

    assert usage(line) == {minute: total for minute, total in charged.items() if total}


def test_c7_charge_bills_the_first_snapshot_of_a_node_too(line: Line) -> None:
    line.serve(readings(("12:00:03", 3, 4), ("12:01:03", 5, 5)), first_sight="charge")

    line.collected("12")

    assert usage(line) == {"12:00": 7, "12:01": 3}
    assert source_hour(line, "12")["baselines"] == 0


@pytest.mark.parametrize(
    ("total", "charged", "kinds"),
    [
        # 60 s at 1 Mbit/s are 7,500,000 bytes.
        pytest.param(7_500_000, {"12:01": 7_500_000}, [], id="just possible"),
        pytest.param(7_500_001, {}, ["implausible_birth"], id="one byte more"),
    ],
)
def test_c7_an_implausible_birth_is_a_baseline_and_a_finding(
    total: int, charged: dict[str, int], kinds: list[str], line: Line
) -> None:
    line.serve(birth(total), max_bits_per_second=MBIT)

    line.collected("12")

    assert usage(line) == charged
    assert finding_kinds(line) == kinds
    assert source_hour(line, "12")["baselines"] == len(kinds)


def test_c7_a_later_delta_above_the_rate_is_billed_and_a_finding(line: Line) -> None:
    line.serve(
        readings(("12:00:03", 0, 0), ("12:01:03", 7_500_001, 0), ("12:02:03", 7_500_002, 0)),
        max_bits_per_second=MBIT,
    )

    line.collected("12")

    assert usage(line) == {"12:01": 7_500_001, "12:02": 1}
    assert finding_kinds(line) == ["rate_exceeded"]


def test_c7_a_quarantined_sample_counts_as_presence(line: Line) -> None:
    """B was there at 12:00, only unreadable: at 12:01 it is no birth but a baseline."""
    served = birth(70)
    served[0]["samples"].append(sample(B, -1, 0))
    served[1]["samples"].append(sample(B, "70", 0))
    line.serve(served)

    line.collected("12")

    assert usage(line) == {}
    counts = source_hour(line, "12")
    assert (counts["quarantined"], counts["baselines"]) == (1, 1)


def test_c7_an_empty_first_snapshot_is_no_first_sight(line: Line) -> None:
    line.serve([snapshot("12:00:03"), *readings(("12:01:03", 10, 10), ("12:02:03", 11, 11))])

    line.collected("12")

    assert usage(line) == {"12:02": 2}


# --- C8, C9, C10 -------------------------------------------------------------------------------


def test_c8_deltas_of_one_minute_add_up(line: Line) -> None:
    line.serve(
        readings(("12:00:10", 0, 0), ("12:00:20", 1, 2), ("12:00:30", 4, 3), ("12:01:00", 5, 3))
    )

    line.collected("12")

    assert facts(line) == [
        Fact("12:00", A, "tcp", "node-1", 4, 3, 1, False),
        Fact("12:01", A, "tcp", "node-1", 1, 0, 1, False),
    ]


@pytest.mark.parametrize(
    ("later", "span"),
    [
        pytest.param("12:00:50", 1, id="same minute"),
        pytest.param("12:01:59", 1, id="next minute"),
        pytest.param("12:02:00", 2, id="the one after"),
        pytest.param("12:07:01", 7, id="far"),
    ],
)
def test_c9_span(later: str, span: int, line: Line) -> None:
    line.serve(readings(("12:00:03", 0, 0), (later, 5, 5)))

    line.collected("12")

    assert [fact.span for fact in facts(line)] == [span]


def test_c9_a_zero_delta_gives_its_span_and_reset_mark_to_the_minute(line: Line) -> None:
    line.serve(readings(("12:00:03", 9, 9), ("12:05:10", 0, 0), ("12:05:20", 1, 1)))

    line.collected("12")

    assert facts(line) == [Fact("12:05", A, "tcp", "node-1", 1, 1, 5, True)]


@pytest.mark.parametrize(
    ("until", "found"),
    [
        pytest.param("12:02:33", [], id="2.5 intervals are none"),
        pytest.param(
            "12:02:33.000000001", [("exporter_down", "12:00:03", "12:02:33", 10)], id="more is one"
        ),
    ],
)
def test_c9_a_gap_is_more_than_two_and_a_half_intervals(
    until: str, found: list[tuple[str, str, str, int]], line: Line
) -> None:
    line.serve(readings(("12:00:03", 0, 0), (until, 5, 5)))

    line.collected("12")

    assert gaps(line) == found
    assert usage(line) == {"12:02": 10}


def test_c9_exporter_down_is_one_row_per_node_with_all_its_bytes(line: Line) -> None:
    line.serve(
        [
            snapshot("12:00:03", sample(A, 0, 0), sample(B, 0, 0)),
            snapshot("12:05:03", sample(A, 1, 2), sample(B, 3, 4)),
        ]
    )

    line.collected("12")

    assert gaps(line) == [("exporter_down", "12:00:03", "12:05:03", 10)]


def test_c9_series_absent_is_a_row_per_series_that_has_bytes_after_it(line: Line) -> None:
    together = [sample(A, 0, 0), sample(B, 0, 0), sample(C, 0, 0)]
    line.serve(
        [
            snapshot("12:00:03", *together),
            *(snapshot(f"12:0{minute}:03", sample(A, 0, 0)) for minute in range(1, 5)),
            snapshot("12:05:03", sample(A, 0, 0), sample(B, 3, 4), sample(C, 0, 0)),
        ]
    )

    line.collected("12")

    assert gaps(line) == [("series_absent", "12:00:03", "12:05:03", 7)]


def test_c10_an_idle_series_has_no_fact_but_a_closing(line: Line) -> None:
    line.serve(readings(("12:00:03", 5, 5), ("12:30:03", 5, 5)))

    line.collected("12")

    assert facts(line) == []
    assert line.rows("select last_ns from billing_core.closings") == [(ns("12:30:03"),)]


# --- C11 ---------------------------------------------------------------------------------------


def broken(**changed: Any) -> JSON:
    return {
        name: value
        for name, value in (sample(B, 1, 2) | changed).items()
        if value is not ...  # ...: the field is missing
    }


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param("someone@example.com", "sample_not_object", id="text instead of an object"),
        pytest.param(broken(uplink_bytes_total=...), "field_missing", id="no uplink"),
        pytest.param(broken(inbound_tag=...), "field_missing", id="no tag"),
        pytest.param(broken(uuid=...), "field_missing", id="no uuid"),
        pytest.param(broken(uuid=B.replace("-", "")), "uuid_malformed", id="uuid without dashes"),
        pytest.param(broken(uuid=f"{{{B}}}"), "uuid_malformed", id="uuid in braces"),
        pytest.param(broken(inbound_tag=7), "tag_not_text", id="tag is a number"),
        pytest.param(broken(inbound_tag="ü" * 128), "tag_too_long", id="tag of 256 bytes"),
        pytest.param(broken(uplink_bytes_total=1.5), "total_not_integer", id="fraction"),
        pytest.param(broken(uplink_bytes_total=True), "total_not_integer", id="boolean"),
        pytest.param(broken(downlink_bytes_total="7"), "total_not_integer", id="text"),
        pytest.param(broken(downlink_bytes_total=-1), "total_negative", id="negative"),
        pytest.param(broken(uplink_bytes_total=2**63), "total_too_large", id="beyond 63 bits"),
        pytest.param(
            broken(uplink_bytes_total=2**62, downlink_bytes_total=2**62),
            "total_too_large",
            id="the sum beyond 63 bits",
        ),
    ],
)
def test_c11_a_bad_sample_goes_to_quarantine_and_the_rest_is_used(
    bad: Any, reason: str, line: Line
) -> None:
    line.serve(
        [
            snapshot("11:59:03", sample(A, 0, 0)),
            snapshot("12:00:03", sample(A, 1, 1), bad),
            snapshot("12:01:03", sample(A, 2, 2)),
        ]
    )

    line.collected("12")

    assert usage(line) == {"12:00": 2, "12:01": 2}
    ((found, raw_text),) = line.rows("select reason, raw_text from billing_core.quarantine")
    assert found == reason
    assert raw_text
    assert '"email"' not in raw_text
    assert "someone" not in raw_text
    assert "example.com" not in raw_text
    counts = source_hour(line, "12")
    assert (counts["samples"], counts["used"], counts["quarantined"]) == (3, 2, 1)


def test_c11_a_uuid_is_stored_in_lower_case_and_an_empty_tag_is_fine(line: Line) -> None:
    line.serve(
        [
            snapshot("11:59:03", sample(A.upper(), 0, 0, "")),
            snapshot("12:00:03", sample(A, 1, 1, "")),
        ]
    )

    line.collected("12")

    assert facts(line) == [Fact("12:00", A, "", "node-1", 1, 1, 1, False)]


def test_c11_null_samples_are_an_empty_snapshot(line: Line) -> None:
    line.serve([*readings(("12:00:03", 0, 0)), snapshot("12:01:03", None)])

    line.collected("12")

    counts = source_hour(line, "12")
    assert (counts["snapshots"], counts["samples"]) == (2, 1)


def test_c11_collecting_again_after_the_exporter_was_mended_empties_quarantine(line: Line) -> None:
    served = every_minute("12:00", "12:04")
    served[2]["samples"][0]["uplink_bytes_total"] = "not yet"
    line.serve(served)
    line.collected("12")
    assert usage(line) == {"12:01": 10, "12:03": 20}

    line.serve(every_minute("12:00", "12:04"))
    line.collected("12")

    assert usage(line) == {"12:01": 10, "12:02": 10, "12:03": 10}
    assert line.rows("select 1 from billing_core.quarantine") == []


# --- C12 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        pytest.param(every_minute("12:00", "13:00"), "complete", id="the whole hour"),
        pytest.param(every_minute("12:00", "12:59"), "partial", id="not yet the last interval"),
        pytest.param(
            every_minute("12:00", "12:30") + every_minute("13:40", "13:41"),
            "complete",
            id="seen later",
        ),
        pytest.param(every_minute("12:05", "13:00"), "lost", id="forgotten in part"),
        pytest.param(
            every_minute("11:00", "11:01") + every_minute("12:05", "13:00"),
            "complete",
            id="missing, but older ones are still served",
        ),
        pytest.param([], "partial", id="nothing served at all"),
        pytest.param(every_minute("13:00", "13:05"), "lost", id="forgotten whole"),
        pytest.param(
            every_minute("12:00", "13:00") + every_minute("12:00", "12:30", node="node-2"),
            "partial",
            id="the worst of two nodes",
        ),
    ],
)
def test_c12_state(served: list[JSON], expected: str, line: Line) -> None:
    line.serve(served)

    line.collected("12")

    assert state(line, "12") == expected


def test_c12_counts(line: Line) -> None:
    served = every_minute("11:59", "12:20") + every_minute("12:25", "13:00")
    served[3]["samples"].append(sample(B, -1, 0))
    served[4]["samples"] *= 2
    line.serve(served)

    line.collected("12")

    counts = source_hour(line, "12")
    assert (counts["expected_snapshots"], counts["snapshots"]) == (60, 55)
    assert counts["missing_minutes"] == 5
    assert (counts["first_ns"], counts["last_ns"]) == (ns("12:00:03"), ns("12:59:03"))
    assert (counts["samples"], counts["used"]) == (57, 55)
    assert (counts["duplicates"], counts["baselines"], counts["quarantined"]) == (1, 0, 1)


def test_c12_the_content_hash_tells_content_not_order(line: Line) -> None:
    line.serve(birth(70))
    line.serve(list(reversed(birth(70))), source_id="us-1", shared_node=True)
    line.serve(birth(71), source_id="us-2", shared_node=True)
    line.collected("12")

    hashes = [source_hour(line, "12", source)["content_hash"] for source in line.sources]

    assert hashes[0] == hashes[1] != hashes[2]


def test_c12_the_checkpoint_is_the_end_of_the_contiguous_settled_hours(line: Line) -> None:
    line.serve(every_minute("10:00", "13:30"))

    line.collected("12")
    assert checkpoint(line) == "13:00"
    line.collected("10")
    assert checkpoint(line) == "11:00"
    line.collected("13")  # partial
    assert checkpoint(line) == "11:00"
    line.collected("11")
    assert checkpoint(line) == "13:00"


def test_c12_the_checkpoint_stays_before_a_partial_hour(line: Line) -> None:
    line.serve(every_minute("12:00", "12:30"))
    line.collected("12")
    assert checkpoint(line) == "12:00"

    line.serve(every_minute("12:00", "13:30"))
    line.collected("12", "13")

    assert checkpoint(line) == "13:00"


def test_c12_the_running_hour_may_be_collected_and_is_partial(line: Line) -> None:
    now = datetime.now(UTC) - timedelta(seconds=1)
    line.serve([snapshot(now.strftime("%Y-%m-%dT%H:%M:%SZ"), sample(A, 1, 1))])

    line.collected(str(Hour.of(now)))

    assert state(line, str(Hour.of(now))) == "partial"


# --- C13 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "left",
    [
        pytest.param([], id="forgotten whole"),
        pytest.param(every_minute("12:30", "13:30"), id="forgotten in part"),
        pytest.param(every_minute("12:00", "13:30")[:7], id="the newest are missing"),
    ],
)
def test_c13_history_never_shrinks(left: list[JSON], line: Line) -> None:
    line.serve(every_minute("11:58", "13:30"))
    line.collected("12")
    line.rate()
    before = row_versions(line, *HISTORY, "findings")

    line.serve(left)
    summary = line.collect("12")

    assert [result.outcome for result in summary.results] == ["history_shrunk"]
    assert row_versions(line, *HISTORY, "findings") == before
    ((kind, hour, message),) = findings(line)
    assert (kind, hour) == ("history_shrunk", "12:00")
    assert "60" in message


def test_c13_what_is_served_anew_beside_what_was_forgotten_waits(line: Line) -> None:
    """One snapshot gone and one new: nothing changes until all that is stored is served."""
    served = every_minute("12:00", "12:10")
    line.serve(served)
    line.collected("12")
    late = readings(("12:05:30", 4 * 726, 6 * 726))

    line.serve(sorted(served[1:] + late, key=lambda each: str(each["collected_at"])))
    line.collect("12")
    assert source_hour(line, "12")["snapshots"] == 10

    line.serve(sorted(served + late, key=lambda each: str(each["collected_at"])))
    line.collect("12")
    assert source_hour(line, "12")["snapshots"] == 11
    assert findings(line) == []


# --- C14 ---------------------------------------------------------------------------------------


def test_c14_an_earlier_hour_collected_later_moves_what_leaned_on_it(line: Line) -> None:
    """Without hour 12, the first delta of 13 spans two hours; with it, a minute, and no gap."""
    line.serve(every_minute("11:00", "14:00"))
    line.collected("11", "13")
    assert facts(line)[59] == Fact("13:00", A, "tcp", "node-1", 4 * 61, 6 * 61, 61, False)
    assert gaps(line) == [("exporter_down", "11:59:03", "13:00:03", 610)]

    line.collected("12")

    assert {fact.span for fact in facts(line)} == {1}
    assert set(usage(line).values()) == {10}
    assert gaps(line) == []


@pytest.mark.parametrize(
    ("late", "of_hour_13"),
    [
        pytest.param(
            ("12:59:30", 130, 0),
            {"facts": [(20, 1, False)], "resets": [], "gaps": []},
            id="bytes, span and gap",
        ),
        pytest.param(
            ("12:59:30", 900, 0),
            {
                "facts": [(150, 1, True)],
                "resets": [("13:00:03", "node_restart", 900, 0)],
                "gaps": [],
            },
            id="a reset appears",
        ),
    ],
)
def test_c14_a_late_snapshot_of_the_previous_hour(
    late: tuple[str, int, int], of_hour_13: dict[str, Any], line: Line
) -> None:
    hours = [("12:30:03", 100, 0), ("13:00:03", 150, 0), ("13:01:03", 150, 0)]
    line.serve(readings(("12:29:03", 100, 0), *hours))
    line.collected("12", "13")
    assert gaps(line) == [("exporter_down", "12:30:03", "13:00:03", 50)]

    line.serve(readings(("12:29:03", 100, 0), *sorted([*hours, late])))
    line.collected("12")

    assert {
        "facts": [(f.up, f.span, f.is_reset) for f in facts(line) if f.minute >= "13"],
        "resets": resets(line),
        "gaps": [gap for gap in gaps(line) if gap[2] > "13"],
    } == of_hour_13


def test_c14_a_reset_a_finding_and_their_class_go_when_their_cause_goes(line: Line) -> None:
    """Hour 13 fell below hour 11; hour 12, collected later, shows where the restart really was."""
    line.serve(
        [
            four_series("11:59:03", 900, 900, 900),
            four_series("12:30:03", 0, 900, 900),
            four_series("13:00:03", 5, 901, 902),
        ]
    )
    line.collected("11", "13")
    assert [at for at, *_ in resets(line)] == ["13:00:03"]
    assert [(kind, hour) for kind, hour, _ in findings(line)] == [("single_series_reset", "13:00")]

    line.collected("12")

    assert [at for at, *_ in resets(line)] == ["12:30:03"]
    assert [(kind, hour) for kind, hour, _ in findings(line)] == [("single_series_reset", "12:00")]
    assert usage(line) == {"13:00": 5 + 1 + 2}


def test_c14_first_sight_and_coverage_counts_are_judged_again(line: Line) -> None:
    """B's first sample is a baseline in hour 13 as long as nothing is known of the node before."""
    line.serve(
        [
            snapshot("12:10:03", sample(A, 0, 0)),
            snapshot("13:30:03", sample(A, 3, 0), sample(B, 7, 0)),
        ]
    )
    line.collected("13")
    assert usage(line) == {}
    assert (source_hour(line, "13")["baselines"], source_hour(line, "13")["used"]) == (2, 0)

    line.collected("12")

    assert usage(line) == {"13:30": 3 + 7}
    assert (source_hour(line, "13")["baselines"], source_hour(line, "13")["used"]) == (0, 2)


def test_c14_a_plausible_birth_becomes_implausible(line: Line) -> None:
    """A snapshot of the node just before the birth, known later, leaves it less time."""
    served = [
        snapshot("11:30:03", sample(A, 0, 0)),
        snapshot("12:59:03", sample(A, 0, 0)),
        snapshot("13:00:03", sample(A, 0, 0), sample(B, 8_000_000, 0)),
    ]
    line.serve(served, max_bits_per_second=MBIT, lookback_minutes=0)
    line.collected("11", "13")
    assert (usage(line), finding_kinds(line)) == ({"13:00": 8_000_000}, [])

    line.collected("12")

    assert (usage(line), finding_kinds(line)) == ({}, ["implausible_birth"])


def test_c14_facts_that_were_sealed_get_a_second_revision(
    line: Line, s3: Any, bucket: str, object_store: EmbeddedObjectStore
) -> None:
    """Of the later hour too: its sealed fact changes although only the earlier one is collected."""
    line.settings |= {
        "s3_enabled": True,
        "s3_bucket": bucket,
        "s3_endpoint_url": object_store.endpoint_url,
    }
    hours = [("12:00:03", 0, 0), ("12:58:03", 10, 0), ("13:00:03", 50, 0), ("13:01:03", 60, 0)]
    line.serve(readings(*hours))
    line.collected("12", "13")
    deliver_hours(line.engine, HourRange(hour_of("12"), hour_of("14")))

    line.serve(readings(*sorted([*hours, ("12:59:03", 30, 0)])))
    line.collected("12")

    assert usage(line) == {"12:58": 10, "12:59": 20, "13:00": 20, "13:01": 10}
    revisions = line.rows("select revision from billing_core.facts order by minute")
    assert revisions == [(1,), (1,), (2,), (1,)]
    assert line.rows("select uplink_quantity, revision from billing_core.sealed_facts") == [(40, 1)]


def test_c14_money_follows(line: Line) -> None:
    line.settings["initial_included_quota_bytes"] = 0
    line.serve(readings(("11:59:03", 0, 0), ("13:00:03", 50, 0)))
    line.collected("11", "13")
    line.rate()

    line.serve(readings(("11:59:03", 0, 0), ("12:30:03", 20, 0), ("13:00:03", 50, 0)))
    line.collected("12")
    line.rate()

    assert {hour: rated for (_, hour), (rated, _) in net(line).items()} == {
        "12:00": 20,
        "13:00": 30,
    }


# --- C15 ---------------------------------------------------------------------------------------


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 0.2)


def hold_source(line: Line) -> "psycopg.Connection[Any]":
    """Another run of the source, as far as it matters here."""
    other = psycopg.connect(line.database_url)
    sources.lock_source(other, "jp-1")
    other.commit()
    return other


def test_c15_a_second_run_of_a_source_ends_with_a_clear_message(
    line: Line, short_wait: None
) -> None:
    line.serve(every_minute("12:00", "12:05"))
    line.serve(every_minute("12:00", "12:05", node="node-9"), source_id="us-1")
    with hold_source(line):
        summary = line.collect("12")

    ((source_id, _, error),) = summary.failures
    assert source_id == "jp-1"
    assert "another run" in error
    assert "jp-1" in error
    assert (state(line, "12"), state(line, "12", "us-1")) == (None, "partial")


def test_c15_a_second_run_waits_for_the_first(line: Line) -> None:
    line.serve(every_minute("12:00", "12:05"))
    first = hold_source(line)
    second = threading.Thread(target=line.collected, args=("12",))
    second.start()
    wait_for_a_waiting_lock(line)
    assert state(line, "12") is None

    first.close()
    second.join()

    assert state(line, "12") == "partial"


def wait_for_a_waiting_lock(line: Line) -> None:
    deadline = time.monotonic() + 30
    while not line.rows(
        "select 1 from pg_locks l join pg_database d on d.oid = l.database"
        " where not l.granted and d.datname = current_database()"
    ):
        assert time.monotonic() < deadline, "nothing waits for a lock"


def test_c15_one_node_under_two_sources_is_refused(line: Line) -> None:
    line.serve(every_minute("12:00", "12:05"))
    line.collected("12")
    line.serve(every_minute("12:00", "12:05"), source_id="us-1")

    ((source_id, _, error),) = line.collect("12", source_id="us-1").failures

    assert source_id == "us-1"
    for word in ("us-1", "jp-1", "prod/node-1", "shared_node"):
        assert word in error
    assert state(line, "12", "us-1") is None
    assert sum(usage(line).values()) == 40


def test_c15_a_source_that_says_so_may_share_a_node(line: Line) -> None:
    line.serve(every_minute("12:00", "12:05"))
    line.serve(every_minute("12:00", "12:05"), source_id="us-1", shared_node=True)

    line.collected("12")

    assert sum(usage(line).values()) == 2 * 40


# --- invariant 4 -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", ["used", "duplicates", "baselines", "quarantined"])
def test_invariant_4_a_source_hour_that_drops_a_sample_uncounted_is_refused(
    count: str, line: Line
) -> None:
    served = every_minute("12:00", "12:05")
    served[1]["samples"].append(sample(B, -1, 0))
    served[2]["samples"] *= 2
    line.serve(served)
    line.collected("12")

    with pytest.raises(psycopg.errors.CheckViolation):
        line.execute(f"update billing_core.source_hours set {count} = {count} - 1")
