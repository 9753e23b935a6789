"""Runs at the same time end in what the same runs one after the other leave."""

import json
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg
import pytest
from pipeline.audited import assert_as_audited
from pipeline.harness import (
    DAY,
    HISTORY,
    JSON,
    TOKEN,
    A,
    B,
    C,
    Line,
    answer_of,
    balances,
    facts,
    finding_kinds,
    hour_of,
    ledger,
    process,
    readings,
    row_versions,
    sample,
    snapshot,
    state,
    states,
)
from pipeline.test_crash import until
from scripted_exporter import Asked, Reply, serving

from billing_etl.hours import Hour, HourRange
from billing_etl.local.exporter_server import Store, answer
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.pipeline.accounts import add_credit, close_period
from billing_etl.pipeline.deliver import DeliverResult, deliver_hours
from billing_etl.pipeline.reconcile import ReconcileResult, reconcile_hours
from billing_etl.store import database, migrations, roles
from proof.side_by_side import at_once, held, locked, wait_until_waiting

HOURS = ("11", "12", "13")
RANGE = HourRange(hour_of("11"), hour_of("14"))
# The first one moves bytes between two minutes; the second one shows more just before the restart.
LATE = ("12:17:33", "12:29:33")


def history(*late: str, node: str = "node-1", accounts: tuple[str, str] = (A, B)) -> list[JSON]:
    """Three hours: a restart at 12:30, an outage around 13:00, a birth at 12:40; late snapshots."""
    first, second = accounts
    snapshots = []
    for minute in range(-1, 3 * 60 + 1):
        if 118 <= minute <= 122:
            continue
        since = minute if minute < 90 else minute - 90
        samples = [sample(first, 5 * since + 5, 7 * since + 7)]
        if minute >= 100:
            samples.append(sample(second, minute, 2 * minute, "xhttp"))
        clock = f"{(11 * 60 + minute) // 60:02}:{minute % 60:02}"
        snapshots.append(snapshot(f"{clock}:03", *samples, node=node))
        if f"{clock}:33" in late:
            more = [
                each | {"uplink_bytes_total": each["uplink_bytes_total"] + 1} for each in samples
            ]
            snapshots.append(snapshot(f"{clock}:33", *more, node=node))
    return snapshots


def outcomes(*summaries: Any) -> list[str]:
    """Of every source-hour of the summaries; nothing failed."""
    assert [summary.failures for summary in summaries] == [[]] * len(summaries)
    return [result.outcome for summary in summaries for result in summary.results]


def assert_settled(line: Line, served: Sequence[JSON], hours: Sequence[str] = HOURS) -> None:
    """Rated, the state is the oracle's to the last row, and doing all again changes no row."""
    line.rate()
    assert_as_audited(line, {"jp-1": served}, {"jp-1": hours})
    assert_balances_run_on(line)
    rows = row_versions(line, *HISTORY)
    assert set(outcomes(line.collect(*hours))) == {"unchanged"}
    line.rate()
    assert row_versions(line, *HISTORY) == rows


def assert_balances_run_on(line: Line) -> None:
    """Every entry's balance is the one before it plus the credit, or less the charge."""
    running: dict[str, Decimal] = {}
    for account, kind, amount, after in line.rows(
        "select account_uuid::text, entry_type, amount, balance_after"
        " from billing_core.ledger_entries join billing_core.accounts using (account_key)"
        " order by entry_id"
    ):
        before = running.get(account, Decimal(0))
        running[account] = before + amount if kind == "credit" else before - amount
        assert running[account] == after
    assert {key: value for key, value in balances(line).items() if key in running} == running


@pytest.fixture
def twin(postgres_server: EmbeddedPostgres, migrated_template: str, line: Line) -> Iterator[Line]:
    """A line with a database of its own that does the same one after the other."""
    name = f"twin_{uuid.uuid4().hex}"
    postgres_server.create_database(name, migrated_template)
    directory = line.directory / "twin"
    directory.mkdir()
    yield Line(postgres_server.url(name), directory, line.stack)
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def delivering(line: Line, s3: Any, bucket: str, object_store: EmbeddedObjectStore) -> Line:
    """A line that delivers into an empty bucket."""
    line.settings |= {
        "s3_enabled": True,
        "s3_bucket": bucket,
        "s3_endpoint_url": object_store.endpoint_url,
        "s3_max_events": 20,
    }
    line.serve(history())
    return line


# --- collecting --------------------------------------------------------------------------------


def test_two_collects_of_one_hour_write_it_once(line: Line) -> None:
    line.serve(history())

    first, second = at_once(
        line, "node_instants", lambda: line.collect("12"), lambda: line.collect("12")
    )

    assert (outcomes(first), outcomes(second)) == (["collected"], ["unchanged"])
    assert_settled(line, history(), ["12"])


@pytest.mark.parametrize("order", [("12", "13"), ("13", "12")])
def test_two_collects_of_different_hours_of_a_source_end_as_one_after_the_other(
    line: Line, order: tuple[str, str]
) -> None:
    line.serve(history())

    at_once(line, "node_instants", *[partial(line.collected, hour) for hour in order])

    assert_settled(line, history(), order)


def test_a_collect_beside_a_backfill_of_its_hour_collects_it_once(line: Line) -> None:
    line.serve(history())

    backfill, hourly = at_once(
        line, "node_instants", lambda: line.collect(*HOURS), lambda: line.collect("12")
    )

    every = outcomes(backfill, hourly)
    assert Counter(every) == {"collected": 3, "unchanged": 1}
    assert_settled(line, history())


def test_a_late_snapshot_found_by_two_runs_at_once_is_written_once(line: Line) -> None:
    line.serve(history())
    line.collected(*HOURS)
    line.rate()
    line.serve(history(*LATE))

    runs = at_once(line, "facts", *[lambda: line.collect(*HOURS)] * 2)

    assert Counter(outcomes(*runs)) == {"unchanged": 5, "collected": 1}
    assert_settled(line, history(*LATE))


def test_a_source_stuck_in_fetching_or_writing_holds_up_no_other(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's hours lie on the same day and on one that has no partitions yet."""
    line.serve(history())
    line.collected("12")
    line.serve(history(*LATE))
    there = history(node="node-9", accounts=(C, "3f2b0a1c-0000-4000-8000-00000000000d"))
    line.serve(there, source_id="us-1")
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 30)
    store, reached, go_on = Store(line.directory / "jp-1.json", "nanosecond"), *_events(2)

    def respond(asked: Asked) -> Reply:
        reached.set()
        assert go_on.wait(60)
        served = answer(store, TOKEN, asked.target, f"Bearer {TOKEN}")
        return Reply(served.body, served.status, served.content_type)

    with serving(respond) as slow, ThreadPoolExecutor(1) as pool:
        line.sources["jp-1"]["base_url"] = slow.base_url
        with locked(line, "select from billing_core.source_hours for update") as holder:
            stuck = pool.submit(line.collect, "12", source_id="jp-1")
            assert reached.wait(60)
            assert outcomes(line.collect("12", source_id="us-1")) == ["collected"]
            go_on.set()
            wait_until_waiting(holder, 1)
            others = outcomes(line.collect("11", "13", "2026-05-20T10", source_id="us-1"))
            assert (others, stuck.done()) == (["collected"] * 3, False)
        assert outcomes(stuck.result()) == ["collected"]
    line.rate()
    assert_as_audited(
        line,
        {"jp-1": history(*LATE), "us-1": there},
        {"jp-1": ["12"], "us-1": [*HOURS, "2026-05-20T10"]},
    )


def _events(count: int) -> list[threading.Event]:
    return [threading.Event() for _ in range(count)]


def test_two_sources_that_add_the_same_accounts_at_once_lock_them_in_one_order(line: Line) -> None:
    """Each has one of the two in its hour and the other one in its look-back only."""
    served = {}
    for source_id, node, own, before in (("jp-1", "node-1", A, B), ("us-1", "node-9", B, A)):
        served[source_id] = [
            snapshot("11:58:03", sample(before, 1, 1), node=node),
            snapshot("11:59:03", sample(own, 5, 5), node=node),
            snapshot("12:00:03", sample(own, 9, 9), node=node),
        ]
        line.serve(served[source_id], source_id=source_id)

    runs = at_once(
        line, "series", *[partial(line.collect, "12", source_id=s) for s in ("jp-1", "us-1")]
    )

    assert outcomes(*runs) == ["collected", "collected"]
    line.rate()
    assert_as_audited(line, served, {"jp-1": ["12"], "us-1": ["12"]})


def test_one_node_served_by_two_sources_at_once_is_collected_from_one(line: Line) -> None:
    line.serve(history())
    line.serve(history(), source_id="us-1")

    runs = at_once(
        line, "series", *[partial(line.collect, "12", source_id=s) for s in ("jp-1", "us-1")]
    )

    ((source_id, _, error),) = [failure for run in runs for failure in run.failures]
    assert source_id == "us-1"
    assert "shared_node" in error
    line.rate()
    assert {fact.node for fact in facts(line)} == {"node-1"}
    assert (state(line, "12"), state(line, "12", "us-1")) == ("complete", None)


# --- rating ------------------------------------------------------------------------------------


def test_first_raters_at_once_take_the_first_price_once(line: Line) -> None:
    line.serve(history())
    line.collected(*HOURS)

    results = at_once(line, "price_versions", line.rate, line.rate, line.rate)

    assert [result.account_hours > 0 for result in results] == [True, False, False]
    assert line.rows("select count(*) from billing_core.price_versions") == [(1,)]
    assert_settled(line, history())


def test_raters_that_wait_for_a_collect_rate_what_it_wrote(line: Line, twin: Line) -> None:
    """The account-hours were stale before, so that a rater wants the rows the collect holds."""
    for each in (line, twin):
        each.serve(history())
        each.collected(*HOURS)
        each.rate()
        each.serve(history(LATE[0]))
        each.collected("12")
        each.serve(history(*LATE))

    at_once(line, "facts", lambda: line.collected("12"), line.rate, line.rate, line.rate)
    for step in (lambda: twin.collected("12"), twin.rate, twin.rate, twin.rate):
        step()

    assert ledger(line) == ledger(twin)
    assert_settled(line, history(*LATE))


def test_a_collect_that_waits_for_a_rater_leaves_its_hours_to_the_next_one(line: Line) -> None:
    line.serve(history())
    line.collected(*HOURS)
    line.serve(history(*LATE))

    rated, collected = at_once(line, "ledger_entries", line.rate, lambda: line.collect(*HOURS))

    assert rated.charges == 5
    assert "collected" in outcomes(collected)
    assert line.rows("select count(*) > 0 from billing_core.account_hours where stale") == [(True,)]
    assert_settled(line, history(*LATE))


def test_rating_between_and_beside_collects_of_every_hour_in_any_order(line: Line) -> None:
    """Whatever a rater sees of a backfill, the net of the ledger ends as the oracle's."""
    line.serve(history(*LATE))
    started = threading.Barrier(4)

    def backfill(hours: Sequence[str]) -> None:
        started.wait()
        line.collected(*hours)

    def rater() -> None:
        started.wait()
        for _ in range(6):
            line.rate()

    works: list[Callable[[], None]] = [
        lambda: backfill(("13", "11", "12")),
        lambda: backfill(("12", "13", "11")),
        rater,
        rater,
    ]
    with ThreadPoolExecutor(len(works)) as pool:
        for running in [pool.submit(work) for work in works]:
            running.result()

    assert_settled(line, history(*LATE))


# --- prices, credits, closed periods -----------------------------------------------------------

DEARER = {
    "price_version": "dearer",
    "price_per_byte": 3,
    "from": f"{DAY}T12:15:00Z",
    "included_quota_bytes": 50,
}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_publishing_crediting_and_rating_at_once_end_as_one_after_the_other(
    line: Line, twin: Line, order: Sequence[int]
) -> None:
    def steps(each: Line) -> list[Callable[[], object]]:
        return [
            each.rate,
            lambda: each.publish(versions=[DEARER]),
            lambda: add_credit(each.engine, A, Decimal("12.5"), "voucher"),
            lambda: add_credit(each.engine, A, Decimal("0.25"), "voucher"),
        ]

    for each in (line, twin):
        each.serve(history())
        each.collected(*HOURS)
        each.rate()
        each.serve(history(*LATE))
        each.collected("12")

    at_once(line, "ledger_entries", *[steps(line)[at] for at in order])
    for step in steps(twin):
        step()

    assert states(line) == states(twin)
    assert_balances_run_on(line)
    assert reconcile_hours(line.engine, RANGE, repair=False).clean


def test_a_period_closed_behind_a_rater_holds_what_the_rater_posted(line: Line) -> None:
    line.serve(history())
    line.collected(*HOURS)

    at_once(line, "ledger_entries", line.rate, lambda: close_period(line.engine, "2026-04"))

    assert periods(line) == {"traffic_charge": {"2026-04"}}
    assert_settled(line, history())


def test_a_rater_behind_the_closing_of_a_period_posts_in_the_next_one(line: Line) -> None:
    line.serve(history())
    line.collected(*HOURS)
    line.rate()
    line.serve(history(*LATE))

    def collect_and_rate() -> None:
        line.collected("12")
        line.rate()

    at_once(line, "closed_periods", lambda: close_period(line.engine, "2026-04"), collect_and_rate)

    assert periods(line) == {"traffic_charge": {"2026-04"}, "adjustment": {"2026-05"}}
    assert_settled(line, history(*LATE))


def periods(line: Line) -> dict[str, set[str]]:
    """By entry type, the periods that entries are posted in."""
    found: dict[str, set[str]] = {}
    for kind, period in line.rows(
        "select entry_type, to_char(to_timestamp(period_hour * 3600.0) at time zone 'UTC',"
        " 'YYYY-MM') from billing_core.ledger_entries"
    ):
        found.setdefault(kind, set()).add(period)
    return found


def test_publishing_beside_a_collect_of_the_same_accounts_deadlocks_neither(line: Line) -> None:
    """Rows lie in another order than that of their keys; one in the middle holds both up."""
    accounts = [f"3f2b0a1c-0000-4000-8000-00000000000{number}" for number in (1, 2, 3)]

    def served(more: int) -> list[JSON]:
        return [
            snapshot(f"12:{minute:02}:03", *[sample(each, minute * more, 0) for each in accounts])
            for minute in range(60)
        ]

    line.serve(served(1))
    line.collected("12")
    line.rate()
    for account in (accounts[2], accounts[1], accounts[0]):
        line.execute(
            "update billing_core.account_hours set amount = amount where account_key ="
            f" (select account_key from billing_core.accounts where account_uuid = '{account}')"
        )
    line.execute("analyze billing_core.account_hours")  # it then reads rows as they lie
    line.serve([*served(1)[:-1], *served(2)[-1:]])
    middle = (
        "select from billing_core.account_hours join billing_core.accounts using (account_key)"
        f" where account_uuid = '{accounts[1]}' for update of account_hours"
    )

    with ThreadPoolExecutor(2) as pool:
        with locked(line, middle) as holder:
            collecting = pool.submit(line.collect, "12")
            wait_until_waiting(holder, 1)
            publishing = pool.submit(line.publish, versions=[DEARER])
            wait_until_waiting(holder, 2)
        assert outcomes(collecting.result()) == ["collected"]
        assert publishing.result().published == ["dearer"]
    line.rate()
    assert reconcile_hours(line.engine, HourRange.single(hour_of("12")), repair=False).clean


@pytest.mark.parametrize("stale", [False, True])
def test_publishing_locks_what_it_touches_and_what_is_stale_in_one_order(
    line: Line, caplog: pytest.LogCaptureFixture, stale: bool
) -> None:
    """The file names B before A, or B alone while A is stale; a collect wants A, then B.

    Both say that they wait before either goes on: nobody lets go of the place in the queue again.
    """
    line.serve(history())
    line.collected(*HOURS)
    line.rate()
    dearer = [
        {**DEARER, "price_version": account, "scope": "account", "scope_key": account}
        for account in (B, A)
    ]
    if stale:
        line.execute(
            "update billing_core.account_hours h set stale = true from billing_core.accounts a"
            f" where a.account_key = h.account_key and a.account_uuid = '{A}'"
        )
        dearer = dearer[:1]
    line.serve(history("12:47:33"))
    held_up = (
        "select from billing_core.account_hours h join billing_core.accounts a using (account_key)"
        f" where a.account_uuid = '{A}' and h.hour = {hour_of('12').index} for update of h"
    )

    with ThreadPoolExecutor(2) as pool:
        with locked(line, held_up) as holder:
            collecting = pool.submit(line.collect, "12")
            until(lambda: caplog.text.count("waits for") == 1)
            wait_until_waiting(holder, 1)
            publishing = pool.submit(line.publish, versions=dearer)
            until(lambda: caplog.text.count("waits for") == 2)
            wait_until_waiting(holder, 2)
        assert outcomes(collecting.result()) == ["collected"]
        assert len(publishing.result().published) == len(dearer)
    line.rate()
    assert reconcile_hours(line.engine, RANGE, repair=False).clean


def test_a_region_that_changes_beside_a_rater_is_rated_by_the_next_one(line: Line) -> None:
    """The rater has read the old region; what it commits is marked all the same."""
    hour = Hour.of(datetime.now(UTC)).next
    at = f"{hour.start:%Y-%m-%dT%H}"
    served = readings((f"{at}:00:03Z", 0, 0), (f"{at}:01:03Z", 100, 50))
    multipliers = {"jp": "1", "eu": "10"}
    line.publish(versions=[DEARER | {"from": None, "region_multipliers": multipliers}])
    line.serve(served, region="jp")
    line.collected(str(hour))
    line.serve(served, region="eu")
    rate = partial(line.rate, str(hour), str(hour.next))

    _, collected = at_once(line, "ledger_entries", rate, lambda: line.collect(str(hour)))
    rate()

    assert outcomes(collected) == ["unchanged"]
    assert [entry.amount for entry in ledger(line)] == [300, 2700]


def test_publishing_a_plan_for_an_account_that_a_collect_adds_deadlocks_neither(line: Line) -> None:
    """The collect has added C and wants the hours of A next; the file names both."""
    line.serve(history())
    line.collected(*HOURS)
    line.rate()
    line.serve(readings(("12:10:03", 1, 1), ("12:50:03", 9, 9), account=C) + history(*LATE))
    member = {"account_uuid": C, "plan": "gold"}

    collected, published = at_once(
        line,
        "series",
        lambda: line.collect("12"),
        lambda: line.publish(versions=[DEARER], plan_members=[member]),
    )

    assert outcomes(collected) == ["collected"]
    assert published.published == ["dearer", f"{C} in plan gold"]
    line.rate()
    assert reconcile_hours(line.engine, RANGE, repair=False).clean


# --- exporting ---------------------------------------------------------------------------------


def export(line: Line, hours: HourRange = RANGE) -> list[DeliverResult]:
    return deliver_hours(line.engine, hours)


def delivered_keys(line: Line, s3: Any) -> list[str]:
    listed = s3.list_objects_v2(Bucket=line.settings["s3_bucket"])["Contents"]
    return [each["Key"] for each in listed]


def delivered(line: Line, s3: Any) -> dict[str, dict[str, Any]]:
    """Events in the bucket by id: none of them twice, each object sealed and marked delivered."""
    bucket, keys = line.settings["s3_bucket"], delivered_keys(line, s3)
    sealed = line.rows(
        "select object_key, delivered_at is not null from billing_core.batches order by 1"
    )
    assert sealed == [(key, True) for key in sorted(keys)]
    bodies = [
        s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        for key in keys
        if "manifest" not in key
    ]
    found = [json.loads(text) for body in bodies for text in body.splitlines()]
    by_id = {event["id"]: event for event in found}
    assert len(by_id) == len(found)
    return by_id


def usage_of(events: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Bytes by account."""
    sums: Counter[str] = Counter()
    for event in events.values():
        sums[event["properties"]["resource_id"]] += event["properties"]["usage"]
    return dict(sums)


def collected_usage(line: Line, hour: str = "") -> dict[str, int]:
    """Bytes by account, of one hour or of all."""
    sums: Counter[str] = Counter()
    for fact in (each for each in facts(line) if each.minute.startswith(hour)):
        sums[fact.account] += fact.up + fact.down
    return dict(sums)


def sealings(line: Line) -> list[int]:
    return [
        sealings
        for (sealings,) in line.rows(
            "select sealings from billing_core.deliveries where hour >= %s and hour < %s"
            " order by hour",
            RANGE.start.index,
            RANGE.end.index,
        )
    ]


def test_two_exports_of_the_same_hours_seal_each_once(delivering: Line, s3: Any) -> None:
    delivering.collected(*HOURS)

    first, second = at_once(
        delivering, "batches", lambda: export(delivering), lambda: export(delivering)
    )

    assert sealings(delivering) == [1, 1, 1]
    for one, other in zip(first, second, strict=True):
        assert "sealed" in {one.outcome, other.outcome} <= {"sealed", "sent", "nothing_new"}
        assert one.outcome != other.outcome
    assert usage_of(delivered(delivering, s3)) == collected_usage(delivering)


def test_two_exports_that_send_the_same_objects_store_each_once(delivering: Line, s3: Any) -> None:
    """Sealed, and nothing sent, as a crash leaves it; both put an object before either marks it."""
    delivering.collected(*HOURS)
    export(delivering)
    for key in delivered_keys(delivering, s3):
        s3.delete_object(Bucket=delivering.settings["s3_bucket"], Key=key)
    delivering.execute("update billing_core.batches set delivered_at = null")

    at_once(delivering, "batches", lambda: export(delivering), lambda: export(delivering))

    assert sealings(delivering) == [1, 1, 1]
    assert usage_of(delivered(delivering, s3)) == collected_usage(delivering)


def test_an_export_behind_a_collect_seals_the_whole_collection(delivering: Line, s3: Any) -> None:
    delivering.collected(*HOURS)
    delivering.serve(history(*LATE))

    at_once(
        delivering,
        "facts",
        lambda: delivering.collected("12"),
        lambda: export(delivering),
    )

    events = delivered(delivering, s3)
    assert sealings(delivering) == [1, 1, 1]
    assert usage_of(events) == collected_usage(delivering)
    assert {event["properties"].get("corrects") for event in events.values()} == {None}
    assert_settled(delivering, history(*LATE))


def test_a_collect_behind_an_export_leaves_the_whole_collection_to_the_next_sealing(
    delivering: Line, s3: Any
) -> None:
    delivering.collected(*HOURS)
    before = collected_usage(delivering, "12")
    delivering.serve(history(*LATE))

    hour = HourRange.single(hour_of("12"))
    at_once(
        delivering, "batches", lambda: export(delivering, hour), lambda: delivering.collected("12")
    )

    first = usage_of(delivered(delivering, s3))
    assert first == before
    assert first != collected_usage(delivering, "12")
    export(delivering)
    assert sealings(delivering) == [1, 2, 1]
    assert usage_of(delivered(delivering, s3)) == collected_usage(delivering)
    assert_settled(delivering, history(*LATE))


# --- reconciling -------------------------------------------------------------------------------


def reconcile(line: Line, *, repair: bool = True) -> ReconcileResult:
    return reconcile_hours(line.engine, RANGE, repair=repair)


def assert_clean(line: Line, result: ReconcileResult) -> None:
    assert [check for check in result.checks if check.status == "different"] == []
    assert finding_kinds(line) == []


@pytest.mark.parametrize("table", ["node_instants", "facts"])
def test_reconciling_beside_a_collect_ends_clean(delivering: Line, s3: Any, table: str) -> None:
    """It finds the late snapshots too, waits for the run that collects them, and looks again."""
    delivering.collected(*HOURS)
    delivering.rate()
    export(delivering)
    delivering.serve(history(*LATE))

    _, result = at_once(
        delivering, table, lambda: delivering.collected("12"), lambda: reconcile(delivering)
    )

    assert_clean(delivering, result)
    assert usage_of(delivered(delivering, s3)) == collected_usage(delivering)
    assert_settled(delivering, history(*LATE))


def test_reconciling_beside_a_rater_or_publisher_sees_all_of_its_work_or_none(
    delivering: Line,
) -> None:
    delivering.collected(*HOURS)
    delivering.rate()
    export(delivering)

    with ThreadPoolExecutor(1) as pool:
        with held(delivering, "ledger_entries") as holder:
            publishing = pool.submit(delivering.publish, versions=[DEARER])
            wait_until_waiting(holder, 1)
            result = reconcile(delivering, repair=False)
        assert publishing.result().rating.adjustments > 0

    assert_clean(delivering, result)
    assert_clean(delivering, reconcile(delivering, repair=False))


def test_reconciling_beside_an_export_ends_clean(delivering: Line, s3: Any) -> None:
    delivering.collected(*HOURS)
    delivering.rate()

    _, result = at_once(
        delivering, "batches", lambda: export(delivering), lambda: reconcile(delivering)
    )

    assert_clean(delivering, result)
    assert sealings(delivering) == [1, 1, 1]
    assert usage_of(delivered(delivering, s3)) == collected_usage(delivering)


# --- everything at once ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_everything_at_once_ends_in_what_the_oracle_computes(
    delivering: Line, s3: Any, seed: int
) -> None:
    """Two sources with the same accounts; every step of the line runs beside every other one."""
    line, rng = delivering, random.Random(seed)
    served = {"jp-1": history(*LATE), "us-1": history(LATE[0], node="node-9", accounts=(B, A))}
    for source_id, snapshots in served.items():
        line.serve(snapshots, source_id=source_id)
    line.rate()
    works: list[Callable[[], object]] = []
    for source_id in [*served, *served]:
        hours = rng.sample(HOURS, 3)
        works.append(partial(line.collect, *hours, source_id=source_id))
    works += [line.rate, lambda: export(line), lambda: reconcile(line, repair=False)] * 2
    rng.shuffle(works)
    started = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        started.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        for running in [pool.submit(run, work) for work in works]:
            assert getattr(running.result(), "failures", []) == []
    line.rate()
    export(line)

    assert_as_audited(line, served, dict.fromkeys(served, HOURS))
    assert_clean(line, reconcile(line, repair=False))
    assert usage_of(delivered(line, s3)) == collected_usage(line)
    assert_balances_run_on(line)


# --- migrating ---------------------------------------------------------------------------------


def test_migrations_at_once_apply_each_file_once(
    empty_database_url: str, tmp_path: Any, line: Line
) -> None:
    """Four processes on an empty database, all of them at its door before the first may enter."""
    door = Line(empty_database_url, tmp_path, line.stack)
    environment = {"DATABASE_URL": empty_database_url}
    with locked(door, f"select pg_advisory_xact_lock{migrations._MIGRATION_LOCK}") as holder:
        running = [process(environment, "migrate", "--json") for _ in range(4)]
        wait_until_waiting(holder, 4)
    answers = [answer_of(each) for each in running]

    assert [answer.code for answer in answers] == [0] * 4
    applied = [answer.document["applied"] for answer in answers]
    files = sorted(path.stem for path in (database.SQL_DIRECTORY / "migrations").glob("*.sql"))
    rights = [f"rights of {role.name}" for role in roles.ROLES]
    assert sorted(applied) == [[], [], [], [*files, "views", *rights]]
    assert door.rows("select name from billing_core.migrations order by name") == [
        (name,) for name in sorted([*files, "views"])
    ]
