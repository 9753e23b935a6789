"""Backfills, and dry runs that tell what they would change and leave nothing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from billing_etl.hours import HourRange
from billing_etl.pipeline.backfill import backfill
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rehearsal import Rehearsal, rehearse
from billing_etl.settings import Settings
from pipeline.harness import (
    DAY,
    LATE_SNAPSHOT,
    A,
    B,
    Line,
    command,
    hour_of,
    ledger,
    net,
    readings,
    row_versions,
    sample,
    snapshot,
    states,
    usage,
    worked_example,
)

NOON = HourRange(hour_of("12"), hour_of("13"))
AFTERNOON = HourRange(hour_of("12"), hour_of("15"))
OPTIONS = ("--from", f"{DAY}T12", "--to", f"{DAY}T13")
# Hours 12, 13 and 14; each needs the one before it.
THREE_HOURS = (
    *readings(("11:59:03", 500, 1000), ("12:10:03", 530, 1070), ("12:59:03", 530, 1070)),
    *readings(("13:10:03", 600, 1100), ("13:59:03", 600, 1100)),
    *readings(("14:10:03", 600, 1150), ("14:59:03", 600, 1150)),
)


def dry(line: Line, hours: HourRange = NOON, **more: Any) -> Rehearsal:
    """A dry run, which changes no row of any table."""
    before = row_versions(line)
    engine = line.engine
    result = rehearse(engine, engine.settings.sources, hours, **more)
    assert row_versions(line) == before
    return result


def told(result: Rehearsal) -> dict[tuple[str, str], tuple[int, int, Decimal, Decimal]]:
    return {
        (str(hour).removeprefix(f"{DAY}T"), account[-1].upper()): (
            change.bytes_before, change.bytes_after, change.amount_before, change.amount_after,
        )
        for (hour, account), change in result.changes.items()
    }  # fmt: skip


def stored(line: Line) -> dict[tuple[str, str], tuple[int, Decimal]]:
    """Bytes of facts and net amount per hour and account."""
    quantities = line.rows(
        "select lpad((hour %% 24)::text, 2, '0'), account_uuid::text, quantity"
        " from billing_core.account_hours join billing_core.accounts using (account_key)"
    )
    amounts = {key: amount for key, (_, amount) in net(line).items()}
    return {
        (hour, account[-1].upper()): (quantity, amounts.get((account, f"{hour}:00"), Decimal(0)))
        for hour, account, quantity in quantities
    }


def test_hours_that_were_never_collected(line: Line) -> None:
    line.serve(THREE_HOURS)

    result = dry(line, AFTERNOON)

    # Each hour counts on from the one before; the quota of 100 is used up in the first two.
    assert told(result) == {
        ("12", "A"): (0, 100, Decimal(0), Decimal(0)),
        ("13", "A"): (0, 100, Decimal(0), Decimal(200)),
        ("14", "A"): (0, 50, Decimal(0), Decimal(100)),
    }
    assert (result.failures, result.left, result.corrections) == ([], [], {})
    engine = line.engine
    backfill(engine, engine.settings.sources, AFTERNOON)
    assert stored(line) == {key: (new[1], new[3]) for key, new in told(result).items()}
    assert dry(line, AFTERNOON).changes == {}


def test_a_late_snapshot_and_the_hours_that_are_rated_again(line: Line) -> None:
    line.settings["initial_included_quota_bytes"] = 150
    line.serve(THREE_HOURS)
    line.collected("12", "13", "14")
    line.rate()
    line.serve(sorted(
        [*THREE_HOURS, *readings(("12:20:03", 0, 30), account=B)],
        key=lambda each: str(each["collected_at"]),
    ))  # fmt: skip
    assert told(dry(line, AFTERNOON)) == {("12", "B"): (0, 30, Decimal(0), Decimal(0))}

    line.serve([
        snapshot("11:59:03", sample(A, 500, 1000)), snapshot("12:10:03", sample(A, 530, 1070)),
        snapshot("12:30:03", sample(A, 10, 20)), snapshot("12:59:03", sample(A, 530, 1070)),
        *THREE_HOURS[3:],
    ])  # fmt: skip
    result = dry(line, NOON)
    # A reset within the hour: its 1,600 bytes count as well, and leave hour 13 no quota.
    assert told(result) == {
        ("12", "A"): (100, 1700, Decimal(0), Decimal(3100)),
        ("13", "A"): (100, 100, Decimal(100), Decimal(200)),
    }
    before = stored(line)
    line.collected("12")
    line.rate()
    changed = {key: value for key, value in stored(line).items() if value != before.get(key)}
    assert changed == {key: (new[1], new[3]) for key, new in told(result).items()}


def test_what_waits_for_rating_is_told_as_a_real_run_would_rate_it(line: Line) -> None:
    line.serve(worked_example())
    line.collected("12")
    assert told(dry(line)) == {("12", "A"): (170, 170, Decimal(0), Decimal(140))}


def test_delivered_hours_get_corrections(line: Line, s3: Any, bucket: str, s3_server: Any) -> None:
    line.serve(worked_example())
    line.collected("12")
    line.rate()
    s3_settings = {
        "s3_enabled": True, "s3_bucket": bucket, "s3_endpoint_url": s3_server.endpoint_url,
    }  # fmt: skip
    deliver_hours(Engine(replace(line.engine.settings, **s3_settings)), NOON)
    sent = s3.list_objects_v2(Bucket=bucket)["KeyCount"]
    line.serve(worked_example(LATE_SNAPSHOT))

    result = dry(line)

    # 12:04 gets 3 bytes that 12:09 loses: no byte and no money, but two events.
    assert result.changes == {}
    assert result.corrections == {hour_of("12"): 2}
    (hour,) = result.by_hour()
    assert (hour["hour"], hour["accounts"], hour["corrections"]) == (f"{DAY}T12", 0, 2)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == sent


def test_a_source_that_fails_hides_no_other(line: Line) -> None:
    line.serve(worked_example())
    line.serve([{"collected_at": f"{DAY}T12:00:00Z"}], source_id="broken")
    result = dry(line)
    assert [(source_id, str(hour)) for source_id, hour, _ in result.failures] == [
        ("broken", f"{DAY}T12")
    ]
    assert ("12", "A") in told(result)


def test_a_dry_run_gives_way_after_a_while_and_says_what_is_left(line: Line) -> None:
    line.serve(THREE_HOURS)
    ticks = iter([0.0, 1.0, 61.0])
    result = dry(line, AFTERNOON, hold_seconds=60, clock=lambda: next(ticks))
    assert [str(each.hour) for each in result.collected] == [f"{DAY}T12"]
    assert [str(hour) for _, hour in result.left] == [f"{DAY}T13", f"{DAY}T14"]
    assert result.summary()["not_compared"] == 2


def test_another_run_waits_for_a_dry_run_and_then_does_its_work(line: Line) -> None:
    line.serve(THREE_HOURS)
    engine = line.engine

    class Clock:
        """Starts an hourly run in the midst of the dry run."""

        running: Any = None

        def __call__(self) -> float:
            if self.running is None:
                self.running = threads.submit(line.collected, "12", "13")
            return 0.0

    clock = Clock()
    with ThreadPoolExecutor(1) as threads:
        result = rehearse(engine, engine.settings.sources, AFTERNOON, clock=clock)
        clock.running.result()
    assert ("12", "A") in told(result)
    assert sum(usage(line).values()) == 200


def test_without_a_price_it_ends_as_a_real_run_would(line: Line) -> None:
    line.settings["price_per_byte"] = None
    line.serve(worked_example())
    before = row_versions(line)
    environment = line.environment() | {"PRICE_PER_BYTE": ""}
    answer = command(environment, "backfill", *OPTIONS, "--dry-run")
    assert (answer.code, "PRICE_PER_BYTE" in answer.err) == (2, True)
    assert row_versions(line) == before


# --- for good ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "parallel"), [("oldest", 1), ("newest", 1), ("newest", 3)])
def test_order_and_parallelism_change_no_result(line: Line, order: Any, parallel: int) -> None:
    for number in range(3):
        line.serve(
            [each | {"node_id": f"node-{number}"} for each in THREE_HOURS],
            source_id=f"source-{number}",
        )
    engine = line.engine
    result = backfill(engine, engine.settings.sources, AFTERNOON, order=order, parallel=parallel)
    assert result.failures == []
    assert [each["facts_written"] >= 3 for each in result.collected] == [True] * 3
    assert sum(usage(line).values()) == 750
    assert sum(entry.amount for entry in ledger(line)) == (750 - 100) * 2
    first = row_versions(line, "runs", "sources")
    backfill(engine, engine.settings.sources, AFTERNOON, order="oldest")
    assert row_versions(line, "runs", "sources") == first


def test_a_failed_source_ends_the_command_with_one_and_the_others_are_done(line: Line) -> None:
    line.serve(worked_example())
    line.serve([{"collected_at": f"{DAY}T12:00:00Z"}], source_id="broken")
    answer = command(line.environment(), "backfill", *OPTIONS, "--json")
    assert answer.code == 1
    assert [each["source_id"] for each in answer.document["failures"]] == ["broken"]
    assert answer.document["rated"]["amount"] == "140"


def test_the_document_of_a_dry_run(line: Line) -> None:
    line.serve(worked_example())
    answer = command(line.environment(), "backfill", *OPTIONS, "--dry-run", "--json")
    assert (answer.code, answer.err) == (0, "")
    document = answer.document
    assert document["dry_run"] is True
    expected = {
        "bytes_before": 0, "bytes_after": 170, "bytes_difference": 170,
        "amount_before": "0", "amount_after": "140", "amount_difference": "140",
    }  # fmt: skip
    assert document["changes"] == [{"hour": f"{DAY}T12", "account_uuid": A} | expected]
    assert document["by_account"] == [{"account_uuid": A} | expected]
    (hour,) = document["by_hour"]
    assert hour == {"hour": f"{DAY}T12", "accounts": 1, "corrections": 0} | expected
    assert line.rows("select count(*) from billing_core.runs") == [(0,)]


def test_people_get_tables_and_a_sentence(line: Line) -> None:
    line.serve(worked_example())
    answer = command(line.environment(), "backfill", *OPTIONS, "--dry-run")
    assert answer.code == 0
    for word in ("Would change, per hour", "Would change, per account", "+170 bytes", "+140"):
        assert word in answer.out


def test_states_do_not_depend_on_an_earlier_dry_run(
    line: Line, postgres_server: Any, migrated_template: str
) -> None:
    line.serve(THREE_HOURS)
    for _ in range(2):
        dry(line, AFTERNOON)
    engine = line.engine
    backfill(engine, engine.settings.sources, AFTERNOON)
    after = states(line)
    name = "never_rehearsed"
    postgres_server.create_database(name, migrated_template)
    settings: Settings = replace(engine.settings, database_url=postgres_server.url(name))
    backfill(Engine(settings), settings.sources, AFTERNOON)
    line.database_url = postgres_server.url(name)
    assert states(line) == after
