"""Late data (C14): an hour that changes corrects, to the byte, what leaned on it."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from pipeline.harness import DAY, JSON, gaps, resets, source_hour

from scenarios.case import Case, assert_shows, seen, until

MBIT = 1_000_000


@dataclass(frozen=True)
class Late:
    """``early`` is collected, hours 12 and 13; then ``late`` turns up in hour 12.

    ``before`` and ``after`` are the facts; what the late snapshots leave of resets, gaps and
    findings stands in ``history``, as (before, after). A byte costs 2.
    """

    early: list[JSON]
    late: list[JSON]
    before: str
    after: str
    ledger: str
    history: dict[str, tuple[list[Any], list[Any]]] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)


LATE = {
    "a later predecessor takes bytes and span": Late(
        early=[seen("12:57:03", A=0), seen("12:58:03", A=100), seen("13:00:03", A=150)],
        late=[seen("12:59:03", A=130)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 100   | 1    | -     | 100   | 200
            13:00  | A       | 50    | 2    | -     | 50    | 100
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 100   | 1    | -     | 100   | 200
            12:59  | A       | 30    | 1    | -     | 30    | 60
            13:00  | A       | 20    | 1    | -     | 20    | 40
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            12:00 | A       | traffic_charge | 100   | 200    | usage
            13:00 | A       | traffic_charge | 50    | 100    | usage
            12:00 | A       | adjustment     | 30    | 60     | usage changed
            13:00 | A       | adjustment     | -30   | -60    | usage changed
        """,
    ),
    "the whole first delta had moved before": Late(
        early=[seen("12:57:03", A=0), seen("12:58:03", A=100), seen("13:00:03", A=150)],
        late=[seen("12:59:03", A=150)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 100   | 1    | -     | 100   | 200
            13:00  | A       | 50    | 2    | -     | 50    | 100
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 100   | 1    | -     | 100   | 200
            12:59  | A       | 50    | 1    | -     | 50    | 100
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            12:00 | A       | traffic_charge | 100   | 200    | usage
            13:00 | A       | traffic_charge | 50    | 100    | usage
            12:00 | A       | adjustment     | 50    | 100    | usage changed
            13:00 | A       | adjustment     | -50   | -100   | usage changed
        """,
    ),
    "a gap closes": Late(
        early=[seen("12:56:03", A=0), seen("12:57:03", A=100), seen("13:00:03", A=150)],
        late=[seen("12:58:30", A=100)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            12:57  | A       | 100   | 1    | -     | 100   | 200
            13:00  | A       | 50    | 3    | -     | 50    | 100
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            12:57  | A       | 100   | 1    | -     | 100   | 200
            13:00  | A       | 50    | 2    | -     | 50    | 100
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            12:00 | A       | traffic_charge | 100   | 200    | usage
            13:00 | A       | traffic_charge | 50    | 100    | usage
        """,
        history={"gaps": ([("exporter_down", "12:57:03", "13:00:03", 50)], [])},
    ),
    "the node was up, only the series was absent": Late(
        early=[seen("12:50:03", A=10, B=5), seen("13:00:03", A=30, B=5)],
        late=[seen("12:59:03", B=5)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            13:00  | A       | 20    | 10   | -     | 20    | 40
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            13:00  | A       | 20    | 10   | -     | 20    | 40
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            13:00 | A       | traffic_charge | 20    | 40     | usage
        """,
        history={
            "gaps": (
                [("exporter_down", "12:50:03", "13:00:03", 20)],
                [
                    ("exporter_down", "12:50:03", "12:59:03", 0),
                    ("series_absent", "12:50:03", "13:00:03", 20),
                ],
            )
        },
    ),
    "a delta becomes a reset": Late(
        early=[seen("12:57:03", A=0), seen("12:58:03", A=100), seen("13:00:03", A=150)],
        late=[seen("12:59:03", A=900)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 100   | 1    | -     | 100   | 200
            13:00  | A       | 50    | 2    | -     | 50    | 100
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 100   | 1    | -     | 100   | 200
            12:59  | A       | 800   | 1    | -     | 800   | 1600
            13:00  | A       | 150   | 1    | yes   | 150   | 300
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            12:00 | A       | traffic_charge | 100   | 200    | usage
            13:00 | A       | traffic_charge | 50    | 100    | usage
            12:00 | A       | adjustment     | 800   | 1600   | usage changed
            13:00 | A       | adjustment     | 100   | 200    | usage changed
        """,
        history={"resets": ([], [("13:00:03", "node_restart", 900, 0)])},
    ),
    "a node restart was of a single series: two others did not fall": Late(
        early=[
            seen("12:57:03", A=0),
            seen("12:58:03", A=900),
            seen("13:00:03", A=5, B=70, C=80),
        ],
        late=[seen("12:59:03", A=900, B=40, C=50)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 900   | 1    | -     | 900   | 1800
            13:00  | A       | 5     | 2    | yes   | 5     | 10
            13:00  | B       | 70    | 1    | -     | 70    | 140
            13:00  | C       | 80    | 1    | -     | 80    | 160
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 900   | 1    | -     | 900   | 1800
            12:59  | B       | 40    | 1    | -     | 40    | 80
            12:59  | C       | 50    | 1    | -     | 50    | 100
            13:00  | A       | 5     | 1    | yes   | 5     | 10
            13:00  | B       | 30    | 1    | -     | 30    | 60
            13:00  | C       | 30    | 1    | -     | 30    | 60
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            12:00 | A       | traffic_charge | 900   | 1800   | usage
            13:00 | A       | traffic_charge | 5     | 10     | usage
            13:00 | B       | traffic_charge | 70    | 140    | usage
            13:00 | C       | traffic_charge | 80    | 160    | usage
            12:00 | B       | traffic_charge | 40    | 80     | usage
            13:00 | B       | adjustment     | -40   | -80    | usage changed
            12:00 | C       | traffic_charge | 50    | 100    | usage
            13:00 | C       | adjustment     | -50   | -100   | usage changed
        """,
        history={
            "resets": (
                [("13:00:03", "node_restart", 900, 0)],
                [("13:00:03", "single_series", 900, 0)],
            ),
            "findings": ([], [("single_series_reset", "13:00")]),
        },
    ),
    "a single series was part of a node restart": Late(
        early=[
            seen("12:57:03", A=0, B=0, C=0),
            seen("12:58:03", A=900, B=10, C=20),
            seen("13:00:03", A=5, B=10, C=20),
        ],
        late=[seen("12:59:03", A=900, B=500, C=20)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 900   | 1    | -     | 900   | 1800
            12:58  | B       | 10    | 1    | -     | 10    | 20
            12:58  | C       | 20    | 1    | -     | 20    | 40
            13:00  | A       | 5     | 2    | yes   | 5     | 10
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 900   | 1    | -     | 900   | 1800
            12:58  | B       | 10    | 1    | -     | 10    | 20
            12:58  | C       | 20    | 1    | -     | 20    | 40
            12:59  | B       | 490   | 1    | -     | 490   | 980
            13:00  | A       | 5     | 1    | yes   | 5     | 10
            13:00  | B       | 10    | 1    | yes   | 10    | 20
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            12:00 | A       | traffic_charge | 900   | 1800   | usage
            13:00 | A       | traffic_charge | 5     | 10     | usage
            12:00 | B       | traffic_charge | 10    | 20     | usage
            12:00 | C       | traffic_charge | 20    | 40     | usage
            12:00 | B       | adjustment     | 490   | 980    | usage changed
            13:00 | B       | traffic_charge | 10    | 20     | usage
        """,
        history={
            "resets": (
                [("13:00:03", "single_series", 900, 0)],
                [("13:00:03", "node_restart", 900, 0), ("13:00:03", "node_restart", 500, 0)],
            ),
            "findings": ([("single_series_reset", "13:00")], []),
        },
    ),
    "a born series was there a minute before": Late(
        early=[seen("12:57:03", A=0), seen("12:58:03", A=100), seen("13:00:03", A=100, B=70)],
        late=[seen("12:59:03", A=100, B=40)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 100   | 1    | -     | 100   | 200
            13:00  | B       | 70    | 1    | -     | 70    | 140
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            12:58  | A       | 100   | 1    | -     | 100   | 200
            12:59  | B       | 40    | 1    | -     | 40    | 80
            13:00  | B       | 30    | 1    | -     | 30    | 60
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            12:00 | A       | traffic_charge | 100   | 200    | usage
            13:00 | B       | traffic_charge | 70    | 140    | usage
            12:00 | B       | traffic_charge | 40    | 80     | usage
            13:00 | B       | adjustment     | -40   | -80    | usage changed
        """,
    ),
    "a baseline becomes a delta: the node had been seen with it": Late(
        early=[
            seen("12:58:03", A=0),
            seen("13:00:03", A=0),
            seen("13:00:03", node="node-2", C=500),
            seen("13:01:03", node="node-2", C=510),
        ],
        late=[seen("12:59:03", node="node-2", C=420)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            13:01  | C       | 10    | 1    | -     | 10    | 20
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            13:00  | C       | 80    | 1    | -     | 80    | 160
            13:01  | C       | 10    | 1    | -     | 10    | 20
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            13:00 | C       | traffic_charge | 10    | 20     | usage
            13:00 | C       | adjustment     | 80    | 160    | usage changed
        """,
        history={"baselines of 13": ([1], [0])},
    ),
    "a baseline becomes a birth: the node had been seen without it": Late(
        early=[
            seen("12:58:03", A=0),
            seen("13:00:03", A=0),
            seen("13:00:03", node="node-2", C=500),
            seen("13:01:03", node="node-2", C=510),
        ],
        late=[seen("12:59:03", node="node-2", B=1)],
        before="""
            minute | account | bytes | span | reset | rated | amount
            13:01  | C       | 10    | 1    | -     | 10    | 20
        """,
        after="""
            minute | account | bytes | span | reset | rated | amount
            13:00  | C       | 500   | 1    | -     | 500   | 1000
            13:01  | C       | 10    | 1    | -     | 10    | 20
        """,
        ledger="""
            hour  | account | type           | bytes | amount | reason
            13:00 | C       | traffic_charge | 10    | 20     | usage
            13:00 | C       | adjustment     | 500   | 1000   | usage changed
        """,
        history={"baselines of 13": ([1], [0])},
    ),
    "a birth becomes implausible: 30 s before, the node was up without it": Late(
        early=[seen("12:58:03", A=0), seen("13:00:03", A=0, B=8_000_000)],
        late=[seen("12:59:33")],
        before="""
            minute | account | bytes   | span | reset | rated   | amount
            13:00  | B       | 8000000 | 1    | -     | 8000000 | 16000000
        """,
        after="""
            minute | account | bytes   | span | reset | rated   | amount
        """,
        ledger="""
            hour  | account | type           | bytes    | amount    | reason
            13:00 | B       | traffic_charge | 8000000  | 16000000  | usage
            13:00 | B       | adjustment     | -8000000 | -16000000 | usage changed
        """,
        history={
            "findings": ([], [("implausible_birth", "13:00")]),
            "baselines of 13": ([0], [1]),
        },
        source={"max_bits_per_second": MBIT},
    ),
    "an implausible birth becomes a delta, its finding goes": Late(
        early=[seen("12:58:03", A=0), seen("12:59:33", A=0), seen("13:00:03", A=0, B=8_000_000)],
        late=[seen("12:59:03", A=0, B=7_000_000)],
        before="""
            minute | account | bytes   | span | reset | rated   | amount
        """,
        after="""
            minute | account | bytes   | span | reset | rated   | amount
            12:59  | B       | 7000000 | 1    | -     | 7000000 | 14000000
            13:00  | B       | 1000000 | 1    | -     | 1000000 | 2000000
        """,
        ledger="""
            hour  | account | type           | bytes   | amount   | reason
            12:00 | B       | traffic_charge | 7000000 | 14000000 | usage
            13:00 | B       | traffic_charge | 1000000 | 2000000  | usage
        """,
        history={
            "findings": ([("implausible_birth", "13:00")], []),
            "baselines of 13": ([1], [0]),
        },
        source={"max_bits_per_second": MBIT},
    ),
    "a delta turns out to have been too fast: billed, and a finding": Late(
        early=[seen("12:57:03", A=0), seen("12:58:03", A=0), seen("13:00:03", A=8_000_000)],
        late=[seen("12:59:33", A=0)],
        before="""
            minute | account | bytes   | span | reset | rated   | amount
            13:00  | A       | 8000000 | 2    | -     | 8000000 | 16000000
        """,
        after="""
            minute | account | bytes   | span | reset | rated   | amount
            13:00  | A       | 8000000 | 1    | -     | 8000000 | 16000000
        """,
        ledger="""
            hour  | account | type           | bytes   | amount   | reason
            13:00 | A       | traffic_charge | 8000000 | 16000000 | usage
        """,
        history={"findings": ([], [("rate_exceeded", "13:00")])},
        source={"max_bits_per_second": MBIT},
    ),
}


def history(case: Case) -> dict[str, list[Any]]:
    return {
        "resets": resets(case.line),
        "gaps": gaps(case.line),
        "findings": case.findings(),
        "baselines of 13": [source_hour(case.line, "13")["baselines"]],
    }


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
def test_a_late_snapshot_corrects_the_next_hours_first_delta_without_fetching_it(
    late: Late, case: Case
) -> None:
    """When hour 12 is collected again, hour 13 is not served any more."""
    case.serve(late.early, **late.source)
    case.bill("12", "13")
    assert_shows(case.minutes(), late.before)
    found = history(case)
    assert {name: found[name] for name in late.history} == {
        name: before for name, (before, _) in late.history.items()
    }

    case.serve(until("13", late.early + late.late))
    case.bill("12")

    assert_shows(case.minutes(), late.after)
    assert_shows(case.ledger(), late.ledger)
    found = history(case)
    assert {name: found[name] for name in late.history} == {
        name: after for name, (_, after) in late.history.items()
    }
    case.assert_settled()


def test_the_exporter_is_not_asked_for_the_corrected_hour(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    early = [seen("11:59:03", A=0), seen("12:58:03", A=100), seen("13:00:03", A=150)]
    case.serve(early)
    case.bill("12", "13")
    case.serve([*early, seen("12:59:03", A=130)])

    with caplog.at_level("DEBUG", "billing_etl.local.exporter_server"):
        case.bill("12")

    asked = [parse_qs(record.getMessage()) for record in caplog.records]
    # The client asks a second more at either end, for exporters that cut fractions.
    assert [query["until"] for query in asked] == [[f"{DAY}T13:00:01Z"], [f"{DAY}T12:00:01Z"]]
    assert_shows(
        case.minutes(),
        """
        minute | bytes | span
        12:58  | 100   | 59
        12:59  | 30    | 1
        13:00  | 20    | 1
        """,
    )
    case.assert_settled()
