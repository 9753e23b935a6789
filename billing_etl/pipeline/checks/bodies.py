"""The bodies of sealed objects: as they were sealed, and as the object store holds them."""

from collections.abc import Iterator
from dataclasses import dataclass

from billing_etl.batches import decompress
from billing_etl.errors import BillingError
from billing_etl.events import ReadEvent, envelope_named
from billing_etl.pipeline.checks.inspection import Inspection
from billing_etl.store import deliveries
from billing_etl.store.reconciliations import SealedBatch


@dataclass(frozen=True, slots=True)
class Bodies:
    """Where a run of reconciliation takes bodies from."""

    inspection: Inspection

    def sealed(self, batch: SealedBatch) -> bytes | None:
        """The sealed payload; None when it is kept no more.

        Raises:
            ValueError: it is damaged so that it cannot be unpacked.
        """
        if not batch.has_payload:
            return None
        return decompress(deliveries.compressed_payload(self.inspection.connection, batch.batch_id))

    def stored(self, batch: SealedBatch) -> bytes | None:
        """What the object store holds; None when there is nothing.

        Raises:
            BillingError: the store did not answer, or refused.
        """
        assert self.inspection.objects is not None
        return self.inspection.objects.get(batch.bucket, batch.object_key)

    def known(self, batch: SealedBatch) -> bytes | None:
        """The sealed payload, or what is stored when that is kept no more; None: neither."""
        try:
            body = self.sealed(batch)
        except ValueError:
            body = None
        if body is None and self.inspection.objects is not None:
            try:
                body = self.stored(batch)
            except BillingError:
                return None
        return body

    def events(self, batch: SealedBatch, body: bytes) -> Iterator[ReadEvent]:
        """The events of a body, as the envelope of the batch reads them.

        Raises:
            MismatchError: a line is no event, or the file no Parquet.
        """
        if batch.kind == "parquet":
            # Here, as importing pyarrow takes time and memory that others are to be spared.
            from billing_etl.batches.parquet import read_events

            return (ReadEvent(*event) for event in read_events(body))
        envelope = envelope_named(batch.envelope, self.inspection.settings.product)
        return (envelope.read(line) for line in body.splitlines())
