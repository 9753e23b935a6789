"""A database, its sources, and a pipeline process on which steps are run and measured."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from benchmarks.scaling.costs import Cost
from benchmarks.scaling.processes import delayed_seconds
from benchmarks.stage import PROJECT, QUOTA_BYTES, Stage, environment, settings_of
from benchmarks.worlds import Fleet
from billing_etl.hours import HourRange
from billing_etl.local.files import write_private

_READINGS = 3
_BETWEEN_READINGS_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Done:
    """What one step did and used.

    Attributes:
        counts: of what it did, such as ``source_hours`` and ``facts``.
        seconds: as the clock says.
        delayed_seconds: that processes were ready to run and had no core, added up.
        cost: CPU and WAL; ``wait_seconds``: for the disk, in commits.
        observed: what the process saw of its database, see ``observer.Observed``, and ``requests``.
    """

    counts: Mapping[str, int]
    seconds: float
    delayed_seconds: float
    cost: Cost
    observed: Mapping[str, float]

    @property
    def waited(self) -> Cost:
        """The cost with all the time in which nobody who is counted worked.

        Waits for a core are taken out as if no two processes had waited at the same time: on a
        busy machine this is too little.
        """
        wait_seconds = self.seconds - self.cost.cpu_seconds - self.delayed_seconds
        return replace(self.cost, wait_seconds=max(self.cost.wait_seconds, wait_seconds))


class Ground:
    """One pipeline process on one database."""

    def __init__(self, stage: Stage, url: str, process: subprocess.Popen[str]) -> None:
        self.stage = stage
        self.url = url
        self._process = process
        self._answer()

    def do(self, step: str, hours: HourRange, sources: Sequence[str] = (), tasks: int = 1) -> Done:
        """Has the process do a step of ``scaling.worker`` and measures everybody meanwhile."""
        self.rest()
        before, wal_before, delayed = self._used(), self._wal_bytes(), delayed_seconds()
        self.tell(step, hours, sources, tasks)
        answer = self.answer()
        delayed = delayed_seconds() - delayed
        after, wal_after = self._used(), self._wal_bytes()
        counts = answer.pop("counts")
        cost = Cost(
            worker_seconds=answer["worker_seconds"],
            database_seconds=after["PostgreSQL"] - before["PostgreSQL"],
            exporter_seconds=after["exporter"] - before["exporter"],
            wal_bytes=wal_after - wal_before,
            wait_seconds=answer["commit_wait_seconds"],
        )
        return Done(counts, answer["seconds"], max(0.0, delayed), cost, answer)

    def rest(self) -> None:
        """What the server does by itself sooner or later is done before the next step."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("analyze")
        self.stage.settle()

    def tell(
        self, step: str, hours: HourRange, sources: Sequence[str] = (), tasks: int = 1
    ) -> None:
        command = {
            "step": step,
            "sources": list(sources),
            "from": str(hours.start),
            "to": str(hours.end),
            "tasks": tasks,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                "benchmarks.scaling.worker: expected an answer, got its end with exit code "
                f"{self._process.wait()}; its last words are above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _used(self) -> dict[str, float]:
        """CPU seconds of the services; a server process that is just ending is missed at first."""
        used: dict[str, float] = {}
        for _ in range(_READINGS):
            time.sleep(_BETWEEN_READINGS_SECONDS)
            for name, seconds in self.stage.cpu_seconds().items():
                used[name] = max(seconds, used.get(name, 0.0))
        return used

    def _wal_bytes(self) -> int:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(
                "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
            ).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def ground(
    stage: Stage,
    url: str,
    fleets: Sequence[Fleet],
    *,
    delay_ms: int = 0,
    settings: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Ground]:
    """A pipeline process with these sources.

    Args:
        delay_ms: after which the exporter's answers begin.
        settings: of the pipeline, beside those of every benchmark.
        variables: of the process, such as keys.
    """
    sources = [stage.source(fleet, delay_ms) for fleet in fleets]
    path = stage.directory / f"settings-{time.monotonic_ns()}.json"
    write_private(path, json.dumps(settings_of(url, sources, QUOTA_BYTES) | dict(settings or {})))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.scaling.worker", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(url, []) | dict(variables or {}),
        cwd=PROJECT,
        text=True,
    )
    try:
        yield Ground(stage, url, process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
