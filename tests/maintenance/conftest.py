import pytest
from billing_fixtures import bucket, buckets, s3
from database_logins import login
from pipeline.harness import line

pytest.register_assert_rewrite("audit.settled", "maintenance.archived")

from audit.settled import settled, settled_template  # noqa: E402

from maintenance.archived import archive  # noqa: E402

__all__ = ["archive", "bucket", "buckets", "line", "login", "s3", "settled", "settled_template"]
