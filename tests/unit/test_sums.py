"""Deltas of an hour summed per series and minute; invariant 1: bytes are conserved."""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing_etl.counters import (
    CounterPolicy,
    FirstDeltas,
    FirstSamples,
    HourDeltas,
    HourSamples,
    MinuteFacts,
    SampleCollector,
    judge_first_deltas,
)
from billing_etl.counters.samples import SeriesEvents
from billing_etl.errors import TerminalError
from billing_etl.hours import NS_PER_MINUTE, NS_PER_SECOND, parse_hour
from billing_etl.records import BoolArray, Int64Array, Snapshot

START_NS = parse_hour("2026-04-08T12").start_ns
MINUTE = START_NS // NS_PER_MINUTE
POLICY = CounterPolicy()
ACCOUNTS = [f"3f2b0a1c-0000-4000-8000-00000000000{letter}" for letter in "abc"]


@dataclass
class Hour:
    """An hour with what stood before it, and its deltas."""

    samples: HourSamples
    firsts: FirstSamples
    judged: FirstDeltas
    deltas: HourDeltas
    facts: list[MinuteFacts]


def hour_of(
    readings: list[tuple[float, dict[int, tuple[int, int]]]],
    before: dict[int, tuple[int, int]] | None = None,
    first_sight: str = "auto",
    policy: CounterPolicy | None = None,
    block_samples: int = 100,
) -> Hour:
    """Readings: seconds into the hour, totals by account number. ``before``: a minute earlier."""
    collector = SampleCollector(block_samples)
    for seconds, totals in readings:
        collector.add(
            Snapshot(
                START_NS + int(seconds * NS_PER_SECOND),
                "prod",
                "node-1",
                [ACCOUNTS[number] for number in totals],
                ["tcp"] * len(totals),
                [up for up, _ in totals.values()],
                [down for _, down in totals.values()],
                [],
            )
        )
    samples = collector.finish()
    first = samples.first
    accounts = [samples.series_keys[series].account_uuid for series in first.series.tolist()]
    known = {ACCOUNTS[number]: totals for number, totals in (before or {}).items()}
    before_ns = START_NS - NS_PER_MINUTE
    snapshot_prev_ns = np.concatenate([[before_ns if before else 0], samples.snapshot_ns[:-1]])
    nonempty_at = int(np.argmax(samples.snapshot_samples > 0)) if len(first.series) else 0

    def column(values: list[int]) -> Int64Array:
        return np.array(values, dtype=np.int64)

    firsts = FirstSamples(
        first_ns=first.instant_ns,
        first_uplink=first.uplink,
        first_downlink=first.downlink,
        prev_ns=column([before_ns * (account in known) for account in accounts]),
        prev_uplink=column([known.get(account, (0, 0))[0] for account in accounts]),
        prev_downlink=column([known.get(account, (0, 0))[1] for account in accounts]),
        node_prev_ns=snapshot_prev_ns[first.snapshot],
        appeared=(first.snapshot > nonempty_at) | np.full(len(first.series), bool(before)),
    )
    # No total is too fast for it, not even all of a counter within a millisecond.
    policy = policy or CounterPolicy(first_sight=first_sight, max_bits_per_second=2**80)  # type: ignore[arg-type]
    judged = judge_first_deltas(firsts, policy)
    deltas = HourDeltas(samples, judged, snapshot_prev_ns, policy)
    moved = [deltas.facts_of(block) for block in samples.blocks()]
    return Hour(samples, firsts, judged, deltas, moved)


def facts(hour: Hour) -> list[tuple[int, int, int, int, int, bool]]:
    """Account number, minute of the hour, up, down, span, reset."""
    return sorted(
        (ACCOUNTS.index(hour.samples.series_keys[series].account_uuid), minute - MINUTE, *rest)
        for of_block in hour.facts
        for series, minute, *rest in zip(
            of_block.series.tolist(),
            of_block.minute.tolist(),
            of_block.uplink.tolist(),
            of_block.downlink.tolist(),
            of_block.spans_minutes.tolist(),
            of_block.is_reset.tolist(),
            strict=True,
        )
    )


def events(of: SeriesEvents) -> list[tuple[int, int, int, int]]:
    """Series, from, until, bytes."""
    columns = (of.series, of.from_ns, of.until_ns, of.quantity)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_the_worked_example() -> None:
    hour = hour_of(
        [
            (3, {0: (510, 1030)}),
            (63, {0: (510, 1030)}),
            (123, {0: (540, 1100)}),
            (183, {0: (7, 13)}),
            (543, {0: (10, 20)}),
        ],
        before={0: (500, 1000)},
    )

    assert facts(hour) == [
        (0, 0, 10, 30, 1, False),
        (0, 2, 30, 70, 1, False),
        (0, 3, 7, 13, 1, True),
        (0, 9, 3, 7, 6, False),
    ]


def test_the_last_sample_of_a_series_is_no_predecessor_of_the_next_series() -> None:
    hour = hour_of([(3, {0: (900, 0), 1: (5, 0)}), (63, {0: (901, 0), 1: (7, 0)})])

    assert facts(hour) == [(0, 1, 1, 0, 1, False), (1, 1, 2, 0, 1, False)]
    assert len(hour.deltas.resets.series) == 0


def test_counts_per_snapshot_leave_the_first_deltas_out() -> None:
    hour = hour_of(
        [(3, {0: (9, 0), 1: (9, 0)}), (63, {0: (1, 0), 1: (10, 0)})], before={0: (0, 0), 1: (0, 0)}
    )

    assert hour.deltas.compared.tolist() == [0, 2]
    assert hour.deltas.fell.tolist() == [0, 1]
    assert hour.deltas.quantity.tolist() == [0, 2]


def test_totals_beyond_what_a_float_holds_are_exact_from_block_to_block() -> None:
    large = 2**60 + 1
    readings = [(60.0 * minute, {0: (large + minute, large)}) for minute in range(6)]
    hour = hour_of(readings, before={0: (large, large)}, block_samples=1)

    assert len(hour.facts) > 2
    assert [fact[1:4] for fact in facts(hour)] == [(minute, 1, 0) for minute in range(1, 6)]


def test_a_reset_later_in_the_minute_of_the_first_sample_is_known() -> None:
    within = hour_of([(3, {0: (9, 0)}), (33, {0: (1, 0)})], before={0: (0, 0)})
    after = hour_of([(3, {0: (9, 0)}), (63, {0: (1, 0)})], before={0: (0, 0)})

    assert within.deltas.reset_after_first.tolist() == [True]
    assert after.deltas.reset_after_first.tolist() == [False]
    assert facts(within) == [(0, 0, 10, 0, 1, True)]


def test_a_reset_is_known_at_the_first_sample_of_its_own_series() -> None:
    hour = hour_of(
        [(3, {0: (9, 0), 1: (9, 0), 2: (9, 0)}), (33, {0: (10, 0), 1: (1, 0), 2: (10, 0)})],
        before={0: (0, 0), 1: (0, 0), 2: (0, 0)},
    )

    assert hour.deltas.reset_after_first.tolist() == [False, True, False]


def test_both_counters_of_a_delta_add_up_and_count_for_its_snapshot() -> None:
    hour = hour_of([(3, {0: (1, 1)}), (63, {0: (3, 8)}), (123, {})], before={0: (0, 0)})

    assert hour.deltas.quantity.tolist() == [0, 9, 0]
    assert hour.deltas.compared.tolist() == [0, 1, 0]
    assert hour.deltas.fell.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("seconds", "between", "up", "absent"),
    [
        pytest.param(153, 63, 1, False, id="2.5 intervals"),
        pytest.param(154, 63, 1, True, id="more, and the node was seen meanwhile"),
        pytest.param(154, None, 1, False, id="the node was not seen either"),
        pytest.param(154, 63, 0, False, id="no bytes after it"),
    ],
)
def test_a_series_that_was_absent_within_the_hour(
    seconds: int, between: int | None, up: int, absent: bool
) -> None:
    meanwhile = [(between, {1: (0, 0)})] if between else []
    hour = hour_of([(3, {0: (5, 5)}), *meanwhile, (seconds, {0: (5 + up, 5)})], before={0: (5, 5)})

    absences = hour.deltas.absences
    expected = [(0, START_NS + 3 * NS_PER_SECOND, START_NS + seconds * NS_PER_SECOND, 1)]
    assert events(absences) == (expected if absent else [])


@pytest.mark.parametrize(("up", "exceeded"), [(7500, []), (7501, [7501])])
def test_a_delta_within_the_hour_above_the_rate_is_billed_and_marked(
    up: int, exceeded: list[int]
) -> None:
    policy = CounterPolicy(max_bits_per_second=1000)
    hour = hour_of([(3, {0: (0, 0)}), (63, {0: (up, 0)})], before={0: (0, 0)}, policy=policy)

    assert facts(hour) == [(0, 1, up, 0, 1, False)]
    assert hour.deltas.exceeded.quantity.tolist() == exceeded


def test_the_first_delta_is_not_marked_a_second_time() -> None:
    """``judge_first_deltas`` does that."""
    hour = hour_of([(3, {0: (2**40, 0)})], before={0: (0, 0)}, policy=CounterPolicy())

    assert hour.judged.rate_exceeded.tolist() == [True]
    assert events(hour.deltas.exceeded) == []


def test_only_deltas_within_the_hour_are_asked_for_their_rate() -> None:
    """A first sample has no predecessor in the hour; judging its rate is slow, and thrown away."""

    class Policy(CounterPolicy):
        asked: ClassVar[list[tuple[int, int]]] = []

        def exceeds_rate(self, quantity_bytes: Int64Array, elapsed_ns: Int64Array) -> BoolArray:
            self.asked.extend(zip(quantity_bytes.tolist(), elapsed_ns.tolist(), strict=True))
            return super().exceeds_rate(quantity_bytes, elapsed_ns)

    hour_of([(3, {0: (9, 0), 1: (5, 0)}), (63, {0: (16, 0), 1: (5, 3)})], policy=Policy())

    # First sights, then first deltas, which `judge_first_deltas` asks for; then these two.
    assert Policy.asked[-2:] == [(7, NS_PER_MINUTE), (3, NS_PER_MINUTE)]
    assert len(Policy.asked) == 6


HALF = 2**62


def test_bytes_of_a_minute_up_to_the_limit_are_facts() -> None:
    hour = hour_of([(3, {0: (HALF, HALF - 1)}), (33, {0: (HALF, HALF - 1)})], first_sight="charge")

    assert facts(hour) == [(0, 0, HALF, HALF - 1, 1, False)]


def test_bytes_of_a_minute_beyond_the_limit_are_refused() -> None:
    """A full counter, and after a restart within the minute another one."""
    full, fallen = (HALF, HALF - 1), (HALF - 1, HALF)
    with pytest.raises(TerminalError) as caught:
        hour_of([(63, {0: (1, 0), 1: full}), (93, {0: (2, 0), 1: fallen})], first_sight="charge")

    assert str(caught.value).startswith(
        f"prod/node-1 {ACCOUNTS[1]} tcp, minute 2026-04-08T12:01:00Z: expected at most "
        f"{2**63 - 1} bytes in sum, got {2**64 - 2};"
    )


def test_bytes_of_a_snapshot_beyond_the_limit_are_told_as_the_limit() -> None:
    full, empty = (HALF, HALF - 1), (0, 0)
    hour = hour_of([(3, {0: empty, 1: empty}), (63, {0: full, 1: full}), (123, {0: full})])

    assert hour.deltas.quantity.tolist() == [0, 2**63 - 1, 0]


@pytest.mark.parametrize("readings", [[], [(3, {})]], ids=["no snapshot", "an empty one"])
def test_an_hour_without_samples_has_nothing(
    readings: list[tuple[float, dict[int, tuple[int, int]]]],
) -> None:
    hour = hour_of(readings)

    assert facts(hour) == []
    deltas = hour.deltas
    assert events(deltas.absences) == events(deltas.exceeded) == []
    assert (len(deltas.resets.series), len(deltas.reset_after_first)) == (0, 0)
    for per_snapshot in (deltas.compared, deltas.fell, deltas.quantity):
        assert per_snapshot.tolist() == [0] * len(readings)


@pytest.mark.parametrize("readings", [[], [(3, {0: (1, 0)}), (4, {0: (2, 0)})]])
def test_deltas_are_whole_numbers_and_marks(
    readings: list[tuple[float, dict[int, tuple[int, int]]]],
) -> None:
    hour = hour_of(readings)

    for field in fields(MinuteFacts):
        expected = np.bool_ if field.name == "is_reset" else np.int64
        assert getattr(hour.facts[0], field.name).dtype == expected, field.name
    deltas = hour.deltas
    assert deltas.reset_after_first.dtype == np.bool_
    for numbers in (deltas.compared, deltas.fell, deltas.quantity, deltas.resets.series):
        assert numbers.dtype == np.int64


# --- properties --------------------------------------------------------------------------------

# Large, but twelve of them still add up to a 63-bit integer.
TOTAL = st.integers(0, 2**58)
READING = st.dictionaries(st.integers(0, 2), st.tuples(TOTAL, TOTAL), max_size=3)
READINGS = st.lists(
    st.tuples(st.integers(0, 3_599_999), READING),
    max_size=12,
    unique_by=lambda each: each[0],
).map(lambda rows: sorted((milliseconds / 1000, totals) for milliseconds, totals in rows))
BEFORE = st.dictionaries(st.integers(0, 2), st.tuples(TOTAL, TOTAL), max_size=3)


@given(READINGS, BEFORE, st.sampled_from(["auto", "charge", "baseline"]))
@example([(2.007, {}), (2.048, {0: (0, 0), 1: (0, 2**57)})], {0: (0, 0)}, "auto")
def test_bytes_are_conserved_per_series(
    readings: list[tuple[float, dict[int, tuple[int, int]]]],
    before: dict[int, tuple[int, int]],
    first_sight: str,
) -> None:
    """Invariant 1: facts = last - predecessor of the first + totals standing before each reset."""
    hour = hour_of(readings, before, first_sight)

    for number in range(3):
        line = [totals[number] for _, totals in readings if number in totals]
        if not line:
            continue
        first_seen = next(at for at, (_, totals) in enumerate(readings) if number in totals)
        known_before = first_seen > 0 and any(totals for _, totals in readings[:first_seen])
        if number in before:
            line = [before[number], *line]
        elif first_sight == "charge" or (first_sight == "auto" and (before or known_before)):
            line = [(0, 0), *line]
        for counter in (0, 1):
            conserved = line[-1][counter] - line[0][counter]
            for earlier, later in pairwise(line):
                if later[0] < earlier[0] or later[1] < earlier[1]:
                    conserved += earlier[counter]
            assert sum(fact[2 + counter] for fact in facts(hour) if fact[0] == number) == conserved


@given(READINGS, BEFORE)
def test_facts_are_sparse_positive_and_within_the_hour(
    readings: list[tuple[float, dict[int, tuple[int, int]]]], before: dict[int, tuple[int, int]]
) -> None:
    found = facts(hour_of(readings, before))

    keys = [(number, minute) for number, minute, *_ in found]
    assert len(set(keys)) == len(keys)
    for _, minute, up, down, span, _ in found:
        assert 0 <= minute < 60
        assert min(up, down) >= 0
        assert up + down > 0
        assert 1 <= span <= 61


def test_some_of_an_hours_facts_and_their_bytes() -> None:
    readings = [(60.0 * minute, {0: (5 * minute, minute), 1: (minute, 0)}) for minute in range(3)]
    (all_of_them,) = hour_of(readings, before={0: (0, 0), 1: (0, 0)}).facts
    later = all_of_them.at(all_of_them.minute > MINUTE + 1)

    assert all_of_them.total == 14
    assert (later.series.tolist(), later.total) == ([0, 1], 7)
    assert (later.uplink.tolist(), later.downlink.tolist()) == ([5, 1], [1, 0])
    assert later.spans_minutes.tolist() == [1, 1]
    assert all_of_them.at(np.ones(4, dtype=np.bool_)) is all_of_them
