"""Exporter against collected: snapshots, samples and content served now, against what is stored.

What an exporter has forgotten since is no difference: what was collected stays (C13).
"""

from typing import Final

from billing_etl.counters import HourSamples, SampleCollector
from billing_etl.errors import BillingError
from billing_etl.exporter import ExporterClient
from billing_etl.hours import Hour, format_instant_ns
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.pipeline.collect import collect_hour
from billing_etl.reconciliation import Difference, Examination, Measure, Value, together
from billing_etl.settings import Source
from billing_etl.store import reconciliations
from billing_etl.store.reconciliations import StoredInstant

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
    try:
        samples = _served(source, hour)
    except BillingError as error:
        nothing = (Measure("snapshots", 0, 0), Measure("samples", 0, 0))
        return Examination(nothing, (Difference(name, "answer", "one", str(error)),))
    served = _instants(samples)
    forgotten = stored.keys() - served.keys()
    comparable = {key: value for key, value in stored.items() if key in served}
    measures = (
        Measure("snapshots", len(served), len(comparable)),
        Measure("samples", _samples(served), _samples(comparable)),
    )
    differences = _differing(name, served, comparable)
    if collected is None:
        differences.append(Difference(name, "collected hours", 1, 0))
    elif not forgotten:
        whole: tuple[tuple[str, Value, Value], ...] = (
            ("snapshots recorded", len(served), collected.snapshots),
            ("samples recorded", _samples(served), collected.samples),
            ("content hash", samples.content_hash().hex(), collected.content_hash.hex()),
        )
        differences += [Difference(name, *one) for one in whole if one[1] != one[2]]
    notes = (f"{name}: {len(forgotten)} collected snapshots are served no more (C13)",)
    return Examination(
        measures,
        tuple(differences),
        notes=notes if forgotten else (),
        skipped=bool(stored) and not served,
        to_repair=(name,) if differences else (),
    )


def _served(source: Source, hour: Hour) -> HourSamples:
    collector = SampleCollector()
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
        env, node_id, instant_ns = key
        subject = f"{source_id} {env}/{node_id} {format_instant_ns(instant_ns)}"
        known = stored.get(key)
        if known is None:
            differences.append(Difference(subject, "samples", snapshot.samples, None))
        elif known.samples != snapshot.samples:
            differences.append(Difference(subject, "samples", snapshot.samples, known.samples))
        elif known.content_hash != snapshot.content_hash:
            expected, actual = snapshot.content_hash.hex(), known.content_hash.hex()
            differences.append(Difference(subject, "content", expected, actual))
    return differences


def repair(inspection: Inspection, hour: Hour, source_id: str) -> str:
    """Collects a late or changed source-hour again."""
    result = collect_hour(inspection.engine, inspection.settings.source(source_id), hour)
    return f"{source_id} collected again: {result.outcome}, {result.facts_written} facts written"


CHECK: Final = Check("exporter_collected", examine, repair)
