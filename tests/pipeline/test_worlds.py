"""Random worlds, collected in any order, end in exactly what the independent oracle computes."""

import random
import time
from fractions import Fraction
from pathlib import Path
from typing import cast

import pytest
from oracle.oracle import Result, Series
from oracle.worlds import random_world

from billing_etl.hours import format_instant_ns
from pipeline.world_harness import (
    Found,
    adapted,
    engine_of,
    expected,
    run_in_random_order,
    served,
)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_ends_in_what_the_oracle_computes(
    seed: int, database_url: str, tmp_path: Path
) -> None:
    world = adapted(random_world(seed))
    with served(world, tmp_path) as sources:
        engine = engine_of(world, sources, database_url)
        run_in_random_order(engine, world, random.Random(seed))
    result, found = expected(world, time.time_ns()), Found(database_url)

    assert_collected(result, found)
    assert_billed(result, found)


def assert_collected(result: Result, found: Found) -> None:
    facts = {key: tuple(fact) for hour in result.hours.values() for key, fact in hour.facts.items()}
    assert found.facts == facts
    closings = {
        (series, hour): (
            tuple(closing.first),
            tuple(closing.last),
            tuple(closing.predecessor) if closing.predecessor else (0, 0, 0),
            closing.first_kind,
        )
        for (_, hour), source_hour in result.hours.items()
        for series, closing in source_hour.closings.items()
    }
    assert found.closings == closings
    resets = {
        (reset.series, reset.instant_ns): (
            reset.reset_class == "node_restart",
            reset.before.up,
            reset.before.down,
        )
        for hour in result.hours.values()
        for reset in hour.resets
    }
    assert found.resets == resets
    gaps = {
        (*(*gap.subject, "", "")[:5], gap.from_ns, gap.to_ns, gap.bytes)
        for hour in result.hours.values()
        for gap in hour.gaps
    }
    assert found.gaps == gaps
    coverage = {
        key: (
            hour.coverage.state,
            hour.coverage.expected_snapshots or found.coverage[key][1],
            hour.coverage.instants,
            hour.coverage.fetched,
            hour.coverage.used,
            hour.coverage.duplicates,
            hour.coverage.baselines,
            hour.coverage.quarantined,
        )
        for key, hour in result.hours.items()
    }
    assert found.coverage == coverage
    assert found.checkpoints == {k: v for k, v in result.checkpoints.items() if v is not None}
    ids = {series: series_id for series_id, series in found.series.items()}
    findings = {
        (
            source_id,
            hour,
            finding.kind,
            f"{finding.subject.env}/{finding.subject.node_id}"
            if finding.kind == "clock_ahead"
            else f"{format_instant_ns(finding.instant_ns)}"
            f" series {ids[cast(Series, finding.subject)]}",
        )
        for (source_id, hour), source_hour in result.hours.items()
        for finding in source_hour.findings
    }
    assert found.findings == findings


def assert_billed(result: Result, found: Found) -> None:
    ratings = {
        key: (rating.included, rating.rated, rating.amount)
        for key, rating in result.bill.ratings.items()
    }
    assert found.ratings == ratings
    nothing = (Fraction(0), 0)
    # An account-hour whose usage moved away keeps entries that sum to zero (R5).
    net = {key: value for key, value in found.ledger.items() if value != nothing}
    assert net == {k: v for k, v in result.bill.ledger.items() if v != nothing}
    assert {k: found.balances[k] for k in result.bill.balance} == result.bill.balance
