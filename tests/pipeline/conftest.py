from billing_fixtures import bucket, buckets, s3

from pipeline.harness import line

__all__ = ["bucket", "buckets", "line", "s3"]
