"""Exporter against collected: snapshots, samples and content served now, against what is stored.

What an exporter has forgotten since is no difference: what was collected stays (C13). It is held
against what was recorded of the hour as a whole when it was collected.
"""

from typing import Final

from billing_etl.counters import HourSamples, NodeKey, SampleCollector, StoredName, content_hash
from billing_etl.errors import BillingError
from billing_etl.exporter import ExporterClient
from billing_etl.hours import Hour, format_instant_ns
from billing_etl.pipeline.checks.counters_facts import refuse_changed_facts
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.pipeline.collect import collect_hour
from billing_etl.reconciliation import (
    Difference,
    Examination,
    Measure,
    Remedy,
    Value,
    together,
)
from billing_etl.settings import Source
from billing_etl.store import erasures, reconciliations
from billing_etl.store.reconciliations import ClosingSample, CollectedHour, StoredInstant

_CLOSINGS: Final = "closings"

_Instants = dict[tuple[str, str, int], StoredInstant]


def examine(inspection: Inspection, hour: Hour) -> Examination:
    if inspection.now < hour.end:
        return Examination(notes=("the hour has not ended",), skipped=True)
    sources = [
        source
        for source in inspection.settings.enabled_sources
        if _takes_part(inspection, source, hour)
    ]
    if not sources:
        return Examination(notes=("no source takes part in the hour",), skipped=True)
    parts = [_examine_source(inspection, source, hour) for source in sources]
    return together(parts)


def _takes_part(inspection: Inspection, source: Source, hour: Hour) -> bool:
    """From its first collected hour on (C12); a source never collected takes part in none."""
    first = reconciliations.first_hour(inspection.connection, source.source_id)
    return first is not None and first <= hour


def _examine_source(inspection: Inspection, source: Source, hour: Hour) -> Examination:
    name = source.source_id
    connection = inspection.connection
    collected = reconciliations.collected_hour(connection, name, hour)
    stored = reconciliations.collected_instants(connection, name, hour)
    stored_closings = reconciliations.closings(connection, name, hour)
    recorded = _recorded(name, collected, stored)
    try:
        samples = _served(source, hour, erasures.stored_name(connection))
    except BillingError as error:
        nothing = (Measure("snapshots", 0, 0), Measure("samples", 0, 0))
        silent = Difference(f"exporter of {name}", "answer", "one", str(error))
        return Examination(nothing, (silent, *recorded), proves=frozenset({_record(name)}))
    served = _instants(samples)
    forgotten = stored.keys() - served.keys()
    comparable = {key: value for key, value in stored.items() if key in served}
    measures = (
        Measure("snapshots", len(served), len(comparable)),
        Measure("samples", _samples(served), _samples(comparable)),
    )
    differences = _differing(name, served, comparable)
    if collected is not None and not forgotten and not differences:
        differences = _closing_differences(name, samples, stored_closings)
    differences += recorded
    if collected is None:
        differences.append(Difference(name, "collected hours", 1, 0))
    # A closing that nobody serves may be one under another name: collecting would not undo that.
    unknown = any(each.measure == _CLOSINGS and each.expected == 0 for each in differences)
    remedy = Remedy(name, f"collect {name} again", tuple(differences))
    notes = (f"{name}: {len(forgotten)} collected snapshots are served no more (C13)",)
    proven = {f"exporter of {name}", _record(name), *(_place(name, key) for key in comparable)}
    if not forgotten:
        proven |= {name, *(f"{name} {' '.join(key)}" for key in stored_closings)}
    return Examination(
        measures,
        tuple(differences),
        notes=notes if forgotten else (),
        skipped=bool(stored) and not served,
        remedies=() if unknown or not differences else (remedy,),
        # What is served no more cannot be held against what is stored.
        proves=frozenset(proven),
    )


def _recorded(
    source_id: str, collected: CollectedHour | None, stored: _Instants
) -> list[Difference]:
    """The snapshots that are stored against what was recorded of the hour as a whole."""
    if collected is None:
        return []
    rows = (
        (NodeKey(env, node_id), instant_ns, snapshot.content_hash)
        for (env, node_id, instant_ns), snapshot in stored.items()
    )
    pairs: tuple[tuple[str, Value, Value], ...] = (
        ("snapshots", collected.snapshots, len(stored)),
        ("samples", collected.samples, _samples(stored)),
        ("content", collected.content_hash.hex(), content_hash(rows).hex()),
    )
    return [Difference(_record(source_id), *pair) for pair in pairs if pair[1] != pair[2]]


def _record(source_id: str) -> str:
    return f"record of {source_id}"


def _served(source: Source, hour: Hour, name: StoredName | None) -> HourSamples:
    collector = SampleCollector(stored_name=name)
    with ExporterClient(source) as client:
        for snapshot in client.snapshots(hour.start_ns, hour.end_ns):
            collector.add(snapshot)
    return collector.finish()


def _instants(samples: HourSamples) -> _Instants:
    rows = zip(
        samples.snapshot_node.tolist(),
        samples.snapshot_ns.tolist(),
        samples.snapshot_samples.tolist(),
        samples.snapshot_hashes,
        strict=True,
    )
    return {
        (samples.nodes[node].env, samples.nodes[node].node_id, instant_ns): StoredInstant(
            count, content_hash
        )
        for node, instant_ns, count, content_hash in rows
    }


def _samples(instants: _Instants) -> int:
    return sum(instant.samples for instant in instants.values())


def _differing(source_id: str, served: _Instants, stored: _Instants) -> list[Difference]:
    differences: list[Difference] = []
    for key, snapshot in sorted(served.items()):
        subject = _place(source_id, key)
        known = stored.get(key)
        if known is None:
            differences.append(Difference(subject, "samples", snapshot.samples, None))
        elif known.samples != snapshot.samples:
            differences.append(Difference(subject, "samples", snapshot.samples, known.samples))
        elif known.content_hash != snapshot.content_hash:
            expected, actual = snapshot.content_hash.hex(), known.content_hash.hex()
            differences.append(Difference(subject, "content", expected, actual))
    return differences


def _closing_differences(
    source_id: str, samples: HourSamples, stored: dict[tuple[str, ...], ClosingSample]
) -> list[Difference]:
    """First and last sample of every series, as served and as kept in its closing (C4)."""
    names = samples.series_keys
    first, last = samples.first, samples.last
    columns = [
        column.tolist()
        for end in (first, last)
        for column in (end.instant_ns, end.uplink, end.downlink)
    ]
    rows = zip(first.series.tolist(), *columns, strict=True)
    served = {tuple(names[series]): ClosingSample(*values) for series, *values in rows}
    differences: list[Difference] = []
    for key in sorted(served.keys() | stored.keys()):
        subject = f"{source_id} {' '.join(key)}"
        expected, actual = served.get(key), stored.get(key)
        if expected is None or actual is None:
            sides = (int(expected is not None), int(actual is not None))
            differences.append(Difference(subject, _CLOSINGS, *sides))
            continue
        differences += [
            Difference(subject, name.replace("_", " "), getattr(expected, name), value)
            for name, value in actual._asdict().items()
            if getattr(expected, name) != value
        ]
    return differences


def _place(source_id: str, key: tuple[str, str, int]) -> str:
    env, node_id, instant_ns = key
    return f"{source_id} {env}/{node_id} {format_instant_ns(instant_ns)}"


def repair(inspection: Inspection, hour: Hour, source_id: str) -> str:
    """Collects a late or changed source-hour again.

    Raises:
        TerminalError: facts of it were changed by hand.
    """
    refuse_changed_facts(inspection, hour, source_id)
    result = collect_hour(inspection.engine, inspection.settings.source(source_id), hour)
    return f"{source_id} collected again: {result.outcome}, {result.facts_written} facts written"


CHECK: Final = Check("exporter_collected", examine, repair)
