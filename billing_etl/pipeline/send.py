"""Sends what was sealed: the same bytes to the same keys, however often it is tried.

Source of the rules: delivery contract, "Sealing", "Integrity" and "Manifest".
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from billing_etl.batches import decompress
from billing_etl.delivery import EVENTS_CONTENT_TYPE, MANIFEST_CONTENT_TYPE, ObjectStore
from billing_etl.errors import BillingError
from billing_etl.hours import Hour
from billing_etl.store import deliveries
from billing_etl.store.database import Connection
from billing_etl.store.deliveries import BatchKind, Meter, PendingBatch

CONTENT_TYPES: Final[dict[BatchKind, str]] = {
    "events": EVENTS_CONTENT_TYPE,
    "manifest": MANIFEST_CONTENT_TYPE,
}


@dataclass(frozen=True, slots=True)
class Sending:
    """What sending shares during one run: ``concurrency`` puts at the same time, by ``pool``."""

    connection: Connection
    objects: ObjectStore
    pool: ThreadPoolExecutor
    concurrency: int
    checked_buckets: set[str] = field(default_factory=set)

    def check(self, buckets: Iterable[str]) -> None:
        """Asks once per run whether each bucket may be used; see ``ObjectStore.check_bucket``."""
        for bucket in set(buckets) - self.checked_buckets:
            self.objects.check_bucket(bucket)
            self.checked_buckets.add(bucket)


def send(run: Sending, hour: Hour, meter: Meter) -> Iterator[PendingBatch]:
    """Sends what is pending, sealing by sealing, a manifest only after all of its batches."""
    pending = deliveries.pending_batches(run.connection, hour, meter)
    run.check(batch.bucket for batch in pending)
    for _, group in groupby(pending, key=lambda batch: (batch.sealing, batch.kind)):
        yield from _send_together(run, list(group))


def _send_together(run: Sending, batches: list[PendingBatch]) -> list[PendingBatch]:
    """Holds as many payloads as there are threads; marks each object as it is confirmed.

    After a failure nothing more is started, what is under way is waited for and marked, and the
    first error is raised.
    """
    under_way: dict[Future[str], PendingBatch] = {}
    errors: list[BaseException] = []
    for batch in batches:
        if len(under_way) >= run.concurrency:
            errors += _settle(run, under_way)
        if errors:
            break
        stored = deliveries.compressed_payload(run.connection, batch.batch_id)
        under_way[run.pool.submit(_put, run.objects, batch, stored)] = batch
    while under_way:
        errors += _settle(run, under_way)
    if errors:
        raise errors[0]
    return batches


def _put(objects: ObjectStore, batch: PendingBatch, stored: bytes) -> str:
    payload = decompress(stored)
    return objects.put(batch.bucket, batch.object_key, payload, CONTENT_TYPES[batch.kind])


def _settle(run: Sending, under_way: dict[Future[str], PendingBatch]) -> list[BaseException]:
    """Records the end of at least one put and gives the errors."""
    errors: list[BaseException] = []
    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
    for future in done:
        batch = under_way.pop(future)
        error = future.exception()
        if error is None:
            deliveries.mark_delivered(run.connection, {batch.batch_id: future.result()})
        else:
            known = str(error) if isinstance(error, BillingError) else type(error).__name__
            deliveries.mark_failed(run.connection, batch.batch_id, known)
            errors.append(error)
    return errors
