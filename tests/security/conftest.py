from billing_fixtures import bucket, buckets, s3
from database_logins import login
from pipeline.harness import line

__all__ = ["bucket", "buckets", "line", "login", "s3"]
