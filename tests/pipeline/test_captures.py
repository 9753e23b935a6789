"""Recorded answers of real exporters, served again: the numbers of an independent calculation."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import pytest

from billing_etl.local.exporter_server import FLAVOURS, Flavour
from pipeline.audited import assert_as_audited, by_minute
from pipeline.harness import JSON, Line, facts, usage

CAPTURES = Path(__file__).parents[1] / "captures"
HOURS = {
    "nanosecond-exporter-three-pages": "2026-04-08T12",
    "nanosecond-exporter-quirks": "2026-08-01T10",
    "minute-exporter": "2026-11-21T07",
}
KEYS = ["node_id", "account", "tag"]
COUNTERS = ["up", "down"]


def recorded(name: str) -> list[JSON]:
    """Every different snapshot that the recorded answers hold, as it was spelled."""
    seen: dict[str, JSON] = {}
    for body in bodies(json.loads((CAPTURES / f"{name}.json").read_text())):
        for snapshot in body.get("snapshots") or []:
            seen.setdefault(json.dumps(snapshot), snapshot)
    return list(seen.values())


def bodies(part: Any) -> Iterator[JSON]:
    if isinstance(part, list):
        yield from chain.from_iterable(map(bodies, part))
    elif isinstance(part, dict) and "body" in part:
        if part["status"] == 200 and "json" in part["headers"]["content-type"]:
            yield json.loads(part["body"])
    elif isinstance(part, dict):
        yield from chain.from_iterable(map(bodies, part.values()))


def by_pandas(snapshots: list[JSON], hour: str) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Bytes per series and minute: sorted, differences per series, resets from zero, summed."""
    table = pd.DataFrame(
        [
            (
                pd.Timestamp(each["collected_at"]).tz_convert("UTC"),
                each["node_id"],
                sample["uuid"],
                sample["inbound_tag"],
                sample["uplink_bytes_total"],
                sample["downlink_bytes_total"],
            )
            for each in snapshots
            for sample in each["samples"] or ()
        ],
        columns=["at", *KEYS, *COUNTERS],
    ).sort_values("at", kind="stable")
    deltas = table.groupby(KEYS)[COUNTERS].diff()
    fell = (deltas < 0).any(axis=1)
    born = deltas["up"].isna() & (table["at"] > table.groupby("node_id")["at"].transform("min"))
    deltas = deltas.mask(fell | born, table[COUNTERS]).fillna(0).astype("int64")
    table = table[["at", *KEYS]].join(deltas)
    table["minute"] = table["at"].dt.floor("min")
    within = table["at"].dt.floor("h") == pd.Timestamp(f"{hour}:00:00Z")
    sums = table[within].groupby(["minute", *KEYS])[COUNTERS].sum()
    return {
        (minute.strftime("%Y-%m-%dT%H:%M"), *key): (int(up), int(down))
        for (minute, *key), up, down in sums.itertuples(name=None)
        if up + down
    }


def found(line: Line) -> dict[tuple[Any, ...], tuple[int, int]]:
    return {
        (
            fact.minute if "T" in fact.minute else f"2026-04-08T{fact.minute}",
            fact.node,
            fact.account,
            fact.tag,
        ): (fact.up, fact.down)
        for fact in facts(line)
    }


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("capture", HOURS)
def test_facts_are_what_pandas_and_the_oracle_compute(
    capture: str, flavour: Flavour, line: Line
) -> None:
    snapshots, hour = recorded(capture), HOURS[capture]
    line.serve(snapshots, flavour=flavour)

    line.collected(hour)
    line.rate(hour, hour[:-2] + f"{int(hour[-2:]) + 1:02}")

    expected = by_pandas(snapshots, hour)
    assert expected
    assert found(line) == expected
    served = snapshots if flavour == "nanosecond" else by_minute(snapshots)
    assert_as_audited(line, {"jp-1": served}, {"jp-1": [hour]})


def test_the_small_captures_by_hand(line: Line) -> None:
    """256 + 512 rise to 896 + 1792, 2 to 7; node-1 rises from 1 + 1 to 6 + 6, node-2 is new."""
    line.serve(recorded("minute-exporter"), "de-1", "minute")
    line.serve(recorded("nanosecond-exporter-quirks"), "jp-1")

    line.collected("2026-11-21T07", "2026-08-01T10")

    assert usage(line) == {
        "2026-08-01T10:01": 2,
        "2026-08-01T10:02": 6,
        "2026-08-01T10:03": 2,
        "2026-11-21T07:53": (640 - 256) + (1280 - 512) + (5 - 2),
        "2026-11-21T07:54": (896 - 640) + (1792 - 1280) + (7 - 5),
    }
