"""Sends what was sealed: the same bytes to the same keys, however often it is tried.

One thread talks to the database, ``concurrency`` others to the object store. Payloads are read and
objects are marked in groups, so that a small object costs little more than its request; two groups
are held at most, whatever the hour holds.

Source of the rules: delivery contract, "Sealing", "Integrity" and "Manifest".
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event
from typing import Final, TypeAlias

from billing_etl.batches import decompress
from billing_etl.delivery import (
    EVENTS_CONTENT_TYPE,
    MANIFEST_CONTENT_TYPE,
    PARQUET_CONTENT_TYPE,
    ObjectStore,
)
from billing_etl.errors import BillingError, MismatchError
from billing_etl.hours import Hour
from billing_etl.store import deliveries
from billing_etl.store.database import Connection
from billing_etl.store.deliveries import BatchKind, Meter, PendingBatch

CONTENT_TYPES: Final[dict[BatchKind, str]] = {
    "events": EVENTS_CONTENT_TYPE,
    "manifest": MANIFEST_CONTENT_TYPE,
    "parquet": PARQUET_CONTENT_TYPE,
}
# Of compressed payloads that are read together.
_GROUP_OBJECTS: Final = 128
_GROUP_BYTES: Final = 2 * 2**20
# Puts under way or waiting for a thread while the next group is read, so that no thread is idle.
_WAITING: Final = 16

# The ETag, or why there is none. No error and no ETag: not tried, as another one had failed.
_Settled: TypeAlias = tuple[PendingBatch, str | None, BaseException | None]


@dataclass(slots=True)
class Sent:
    """What was delivered; ``batches``, ``events`` and ``bytes`` do not count manifests."""

    objects: int = 0
    batches: int = 0
    events: int = 0
    bytes: int = 0

    def add(self, batch: PendingBatch) -> None:
        self.objects += 1
        if batch.kind == "events":
            self.batches += 1
            self.events += batch.events
            self.bytes += batch.size_bytes


@dataclass(frozen=True, slots=True)
class Sending:
    """What sending shares during one run: ``concurrency`` puts at the same time, by ``pool``."""

    connection: Connection
    objects: ObjectStore
    pool: ThreadPoolExecutor
    concurrency: int
    _buckets: dict[str, bool] = field(default_factory=dict)

    def has_bucket(self, bucket: str) -> bool:
        """Asks once per run; see ``ObjectStore.has_bucket``."""
        if bucket not in self._buckets:
            self._buckets[bucket] = self.objects.has_bucket(bucket)
        return self._buckets[bucket]


def send(run: Sending, hour: Hour, meter: Meter) -> Sent:
    """Sends what is pending, sealing by sealing, a manifest only after all of its batches.

    After a failure nothing more is started, what is under way is waited for and marked, and the
    first error is raised.
    """
    outbox = _Outbox(run)
    after: PendingBatch | None = None
    try:
        while group := deliveries.pending_group(
            run.connection, hour, meter, after, _GROUP_OBJECTS, _GROUP_BYTES
        ):
            for batch in group:
                outbox.start(batch)
            outbox.settle(at_most=max(_WAITING, 2 * run.concurrency))
            after = group[-1]
        outbox.settle(at_most=0)
    finally:
        outbox.stop.set()
    return outbox.sent


class _Outbox:
    """Objects on their way; used by the thread that owns the database connection.

    Attributes:
        sent: what is confirmed and marked.
        stop: once set, nothing that waits for a thread is started any more.
    """

    def __init__(self, run: Sending) -> None:
        self.sent = Sent()
        self.stop = Event()
        self._run = run
        self._settled: SimpleQueue[_Settled] = SimpleQueue()
        self._under_way = 0
        self._confirmed: dict[int, str] = {}
        self._of: tuple[int, BatchKind] | None = None

    def start(self, batch: PendingBatch) -> None:
        """Hands a batch to the threads, after all that must be confirmed before it."""
        if (batch.sealing, batch.kind) != self._of:
            self.settle(at_most=0)
            self._of = (batch.sealing, batch.kind)
        self._run.pool.submit(self._put, batch)
        self._under_way += 1

    def settle(self, at_most: int) -> None:
        """Waits until at most so many are under way; all that are confirmed by then are marked."""
        errors: list[BaseException] = []
        while self._under_way > at_most and not errors:
            errors += self._settle_one()
        while errors and self._under_way:
            errors += self._settle_one()
        if self._confirmed:
            deliveries.mark_delivered(self._run.connection, self._confirmed)
            self._confirmed = {}
        if errors:
            raise errors[0]

    def _settle_one(self) -> list[BaseException]:
        batch, etag, error = self._settled.get()
        self._under_way -= 1
        if etag is not None:
            self._confirmed[batch.batch_id] = etag
            self.sent.add(batch)
        if error is None:
            return []
        known = str(error) if isinstance(error, BillingError) else type(error).__name__
        deliveries.mark_failed(self._run.connection, batch.batch_id, known)
        return [error]

    def _put(self, batch: PendingBatch) -> None:
        """Runs in a thread of the pool."""
        if self.stop.is_set():
            self._settled.put((batch, None, None))
            return
        try:
            etag = self._run.objects.put(
                batch.bucket,
                batch.object_key,
                _payload(batch),
                CONTENT_TYPES[batch.kind],
                batch.sha256,
            )
        except BaseException as error:
            self.stop.set()
            self._settled.put((batch, None, error))
        else:
            self._settled.put((batch, etag, None))


def _payload(batch: PendingBatch) -> bytes:
    try:
        return decompress(batch.payload)
    except ValueError as error:
        raise MismatchError(
            f"s3://{batch.bucket}/{batch.object_key}: its sealed payload cannot be decompressed "
            f"({error}); restore the row of billing_core.batches from a backup"
        ) from error
