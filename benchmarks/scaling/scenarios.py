"""The steps from one worker to ten thousand sources, and what may come in between."""

from dataclasses import dataclass, replace
from typing import Final

from benchmarks.scaling.load import House, Load

# Between two machines of one data centre: assumed, not measured.
ROUND_TRIP_SECONDS: Final = 0.0005
_MONTH_HOURS: Final = 720
# Ten thousand make 400 tasks: still several for each of 64 slots, so that none waits for the last.
_SOURCES_PER_TASK: Final = 25


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    load: Load
    house: House


def scenarios(load: Load) -> list[Scenario]:
    """The houses are the same for every kind of source, so that kinds can be compared."""
    today = House(round_trip_seconds=ROUND_TRIP_SECONDS)
    apis = replace(today, api_servers=4)
    batched = replace(apis, sources_per_task=_SOURCES_PER_TASK, plans_connected=True)
    workers_4 = replace(batched, workers=4, worker_cores=4, slots=4)
    workers_16 = replace(workers_4, workers=16)
    strong = replace(workers_16, database_cores=16)
    split = replace(workers_16, databases=4, database_cores=4)
    shared = replace(load, sources_per_account=4)
    return [
        Scenario("one worker of 2 cores, a task per source", load, today),
        Scenario("+ 4 API servers", load, apis),
        Scenario(
            f"+ {_SOURCES_PER_TASK} sources per task, planned on one connection", load, batched
        ),
        Scenario("+ 4 workers of 4 cores, 16 slots", load, workers_4),
        Scenario("+ 16 workers, 64 slots", load, workers_16),
        Scenario("+ 16 database cores", load, strong),
        Scenario("or 4 databases of 4 cores, by source", load, split),
        Scenario("16 cores: 1 exporter in 100 silent", replace(load, silent=0.01), strong),
        Scenario("16 cores: a month stored", replace(load, stored_hours=_MONTH_HOURS), strong),
        Scenario("16 cores: every account on 4 sources", shared, strong),
        Scenario("the same, 4 raters by account", shared, replace(strong, raters=4)),
        Scenario("16 cores: reconcile reads there", load, replace(strong, reading=True)),
        Scenario("2 cores: reconcile reads there", load, replace(workers_16, reading=True)),
    ]
