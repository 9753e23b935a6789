"""What an hour asks for, and what is there to do it: the two halves of a scenario."""

from dataclasses import dataclass
from typing import Final

from benchmarks.scaling.costs import Cost, UnitCosts

# BILLING_S3_MAX_EVENTS: its default, and what the delivery contract calls usual.
EVENTS_PER_OBJECT: Final = 50
USUAL_EVENTS_PER_OBJECT: Final = 5000


@dataclass(frozen=True, slots=True)
class Load:
    """One hour of many sources that are alike.

    Attributes:
        sources: enabled ones.
        accounts: of a source.
        active: share of series that change in an hour, then in every snapshot of it.
        sources_per_account: on how many sources each account is; with one it is rated in the
            write, with more `rate` does it.
        answer_seconds: median of what an exporter takes to answer.
        silent: share of exporters that never answer.
        stored_hours: hours that the database holds already, in partitions of a day.
        inbounds, snapshots: of an account, and of a node in an hour.
    """

    sources: int = 10_000
    accounts: int = 17
    active: float = 1.0
    sources_per_account: int = 1
    answer_seconds: float = 0.2
    silent: float = 0.0
    stored_hours: int = 0
    inbounds: int = 2
    snapshots: int = 60

    @property
    def samples(self) -> int:
        """Of a source-hour, as all below."""
        return self.accounts * self.inbounds * self.snapshots

    @property
    def facts(self) -> float:
        return self.samples * self.active

    @property
    def account_hours(self) -> float:
        """Of the sources' accounts each counts once, on however many it is.

        Active series lie evenly, one or none of an account, until every account has one.
        """
        active = min(1.0, self.active * self.inbounds) * self.accounts
        return active / self.sources_per_account


@dataclass(frozen=True, slots=True)
class House:
    """Machines and processes.

    Attributes:
        workers, worker_cores, slots: machines for tasks, their cores, tasks at the same time on
            each.
        sources_per_task: collected one after the other by one task; 0: no Airflow at all, every
            slot is one process that takes source after source.
        plans_connected: whether `list_sources` asks all on one connection. Today: no.
        databases, database_cores: sources are spread evenly over the databases; each rates and
            delivers for itself.
        raters: tasks of `rate` per database, each for its part of the accounts. Today: one.
        sealers, checkers: processes that seal and send, and that reconcile, per database. Today:
            one of each.
        schedulers, api_servers: processes of Airflow.
        round_trip_seconds: between worker and database, beside what it takes on one machine.
        reading: whether reconciliation reads the databases that are written to; else replicas.
        one_machine: workers, database and exporters share the cores of the one worker.
        speed: share of the cores that is not taken by others.
    """

    workers: int = 1
    worker_cores: int = 2
    slots: int = 2
    sources_per_task: int = 1
    plans_connected: bool = False
    databases: int = 1
    database_cores: int = 2
    raters: int = 1
    sealers: int = 1
    checkers: int = 1
    schedulers: int = 1
    api_servers: int = 1
    round_trip_seconds: float = 0.0
    reading: bool = False
    one_machine: bool = False
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class HourCosts:
    """The costs of one hour of a load, from the unit costs.

    Attributes:
        read, write: of a source-hour: with the exporter's answer between them.
        locked: of a source-hour, under the rating lock.
        left: what `rate` does later, per account-hour.
        rate_run: what `rate` does whatever is left.
        sealed: sealing and sending, per source.
        checked: of reconciliation, per source and hour.
        planned, planned_connected: of `list_sources`, per source.
        started: by a task before its first source, on its worker.
    """

    read: Cost
    write: Cost
    locked: Cost
    left: Cost
    rate_run: Cost
    sealed: Cost
    checked: Cost
    planned: Cost
    planned_connected: Cost
    started: Cost

    @classmethod
    def of(
        cls,
        costs: UnitCosts,
        load: Load,
        *,
        events_per_object: int = EVENTS_PER_OBJECT,
    ) -> "HourCosts":
        samples, facts = load.samples / 1000, load.facts / 1000
        active_accounts = load.account_hours * load.sources_per_account
        rated = active_accounts if load.sources_per_account == 1 else 0.0
        per_account_hour = facts * load.sources_per_account / max(active_accounts, 1)
        half = costs.source_hour * 0.5
        earlier = costs.stored_days_100 * (load.stored_hours / 24 / 100)
        return cls(
            read=half + earlier,
            write=half + costs.samples_1000 * samples + costs.facts_1000 * facts,
            locked=costs.locked + costs.locked_account_hours_1000 * (rated / 1000),
            left=costs.rate_account_hours_1000 * 0.001 + costs.rate_facts_1000 * per_account_hour,
            rate_run=costs.rate_run,
            sealed=costs.events_1000 * facts + costs.object * (1000 * facts / events_per_object),
            checked=costs.reconciled_hour
            + costs.reconciled_samples_1000 * samples
            + costs.reconciled_facts_1000 * facts
            + Cost(wait_seconds=load.answer_seconds * costs.requests),
            planned=costs.plan_source,
            planned_connected=costs.plan_source_connected,
            started=costs.task_process
            + costs.task_imports
            + costs.configured_source * load.sources
            + costs.connection,
        )

    @property
    def source_hour(self) -> Cost:
        return self.read + self.write + self.locked
