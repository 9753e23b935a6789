"""The rows of the table, one module each, in the order of the issue."""

from collections.abc import Callable
from typing import Final

from benchmarks.measures import Measure, Size
from benchmarks.rows import (
    airflow,
    delivery,
    history,
    hour,
    memory,
    queries,
    reconcile,
    rerate,
    slots,
    storage,
    typical,
    unhappy,
)
from benchmarks.stage import Stage

ROWS: Final[dict[str, Callable[[Stage, Size], list[Measure]]]] = {
    "hour": hour.measure,
    "typical": typical.measure,
    "unhappy": unhappy.measure,
    "memory": memory.measure,
    "history": history.measure,
    "rerate": rerate.measure,
    "slots": slots.measure,
    "storage": storage.measure,
    "delivery": delivery.measure,
    "queries": queries.measure,
    "reconcile": reconcile.measure,
    "airflow": airflow.measure,
}
# Minutes even when small: only when asked for, or in a full run.
SLOW: Final = frozenset({"airflow"})
