"""The oracle against hand calculation: the worked example, a recorded capture, each rule once."""

import copy
import itertools
import json
import random
from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from oracle.money import period_start
from oracle.oracle import audit
from oracle.reading import read_instant
from oracle.terms import (
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    Closing,
    Coverage,
    Fact,
    Node,
    Reading,
    Result,
    Series,
    SourceHour,
)
from oracle.worlds import World, random_world

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"
NODE = Node("jp-1", "prod", "node-1")
NOON = read_instant("2026-04-08T12:00:00Z") // HOUR_NS
CAPTURE = Path(__file__).parents[1] / "captures" / "nanosecond-exporter-three-pages.json"
WORLDS = range(60)


def ns(clock: str) -> int:
    return read_instant(f"2026-04-08T{clock}Z")


def minute(clock: str) -> int:
    return ns(clock + ":00") // MINUTE_NS


def series(account: str = A, tag: str = "tcp", node: Node = NODE) -> Series:
    return Series(*node, account, tag)


def sample(account: str, up: Any, down: Any, tag: Any = "tcp") -> dict[str, Any]:
    return {
        "uuid": account,
        "email": "unknown",
        "inbound_tag": tag,
        "uplink_bytes_total": up,
        "downlink_bytes_total": down,
    }


def shot(clock: str, *samples: Any, node: Node = NODE) -> dict[str, Any]:
    """A snapshot of 2026-04-08; each sample is (account, up, down[, tag]) or a raw one."""
    return {
        "collected_at": clock if "T" in clock else f"2026-04-08T{clock}Z",
        "node_id": node.node_id,
        "env": node.env,
        "samples": [sample(*s) if isinstance(s, tuple) else s for s in samples],
    }


def version(price: str, from_minute: int = 0, **more: Any) -> dict[str, Any]:
    return {"scope": "default", "price_per_byte": price, "from_minute": from_minute, **more}


def price_book(*versions: dict[str, Any], **more: Any) -> dict[str, Any]:
    book = {"versions": list(versions), "plan_members": [], "source_regions": [], "credits": []}
    return {**book, **more}


def run(
    *snapshots: dict[str, Any],
    hours: tuple[int, ...] = (NOON,),
    book: dict[str, Any] | None = None,
    now: str = "23:00:00",
    **settings: Any,
) -> Result:
    return audit(
        [{"source_id": "jp-1", "region": "jp", **settings}],
        {"jp-1": list(snapshots)},
        {"jp-1": set(hours)},
        book or price_book(version("1")),
        ns(now),
    )


def noon(*snapshots: dict[str, Any], **settings: Any) -> SourceHour:
    return run(*snapshots, **settings).hours["jp-1", NOON]


def findings(hour: SourceHour) -> list[tuple[str, Node | Series]]:
    return sorted((finding.kind, finding.subject) for finding in hour.findings)


# --- The worked example, to the digit --------------------------------------------------------

EXAMPLE = (
    shot("11:59:03", (A, 500, 1000)),
    shot("12:00:03", (A, 510, 1030)),
    shot("12:01:03", (A, 510, 1030)),
    shot("12:02:03", (A, 540, 1100)),
    shot("12:03:03", (A, 7, 13)),
    shot("12:09:03", (A, 10, 20)),
)
LATE = shot("12:04:03", (A, 8, 15))


def example_book(*later: dict[str, Any]) -> dict[str, Any]:
    return price_book(version("2", included_quota_bytes=100), *later, opening_balance="200")


def test_worked_example() -> None:
    result = run(*EXAMPLE, book=example_book())
    hour = result.hours["jp-1", NOON]
    assert hour.facts == {
        (series(), minute("12:00")): Fact(10, 30, 1, False),
        (series(), minute("12:02")): Fact(30, 70, 1, False),
        (series(), minute("12:03")): Fact(7, 13, 1, True),
        (series(), minute("12:09")): Fact(3, 7, 6, False),
    }
    assert hour.closings == {
        series(): Closing(
            first=Reading(ns("12:00:03"), 510, 1030),
            last=Reading(ns("12:09:03"), 10, 20),
            predecessor=Reading(ns("11:59:03"), 500, 1000),
            first_kind="delta",
        )
    }
    assert [(reset.instant_ns, reset.reset_class) for reset in hour.resets] == [
        (ns("12:03:03"), "node_restart")
    ]
    assert hour.gaps == [("exporter_down", NODE, ns("12:03:03"), ns("12:09:03"), 10)]
    assert hour.findings == []
    rated: dict[int, tuple[int, int, Fraction | int]]
    rated = {at: (r.included, r.rated, r.amount) for (_, at), r in result.bill.ratings.items()}
    assert rated == {
        minute("12:00"): (40, 0, 0),
        minute("12:02"): (60, 40, 80),
        minute("12:03"): (0, 20, 40),
        minute("12:09"): (0, 10, 20),
    }
    assert result.bill.ledger == {(A, NOON): (Fraction(140), 70)}
    april = read_instant("2026-04-01T00:00:00Z") // MINUTE_NS
    assert result.bill.quota_used == {(A, april): 100}
    assert result.bill.balance == {A: 60}


def test_worked_example_baseline_when_the_hour_before_is_collected_too() -> None:
    result = run(*EXAMPLE, hours=(NOON - 1, NOON), book=example_book())
    before = result.hours["jp-1", NOON - 1]
    assert before.facts == {}
    assert before.closings[series()].first_kind == "baseline"
    assert (before.coverage.fetched, before.coverage.baselines) == (1, 1)
    assert result.bill.ledger == {(A, NOON): (Fraction(140), 70)}


def test_worked_example_with_the_late_snapshot() -> None:
    result = run(*EXAMPLE, LATE, book=example_book())
    facts = result.hours["jp-1", NOON].facts
    assert facts[series(), minute("12:04")] == Fact(1, 2, 1, False)
    assert facts[series(), minute("12:09")] == Fact(2, 5, 5, False)
    assert sum(fact.up + fact.down for fact in facts.values()) == 170
    assert result.bill.ledger == {(A, NOON): (Fraction(140), 70)}


def test_worked_example_with_a_price_change_at_12_05() -> None:
    book = example_book(version("3", minute("12:05"), included_quota_bytes=100))
    before = run(*EXAMPLE, book=book).bill.ledger[A, NOON]
    after = run(*EXAMPLE, LATE, book=book).bill.ledger[A, NOON]
    assert before == (Fraction(80 + 40 + 10 * 3), 70)
    assert after == (Fraction(80 + 40 + 3 * 2 + 7 * 3), 70)  # one adjustment of -3


# --- A recorded capture ----------------------------------------------------------------------


def test_recorded_capture_by_sums_of_positive_differences() -> None:
    pages = [json.loads(answer["body"]) for answer in json.loads(CAPTURE.read_text())]
    served = [snapshot for page in pages for snapshot in page["snapshots"]]
    # By hand: down a column of totals, add what it rose by; where it fell, what it fell to. A
    # column that begins within the hour (its node was there before) begins at zero.
    columns: dict[tuple[str, str], list[tuple[str, int, int]]] = defaultdict(list)
    for snapshot in served:
        for row in snapshot["samples"]:
            cell = (
                snapshot["collected_at"],
                row["uplink_bytes_total"],
                row["downlink_bytes_total"],
            )
            columns[row["uuid"], row["inbound_tag"]].append(cell)
    expected: dict[tuple[str, str], tuple[int, int]] = {}
    for key, cells in columns.items():
        up = down = 0
        rows = cells if cells[0][0] < "2026-04-08T12" else [("", 0, 0), *cells]
        for (_, up0, down0), (at, up1, down1) in itertools.pairwise(rows):
            if at >= "2026-04-08T12":
                fell = up1 < up0 or down1 < down0
                up += up1 if fell else up1 - up0
                down += down1 if fell else down1 - down0
        expected[key] = (up, down)
    assert len(served) == 56
    assert len(expected) == 8

    hour = noon(*served)
    got: dict[tuple[str, str], tuple[int, int]] = dict.fromkeys(expected, (0, 0))
    for (of, _), fact in hour.facts.items():
        up, down = got[of.account, of.inbound_tag]
        got[of.account, of.inbound_tag] = (up + fact.up, down + fact.down)
    assert got == expected
    assert sum(map(sum, got.values())) == 305_625_992
    assert Counter(reset.reset_class for reset in hour.resets) == {"node_restart": 8}
    assert [closing.first_kind for closing in hour.closings.values()].count("born") == 2
    assert [gap.kind for gap in hour.gaps] == ["exporter_down"]
    assert hour.coverage == Coverage(
        expected_snapshots=60,
        snapshots=54,
        instants=54,
        fetched=374,
        used=374,
        missing_minutes=6,
        state="complete",
        first_ns=ns("12:00:03.282270417"),
        last_ns=ns("12:59:03.595568417"),
    )


# --- Collecting, rule by rule ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2026-04-08T12:00:00.5Z",
        "2026-04-08T12:00:00.500000000Z",
        "2026-04-08T20:00:00.5+08:00",
        "2026-04-08T08:30:00.5-03:30",
    ],
)
def test_c1_one_instant_in_many_writings(text: str) -> None:
    assert read_instant(text) == NOON * HOUR_NS + SECOND_NS // 2


def test_c1_only_the_snapshots_of_the_hour_are_used() -> None:
    hour = noon(
        shot("11:59:59.999999999", (A, 0, 1)),
        shot("12:00:00", (A, 0, 3)),
        shot("12:59:59.999999999", (A, 0, 7)),
        shot("13:00:00", (A, 0, 15)),
    )
    assert [fact.down for fact in hour.facts.values()] == [2, 4]
    assert hour.coverage.instants == 2


def test_c1_snapshot_ahead_of_the_date_header() -> None:
    early = noon(shot("12:10:00", (A, 0, 1)), now="12:05:00")
    ahead = noon(shot("12:10:00.1", (A, 0, 1)), now="12:05:00")
    assert findings(early) == []
    assert findings(ahead) == [("clock_ahead", NODE)]


def test_c2_two_nodes_with_equal_instants_and_one_account() -> None:
    other = Node("jp-1", "prod", "node-2")
    hour = noon(
        shot("12:00:00", (A, 0, 10)),
        shot("12:00:00", (A, 0, 900), node=other),
        shot("12:01:00", (A, 0, 11)),
        shot("12:01:00", (A, 0, 905), node=other),
    )
    assert hour.facts == {
        (series(), minute("12:01")): Fact(0, 1, 1, False),
        (series(node=other), minute("12:01")): Fact(0, 5, 1, False),
    }
    assert hour.coverage.expected_snapshots == 120


def test_c3_equal_values_at_one_instant_count_once() -> None:
    hour = noon(*[shot("12:00:00", (A, 5, 5))] * 2, *[shot("12:01:00", (A, 6, 7))] * 2)
    assert hour.facts == {(series(), minute("12:01")): Fact(1, 2, 1, False)}
    assert (hour.coverage.fetched, hour.coverage.duplicates) == (4, 2)
    assert (hour.coverage.snapshots, hour.coverage.instants) == (4, 2)
    assert findings(hour) == []


def test_c3_of_different_values_the_larger_per_counter() -> None:
    hour = noon(
        shot("12:00:00", (A, 0, 0)), shot("12:01:00", (A, 9, 2)), shot("12:01:00", (A, 3, 4))
    )
    assert hour.facts == {(series(), minute("12:01")): Fact(9, 4, 1, False)}
    assert findings(hour) == [("conflicting_samples", series())]


def test_c4_newest_closing_of_a_collected_hour_however_old() -> None:
    old = shot("02:30:00", (A, 0, 10))
    unseen = shot("11:59:00", (A, 0, 50))
    late = shot("12:00:00", (A, 0, 70))
    hour = noon(old, unseen, late, hours=(NOON - 10, NOON))
    assert hour.facts == {(series(), minute("12:00")): Fact(0, 60, 570, False)}
    assert hour.gaps == [("exporter_down", NODE, ns("02:30:00"), ns("12:00:00"), 60)]


@pytest.mark.parametrize(("lookback_minutes", "bytes_of_noon"), [(10, []), (11, [20]), (600, [20])])
def test_c4_look_back_of_a_node_without_closing(
    lookback_minutes: int, bytes_of_noon: list[int]
) -> None:
    before, first = shot("11:49:00", (A, 0, 50)), shot("12:00:00", (A, 0, 70))
    hour = noon(before, first, lookback_minutes=lookback_minutes)
    assert [fact.down for fact in hour.facts.values()] == bytes_of_noon


def test_c4_collected_hours_with_empty_snapshots_only_leave_the_look_back() -> None:
    served = [shot("10:30:00"), shot("11:55:00", (A, 0, 50)), shot("12:00:00", (A, 0, 70))]
    hour = noon(*served, hours=(NOON - 2, NOON))
    assert hour.facts == {(series(), minute("12:00")): Fact(0, 20, 5, False)}


@pytest.mark.parametrize(
    ("fallen", "reset_class"), [(1, "single_series"), (2, "single_series"), (3, "node_restart")]
)
def test_c5_reset_classes_of_four_series(fallen: int, reset_class: str) -> None:
    accounts = (A, B, C, "dddddddd-0000-4000-8000-000000000004")
    new = "eeeeeeee-0000-4000-8000-000000000005"  # cannot be compared, so it does not count
    hour = noon(
        shot("12:00:00", *((account, 50, 50) for account in accounts)),
        shot(
            "12:01:00",
            *(
                (account, 60, 9) if n < fallen else (account, 50, 50)
                for n, account in enumerate(accounts)
            ),
            (new, 0, 0),
        ),
    )
    assert {reset.reset_class for reset in hour.resets} == {reset_class}
    assert len(hour.resets) == fallen
    assert set(hour.facts.values()) == {Fact(60, 9, 1, True)}
    assert len(hour.findings) == (fallen if reset_class == "single_series" else 0)


BIRTH = (
    shot("12:00:00", (B, 0, 0)),
    shot("12:01:00", (B, 0, 0), (A, 4, 5)),
)


@pytest.mark.parametrize(
    ("first_sight", "kinds", "charged"),
    [
        ("auto", {A: "born", B: "baseline"}, 9),
        ("charge", {A: "born", B: "born"}, 9),
        ("baseline", {A: "baseline", B: "baseline"}, 0),
    ],
)
def test_c7_first_sight(first_sight: str, kinds: dict[str, str], charged: int) -> None:
    hour = noon(*BIRTH, first_sight=first_sight)
    assert {of.account: c.first_kind for of, c in hour.closings.items()} == kinds
    assert sum(fact.up + fact.down for fact in hour.facts.values()) == charged


@pytest.mark.parametrize(
    ("earlier", "kind"),
    [
        pytest.param([shot("12:00:00")], "baseline", id="only an empty snapshot before"),
        pytest.param([shot("12:00:00", (A, -1, 0))], "baseline", id="quarantined is presence"),
        pytest.param([shot("12:00:00", (B, -1, 0))], "born", id="a quarantined other is non-empty"),
        pytest.param(
            [shot("12:00:00", (B, 0, 0)), shot("12:00:30")], "born", id="an empty one between"
        ),
    ],
)
def test_c7_presence(earlier: list[dict[str, Any]], kind: str) -> None:
    hour = noon(*earlier, shot("12:01:00", (A, 4, 5)))
    assert hour.closings[series()].first_kind == kind


@pytest.mark.parametrize(("total", "kind"), [(125 * 30, "born"), (125 * 30 + 1, "baseline")])
def test_c7_born_total_against_the_line_rate(total: int, kind: str) -> None:
    """1000 bit/s are 125 bytes a second; 30 s since the node's previous, empty snapshot."""
    hour = noon(
        shot("12:00:00", (B, 0, 0)),
        shot("12:00:30"),
        shot("12:01:00", (A, total, 0)),
        max_bits_per_second=1000,
    )
    assert hour.closings[series()].first_kind == kind
    implausible = [("implausible_birth", series())] if kind == "baseline" else []
    assert findings(hour) == implausible


def test_c7_later_delta_above_the_rate_is_billed_and_a_finding() -> None:
    hour = noon(
        shot("12:00:00", (A, 0, 0)),
        shot("12:01:00", (A, 0, 7500)),
        shot("12:02:00", (A, 7501, 7500)),
        max_bits_per_second=1000,
    )
    assert [fact.up + fact.down for fact in hour.facts.values()] == [7500, 7501]
    assert [finding.instant_ns for finding in hour.findings] == [ns("12:02:00")]
    assert findings(hour) == [("rate_exceeded", series())]


def test_c8_c9_several_deltas_of_a_minute() -> None:
    hour = noon(
        shot("12:00:50", (A, 0, 100)),
        shot("12:03:10", (A, 0, 100)),  # spans 3 and adds nothing
        shot("12:03:20", (A, 0, 5)),  # restart
        shot("12:03:30.1", (A, 0, 8)),
        interval_seconds=10,
    )
    assert hour.facts == {(series(), minute("12:03")): Fact(0, 8, 3, True)}


@pytest.mark.parametrize(("seconds", "is_gap"), [("30", False), ("31", True)])
def test_c9_gap_is_more_than_two_and_a_half_intervals(seconds: str, is_gap: bool) -> None:
    hour = noon(shot("12:00:00", (A, 0, 0)), shot(f"12:02:{seconds}", (A, 0, 5)))
    assert bool(hour.gaps) == is_gap


def test_c9_series_absent_only_with_bytes_and_while_the_node_was_there() -> None:
    hour = noon(
        shot("12:00:00", (A, 0, 0), (B, 0, 0), (C, 0, 0)),
        *(shot(f"12:0{n}:00", (C, 0, n)) for n in range(1, 9)),
        shot("12:09:00", (A, 0, 5), (B, 0, 0), (C, 0, 9)),
    )
    assert hour.gaps == [("series_absent", series(A), ns("12:00:00"), ns("12:09:00"), 5)]
    assert hour.facts[series(A), minute("12:09")].span == 9


def test_c9_outage_with_a_series_that_was_absent_before_it() -> None:
    hour = noon(
        shot("12:00:00", (A, 0, 0), (B, 0, 0)),
        shot("12:01:00", (B, 0, 1)),
        shot("12:09:00", (A, 0, 5), (B, 0, 3)),
    )
    assert hour.gaps == [
        ("exporter_down", NODE, ns("12:01:00"), ns("12:09:00"), 7),
        ("series_absent", series(A), ns("12:00:00"), ns("12:09:00"), 5),
    ]


def test_c10_idle_minutes_store_no_fact_but_a_closing() -> None:
    hour = noon(shot("12:00:00", (A, 1, 1)), shot("12:01:00", (A, 1, 1)))
    assert hour.facts == {}
    assert hour.closings[series()].last == Reading(ns("12:01:00"), 1, 1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("text", "sample_not_object"),
        (sample("no-uuid", 1, 1), "uuid_malformed"),
        (sample(A.replace("-", ""), 1, 1), "uuid_malformed"),
        (sample(A, -1, 5), "total_negative"),
        (sample(A, 1.0, 5), "total_not_integer"),
        (sample(A, "1", 5), "total_not_integer"),
        (sample(A, True, 5), "total_not_integer"),
        (sample(A, 2**63 - 1, 1), "total_too_large"),
        (sample(A, None, 1), "field_missing"),
        ({"uuid": A, "uplink_bytes_total": 1, "downlink_bytes_total": 1}, "field_missing"),
        (sample(A, 1, 1, "ü" * 128), "tag_too_long"),
        (sample(A, 1, 1, 7), "tag_not_text"),
    ],
)
def test_c11_a_bad_sample_leaves_the_rest(bad: Any, reason: str) -> None:
    hour = noon(shot("12:00:00", (B, 0, 0)), shot("12:01:00", bad, (B, 0, 5)))
    assert hour.quarantine_reasons == {reason: 1}
    assert hour.facts == {(series(B), minute("12:01")): Fact(0, 5, 1, False)}
    assert (hour.coverage.fetched, hour.coverage.used, hour.coverage.baselines) == (3, 1, 1)


def test_c11_what_is_just_good_enough() -> None:
    big = 2**63 - 1
    hour = noon(
        shot("12:00:00", (A.upper(), big - 1, 0, ""), (A, 0, 0, "x" * 255)),
        shot("12:01:00", (A, big - 1, 1, "")),
    )
    assert hour.quarantine_reasons == {}
    assert hour.facts == {(series(A, ""), minute("12:01")): Fact(0, 1, 1, False)}


def test_c11_null_samples_are_an_empty_snapshot() -> None:
    empty = {**shot("12:01:00"), "samples": None}
    hour = noon(shot("12:00:00", (A, 0, 0)), empty, shot("12:02:00", (A, 0, 3)))
    assert hour.node_instants == {NODE: {ns("12:00:00"): 1, ns("12:01:00"): 0, ns("12:02:00"): 1}}
    assert hour.facts == {(series(), minute("12:02")): Fact(0, 3, 2, False)}


@pytest.mark.parametrize(
    ("clocks", "now", "state"),
    [
        pytest.param(["11:30:00", "12:59:00"], "14:00:00", "complete", id="in the last interval"),
        pytest.param(["11:30:00", "12:58:59"], "14:00:00", "partial", id="just before it"),
        pytest.param(["11:55:00", "13:40:00"], "14:00:00", "complete", id="a later one"),
        pytest.param(["11:30:00", "12:59:00"], "12:59:59", "partial", id="has not ended"),
        pytest.param(["12:01:00", "12:59:00"], "14:00:00", "lost", id="a whole minute forgotten"),
        pytest.param(["12:00:59", "12:59:00"], "14:00:00", "complete", id="not a whole minute"),
        pytest.param(["13:00:00"], "14:00:00", "lost", id="nothing but later ones"),
        pytest.param(["11:30:00"], "14:00:00", "partial", id="nothing but earlier ones"),
        pytest.param([], "14:00:00", "partial", id="nothing at all"),
    ],
)
def test_c12_state(clocks: list[str], now: str, state: str) -> None:
    hour = noon(*(shot(clock, (A, 0, 0)) for clock in clocks), now=now)
    assert hour.coverage.state == state


def test_c12_a_silent_node_of_the_last_72_hours_is_still_expected() -> None:
    other = Node("jp-1", "prod", "node-2")
    served = [shot("11:00:00", (A, 0, 0), node=other), shot("11:30:00", (A, 0, 0))]
    served += [shot(f"12:{n:02}:30", (A, 0, n)) for n in range(60)]
    alone = noon(*served, hours=(NOON,))
    both = noon(*served, hours=(NOON - 1, NOON))
    assert (alone.coverage.expected_snapshots, alone.coverage.state) == (60, "complete")
    assert (both.coverage.expected_snapshots, both.coverage.state) == (120, "partial")
    assert (alone.coverage.missing_minutes, both.coverage.missing_minutes) == (0, 60)


@pytest.mark.parametrize(
    ("interval_seconds", "expected", "missing"), [(30, 120, 58), (60, 60, 58), (300, 12, 50)]
)
def test_c12_expected_and_missing(interval_seconds: int, expected: int, missing: int) -> None:
    served = [shot("12:00:00"), shot("12:00:30"), shot("12:59:30")]
    coverage = noon(*served, interval_seconds=interval_seconds).coverage
    assert (coverage.expected_snapshots, coverage.missing_minutes) == (expected, missing)


def test_c12_checkpoint_stops_before_the_first_partial_or_missing_hour() -> None:
    served = [shot(f"{n}:59:30", (A, 0, n)) for n in (10, 11, 12, 13)]
    hours = (NOON - 1, NOON, NOON + 2)
    assert run(*served, hours=hours).checkpoints == {"jp-1": NOON + 1}
    assert run(*served, hours=hours, now="12:30:00").checkpoints == {"jp-1": NOON}


# --- Rating, rule by rule --------------------------------------------------------------------


def one_byte_at(*clocks: str) -> list[dict[str, Any]]:
    """Account A grows by one byte at each clock time, after a baseline at 11:55."""
    return [shot("11:55:00", (A, 0, 0))] + [shot(c, (A, 0, n + 1)) for n, c in enumerate(clocks)]


def amounts(book: dict[str, Any], *clocks: str) -> list[Fraction]:
    result = run(*one_byte_at(*clocks), book=book)
    return [rating.amount for rating in result.bill.ratings.values()]


def test_r1_amounts_are_exact() -> None:
    assert amounts(price_book(version("0.1")), "12:00:00") == [Fraction(Decimal("0.1"))]


def test_r2_price_changes_with_the_minute() -> None:
    book = price_book(version("1"), version("5", minute("12:02")))
    assert amounts(book, "12:01:59.9", "12:02:00") == [1, 5]


def test_r2_account_before_plan_before_default() -> None:
    book = price_book(
        version("1"),
        version("2", scope="plan", key="gold"),
        version("3", minute("12:03"), scope="account", key=A),
        plan_members=[
            {"account": A, "plan": "gold", "from_minute": minute("12:01")},
            {"account": A, "plan": None, "from_minute": minute("12:02")},
        ],
    )
    assert amounts(book, "12:00:00", "12:01:00", "12:02:00", "12:03:00") == [1, 2, 1, 3]


def test_r2_multipliers() -> None:
    book = price_book(
        version(
            "1",
            region_multipliers={"jp": "2", "eu": "0.5"},
            line_multipliers={"tcp": "3"},
            peak_time_zone="Asia/Kolkata",  # 12:30 UTC is 18:00 there
            peak_hours=[18],
            peak_multiplier="10",
            offpeak_multiplier="7",
        ),
        source_regions=[{"source_id": "jp-1", "region": "eu", "from_minute": minute("12:40")}],
    )
    assert amounts(book, "12:29:00", "12:30:00", "12:40:00") == [42, 60, 15]


def test_r3_quota_is_consumed_by_minute_node_inbound_env_source() -> None:
    shots = []
    for clock, total in (("12:00:00", 0), ("12:01:00", 10)):
        for node in (Node("jp-1", "prod", "node-2"), Node("jp-1", "dev", "node-10")):
            shots.append(shot(clock, (A, 0, total, "a"), (A, 0, total, "Z"), node=node))
    result = run(*shots, book=price_book(version("1", included_quota_bytes=25)))
    consumed = [(s.node_id, s.inbound_tag, r.included) for (s, _), r in result.bill.ratings.items()]
    assert consumed == [
        ("node-10", "Z", 10),
        ("node-10", "a", 10),
        ("node-2", "Z", 5),
        ("node-2", "a", 0),
    ]


def test_r3_quota_in_force_at_the_first_minute_of_the_period_counts() -> None:
    later = version("1", minute("12:00"), included_quota_bytes=5)
    book = price_book(version("1", included_quota_bytes=1), later)
    assert amounts(book, "12:00:00", "12:01:00") == [0, 1]


@pytest.mark.parametrize(
    ("instant", "anchor_day", "start"),
    [
        ("2026-04-01T00:00:00Z", 1, "2026-04-01"),
        ("2026-03-31T23:59:00Z", 1, "2026-03-01"),
        ("2026-01-14T12:00:00Z", 15, "2025-12-15"),
        ("2026-01-15T00:00:00Z", 15, "2026-01-15"),
        ("2028-02-29T00:00:00Z", 31, "2028-02-29"),
        ("2026-03-30T00:00:00Z", 31, "2026-02-28"),
    ],
)
def test_r3_period(instant: str, anchor_day: int, start: str) -> None:
    first_minute = period_start(read_instant(instant) // MINUTE_NS, anchor_day)
    assert first_minute * MINUTE_NS == read_instant(f"{start}T00:00:00Z")


def test_r3_a_new_month_has_a_new_quota() -> None:
    served = [
        shot(f"2026-{clock}:00Z", (A, 0, total))
        for clock, total in (("03-31T23:58", 0), ("03-31T23:59", 8), ("04-01T00:00", 16))
    ]
    april = read_instant("2026-04-01T00:00:00Z") // HOUR_NS
    book = price_book(version("1", included_quota_bytes=5))
    bill = run(*served, hours=(april - 1, april), book=book).bill
    assert bill.ledger == {(A, april - 1): (Fraction(3), 3), (A, april): (Fraction(3), 3)}
    assert sorted(bill.quota_used.values()) == [5, 5]


def test_r5_the_ledger_names_an_account_hour_also_when_it_is_zero() -> None:
    assert run(*one_byte_at("12:00:00"), book=price_book(version("0"))).bill.ledger == {
        (A, NOON): (Fraction(0), 1)
    }


def test_r6_balance() -> None:
    given = [{"account": A, "amount": "1.5"}, {"account": B, "amount": "0.25"}]
    book = price_book(version("2"), opening_balance="10", credits=given)
    bill = run(*one_byte_at("12:00:00"), book=book).bill
    assert bill.balance == {A: Fraction("9.5"), B: Fraction("10.25")}


# --- The oracle over random worlds -----------------------------------------------------------


Results: TypeAlias = list[tuple[World, Result]]


@pytest.fixture(scope="module")
def results() -> Results:
    worlds = [random_world(seed) for seed in WORLDS]
    return [(world, audit(**world.inputs)) for world in worlds]


def test_invariant_1_bytes_are_conserved(results: Results) -> None:
    for _, result in results:
        for hour in result.hours.values():
            moved: Counter[tuple[Series, str]] = Counter()
            for (of, _), fact in hour.facts.items():
                moved[of, "up"] += fact.up
                moved[of, "down"] += fact.down
            for reset in hour.resets:
                moved[reset.series, "up"] -= reset.before.up
                moved[reset.series, "down"] -= reset.before.down
            for of, closing in hour.closings.items():
                zero = Reading(0, 0, 0)
                start = closing.predecessor or (
                    zero if closing.first_kind == "born" else closing.first
                )
                assert moved[of, "up"] == closing.last.up - start.up
                assert moved[of, "down"] == closing.last.down - start.down


def test_invariants_2_and_3_quota_and_ledger(results: Results) -> None:
    for _, result in results:
        facts = {key: fact for hour in result.hours.values() for key, fact in hour.facts.items()}
        bill = result.bill
        assert bill.ratings.keys() == facts.keys()
        sums: dict[tuple[str, int], Fraction] = defaultdict(Fraction)
        for key, rating in bill.ratings.items():
            assert rating.included + rating.rated == facts[key].up + facts[key].down
            sums[key[0].account, key[1] // 60] += rating.amount
        assert sums == {key: amount for key, (amount, _) in bill.ledger.items()}
        assert all(used <= bill.quota[period] for period, used in bill.quota_used.items())


def test_invariant_4_every_fetched_sample_is_accounted_for(results: Results) -> None:
    for _, result in results:
        for hour in result.hours.values():
            seen = hour.coverage
            total = seen.used + seen.duplicates + seen.baselines + seen.quarantined
            assert seen.fetched == total
            assert hour.quarantine_reasons.total() == seen.quarantined


def test_the_order_of_serving_changes_nothing(results: Results) -> None:
    for untouched, result in results[:20]:
        world = copy.deepcopy(untouched)
        for served in world.snapshots.values():
            random.Random(world.seed).shuffle(served)
            for snapshot in served:
                if snapshot["samples"]:
                    snapshot["samples"].reverse()
        again = audit(**world.inputs)
        assert again.bill == result.bill
        for key, hour in again.hours.items():
            before = result.hours[key]
            assert (hour.facts, hour.closings, hour.coverage) == (
                before.facts,
                before.closings,
                before.coverage,
            )
            for part in ("resets", "gaps", "findings"):
                assert Counter(getattr(hour, part)) == Counter(getattr(before, part))


def test_a_seed_always_gives_the_same_world() -> None:
    assert random_world(7) == random_world(7)
    assert random_world(7) != random_world(8)


def test_random_worlds_hold_every_case(results: Results) -> None:
    """A comparison over worlds is worth something only while each rule really occurs in them."""
    seen: Counter[str] = Counter()
    for world, result in results:
        assert len(world.sources) <= 3
        assert len({s.account for s, _ in result.bill.ratings}) <= 6
        assert {len(hours) for hours in world.collected_hours.values()} <= {2, 3, 4}
        for hour in result.hours.values():
            seen.update(hour.quarantine_reasons)
            seen[hour.coverage.state] += 1
            seen.update(finding.kind for finding in hour.findings)
            seen.update(gap.kind for gap in hour.gaps)
            seen.update(reset.reset_class for reset in hour.resets)
            seen.update(f"first {closing.first_kind}" for closing in hour.closings.values())
            seen["empty snapshot"] += any(
                0 in instants.values() for instants in hour.node_instants.values()
            )
            at = Counter(ns for instants in hour.node_instants.values() for ns in instants)
            seen["nodes with equal instants"] += max(at.values(), default=0) > 1
            seen["duplicates"] += hour.coverage.duplicates
        bill = result.bill
        seen["split by the quota"] += any(r.included and r.rated for r in bill.ratings.values())
        periods = Counter(account for account, _ in bill.quota_used)
        seen["two periods"] += max(periods.values(), default=0) > 1
        homes = {(s.account, s.source_id) for s, _ in bill.ratings}
        seen["account at two sources"] += len(homes) > len({account for account, _ in homes})
        prices = {(s.account, r.price_per_byte) for (s, _), r in bill.ratings.items()}
        seen["two prices"] += len(prices) > len({account for account, _ in prices})
    expected = {
        *("complete", "partial", "lost", "empty snapshot", "nodes with equal instants"),
        *("uuid_malformed", "total_negative", "total_not_integer", "total_too_large"),
        *("field_missing", "tag_too_long", "duplicates", "conflicting_samples", "clock_ahead"),
        *("first delta", "first reset", "first born", "first baseline", "implausible_birth"),
        *("rate_exceeded", "single_series_reset", "single_series", "node_restart"),
        *("exporter_down", "series_absent", "split by the quota", "two periods"),
        *("account at two sources", "two prices"),
    }
    assert expected <= {case for case, times in seen.items() if times}
