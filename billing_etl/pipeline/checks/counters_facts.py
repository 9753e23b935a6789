"""Counters against facts: bytes are conserved per series (invariant 1).

A closing that is not there can be collected again, as long as the exporter serves its hour in
full (C13). A fact that its counters do not explain has no safe repair: collecting it again would
deliver a correction of what nobody knows to be wrong.
"""

from typing import Final

from billing_etl.errors import TerminalError
from billing_etl.hours import Hour
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.pipeline.collect import collect_hour
from billing_etl.reconciliation import Difference, Examination, Remedy, Value, compare, total
from billing_etl.store import reconciliations

_MEASURES: Final = ("uplink bytes", "downlink bytes")


def examine(inspection: Inspection, hour: Hour) -> Examination:
    expected: dict[str, dict[str, Value]] = {name: {} for name in _MEASURES}
    actual: dict[str, dict[str, Value]] = {name: {} for name in _MEASURES}
    unclosed: dict[str, str] = {}
    for row in reconciliations.counters_and_facts(inspection.connection, hour):
        series = " ".join(row[:5])
        if row.counted_uplink is None:
            unclosed[series] = row.source_id
        for name, counted, facts in (
            ("uplink bytes", row.counted_uplink, row.fact_uplink),
            ("downlink bytes", row.counted_downlink, row.fact_downlink),
        ):
            # A series that was seen may have no fact (C10); a fact without counters may not be.
            expected[name][series] = counted
            actual[name][series] = 0 if facts is None else facts
    differences = [
        difference
        for name in _MEASURES
        for difference in compare(name, expected[name], actual[name])
    ]
    return Examination(
        measures=tuple(
            total(name, expected[name].values(), actual[name].values()) for name in _MEASURES
        ),
        differences=tuple(differences),
        remedies=_remedies(inspection, differences, unclosed),
    )


def _remedies(
    inspection: Inspection, differences: list[Difference], unclosed: dict[str, str]
) -> tuple[Remedy, ...]:
    """Collects again what only lacks closings; where a fact is wrong, nothing is safe."""
    if any(difference.subject not in unclosed for difference in differences):
        return ()
    enabled = {source.source_id for source in inspection.settings.enabled_sources}
    return tuple(
        Remedy(
            source_id,
            f"collect {source_id} again for its closings",
            tuple(each for each in differences if unclosed[each.subject] == source_id),
        )
        for source_id in sorted(set(unclosed.values()) & enabled)
    )


def refuse_changed_facts(inspection: Inspection, hour: Hour, source_id: str) -> None:
    """Keeps facts that were changed by hand from being collected over.

    What is collected would be delivered as a correction of what was never sealed. Facts that are
    as they were sealed, or were not sealed yet, can be collected whatever else was changed.

    Raises:
        TerminalError: facts are not as they were sealed, and counters do not explain them.
    """
    connection = inspection.connection
    sealed = [reconciliations.sealed_totals(connection, hour, meter) for meter in inspection.meters]
    if all(each.digest in {None, each.fact_digest} for each in sealed):
        return
    for row in reconciliations.counters_and_facts(connection, hour):
        counted = (row.counted_uplink or 0, row.counted_downlink or 0)
        facts = (row.fact_uplink or 0, row.fact_downlink or 0)
        if row.source_id == source_id and facts != counted:
            raise TerminalError(
                f"{source_id} {hour}: expected facts as they were sealed, got others for "
                f"{' '.join(row[1:5])}; not collected again, see counters_facts"
            )


def repair(inspection: Inspection, hour: Hour, source_id: str) -> str:
    """Collects a source-hour with missing closings again.

    Raises:
        TerminalError: facts of it were changed by hand.
    """
    refuse_changed_facts(inspection, hour, source_id)
    result = collect_hour(inspection.engine, inspection.settings.source(source_id), hour)
    return f"{source_id} collected again: {result.outcome}, {result.facts_written} facts written"


CHECK: Final = Check("counters_facts", examine, repair)
