"""Archived hours: done again by nobody, billed and stated as they were, asked elsewhere."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from audit.settled import LATE, NEXT_DAY, Settled
from pipeline.harness import DAY, JSON, A, B, command, row_versions, sample, snapshot

from billing_etl.batches.archive import SCHEMA
from billing_etl.errors import ArchivedError, BillingError
from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.pipeline.accounts import add_credit
from billing_etl.pipeline.collect import collect_hour, open_hours
from billing_etl.pipeline.deliver import deliver_hours, pending_hours
from billing_etl.pipeline.jobs import plan_collection
from billing_etl.pipeline.rate import rate_hours, rate_until
from billing_etl.pipeline.reconcile import reconcile_hours
from billing_etl.pipeline.rehearsal import rehearse
from maintenance.archived import PREFIX, Archive, environment

ROOT = Path(__file__).resolve().parents[2]
NOON = HourRange.single(parse_hour(f"{DAY}T12"))
HOURS = ("--from", f"{DAY}T12", "--to", f"{DAY}T13")


@pytest.fixture
def gone(archive: Archive) -> Archive:
    """The day is archived; the exporter has a late snapshot of it."""
    archive.archive()
    archive.settled.serve(LATE)
    return archive


# --- refused -------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Archive], Any]] = {
    "collect": lambda a: collect_hour(a.line.engine, a.line.engine.settings.sources[0], NOON.start),
    "rate": lambda a: rate_hours(a.line.engine, NOON),
    "rate what waits": lambda a: rate_until(a.line.engine, NOON.end),
    "export": lambda a: deliver_hours(a.line.engine, NOON),
    "a job": lambda a: plan_collection(a.line.engine, NOON, (), with_open=True),
    "a dry run": lambda a: rehearse(a.line.engine, a.line.engine.settings.sources, NOON),
    "a price for the past": lambda a: a.line.publish(
        versions=[{"price_version": "v", "price_per_byte": "9", "from": f"{DAY}T12:00:00Z"}]
    ),
    "a plan in the past": lambda a: a.line.publish(
        versions=[{"price_version": "p", "price_per_byte": "9", "scope": "plan",
                   "scope_key": "gold", "from": f"{DAY}T00:00:00Z"}],
        plan_members=[{"account_uuid": A, "plan": "gold", "from": f"{DAY}T00:00:00Z"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_nobody_does_it_again(gone: Archive, step: str) -> None:
    before = row_versions(gone.line, "runs")

    with pytest.raises(ArchivedError) as refused:
        STEPS[step](gone)

    assert row_versions(gone.line, "runs") == before
    line = str(refused.value)
    assert f"s3://{gone.bucket}/{PREFIX}" in line
    assert f"{DAY}T12" in line
    assert "2026-04-09T00 is the first hour that can be done" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "words",
    [("collect", *HOURS), ("collect", "--source", "jp-1", *HOURS), ("rate", *HOURS),
     ("export", *HOURS), ("pipeline", *HOURS)],
    ids=["collect", "collect one source", "rate", "export", "pipeline"],
)  # fmt: skip
def test_a_command_says_so_in_one_line(gone: Archive, words: tuple[str, ...]) -> None:
    before = row_versions(gone.line, "runs")

    answer = command(environment(gone), *words)

    assert answer.code == 1
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert f"s3://{gone.bucket}/{PREFIX}" in answer.err
    assert row_versions(gone.line, "runs") == before


def test_no_run_waits_for_archived_hours_for_ever(gone: Archive) -> None:
    line = gone.line
    line.execute(
        "update billing_core.source_hours set state = 'partial';"
        "update billing_core.sources set checkpoint_hour = first_hour;"
        "insert into billing_core.failed_source_hours (source_key, hour, error, run_id)"
        " select source_key, first_hour, 'x', 1 from billing_core.sources;"
        "update billing_core.deliveries set sealings = 0"
    )
    engine = line.engine
    before = parse_hour("2026-04-09T02")
    assert open_hours(engine, engine.settings.sources[0], before) == [
        parse_hour("2026-04-09T00"),
        parse_hour("2026-04-09T01"),
    ]
    assert pending_hours(engine, before) == []


def test_the_hours_after_it_go_on_from_its_counters(gone: Archive) -> None:
    """C4 to C14 across the end of the archive; what is rated carries the quota on."""
    line = gone.line
    line.serve([*NEXT_DAY, snapshot("2026-04-09T00:01:03Z", sample(A, 130, 250))])
    line.collected("2026-04-09T00")
    line.rate("2026-04-09T00", "2026-04-09T01")
    assert line.rows(
        "select minute, total_bytes, included_bytes, amount from billing.usage_minutes order by 1"
    ) == [
        (datetime(2026, 4, 9, 0, 0, tzinfo=UTC), 50, 0, Decimal(100)),
        (datetime(2026, 4, 9, 0, 1, tzinfo=UTC), 300, 0, Decimal(600)),
    ]
    result = reconcile_hours(line.engine, HourRange.single(parse_hour("2026-04-09T00")))
    different = [check for check in result.checks if check.status == "different"]
    assert [check.check for check in different] in ([], ["facts_events"]), different


def test_look_back_before_the_first_hour_after_it_still_finds_a_place(gone: Archive) -> None:
    """A node that begins right after the archive looks ten minutes back, into it (C4)."""
    line = gone.line
    line.serve(
        [
            snapshot(f"{DAY}T23:59:03Z", sample(B, 10, 10), node="node-9"),
            snapshot("2026-04-09T00:00:03Z", sample(B, 20, 30), node="node-9"),
        ],
        source_id="us-1",
    )
    assert line.collect("2026-04-09T00", source_id="us-1").failures == []
    assert line.rows("select total_bytes from billing.usage_minutes where source_id = 'us-1'") == [
        (30,)
    ]


# --- reconcile -----------------------------------------------------------------------------------


def test_reconciliation_says_archived_and_not_that_something_is_lost(gone: Archive) -> None:
    before = row_versions(gone.line, "runs", "reconciliations")

    result = reconcile_hours(gone.line.engine, NOON)

    assert result.clean
    by_check = {check.check: check for check in result.checks}
    assert by_check.pop("sealed_stored").status == "clean"  # what was delivered is still checked
    assert len(by_check) == 5
    for check in by_check.values():
        assert check.status == "skipped"
        assert f"archived at s3://{gone.bucket}/{PREFIX}" in check.details[0]
    assert row_versions(gone.line, "runs", "reconciliations") == before


def test_a_delivered_object_that_gets_lost_is_sent_again(gone: Archive) -> None:
    ((key,),) = gone.line.rows("select object_key from billing_core.batches where kind = 'events'")
    gone.s3.delete_object(Bucket=gone.bucket, Key=key)
    (check,) = (
        check for check in reconcile_hours(gone.line.engine, NOON).checks
        if check.status != "skipped"
    )  # fmt: skip
    assert (check.check, check.status) == ("sealed_stored", "repaired")


# --- money, views, statements --------------------------------------------------------------------

READ = {
    "usage_hours": "select * from billing.usage_hours order by hour, account_uuid, region",
    "usage_days": "select * from billing.usage_days order by day, account_uuid, region",
    "account_months": "select * from billing.account_months order by account_uuid, period_start",
    "ledger": "select * from billing.ledger order by entry_id",
    "source_hours": "select * from billing.source_hours order by source_id, hour",
    "deliveries": "select * from billing.deliveries order by hour",
    "counter_resets": "select * from billing.counter_resets",
    "usage_gaps": "select * from billing.usage_gaps",
    "billing_ledger": "select * from account_read_model.billing_ledger order by id",
    "account_quota_states": "select * from account_read_model.account_quota_states"
    " order by account_uuid",
    "traffic_stat_checkpoints": "select * from account_read_model.traffic_stat_checkpoints",
}


def read(settled: Settled) -> dict[str, list[Any]]:
    return {name: settled.line.rows(query) for name, query in READ.items()}


def test_every_view_but_that_of_minutes_says_what_it_said(archive: Archive) -> None:
    before = read(archive.settled)
    assert all(before.values())

    archive.archive()

    assert read(archive.settled) == before
    assert archive.line.rows("select count(*) from billing.usage_minutes") == [(0,)]


def test_hours_of_several_regions_keep_their_sums(archive: Archive) -> None:
    """They are summed from facts; the account is also served by a source of another region."""
    line = archive.line
    line.serve(
        [
            snapshot("12:00:03", sample(A, 50, 50), node="node-2"),
            snapshot("12:01:03", sample(A, 60, 90), node="node-2"),
            snapshot("2026-04-09T00:00:03Z", sample(A, 60, 90), node="node-2"),
        ],
        source_id="us-1",
        region="us",
    )
    archive.settled.settle()
    before = read(archive.settled)
    assert {row[1] for row in before["usage_hours"]} == {"default", "us"}

    archive.archive()

    assert read(archive.settled) == before


def test_a_signed_statement_is_unchanged_and_a_new_one_says_the_same(archive: Archive) -> None:
    signed = archive.settled.sign()

    archive.archive()

    verdict = archive.settled.verify(code=0)
    assert (verdict["unchanged"], verdict["root_now"]) == (True, signed["root"])
    document = archive.settled.document()
    assert (document["balanced"], document["final"]) == (True, True)
    assert document["archived"] == [{"place": f"s3://{archive.bucket}/{PREFIX}", "hours": 24}]
    same = ("root", "chain", "usage", "prices", "ledger", "delivery", "by_hour", "sources")
    assert {name: document[name] for name in same} == {name: signed[name] for name in same}
    assert PREFIX in archive.settled.statement().out.replace("\n", "")


def test_a_statement_of_a_month_that_is_archived_in_part(gone: Archive) -> None:
    document: JSON = gone.settled.document("--month", "2026-04", code=0)
    assert document["usage"]["total_bytes"] == 170
    assert document["usage"]["amount"] == "140"
    assert [each["hours"] for each in document["archived"]] == [24]


def test_tampering_with_what_stays_is_still_found(archive: Archive) -> None:
    archive.settled.sign()
    archive.archive()
    archive.settled.damage("update billing_core.ledger_entries set amount = amount - 1")
    verdict = archive.settled.verify(code=1)
    assert archive.settled.changed(verdict) == {f"{DAY}T12": ["ledger_entries"]}


def test_money_goes_on(gone: Archive) -> None:
    add_credit(gone.line.engine, A, Decimal(200), "paid")
    answer = command(gone.line.environment(), "close", "--period", "2026-04")
    assert answer.code == 0, answer.err
    assert gone.line.rows("select balance from billing.account_months") == [(Decimal(60),)]


def test_usage_by_inbound_says_what_it_cannot_know(gone: Archive) -> None:
    words = ("usage", "--from", f"{DAY}T00", "--to", "2026-04-09T00")
    by_hour = command(gone.line.environment(), *words, "--by", "hour", "--json").document
    assert by_hour["total"]["total_bytes"] == 170
    by_inbound = command(gone.line.environment(), *words, "--by", "inbound", "--json")
    assert by_inbound.code == 1
    assert f"s3://{gone.bucket}/{PREFIX}" in by_inbound.err
    assert by_inbound.err.count("\n") == 1


# --- asked elsewhere -----------------------------------------------------------------------------


def copied(archive: Archive, directory: Path) -> None:
    for key, body in archive.objects().items():
        path = directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def test_duckdb_has_the_totals_of_postgresql(archive: Archive, tmp_path: Path) -> None:
    totals = archive.totals()
    by_account = archive.line.rows(
        "select account_uuid::text, sum(total_bytes)::bigint, sum(amount)"
        " from billing.usage_days group by 1"
    )
    archive.archive()
    copied(archive, tmp_path)
    ddl = (ROOT / "sql/external/archive_duckdb.sql").read_text("utf-8")
    with duckdb.connect() as connection:
        connection.execute(ddl.replace("s3://serverless-usage-prod/", f"{tmp_path}/"))
        (found,) = connection.execute(
            "select count(*), sum(uplink_bytes)::bigint, sum(downlink_bytes)::bigint,"
            " sum(included_bytes)::bigint, sum(rated_bytes)::bigint, sum(amount)"
            " from usage_minutes_archived where date = '2026-04-08'"
        ).fetchall()
        assert found == totals
        assert (
            by_account
            == connection.execute(
                "select account_uuid, sum(total_bytes)::bigint, sum(amount)"
                " from usage_minutes_archived group by 1"
            ).fetchall()
        )


ATHENA = {"string": "string", "int32": "int", "int64": "bigint", "bool": "boolean",
          "timestamp[ms, tz=UTC]": "timestamp",
          "decimal128(38, 24)": "decimal(38, 24)"}  # fmt: skip


def test_the_table_for_athena_has_the_columns_and_directories_of_the_files() -> None:
    ddl = (ROOT / "sql/external/archive_athena.sql").read_text("utf-8")
    columns = ddl.split("create external table usage_minutes_archived (", 1)[1].split("\n)", 1)[0]
    declared = [tuple(line.strip().split(" ", 1)) for line in columns.strip().split(",\n")]
    assert declared == [(field.name, ATHENA[str(field.type)]) for field in SCHEMA]
    properties = dict(re.findall(r"'([\w.]+)' = '([^']*)'", ddl))
    root, _, template = properties["storage.location.template"].partition("/archive/")
    assert f"location '{root}/archive/facts/'" in ddl
    assert "archive/" + template.replace("${date}", DAY) == PREFIX


def test_an_hour_before_all_that_is_archived_is_refused_with_the_archive_after_it(
    gone: Archive,
) -> None:
    with pytest.raises(BillingError, match=re.escape(PREFIX)):
        rate_hours(gone.line.engine, HourRange(Hour(0), Hour(1)))


# --- explain -------------------------------------------------------------------------------------

EXPLAIN = ("explain", "--account", A, "--hour")


def test_a_bill_of_an_archived_hour_says_where_its_minutes_are(gone: Archive) -> None:
    answer = command(gone.line.environment(COLUMNS="300"), *EXPLAIN, f"{DAY}T12")

    assert answer.code == 0, answer.out + answer.err
    (said,) = (line for line in answer.out.splitlines() if "archived" in line)
    assert f"at s3://{gone.bucket}/{PREFIX}part-00001.parquet;" in said
    assert "traffic_charge" in answer.out
    assert "every number agrees" in answer.out

    document = command(gone.line.environment(), *EXPLAIN, f"{DAY}T12", "--json").document
    assert document["archived"]["places"] == [f"s3://{gone.bucket}/{PREFIX}part-00001.parquet"]
    assert (document["account_hour"]["bytes"], document["account_hour"]["amount"]) == (170, "140")
    assert [(row["entry_type"], row["amount"]) for row in document["entries"]] == [
        ("traffic_charge", "140")
    ]
    assert (document["minutes"], document["counters"], document["holds"]) == ([], [], True)
    assert len(document["links"]) == 2


def test_a_bill_of_an_archived_hour_still_finds_what_was_edited(gone: Archive) -> None:
    gone.settled.damage("update billing_core.ledger_entries set amount = amount - 1")
    answer = command(gone.line.environment(), *EXPLAIN, f"{DAY}T12")
    assert (answer.code, "NUMBERS DIFFER" in answer.out) == (1, True)


def test_an_archived_hour_in_which_nothing_was_billed_names_its_place(gone: Archive) -> None:
    answer = command(gone.line.environment(), *EXPLAIN, f"{DAY}T15")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert f"s3://{gone.bucket}/{PREFIX};" in answer.err


def test_a_bill_of_the_whole_period_is_as_before(archive: Archive) -> None:
    words = ("explain", "--account", A, "--period", "2026-04", "--json")
    before = command(archive.line.environment(), *words).document
    archive.archive()
    assert command(archive.line.environment(), *words).document == before


def test_a_frozen_hour_is_explained_from_its_minutes(archive: Archive) -> None:
    archive.line.execute(
        "insert into billing_core.archives (day, bucket, prefix, root, run_id)"
        f" values ({NOON.start.index // 24}, 'b', 'p', '', 1)"
    )
    document = command(archive.line.environment(), *EXPLAIN, f"{DAY}T12", "--json").document
    assert (document["archived"], len(document["minutes"]), document["holds"]) == (None, 4, True)
