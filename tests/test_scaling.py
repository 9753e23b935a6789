"""The model behind docs/scaling.md: nothing is lost in it, and small cases come out by hand."""

import json
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.scaling import views
from benchmarks.scaling.__main__ import KINDS
from benchmarks.scaling.costs import Cost, UnitCosts, from_json, load, store
from benchmarks.scaling.limits import limits
from benchmarks.scaling.load import HourCosts, House, Load
from benchmarks.scaling.scenarios import scenarios
from benchmarks.scaling.simulation import RECONCILED_HOURS, SILENT_SECONDS, Outcome, simulate
from benchmarks.scaling.storage import kept
from benchmarks.scaling.tables import Table, measured_on, printed, put

NOTHING = from_json({each.name: {} if each.type is Cost else 0 for each in fields(UnitCosts)})
# Whole seconds, so that a person can add them up.
PLAIN = replace(
    NOTHING,
    source_hour=Cost(worker_seconds=2, database_seconds=4),
    locked=Cost(worker_seconds=1, database_seconds=1, wait_seconds=0.5),
    rate_account_hours_1000=Cost(worker_seconds=1000),
    plan_source=Cost(worker_seconds=0.5),
    scheduled_task=Cost(worker_seconds=1),
    task_calls=Cost(worker_seconds=1),
    task_process=Cost(worker_seconds=2),
    task_imports=Cost(worker_seconds=1),
    round_trip_seconds=0.1,
    round_trips=10,
    locked_round_trips=4,
    requests=1,
    log_bytes_per_second=1,
)
# Before the rating lock: 3 s for reading, 0.6 s for round trips, 3 s for writing; under it 2.9 s.
BEFORE_LOCK, LOCKED = 6.6, 2.9
TWO = Load(sources=2, accounts=1, answer_seconds=0)
# What a machine of two cores might cost; every part is in it.
LIFELIKE = replace(
    NOTHING,
    source_hour=Cost(worker_seconds=0.01, database_seconds=0.006, wal_bytes=20_000),
    samples_1000=Cost(worker_seconds=0.001),
    facts_1000=Cost(database_seconds=0.0015, wal_bytes=140_000),
    locked=Cost(worker_seconds=0.001, database_seconds=0.002, wait_seconds=0.001),
    rate_facts_1000=Cost(database_seconds=0.004),
    rate_run=Cost(database_seconds=0.01),
    plan_source=Cost(database_seconds=0.005),
    object=Cost(worker_seconds=0.002),
    reconciled_hour=Cost(worker_seconds=0.005),
    scheduled_task=Cost(worker_seconds=0.03),
    task_calls=Cost(worker_seconds=0.2),
    task_process=Cost(worker_seconds=0.6),
    round_trip_seconds=0.0001,
    round_trips=75,
    locked_round_trips=7,
    requests=1,
    log_bytes_per_second=100e6,
    fact_bytes=150,
    sparse_fact_bytes=175,
    cold_fact_bytes=15,
    copy_facts_per_second=1e6,
)


# --- by hand ------------------------------------------------------------------------------------


def test_two_sources_one_after_the_other() -> None:
    outcome = simulate(PLAIN, TWO, House(slots=1, sources_per_task=0))
    assert outcome.billed_seconds == pytest.approx(2 * (BEFORE_LOCK + LOCKED))
    assert outcome.busy["database CPU"] == pytest.approx(2 * 5 / 2 / outcome.billed_seconds)
    assert outcome.busy["worker CPU"] == pytest.approx(2 * 3 / 2 / outcome.billed_seconds)
    assert outcome.busy["rating lock"] == pytest.approx(2 * LOCKED / outcome.billed_seconds)
    assert (outcome.rated_in_write, outcome.rated_later) == (2, 0)


def test_who_waits_two_seconds_for_the_rating_lock_leaves_it_to_rate() -> None:
    outcome = simulate(PLAIN, TWO, House(slots=2, sources_per_task=0))
    collected = BEFORE_LOCK + 2 + LOCKED
    assert outcome.collected_seconds == pytest.approx(collected)
    assert outcome.billed_seconds == pytest.approx(collected + 1)  # one account-hour is left
    assert (outcome.rated_in_write, outcome.rated_later) == (1, 1)


def test_two_databases_have_two_rating_locks() -> None:
    outcome = simulate(PLAIN, TWO, House(slots=2, sources_per_task=0, databases=2))
    assert outcome.billed_seconds == pytest.approx(BEFORE_LOCK + LOCKED)


def test_one_task_of_two_sources() -> None:
    outcome = simulate(PLAIN, TWO, House(slots=1, sources_per_task=2))
    planned, scheduled, called, started = 1, 1, 1, 3
    expected = planned + scheduled + called + started + 2 * (BEFORE_LOCK + LOCKED)
    assert outcome.billed_seconds == pytest.approx(expected)


def test_on_one_core_everything_is_in_everybodys_way() -> None:
    house = House(worker_cores=1, slots=2, sources_per_task=0, one_machine=True)
    outcome = simulate(PLAIN, TWO, house)
    # 8 s of CPU for each source-hour; nothing can be faster than one after the other.
    assert outcome.collected_seconds >= 16
    half = simulate(PLAIN, TWO, replace(house, speed=0.5))
    assert half.collected_seconds >= 32


def test_a_silent_exporter_holds_its_slot_and_is_not_billed() -> None:
    outcome = simulate(PLAIN, replace(TWO, silent=1.0), House(slots=1, sources_per_task=0))
    assert outcome.collected == [0, 0]
    assert outcome.silent == 2
    assert outcome.billed_seconds == pytest.approx(2 * (3 + 0.6 + SILENT_SECONDS))


def test_delivery_and_reconciliation_are_one_process_per_database() -> None:
    costs = replace(
        PLAIN, object=Cost(worker_seconds=5), reconciled_hour=Cost(worker_seconds=1, wait_seconds=1)
    )
    load = replace(TWO, sources=4)  # 120 events each
    outcome = simulate(costs, load, House(sources_per_task=0, databases=2))
    assert outcome.sealed_seconds == pytest.approx(2 * 120 / 50 * 5)
    assert outcome.checked_seconds == pytest.approx(2 * 2 * RECONCILED_HOURS)


# --- always -------------------------------------------------------------------------------------

LOADS = [
    Load(sources=200),
    Load(sources=200, sources_per_account=4),
    Load(sources=200, silent=0.05),
    Load(sources=200, accounts=2500, active=0.1, stored_hours=720),
]
HOUSES = [
    House(sources_per_task=0),
    House(sources_per_task=1),
    House(sources_per_task=7, workers=4, slots=8, databases=3, raters=2, reading=True),
    House(sources_per_task=0, slots=4, one_machine=True),
]


@pytest.mark.parametrize("house", HOUSES)
@pytest.mark.parametrize("load", LOADS)
def test_every_source_is_billed_once_and_nobody_works_more_than_always(
    load: Load, house: House
) -> None:
    outcome = simulate(LIFELIKE, load, house)
    assert outcome.silent == outcome.collected.count(0)
    assert outcome.collected.count(1) == load.sources - outcome.silent
    assert outcome.rated_in_write + outcome.rated_later == load.sources - outcome.silent
    assert outcome.collected_seconds <= outcome.billed_seconds
    for part, share in outcome.busy.items():
        assert 0 <= share <= 1.0001, part
    assert outcome.busy[outcome.bottleneck] == max(outcome.busy.values())


@pytest.mark.parametrize("load", LOADS)
def test_more_workers_are_never_slower(load: Load) -> None:
    house = House(sources_per_task=5, database_cores=4)
    seconds = [
        simulate(LIFELIKE, load, replace(house, workers=count)).billed_seconds
        for count in (1, 2, 4, 8)
    ]
    # Who comes first at a lock is chance, so a little may be lost to it.
    assert all(more <= 1.02 * less for less, more in pairwise(seconds))
    assert seconds[-1] < seconds[0]


def test_the_same_seed_is_the_same_hour() -> None:
    def run(seed: int) -> Outcome:
        return simulate(LIFELIKE, LOADS[0], HOUSES[1], seed)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_the_named_bottleneck_is_the_one_whose_relief_helps() -> None:
    load, house = Load(sources=400, answer_seconds=0), House(workers=8, slots=8)
    slow_api = replace(LIFELIKE, task_calls=Cost(worker_seconds=2))
    outcome = simulate(slow_api, load, house)
    assert outcome.bottleneck == "API server"
    relieved = simulate(slow_api, load, replace(house, api_servers=4))
    assert relieved.billed_seconds < 0.5 * outcome.billed_seconds


# --- arithmetic ---------------------------------------------------------------------------------


def test_costs_of_a_source_hour_add_up() -> None:
    costs = replace(
        NOTHING,
        source_hour=Cost(worker_seconds=1),
        samples_1000=Cost(worker_seconds=10),
        facts_1000=Cost(database_seconds=100, wal_bytes=7),
        locked=Cost(wait_seconds=3),
        locked_account_hours_1000=Cost(database_seconds=1000),
    )
    load = Load(
        sources=1, accounts=100, active=0.1
    )  # 12,000 samples, 1,200 facts, 20 account-hours
    hour = HourCosts.of(costs, load).source_hour
    assert hour.worker_seconds == pytest.approx(1 + 120)
    assert hour.database_seconds == pytest.approx(120 + 20)
    assert (hour.wal_bytes, hour.wait_seconds) == pytest.approx((8.4, 3))


def test_limits_come_soonest_first() -> None:
    found = limits(LIFELIKE, Load())
    assert [each.sources for each in found] == sorted(each.sources for each in found)
    by_part = {each.part: each.sources for each in found}
    assert by_part["Airflow's API server"] == pytest.approx(3600 / 0.2)
    assert by_part["`collect.expand_kwargs`"] == 1024


def test_what_is_kept_is_hot_or_cold() -> None:
    load = Load(sources=10)
    whole, moved = kept(LIFELIKE, load, 90, 90), kept(LIFELIKE, load, 90, 7)
    assert whole.facts == moved.facts == 90 * 24 * 10 * 2040
    assert whole.cold_bytes == 0
    assert moved.hot_bytes == pytest.approx(whole.hot_bytes * 7 / 90)
    assert moved.cold_bytes == pytest.approx(whole.facts * 83 / 90 * 15)


def test_stored_costs_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    store(LIFELIKE, {"made_at": "2026-11-21"}, path)
    assert load(path) == (LIFELIKE, {"made_at": "2026-11-21"})
    document = json.loads(path.read_text("utf-8"))
    del document["costs"]["locked"]
    path.write_text(json.dumps(document), "utf-8")
    with pytest.raises(KeyError):
        load(path)


def test_every_scenario_can_be_shown() -> None:
    costs, _ = load()
    kinds = {"some": Load(sources=20), "large": Load(sources=20, accounts=2500, active=0.1)}
    table = views.scenario_table(costs, kinds)
    assert [row[0] for row in table.rows] == [each.name for each in scenarios(Load())]
    assert {len(row) for row in table.rows} == {len(table.headings)}


def test_the_document_shows_what_the_stored_costs_give() -> None:
    costs, about = load()
    for table in (
        views.unit_costs(costs),
        views.capacity_table(costs, KINDS, about["machine"]["cores"]),
        views.hour_table(costs, KINDS),
        views.limit_table(costs, KINDS),
        views.storage_table(costs, KINDS),
    ):
        assert printed(table.name) == table.markdown(), table.name
    assert measured_on(about) in printed("when")
    assert views.unit_numbers(costs) in printed("when")
    shown = [row.split(" | ")[0] for row in printed("scenarios").splitlines()[2:]]
    assert shown == [f"| {each.name}" for each in scenarios(Load())]


def test_a_table_has_one_place_in_a_document(tmp_path: Path) -> None:
    document = tmp_path / "document.md"
    document.write_text("a\n<!-- printed: x -->\nold\n<!-- end -->\nb\n", "utf-8")
    table = Table("x", "title", ["name", "count"], [["one", "1,000"], ["none", ""]])
    put(table.name, table.markdown(), document)
    assert (
        printed("x", document) == "| name | count |\n| --- | ---: |\n| one | 1,000 |\n| none |  |\n"
    )
    assert document.read_text("utf-8").endswith("<!-- end -->\nb\n")
    with pytest.raises(ValueError, match="printed: y"):
        put("y", "", document)
