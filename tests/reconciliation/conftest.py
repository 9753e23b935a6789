from billing_fixtures import (
    bucket,
    buckets,
    engine,
    engine_without_s3,
    other_bucket,
    rows,
    s3,
    settings,
)

__all__ = [
    "bucket",
    "buckets",
    "engine",
    "engine_without_s3",
    "other_bucket",
    "rows",
    "s3",
    "settings",
]
