"""Runs a random world through the real pipeline and reads back what it left."""

import json
import random
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import psycopg
from oracle.oracle import audit
from oracle.terms import Node, Result, Series
from oracle.worlds import World

from billing_etl.hours import Hour, HourRange, format_instant_ns
from billing_etl.local.exporter_server import ExporterServer
from billing_etl.pipeline.accounts import add_credit
from billing_etl.pipeline.collect import collect_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.prices import PriceFile, publish_prices
from billing_etl.pipeline.rate import rate_hours
from billing_etl.settings import Settings, Source
from billing_etl.store.prices import PlanMember, SourceRegion, Version

TOKEN = "world-token"
JUDGED_FINDINGS = frozenset({"implausible_birth", "rate_exceeded", "single_series_reset"})
KINDS = {1: "delta", 2: "reset", 3: "born", 4: "baseline", 5: "baseline", 6: "born"}


def adapted(world: World) -> World:
    """The world within what settings allow: anchor day at most 28, a quota on every default."""
    world.book["anchor_day"] = min(28, world.book["anchor_day"])
    for version in world.book["versions"]:
        if version["scope"] == "default" and version["included_quota_bytes"] is None:
            version["included_quota_bytes"] = world.book["quota"]
    return world


@contextmanager
def served(world: World, directory: Path) -> Iterator[tuple[Source, ...]]:
    """Serves the world's sources over HTTP; gives their settings."""
    with ExitStack() as stack:
        sources = []
        for settings in world.sources:
            source_id = settings["source_id"]
            store = directory / f"{source_id}.json"
            store.write_text(json.dumps(world.snapshots[source_id]))
            server = stack.enter_context(ExporterServer(store, "127.0.0.1:0", TOKEN))
            known = {key: settings[key] for key in settings if key in Source.__dataclass_fields__}
            sources.append(
                Source(**known | {"base_url": server.base_url, "token": TOKEN, "shared_node": True})
            )
        yield tuple(sources)


def engine_of(world: World, sources: tuple[Source, ...], database_url: str) -> Engine:
    return Engine(
        Settings(
            database_url=database_url,
            sources=sources,
            initial_balance=Decimal(world.book["opening_balance"]),
            billing_period_anchor_day=world.book["anchor_day"],
        )
    )


def version_of(number: int, version: dict[str, Any]) -> Version:
    """A version of the oracle's price book in the pipeline's terms."""
    return Version(
        price_version=f"v{number}",
        scope=version["scope"],
        scope_key=version["key"] or "",
        from_minute=version["from_minute"],
        price_per_unit=Decimal(version["price_per_byte"]),
        included_quota=version["included_quota_bytes"],
        region_multipliers=version["region_multipliers"],
        line_multipliers=version["line_multipliers"],
        peak_multiplier=Decimal(version["peak_multiplier"]),
        offpeak_multiplier=Decimal(version["offpeak_multiplier"]),
        peak_time_zone=version["peak_time_zone"],
        peak_hours=version["peak_hours"],
    )


def publish_book(engine: Engine, world: World, *, late: bool) -> None:
    """Publishes versions and plans, and regions of sources that are known by then."""
    if late:
        regions = [
            SourceRegion(r["source_id"], r["region"], r["from_minute"])
            for r in world.book["source_regions"]
        ]
        publish_prices(engine, PriceFile([], [], regions))
        return
    versions = [version_of(number, each) for number, each in enumerate(world.book["versions"])]
    members = [
        PlanMember(m["account"], m["plan"] or "", m["from_minute"])
        for m in world.book["plan_members"]
    ]
    publish_prices(engine, PriceFile(versions, members, []))


def run_in_random_order(engine: Engine, world: World, rng: random.Random) -> None:
    """Collects and rates every wanted source-hour in any order, some of them again."""
    steps = [
        (source, Hour(index))
        for source in engine.settings.sources
        for index in sorted(world.collected_hours[source.source_id])
    ]
    rng.shuffle(steps)
    steps += rng.sample(steps, len(steps) // 3)
    everything = HourRange(
        Hour(min(hour.index for _, hour in steps)), Hour(max(hour.index for _, hour in steps) + 1)
    )
    for number, (source, hour) in enumerate(steps):
        summary = collect_hours(engine, [source], [hour])
        assert not summary.failures, summary.failures
        if number == len(steps) // 2:
            publish_book(engine, world, late=False)
            for credit in world.book["credits"]:
                add_credit(engine, credit["account"], Decimal(credit["amount"]), "world")
        if number > len(steps) // 2 and rng.random() < 0.4:
            rate_hours(engine, everything)
    collect_what_is_open(engine, everything.end)
    publish_book(engine, world, late=True)
    rate_hours(engine, everything)


def collect_what_is_open(engine: Engine, before: Hour) -> None:
    """What every scheduled run does: partial hours are collected again (C12)."""
    for source in engine.settings.sources:
        with psycopg.connect(engine.database_url) as connection:
            hours = [
                Hour(index)
                for (index,) in connection.execute(
                    "select hour from billing_core.source_hours join billing_core.sources"
                    " using (source_key) where source_id = %s and state = 'partial' and hour < %s"
                    " order by hour",
                    (source.source_id, before.index),
                )
            ]
        if hours:
            assert not collect_hours(engine, [source], hours).failures


def expected(world: World, now_ns: int) -> Result:
    return audit(**world.inputs | {"served_now_ns": now_ns})


class Found:
    """What the pipeline left in the database, in the oracle's terms."""

    def __init__(self, database: str | psycopg.Connection) -> None:
        with ExitStack() as stack:
            if isinstance(database, str):
                connection = stack.enter_context(psycopg.connect(database))
            else:
                connection = database
            self.series = {
                row[0]: Series(*row[1:])
                for row in connection.execute(
                    "select s.series_id, o.source_id, n.env, n.node_id, a.account_uuid::text,"
                    " s.inbound_tag from billing_core.series s join billing_core.nodes n"
                    " using (node_key) join billing_core.sources o using (source_key)"
                    " join billing_core.accounts a using (account_key)"
                )
            }
            self.facts = {
                (self.series[row[0]], row[1]): row[2:]
                for row in connection.execute(
                    "select series_id, minute, uplink_quantity, downlink_quantity, spans_minutes,"
                    " is_reset from billing_core.facts"
                )
            }
            self.closings = {
                (self.series[row[0]], row[1]): (row[2:5], row[5:8], row[8:11], KINDS[row[11]])
                for row in connection.execute(
                    "select series_id, hour, first_ns, first_uplink, first_downlink, last_ns,"
                    " last_uplink, last_downlink, prev_ns, prev_uplink, prev_downlink, first_kind"
                    " from billing_core.closings where not provisional"
                )
            }
            self.resets = {
                (self.series[row[0]], row[1]): row[2:]
                for row in connection.execute(
                    "select series_id, instant_ns, is_node_restart, uplink_before, downlink_before"
                    " from billing_core.counter_resets"
                )
            }
            self.gaps = set(
                connection.execute(
                    "select o.source_id, n.env, n.node_id, coalesce(a.account_uuid::text, ''),"
                    " coalesce(s.inbound_tag, ''), from_ns, until_ns, quantity"
                    " from billing_core.usage_gaps g join billing_core.nodes n using (node_key)"
                    " join billing_core.sources o using (source_key)"
                    " left join billing_core.series s on s.series_id = g.series_id"
                    " left join billing_core.accounts a using (account_key)"
                )
            )
            self.findings = set(
                connection.execute(
                    "select o.source_id, f.hour, f.kind, f.subject from billing_core.findings f"
                    " join billing_core.sources o using (source_key) where f.closed_at is null"
                )
            )
            self.coverage = {
                (row[0], row[1]): row[2:]
                for row in connection.execute(
                    "select o.source_id, h.hour, state, expected_snapshots, snapshots, samples,"
                    " used, duplicates, baselines, quarantined, missing_minutes, first_ns, last_ns"
                    " from billing_core.source_hours h"
                    " join billing_core.sources o using (source_key)"
                )
            }
            self.instants = {
                (Node(*row[:3]), row[3]): row[4]
                for row in connection.execute(
                    "select o.source_id, n.env, n.node_id, i.instant_ns, i.samples"
                    " from billing_core.node_instants i join billing_core.nodes n using (node_key)"
                    " join billing_core.sources o using (source_key) where not i.provisional"
                )
            }
            self.quarantined = {
                row[:3]: row[3]
                for row in connection.execute(
                    "select o.source_id, q.hour, q.reason, count(*) from billing_core.quarantine q"
                    " join billing_core.sources o using (source_key) group by 1, 2, 3"
                )
            }
            self.checkpoints: dict[str, int | None] = dict(
                connection.execute("select source_id, checkpoint_hour from billing_core.sources")
            )
            self.ratings = {
                (self.series[row[0]], row[1]): (*row[2:4], *map(Fraction, row[4:]))
                for row in connection.execute(
                    "select series_id, minute, included_quantity, uplink_quantity"
                    " + downlink_quantity - included_quantity, price_per_unit, region_multiplier,"
                    " line_multiplier, time_multiplier, (uplink_quantity + downlink_quantity"
                    " - included_quantity) * amount_per_unit from billing_core.facts"
                    " join billing_core.rates using (rate_id)"
                )
            }
            self.ledger = {
                (row[0], row[1]): (Fraction(row[2]), int(row[3]))
                for row in connection.execute(
                    "select account_uuid::text, hour, sum(amount), sum(rated_quantity)"
                    " from billing_core.ledger_entries join billing_core.accounts"
                    " using (account_key) where hour is not null group by 1, 2"
                )
            }
            self.balances = {
                row[0]: Fraction(row[1])
                for row in connection.execute(
                    "select account_uuid::text, balance from billing_core.account_balances"
                    " join billing_core.accounts using (account_key)"
                )
            }


# --- the comparison ----------------------------------------------------------------------------


def assert_same(what: str, found: Any, expected: Any) -> None:
    """Equal, or an error that shows only what differs."""
    if found == expected:
        return
    if isinstance(found, dict):
        found, expected = set(found.items()), set(expected.items())
    lines = [f"{what} differ"]
    lines += [f"  found    {each}" for each in sorted(found - expected, key=str)[:8]]
    lines += [f"  expected {each}" for each in sorted(expected - found, key=str)[:8]]
    raise AssertionError("\n".join(lines))


def assert_collected(result: Result, found: Found) -> None:
    """Everything that collecting leaves is what the oracle computes."""
    assert_counted(result, found)
    assert_covered(result, found)
    assert_states(result, found)
    kinds = {"conflicting_samples", "clock_ahead"} | JUDGED_FINDINGS
    assert {finding for finding in found.findings if finding[2] not in kinds} == set()
    assert_findings(result, found, kinds)


def assert_counted(result: Result, found: Found) -> None:
    """Facts, closings, resets and gaps."""
    facts = {key: tuple(fact) for hour in result.hours.values() for key, fact in hour.facts.items()}
    assert_same("facts", found.facts, facts)
    closings = {
        (series, hour): (
            tuple(closing.first),
            tuple(closing.last),
            tuple(closing.predecessor) if closing.predecessor else (0, 0, 0),
            closing.first_kind,
        )
        for (_, hour), source_hour in result.hours.items()
        for series, closing in source_hour.closings.items()
    }
    assert_same("closings", found.closings, closings)
    resets = {
        (reset.series, reset.instant_ns): (
            reset.reset_class == "node_restart",
            reset.before.up,
            reset.before.down,
        )
        for hour in result.hours.values()
        for reset in hour.resets
    }
    assert_same("resets", found.resets, resets)
    gaps = {
        (*(*gap.subject, "", "")[:5], gap.from_ns, gap.to_ns, gap.bytes)
        for hour in result.hours.values()
        for gap in hour.gaps
    }
    assert_same("gaps", found.gaps, gaps)


def assert_covered(result: Result, found: Found) -> None:
    """The counts of every source-hour, its snapshots and its quarantine."""
    coverage = {
        key: (
            hour.coverage.expected_snapshots,
            hour.coverage.instants,
            hour.coverage.fetched,
            hour.coverage.used,
            hour.coverage.duplicates,
            hour.coverage.baselines,
            hour.coverage.quarantined,
            hour.coverage.missing_minutes,
            hour.coverage.first_ns,
            hour.coverage.last_ns,
        )
        for key, hour in result.hours.items()
    }
    assert_same("counts", {key: row[1:] for key, row in found.coverage.items()}, coverage)
    instants = {
        (node, at_ns): samples
        for hour in result.hours.values()
        for node, of in hour.node_instants.items()
        for at_ns, samples in of.items()
    }
    assert_same("snapshots", found.instants, instants)
    quarantined = {
        (*key, reason): count
        for key, hour in result.hours.items()
        for reason, count in hour.quarantine_reasons.items()
    }
    assert_same("quarantined samples", found.quarantined, quarantined)


def assert_states(
    result: Result, found: Found, only: Collection[tuple[str, int]] | None = None
) -> None:
    """The states of source-hours, and, when all are compared, the checkpoints."""
    wanted = result.hours.keys() if only is None else only
    states = {key: result.hours[key].coverage.state for key in wanted}
    assert_same("states", {key: found.coverage[key][0] for key in wanted}, states)
    if only is None:
        assert found.checkpoints == {k: v for k, v in result.checkpoints.items() if v is not None}


def assert_findings(result: Result, found: Found, kinds: Collection[str]) -> None:
    """The open findings of these kinds."""
    ids = {series: series_id for series_id, series in found.series.items()}
    findings = {
        (
            source_id,
            hour,
            finding.kind,
            f"{finding.subject.env}/{finding.subject.node_id}"
            if finding.kind == "clock_ahead"
            else f"{format_instant_ns(finding.instant_ns)}"
            f" series {ids[cast(Series, finding.subject)]}",
        )
        for (source_id, hour), source_hour in result.hours.items()
        for finding in source_hour.findings
        if finding.kind in kinds
    }
    assert_same("findings", {each for each in found.findings if each[2] in kinds}, findings)


def assert_billed(result: Result, found: Found) -> None:
    """Ratings, the net of the ledger, and balances."""
    ratings = {key: tuple(rating) for key, rating in result.bill.ratings.items()}
    assert_same("ratings", found.ratings, ratings)
    nothing = (Fraction(0), 0)
    # An account-hour whose usage moved away keeps entries that sum to zero (R5).
    net = {key: value for key, value in found.ledger.items() if value != nothing}
    charged = {key: value for key, value in result.bill.ledger.items() if value != nothing}
    assert_same("ledger nets", net, charged)
    balances = {account: found.balances[account] for account in result.bill.balance}
    assert_same("balances", balances, result.bill.balance)
