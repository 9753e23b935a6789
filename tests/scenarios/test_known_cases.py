"""What other billing systems are known to get wrong with cumulative counters, case by case."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pipeline.audited import assert_as_audited, by_minute
from pipeline.harness import (
    DAY,
    HISTORY,
    JSON,
    A,
    B,
    C,
    Entry,
    Fact,
    Line,
    answer_of,
    balances,
    facts,
    finding_kinds,
    gaps,
    hour_of,
    ledger,
    net,
    ns,
    process,
    readings,
    resets,
    row_versions,
    sample,
    snapshot,
    source_hour,
    state,
    states,
    usage,
)

from billing_etl.batches import decompress
from billing_etl.hours import HourRange, format_instant_ns
from billing_etl.local.exporter_server import Flavour
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.reconcile import reconcile_hours

LIMIT = 2**63 - 1
FIVE_TERABYTES = 5_000_000_000_000
MINUTE_NS = 60 * 10**9


def assert_audited(line: Line, served: Sequence[JSON], *hours: str) -> None:
    """Rates the day; facts, history and money are then those of the oracle."""
    line.rate()
    assert_as_audited(line, {"jp-1": served}, {"jp-1": hours})


def charged(line: Line) -> Mapping[tuple[str, str], tuple[int, object]]:
    """Per account and hour: rated bytes and amount of the ledger."""
    return net(line)


def both_inbounds(at: str, tcp: int, xhttp: int | None) -> JSON:
    """Account A on two inbounds, uplink alone; ``None``: the inbound does not report."""
    reported = [sample(A, tcp, 0, "tcp")]
    if xhttp is not None:
        reported.append(sample(A, xhttp, 0, "xhttp"))
    return snapshot(at, *reported)


# --- repetition --------------------------------------------------------------------------------


def test_a_duplicated_minute_is_billed_once(line: Line) -> None:
    """Elsewhere a minute served twice doubles its bytes, or zeroes them as a delta to itself."""
    once = readings(
        ("12:00:03", 0, 0), ("12:01:03", 4, 6), ("12:02:03", 34, 26), ("12:03:03", 134, 46)
    )
    served = [*once, once[2]]
    line.serve(served)

    line.collected("12")
    line.collected("12")

    assert usage(line) == {"12:01": 10, "12:02": 50, "12:03": 120}
    assert source_hour(line, "12")["duplicates"] == 1
    assert_audited(line, served, "12")
    # 180 bytes, 100 of them included, at 2 each.
    assert charged(line) == {(A, "12:00"): (80, 160)}


@pytest.mark.parametrize("flavour", ["nanosecond", "minute"])
def test_two_snapshots_in_one_minute_add_up(flavour: Flavour, line: Line) -> None:
    """Elsewhere the second snapshot of a minute replaces the first one's bytes or is dropped."""
    served = readings(
        ("11:59:03", 0, 0), ("11:59:33", 1, 1),
        ("12:00:03", 2, 3), ("12:00:33", 10, 20),
        ("12:01:03", 10, 20), ("12:01:33", 15, 25),
    )  # fmt: skip
    line.serve(served, flavour=flavour)

    line.collected("12")

    assert usage(line) == {"12:00": 9 + 19, "12:01": 10}
    assert source_hour(line, "12")["snapshots"] == (4 if flavour == "nanosecond" else 2)
    assert_audited(line, served if flavour == "nanosecond" else by_minute(served), "12")


def half_idle_day() -> list[JSON]:
    """Six accounts on two inbounds, read every five minutes from 23:55 of the day before.

    Account ``i`` moves 1,100 x (i + 1) bytes per reading on each inbound in hours of one parity
    and none in the others; the counters never fall.
    """
    totals = [0] * 6
    served = []
    for reading in range(24 * 12 + 1):
        hour_of_day = (reading - 1) // 12
        for number in range(6):
            totals[number] += (number + 1) * (reading > 0 and (hour_of_day + number) % 2 == 0)
        served.append(
            snapshot(
                format_instant_ns(ns("00:00:07") + (reading - 1) * 5 * MINUTE_NS),
                *(
                    sample(f"{A[:-1]}{number}", 7 + 100 * total, 9 + 1_000 * total, tag)
                    for number, total in enumerate(totals)
                    for tag in ("tcp", "xhttp")
                ),
            )
        )
    return served


# Every account is active in 12 hours of 12 readings.
KEPT_OF_HALF_IDLE_DAY = 12 * 12 * 1_100 * (1 + 2 + 3 + 4 + 5 + 6) * 2


def test_half_idle_accounts_keep_every_byte_under_overlapping_windows_for_a_day(line: Line) -> None:
    """Elsewhere a window read again meets its own end as predecessor: busy minutes turn zero."""
    served = half_idle_day()
    hours = [f"{hour:02}" for hour in range(24)]
    chance = random.Random(24)
    line.serve([], interval_seconds=300)
    for number, hour in enumerate(hours):
        # A window ends in the middle of the hour, the next one covers it and an old hour again.
        if number % 2:
            line.serve(served[: number * 12 + 8])
            line.collected(hour)
        line.serve(served[: number * 12 + 14])
        line.collected(hour, chance.choice(hours[: number + 1]))
    line.rate()
    settled = row_versions(line, *HISTORY)

    line.collected(*chance.sample(hours, 24))
    line.rate()

    assert row_versions(line, *HISTORY) == settled
    assert sum(usage(line).values()) == KEPT_OF_HALF_IDLE_DAY
    assert resets(line) == []
    assert line.rows("select sum(baselines) from billing_core.source_hours") == [(0,)]
    assert_audited(line, served, *hours)


# --- counters that fall ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "bytes_counted"),
    [
        pytest.param((40, 230), 40 + 230, id="uplink alone falls"),
        pytest.param((170, 30), 170 + 30, id="downlink alone falls"),
        pytest.param((40, 30), 40 + 30, id="both fall"),
        pytest.param((0, 0), 0, id="to zero"),
    ],
)
@pytest.mark.parametrize(
    ("before_at", "at"),
    [
        pytest.param("12:01:03", "12:02:03", id="within the hour"),
        pytest.param("11:59:03", "12:00:03", id="at its edge"),
    ],
)
def test_a_negative_delta_counts_from_zero_and_is_never_a_credit(
    before_at: str, at: str, after: tuple[int, int], bytes_counted: int, line: Line
) -> None:
    """Elsewhere a fallen counter gives a negative delta, is clamped to zero, or is split."""
    served = readings((before_at, 100, 200), (at, *after))
    line.serve(served)

    line.collected("12")

    assert usage(line) == ({at[:5]: bytes_counted} if bytes_counted else {})
    assert resets(line) == [(at, "node_restart", 100, 200)]
    assert_audited(line, served, "12")
    assert all(amount >= 0 for _, amount in net(line).values())


def test_a_node_clock_that_steps_back_gives_the_same_bill_in_any_order_and_shows_why(
    line: Line,
) -> None:
    """Elsewhere what arrives last wins, so each replay differs. Here time alone orders (C3).

    The clock steps from 12:03:03 back to 12:01:30. By time the totals are 0, 10, 40, 20, 50, 30:
    two falls, each a reset that is on record with both sides (C5). It is dear: 120 bytes are
    counted where 50 flowed, because no exporter tells a clock's step from a restart.
    """
    true_order = [
        ("12:00:03", 0, 0), ("12:01:03", 10, 0), ("12:02:03", 20, 0), ("12:03:03", 30, 0),
        ("12:01:30", 40, 0), ("12:02:30", 50, 0),
    ]  # fmt: skip
    served = readings(*true_order)
    line.serve(served[:4])
    line.collected("12")
    line.serve(served)
    line.collected("12")
    found = states(line)

    line.serve(list(reversed(served)))
    line.collected("12")

    assert states(line) == found
    assert usage(line) == {"12:01": 10 + 30, "12:02": 20 + 30, "12:03": 30}
    assert resets(line) == [
        ("12:02:03", "node_restart", 40, 0),
        ("12:03:03", "node_restart", 50, 0),
    ]
    assert_audited(line, served, "12")


def test_a_clock_that_stands_still_keeps_the_larger_total(line: Line) -> None:
    """Elsewhere the later arrival replaces the first, and the next delta bills the rest again."""
    served = readings(
        ("12:00:03", 0, 0), ("12:01:03", 10, 4), ("12:01:03", 25, 3), ("12:02:03", 30, 5)
    )
    line.serve(served)

    line.collected("12")

    assert usage(line) == {"12:01": 25 + 4, "12:02": 5 + 1}
    assert finding_kinds(line) == ["conflicting_samples"]
    assert_audited(line, served, "12")


# --- restarts of the service -------------------------------------------------------------------


def test_a_restarted_service_goes_on_from_its_closings(line: Line) -> None:
    """Elsewhere a restart forgets the last totals: it bills lifetimes, or loses the first delta.

    Every run is a process of its own; the second finds an exporter that has forgotten hour 12.
    """
    of_12 = readings(("12:00:03", 1_000, 5_000), ("12:58:03", 1_010, 5_020))
    of_13 = readings(("13:00:03", 1_017, 5_043), ("13:01:03", 1_017, 5_050))
    line.serve(of_12)
    run(line, "collect", "12", "13")
    line.serve(of_13)
    run(line, "collect", "13", "14")
    run(line, "rate", "12", "14")
    assert usage(line) == {"12:58": 30, "13:00": 7 + 23, "13:01": 7}
    money = charged(line)
    assert money == {(A, "12:00"): (0, 0), (A, "13:00"): (0, 0)}

    line.serve(of_12 + of_13)
    for window in (("12", "14"), ("13", "14"), ("12", "13")):
        run(line, "collect", *window)
    run(line, "rate", "12", "14")

    assert usage(line) == {"12:58": 30, "13:00": 7 + 23, "13:01": 7}
    assert len(ledger(line)) == 2
    assert_audited(line, of_12 + of_13, "12", "13")


def run(line: Line, step: str, start: str, end: str) -> None:
    answer = answer_of(
        process(line.environment(), step, "--from", f"{DAY}T{start}", "--to", f"{DAY}T{end}")
    )
    assert answer.code == 0, answer.err


def test_a_crash_between_facts_and_ledger_leaves_nothing_apart(line: Line) -> None:
    """Elsewhere ledger and balance part for good when the second write does not come about.

    The database refuses the balance, as a crash would: no entry, no rating, and the next run
    charges what was due.
    """
    served = readings(("12:00:03", 0, 0), ("12:01:03", 60, 60), ("13:00:03", 90, 60))
    line.serve(served)
    line.collected("12", "13")
    line.execute(
        "create function billing_core.crash() returns trigger language plpgsql as"
        " 'begin raise exception ''crash''; end';"
        " create trigger crash before update on billing_core.account_balances"
        " for each row execute function billing_core.crash()"
    )
    before = row_versions(line, *HISTORY)
    with pytest.raises(Exception, match="crash"):
        line.rate()
    assert usage(line) == {"12:01": 120, "13:00": 30}
    assert row_versions(line, *HISTORY) == before

    line.execute("drop function billing_core.crash cascade")
    line.rate()

    assert charged(line) == {(A, "12:00"): (20, 40), (A, "13:00"): (30, 60)}
    assert balances(line) == {A: -100}
    assert_audited(line, served, "12", "13")


def test_a_fact_without_a_ledger_entry_is_found_and_charged(line: Line) -> None:
    """Elsewhere an hour whose rating never ran is forgotten, and the next one gets its quota."""
    served = readings(("12:00:03", 0, 0), ("12:01:03", 60, 60), ("13:00:03", 90, 60))
    line.serve(served)
    line.collected("12", "13")

    line.rate("2026-04-08T13", "2026-04-08T14")
    assert charged(line) == {(A, "13:00"): (30, 60)}

    result = reconcile_hours(line.engine, HourRange(hour_of("12"), hour_of("14")))

    assert result.clean
    repaired = [(check.hour, check.check) for check in result.checks if check.status == "repaired"]
    assert repaired == [("2026-04-08T12", "facts_ratings")]
    assert charged(line) == {(A, "12:00"): (20, 40), (A, "13:00"): (30, 60)}
    assert_audited(line, served, "12", "13")


# --- whose counter it is -----------------------------------------------------------------------


def test_environments_of_one_node_name_never_mix(line: Line) -> None:
    """Elsewhere the node's name alone is the key: prod and dev take turns to reset each other."""
    served = [
        snapshot("11:59:03", sample(A, 1_000, 0)),
        snapshot("11:59:04", sample(A, 5, 0), env="dev"),
        snapshot("12:00:03", sample(A, 1_010, 0)),
        snapshot("12:00:03", sample(A, 9, 0), env="dev"),
        snapshot("12:01:03", sample(A, 1_200, 0)),
        snapshot("13:00:03", sample(A, 1_201, 0)),
        snapshot("13:00:03", sample(A, 2, 0), env="dev"),  # dev alone restarts
    ]
    line.serve(served)

    line.collected("13")
    line.collected("12")

    assert sorted((fact.minute, fact.up, fact.is_reset) for fact in facts(line)) == [
        ("12:00", 4, False),
        ("12:00", 10, False),
        ("12:01", 190, False),
        ("13:00", 1, False),
        ("13:00", 2, True),
    ]
    assert resets(line) == [("13:00:03", "node_restart", 9, 0)]
    assert_audited(line, served, "12", "13")


def test_a_node_that_is_not_the_expected_one_fails_its_source_alone(line: Line) -> None:
    """Elsewhere a wrong address bills another node's accounts, or one bad source stops them all."""
    of_jp = readings(("11:59:03", 0, 0), ("12:00:03", 4, 6))
    of_us = [
        snapshot("11:59:03", sample(B, 0, 0), node="node-9"),
        snapshot("12:00:03", sample(B, 1, 2), node="node-9"),
    ]
    line.serve(of_jp, expected_node_id="node-2")
    line.serve(of_us, source_id="us-1", expected_node_id="node-9")

    ((source_id, hour, error),) = line.collect("12").failures

    assert (source_id, str(hour)) == ("jp-1", "2026-04-08T12")
    assert "'node-2'" in error
    assert "'node-1'" in error
    assert [(fact.account, fact.up + fact.down) for fact in facts(line)] == [(B, 3)]
    assert (state(line, "12"), state(line, "12", "us-1")) == (None, "partial")
    assert line.rows("select node_id from billing_core.nodes") == [("node-9",)]

    line.serve(of_jp, expected_node_id="node-1")
    line.collected("12")
    line.rate()

    assert [(fact.account, fact.up + fact.down) for fact in facts(line)] == [(A, 10), (B, 3)]
    assert_as_audited(line, {"jp-1": of_jp, "us-1": of_us}, {"jp-1": ["12"], "us-1": ["12"]})


# --- one series among many ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(-1, id="negative"),
        pytest.param(1.5, id="fraction"),
        pytest.param("25", id="text"),
        pytest.param(2**64, id="beyond 64 bits"),
    ],
)
def test_one_invalid_sample_among_valid_ones_costs_nobody_a_byte(bad: object, line: Line) -> None:
    """Elsewhere one bad sample rejects its page, or is read as zero: a reset, a lifetime billed."""
    served = [
        snapshot("12:00:03", sample(A, 0, 0), sample(B, 500, 0), sample(C, 0, 0)),
        snapshot("12:01:03", sample(A, 10, 0), sample(B, bad, 0), sample(C, 1, 0)),
        snapshot("12:02:03", sample(A, 20, 0), sample(B, 530, 0), sample(C, 2, 0)),
    ]
    line.serve(served)

    line.collected("12")

    assert [fact for fact in facts(line) if fact.account == B] == [
        Fact("12:02", B, "tcp", "node-1", 30, 0, 2, False)
    ]
    assert usage(line) == {"12:01": 10 + 1, "12:02": 10 + 30 + 1}
    assert resets(line) == []
    counts = source_hour(line, "12")
    assert (counts["samples"], counts["used"], counts["quarantined"]) == (9, 5, 1)
    assert_audited(line, served, "12")


def test_inbounds_keep_counters_of_their_own_over_several_rounds(line: Line) -> None:
    """Elsewhere totals are kept per account: the inbound read last resets all the others."""
    rounds = [
        ("11:59:03", (900, 10, 0)),
        ("12:00:03", (910, 15, 0)),
        ("12:01:03", (910, 25, 7)),
        ("12:02:03", (920, 3, 8)),  # `xhttp` alone falls
        ("13:00:03", (921, 4, 9)),
    ]
    served = [
        snapshot(at, *(sample(A, up, 0, tag) for up, tag in zip(ups, TAGS, strict=True)))
        for at, ups in rounds
    ]
    for seen in range(2, len(served) + 1):
        line.serve(served[:seen])
        line.collected("12")
    line.collected("13", "12")

    assert {(fact.minute, fact.tag): fact.up for fact in facts(line)} == {
        ("12:00", "tcp"): 10, ("12:00", "xhttp"): 5,
        ("12:01", "xhttp"): 10, ("12:01", ""): 7,
        ("12:02", "tcp"): 10, ("12:02", "xhttp"): 3, ("12:02", ""): 1,
        ("13:00", "tcp"): 1, ("13:00", "xhttp"): 1, ("13:00", ""): 1,
    }  # fmt: skip
    assert resets(line) == [("12:02:03", "single_series", 25, 0)]
    assert_audited(line, served, "12", "13")


TAGS = ("tcp", "xhttp", "")


@pytest.mark.parametrize("order", [("12", "13"), ("13", "12")], ids=["in order", "out of order"])
def test_an_inbound_that_stops_reporting_is_no_reset_and_loses_nothing(
    order: tuple[str, str], line: Line
) -> None:
    """Elsewhere a missing inbound reads as zero: a false reset now, its lifetime on return."""
    served = [
        both_inbounds("12:57:03", 0, 5_000),
        both_inbounds("12:58:03", 1, 5_010),
        *(both_inbounds(f"{at}:03", 1, None) for at in ("12:59", "13:00", "13:01", "13:02")),
        both_inbounds("13:03:03", 2, 5_060),
        both_inbounds("13:04:03", 2, 5_061),
    ]
    line.serve(served)

    for hour in order:
        line.collected(hour)

    assert facts(line) == [
        Fact("12:58", A, "tcp", "node-1", 1, 0, 1, False),
        Fact("12:58", A, "xhttp", "node-1", 10, 0, 1, False),
        Fact("13:03", A, "tcp", "node-1", 1, 0, 1, False),
        Fact("13:03", A, "xhttp", "node-1", 50, 0, 5, False),
        Fact("13:04", A, "xhttp", "node-1", 1, 0, 1, False),
    ]
    assert resets(line) == []
    assert gaps(line) == [("series_absent", "12:58:03", "13:03:03", 50)]
    assert_audited(line, served, "12", "13")


# --- first sight -------------------------------------------------------------------------------


def test_an_old_counter_of_a_new_node_is_not_billed_its_lifetime(line: Line) -> None:
    """Elsewhere the first total ever seen is a delta from zero: years of bytes on one bill."""
    served = readings(
        ("12:00:03", FIVE_TERABYTES, FIVE_TERABYTES),
        ("12:01:03", FIVE_TERABYTES + 4, FIVE_TERABYTES + 6),
    )
    line.serve(served)

    line.collected("12")

    assert usage(line) == {"12:01": 10}
    assert source_hour(line, "12")["baselines"] == 1
    assert_audited(line, served, "12")


def test_an_old_counter_that_turns_up_on_a_known_node_is_a_finding_not_a_charge(
    line: Line,
) -> None:
    """Elsewhere an account that moves in with an old counter pays for all of it at once.

    5 TB in the 60 seconds since the node was last seen without it are 667 Gbit/s.
    """
    served = [
        snapshot("12:00:03", sample(A, 0, 0)),
        snapshot("12:01:03", sample(A, 1, 0), sample(B, FIVE_TERABYTES, 0), sample(C, 70, 7)),
        snapshot("12:02:03", sample(A, 2, 0), sample(B, FIVE_TERABYTES + 30, 0), sample(C, 70, 7)),
    ]
    line.serve(served)

    line.collected("12")

    assert [(fact.minute, fact.account, fact.up + fact.down) for fact in facts(line)] == [
        ("12:01", A, 1),
        ("12:01", C, 77),  # a birth that is plausible is usage
        ("12:02", A, 1),
        ("12:02", B, 30),
    ]
    assert finding_kinds(line) == ["implausible_birth"]
    assert_audited(line, served, "12")


# --- 64 bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "bytes_used"),
    [
        pytest.param((LIMIT - 5, 5), LIMIT, id="the largest sum"),
        pytest.param((LIMIT, 0), LIMIT, id="the largest total"),
        pytest.param((2**53 + 1, 2**53 + 2), 2**54 + 3, id="what a float cannot hold"),
        pytest.param((LIMIT, 1), None, id="one more is quarantined"),
    ],
)
def test_totals_at_the_limit_of_64_bits_are_exact(
    total: tuple[int, int], bytes_used: int | None, line: Line
) -> None:
    """Elsewhere floats drop the last bytes, and sums beyond 2^63 turn negative."""
    served = readings(("11:59:03", 0, 0), ("12:00:03", *total))
    line.serve(served)

    line.collected("12")
    assert_audited(line, served, "12")

    if bytes_used is None:
        assert usage(line) == {}
        assert source_hour(line, "12")["quarantined"] == 1
        return
    assert [(fact.up, fact.down) for fact in facts(line)] == [total]
    charge = 2 * (bytes_used - 100)
    assert ledger(line) == [
        Entry("12:00", A, "traffic_charge", bytes_used - 100, charge, "usage")  # type: ignore[arg-type]
    ]
    for view in ("usage_minutes", "usage_hours", "usage_days"):
        assert line.rows(f"select total_bytes, amount from billing.{view}") == [
            (bytes_used, charge)
        ]
    assert line.rows("select bytes, amount, balance from billing.account_months") == [
        (bytes_used, charge, -charge)
    ]
    assert reconcile_hours(line.engine, HourRange(hour_of("12"), hour_of("13"))).clean


def test_a_day_beyond_64_bits_shows_the_limit_and_keeps_nobody_from_reading(line: Line) -> None:
    """Elsewhere one counter gone mad makes every query of the day fail; its amount stays exact."""
    served = readings(("11:59:03", 0, 0), ("12:00:03", LIMIT, 0), ("13:00:03", 7, 0))
    served += readings(("13:01:03", LIMIT, 0))
    served += readings(("11:59:03", 0, 0), ("12:00:03", 50, 0), account=B)
    line.serve(served)

    line.collected("12", "13")
    assert_audited(line, served, "12", "13")

    for relation in ("usage_days", "account_months"):
        name = "total_bytes" if relation == "usage_days" else "bytes"
        found = line.rows(f"select {name}, amount from billing.{relation} order by 1")
        assert found == [(50, 0), (LIMIT, 2 * (2 * LIMIT - 100))]
    assert reconcile_hours(line.engine, HourRange(hour_of("12"), hour_of("14"))).clean


def deliver_to(line: Line, bucket: str, object_store: EmbeddedObjectStore) -> None:
    line.settings |= {
        "s3_enabled": True,
        "s3_bucket": bucket,
        "s3_endpoint_url": object_store.endpoint_url,
    }


def test_the_largest_quantity_and_its_correction_are_delivered_to_the_byte(
    line: Line, s3: Any, bucket: str, object_store: EmbeddedObjectStore
) -> None:
    """Elsewhere numbers beyond 2^53 are rounded on their way, or a difference of them overflows.

    A late snapshot moves all bytes but three from 12:05 to 12:02: a correction of 3 - (2^63-1).
    """
    deliver_to(line, bucket, object_store)
    served = readings(("12:00:03", 0, 0), ("12:02:03", LIMIT - 3, 0), ("12:05:03", LIMIT, 0))
    noon = HourRange(hour_of("12"), hour_of("13"))
    for seen in ([served[0], served[2]], served):
        line.serve(seen)
        line.collected("12")
        line.rate()
        deliver_hours(line.engine, noon)

    changes = [
        json.loads(event)
        for (payload,) in line.rows(
            "select payload from billing_core.batches where kind = 'events' order by batch_id"
        )
        for event in decompress(payload).splitlines()
    ]

    assert [(change["timestamp"][11:16], change["properties"]["usage"]) for change in changes] == [
        ("12:05", LIMIT),
        ("12:02", LIMIT - 3),
        ("12:05", 3 - LIMIT),
    ]
    assert {check.status for check in reconcile_hours(line.engine, noon).checks} == {"clean"}


def test_a_period_beyond_64_bits_is_rated_and_holds_nobody_back(line: Line) -> None:
    """Elsewhere the carry of the quota overflows: included bytes turn negative, or rating stops."""
    served = [
        snapshot("11:59:03", sample(A, 0, 0), sample(B, 0, 0)),
        snapshot("12:00:03", sample(A, LIMIT, 0), sample(B, 0, 0)),
        snapshot("13:00:03", sample(A, 0, 0), sample(B, 60, 0)),
        snapshot("13:01:03", sample(A, LIMIT, 0), sample(B, 120, 0)),
        snapshot("14:00:03", sample(A, 3, 0), sample(B, 130, 0)),
        snapshot("15:00:03", sample(A, 7, 0), sample(B, 131, 0)),
    ]
    line.serve(served)
    line.collected("12", "13", "14", "15")

    assert_audited(line, served, "12", "13", "14", "15")

    assert charged(line) == {
        (A, "12:00"): (LIMIT - 100, 2 * (LIMIT - 100)),
        (A, "13:00"): (LIMIT, 2 * LIMIT),
        (A, "14:00"): (3, 6),
        (A, "15:00"): (4, 8),
        (B, "13:00"): (20, 40),
        (B, "14:00"): (10, 20),
        (B, "15:00"): (1, 2),
    }
    assert reconcile_hours(line.engine, HourRange(hour_of("12"), hour_of("16"))).clean


def flapping(*instants: str) -> list[JSON]:
    """A counter that jumps to the limit and back to zero, in turn."""
    return readings(*((at, LIMIT * (turn % 2), 0) for turn, at in enumerate(instants)))


@pytest.mark.parametrize(
    "served",
    [
        pytest.param(
            flapping("12:00:03", "12:01:03", "12:01:13", "12:01:23"), id="a minute of a series"
        ),
        pytest.param(
            flapping("12:00:03", "12:01:03", "12:02:03", "12:03:03"), id="an hour of an account"
        ),
        pytest.param(
            [
                snapshot("12:00:03", sample(A, 0, 0)),
                snapshot("12:01:03", sample(A, LIMIT, 0), sample(A, 0, LIMIT)),
            ],
            id="both counters of two samples",
        ),
    ],
)
def test_a_sum_that_64_bits_cannot_hold_fails_its_hour_and_never_wraps(
    served: list[JSON], line: Line
) -> None:
    """Elsewhere such a sum wraps to a negative one and vanishes, or is stored as it is."""
    later = readings(("14:00:03", 7, 0), ("14:01:03", 9, 0))
    line.serve([*served, *later])

    summary = line.collect("12", "14")

    ((source_id, hour, error),) = summary.failures
    assert (source_id, hour) == ("jp-1", hour_of("12"))
    assert "jp-1, hour 2026-04-08T12" in error
    assert "\n" not in error
    assert usage(line) == {"14:01": 2}
    assert state(line, "12") is None


@pytest.mark.parametrize(
    "before",
    [pytest.param("12:00:03", id="within the hour"), pytest.param("11:55:03", id="before it")],
)
def test_accounts_that_are_beyond_64_bits_together_are_billed_and_delivered_each(
    before: str, line: Line, s3: Any, bucket: str, object_store: EmbeddedObjectStore
) -> None:
    """Elsewhere a sum over all accounts turns negative, or stops the hour for all of them.

    A gap only informs: it says 2^63-1.
    """
    deliver_to(line, bucket, object_store)
    line.serve(
        [
            snapshot(before, sample(A, 0, 0), sample(B, 0, 0)),
            snapshot("12:05:03", sample(A, LIMIT, 0), sample(B, 0, LIMIT)),
        ]
    )

    line.collected("12")
    line.rate()

    assert [(fact.account, fact.up, fact.down) for fact in facts(line)] == [
        (A, LIMIT, 0),
        (B, 0, LIMIT),
    ]
    assert gaps(line) == [("exporter_down", before, "12:05:03", LIMIT)]
    assert charged(line) == {
        (A, "12:00"): (LIMIT - 100, 2 * (LIMIT - 100)),
        (B, "12:00"): (LIMIT - 100, 2 * (LIMIT - 100)),
    }
    noon = HourRange(hour_of("12"), hour_of("13"))
    deliver_hours(line.engine, noon)
    batches = "select net_quantity from billing_core.batches where kind = 'events'"
    assert line.rows(batches) == [(LIMIT,), (LIMIT,)]
    assert {check.status for check in reconcile_hours(line.engine, noon).checks} == {"clean"}
