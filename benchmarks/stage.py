"""What every row of the benchmark runs on: PostgreSQL, the exporter, and pipeline processes."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil
import psycopg
from psycopg import sql

from benchmarks.exporter import TOKEN
from benchmarks.worlds import Fleet
from billing_etl.hours import Hour
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.local.processes import HOST, ManagedProcess, free_ports
from billing_etl.settings import SETTINGS
from billing_etl.store.migrations import migrate

PROJECT: Final = Path(__file__).resolve().parents[1]
PRICE: Final = Decimal("0.000000002")
# Used up within the first hour by the accounts that use most, see ``worlds``.
QUOTA_BYTES: Final = 1_000_000_000
HONEST_SETTINGS: Final = ("fsync", "synchronous_commit", "full_page_writes")
_READY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one measured run of the pipeline took.

    Attributes:
        seconds: of the pipeline's process, from the first request to the last commit.
        samples: fetched.
        peak_bytes: most memory that the pipeline's process ever had.
        cpu_seconds: by who used them: pipeline, PostgreSQL, exporter.
    """

    seconds: float
    samples: int
    duplicates: int
    quarantined: int
    facts_written: int
    peak_bytes: int
    cpu_seconds: Mapping[str, float]

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds

    @property
    def most_samples_per_second(self) -> float:
        """What one server process would reach that never waits: a transaction has no second one."""
        return self.samples / self.cpu_seconds["PostgreSQL"]


def mean_cpu_seconds(runs: Sequence[Run]) -> dict[str, float]:
    """CPU seconds of a run, by who used them."""
    return {
        name: sum(run.cpu_seconds[name] for run in runs) / len(runs) for name in runs[0].cpu_seconds
    }


class Stage:
    """The services of a benchmark run; use it as a context manager.

    Attributes:
        worlds: directory of what the exporter serves.
        facts: PostgreSQL's version, and the settings that keep it honest.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._postgres_process: psutil.Process

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="billing-etl-bench-"))
            )
            # mkdtemp lets nobody in; as root the server runs as another user.
            self.directory.chmod(0o711)
            self.worlds = self.directory / "worlds"
            self.worlds.mkdir()
            self.postgres = EmbeddedPostgres(self.directory / "postgres")
            stack.callback(self.postgres.remove)
            self.postgres.start()
            self.postgres.create_database("migrated")
            migrate(self.postgres.url("migrated"))
            self.facts = self._postgres_facts()
            (port,) = free_ports(1)
            self._exporter_url = f"http://{HOST}:{port}"
            exporter = ManagedProcess(
                [sys.executable, "-m", "benchmarks.exporter", self.worlds, str(port)],
                log=self.directory / "exporter.log",
                directory=PROJECT,
            )
            stack.enter_context(exporter)
            self._wait_for_exporter(exporter)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def clear(self) -> None:
        """Removes what the exporter served; the next row brings its own."""
        for path in self.worlds.iterdir():
            path.unlink()

    # --- PostgreSQL ----------------------------------------------------------------------------

    @contextmanager
    def database(self) -> Iterator[str]:
        """The address of a fresh database with the schema; it is gone afterwards."""
        name = f"bench_{uuid.uuid4().hex}"
        self.postgres.create_database(name, "migrated")
        try:
            yield self.postgres.url(name)
        finally:
            with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
                statement = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
                connection.execute(statement)

    def settle(self) -> None:
        """Ends what is still to be written, so that it does not fall into a measured span."""
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            connection.execute("checkpoint")

    def _postgres_facts(self) -> dict[str, str]:
        with psycopg.connect(self.postgres.url("migrated")) as connection:
            facts = {
                name: str(connection.execute(f"show {name}".encode()).fetchone()[0])  # type: ignore[index]
                for name in ("server_version", *HONEST_SETTINGS, "shared_buffers", "wal_level")
            }
            server = psutil.Process(connection.info.backend_pid).parent()
        off = {name: facts[name] for name in HONEST_SETTINGS if facts[name] != "on"}
        if off or server is None:
            raise RuntimeError(f"postgres: expected {', '.join(HONEST_SETTINGS)} on, got {off}")
        self._postgres_process = server
        return facts

    def _postgres_cpu_seconds(self) -> float:
        """Of the server with every process it has or had."""
        times = self._postgres_process.cpu_times()
        seconds = times.user + times.system + times.children_user + times.children_system
        for child in self._postgres_process.children():
            try:
                used = child.cpu_times()
            except psutil.Error:
                continue  # it has just ended and counts with the server from now on
            seconds += used.user + used.system
        return float(seconds)

    # --- the exporter --------------------------------------------------------------------------

    def source(self, fleet: Fleet, delay_ms: int = 0) -> dict[str, Any]:
        """The entry of EXPORTER_SOURCES_JSON of a fleet; answers begin after the delay."""
        return self.source_named(fleet.name, delay_ms) | {
            "interval_seconds": fleet.interval_seconds
        }

    def source_named(self, name: str, delay_ms: int = 0) -> dict[str, Any]:
        return {"source_id": name, "base_url": f"{self._exporter_url}/{delay_ms}/{name}"}

    def exporter_cpu_seconds(self) -> float:
        with urllib.request.urlopen(f"{self._exporter_url}/cpu", timeout=5) as answer:
            return float(json.load(answer)["cpu_seconds"])

    def _wait_for_exporter(self, exporter: ManagedProcess) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                self.exporter_cpu_seconds()
                return
            except (urllib.error.URLError, ConnectionError):
                if exporter.exit_code is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"exporter: expected an answer, got none; see {exporter.log}"
                    ) from None
                time.sleep(0.05)

    # --- the pipeline --------------------------------------------------------------------------

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds that the services have used so far."""
        return {
            "PostgreSQL": self._postgres_cpu_seconds(),
            "exporter": self.exporter_cpu_seconds(),
        }

    def run(
        self,
        database_url: str,
        sources: Sequence[Mapping[str, Any]],
        hours: Sequence[Hour],
        *,
        quota_bytes: int = QUOTA_BYTES,
    ) -> Run:
        """Collects and rates in a new process, measured after everything else is at rest."""
        with Worker(environment(database_url, sources, quota_bytes)) as worker:
            self.settle()
            return self.measured(worker, [str(source["source_id"]) for source in sources], hours)

    def measured(
        self,
        worker: "Worker",
        source_ids: Sequence[str],
        hours: Sequence[Hour],
        *,
        rate: bool = True,
    ) -> Run:
        """One run in that process; without sources it rates only."""
        before = self.cpu_seconds()
        answer = worker.ask(source_ids, hours, rate=rate)
        used = {name: seconds - before[name] for name, seconds in self.cpu_seconds().items()}
        return run_of(answer, used)


def run_of(answer: Mapping[str, Any], services_cpu_seconds: Mapping[str, float]) -> Run:
    return Run(
        seconds=answer["seconds"],
        samples=answer["samples"],
        duplicates=answer["duplicates"],
        quarantined=answer["quarantined"],
        facts_written=answer["facts_written"],
        peak_bytes=answer["peak_bytes"],
        cpu_seconds={"pipeline": answer["cpu_seconds"], **services_cpu_seconds},
    )


def environment(
    database_url: str, sources: Sequence[Mapping[str, Any]], quota_bytes: int = QUOTA_BYTES
) -> dict[str, str]:
    """The whole environment of a pipeline process: nothing of the caller's settings."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return inherited | settings_of(database_url, sources, quota_bytes)


def settings_of(
    database_url: str, sources: Sequence[Mapping[str, Any]], quota_bytes: int = QUOTA_BYTES
) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "EXPORTER_SOURCES_JSON": json.dumps(list(sources)),
        "INTERNAL_SERVICE_TOKEN": TOKEN,
        "PRICE_PER_BYTE": str(PRICE),
        "INITIAL_INCLUDED_QUOTA_BYTES": str(quota_bytes),
    }


class Worker:
    """A pipeline process (see ``benchmarks.worker``), ready when it is made."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=PROJECT,
            text=True,
        )
        try:
            self.answer()
        except BaseException:
            self.close()
            raise

    def ask(
        self, source_ids: Sequence[str], hours: Sequence[Hour], *, rate: bool = True
    ) -> dict[str, Any]:
        """Has it collect these hours of these sources, and rate them; waits for the end."""
        self.tell(source_ids, hours, rate=rate)
        return self.answer()

    def tell(self, source_ids: Sequence[str], hours: Sequence[Hour], *, rate: bool = True) -> None:
        """The same without waiting: ``answer`` waits."""
        command = {"collect": list(source_ids), "hours": [str(hour) for hour in hours]}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command | {"rate": rate}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                "benchmarks.worker: expected an answer, got its end with exit code "
                f"{self._process.wait()}; its last words are above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()  # it may be in the middle of a long command
        self.close()
