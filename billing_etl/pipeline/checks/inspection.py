"""What a check is, and what it has to look with."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from billing_etl.delivery import ObjectStore
from billing_etl.hours import Hour
from billing_etl.pipeline.engine import Engine
from billing_etl.reconciliation import Examination
from billing_etl.settings import Settings
from billing_etl.store.database import Connection
from billing_etl.store.deliveries import Meter


@dataclass(slots=True)
class Repairs:
    """How many repairs a run has made or tried: what was looked at before one may have changed."""

    made: int = 0


@dataclass(frozen=True, slots=True)
class Inspection:
    """One run of reconciliation.

    Attributes:
        connection: in autocommit; a check examines inside one read-only snapshot of it.
        objects: None while S3 is off.
        pool: for requests that may go side by side.
        now: the wall clock.
        deep: whether the bodies of sealed and stored objects are read.
        repairs: of all of the run.
    """

    engine: Engine
    connection: Connection
    objects: ObjectStore | None
    pool: ThreadPoolExecutor
    meters: tuple[Meter, ...]
    now: datetime
    run_id: int
    deep: bool = False
    repairs: Repairs = field(default_factory=Repairs)

    @property
    def settings(self) -> Settings:
        return self.engine.settings


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison of the contract's table.

    Attributes:
        name: stable; results and findings are kept under it.
        examine: looks and changes nothing; several hours may be looked at side by side. A
            BillingError of its own is a difference.
        repair: does what a remedy of an examination names as its subject, and says in one line
            what it did; None: the check has no safe repair.
        needs_facts: it has nothing to say of hours whose facts are archived.
    """

    name: str
    examine: Callable[[Inspection, Hour], Examination]
    repair: Callable[[Inspection, Hour, str], str] | None = None
    needs_facts: bool = True
