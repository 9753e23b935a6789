"""Seals hours and sends what was sealed (delivery contract).

Sealing decides and stores every byte in one transaction; sending only repeats what is stored.
A crash anywhere is therefore healed by the next run: the same bytes go to the same key.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from billing_etl.delivery import configured_bucket, object_store_from
from billing_etl.errors import MismatchError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.forms import object_keys
from billing_etl.pipeline.heartbeat import watch_delivery
from billing_etl.pipeline.seal import Sealing, move, seal, what_waits
from billing_etl.pipeline.send import Sending, send
from billing_etl.store import archives, deliveries
from billing_etl.store.database import Connection
from billing_etl.store.deliveries import Meter

Outcome: TypeAlias = Literal["off", "open", "nothing_new", "sealed", "sent"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliverResult:
    """What became of one hour and event type.

    Attributes:
        outcome: ``off``: switched off, nothing sealed or sent; ``open``: too early to seal;
            ``sealed``: sealed now and delivered; ``sent``: sealed by an earlier run, delivered
            now; ``nothing_new``: everything had been delivered before.
        reason: why events are pending, empty when none are.
        batches, events, bytes: delivered by this call, manifests not counted.
        pending: events that wait, sealed or not.
    """

    hour: Hour
    event_type: str
    outcome: Outcome
    reason: str = ""
    batches: int = 0
    events: int = 0
    bytes: int = 0
    pending: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "hour": str(self.hour),
            "event_type": self.event_type,
            "outcome": self.outcome,
            "reason": self.reason,
            "batches": self.batches,
            "events": self.events,
            "bytes": self.bytes,
            "pending": self.pending,
        }


def deliver_hours(
    engine: Engine, hours: HourRange, *, now: datetime | None = None
) -> list[DeliverResult]:
    """Seals what is ready in the range, oldest hour first, and sends everything pending in it.

    Args:
        now: the wall clock that BILLING_SEAL_GRACE is measured by.

    Raises:
        UsageError: the path template is malformed.
        MismatchError: a key holds other content; the other hours were delivered all the same.
        BillingError: the bucket or role is wrong, or the store or database is away; what was
            sealed stays pending.
    """
    now = now or datetime.now(UTC)
    with engine.kept():
        try:
            return _deliver_hours(engine, hours, now)
        finally:
            watch_delivery(engine, now=now)


def _deliver_hours(engine: Engine, hours: HourRange, now: datetime) -> list[DeliverResult]:
    settings = engine.settings
    if settings.s3_enabled:
        object_keys(settings)  # a malformed template is named before anything is done
    results: list[DeliverResult] = []
    mismatches: list[MismatchError] = []
    with engine.run("export", hours) as run, engine.connect() as connection:
        connection.autocommit = True  # transactions are opened where they are meant
        archives.refuse(connection, hours.start, "export")
        meters = deliveries.meters(connection)
        if not settings.s3_enabled:
            reason = "BILLING_S3_ENABLED is off"
            results = [_off(connection, hour, meter, reason) for hour in hours for meter in meters]
            run.counts = _counts(results)
            return results
        with ThreadPoolExecutor(settings.s3_concurrency, "deliver") as pool:
            objects = object_store_from(settings)
            sealing = Sealing(settings, connection, configured_bucket(settings), run.run_id)
            sending = Sending(connection, objects, pool, settings.s3_concurrency)
            objects.check_bucket(sealing.bucket)
            for hour in hours:
                for meter in meters:
                    try:
                        results.append(_deliver(sealing, sending, hour, meter, now))
                    except MismatchError as error:
                        _log.error("%s", error)
                        mismatches.append(error)
        run.counts = _counts(results)
        if mismatches:
            more = f" (and {len(mismatches) - 1} more hours)" if len(mismatches) > 1 else ""
            raise MismatchError(f"{mismatches[0]}{more}")
    return results


def pending_hours(engine: Engine, before: Hour) -> list[Hour]:
    """Hours that end at or before the start of ``before`` with something to seal or to send.

    None while S3 or every event type is switched off: nothing could be done about them.
    """
    if not engine.settings.s3_enabled:
        return []
    with engine.connect() as connection:
        meters = [
            meter
            for meter in deliveries.meters(connection)
            if engine.settings.exports(meter.event_type)
        ]
        return deliveries.pending_hours(connection, before, meters)


def waits_for(
    engine: Engine, hours: HourRange, *, delivery: bool, now: datetime | None = None
) -> str:
    """What the hours still wait for: collecting, and with ``delivery`` also sealing and sending.

    Empty when there is nothing to wait for.
    """
    now = now or datetime.now(UTC)
    with engine.connect() as connection:
        reasons = [what_waits(connection, engine.settings, hour, now) for hour in hours]
    if delivery and not any(reasons):
        undelivered = set(pending_hours(engine, hours.end)) & set(hours)
        reasons += [f"{hour} is not delivered yet" for hour in sorted(undelivered)]
    return "; ".join(reason for reason in reasons if reason)


def _counts(results: list[DeliverResult]) -> dict[str, int]:
    return {
        "batches": sum(result.batches for result in results),
        "events": sum(result.events for result in results),
        "bytes": sum(result.bytes for result in results),
        "pending": sum(result.pending for result in results),
    }


def _off(connection: Connection, hour: Hour, meter: Meter, reason: str) -> DeliverResult:
    unsealed = deliveries.count_changes(connection, hour, meter)
    pending = unsealed + deliveries.count_pending_events(connection, hour, meter)
    return DeliverResult(hour, meter.event_type, "off", reason, pending=pending)


def _deliver(
    sealing: Sealing, sending: Sending, hour: Hour, meter: Meter, now: datetime
) -> DeliverResult:
    connection, settings = sealing.connection, sealing.settings
    if not settings.exports(meter.event_type):
        reason = f"{meter.event_type} is not in BILLING_EVENT_TYPES"
        return _off(connection, hour, meter, reason)
    with connection.transaction():
        waits_for = what_waits(connection, settings, hour, now)
        is_sealed = not waits_for and seal(sealing, hour, meter)
    for bucket in deliveries.waiting_buckets(connection, hour, meter):
        if bucket != sealing.bucket and not sending.has_bucket(bucket):
            move(sealing, hour, meter, bucket)
    sent = send(sending, hour, meter)
    outcome: Outcome
    if waits_for:
        outcome = "open"
    elif is_sealed:
        outcome = "sealed"
    else:
        outcome = "sent" if sent.objects else "nothing_new"
    return DeliverResult(
        hour,
        meter.event_type,
        outcome,
        reason=waits_for,
        batches=sent.batches,
        events=sent.events,
        bytes=sent.bytes,
        pending=deliveries.count_changes(connection, hour, meter) if waits_for else 0,
    )
