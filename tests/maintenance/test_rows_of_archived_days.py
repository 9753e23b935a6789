"""What goes of archived days beside their facts, and that no later hour can tell."""

import dataclasses
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from audit.settled import NEXT_DAY
from database_logins import address, grant
from pipeline.harness import (
    JSON,
    A,
    B,
    C,
    Line,
    Row,
    hour_of,
    row_versions,
    sample,
    snapshot,
    worked_example,
)
from psycopg import sql

from billing_etl.errors import RetryableError
from billing_etl.hours import Hour
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.pipeline import shut_out
from billing_etl.pipeline.maintain import StepResult, run_step
from billing_etl.pipeline.retention import drop_all
from billing_etl.settings import RETENTION
from billing_etl.store import roles
from maintenance.archived import Archive

# Long after all of it; what goes is bounded by the archive, not by the clock.
NOW = datetime(2027, 11, 26, tzinfo=UTC)
FIRST_DAY = hour_of("2026-04-08T00").index // 24
D = "3f2b0a1c-0000-4000-8000-00000000000d"
OLD = ("12", "13", "14")
LATE_OLD = ("2026-04-11T22", "2026-04-11T23")  # within 72 hours before the first hour that is done
NEW = ("2026-04-12T00", "2026-04-12T01", "2026-04-12T02")
BESIDE_FACTS = ("snapshots", "lookback", "quarantine", "closings")
TABLES = ("node_instants", "lookback_presence", "quarantine", "closings")
ALL_OF_OLD = {"snapshots": 2, "lookback": 0, "quarantine": 3, "closings": 2}


def archived(line: Line, first: int, days: int) -> None:
    """As the archive leaves days, settled or not: the rules here ask for no more."""
    for day in range(first, first + days):
        line.execute(
            "insert into billing_core.archives"
            " (day, bucket, prefix, root, run_id, facts, dropped_at)"
            f" values ({day}, 'b', 'archive/', '', 1, 0, now())"
        )
        name = f"facts_{Hour(day * 24).start:%Y%m%d}"
        line.execute(f"drop table if exists billing_core.{name}")


def retain(line: Line, *, dry_run: bool = False, **retention: timedelta | None) -> StepResult:
    line.settings["retention"] = RETENTION | {"facts": timedelta(days=30)} | retention
    return run_step(line.engine, "retention", now=NOW, dry_run=dry_run)


def beside_facts(result: StepResult) -> dict[str, int]:
    return {name: result.counts[name] for name in BESIDE_FACTS}


def rows_of(line: Line) -> dict[str, int]:
    return {
        name: line.rows(f"select count(*)::int from billing_core.{table}")[0][0]
        for name, table in zip(BESIDE_FACTS, TABLES, strict=True)
    }


# What an hour is, from the first that can be done on; keys that are generated are the same in both.
FROM_THE_FIRST_HOUR = {
    "facts": "select * from billing_core.facts where minute >= {} * 60",
    "closings": "select * from billing_core.closings where hour >= {}",
    "node_instants": "select * from billing_core.node_instants where hour >= {}",
    "quarantine": "select * from billing_core.quarantine where hour >= {}",
    "lookback_presence": "select * from billing_core.lookback_presence where hour >= {}",
    "resets": "select * from billing_core.counter_resets where hour >= {}",
    "gaps": "select * from billing_core.usage_gaps where hour >= {}",
    "source_hours": "select source_key, hour, state, expected_snapshots, snapshots, samples, used,"
    " duplicates, baselines, quarantined, missing_minutes, first_ns, last_ns, content_hash"
    " from billing_core.source_hours where hour >= {}",
    "findings": "select kind, hour, subject, message, closed_at is null from billing_core.findings"
    " where hour >= {}",
    "ledger": "select account_key, hour, entry_type, amount from billing_core.ledger_entries"
    " where hour >= {}",
    "newest counters": "select node_id, account_uuid, last_uplink_total, last_downlink_total,"
    " last_seen_at from account_read_model.traffic_stat_checkpoints where {} > 0",
}


def hours_after(line: Line) -> dict[str, list[Row]]:
    return {
        name: sorted(line.rows(query.format(hour_of(NEW[0]).index)), key=repr)
        for name, query in FROM_THE_FIRST_HOUR.items()
    }


@pytest.fixture
def twin(postgres_server: EmbeddedPostgres) -> Iterator[Callable[[Line], Line]]:
    """Makes a line on a copy of a line's database, with the same exporters and settings."""
    with ExitStack() as stack:

        def copy(line: Line) -> Line:
            name = f"twin_{uuid.uuid4().hex}"
            postgres_server.create_database(name, line.database_url.rsplit("/", 1)[1].split("?")[0])
            stack.callback(_drop_database, postgres_server, name)
            settings = dict(line.settings)
            return dataclasses.replace(
                line, database_url=postgres_server.url(name), settings=settings
            )

        yield copy


def _drop_database(server: EmbeddedPostgres, name: str) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


# --- what later hours become ---------------------------------------------------------------------

FIRST = [
    snapshot("12:00:03", sample(A, 500, 1000), sample(B, 5, 5), sample(C, -1, 0)),
    snapshot("12:01:03", sample(A, 510, 1030), sample(B, 6, 7), sample(C, -1, 0)),
    snapshot("13:05:03", sample(A, 540, 1100), sample(C, -1, 0), sample(D, -1, 0)),
    snapshot("14:05:03", sample(A, 7, 13), sample(C, -1, 0), sample(A, "x", 0, "bad")),
]
LATER = [
    *FIRST,
    # B after three days, A again, D and C well for the first time.
    snapshot("2026-04-12T00:01:03Z", sample(A, 17, 33), sample(B, 9, 9), sample(D, 3, 4)),
    snapshot("2026-04-12T00:02:03Z", sample(A, 18, 34), sample(B, 9, 10), sample(C, 50, 60)),
]


@pytest.fixture
def old(line: Line) -> Line:
    """A day of which nothing is left but what stands beside its facts, and the days after it."""
    line.serve(FIRST)
    line.collected(*OLD)
    line.rate()
    archived(line, FIRST_DAY, 4)
    return line


@pytest.mark.parametrize("kept", [True, False], ids=["all rows", "what retention left"])
def test_a_series_goes_on_from_its_newest_closing_however_old(old: Line, kept: bool) -> None:
    if not kept:
        assert beside_facts(retain(old)) == ALL_OF_OLD
    old.serve(LATER)
    old.collected(NEW[0])

    by_minute = {
        (account, minute[-5:]): up + down
        for minute, account, up, down in old.rows(
            "select to_char(minute at time zone 'UTC', 'HH24:MI'), account_uuid::text,"
            " uplink_bytes, downlink_bytes from billing.usage_minutes where minute >= '2026-04-12Z'"
        )
    }
    # B: (9 + 9) - (6 + 7) since the 8th (C4). D was not in the node's first snapshot: born (C7).
    # C was in every snapshot that ever was until 00:01:03, which had it not: born, too.
    assert by_minute == {
        (A, "00:01"): 30, (A, "00:02"): 2,
        (B, "00:01"): 5, (B, "00:02"): 1,
        (D, "00:01"): 7,
        (C, "00:02"): 110,
    }  # fmt: skip


@pytest.mark.parametrize("kept", [True, False], ids=["all rows", "what retention left"])
def test_presence_in_every_old_snapshot_is_not_forgotten(old: Line, kept: bool) -> None:
    """C was never missing where it could not be used: its first good total is no birth (C7)."""
    if not kept:
        retain(old)
    old.serve([*FIRST, snapshot("2026-04-12T00:01:03Z", sample(A, 17, 33), sample(C, 50, 60))])
    old.collected(NEW[0])
    assert old.rows(
        "select account_uuid::text from billing.usage_minutes where minute >= '2026-04-12Z'"
    ) == [(A,)]


def world(seed: int, hours: tuple[str, ...]) -> list[JSON]:
    """Snapshots of three nodes whose counters run, restart, vanish, come back and go bad."""
    dice = random.Random(f"{seed} {hours}")
    served = []
    for node in ("node-1", "node-2", "node-3"):
        totals = {
            (account, tag): [dice.randrange(900), dice.randrange(900)]
            for account in (A, B, C, D)
            for tag in ("tcp", "udp")
            if dice.random() < 0.7
        }
        moods = {key: dice.choice(("well", "well", "often bad", "bad", "rare")) for key in totals}
        for hour in hours:
            if dice.random() < 0.3:
                continue
            for minute in sorted(dice.sample(range(60), dice.randrange(1, 4))):
                samples: list[JSON | None] = []
                for key, total in totals.items():
                    if dice.random() < {"rare": 0.8}.get(moods[key], 0.15):
                        continue
                    if dice.random() < 0.1:
                        total[:] = [0, 0]
                    total[0] += dice.randrange(50)
                    total[1] += dice.randrange(50)
                    bad = dice.random() < {"bad": 1.0, "often bad": 0.6}.get(moods[key], 0.0)
                    samples.append(sample(key[0], -1 if bad else total[0], total[1], key[1]))
                at = hour if "T" in hour else f"2026-04-08T{hour}"
                served.append(snapshot(f"{at}:{minute:02}:03Z", *(samples or [None]), node=node))
    return sorted(served, key=lambda each: str(each["collected_at"]))


@pytest.mark.parametrize(
    ("seed", "lookback_minutes"), [(1, 10), (2, 10), (3, 72 * 60), (4, 72 * 60)]
)
def test_no_later_hour_can_tell(
    line: Line, twin: Callable[[Line], Line], seed: int, lookback_minutes: int
) -> None:
    before = world(seed, OLD) + world(seed, LATE_OLD)
    line.serve(before, lookback_minutes=lookback_minutes)
    line.collected(*OLD, *LATE_OLD)
    line.rate(OLD[0], NEW[0])
    archived(line, FIRST_DAY, 4)
    bare = twin(line)

    told = retain(bare, dry_run=True)
    were = rows_of(bare)
    dropped = beside_facts(retain(bare))
    assert beside_facts(told) == dropped
    assert {name: were[name] - rows_of(bare)[name] for name in were} == dropped
    assert dropped["closings"] > 0
    assert dropped["snapshots"] > 0

    dice = random.Random(seed)
    after = world(seed, NEW)
    for served in (before + after[::2], before + after):  # the second time with late snapshots
        line.serve(served, lookback_minutes=lookback_minutes)
        for hour in dice.sample(NEW, 3):
            for each in (line, bare):
                each.collected(hour)
            assert hours_after(bare) == hours_after(line), hour
        for each in (line, bare):
            each.rate(NEW[0], "2026-04-13T00")
        assert hours_after(bare) == hours_after(line)
    assert hours_after(line)["facts"]


# --- what is left --------------------------------------------------------------------------------


def test_one_closing_of_each_series_is_left_and_no_partition_of_the_days(old: Line) -> None:
    retain(old)
    assert old.rows(
        "select account_uuid::text, hour, last_uplink::int, c.tableoid::regclass::text"
        " from billing_core.closings c join billing_core.series using (series_id)"
        " join billing_core.accounts using (account_key) order by 1"
    ) == [
        (A, hour_of("14").index, 7, "billing_core.closings_kept"),
        (B, hour_of("12").index, 6, "billing_core.closings_kept"),
    ]
    # Days that hold up nothing of this: within 72 hours before what can be collected.
    assert old.rows(
        "select relid::regclass::text from pg_partition_tree('billing_core.closings')"
        " where isleaf order by 1"
    ) == [("billing_core.closings_20260409",), ("billing_core.closings_kept",)]


def test_a_series_that_comes_back_leaves_its_kept_closing_behind(old: Line) -> None:
    retain(old)
    old.serve(LATER)
    old.collected(*NEW)
    archived(old, FIRST_DAY + 4, 7)
    assert beside_facts(retain(old))["closings"] == 2  # of A and B, of the 8th
    assert old.rows(
        "select count(*)::int, count(distinct series_id)::int, min(hour) from billing_core.closings"
    ) == [(4, 4, hour_of(NEW[0]).index)]


def test_again_changes_nothing(old: Line) -> None:
    retain(old)
    before = row_versions(old, "runs")
    assert beside_facts(retain(old)) == dict.fromkeys(BESIDE_FACTS, 0)
    assert row_versions(old, "runs") == before


def test_nothing_goes_of_days_that_are_not_archived(line: Line) -> None:
    line.serve(FIRST)
    line.collected(*OLD)
    before = row_versions(line, "runs")
    assert beside_facts(retain(line)) == dict.fromkeys(BESIDE_FACTS, 0)
    assert row_versions(line, "runs") == before


def test_nothing_goes_of_days_whose_facts_are_frozen(old: Line) -> None:
    old.execute("update billing_core.archives set facts = null, dropped_at = null")
    assert beside_facts(retain(old)) == dict.fromkeys(BESIDE_FACTS, 0)


def test_nothing_goes_without_a_retention_of_facts(old: Line) -> None:
    assert beside_facts(retain(old, facts=None)) == dict.fromkeys(BESIDE_FACTS, 0)


def test_bad_samples_stay_as_long_as_is_said(old: Line) -> None:
    assert beside_facts(retain(old, quarantine=None))["quarantine"] == 0
    ((left,),) = old.rows("select count(*)::int from billing_core.quarantine")
    assert beside_facts(retain(old, quarantine=timedelta(days=1)))["quarantine"] == 3
    # Those of snapshots that stay, by which later ones are judged, stay with them.
    assert old.rows("select count(*)::int from billing_core.quarantine") == [(left - 3,)]
    assert (
        left - 3
        == old.rows(
            "select count(*)::int from billing_core.quarantine"
            " join billing_core.node_instants using (node_key, instant_ns)"
        )[0][0]
    )


@pytest.mark.parametrize("most", [1, 20_000])
def test_what_look_back_saw_goes_with_its_snapshot(line: Line, most: int) -> None:
    """That of the node's first snapshot stays: by it a birth is told from presence (C7)."""
    bad = (sample(C, -1, 0), sample(C, "x", 0))
    line.serve(
        [
            snapshot("12:52:03", sample(A, 500, 1000), *bad),
            snapshot("12:55:03", sample(A, 500, 1000), *bad),
            snapshot("13:05:03", sample(A, 510, 1030)),
        ]
    )
    line.collected("13")
    archived(line, FIRST_DAY, 4)
    assert rows_of(line)["lookback"] == 4

    assert retain(line, dry_run=True).counts["lookback"] == 2
    assert beside_facts(retain(line, facts=None))["lookback"] == 0
    line.settings["retention"] = RETENTION | {"facts": timedelta(days=30)}
    with line.engine.connect() as connection:
        connection.autocommit = True
        dropped = drop_all(connection, line.engine.settings, NOW, dry_run=False, most=most)
    assert {each.name: each.rows for each in dropped}["lookback"] == 2
    assert (
        line.rows(
            "select to_char(to_timestamp(instant_ns / 1e9) at time zone 'UTC', 'HH24:MI:SS')"
            " from billing_core.lookback_presence"
        )
        == [("12:52:03",)] * 2
    )
    assert beside_facts(retain(line))["lookback"] == 0


def test_batches_are_bounded(old: Line) -> None:
    old.settings["retention"] = RETENTION | {"facts": timedelta(days=30)}
    with old.engine.connect() as connection:
        connection.autocommit = True
        dropped = drop_all(connection, old.engine.settings, NOW, dry_run=False, most=1)
    counts = {each.name: each.rows for each in dropped}
    assert {name: counts[name] for name in BESIDE_FACTS} == ALL_OF_OLD


def test_who_reads_closings_for_long_is_not_waited_for(
    old: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shut_out, "TRIES", 1)
    before = rows_of(old)
    with psycopg.connect(old.database_url) as reader:
        reader.execute("select count(*) from billing_core.closings")
        with pytest.raises(RetryableError, match=r"^closings [^\n]* run again when that has"):
            retain(old)
        reader.rollback()
    left = rows_of(old)
    assert left["closings"] == before["closings"]
    assert left["snapshots"] < before["snapshots"]  # one that cannot go holds up no other
    assert beside_facts(retain(old)) == dict.fromkeys(BESIDE_FACTS, 0) | {"closings": 2}


def test_look_back_into_days_that_are_gone_finds_a_place(old: Line) -> None:
    retain(old)
    assert old.rows("select billing_core.ensure_day_partition(%s)", FIRST_DAY) == [(False,)]
    old.execute(
        "insert into billing_core.closings select first_ns, first_uplink, first_downlink, last_ns,"
        " last_uplink, last_downlink, prev_ns, prev_uplink, prev_downlink, 99, hour, first_kind,"
        " reset_after_first, true from billing_core.closings limit 1"
    )


def test_the_pipeline_role_may_do_it(old: Line, login: str) -> None:
    grant(old.database_url, roles.PIPELINE, login)
    old.database_url = address(old.database_url, login)
    assert beside_facts(retain(old)) == ALL_OF_OLD


# --- what says the same as before ----------------------------------------------------------------


def test_statements_and_views_say_what_they_said(archive: Archive) -> None:
    signed = archive.settled.sign()
    archive.archive()
    line = archive.line
    archived(line, FIRST_DAY + 1, 4)
    views = {
        view: line.rows(f"select * from {view} order by 1, 2, 3")
        for view in ("billing.source_hours", "billing.usage_hours", "billing.account_months",
                     "billing.counter_resets", "billing.usage_gaps",
                     "account_read_model.traffic_stat_checkpoints")
    }  # fmt: skip
    assert beside_facts(retain(line))["snapshots"] > 0

    verdict = archive.settled.verify(code=0)
    assert (verdict["unchanged"], verdict["root_now"]) == (True, signed["root"])
    for view, rows in views.items():
        assert line.rows(f"select * from {view} order by 1, 2, 3") == rows, view


def test_a_statement_still_counts_bad_samples_that_went(archive: Archive) -> None:
    bad = snapshot("12:08:03", sample(A, 9, 18), sample(B, -1, 0), sample(C, "x", 0))
    archive.line.serve([*worked_example(), bad, *NEXT_DAY])
    archive.settled.settle()
    before = archive.settled.document()["notable"]
    kinds = {row["kind"] for row in before if row["what"] == "quarantine"}
    assert len(kinds) == 2
    archive.archive()
    archived(archive.line, FIRST_DAY + 1, 4)
    assert archive.settled.document()["notable"] == before

    assert beside_facts(retain(archive.line))["quarantine"] == 2

    row = {"what": "quarantine", "kind": "dropped since archived", "cases": 2, "bytes": 0}
    after = archive.settled.document()["notable"]
    assert [each for each in after if each["what"] == "quarantine"] == [row]
    assert [each["what"] for each in after] == sorted(
        (each["what"] for each in after), reverse=True
    )
    others = [each for each in before if each["what"] != "quarantine"]
    assert [each for each in after if each["what"] != "quarantine"] == others
    assert "dropped since archived" in archive.settled.statement().out
