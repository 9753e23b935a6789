"""Facts that are written while the hour is still being read: the same facts, bills and rows.

Only large hours are written like that; here every hour counts as one, in blocks of a few samples.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle.worlds import random_world

from billing_etl.counters import SampleBlock, samples
from billing_etl.errors import BillingError
from billing_etl.pipeline import early_facts
from billing_etl.pipeline.early_facts import EarlyFacts
from billing_etl.store import facts
from pipeline.harness import DAY, A, B, Line, row_versions, sample, snapshot, usage
from pipeline.world_harness import (
    Found,
    adapted,
    assert_billed,
    assert_collected,
    engine_of,
    expected,
    run_in_random_order,
    served,
)


@pytest.fixture(autouse=True)
def every_hour_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_facts, "LEAST_SAMPLES", 0)
    monkeypatch.setattr(samples, "BLOCK_SAMPLES", 3)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that each source-hour wrote early."""
    rows: list[int] = []
    check = EarlyFacts.check

    def counted(early: EarlyFacts, *arguments: object) -> None:
        check(early, *arguments)  # type: ignore[arg-type]
        rows.append(early.rows)

    monkeypatch.setattr(EarlyFacts, "check", counted)
    return rows


@pytest.mark.parametrize("seed", range(100, 112))
def test_worlds_end_in_what_the_oracle_computes(
    seed: int, database_url: str, tmp_path: Path, written: list[int]
) -> None:
    world = adapted(random_world(seed))
    with served(world, tmp_path) as sources:
        engine = engine_of(world, sources, database_url)
        run_in_random_order(engine, world, random.Random(seed))
    result, found = expected(world, time.time_ns()), Found(database_url)

    assert_collected(result, found)
    assert_billed(result, found)
    assert written


def two_accounts(*rows: tuple[str, int, int]) -> list[dict[str, object]]:
    return [snapshot(at, sample(A, a, 0), sample(B, b, 0)) for at, a, b in rows]


ELEVEN = two_accounts(("11:58:03", 0, 0), ("11:59:03", 1, 2))
TWELVE = two_accounts(
    ("12:00:03", 4, 4),
    ("12:01:03", 8, 8),
    ("12:30:03", 9, 16),
    ("12:31:03", 2, 17),
    ("12:59:03", 30, 32),
)


def test_an_hour_again_writes_nothing(line: Line, written: list[int]) -> None:
    line.serve(ELEVEN + TWELVE)
    line.collected("11")
    line.rate()
    line.collected("12")
    assert written == [0, 10]  # nothing stands before the first hour
    before = row_versions(line, "runs", "sources")

    line.collected("12")
    line.rate()

    assert row_versions(line, "runs", "sources") == before


def test_a_series_that_is_born_is_written_with_the_rest(line: Line, written: list[int]) -> None:
    born = [snapshot("12:45:03", sample(A, 5, 0), sample(B, 20, 0), sample(A, 7, 0, "udp"))]
    line.serve(ELEVEN + TWELVE[:4] + born + TWELVE[4:])
    line.collected("11")
    line.collected("12")

    assert written == [0, 12]
    assert usage(line)["12:45"] == 7 + 3 + 3


def test_an_exporter_that_fails_midway_leaves_nothing(line: Line) -> None:
    line.serve(ELEVEN + TWELVE)
    line.collected("11")
    before = row_versions(line, "runs", "sources", "failed_source_hours", "deliveries")
    line.serve([*ELEVEN, *TWELVE[:4], snapshot("12:59:03", sample(A, 30, 0), node="other")])
    line.sources["jp-1"]["expected_node_id"] = "node-1"

    assert len(line.collect("12").failures) == 1
    assert row_versions(line, "runs", "sources", "failed_source_hours", "deliveries") == before


def another_sealing(early: EarlyFacts, line: Line) -> None:
    line.execute("update billing_core.deliveries set sealings = sealings + 1")


def another_fact(early: EarlyFacts, line: Line) -> None:
    early.quantity += 1


@pytest.mark.parametrize("happens", [another_sealing, another_fact])
def test_what_does_not_fit_in_the_end_is_written_as_a_whole(
    happens: Callable[[EarlyFacts, Line], None],
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    line.serve(ELEVEN + TWELVE)
    line.collected("11")
    take = EarlyFacts.take
    taken: list[SampleBlock] = []

    def and_something_happens(early: EarlyFacts, block: SampleBlock, new: object) -> None:
        take(early, block, new)  # type: ignore[arg-type]
        if not taken:
            happens(early, line)
        taken.append(block)

    monkeypatch.setattr(EarlyFacts, "take", and_something_happens)

    line.collected("12")

    assert len(taken) > 2
    assert "written again as a whole" in caplog.text
    assert usage(line) == {"11:59": 3, "12:00": 5, "12:01": 8, "12:30": 9, "12:31": 3, "12:59": 43}


@pytest.mark.parametrize("hour", ["11", "12"], ids=["new series", "known ones"])
def test_an_error_of_the_database_is_that_of_the_hour(
    hour: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.serve(ELEVEN + TWELVE)
    if hour == "12":
        line.collected("11")

    def refused(*_: object) -> int:
        raise BillingError("database: no space left")

    monkeypatch.setattr(facts, "insert_facts", refused)

    ((source_id, _, error),) = line.collect(hour).failures
    assert (source_id, "no space left" in error) == ("jp-1", True)


def test_an_hour_that_look_back_has_seen_keeps_what_is_written_early(
    line: Line, written: list[int]
) -> None:
    """Found by the proof: what was written early passed for facts that are served no more."""
    line.serve(ELEVEN + TWELVE + two_accounts(("13:00:03", 31, 33), ("13:59:03", 40, 40)))
    line.collected("13")
    line.collected("11")
    line.collected("12")

    assert written[-1] == 10
    assert usage(line) == {
        "11:59": 3, "12:00": 5, "12:01": 8, "12:30": 9, "12:31": 3, "12:59": 43,
        "13:00": 2, "13:59": 16,
    }  # fmt: skip


def test_empty_snapshots_that_look_back_has_found_end_no_gap(line: Line) -> None:
    """Found by the proof: they are the past of a node without any sample, read with the hour."""
    idle = [
        snapshot(at, node="idle")
        for at in ("10:59:03", "11:59:03", *(f"12:{minute:02}:03" for minute in range(60)))
    ]
    line.serve([*two_accounts(("10:58:03", 0, 0), ("10:59:03", 1, 1)), *TWELVE, *idle])
    line.collected("10")
    line.collected("12")

    gaps = line.rows(
        "select node_id, extract(minute from gap_start)::int from billing.usage_gaps"
        " where gap_start < %s",
        f"{DAY}T12:00Z",
    )
    assert gaps == [("node-1", 59)]
