"""Counters against facts: bytes are conserved per series (invariant 1). No repair is safe."""

from typing import Final

from billing_etl.hours import Hour
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.reconciliation import Examination, Value, compare, total
from billing_etl.store import reconciliations


def examine(inspection: Inspection, hour: Hour) -> Examination:
    expected: dict[str, dict[str, Value]] = {"uplink bytes": {}, "downlink bytes": {}}
    actual: dict[str, dict[str, Value]] = {"uplink bytes": {}, "downlink bytes": {}}
    for row in reconciliations.counters_and_facts(inspection.connection, hour):
        series = " ".join(row[:5])
        for name, counted, facts in (
            ("uplink bytes", row.counted_uplink, row.fact_uplink),
            ("downlink bytes", row.counted_downlink, row.fact_downlink),
        ):
            # A series that was seen may have no fact (C10); a fact without counters may not be.
            expected[name][series] = counted
            actual[name][series] = 0 if facts is None else facts
    return Examination(
        measures=tuple(
            total(name, expected[name].values(), actual[name].values()) for name in expected
        ),
        differences=tuple(
            difference
            for name in expected
            for difference in compare(name, expected[name], actual[name])
        ),
    )


CHECK: Final = Check("counters_facts", examine)
