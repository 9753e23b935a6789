"""The worked example's day, taken through the whole line to a clean reconciliation.

That takes seconds, so it is done once; each test gets a copy of the database, with the sealed
objects in the bucket and an exporter of its own.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pipeline.harness import DAY, JSON, Answer, Line, command, readings, worked_example
from psycopg import sql

from billing_etl.batches import decompress
from billing_etl.hours import HourRange, parse_hour
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.reconcile import reconcile_hours

# Counters go on the next day: every hour of this one is complete.
NEXT_DAY = readings(("2026-04-09T00:00:03Z", 30, 50))
HOURS = ("2026-04-08T12", "2026-04-09T00")
LATE = ("12:59:03", 20, 40)


@dataclass
class Settled:
    """A line whose day is settled, and what an operator or an auditor asks of it."""

    line: Line

    def serve(self, *late: tuple[str, int, int], **source: Any) -> None:
        self.line.serve([*worked_example(*late), *NEXT_DAY], **source)

    def settle(self, start: str = HOURS[0], end: str = HOURS[1]) -> None:
        """Does everything that is due of the hours; nothing may be left."""
        hours = HourRange(parse_hour(start), parse_hour(end))
        self.line.collected(*(str(hour) for hour in hours))
        self.line.rate(start, end)
        deliver_hours(self.line.engine, hours)
        result = reconcile_hours(self.line.engine, hours)
        assert result.clean, [check for check in result.checks if check.status == "different"]

    def statement(self, *arguments: str) -> Answer:
        span = () if {"--day", "--month"} & set(arguments) else ("--day", DAY)
        return command(self.line.environment(), "statement", *span, *arguments)

    def document(self, *arguments: str, code: int = 0) -> JSON:
        answer = self.statement(*arguments, "--json")
        assert answer.code == code, answer.out + answer.err
        document: JSON = answer.document
        return document

    def sign(self, *arguments: str) -> JSON:
        return self.document("--sign", *arguments)

    def verify(self, *, code: int) -> JSON:
        return self.document("--verify", code=code)

    def damage(self, *statements: str) -> None:
        """What only a superuser can do: no trigger sees it."""
        self.line.execute("; ".join(["set session_replication_role = replica", *statements]))

    def changed(self, verdict: JSON) -> dict[str, Sequence[str]]:
        """Tables that changed, by hour."""
        return {
            change["hour"]: [table["table"] for table in change["tables"]]
            for change in verdict["changes"]
        }


@pytest.fixture(scope="session")
def settled_template(
    postgres_server: EmbeddedPostgres,
    migrated_template: str,
    s3_server: Any,
    buckets: tuple[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """Name of a database in which the day is settled; its objects lie in the tests' bucket."""
    name = f"settled_{uuid.uuid4().hex}"
    postgres_server.create_database(name, migrated_template)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        day = _day(postgres_server.url(name), tmp_path_factory.mktemp("settled"), stack)
        _delivers_to(day, s3_server, buckets[0])
        day.settle()
    return name


@pytest.fixture
def settled(
    postgres_server: EmbeddedPostgres,
    settled_template: str,
    s3: Any,
    s3_server: Any,
    bucket: str,
    tmp_path: Path,
) -> Iterator[Settled]:
    name = f"test_{uuid.uuid4().hex}"
    postgres_server.create_database(name, settled_template)
    with ExitStack() as stack:
        day = _day(postgres_server.url(name), tmp_path, stack)
        _delivers_to(day, s3_server, bucket)
        for key, payload in day.line.rows("select object_key, payload from billing_core.batches"):
            body = decompress(payload)
            s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")
        yield day
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _day(database_url: str, directory: Path, stack: ExitStack) -> Settled:
    day = Settled(Line(database_url, directory, stack))
    day.serve()
    return day


def _delivers_to(day: Settled, s3_server: Any, bucket: str) -> None:
    day.line.settings |= {
        "s3_enabled": True,
        "s3_bucket": bucket,
        "s3_endpoint_url": s3_server.endpoint_url,
    }
