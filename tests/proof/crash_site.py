"""A world whose real process runs through both proxies and is killed at a chosen moment."""

import json
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import psycopg
from oracle.worlds import World
from pipeline.harness import JSON, Answer, answer_of, command, process
from pipeline.world_harness import (
    TOKEN,
    Found,
    assert_billed,
    assert_collected,
    assert_same,
    engine_of,
    expected,
    publish_book,
    served,
)
from psycopg import sql

from billing_etl.hours import NS_PER_MINUTE, Hour, format_instant_ns
from billing_etl.local.object_store import REGION, EmbeddedObjectStore
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.pipeline.accounts import add_credit
from billing_etl.pipeline.engine import Engine
from proof.consumer import Consumer, FactName
from proof.invariants import HISTORY, broken_invariants, fingerprints
from proof.postgres_proxy import PostgresProxy
from proof.s3_proxy import S3Proxy

# Events per object: small, so that a small world has many.
_EVENTS_PER_OBJECT = 10
_LOGGED = re.compile(r"(WARNING|ERROR) billing_etl\.")

# What the last statements of each step write: a collected hour, money, a closed period, an object,
# its record.
COLLECTED = "insert into billing_core.source_hours"
POSTED = "insert into billing_core.ledger_entries"
CLOSED = "insert into billing_core.closed_periods"
SEALED = "insert into billing_core.batches"
RECORDED = "update billing_core.batches as batch set delivered_at"


class Moment(NamedTuple):
    """What a proxy saw: a kind, and the statement or the object's path."""

    kind: str
    text: str


Wanted: TypeAlias = Callable[[Moment], bool]


def never(moment: Moment) -> bool:
    return False


def nothing() -> None:
    """Strikes nothing."""


def the_nth(number: int, kind: str, containing: str = "") -> Wanted:
    """The ``number``-th moment, from 1, of that kind whose text contains that."""
    left = [number]

    def wanted(moment: Moment) -> bool:
        if moment.kind == kind and containing in moment.text:
            left[0] -= 1
        return left[0] == 0

    return wanted


class Trap:
    """Keeps every moment of a run; at the wanted one it strikes, and the connection is cut."""

    def __init__(self, wanted: Wanted = never, strike: Callable[[], object] = nothing) -> None:
        self.seen: list[Moment] = []
        self.sprung: Moment | None = None
        self._wanted = wanted
        self._strike = strike
        self._lock = threading.Lock()

    def see(self, kind: str, text: str) -> bool:
        with self._lock:
            moment = Moment(kind, text)
            self.seen.append(moment)
            if self.sprung is not None or not self._wanted(moment):
                return False
            self.sprung = moment
        self._strike()
        return True


@dataclass(frozen=True)
class Services:
    """Real servers, and the proxies in front of them."""

    postgres: EmbeddedPostgres
    template: str
    store: EmbeddedObjectStore
    bucket: str
    postgres_proxy: PostgresProxy
    s3_proxy: S3Proxy

    @classmethod
    @contextmanager
    def behind_proxies(
        cls, postgres: EmbeddedPostgres, template: str, store: EmbeddedObjectStore, bucket: str
    ) -> Iterator[Self]:
        idle = Trap().see
        with (
            PostgresProxy(postgres.url(template), idle, unremarkable=HISTORY) as postgres_proxy,
            S3Proxy(store.endpoint_url, idle) as s3_proxy,
        ):
            yield cls(postgres, template, store, bucket, postgres_proxy, s3_proxy)

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            statement = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            connection.execute(statement)


@dataclass
class CrashSite:
    """A world with a database and a prefix in the bucket of its own."""

    services: Services
    world: World
    directory: Path
    name: str
    consumer: Consumer
    engine: Engine = field(init=False)  # past the proxies
    environment: dict[str, str] = field(default_factory=dict)
    hours: tuple[str, ...] = ()

    @classmethod
    @contextmanager
    def of(cls, services: Services, world: World, directory: Path) -> Iterator[Self]:
        """Prices and credits are in the database; nothing is collected."""
        name = f"site_{uuid.uuid4().hex}"
        consumer = Consumer(services.store.client(), services.bucket, name)
        site = cls(services, world, directory, name, consumer)
        services.postgres.create_database(site.name, services.template)
        with ExitStack() as stack:
            stack.callback(services.drop_database, name)
            sources = stack.enter_context(served(world, directory))
            site.environment = _environment(services, world, site.name) | {
                "EXPORTER_SOURCES_JSON": json.dumps(
                    [
                        {k: v for k, v in asdict(s).items() if k != "token" and v is not None}
                        for s in sources
                    ]
                )
            }
            indices = sorted(set().union(*world.collected_hours.values()))
            site.hours = ("--from", str(Hour(indices[0])), "--to", str(Hour(indices[-1] + 1)))
            site.engine = engine_of(world, sources, services.postgres.url(site.name))
            publish_book(site.engine, world, late=False)
            for credit in world.book["credits"]:
                add_credit(site.engine, credit["account"], Decimal(credit["amount"]), "world")
            yield site

    def serve(self, snapshots: Mapping[str, list[JSON]]) -> None:
        """From now on the exporters serve these."""
        self.world = replace(self.world, snapshots=dict(snapshots))
        for source_id, of_source in snapshots.items():
            new = self.directory / f"{source_id}.new"
            new.write_text(json.dumps(of_source))
            new.replace(self.directory / f"{source_id}.json")

    # --- running ------------------------------------------------------------------------------

    def killed(self, wanted: Wanted, *arguments: str) -> Trap:
        """Runs the real process until it is killed at the wanted moment, or comes to its end."""
        victim: Future[subprocess.Popen[str]] = Future()
        trap = self.watch(Trap(wanted, lambda: victim.result().kill()))
        running = process(self.environment, *(arguments or ("pipeline", *self.hours)))
        victim.set_result(running)
        answer = answer_of(running)
        assert answer.code == (0 if trap.sprung is None else -9), answer.err
        return trap

    def moments(self) -> list[Moment]:
        """Every moment of an undisturbed run."""
        trap = self.watch(Trap())
        self._undisturbed()
        return trap.seen

    def recover(self) -> None:
        """One undisturbed run; reconciling finds nothing that it must mend."""
        self.watch(Trap())
        self._undisturbed()

    def _undisturbed(self) -> Answer:
        """Within this process, which saves the start of another one."""
        answer = command(self.environment, "pipeline", *self.hours, "--json")
        assert answer.out, answer.err
        checks = answer.document["reconcile"]["checks"]
        differing = [check for check in checks if check["status"] != "clean"]
        assert not differing, differing
        assert answer.code == 0, answer.err
        return answer

    def watch(self, trap: Trap) -> Trap:
        self.services.postgres_proxy.see = trap.see
        self.services.s3_proxy.see = trap.see
        return trap

    # --- what is left -------------------------------------------------------------------------

    def assert_equal_to_the_oracle(self) -> None:
        result = expected(self.world, time.time_ns())
        found = Found(self.services.postgres.url(self.name))
        assert_collected(result, found)
        assert_billed(result, found)
        self.consumer.read()
        delivered = {name: usage for name, usage in self.consumer.usage.items() if usage}
        facts = {
            FactName(*series, format_instant_ns(minute * NS_PER_MINUTE)): fact[0] + fact[1]
            for (series, minute), fact in found.facts.items()
        }
        assert_same("what was delivered", delivered, facts)
        with self.connect() as connection:
            broken = broken_invariants(connection)
        assert not broken, "\n".join(broken)

    def assert_again_changes_nothing(self) -> None:
        """Nothing in any table, and nothing in the bucket."""
        self.watch(Trap())
        rows, objects = self.fingerprints(), self._objects()
        answer = self._undisturbed()
        outcomes = {each["outcome"] for each in answer.document["export"]}
        assert_same("outcomes of exporting again", outcomes, {"nothing_new"})
        assert_same("tables after all of it again", self.fingerprints(), rows)
        assert_same("objects after all of it again", self._objects(), objects)

    def fingerprints(self, *but: str) -> dict[str, str]:
        """Of all tables but these: equal only when nothing at all was written."""
        with self.connect() as connection:
            found = fingerprints(connection)
        return {name: rows for name, rows in found.items() if name not in but}

    def connect(self) -> psycopg.Connection:
        """Past the proxy."""
        return psycopg.connect(self.services.postgres.url(self.name))

    def assert_whole(self) -> None:
        """The next run needs no help, and then there is nothing left to do."""
        self.recover()
        self.assert_equal_to_the_oracle()
        self.assert_again_changes_nothing()

    def _objects(self) -> set[tuple[Any, ...]]:
        pages = (
            self.services.store.client()
            .get_paginator("list_objects_v2")
            .paginate(Bucket=self.services.bucket, Prefix=self.name)
        )
        return {
            (each["Key"], each["Size"], each["ETag"], each["LastModified"])
            for page in pages
            for each in page.get("Contents", ())
        }


def _environment(services: Services, world: World, name: str) -> dict[str, str]:
    return {
        "DATABASE_URL": services.postgres_proxy.url(name),
        "INTERNAL_SERVICE_TOKEN": TOKEN,
        "INITIAL_BALANCE": world.book["opening_balance"],
        "BILLING_PERIOD_ANCHOR_DAY": str(world.book["anchor_day"]),
        "BILLING_S3_ENABLED": "1",
        "BILLING_S3_BUCKET": services.bucket,
        "BILLING_S3_PREFIX": name,
        "BILLING_S3_ENDPOINT_URL": services.s3_proxy.url,
        "BILLING_S3_MAX_EVENTS": str(_EVENTS_PER_OBJECT),
        "AWS_ACCESS_KEY_ID": services.store.access_key,
        "AWS_SECRET_ACCESS_KEY": services.store.secret_key,
        "AWS_REGION": REGION,
    }


def assert_explained(answer: Answer) -> None:
    """It failed, and each line says what to do."""
    assert answer.code == 1
    assert errors_of(answer)
    assert [line for line in errors_of(answer) if "run again" not in line] == []


def errors_of(answer: Answer) -> list[str]:
    """Without the log, which tells of waits, of attempts, and of what reconciling found."""
    return [line for line in answer.err.splitlines() if not _LOGGED.match(line)]
