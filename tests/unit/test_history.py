"""Classes of resets, gaps and findings, from first deltas and what was counted (C5, C7, C9)."""

from dataclasses import replace

import numpy as np
import pytest

from billing_etl.counters import CounterPolicy, FirstDeltas, FirstSamples, judge_first_deltas
from billing_etl.counters.history import (
    Gap,
    Resets,
    SeriesFinding,
    Snapshots,
    first_findings,
    first_gaps,
    first_resets,
    node_gaps,
    reset_classes,
    reset_findings,
)
from billing_etl.hours import NS_PER_SECOND, parse_instant_ns
from billing_etl.records import Int64Array

NOON_NS = parse_instant_ns("2026-04-08T12:00:03Z")
GAP_NS = 150 * NS_PER_SECOND
# What a first sample may be; each a minute after its predecessor, but for the births.
FELL, GREW, BORN, IMPLAUSIBLE, FAST = "fell", "grew", "born", "implausible", "fast"
TOTALS = {FELL: (2, 3), GREW: (12, 25), BORN: (1, 2), IMPLAUSIBLE: (7000, 501), FAST: (7000, 531)}


def column(*values: int) -> Int64Array:
    return np.array(values, dtype=np.int64)


def firsts_of(*kinds: str, node_seconds_ago: int = 60) -> tuple[FirstSamples, FirstDeltas]:
    """First samples at noon; 1,000 bit/s are 7,500 bytes a minute."""
    has_predecessor = column(*(kind not in (BORN, IMPLAUSIBLE) for kind in kinds))
    samples = FirstSamples(
        first_ns=column(*(NOON_NS for _ in kinds)),
        first_uplink=column(*(TOTALS[kind][0] for kind in kinds)),
        first_downlink=column(*(TOTALS[kind][1] for kind in kinds)),
        prev_ns=(NOON_NS - 60 * NS_PER_SECOND) * has_predecessor,
        prev_uplink=10 * has_predecessor,
        prev_downlink=20 * has_predecessor,
        node_prev_ns=column(*(NOON_NS - node_seconds_ago * NS_PER_SECOND for _ in kinds)),
        appeared=has_predecessor == 0,
    )
    return samples, judge_first_deltas(samples, CounterPolicy(max_bits_per_second=1000))


def snapshots_of(
    compared: tuple[int, ...], fell: tuple[int, ...], seconds: tuple[int, ...] = ()
) -> Snapshots:
    """Snapshots of node 7 at noon and after it; ``seconds`` lie between each and its former."""
    waits = column(*(seconds or (60,) * len(compared))) * NS_PER_SECOND
    instant_ns = NOON_NS + np.cumsum(waits) - waits[:1]
    return Snapshots(
        node_key=column(*(7 for _ in compared)),
        instant_ns=instant_ns,
        prev_ns=instant_ns - waits,
        compared=column(*compared),
        fell=column(*fell),
        quantity=column(*(100 * (1 + at) for at in range(len(compared)))),
    )


def resets_at(*snapshots: int) -> Resets:
    """A reset per series 1, 2, 3... in that snapshot, from (50, 60) to (5, 6) and onwards."""
    number = np.arange(len(snapshots))
    return Resets(
        series_id=number + 1,
        snapshot=column(*snapshots),
        instant_ns=NOON_NS + column(*snapshots),
        uplink_before=number + 50,
        downlink_before=number + 60,
        uplink_after=number + 5,
        downlink_after=number + 6,
    )


# --- classes of resets ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compared", "fell", "restart"),
    [
        pytest.param(1, 1, True, id="the only one"),
        pytest.param(2, 1, False, id="exactly half"),
        pytest.param(3, 2, True, id="more than half"),
        pytest.param(3, 1, False, id="less than half"),
        pytest.param(4, 2, False, id="half of four"),
        pytest.param(5, 3, True, id="three of five"),
    ],
)
def test_a_node_restarted_when_most_of_its_series_fell(
    compared: int, fell: int, restart: bool
) -> None:
    snapshots = snapshots_of((9, compared), (0, fell))

    classes = reset_classes(resets_at(1), snapshots, column(), firsts_of()[1])

    assert classes.tolist() == [restart]


@pytest.mark.parametrize(
    ("kinds", "restart"),
    [
        pytest.param([FELL], True, id="two of three fell"),
        pytest.param([FELL, GREW], False, id="two of four"),
        pytest.param([FELL, BORN], True, id="a birth cannot be compared"),
        pytest.param([GREW, GREW], False, id="one of four"),
        pytest.param([FELL, FELL, GREW], True, id="three of five"),
        pytest.param([IMPLAUSIBLE, FELL], True, id="neither can an implausible one"),
    ],
)
def test_first_deltas_count_in_the_snapshot_they_belong_to(kinds: list[str], restart: bool) -> None:
    """Within the hour, one of two series fell."""
    snapshots = snapshots_of((2, 2), (1, 1))
    in_second = column(*(1 for _ in kinds))

    classes = reset_classes(resets_at(0, 1), snapshots, in_second, firsts_of(*kinds)[1])

    assert classes.tolist() == [False, restart]


def test_counting_leaves_the_snapshots_as_they_were() -> None:
    snapshots, (_, judged) = snapshots_of((2, 2), (1, 1), (60, 600)), firsts_of(FELL, FAST)
    reset_classes(resets_at(0), snapshots, column(0, 1), judged)
    node_gaps(snapshots, column(0, 1), judged, GAP_NS)

    assert snapshots.compared.tolist() == [2, 2]
    assert snapshots.fell.tolist() == [1, 1]
    assert snapshots.quantity.tolist() == [100, 200]


def test_resets_of_first_deltas_are_told_with_both_totals() -> None:
    samples, judged = firsts_of(GREW, FELL, BORN)

    resets = first_resets(column(4, 5, 6), column(0, 1, 2), samples, judged)

    assert {name: getattr(resets, name).tolist() for name in resets.__dataclass_fields__} == {
        "series_id": [5],
        "snapshot": [1],
        "instant_ns": [NOON_NS],
        "uplink_before": [10],
        "downlink_before": [20],
        "uplink_after": [2],
        "downlink_after": [3],
    }


def test_resets_are_joined_in_order() -> None:
    joined = resets_at(0, 1).and_also(resets_at(5))

    assert joined.series_id.tolist() == [1, 2, 1]
    assert joined.snapshot.tolist() == [0, 1, 5]
    assert joined.instant_ns.tolist() == [NOON_NS, NOON_NS + 1, NOON_NS + 5]
    assert joined.uplink_before.tolist() == [50, 51, 50]
    assert joined.downlink_before.tolist() == [60, 61, 60]
    assert joined.uplink_after.tolist() == [5, 6, 5]
    assert joined.downlink_after.tolist() == [6, 7, 6]


# --- gaps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "is_gap"), [(150, False), (151, True)])
def test_more_than_two_and_a_half_intervals_without_a_snapshot_are_a_gap_of_the_node(
    seconds: int, is_gap: bool
) -> None:
    snapshots = snapshots_of((0, 0, 0), (0, 0, 0), (60, seconds, 60))
    until_ns = NOON_NS + seconds * NS_PER_SECOND
    (_, judged) = firsts_of(FELL, GREW, GREW)  # 5, 7 and 7 bytes

    gaps = node_gaps(snapshots, column(1, 1, 0), judged, GAP_NS)

    # 200 bytes within the hour and what the first deltas brought.
    assert gaps == ([Gap(7, 0, NOON_NS, until_ns, 200 + 5 + 7)] if is_gap else [])


@pytest.mark.parametrize(
    ("uplink", "downlink", "told"),
    [
        pytest.param(2**62 - 60, 2**62 - 60, 2**63 - 20, id="up to the limit"),
        pytest.param(2**62, 2**62 - 1, 2**63 - 1, id="beyond it"),
    ],
)
def test_bytes_of_a_gap_beyond_64_bits_are_told_as_the_limit(
    uplink: int, downlink: int, told: int
) -> None:
    snapshots, (_, judged) = snapshots_of((0,), (0,), (600,)), firsts_of(GREW)
    judged = replace(judged, uplink=column(uplink), downlink=column(downlink))

    (gap,) = node_gaps(snapshots, column(0), judged, GAP_NS)

    assert gap.quantity == told


def test_without_a_snapshot_before_there_is_no_gap() -> None:
    snapshots = snapshots_of((0,), (0,), (NOON_NS // NS_PER_SECOND,))
    assert snapshots.prev_ns.tolist() == [0]

    assert node_gaps(snapshots, column(), firsts_of()[1], GAP_NS) == []


def test_a_snapshot_in_the_first_nanosecond_of_1970_is_one_before() -> None:
    snapshots = Snapshots(*(column(value) for value in (7, NOON_NS, 1, 0, 0, 3)))

    assert node_gaps(snapshots, column(), firsts_of()[1], GAP_NS) == [Gap(7, 0, 1, NOON_NS, 3)]


def test_an_absent_series_has_a_gap_of_its_own() -> None:
    samples, _ = firsts_of(GREW, GREW, FELL, node_seconds_ago=20)
    judged = judge_first_deltas(samples, CounterPolicy(interval_seconds=20))

    gaps = first_gaps(column(4, 5, 6), column(7, 8, 9), samples, judged)

    from_ns = NOON_NS - 60 * NS_PER_SECOND
    assert gaps == [
        Gap(7, 4, from_ns, NOON_NS, 7),
        Gap(8, 5, from_ns, NOON_NS, 7),
        Gap(9, 6, from_ns, NOON_NS, 5),
    ]


# --- findings ------------------------------------------------------------------------------------


def test_implausible_births_and_fast_deltas_are_findings_with_their_bytes() -> None:
    samples, judged = firsts_of(GREW, IMPLAUSIBLE, FAST, BORN)

    assert first_findings(column(4, 5, 6, 7), samples, judged) == [
        SeriesFinding("implausible_birth", 5, NOON_NS, 7501),
        SeriesFinding("rate_exceeded", 6, NOON_NS, 7501),
    ]


def test_a_reset_of_a_single_series_is_a_finding_with_the_new_totals() -> None:
    findings = reset_findings(resets_at(3, 4), np.array([True, False]))

    assert findings == [SeriesFinding("single_series_reset", 2, NOON_NS + 4, 6 + 7)]
