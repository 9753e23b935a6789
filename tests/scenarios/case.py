"""A line and everything that was done to it, told as text tables and compared to the oracle."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import pytest
from oracle.oracle import audit
from oracle.terms import Result
from pipeline.harness import (
    DAY,
    HISTORY,
    JSON,
    A,
    B,
    C,
    Line,
    Row,
    findings,
    hour_of,
    row_versions,
    sample,
    snapshot,
)
from pipeline.world_harness import Found, assert_billed, assert_collected, assert_counted

from billing_etl.hours import NS_PER_MINUTE, parse_instant_ns
from billing_etl.local.exporter_server import Flavour
from billing_etl.pipeline.accounts import add_credit, close_period
from billing_etl.pipeline.collect import CollectSummary

Record: TypeAlias = Mapping[str, str]

# What the oracle calls the parts of a version's `peak`.
_PEAK = {
    "hours": "peak_hours",
    "multiplier": "peak_multiplier",
    "offpeak_multiplier": "offpeak_multiplier",
    "time_zone": "peak_time_zone",
}


def seen(at: str, node: str = "node-1", **totals: int) -> JSON:
    """A snapshot of accounts by their letter; of their totals up, as nothing goes down."""
    accounts = {"A": A, "B": B, "C": C}
    samples = (sample(accounts[letter], up, 0) for letter, up in totals.items())
    return snapshot(at, *samples, node=node)


def version(name: str, price: str, since: str = "", **more: Any) -> JSON:
    """Applies since ever, or from a minute; of April 8, when that is only a clock."""
    dated = {"from": f"{since if 'T' in since else f'2026-04-08T{since}'}:00Z"} if since else {}
    return {"price_version": name, "price_per_byte": price, **dated, **more}


def until(hour: str, snapshots: Sequence[JSON]) -> list[JSON]:
    """What lies before an hour of ``DAY``: an exporter that serves nothing later."""
    return [each for each in snapshots if each["collected_at"] < f"{DAY}T{hour}"]


@dataclass
class Case:
    """Remembers all that was ever served, collected and published: the oracle is told the whole."""

    line: Line
    known: dict[str, dict[tuple[str, str, int], JSON]] = field(default_factory=dict)
    hours: dict[str, set[str]] = field(default_factory=dict)
    published: dict[str, list[JSON]] = field(
        default_factory=lambda: {"versions": [], "plan_members": [], "source_regions": []}
    )
    credits: list[JSON] = field(default_factory=list)

    # --- what is done ---------------------------------------------------------------------------

    def serve(
        self,
        snapshots: Sequence[JSON],
        source_id: str = "jp-1",
        flavour: Flavour = "nanosecond",
        **source: Any,
    ) -> None:
        """Makes a source serve these snapshots, and nothing else."""
        known = self.known.setdefault(source_id, {})
        for each in snapshots:
            key = (each["env"], each["node_id"], parse_instant_ns(each["collected_at"]))
            known[key] = each
        self.line.serve(snapshots, source_id, flavour, **source)

    def collect(self, *hours: str, source_id: str | None = None) -> CollectSummary:
        summary = self.line.collect(*hours, source_id=source_id)
        assert summary.failures == []
        for source in [source_id] if source_id else self.line.sources:
            self.hours.setdefault(source, set()).update(hours)
        return summary

    def rate(self) -> None:
        """Rates every hour that was collected."""
        hours = [hour_of(hour) for of in self.hours.values() for hour in of]
        self.line.rate(str(min(hours)), str(max(hours).next))

    def bill(self, *hours: str) -> None:
        """Collects and rates."""
        self.collect(*hours)
        self.rate()

    def publish(self, **content: list[JSON]) -> None:
        self.line.publish(**content)
        for name, entries in content.items():
            self.published[name] += entries

    def credit(self, account: str, amount: str) -> None:
        add_credit(self.line.engine, account, Decimal(amount), "paid in")
        self.credits.append({"account": account, "amount": amount})

    def close(self, month: str) -> None:
        close_period(self.line.engine, month)

    # --- what must stand ------------------------------------------------------------------------

    def audited(self) -> Result:
        """What the oracle makes of everything that was ever served, collected and published."""
        defaults = {"region": "default", "interval_seconds": 60, "lookback_minutes": 10}
        return audit(
            sources=[defaults | values for values in self.line.sources.values()],
            snapshots={source: list(known.values()) for source, known in self.known.items()},
            collected_hours={
                source: {hour_of(hour).index for hour in hours}
                for source, hours in self.hours.items()
            },
            book=self._book(),
            served_now_ns=time.time_ns(),
        )

    def _book(self) -> JSON:
        settings = self.line.settings
        versions = [_version(each) for each in self.published["versions"]]
        if not any((each["scope"], each["from_minute"]) == ("default", 0) for each in versions):
            initial = {
                "price_version": "initial",
                "price_per_byte": str(settings["price_per_byte"]),
                "included_quota_bytes": settings["initial_included_quota_bytes"],
            }
            versions.append(_version(initial))
        return {
            "versions": versions,
            "plan_members": [
                {"account": m["account_uuid"], "plan": m["plan"] or None, "from_minute": _since(m)}
                for m in self.published["plan_members"]
            ],
            "source_regions": [
                {"source_id": r["source_id"], "region": r["region"], "from_minute": _since(r)}
                for r in self.published["source_regions"]
            ],
            "credits": self.credits,
            "anchor_day": settings.get("billing_period_anchor_day", 1),
            "opening_balance": settings.get("initial_balance", 0),
        }

    def assert_settled(self) -> None:
        """All is as the oracle computes it, and doing everything again writes no row."""
        self.assert_as_audited()
        self.assert_replay_changes_nothing()

    def assert_as_audited(self) -> None:
        """Facts, closings, coverage, findings and bills are those of the oracle."""
        assert_collected(self.audited(), Found(self.line.database_url))
        self.assert_billed_as_audited()

    def assert_billed_as_audited(self) -> None:
        """All but coverage, which tells how much an exporter still serves; the oracle knows all."""
        result, found = self.audited(), Found(self.line.database_url)
        assert_counted(result, found)
        assert_billed(result, found)

    def assert_replay_changes_nothing(self) -> None:
        """Serves all that was ever served, and collects every hour again, the newest first."""
        before = row_versions(self.line, *HISTORY)
        for source, hours in self.hours.items():
            self.line.serve(list(self.known[source].values()), source)
            self.collect(*sorted(hours, reverse=True), source_id=source)
        self.rate()
        assert row_versions(self.line, *HISTORY) == before

    # --- what is found --------------------------------------------------------------------------

    def minutes(self) -> list[Record]:
        """Every fact, as an analyst sees it."""
        return _records(
            self.line.rows(
                "select minute, account_uuid, source_id, node_id, env, inbound_tag, region,"
                " total_bytes, spans_minutes, is_reset, included_bytes, rated_bytes, unit_price,"
                " multiplier, amount, price_version from billing.usage_minutes"
                ' order by minute, account_uuid, node_id collate "C", inbound_tag collate "C",'
                ' env collate "C", source_id collate "C"'
            ),
            "minute account source node env tag region bytes span reset included rated price"
            " multiplier amount version",
        )

    def ledger(self) -> list[Record]:
        """Every entry, in the order of appending."""
        return _records(
            self.line.rows(
                "select hour, account_uuid, entry_type, rated_bytes, amount, balance_after,"
                " to_char(period_start at time zone 'UTC', 'YYYY-MM-DD'), reason"
                " from billing.ledger order by entry_id"
            ),
            "hour account type bytes amount balance period reason",
        )

    def accounts(self) -> list[Record]:
        """Balance and states of every account."""
        return _records(
            self.line.rows(
                "select account_uuid, balance, arrears, arrears_since, throttle_state,"
                " suspend_state from billing_core.account_balances"
                " join billing_core.accounts using (account_key) order by account_uuid"
            ),
            "account balance arrears since throttle suspend",
        )

    def findings(self) -> list[tuple[str, str]]:
        """Kind and hour of the open findings."""
        return [(kind, hour) for kind, hour, _ in findings(self.line)]


@pytest.fixture
def case(line: Line) -> Case:
    """Without included quota: a byte that moves is money that moves."""
    line.settings["initial_included_quota_bytes"] = 0
    return Case(line)


def _version(published: JSON) -> JSON:
    """A version of a price file in the oracle's words."""
    peak = {_PEAK[name]: value for name, value in published.get("peak", {}).items()}
    names = ("included_quota_bytes", "region_multipliers", "line_multipliers")
    return {
        "scope": published.get("scope", "default"),
        "key": published.get("scope_key"),
        "price_per_byte": published["price_per_byte"],
        "from_minute": _since(published),
        **{name: published[name] for name in names if name in published},
        **peak,
    }


def _since(published: JSON) -> int:
    if "from" not in published:
        return 0
    return parse_instant_ns(published["from"]) // NS_PER_MINUTE


# --- tables ------------------------------------------------------------------------------------


def assert_shows(found: Sequence[Record], table: str) -> None:
    """The records are the rows of the table, in the columns that its first line names."""
    names, *expected = rows_of(table)
    assert [[record[name] for name in names] for record in found] == expected


def rows_of(table: str) -> list[list[str]]:
    lines = [line for line in table.splitlines() if line.strip()]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def _records(rows: Sequence[Row], names: str) -> list[Record]:
    return [dict(zip(names.split(), map(_text, row), strict=True)) for row in rows]


def _text(value: Any) -> str:
    """Exact decimals without trailing zeros, times of ``DAY`` as clocks, accounts as letters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "-"
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M}".removeprefix(f"{DAY}T")
    text = str(value)
    return text[-1].upper() if text.startswith("3f2b0a1c-") else text
