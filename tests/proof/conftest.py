from billing_fixtures import bucket, buckets, s3
from pipeline.harness import line

from proof.crash_fixtures import services, site

__all__ = ["bucket", "buckets", "line", "s3", "services", "site"]
