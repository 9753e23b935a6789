"""Facts against sealed events: ids of every sealed revision, and net usage (invariant 5).

Sealing keeps a digest of the facts as it sealed them. While they still have it, and the sealed
batches count the events and the usage that those facts make, nothing of the hour has changed and
no body is read. Otherwise, and in a deep run, every event is compared with its fact.

What waits to be sealed is pending: counted, and a difference only where nothing has to wait.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from billing_etl.errors import MismatchError
from billing_etl.hours import Hour, HourRange, minute_start
from billing_etl.pipeline.checks.bodies import Bodies
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.pipeline.checks.sealing_marks import EventIds, restore_marks
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.seal import what_waits
from billing_etl.reconciliation import Difference, Examination, Measure, Remedy, Value, together
from billing_etl.store import deliveries, reconciliations
from billing_etl.store.deliveries import Meter
from billing_etl.store.reconciliations import SealedTotals

_MARKS: Final = "sealing marks of "


def examine(inspection: Inspection, hour: Hour) -> Examination:
    return together([_examine_meter(inspection, hour, meter) for meter in inspection.meters])


def _examine_meter(inspection: Inspection, hour: Hour, meter: Meter) -> Examination:
    sealed = reconciliations.sealed_totals(inspection.connection, hour, meter)
    is_unchanged = sealed.digest == sealed.fact_digest and not _total_differences(meter, sealed)
    is_empty = sealed.digest is None and not (sealed.events or sealed.fact_events)
    events, quantity = sealed.events, int(sealed.quantity)
    differences: list[Difference] = []
    notes: list[str] = []
    if inspection.deep or not (is_unchanged or is_empty):
        read = _compare_events(inspection, hour, meter)
        notes += read.notes
        differences += (
            [replace(each, needs_deep=True) for each in read.differences]
            if is_unchanged
            else read.differences
        )
        if read.is_whole:
            events, quantity = read.events, read.quantity
        if not is_unchanged and not read.differences:
            differences += _total_differences(meter, sealed)
    pending, waits_for = _pending(inspection, hour, meter)
    is_due = not waits_for and (pending > 0 or sealed.counted_sealings == 0)
    remedies: tuple[Remedy, ...] = ()
    due = Difference(meter.event_type, "events not sealed yet", 0, pending)
    if is_due and not differences:
        remedies = (Remedy(meter.event_type, "seal and send what is due", (due,)),)
    if is_due:
        differences.append(due)
    if not is_unchanged and sealed.digest is not None:
        action = "restore which facts are sealed, if that gives the digest kept at sealing"
        remedies = (Remedy(_MARKS + meter.event_type, action, tuple(differences)),)
    if pending and waits_for:
        notes.append(f"{pending} {meter.event_type} events pending: {waits_for}")
    return Examination(
        measures=(
            Measure("events", sealed.fact_events, events),
            Measure("net usage", sealed.fact_quantity, quantity),
            Measure("not sealed yet", 0, pending if is_due else 0),
        ),
        differences=tuple(differences),
        notes=tuple(notes),
        remedies=remedies,
    )


def _total_differences(meter: Meter, sealed: SealedTotals) -> list[Difference]:
    """What is seen without a look into the events; the digest where all else agrees."""
    pairs: tuple[tuple[str, Value, Value], ...] = (
        ("events", sealed.fact_events, sealed.events),
        ("net usage", sealed.fact_quantity, sealed.quantity),
        ("sealings", sealed.sealings, sealed.counted_sealings),
    )
    found = [Difference(meter.event_type, *pair) for pair in pairs if pair[1] != pair[2]]
    if not found and sealed.digest not in {None, sealed.fact_digest}:
        kept = sealed.digest.hex() if sealed.digest else None
        found = [Difference(meter.event_type, "facts as sealed", kept, sealed.fact_digest.hex())]
    return found


@dataclass(slots=True)
class _ReadEvents:
    """What comparing the events of an hour with its facts found.

    Attributes:
        is_whole: whether every body could be read.
    """

    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    events: int = 0
    quantity: int = 0
    is_whole: bool = True


def _compare_events(inspection: Inspection, hour: Hour, meter: Meter) -> _ReadEvents:
    connection, bodies = inspection.connection, Bodies(inspection)
    read = _ReadEvents()
    usage: Counter[str] = Counter()
    times: Counter[str] = Counter()
    gone = 0
    for batch in reconciliations.sealed_batches(connection, hour, meter):
        if batch.kind != "events":
            continue
        body = bodies.known(batch)
        if body is None:
            gone += 1
            continue
        try:
            for event in bodies.events(batch, body):
                times[event.event_id] += 1
                usage[event.event_id] += event.usage
        except MismatchError as error:
            read.is_whole = False
            read.differences.append(Difference(batch.place, "lines", "events", str(error)))
    if gone:
        read.is_whole = False
        read.notes.append(
            f"{gone} {meter.event_type} batches have no body any more: their events could not be "
            "compared one by one"
        )
    read.events, read.quantity = times.total(), sum(usage.values())
    for state in reconciliations.sealed_states(connection, hour, meter):
        ids_of = EventIds((*state[:5], meter.event_type, state.minute), state.sent_ids)
        ids = [ids_of(revision) for revision in range(1, state.revision + 1)]
        missing = [each for each in ids if not times[each]]
        found = sum(usage[each] for each in ids)
        for each in ids:
            if times[each] > 1:
                read.differences.append(Difference(f"event {each}", "events", 1, times[each]))
            del times[each]
        if not read.is_whole and missing:
            continue
        read.differences += [Difference(f"event {each}", "events", 1, 0) for each in missing]
        if not missing and found != state.quantity:
            place = f"{' '.join(state[:5])} {minute_start(state.minute):%Y-%m-%dT%H:%MZ}"
            read.differences.append(Difference(place, "net usage", state.quantity, found))
    read.differences += [
        Difference(f"event {each}", "events", 0, count) for each, count in sorted(times.items())
    ]
    return read


def _pending(inspection: Inspection, hour: Hour, meter: Meter) -> tuple[int, str]:
    """Events that are not sealed, and why they may wait; no reason when they should be."""
    settings, connection = inspection.settings, inspection.connection
    pending = deliveries.count_changes(connection, hour, meter)
    if not settings.s3_enabled:
        return pending, "BILLING_S3_ENABLED is off"
    if not settings.exports(meter.event_type):
        return pending, f"{meter.event_type} is not in BILLING_EVENT_TYPES"
    return pending, what_waits(connection, settings, hour, inspection.now)


def repair(inspection: Inspection, hour: Hour, subject: str) -> str:
    """Seals and sends what is due, as the export does; or restores which facts are sealed."""
    if subject.startswith(_MARKS):
        event_type = subject.removeprefix(_MARKS)
        (meter,) = (each for each in inspection.meters if each.event_type == event_type)
        return restore_marks(inspection, hour, meter)
    results = deliver_hours(inspection.engine, HourRange.single(hour), now=inspection.now)
    (result,) = (result for result in results if result.event_type == subject)
    return f"{subject} {result.outcome}: {result.events} events in {result.batches} batches"


CHECK: Final = Check("facts_events", examine, repair)
