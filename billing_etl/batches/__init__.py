"""Events cut into batches, object keys, digests and manifests; the same input, the same bytes.

``batches.parquet`` is imported by who needs it.
"""

from billing_etl.batches.cutting import (
    Batch,
    Event,
    LineCutter,
    compress,
    decompress,
    digest_of_ids,
)
from billing_etl.batches.keys import PARQUET_PATH, ObjectKeys
from billing_etl.batches.manifests import Manifest, ManifestEntry, manifest

__all__ = [
    "PARQUET_PATH",
    "Batch",
    "Event",
    "LineCutter",
    "Manifest",
    "ManifestEntry",
    "ObjectKeys",
    "compress",
    "decompress",
    "digest_of_ids",
    "manifest",
]
