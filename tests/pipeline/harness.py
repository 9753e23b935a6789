"""Serves lists of snapshots to the real pipeline, and reads back what it left as plain tuples."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch

import psycopg
import pytest

from billing_etl.cli import main
from billing_etl.hours import Hour, HourRange, parse_hour, parse_instant_ns
from billing_etl.local.exporter_server import ExporterServer, Flavour
from billing_etl.pipeline.collect import CollectSummary, collect_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.prices import PriceChange, publish_prices, read_price_file
from billing_etl.pipeline.rate import RateResult, rate_hours
from billing_etl.settings import Settings, Source

JSON: TypeAlias = dict[str, Any]
Row: TypeAlias = tuple[Any, ...]

DAY = "2026-04-08"
ROOT = Path(__file__).parents[2]
A = "3f2b0a1c-0000-4000-8000-00000000000a"
B = "3f2b0a1c-0000-4000-8000-00000000000b"
C = "3f2b0a1c-0000-4000-8000-00000000000c"
TOKEN = "token-of-the-harness"
# What tells how a state was reached, or when it was looked at: it grows with every run.
HISTORY = ("runs", "sources", "reconciliations")

# The worked example of docs/semantics.md: instants, up, down of account A on `tcp`.
WORKED_EXAMPLE = (
    ("11:59:03", 500, 1000),
    ("12:00:03", 510, 1030),
    ("12:01:03", 510, 1030),
    ("12:02:03", 540, 1100),
    ("12:03:03", 7, 13),
    ("12:09:03", 10, 20),
)
LATE_SNAPSHOT = ("12:04:03", 8, 15)


# --- what is served ----------------------------------------------------------------------------


def sample(account: str, up: Any, down: Any, tag: Any = "tcp") -> JSON:
    return {
        "uuid": account,
        "email": "someone@example.com",
        "inbound_tag": tag,
        "uplink_bytes_total": up,
        "downlink_bytes_total": down,
    }


def snapshot(at: str, *samples: JSON | None, node: str = "node-1", env: str = "prod") -> JSON:
    """A snapshot at a time of ``DAY``, or at a whole RFC 3339 instant; ``None`` serves null."""
    return {
        "collected_at": at if "T" in at else f"{DAY}T{at}Z",
        "node_id": node,
        "env": env,
        "samples": None if samples == (None,) else list(samples),
    }


def readings(*totals: tuple[str, int, int], account: str = A, tag: str = "tcp") -> list[JSON]:
    """One snapshot of one series per (time, up, down)."""
    return [snapshot(at, sample(account, up, down, tag)) for at, up, down in totals]


def worked_example(*late: tuple[str, int, int]) -> list[JSON]:
    return readings(*sorted((*WORKED_EXAMPLE, *late)))


def hour_of(label: str) -> Hour:
    """``12`` is that hour of ``DAY``."""
    return parse_hour(label if "T" in label else f"{DAY}T{label}")


def ns(at: str) -> int:
    return parse_instant_ns(at if "T" in at else f"{DAY}T{at}Z")


class Exporter:
    """A development exporter whose store a test rewrites."""

    def __init__(self, directory: Path, source_id: str, flavour: Flavour, stack: ExitStack) -> None:
        self.store = directory / f"{source_id}.json"
        self.serve([])
        server = ExporterServer(self.store, "127.0.0.1:0", TOKEN, flavour)
        self.base_url = stack.enter_context(server).base_url

    def serve(self, snapshots: Sequence[JSON]) -> None:
        """Replaces the store at once: the server reads it whole or not at all."""
        new = self.store.with_suffix(".new")
        new.write_text(json.dumps(snapshots))
        new.replace(self.store)


# --- the line ----------------------------------------------------------------------------------


@dataclass
class Line:
    """Sources, settings and a database: everything from exporters to ledger.

    ``settings`` are those of ``Settings``; ``line.settings["..."] = ...`` changes what the next
    step sees.
    """

    database_url: str = field(repr=False)
    directory: Path
    stack: ExitStack = field(repr=False)
    settings: dict[str, Any] = field(
        default_factory=lambda: {
            "price_per_byte": Decimal(2),
            "initial_included_quota_bytes": 100,
        }
    )
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    _exporters: dict[tuple[str, str], Exporter] = field(default_factory=dict)

    def serve(
        self,
        snapshots: Sequence[JSON],
        source_id: str = "jp-1",
        flavour: Flavour = "nanosecond",
        **source: Any,
    ) -> None:
        """Makes a source serve these snapshots, whatever it served before."""
        key = (source_id, flavour)
        if key not in self._exporters:
            self._exporters[key] = Exporter(self.directory, source_id, flavour, self.stack)
        self._exporters[key].serve(snapshots)
        known = self.sources.get(source_id, {})
        self.sources[source_id] = (
            known | {"source_id": source_id, "base_url": self._exporters[key].base_url} | source
        )

    @property
    def engine(self) -> Engine:
        sources = tuple(Source(token=TOKEN, **values) for values in self.sources.values())
        return Engine(Settings(database_url=self.database_url, sources=sources, **self.settings))

    def collect(self, *hours: str, source_id: str | None = None) -> CollectSummary:
        engine = self.engine
        sources = [s for s in engine.settings.sources if source_id in {None, s.source_id}]
        return collect_hours(engine, sources, [hour_of(hour) for hour in hours])

    def collected(self, *hours: str) -> None:
        """Collects, and nothing may fail."""
        assert self.collect(*hours).failures == []

    def rate(self, start: str = f"{DAY}T00", end: str = "2026-04-09T00") -> RateResult:
        return rate_hours(self.engine, HourRange(hour_of(start), hour_of(end)))

    def price_file(self, **content: Any) -> Path:
        path = self.directory / "prices.json"
        path.write_text(json.dumps(content))
        return path

    def publish(self, **content: Any) -> PriceChange:
        return publish_prices(self.engine, read_price_file(self.price_file(**content)))

    def environment(self, **more: str) -> dict[str, str]:
        """The same settings, as commands read them."""
        return {
            "DATABASE_URL": self.database_url,
            "EXPORTER_SOURCES_JSON": json.dumps(list(self.sources.values())),
            "INTERNAL_SERVICE_TOKEN": TOKEN,
            "PRICE_PER_BYTE": str(self.settings["price_per_byte"]),
            "INITIAL_INCLUDED_QUOTA_BYTES": str(self.settings["initial_included_quota_bytes"]),
            **more,
        }

    def rows(self, query: str, *parameters: Any) -> list[Row]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database_url) as connection:
            connection.execute(statement.encode())


@pytest.fixture
def line(database_url: str, tmp_path: Path) -> Iterator[Line]:
    with ExitStack() as stack:
        yield Line(database_url, tmp_path, stack)


# --- what is found -----------------------------------------------------------------------------


class Fact(NamedTuple):
    """``minute`` is ``HH:MM`` of ``DAY``, or with its date on another day."""

    minute: str
    account: str
    tag: str
    node: str
    up: int
    down: int
    span: int
    is_reset: bool


class Entry(NamedTuple):
    hour: str
    account: str
    entry_type: str
    rated_bytes: int
    amount: Decimal
    reason: str


def facts(line: Line) -> list[Fact]:
    return [
        Fact(_clock(row[0] * 60), *row[1:])
        for row in line.rows(
            "select f.minute, a.account_uuid::text, s.inbound_tag, n.node_id, f.uplink_quantity,"
            " f.downlink_quantity, f.spans_minutes, f.is_reset from billing_core.facts f"
            " join billing_core.series s using (series_id)"
            " join billing_core.nodes n using (node_key)"
            " join billing_core.accounts a using (account_key) order by f.minute, 2, 3, 4"
        )
    ]


def usage(line: Line) -> dict[str, int]:
    """Bytes per minute, over all series."""
    found: dict[str, int] = {}
    for fact in facts(line):
        found[fact.minute] = found.get(fact.minute, 0) + fact.up + fact.down
    return found


def ratings(line: Line) -> list[tuple[str, int, int, Decimal]]:
    """Minute, included and rated bytes, amount; only what is rated."""
    return [
        (_clock(minute * 60), included, rated, amount)
        for minute, included, rated, amount in line.rows(
            "select minute, included_quantity, uplink_quantity + downlink_quantity"
            " - included_quantity, (uplink_quantity + downlink_quantity - included_quantity)"
            " * amount_per_unit from billing_core.facts join billing_core.rates using (rate_id)"
            " join billing_core.series using (series_id) order by minute, account_key, series_id"
        )
    ]


def ledger(line: Line) -> list[Entry]:
    return [
        Entry("" if row[0] is None else _clock(row[0] * 3600), *row[1:])
        for row in line.rows(
            "select hour, account_uuid::text, entry_type, rated_quantity, amount, reason"
            " from billing_core.ledger_entries join billing_core.accounts using (account_key)"
            " order by entry_id"
        )
    ]


def balances(line: Line) -> dict[str, Decimal]:
    return dict(
        line.rows(
            "select account_uuid::text, balance from billing_core.account_balances"
            " join billing_core.accounts using (account_key)"
        )
    )


def net(line: Line) -> dict[tuple[str, str], tuple[int, Decimal]]:
    """Per account and hour, the sum of its entries: rated bytes and amount."""
    sums: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for entry in ledger(line):
        rated, amount = sums.get((entry.account, entry.hour), (0, Decimal(0)))
        sums[entry.account, entry.hour] = (rated + entry.rated_bytes, amount + entry.amount)
    return sums


def findings(line: Line) -> list[tuple[str, str, str]]:
    """Kind, hour and message of the open findings."""
    return [
        (kind, _clock(hour * 3600), message)
        for kind, hour, message in line.rows(
            "select kind, hour, message from billing_core.findings where closed_at is null"
            " order by hour, kind, subject"
        )
    ]


def finding_kinds(line: Line) -> list[str]:
    return [kind for kind, _, _ in findings(line)]


def source_hour(line: Line, hour: str, source_id: str = "jp-1") -> dict[str, Any]:
    """The coverage of a source-hour; empty when it was never collected."""
    names = (
        "state", "expected_snapshots", "snapshots", "samples", "used", "duplicates", "baselines",
        "quarantined", "missing_minutes", "first_ns", "last_ns", "content_hash",
    )  # fmt: skip
    for row in line.rows(
        f"select {', '.join(names)} from billing_core.source_hours"
        " join billing_core.sources using (source_key) where source_id = %s and hour = %s",
        source_id,
        hour_of(hour).index,
    ):
        return dict(zip(names, row, strict=True))
    return {}


def state(line: Line, hour: str, source_id: str = "jp-1") -> str | None:
    return source_hour(line, hour, source_id).get("state")


def checkpoint(line: Line, source_id: str = "jp-1") -> str | None:
    ((index,),) = line.rows(
        "select checkpoint_hour from billing_core.sources where source_id = %s", source_id
    )
    return None if index is None else _clock(index * 3600)


def gaps(line: Line) -> list[tuple[str, str, str, int]]:
    """Kind, from, until, bytes."""
    return [
        ("series_absent" if series_id else "exporter_down", _clock_ns(a), _clock_ns(b), quantity)
        for series_id, a, b, quantity in line.rows(
            "select series_id, from_ns, until_ns, quantity from billing_core.usage_gaps"
            " order by until_ns, series_id"
        )
    ]


def resets(line: Line) -> list[tuple[str, str, int, int]]:
    """Instant, class, up and down before."""
    return [
        (_clock_ns(instant_ns), "node_restart" if restart else "single_series", up, down)
        for instant_ns, restart, up, down in line.rows(
            "select instant_ns, is_node_restart, uplink_before, downlink_before"
            " from billing_core.counter_resets order by instant_ns, series_id"
        )
    ]


def row_versions(line: Line, *but: str) -> dict[str, list[Row]]:
    """Every row of every table with its ``xmin``: equal only when nothing at all was written."""
    tables = line.rows(
        "select relname from pg_class where relkind = 'r'"
        " and relnamespace = 'billing_core'::regnamespace order by relname"
    )
    with psycopg.connect(line.database_url) as connection:
        return {
            table: connection.execute(
                f"select xmin::text, t::text from billing_core.{table} t order by 2".encode()
            ).fetchall()
            for (table,) in tables
            if table not in but
        }


def states(line: Line) -> dict[str, list[Row]]:
    """Facts, closings, ledger and the like without generated keys: equal for equal states."""
    return {
        "facts": list(facts(line)),
        "ratings": list(ratings(line)),
        "net": sorted(net(line).items()),
        "balances": sorted(balances(line).items()),
        "gaps": list(gaps(line)),
        "resets": list(resets(line)),
        "closings": line.rows(
            "select node_id, account_uuid::text, inbound_tag, c.hour, first_ns, first_uplink,"
            " first_downlink, last_ns, last_uplink, last_downlink, prev_ns, prev_uplink,"
            " prev_downlink, first_kind, provisional from billing_core.closings c"
            " join billing_core.series using (series_id) join billing_core.nodes using (node_key)"
            " join billing_core.accounts using (account_key) order by 1, 2, 3, 4"
        ),
        "source_hours": line.rows(
            "select source_id, hour, state, expected_snapshots, snapshots, samples, used,"
            " duplicates, baselines, quarantined, missing_minutes, first_ns, last_ns, content_hash"
            " from billing_core.source_hours join billing_core.sources using (source_key)"
            " order by 1, 2"
        ),
    }


def _clock(seconds: int) -> str:
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M")
    return text.removeprefix(f"{DAY}T")


def _clock_ns(instant_ns: int) -> str:
    return datetime.fromtimestamp(instant_ns // 10**9, UTC).strftime("%H:%M:%S")


# --- commands ----------------------------------------------------------------------------------


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Everything on stdout, as the one JSON document that it must be."""
        return json.loads(self.out)


def command(environment: Mapping[str, str], *arguments: str) -> Answer:
    """``billing-etl`` within this process; knows only the variables given."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, environment, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main(arguments)
        except SystemExit as stop:  # of argparse
            code = int(stop.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


def process(
    environment: Mapping[str, str], *arguments: str, program: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """``billing-etl`` as a process of its own, not waited for."""
    return subprocess.Popen(
        [*(program or (sys.executable, "-m", "billing_etl")), *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer_of(running: "subprocess.Popen[str]") -> Answer:
    out, err = running.communicate(timeout=60)
    return Answer(running.returncode, out, err)
