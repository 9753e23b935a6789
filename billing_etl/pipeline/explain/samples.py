"""The readings of one account in an hour, as the exporters still serve them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from billing_etl.counters import FirstKind, StoredName
from billing_etl.counters.readings import Reading, Totals, readings
from billing_etl.errors import BillingError, UsageError
from billing_etl.exporter import ExporterClient
from billing_etl.hours import Hour, format_instant_ns
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Source
from billing_etl.store.explain import Row


@dataclass(frozen=True, slots=True)
class SeriesReadings:
    """The readings of a series, each with the bytes that it adds to its minute."""

    series_id: int
    readings: list[Reading]

    def as_dict(self) -> dict[str, Any]:
        return {
            "series_id": self.series_id,
            "readings": [
                {
                    "read_at": format_instant_ns(each.totals.instant_ns),
                    "uplink_total": each.totals.uplink,
                    "downlink_total": each.totals.downlink,
                    "uplink_bytes": each.uplink_bytes,
                    "downlink_bytes": each.downlink_bytes,
                    "how": each.how,
                }
                for each in self.readings
            ],
        }


def read_samples(
    engine: Engine,
    hour: Hour,
    account_uuid: str,
    counters: Sequence[Row],
    stored_name: StoredName | None,
) -> tuple[list[SeriesReadings], list[str]]:
    """Asks the exporters of the series again; nothing is stored.

    Args:
        engine, hour: settings, and which hour.
        account_uuid: what the account is called here.
        counters: of its series.
        stored_name: what accounts are called here by what they are served as; None: just that.

    Returns:
        The readings of each series, and a line per source whose hour cannot be shown: it could
        not be read, or is not served as it was collected. Exporters forget.
    """
    of_source: dict[str, list[Row]] = defaultdict(list)
    for row in counters:
        if row["first_kind"] is not None:
            of_source[row["source_id"]].append(row)
    found: list[SeriesReadings] = []
    errors: list[str] = []
    for source_id, rows in of_source.items():
        try:
            source = engine.settings.source(source_id)
            found += _of_source(source, hour, account_uuid, rows, stored_name)
        except BillingError as error:
            errors.append(str(error))
    order = [row["series_id"] for row in counters]
    return sorted(found, key=lambda each: order.index(each.series_id)), errors


def _of_source(
    source: Source,
    hour: Hour,
    account_uuid: str,
    rows: list[Row],
    stored_name: StoredName | None,
) -> list[SeriesReadings]:
    series = {(row["env"], row["node_id"], row["inbound_tag"]): row for row in rows}
    totals: dict[int, list[Totals]] = defaultdict(list)
    instants: set[tuple[str, str, int]] = set()
    with ExporterClient(source) as client:
        for snapshot in client.snapshots(hour.start_ns, hour.end_ns):
            instants.add((snapshot.env, snapshot.node_id, snapshot.instant_ns))
            for at, account in enumerate(snapshot.accounts):
                key = (snapshot.env, snapshot.node_id, snapshot.inbound_tags[at])
                stored = stored_name(account) if stored_name else account
                if stored == account_uuid and key in series:
                    up, down = snapshot.uplink_bytes_total[at], snapshot.downlink_bytes_total[at]
                    of = totals[series[key]["series_id"]]
                    of.append(Totals(snapshot.instant_ns, int(up), int(down)))
    collected = rows[0]["collected_snapshots"]
    if len(instants) != collected:
        remedy = (
            "the exporter has forgotten some; facts and counters stay as they are"
            if len(instants) < collected
            else "`billing-etl collect` takes up what came late"
        )
        raise UsageError(
            f"source {source.source_id}, hour {hour}: expected the {collected} snapshots that were "
            f"collected, got {len(instants)} served now; {remedy}"
        )
    return [_series(row, totals[row["series_id"]]) for row in rows]


def _series(row: Row, totals: list[Totals]) -> SeriesReadings:
    before = None
    if row["prev_ns"]:
        before = Totals(row["prev_ns"], row["prev_uplink"], row["prev_downlink"])
    return SeriesReadings(row["series_id"], readings(totals, FirstKind(row["first_kind"]), before))
