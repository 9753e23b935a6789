"""Old rows go that nothing refers to; everything else stays."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from audit.settled import Settled
from pipeline.harness import Line, command, row_versions, worked_example

from billing_etl.pipeline.maintain import StepResult, run_step
from billing_etl.pipeline.retention import drop_all
from billing_etl.settings import RETENTION


@pytest.fixture
def later(settled: Settled) -> datetime:
    """Now; everything was done 401 days ago."""
    age(settled.line)
    return datetime.now(UTC)


def age(line: Line) -> None:
    line.execute(
        "update billing_core.runs set finished_at = finished_at - interval '401 days';"
        "update billing_core.batches set delivered_at = delivered_at - interval '401 days';"
        "update billing_core.findings set closed_at = closed_at - interval '401 days'"
    )


def retain(day: Settled, now: datetime, *, dry_run: bool = False) -> StepResult:
    return run_step(day.line.engine, "retention", now=now, dry_run=dry_run)


def commands(day: Settled) -> dict[str, int]:
    found = day.line.rows("select command, count(*)::int from billing_core.runs group by 1")
    return dict(found)


REFERRED = (
    "select distinct run_id from (select run_id from billing_core.ledger_entries"
    " union all select run_id from billing_core.batches"
    " union all select run_id from billing_core.source_hours"
    " union all select run_id from billing_core.reconciliations"
    " union all select run_id from billing_core.price_versions) r order by 1"
)


def test_runs_go_that_nothing_refers_to(settled: Settled, later: datetime) -> None:
    for _ in range(3):
        assert command(settled.line.environment(), "rate", "--from", "2026-04-08T12",
                       "--to", "2026-04-08T13").code == 0  # fmt: skip
    age(settled.line)
    assert commands(settled)["rate"] == 4

    result = retain(settled, later)

    assert result.counts["runs"] == 3  # the first one posted to the ledger
    referred = [run_id for (run_id,) in settled.line.rows(REFERRED)]
    kept = settled.line.rows(
        "select run_id from billing_core.runs where command <> 'maintain retention' order by 1"
    )
    assert [run_id for (run_id,) in kept] == referred


def test_every_column_that_names_a_run_is_looked_at(line: Line) -> None:
    """By its name, partitions aside: a table made today counts, too."""
    named = set(
        line.rows(
            "select table_name::text, column_name::text from information_schema.columns"
            " join information_schema.tables using (table_schema, table_name)"
            " where table_schema = 'billing_core' and table_type = 'BASE TABLE'"
            " and right(column_name, 6) = 'run_id' and table_name <> 'runs'"
        )
    )
    assert len(named) > 10
    references = (
        "select split_part(referring::text, '.', 2), column_name::text"
        " from billing_core.run_references()"
    )
    assert set(line.rows(references)) == named

    for command_ in ("named", "named elsewhere", "not named"):
        line.execute(
            "insert into billing_core.runs (command, status, finished_at)"
            f" values ('{command_}', 'success', now() - interval '401 days')"
        )
    line.execute(
        "create table billing_core.newest (run_id bigint, undone_run_id bigint);"
        "insert into billing_core.newest select run_id, null from billing_core.runs"
        " where command = 'named';"
        "insert into billing_core.newest select null, run_id from billing_core.runs"
        " where command = 'named elsewhere'"
    )
    assert run_step(line.engine, "retention", now=datetime.now(UTC)).counts["runs"] == 1
    assert line.rows(
        "select command from billing_core.runs where command ~ 'named' order by 1"
    ) == [("named",), ("named elsewhere",)]


def test_alerts_go_once_they_are_over_and_old_with_their_notices(line: Line) -> None:
    for subject, closed in (("old", "interval '401 days'"), ("new", "interval '1 day'"),
                            ("open", "null::interval")):  # fmt: skip
        line.execute(
            "with alert as (insert into billing_core.alerts (rule, subject, what, remedy, since,"
            " opened_at, closed_at)"
            f" values ('fact_lag', '{subject}', '', '', now() - interval '500 days',"
            f" now() - interval '500 days', now() - {closed}) returning alert_id)"
            " insert into billing_core.alert_notices (alert_id, kind, connection, made_at)"
            " select alert_id, 'opened', 'on_call', now() - interval '500 days' from alert"
        )

    assert run_step(line.engine, "retention", now=datetime.now(UTC)).counts["alerts"] == 1

    assert line.rows("select subject, unsent from billing.alerts order by 1") == [
        ("new", 1),
        ("open", 1),
    ]
    assert line.rows("select count(*)::int from billing_core.alert_notices") == [(2,)]


def test_findings_go_once_they_are_closed_and_old(settled: Settled, later: datetime) -> None:
    settled.line.execute(
        "insert into billing_core.findings (kind, subject, message, run_id, closed_at)"
        " values ('a', 'old', '', 1, now() - interval '401 days'), ('a', 'open', '', 1, null),"
        " ('a', 'new', '', 1, now())"
    )

    assert retain(settled, later).counts["findings"] == 1

    left = settled.line.rows("select subject from billing_core.findings order by 1")
    assert left == [("new",), ("open",)]


def test_payloads_that_reconcile_left_go_too(settled: Settled, later: datetime) -> None:
    assert retain(settled, later).counts["payloads"] == 13
    assert settled.line.rows(
        "select count(*) from billing_core.batches where payload is not null"
    ) == [(0,)]


def test_a_setting_says_how_long(settled: Settled, later: datetime) -> None:
    settled.line.settings["retention"] = RETENTION | {
        "runs": None,
        "findings": timedelta(days=1),
    }
    settled.line.settings["payload_retention"] = timedelta(days=999)
    before = row_versions(settled.line, "runs")

    result = retain(settled, later)

    assert set(result.counts.values()) == {0}
    kept = {each["name"]: each["keep_seconds"] for each in result.details}
    assert kept == {
        "payloads": 999 * 86400, "runs": None, "findings": 86400, "alerts": 400 * 86400,
        "snapshots": None, "lookback": None, "quarantine": None, "closings": None,
    }  # fmt: skip
    assert row_versions(settled.line, "runs") == before


def test_nothing_is_due_the_day_after(settled: Settled) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert set(retain(settled, tomorrow).counts.values()) == {0}


def test_a_dry_run_counts_what_a_run_drops(settled: Settled, later: datetime) -> None:
    before = row_versions(settled.line)
    told = retain(settled, later, dry_run=True)
    assert row_versions(settled.line) == before

    assert told.counts["payloads"] == 13
    assert retain(settled, later).counts == told.counts


def test_batches_are_bounded_and_nobody_is_waited_for(settled: Settled, later: datetime) -> None:
    line = settled.line
    with psycopg.connect(line.database_url) as holder, line.engine.connect() as connection:
        ((held,),) = holder.execute(
            "select batch_id from billing_core.batches order by batch_id limit 1 for update"
        ).fetchall()
        connection.autocommit = True
        connection.execute("set lock_timeout = '1s'")
        dropped = drop_all(connection, line.engine.settings, later, dry_run=False, most=5)
    assert {each.name: each.rows for each in dropped}["payloads"] == 12
    assert line.rows("select batch_id from billing_core.batches where payload is not null") == [
        (held,)
    ]
    assert line.rows(
        "select count(*)::int from billing_core.batches where payload is null"
        " group by xmin::text order by 1"
    ) == [(4,), (4,), (4,)]  # five, but for the one that is in use


def test_everything_goes_on_and_proves_the_same(settled: Settled, later: datetime) -> None:
    signed = settled.sign()
    before = row_versions(settled.line, "runs", "sources", "reconciliations", "findings")

    retain(settled, later)
    settled.settle()

    verdict = settled.verify(code=0)
    assert (verdict["unchanged"], verdict["root"]) == (True, signed["root"])
    after = row_versions(settled.line, "runs", "sources", "reconciliations", "findings")
    changed = {table for table in before if before[table] != after[table]}
    assert changed == {"batches"}  # their payloads


# --- partitions and the command ----------------------------------------------------------------


def partitions(line: Line) -> set[str]:
    return {
        name
        for (name,) in line.rows(
            "select relid::regclass::text from pg_partition_tree('billing_core.facts')"
            " where isleaf union all"
            " select relid::regclass::text from pg_partition_tree('billing_core.closings')"
            " where isleaf and relid <> 'billing_core.closings_kept'::regclass"
        )
    }


def test_partitions_are_there_before_they_are_used(line: Line) -> None:
    noon = datetime(2026, 12, 30, 12, tzinfo=UTC)
    assert run_step(line.engine, "partitions", now=noon, dry_run=True).counts == {"days": 4}
    assert partitions(line) == set()

    assert run_step(line.engine, "partitions", now=noon).counts == {"days": 4}

    days = ("20261230", "20261231", "20270101", "20270102")
    assert partitions(line) == {
        f"billing_core.{table}_{day}" for table in ("facts", "closings") for day in days
    }
    assert run_step(line.engine, "partitions", now=noon).counts == {"days": 0}


def test_a_day_that_lacks_one_of_the_two_gets_it(line: Line) -> None:
    noon = datetime(2026, 12, 30, 12, tzinfo=UTC)
    run_step(line.engine, "partitions", now=noon)
    line.execute("drop table billing_core.closings_20261231")

    assert run_step(line.engine, "partitions", now=noon).counts == {"days": 1}
    assert "billing_core.closings_20261231" in partitions(line)


def test_no_run_waits_for_maintenance(line: Line) -> None:
    """A late hour of a day long gone makes its own partitions."""
    line.serve(worked_example())
    line.collected("12")
    assert "billing_core.facts_20260408" in partitions(line)


def test_the_command_does_all_steps_and_one_failing_step_stops_no_other(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(line.database_url) as holder:
        holder.execute("select pg_advisory_lock(hashtext('billing_etl rating'))")
        monkeypatch.setattr("billing_etl.store.database.LOCK_WAIT_SECONDS", 1)
        answer = command(line.environment(BILLING_ARREARS_GRACE="1d"), "maintain", "--json")
    assert answer.code == 1
    assert [step["step"] for step in answer.document["steps"]] == [
        "partitions",
        "archive",
        "retention",
    ]
    (error,) = answer.document["errors"]
    assert error.startswith("maintain arrears: ")
    assert answer.err.count("\n") == 1
    recorded: list[Any] = line.rows("select command, status from billing_core.runs order by run_id")
    assert recorded == [
        ("maintain partitions", "success"),
        ("maintain archive", "success"),
        ("maintain retention", "success"),
        ("maintain arrears", "failed"),
    ]

    again = command(line.environment(BILLING_ARREARS_GRACE="1d"), "maintain")
    assert again.code == 0, again.err
    assert "suspended" in again.out


def test_nothing_younger_than_a_day_goes_whatever_is_asked_for(settled: Settled) -> None:
    for name in ("runs", "findings", "alerts"):
        assert settled.line.rows(
            f"select billing_core.drop_{name}(now() + interval '9 days', 9)"
        ) == [(0,)]
