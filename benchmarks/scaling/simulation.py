"""An hour of many sources, simulated: who works when, who waits for what, what is full.

Every source-hour goes its real way: scheduler, slot, database, exporter, worker, database, rating
lock, commit. CPU is held in slices by one after the other; the rating lock is waited for two
seconds at most, then the source-hour is left to `rate`. What cannot be full is only waited for:
exporters, round trips, the disk's answer to a commit. The lock of a source is left out: in one
hour nobody but its task asks for it.
"""

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import simpy

from benchmarks.scaling.costs import Cost, UnitCosts
from benchmarks.scaling.load import HourCosts, House, Load

# How long a write waits for the rating lock, see billing_etl.store.ratings.SHORT_RATING_WAIT.
LOCK_PATIENCE_SECONDS: Final = 2.0
# An exporter that never answers holds its slot so long: five attempts of thirty seconds.
SILENT_SECONDS: Final = 150.0
RECONCILED_HOURS: Final = 72
_SLICE_SECONDS: Final = 0.1
# Sigma of the logarithm of answer times: one answer in twenty takes 2.3 times the median.
_ANSWER_SPREAD: Final = 0.5
_LARGE_STEPS: Final = 200  # in which `rate` and planning share the cores with others

Steps: TypeAlias = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an hour went.

    Attributes:
        billed_seconds: from the start until the last account-hour is rated.
        collected_seconds: until the last source-hour is written.
        sealed_seconds: of sealing and sending, afterwards.
        checked_seconds: of one reconciliation of 72 hours, one source after the other.
        collected: how often each source was collected.
        silent: sources whose exporter did not answer.
        rated_in_write, rated_later: source-hours.
        busy: share of what it could do that each part did until the hour was billed.
    """

    billed_seconds: float
    collected_seconds: float
    sealed_seconds: float
    checked_seconds: float
    collected: list[int]
    silent: int
    rated_in_write: int
    rated_later: int
    busy: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
        return max(self.busy, key=lambda name: self.busy[name])


class Part:
    """Something of which so many can be used at a time; knows how long it was used.

    ``speed``: how much of a second's work it does in a second.
    """

    def __init__(self, world: simpy.Environment, count: int, speed: float = 1.0) -> None:
        self.world = world
        self.resource = simpy.Resource(world, count)
        self.count = count
        self.speed = speed
        self.busy_seconds = 0.0

    def work(self, seconds: float) -> Steps:
        """Works in slices, so that a long piece of work does not hold up all short ones."""
        left = seconds / self.speed
        while left > 0:
            piece = min(left, _SLICE_SECONDS)
            with self.resource.request() as turn:
                yield turn
                yield self.world.timeout(piece)
            self.busy_seconds += piece
            left -= piece

    def waited(self, seconds: float) -> simpy.Event:
        """Is used without anybody's work."""
        self.busy_seconds += seconds
        return self.world.timeout(seconds)


class Database:
    """One PostgreSQL: cores, the disk of its log, the rating lock, and what waits to be rated."""

    def __init__(self, world: simpy.Environment, cores: Part) -> None:
        self.cores = cores
        self.log = Part(world, 1)
        self.rating_lock = Part(world, 1)
        self.stale_account_hours = 0.0


class Simulation:
    """One hour of a load in a house."""

    def __init__(self, costs: UnitCosts, load: Load, house: House, seed: int = 1) -> None:
        self.costs, self.load, self.house = costs, load, house
        self.hour = HourCosts.of(costs, load)
        self.world = simpy.Environment()
        self.scheduler = self._part(house.schedulers)
        self.api = self._part(house.api_servers)
        self.workers = [self._part(house.worker_cores) for _ in range(house.workers)]
        self.databases = [
            Database(
                self.world,
                self.workers[0] if house.one_machine else self._part(house.database_cores),
            )
            for _ in range(house.databases)
        ]
        self.planning = Part(self.world, 1)
        self.rating = Part(self.world, house.raters * house.databases)
        self.slots = simpy.Store(self.world)
        # Turn about, so that a few tasks are spread over all workers.
        self.slots.items = self.workers * house.slots
        self.answers = Part(self.world, house.workers * house.slots)
        self.trips = Part(self.world, house.workers * house.slots)
        self.answer_seconds = self._answers(seed)
        self.collected = [0] * load.sources
        self.silent = self.rated_in_write = self.rated_later = 0
        self._collected_at = 0.0

    def _part(self, count: int) -> Part:
        return Part(self.world, count, self.house.speed)

    def _answers(self, seed: int) -> list[float | None]:
        """How long each exporter takes; None: it does not answer."""
        random_of = random.Random(seed)
        answers: list[float | None] = []
        for _ in range(self.load.sources):
            is_silent = random_of.random() < self.load.silent
            factor = random_of.lognormvariate(0.0, _ANSWER_SPREAD)
            answers.append(None if is_silent else self.load.answer_seconds * factor)
        return answers

    def run(self) -> Outcome:
        self.world.run(self.world.process(self._hour()))
        billed_seconds = self.world.now
        busy = self._busy(billed_seconds)
        return Outcome(
            billed_seconds=billed_seconds,
            collected_seconds=self._collected_at,
            sealed_seconds=self._each(self.hour.sealed) / self.house.sealers,
            checked_seconds=self._each(self.hour.checked) * RECONCILED_HOURS / self.house.checkers,
            collected=self.collected,
            silent=self.silent,
            rated_in_write=self.rated_in_write,
            rated_later=self.rated_later,
            busy=busy,
        )

    def _each(self, cost: Cost) -> float:
        """Of a process that does this for every source of a database, one after the other."""
        seconds = cost.cpu_seconds / self.house.speed + cost.wait_seconds
        return seconds * self.load.sources / self.house.databases

    # --- the way of an hour ---------------------------------------------------------------------

    def _hour(self) -> Steps:
        if self.house.reading:
            for database in self.databases:
                self.world.process(self._read(database))
        size = self.house.sources_per_task
        if size:
            yield from self._plan()
            firsts = range(0, self.load.sources, size)
            tasks = [
                self._task(range(first, min(first + size, self.load.sources))) for first in firsts
            ]
        else:
            count = self.house.workers * self.house.slots
            tasks = [self._process(range(slot, self.load.sources, count)) for slot in range(count)]
        yield self.world.all_of([self.world.process(task) for task in tasks])
        self._collected_at = self.world.now
        raters = self.house.raters
        yield self.world.all_of(
            [
                self.world.process(self._rate(database, 1 / raters))
                for database in self.databases
                for _ in range(raters)
            ]
        )

    def _plan(self) -> Steps:
        """`list_sources` asks for one source after the other."""
        hour = self.hour
        cost = hour.planned_connected if self.house.plans_connected else hour.planned
        yield from self._alone(self.planning, self.databases[0], cost * self.load.sources)

    def _task(self, sources: range) -> Steps:
        """A task is scheduled, waits for a slot, starts, and collects its sources."""
        yield from self.scheduler.work(self.costs.scheduled_task.worker_seconds)
        worker = yield self.slots.get()
        yield from self.api.work(self.costs.task_calls.worker_seconds)
        yield from worker.work(self.hour.started.worker_seconds)
        database = self._database_of(sources[0])
        yield from self._in_database(database, self.hour.started)
        for source in sources:
            yield from self._source_hour(source, worker)
        yield self.slots.put(worker)

    def _process(self, sources: range) -> Steps:
        """A process without Airflow."""
        worker = yield self.slots.get()
        for source in sources:
            yield from self._source_hour(source, worker)

    def _source_hour(self, source: int, worker: Part) -> Steps:
        hour, database = self.hour, self._database_of(source)
        yield from worker.work(hour.read.worker_seconds)
        yield from self._in_database(database, hour.read)
        yield self._round_trips(self.costs.round_trips - self.costs.locked_round_trips)
        answer_seconds = self.answer_seconds[source]
        if answer_seconds is None:
            yield self.answers.waited(SILENT_SECONDS)
            self.silent += 1
            return
        yield self.answers.waited(answer_seconds * self.costs.requests)
        if self.house.one_machine:
            exporter_seconds = hour.read.exporter_seconds + hour.write.exporter_seconds
            yield from worker.work(exporter_seconds)
        yield from worker.work(hour.write.worker_seconds)
        yield from self._in_database(database, hour.write)
        yield from self._rate_in_write(database, worker)
        self.collected[source] += 1

    def _rate_in_write(self, database: Database, worker: Part) -> Steps:
        """The end of a write, under the rating lock; without the lock it is left to `rate`."""
        lock = database.rating_lock
        with lock.resource.request() as turn:
            yield turn | self.world.timeout(LOCK_PATIENCE_SECONDS)
            is_rating = turn.triggered
            if is_rating:
                taken_at = self.world.now
                yield from self._end_write(database, worker)
                lock.busy_seconds += self.world.now - taken_at
        if is_rating and self.load.sources_per_account == 1:
            self.rated_in_write += 1
            return
        if not is_rating:
            yield from self._end_write(database, worker)
        self.rated_later += 1
        database.stale_account_hours += self.load.account_hours

    def _end_write(self, database: Database, worker: Part) -> Steps:
        yield from worker.work(self.hour.locked.worker_seconds)
        yield self._round_trips(self.costs.locked_round_trips)
        yield from self._in_database(database, self.hour.locked)

    def _rate(self, database: Database, share: float) -> Steps:
        """`rate` finds what is left, and does it."""
        left = database.stale_account_hours
        cost = self.hour.rate_run + self.hour.left * (left * share)
        yield from self._alone(self.rating, database, cost)

    def _read(self, database: Database) -> Steps:
        """One reconciliation after the other, which asks the database again and again."""
        checked = self.hour.checked
        while True:
            yield from database.cores.work(checked.database_seconds)
            yield self.world.timeout(max(0.001, checked.worker_seconds + checked.wait_seconds))

    # --- what it is made of ---------------------------------------------------------------------

    def _database_of(self, source: int) -> Database:
        return self.databases[source % len(self.databases)]

    def _in_database(self, database: Database, cost: Cost) -> Steps:
        """CPU of the server, the log, and the disk's answer to commits."""
        yield from database.cores.work(cost.database_seconds)
        if cost.wal_bytes:
            yield from database.log.work(cost.wal_bytes / self.costs.log_bytes_per_second)
        if cost.wait_seconds:
            yield self.world.timeout(cost.wait_seconds)

    def _round_trips(self, count: float) -> simpy.Event:
        seconds = self.costs.round_trip_seconds + self.house.round_trip_seconds
        return self.trips.waited(seconds * count)

    def _alone(self, part: Part, database: Database, cost: Cost) -> Steps:
        """One process works through much of the same, beside everybody else."""
        worker = self.workers[0]
        step = cost * (1 / _LARGE_STEPS)
        started = self.world.now
        for _ in range(_LARGE_STEPS):
            yield from worker.work(step.worker_seconds)
            yield from self._in_database(database, step)
        part.busy_seconds += self.world.now - started

    def _busy(self, seconds: float) -> dict[str, float]:
        parts = {
            "scheduler": [self.scheduler],
            "API server": [self.api],
            "list_sources": [self.planning],
            "exporters' answers": [self.answers],
            "round trips": [self.trips],
            "worker CPU": self.workers,
            "database CPU": [] if self.house.one_machine else [d.cores for d in self.databases],
            "WAL": [database.log for database in self.databases],
            "rating lock": [database.rating_lock for database in self.databases],
            "rate": [self.rating],
        }
        return {
            name: sum(part.busy_seconds for part in of) / sum(part.count for part in of) / seconds
            for name, of in parts.items()
            if of
        }


def simulate(costs: UnitCosts, load: Load, house: House, seed: int = 1) -> Outcome:
    return Simulation(costs, load, house, seed).run()
