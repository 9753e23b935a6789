"""Findings stay open until they are proven gone; repairs are on record whatever becomes of them."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest
from billing_rows import ACCOUNT, HOUR

from billing_etl.errors import TerminalError
from billing_etl.pipeline.attention import close_finding
from billing_etl.pipeline.checks import sealed_stored
from billing_etl.pipeline.checks.inspection import Inspection
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.reconcile import ReconcileResult, reconcile_hours
from reconciliation.line import HOURS, TOTALS, Line


def reconcile(line: Line, *, repair: bool = False, **settings: Any) -> ReconcileResult:
    engine = Engine(replace(line.engine.settings, **settings))
    return reconcile_hours(engine, HOURS, repair=repair)


def late(line: Line) -> None:
    """A snapshot turns up that was not collected."""
    totals = dict(TOTALS)
    totals["12:04:03"] = {ACCOUNT: (8, 15)}
    line.serve(dict(sorted(totals.items())))


def subjects(line: Line) -> list[str]:
    return [finding["subject"] for finding in line.findings()]


LATE = ["exporter_collected: jp-1 prod/node-1 2026-04-08T12:04:03Z: samples"]


def test_a_finding_says_what_where_how_much_since_when_and_what_would_be_done(line: Line) -> None:
    late(line)
    reconcile(line)
    (finding,) = line.findings()
    assert finding["subject"] == LATE[0]
    assert finding["hour"] == HOUR.start
    assert finding["measure"] == "samples"
    assert (finding["expected"], finding["actual"]) == (1, None)
    assert (finding["expected_value"], finding["actual_value"]) == ("1", None)
    assert finding["difference"] == "missing"
    assert finding["since"] == finding["opened_at"]
    assert finding["repair"] == "would collect jp-1 again"
    assert finding["repaired_by_run"] is None

    reconcile(line)
    (again,) = line.findings()
    assert again == finding


@pytest.mark.parametrize("why", ["no answer", "forgotten", "switched off"])
def test_what_cannot_be_looked_at_stays_open(line: Line, why: str) -> None:
    late(line)
    reconcile(line)
    assert subjects(line) == LATE
    if why == "no answer":
        (source,) = line.engine.settings.sources
        reconcile(line, sources=(replace(source, token="wrong"),))
    elif why == "forgotten":
        line.serve({at: TOTALS[at] for at in TOTALS if at >= "12:09"})
        assert reconcile(line).clean
    else:
        reconcile(line, sources=())
    assert set(LATE) <= set(subjects(line))

    line.serve(TOTALS)
    assert set(LATE) <= set(subjects(line))
    late(line)
    assert reconcile(line, repair=True).clean
    assert subjects(line) == []


def test_a_finding_of_a_store_that_is_switched_off_stays_open(line: Line) -> None:
    line.s3.delete_object(Bucket=line.bucket, Key=line.keys()[0])
    reconcile(line)
    opened = subjects(line)
    assert len(opened) == 1
    reconcile(line, s3_enabled=False)
    assert subjects(line) == opened


def test_what_a_person_closed_opens_again_while_it_is_there(line: Line) -> None:
    late(line)
    reconcile(line)
    (finding,) = line.findings()
    close_finding(line.engine, finding["finding_id"], "seen")
    assert line.findings() == []
    reconcile(line)
    (again,) = line.findings()
    assert again["finding_id"] == finding["finding_id"]
    assert again["since"] > finding["since"]


def test_findings_of_a_check_are_bounded_and_the_rest_is_counted(line: Line) -> None:
    key = line.keys()[0].rpartition("/")[0]
    for number in range(53):
        line.put(f"{key}/stray-{number:02}.jsonl", b"{}\n")
    reconcile(line)
    found = line.findings()
    assert len(found) == 51
    assert found[-1]["subject"] == "sealed_stored: further differences"
    assert (found[-1]["expected"], found[-1]["actual"]) == (0, 3)
    for number in range(52):
        line.s3.delete_object(Bucket=line.bucket, Key=f"{key}/stray-{number:02}.jsonl")
    reconcile(line)
    assert [each["subject"].rpartition("/")[2] for each in line.findings()] == [
        "stray-52.jsonl: foreign objects"
    ]


# --- repairs -----------------------------------------------------------------------------------


def test_a_repair_says_what_was_wrong_what_was_done_and_what_came_of_it(line: Line) -> None:
    key = line.keys()[0]
    line.s3.delete_object(Bucket=line.bucket, Key=key)
    assert reconcile(line, repair=True).clean
    (repair,) = line.repairs()
    place = f"s3://{line.bucket}/{key}"
    assert repair["subject"] == place
    assert repair["wrong"] == f"{place}: objects expected 1, got 0 (-1, less than expected)"
    assert repair["action"] == f"send {place} again from its sealed payload"
    assert (repair["outcome"], repair["detail"]) == ("repaired", f"{place} sent again")
    assert repair["begun_at"] < repair["ended_at"]
    (closed,) = line.findings("true")
    assert closed["repaired_by_run"] == repair["run_id"]
    assert closed["repair"] == closed["resolution"] == f"{place} sent again"


def test_a_repair_that_fails_is_on_record_and_its_finding_stays_open(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(inspection: Inspection, hour: object, subject: str) -> str:
        raise TerminalError("no")

    check = replace(sealed_stored.CHECK, repair=refuse)
    monkeypatch.setattr("billing_etl.pipeline.reconcile.CHECKS", (check,))
    line.s3.delete_object(Bucket=line.bucket, Key=line.keys()[0])
    result = reconcile(line, repair=True)
    assert not result.clean
    assert result.checks[0].details[-1] == "repair failed: no"
    assert [(each["outcome"], each["detail"]) for each in line.repairs()] == [("failed", "no")]
    assert [finding["repair"] for finding in line.findings()] == ["failed: no"]


def test_a_repair_whose_run_ends_in_between_is_on_record(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(inspection: Inspection, hour: object, subject: str) -> str:
        raise KeyboardInterrupt

    check = replace(sealed_stored.CHECK, repair=die)
    line.s3.delete_object(Bucket=line.bucket, Key=line.keys()[0])
    with monkeypatch.context() as patch:
        patch.setattr("billing_etl.pipeline.reconcile.CHECKS", (check,))
        with pytest.raises(KeyboardInterrupt):
            reconcile(line, repair=True)
    assert [(each["outcome"], each["detail"]) for each in line.repairs()] == [("begun", None)]
    assert reconcile(line, repair=True).clean


@pytest.mark.parametrize("table", ["repairs", "repair_outcomes"])
@pytest.mark.parametrize("statement", ["delete from", "truncate"])
def test_nobody_changes_the_record_of_repairs(line: Line, table: str, statement: str) -> None:
    line.s3.delete_object(Bucket=line.bucket, Key=line.keys()[0])
    reconcile(line, repair=True)
    cascade = " cascade" if statement == "truncate" else ""
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        line.rows.connection.execute(f"{statement} billing_core.{table}{cascade}".encode())


# --- without what is kept to prove it by ------------------------------------------------------


def test_hours_sealed_before_digests_and_etags_were_kept_are_read_and_found_clean(
    line: Line,
) -> None:
    line.change("update billing_core.deliveries set sealed_digest = null")
    line.change("update billing_core.batches set etag = null")
    assert reconcile(line).clean
    line.change(
        "update billing_core.facts set uplink_quantity = uplink_quantity + 1 where minute = %s",
        HOUR.first_minute + 9,
    )
    assert {check.check for check in reconcile(line).checks if check.status == "different"} == {
        "counters_facts", "facts_ratings", "ratings_ledger", "facts_events",
    }  # fmt: skip


def test_one_that_cannot_be_read_keeps_no_other_from_being_checked(line: Line) -> None:
    """A payload that is no JSON at all, in an hour whose facts are not as they were sealed."""
    line.change("update billing_core.deliveries set sealed_digest = '\\x00'")
    line.change(
        "update billing_core.batches set payload = '\\x00', payload_sha256 = sha256('\\x00')"
    )
    statuses = {check.check: check.status for check in reconcile(line).checks}
    assert statuses["counters_facts"] == "clean"
    assert statuses["facts_events"] == "different"


@pytest.mark.parametrize("column", ["net_quantity", "event_ids_sha256"])
def test_a_deep_run_reads_parquet_files_too(line: Line, column: str) -> None:
    late(line)
    settings = replace(line.engine.settings, s3_formats=frozenset({"jsonl", "parquet"}))
    both = Engine(settings)
    reconcile_hours(both, HOURS)
    assert reconcile_hours(both, HOURS, deep=True).clean
    value = "net_quantity + 1" if column == "net_quantity" else "'\\x00'"
    line.change(f"update billing_core.batches set {column} = {value} where kind = 'parquet'")
    deep = reconcile_hours(both, HOURS, repair=False, deep=True)
    subject = {"net_quantity": "net usage", "event_ids_sha256": "SHA-256 of ids"}[column]
    (key,) = line.keys("parquet")
    found = {each.key for check in deep.checks for each in check.differences}
    assert (f"s3://{line.bucket}/{key}", subject) in found
