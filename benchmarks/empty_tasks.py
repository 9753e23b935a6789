"""The shape of ``collect_and_rate`` with tasks that do nothing: what Airflow itself costs.

A DAG file: the airflow row puts it beside the project's own. Same number of tasks, same
dependencies, same pool; nothing of the project is imported.
"""

import os
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, TriggerRule, task

with DAG(
    dag_id="empty_tasks",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "benchmark", "retries": 0},
):

    @task
    def list_sources() -> list[int]:
        return list(range(int(os.environ["BENCHMARK_SOURCES"])))

    @task(pool="billing_exporters")
    def collect(source: int) -> int:
        return source

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def rate(plan: Any) -> int:
        return 0

    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def report(collected: Any, rated: Any) -> int:
        return 0

    plan = list_sources()
    collected = collect.expand(source=plan)
    rated = rate(plan)
    collected >> rated
    report(collected, rated)
