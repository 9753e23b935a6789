"""Facts of old days go to S3 and nowhere else: what is there is what was here."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from audit.settled import LATE, NEXT_DAY
from database_logins import address, grant
from pipeline.harness import DAY, A, command, readings, row_versions, worked_example

from billing_etl.errors import MismatchError, RetryableError, TerminalError, UsageError
from billing_etl.pipeline import archive as archiving
from billing_etl.pipeline import shut_out
from billing_etl.pipeline.alerts import alerts_now
from billing_etl.pipeline.maintain import run_step
from billing_etl.settings import RETENTION
from billing_etl.store import roles
from maintenance.archived import DUE, PREFIX, Archive, environment

# Of the worked example: 50 bytes up, 120 down, 100 included, 70 x 2 charged, in four minutes.
TOTALS = (4, 50, 120, 100, 70, Decimal(140))


def test_a_day_older_than_the_retention_lies_on_s3_and_not_here(archive: Archive) -> None:
    before = archive.line.rows("select * from billing.usage_minutes order by minute")
    assert archive.totals() == TOTALS

    result = archive.run()

    assert (result.counts["days"], result.counts["facts"], result.counts["held"]) == (1, 4, 0)
    assert archive.facts_here() == 0
    assert list(archive.objects()) == [f"{PREFIX}part-00001.parquet"]
    rows = list(archive.rows())
    (columns,) = archive.line.rows(
        "select array_agg(attname::text order by attnum) from pg_attribute"
        " where attrelid = 'billing.usage_minutes'::regclass and attname <> 'is_stale'"
    )[0]
    assert [tuple(row[name] for name in columns) for row in rows] == [
        tuple(str(value) if isinstance(value, UUID) else value for value in row[: len(columns)])
        for row in before
    ]


def test_it_is_on_record(archive: Archive) -> None:
    archive.archive()

    (day,) = archive.line.rows(
        "select day, place, state, objects::int, facts, uplink_bytes::int, downlink_bytes::int,"
        " included_bytes::int, amount, object_bytes, dropped_at > verified_at"
        " from billing.archives order by day"
    )
    (body,) = archive.objects().values()
    assert day == (
        datetime(2026, 4, 8, tzinfo=UTC), f"s3://{archive.bucket}/{PREFIX}", "archived",
        1, 4, 50, 120, 100, Decimal(140), len(body), True,
    )  # fmt: skip
    ((counts,),) = archive.line.rows(
        "select counts from billing_core.runs where command = 'maintain archive'"
    )
    assert counts == {"days": 1, "facts": 4, "objects": 1, "bytes": len(body), "held": 0}


def test_again_changes_nothing(archive: Archive) -> None:
    archive.archive()
    before, objects = row_versions(archive.line, "runs"), archive.objects()

    result = archive.run()

    assert (result.counts["days"], result.details) == (0, [])
    assert row_versions(archive.line, "runs") == before
    assert archive.objects() == objects


def test_not_before_its_last_hour_is_old_enough(archive: Archive) -> None:
    result = archive.run(DUE - timedelta(seconds=1))

    assert result.details == []
    assert archive.totals() == TOTALS


def test_off_unless_a_retention_of_facts_is_set(archive: Archive) -> None:
    archive.line.settings["retention"] = RETENTION
    before = row_versions(archive.line, "runs")

    result = archive.run(DUE + timedelta(days=9999))

    assert set(result.counts.values()) == {0}
    assert row_versions(archive.line, "runs") == before


def test_without_s3_nothing_goes_and_one_line_says_why(archive: Archive) -> None:
    archive.line.settings["s3_enabled"] = False
    with pytest.raises(UsageError, match=r"^BILLING_RETENTION, facts: .*BILLING_S3_ENABLED[^\n]*$"):
        archive.run()
    assert archive.totals() == TOTALS


def test_a_dry_run_tells_and_writes_nothing(archive: Archive) -> None:
    before = row_versions(archive.line)

    result = archive.run(dry_run=True)

    assert result.counts == {"days": 1, "facts": 4, "objects": 1, "bytes": 0, "held": 0}
    assert row_versions(archive.line) == before
    assert archive.objects() == {}


def test_many_facts_are_cut_into_objects_and_no_minute_is(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "FACTS_PER_OBJECT", 3)
    archive.archive()
    assert list(archive.objects()) == [f"{PREFIX}part-0000{n}.parquet" for n in (1, 2)]
    assert [row["total_bytes"] for row in archive.rows()] == [40, 100, 20, 10]


def test_below_the_prefix_of_deliveries(archive: Archive) -> None:
    archive.line.settings["s3_prefix"] = "usage"
    before = row_versions(archive.line, "runs")
    assert before
    archive.run()
    (key,) = (
        entry["Key"]
        for entry in archive.s3.list_objects_v2(Bucket=archive.bucket)["Contents"]
        if entry["Key"].startswith("usage/archive/")
    )
    assert key == f"usage/{PREFIX}part-00001.parquet"


# --- what holds a day up -------------------------------------------------------------------------

HELD = {
    "a late snapshot that was only collected": ("not reconciled clean", "collect"),
    "what is not rated": ("account-hours are not rated", "stale"),
    "an hour that was never collected": ("source-hours are open", "missing"),
    "a difference": ("not reconciled clean", "difference"),
    "what is not delivered": ("pending", "undelivered"),
}


@pytest.mark.parametrize("case", HELD)
def test_a_day_that_is_not_settled_stays(archive: Archive, case: str) -> None:
    reason, what = HELD[case]
    line = archive.line
    if what == "collect":
        archive.settled.serve(LATE)
        line.collected("12")
        line.rate()
    elif what == "stale":
        line.execute("update billing_core.account_hours set stale = true")
    elif what == "missing":
        line.execute(
            "delete from billing_core.source_hours where hour = (select max(hour) from"
            " billing_core.source_hours)"
        )
    elif what == "difference":
        line.execute(
            "update billing_core.reconciliations set status = 'different' where ctid = (select"
            " ctid from billing_core.reconciliations limit 1)"
        )
    else:
        line.execute("update billing_core.batches set delivered_at = null where ordinal = 1")
    before = row_versions(line, "runs", "findings")
    facts = archive.facts_here()

    archive.run(dry_run=True)
    assert held_findings(archive) == []
    result = archive.run()

    assert result.counts["held"] == 1
    (held,) = (day for day in result.details if day["held"])
    assert held["day"] == DAY
    assert reason in held["held"]
    assert archive.facts_here() == facts
    assert row_versions(line, "runs", "findings") == before
    assert archive.objects() == {}
    ((subject, message, is_open),) = held_findings(archive)
    assert (subject, is_open) == (DAY, True)
    assert held["held"] in message
    assert f"`billing-etl reconcile --from {DAY}T00 --to 2026-04-09T00`" in message


def held_findings(archive: Archive) -> list[tuple[str, str, bool]]:
    return archive.line.rows(
        "select subject, message, closed_at is null from billing_core.findings"
        " where kind = 'archive_held'"
    )


def test_somebody_is_told_of_a_day_that_stays_until_it_goes(archive: Archive) -> None:
    archive.settled.serve(LATE)
    archive.line.collected("12")
    archive.line.rate()
    for _ in range(2):
        archive.run()
    told = alerts_now(archive.line.engine, now=datetime.now(UTC))
    assert [alert["what"] for alert in told if alert["subject"] == "archive_held"] == [
        "1 open findings of kind archive_held, more than 0"
    ]

    archive.settled.settle()
    archive.archive()
    assert [is_open for _, _, is_open in held_findings(archive)] == [False]


def test_a_day_that_may_stay_is_no_finding_any_more(archive: Archive) -> None:
    archive.line.execute("update billing_core.account_hours set stale = true")
    archive.run()
    archive.line.settings["retention"] = RETENTION
    archive.run()
    assert [is_open for _, _, is_open in held_findings(archive)] == [False]


def test_what_is_not_to_be_delivered_holds_nothing_up(archive: Archive) -> None:
    archive.line.settings["event_types"] = frozenset()
    for entry in archive.s3.list_objects_v2(Bucket=archive.bucket)["Contents"]:
        archive.s3.delete_object(Bucket=archive.bucket, Key=entry["Key"])
    archive.line.execute(
        "delete from billing_core.batches;"
        "update billing_core.deliveries set sealings = 0, sealed_events = 0, sealed_digest = null"
    )
    archive.settled.settle()

    archive.archive()


def test_a_day_that_cannot_go_holds_up_those_after_it(archive: Archive) -> None:
    archive.line.execute("update billing_core.account_hours set stale = true")
    result = archive.run(DUE + timedelta(days=365))
    assert [day["day"] for day in result.details] == [DAY]
    assert archive.line.rows(
        "select count(*)::int from pg_class where relname = 'facts_20260409'"
    ) == [(1,)]


def test_a_day_that_nobody_collected_yet_holds_up_those_after_it(archive: Archive) -> None:
    """It has no facts to archive, but it would have some."""
    archive.line.serve([*worked_example(), *NEXT_DAY, *readings(("2026-04-11T00:00:03Z", 40, 60))])
    archive.line.collected("2026-04-10T23")
    archive.line.execute("drop table billing_core.facts_20260409")
    result = archive.run(DUE + timedelta(days=365))
    assert [(day["day"], bool(day["held"])) for day in result.details] == [
        (DAY, False),
        ("2026-04-10", True),
    ]
    assert "jp-1 2026-04-09T00 and 46 more is open" in result.details[1]["held"]


def test_a_day_whose_facts_are_being_written_is_left_to_the_next_run(archive: Archive) -> None:
    with psycopg.connect(archive.line.database_url) as writer:
        writer.execute("update billing_core.facts set spans_minutes = spans_minutes")
        result = archive.run()
        assert "being written" in result.details[-1]["held"]
        writer.rollback()
    archive.archive()


def test_readers_are_waited_for_only_briefly_and_the_next_run_finishes(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shut_out, "TRIES", 1)
    with psycopg.connect(archive.line.database_url) as reader:
        reader.execute("select count(*) from billing_core.closings")
        reader.execute("select count(*) from billing_core.facts")
        with pytest.raises(RetryableError, match="being read"):
            archive.run()
        reader.rollback()
    assert archive.facts_here() == 4
    assert len(archive.objects()) <= 1

    archive.archive()


# --- what is not trusted -------------------------------------------------------------------------


def test_a_key_that_holds_something_else_is_not_overwritten(archive: Archive) -> None:
    key = f"{PREFIX}part-00001.parquet"
    archive.s3.put_object(Bucket=archive.bucket, Key=key, Body=b"mine", ChecksumAlgorithm="SHA256")

    with pytest.raises(MismatchError, match=rf"^s?.*{key}: .*the facts are still|cannot be read"):
        archive.run()

    assert archive.objects() == {key: b"mine"}
    assert archive.totals() == TOTALS

    archive.s3.delete_object(Bucket=archive.bucket, Key=key)
    archive.archive()


@pytest.mark.parametrize(
    "damage", ["minute", "uplink_bytes", "amount", "account_uuid", "revision", "row"]
)
def test_a_file_that_says_otherwise_is_noticed_when_it_is_read_back(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """As if writing it went wrong: the checksum is that of the wrong bytes."""
    import io

    import pyarrow.parquet as pq

    from billing_etl.batches import archive as files

    whole = files.written

    def wrong(*arguments: Any) -> bytes:
        table = pq.read_table(io.BytesIO(whole(*arguments)))
        rows = table.to_pylist()
        if damage == "row":
            del rows[0]
        elif damage == "minute":
            rows[0]["minute"] += timedelta(minutes=1)
        elif damage == "account_uuid":
            rows[0]["account_uuid"] = A.replace("a", "b")
        else:
            rows[1][damage] += 1
        file = io.BytesIO()
        pq.write_table(type(table).from_pylist(rows, files.SCHEMA), file)
        return file.getvalue()

    monkeypatch.setattr(files, "written", wrong)
    with pytest.raises(MismatchError, match="when it was read back"):
        archive.run()
    assert archive.totals() == TOTALS
    assert archive.line.rows("select state from billing.archives") == [("frozen",)]


def test_an_amount_that_engines_cannot_hold_is_not_rounded(archive: Archive) -> None:
    archive.line.publish(
        versions=[
            {"price_version": "tiny", "price_per_byte": "0." + "0" * 24 + "1",
             "from": f"{DAY}T00:00:00Z"}
        ]
    )  # fmt: skip
    archive.settled.settle()
    with pytest.raises(TerminalError, match=r"at most 14 digits before and 24 after the point"):
        archive.run()
    assert archive.facts_here() == 4


# --- afterwards ----------------------------------------------------------------------------------


def test_no_partition_is_made_for_what_is_archived(archive: Archive) -> None:
    archive.archive()
    archive.line.execute("select billing_core.ensure_day_partition(20551)")
    assert archive.line.rows(
        "select count(*)::int from pg_class where relname = 'facts_20260408'"
    ) == [(0,)]
    run_step(archive.line.engine, "partitions")


def test_the_command_tells_what_went(archive: Archive) -> None:
    dry = command(environment(archive), "maintain", "--step", "archive", "--dry-run", "--json")
    assert dry.code == 0, dry.err
    assert dry.document["steps"][0]["counts"]["facts"] == 4
    assert archive.facts_here() == 4

    answer = command(environment(archive), "maintain", "--step", "archive", "--json")

    assert answer.code == 0, answer.err
    (step,) = answer.document["steps"]
    assert [day["day"] for day in step["details"]] == [DAY, "2026-04-09"]
    assert "is open" in step["details"][1]["held"]
    assert step["details"][0]["place"] == f"s3://{archive.bucket}/{PREFIX}"
    assert archive.facts_here() == 0


def test_the_role_of_the_pipeline_is_enough(archive: Archive, login: str) -> None:
    grant(archive.line.database_url, roles.PIPELINE, login)
    there = environment(archive) | {"DATABASE_URL": address(archive.line.database_url, login)}
    answer = command(there, "maintain", "--json")
    assert answer.code == 0, answer.err
    assert archive.facts_here() == 0
    assert command(there, "statement", "--day", DAY).code == 0
