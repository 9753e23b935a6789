"""Facts against sealed events: ids of every sealed revision, and net usage (invariant 5).

What waits to be sealed is pending: counted, and a difference only where nothing has to wait.
"""

from typing import Final

from billing_etl.batches import decompress
from billing_etl.events import BillingEvent, event_id
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.seal import what_waits
from billing_etl.reconciliation import (
    Difference,
    Examination,
    Measure,
    Value,
    compare,
    together,
    total,
)
from billing_etl.store import deliveries, reconciliations
from billing_etl.store.deliveries import Meter


def examine(inspection: Inspection, hour: Hour) -> Examination:
    return together([_examine_meter(inspection, hour, meter) for meter in inspection.meters])


def _examine_meter(inspection: Inspection, hour: Hour, meter: Meter) -> Examination:
    connection = inspection.connection
    expected_ids: set[str] = set()
    expected_usage: dict[str, Value] = {}
    for state in reconciliations.sealed_states(connection, hour, meter):
        for revision in range(1, state.revision + 1):
            expected_ids.add(event_id(*state[:5], meter.event_type, state.minute, revision))
        _add(expected_usage, state.account_uuid, state.quantity)
    expected_events = len(expected_ids)

    envelope = BillingEvent(inspection.settings.product)
    usage: dict[str, Value] = {}
    events = 0
    surplus: list[str] = []
    dropped_events = dropped_usage = 0
    for batch in reconciliations.sealed_batches(connection, hour, meter):
        if batch.kind != "events":
            continue
        if not batch.has_payload:
            dropped_events += batch.events
            dropped_usage += batch.usage
            continue
        payload = decompress(deliveries.compressed_payload(connection, batch.batch_id))
        for line in payload.splitlines():
            event = envelope.read(line)
            events += 1
            _add(usage, event.resource_id, event.usage)
            if event.event_id in expected_ids:
                expected_ids.remove(event.event_id)
            else:
                surplus.append(event.event_id)
    net_usage = total("net usage", expected_usage.values(), [*usage.values(), dropped_usage])
    differences = [Difference(f"event {name}", "events", 0, 1) for name in sorted(surplus)]
    if dropped_events:  # which events, and whose, nobody can read any more
        counts: tuple[tuple[str, Value, Value], ...] = (
            ("events", expected_events, events + dropped_events),
            (net_usage.name, net_usage.expected, net_usage.actual),
        )
        differences += [
            Difference(meter.event_type, *count) for count in counts if count[1] != count[2]
        ]
    else:
        differences += [
            *(Difference(f"event {name}", "events", 1, 0) for name in sorted(expected_ids)),
            *compare("net usage", _without_zeros(expected_usage), _without_zeros(usage)),
        ]
    pending, waits_for = _pending(inspection, hour, meter)
    notes = (f"{pending} {meter.event_type} events pending: {waits_for}",) if pending else ()
    is_due = not waits_for and (
        pending > 0 or reconciliations.sealings(connection, hour, meter) == 0
    )
    if is_due:
        differences.append(Difference(f"{meter.event_type}", "events not sealed yet", 0, pending))
    return Examination(
        measures=(
            Measure("events", expected_events, events + dropped_events),
            net_usage,
            Measure("not sealed yet", 0, pending if is_due else 0),
        ),
        differences=tuple(differences),
        notes=notes if waits_for else (),
        to_repair=(meter.event_type,) if is_due else (),
    )


def _add(sums: dict[str, Value], subject: str, quantity: int) -> None:
    known = sums.get(subject)
    sums[subject] = quantity + (known if isinstance(known, int) else 0)


def _without_zeros(sums: dict[str, Value]) -> dict[str, Value]:
    """An account whose facts all vanished nets to zero, as one that never had any."""
    return {subject: value for subject, value in sums.items() if value != 0}


def _pending(inspection: Inspection, hour: Hour, meter: Meter) -> tuple[int, str]:
    """Events that are not sealed, and why they may wait; no reason when they should be."""
    settings, connection = inspection.settings, inspection.connection
    pending = deliveries.count_changes(connection, hour, meter)
    if not settings.s3_enabled:
        return pending, "BILLING_S3_ENABLED is off"
    if not settings.exports(meter.event_type):
        return pending, f"{meter.event_type} is not in BILLING_EVENT_TYPES"
    return pending, what_waits(connection, settings, hour, inspection.now)


def repair(inspection: Inspection, hour: Hour, event_type: str) -> str:
    """Seals and sends what is due, as the export does."""
    results = deliver_hours(inspection.engine, HourRange.single(hour), now=inspection.now)
    (result,) = (result for result in results if result.event_type == event_type)
    return f"{event_type} {result.outcome}: {result.events} events in {result.batches} batches"


CHECK: Final = Check("facts_events", examine, repair)
