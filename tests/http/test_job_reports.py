"""One report of a run of a job, from the records of its steps."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing_etl.pipeline.job_reports import report_of
from billing_etl.pipeline.jobs import COLLECT_AND_RATE, RECONCILE
from billing_etl.store.jobs import Step

NOW = datetime(2026, 4, 8, 15, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
COUNTS: dict[str, Any] = {"samples": 10, "facts_written": 4, "facts_unchanged": 3}


def step(
    command: str,
    status: str = "success",
    *,
    hours: str | None = None,
    ago: timedelta = 5 * MINUTE,
    error: str | None = None,
    **counts: Any,
) -> Step:
    finished = None if status == "running" else NOW - ago + MINUTE
    return Step(command, hours, NOW - ago, finished, status, error, counts)


def collected(source_id: str, status: str = "success", **more: Any) -> Step:
    counts: dict[str, Any] = COUNTS if status == "success" else {}
    return step("collect", status, hours=f"{source_id} [a, b)", **counts, **more)


FAILED = collected("de-1", "failed", error="source de-1: no answer")
RATED = step("rate", ago=2 * MINUTE)
HOURS_AGO = timedelta(hours=4)


@pytest.mark.parametrize(
    ("job", "steps", "status", "error"),
    [
        (COLLECT_AND_RATE, [collected("jp-1"), RATED], "ok", ""),
        (COLLECT_AND_RATE, [collected("jp-1"), FAILED, RATED], "partial", "source de-1: no answer"),
        (COLLECT_AND_RATE, [FAILED, RATED], "error", "source de-1: no answer"),
        (COLLECT_AND_RATE, [collected("jp-1"), step("rate", "failed", error="no price")], "error",
         "no price"),
        (COLLECT_AND_RATE, [collected("jp-1"), step("rate", "running")], "running", ""),
        (COLLECT_AND_RATE, [collected("jp-1", "running")], "running", ""),
        (COLLECT_AND_RATE, [FAILED], "running", ""),
        (COLLECT_AND_RATE, [collected("jp-1", ago=HOURS_AGO)], "error", ""),
        (COLLECT_AND_RATE, [collected("jp-1", "running", ago=HOURS_AGO), RATED], "error",
         "collect: its process ended without a word; it is done again by a later run"),
        (RECONCILE, [step("reconcile", clean=6, different=0)], "ok", ""),
        (RECONCILE, [step("reconcile", clean=4, different=2)], "partial",
         "reconcile: 2 checks left a difference; see billing.findings"),
        (RECONCILE, [step("reconcile", "failed", error="database: refused")], "error",
         "database: refused"),
        (RECONCILE, [collected("jp-1"), step("reconcile", "running")], "running", ""),
        (RECONCILE, [FAILED, step("reconcile", different=1)], "partial",
         "source de-1: no answer; reconcile: 1 checks left a difference; see billing.findings"),
    ],
)  # fmt: skip
def test_the_status_of_a_job(job: str, steps: list[Step], status: str, error: str) -> None:
    report = report_of(job, "run-1", steps, NOW)

    assert (report.status, report.error) == (status, error)
    assert report.started_at == min(step.started_at for step in steps)
    assert (report.finished_at is None) == (
        status == "running" or all(step.finished_at is None for step in steps)
    )


def test_counts_are_summed_over_sources_and_told_for_each() -> None:
    report = report_of(
        COLLECT_AND_RATE, "run-1", [collected("jp-1"), collected("us-1"), FAILED], NOW
    )

    assert report.job == "collect-and-rate"
    sums = (report.processed_samples, report.written_minutes, report.replayed_minutes)
    assert sums == (20, 8, 6)
    assert [(s.source_id, s.status, s.processed_samples) for s in report.sources] == [
        ("jp-1", "ok", 10), ("us-1", "ok", 10), ("de-1", "error", 0),
    ]  # fmt: skip
    assert report.sources[0].hours == "[a, b)"
