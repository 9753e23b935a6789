"""Rows as collecting leaves them, written by plain SQL, so that delivery is tested on its own.

``Rows.fact`` and ``Rows.no_fact`` follow docs/architecture.md, "Sealing without an outbox row
per event", in the simplest way: one fact at a time.
"""

from dataclasses import dataclass
from typing import Any

import psycopg

from billing_etl.hours import Hour, parse_hour

ACCOUNT = "3f2b0a1c-0000-4000-8000-00000000000a"
OTHER_ACCOUNT = "3f2b0a1c-0000-4000-8000-00000000000b"
HOUR = parse_hour("2026-04-08T12")


@dataclass(frozen=True, slots=True)
class Rows:
    """Writes with autocommit through its own connection."""

    connection: "psycopg.Connection[tuple[Any, ...]]"

    def one(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return row[0]

    def all(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode(), parameters).fetchall()

    def run_id(self) -> int:
        return int(
            self.one("insert into billing_core.runs (command) values ('test') returning run_id")
        )

    def source(self, source_id: str, first_hour: Hour = HOUR, region: str | None = None) -> int:
        key = int(
            self.one(
                "insert into billing_core.sources"
                " (source_id, kind, enabled, interval_seconds, first_hour)"
                " values (%s, 'counter_exporter', true, 60, %s) returning source_key",
                source_id,
                first_hour.index,
            )
        )
        if region is not None:
            self.connection.execute(
                "insert into billing_core.source_regions values (%s, %s, %s)",
                (key, first_hour.first_minute, region),
            )
        return key

    def source_hour(self, source_id: str, hour: Hour = HOUR, state: str = "complete") -> None:
        """Coverage of one hour; the row that says whether the hour still waits for the source."""
        self.connection.execute(
            "insert into billing_core.source_hours (source_key, hour, state, expected_snapshots,"
            " snapshots, samples, used, duplicates, baselines, quarantined, missing_minutes,"
            " content_hash, run_id)"
            " select source_key, %(hour)s, %(state)s, 60, 60, 0, 0, 0, 0, 0, 0, '', %(run_id)s"
            " from billing_core.sources where source_id = %(source_id)s"
            " on conflict (source_key, hour) do update set state = excluded.state",
            {
                "source_id": source_id,
                "hour": hour.index,
                "state": state,
                "run_id": self.run_id(),
            },
        )

    def series(
        self,
        source_id: str,
        account: str = ACCOUNT,
        inbound_tag: str = "tcp",
        node_id: str = "node-1",
        env: str = "prod",
    ) -> int:
        self.connection.execute(
            "insert into billing_core.nodes (source_key, env, node_id, shared)"
            " select source_key, %s, %s, false from billing_core.sources where source_id = %s"
            " on conflict do nothing",
            (env, node_id, source_id),
        )
        self.connection.execute(
            "insert into billing_core.accounts (account_uuid) values (%s) on conflict do nothing",
            (account,),
        )
        return int(
            self.one(
                "insert into billing_core.series (node_key, account_key, inbound_tag, meter_id)"
                " select node_key, account_key, %s, 1"
                " from billing_core.nodes join billing_core.sources using (source_key),"
                " billing_core.accounts"
                " where source_id = %s and env = %s and node_id = %s and account_uuid = %s"
                " returning series_id",
                inbound_tag,
                source_id,
                env,
                node_id,
                account,
            )
        )

    def fact(
        self, series_id: int, minute_of_hour: int, up: int, down: int, hour: Hour = HOUR
    ) -> None:
        """The fact now has these quantities, whatever it had before."""
        self.set_fact(series_id, hour, hour.first_minute + minute_of_hour, (up, down))

    def no_fact(self, series_id: int, minute_of_hour: int, hour: Hour = HOUR) -> None:
        """The fact is gone, as when a late snapshot moved all its bytes to another minute."""
        self.set_fact(series_id, hour, hour.first_minute + minute_of_hour, None)

    def set_fact(
        self, series_id: int, hour: Hour, minute: int, quantities: tuple[int, int] | None
    ) -> None:
        key = (series_id, minute)
        with self.connection.transaction():
            self.connection.execute(
                "select billing_core.ensure_day_partition(%s)", (hour.index // 24,)
            )
            self.connection.execute(
                "insert into billing_core.deliveries (hour, meter_id) values (%s, 1)"
                " on conflict do nothing",
                (hour.index,),
            )
            sealings = self.one(
                "select sealings from billing_core.deliveries where hour = %s for share",
                hour.index,
            )
            self.connection.execute(
                "insert into billing_core.sealed_facts (series_id, minute, revision,"
                " uplink_quantity, downlink_quantity)"
                " select series_id, minute, revision, uplink_quantity, downlink_quantity"
                " from billing_core.facts where series_id = %s and minute = %s and sealing <= %s"
                " on conflict do nothing",
                (*key, sealings),
            )
            sealed = self.connection.execute(
                "select revision, uplink_quantity, downlink_quantity"
                " from billing_core.sealed_facts where series_id = %s and minute = %s",
                key,
            ).fetchone()
            self.connection.execute(
                "delete from billing_core.facts where series_id = %s and minute = %s", key
            )
            if quantities is None:
                return
            revision, sealing = (
                (1, sealings + 1) if sealed is None else (sealed[0] + 1, sealings + 1)
            )
            if sealed is not None and quantities == sealed[1:]:
                revision, sealing = sealed[0], sealings
                self.connection.execute(
                    "delete from billing_core.sealed_facts where series_id = %s and minute = %s",
                    key,
                )
            self.connection.execute(
                "insert into billing_core.facts (series_id, minute, uplink_quantity,"
                " downlink_quantity, spans_minutes, is_reset, revision, sealing)"
                " values (%s, %s, %s, %s, 1, false, %s, %s)",
                (*key, *quantities, revision, sealing),
            )
