"""The worked example's day, taken through the whole line to a clean reconciliation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from pipeline.harness import DAY, JSON, Answer, Line, command, readings, worked_example

from billing_etl.hours import HourRange, parse_hour
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


@pytest.fixture
def settled(line: Line, s3: Any, s3_server: Any, bucket: str) -> Settled:
    line.settings |= {
        "s3_enabled": True,
        "s3_bucket": bucket,
        "s3_endpoint_url": s3_server.endpoint_url,
    }
    day = Settled(line)
    day.serve()
    day.settle()
    return day
