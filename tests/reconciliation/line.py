"""Two hours that went through the whole line, and everything that can be looked at of them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from billing_rows import ACCOUNT, HOUR, OTHER_ACCOUNT, Rows

from billing_etl.hours import HourRange
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.reconcile import ReconcileResult, reconcile_hours

HOURS = HourRange(HOUR, HOUR.next.next)
IDLE_ACCOUNT = "3f2b0a1c-0000-4000-8000-00000000000d"
# Bytes up and down of three accounts. Of the first, the worked example of docs/semantics.md: its
# quota ends within the hour; all of the second's bytes are included; the third uses nothing.
TOTALS: dict[str, dict[str, tuple[int, int]]] = {
    "11:59:03": {ACCOUNT: (500, 1000), OTHER_ACCOUNT: (50, 50), IDLE_ACCOUNT: (9, 9)},
    "12:00:03": {ACCOUNT: (510, 1030), OTHER_ACCOUNT: (50, 60), IDLE_ACCOUNT: (9, 9)},
    "12:01:03": {ACCOUNT: (510, 1030), OTHER_ACCOUNT: (55, 60), IDLE_ACCOUNT: (9, 9)},
    "12:02:03": {ACCOUNT: (540, 1100), OTHER_ACCOUNT: (55, 60), IDLE_ACCOUNT: (9, 9)},
    "12:03:03": {ACCOUNT: (7, 13), OTHER_ACCOUNT: (55, 60), IDLE_ACCOUNT: (9, 9)},
    "12:09:03": {ACCOUNT: (10, 20), OTHER_ACCOUNT: (55, 65), IDLE_ACCOUNT: (9, 9)},
    "13:00:03": {ACCOUNT: (10, 20), OTHER_ACCOUNT: (55, 65), IDLE_ACCOUNT: (9, 9)},
    "13:05:03": {ACCOUNT: (15, 25), OTHER_ACCOUNT: (56, 66), IDLE_ACCOUNT: (9, 9)},
    "14:00:03": {ACCOUNT: (15, 25), OTHER_ACCOUNT: (56, 66), IDLE_ACCOUNT: (9, 9)},
}
# What an hour is made of, without what counts or dates what was done.
_STATE = {
    "closings": "t::text",
    "node_instants": "t::text",
    "source_hours": "(source_key, hour, state, snapshots, samples, used, content_hash)::text",
    "facts": "t::text",
    "account_hours": "t::text",
    "ledger_entries": "t::text",
    "deliveries": "(hour, sealings, sealed_digest)::text",
    "sealed_facts": "t::text",
    "batches": "(batch_id, events, net_quantity, sha256, payload, payload_sha256)::text",
}


@dataclass(frozen=True)
class Line:
    """A collected, rated, delivered and clean database, with exporter and object store."""

    engine: Engine
    store: Path
    rows: Rows
    s3: Any
    bucket: str

    # --- what is there ---------------------------------------------------------------------------

    def serve(self, totals: dict[str, dict[str, tuple[int, int]]]) -> None:
        serve(self.store, totals)

    def keys(self, kind: str = "events") -> list[str]:
        """Keys of the first hour, in the order of their sealing."""
        found = self.rows.all(
            "select object_key from billing_core.batches where hour = %s and kind = %s"
            " order by sealing, ordinal",
            HOUR.index,
            kind,
        )
        return [key for (key,) in found]

    def body(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def put(self, key: str, body: bytes) -> str:
        answer = self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        return str(answer["ETag"]).strip('"')

    def change(self, statement: str, *parameters: Any) -> None:
        """Writes as a superuser who has put the triggers aside."""
        with self.rows.connection.transaction():
            self.rows.connection.execute("set local session_replication_role = replica")
            done = self.rows.connection.execute(statement.encode(), parameters)
            assert done.rowcount > 0, statement

    def state(self) -> dict[str, object]:
        """Everything that repairs must not change, and damage does."""
        state: dict[str, object] = {
            name: self.rows.all(f"select {columns} from billing_core.{name} t order by 1")
            for name, columns in _STATE.items()
        }
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ())
        state["objects"] = {entry["Key"]: self.body(entry["Key"]) for entry in listed}
        return state

    # --- reconciling -----------------------------------------------------------------------------

    def reconcile(self, *, repair: bool = True, deep: bool = False) -> ReconcileResult:
        return reconcile_hours(self.engine, HOURS, repair=repair, deep=deep)

    def findings(self, where: str = "closed_at is null") -> list[dict[str, Any]]:
        return self._dicts(
            f"select * from billing.findings where kind = 'reconciliation' and {where}"
            " order by finding_id"
        )

    def repairs(self) -> list[dict[str, Any]]:
        return self._dicts("select * from billing.repairs order by repair_id")

    def _dicts(self, query: str) -> list[dict[str, Any]]:
        cursor = self.rows.connection.execute(query.encode())
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def serve(store: Path, totals: dict[str, dict[str, tuple[int, int]]]) -> None:
    """Has the exporter serve these snapshots from now on."""
    snapshots = [
        {
            "collected_at": f"2026-04-08T{at}Z",
            "node_id": "node-1",
            "env": "prod",
            "samples": [
                {
                    "uuid": account,
                    "email": "unknown",
                    "inbound_tag": "tcp",
                    "uplink_bytes_total": up,
                    "downlink_bytes_total": down,
                }
                for account, (up, down) in of.items()
            ],
        }
        for at, of in totals.items()
    ]
    store.write_text(json.dumps(snapshots))


Harm = Callable[[Line], None]
