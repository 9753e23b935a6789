"""Pages are the client's business: no number depends on their size (exporter contract, point 1)."""

from pathlib import Path
from typing import Any

import pytest

from billing_etl.local.exporter_server import FLAVOURS, Flavour
from pipeline.audited import assert_as_audited, by_minute
from pipeline.harness import JSON, A, B, C, Line, facts, sample, snapshot, states

PAGE_SIZES = (1, 2, 25, 1000)


def two_nodes_at_equal_instants() -> list[JSON]:
    """Forty minutes of two nodes that read at the very same instants, some with a fraction.

    Node 1 restarts, account C is born on node 2, and node 2 is silent for a while.
    """
    snapshots = []
    for minute in range(-2, 40):
        clock = f"{11 if minute < 0 else 12}:{minute % 60:02}:03" + (".5" if minute % 2 else "")
        since = minute if minute < 20 else minute - 20
        snapshots.append(
            snapshot(
                clock,
                sample(A, 100 + 7 * since, 200 + 11 * since),
                sample(B, 5 * since + 50, 3, "xhttp"),
                node="node-1",
            )
        )
        if minute not in range(25, 30):
            born = [sample(C, minute * 2, minute)] if minute >= 10 else []
            snapshots.append(
                snapshot(clock, sample(A, 1000 + minute, 2000 + 2 * minute), *born, node="node-2")
            )
    return snapshots


def collected_with(line: Line, flavour: Flavour, page_size: int) -> dict[str, Any]:
    line.serve(two_nodes_at_equal_instants(), flavour=flavour, page_size=page_size)
    line.collected("12")
    line.rate()
    return states(line)


@pytest.fixture(scope="module")
def known() -> dict[Flavour, dict[str, Any]]:
    """Per flavour, what the first page size left."""
    return {}


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_page_size_leaves_the_same(
    flavour: Flavour, page_size: int, line: Line, known: dict[Flavour, dict[str, Any]]
) -> None:
    """Facts, closings, coverage with its counts and content hash, and money."""
    left = collected_with(line, flavour, page_size)

    served = two_nodes_at_equal_instants()
    served = served if flavour == "nanosecond" else by_minute(served)
    assert_as_audited(line, {"jp-1": served}, {"jp-1": ["12"]})
    assert left == known.setdefault(flavour, left)
    assert left["source_hours"][0][4] == 40 + 35  # snapshots of both nodes


def test_every_snapshot_of_both_nodes_counts(line: Line) -> None:
    """By hand: what both nodes moved between 11:59 and 12:39, with page size 1."""
    collected_with(line, "nanosecond", 1)

    by_series: dict[tuple[str, str], int] = {}
    for fact in facts(line):
        key = (fact.node, fact.account)
        by_series[key] = by_series.get(key, 0) + fact.up + fact.down
    assert by_series == {
        # Up to the restart at 12:20, what stood then, and after it.
        ("node-1", A): (7 + 11) * 20 + 300 + (7 + 11) * 19,
        ("node-1", B): 5 * 20 + 53 + 5 * 19,
        ("node-2", A): (1 + 2) * 40,
        ("node-2", C): (2 + 1) * 39,
    }


def test_a_page_size_of_its_own_changes_nothing_of_a_collected_hour(
    line: Line, tmp_path: Path
) -> None:
    collected_with(line, "nanosecond", 25)

    line.sources["jp-1"]["page_size"] = 2

    assert [result.outcome for result in line.collect("12").results] == ["unchanged"]
