import pytest
from billing_fixtures import bucket, buckets, s3
from pipeline.harness import line

pytest.register_assert_rewrite("scenarios.case")

from scenarios.case import case  # noqa: E402

__all__ = ["bucket", "buckets", "case", "line", "s3"]
