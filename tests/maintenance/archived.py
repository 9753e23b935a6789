"""The settled day on its way into the archive, and what is found there."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
from audit.settled import Settled
from pipeline.harness import DAY

from billing_etl.pipeline.maintain import StepResult, run_step
from billing_etl.settings import RETENTION

KEEP = timedelta(days=30)
# The settled day is just due; the day after it is not collected.
DUE = datetime(2026, 4, 9, tzinfo=UTC) + KEEP
PREFIX = f"archive/facts/date={DAY}/"


class Archive:
    """What an operator does with a settled day."""

    def __init__(self, settled: Settled, s3: Any, bucket: str) -> None:
        self.settled, self.line = settled, settled.line
        self.s3, self.bucket = s3, bucket
        self.line.settings["retention"] = RETENTION | {"facts": KEEP}

    def run(self, now: datetime = DUE, *, dry_run: bool = False) -> StepResult:
        return run_step(self.line.engine, "archive", now=now, dry_run=dry_run)

    def archive(self) -> None:
        """Takes the day away; nothing may hold it up."""
        result = self.run()
        assert result.counts["held"] == 0, result.details
        assert self.facts_here() == 0

    def facts_here(self) -> int:
        ((count,),) = self.line.rows("select count(*)::int from billing_core.facts")
        return int(count)

    def objects(self) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="archive/").get("Contents", ())
        return {
            entry["Key"]: self.s3.get_object(Bucket=self.bucket, Key=entry["Key"])["Body"].read()
            for entry in listed
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        for _, body in sorted(self.objects().items()):
            yield from pq.read_table(io.BytesIO(body)).to_pylist()

    def totals(self) -> tuple[Any, ...]:
        """What the database has of the facts it holds."""
        (row,) = self.line.rows(
            "select count(*)::int, sum(uplink_bytes)::bigint, sum(downlink_bytes)::bigint,"
            " sum(included_bytes)::bigint, sum(rated_bytes)::bigint, sum(amount)"
            " from billing.usage_minutes"
        )
        return row


def environment(archive: Archive) -> dict[str, str]:
    """The same settings, as commands read them; the day has long been due."""
    credentials = archive.s3._request_signer._credentials
    return archive.line.environment(
        BILLING_RETENTION="facts=30d",
        BILLING_S3_ENABLED="1",
        BILLING_S3_BUCKET=archive.bucket,
        BILLING_S3_ENDPOINT_URL=str(archive.line.settings["s3_endpoint_url"]),
        AWS_ACCESS_KEY_ID=credentials.access_key,
        AWS_SECRET_ACCESS_KEY=credentials.secret_key,
        AWS_REGION="us-east-1",
    )


@pytest.fixture
def archive(settled: Settled, s3: Any, bucket: str) -> Archive:
    return Archive(settled, s3, bucket)
