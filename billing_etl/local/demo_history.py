"""Three hours of history for two development exporters, with what happens in real life.

The history is a pure function of the minute: it repeats a pattern of 180 minutes for ever, and
a later demonstration serves the same values for the hours that both contain. Any three hours
hold each of the happenings below once.
"""

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from billing_etl.hours import (
    MINUTES_PER_HOUR,
    NS_PER_MINUTE,
    NS_PER_SECOND,
    Hour,
    format_instant_ns,
    parse_hour,
)
from billing_etl.local.exporter_server import Flavour

HOURS: Final = 3
LOOKBACK_MINUTES: Final = 5
ENV: Final = "demo"
INBOUND_TAGS: Final = ("tcp", "xhttp-premium")

PATTERN_MINUTES: Final = HOURS * MINUTES_PER_HOUR
# Happenings, by the minute of the pattern.
BAD_SAMPLE_MINUTE: Final = 25
BIRTH_MINUTE: Final = 70
RESTART_MINUTE: Final = 100
OUTAGE_MINUTES: Final = range(130, 137)

TOKYO_ACCOUNTS: Final = ("alma", "bela", "cato", "dora", "emil", "fred")
BERLIN_ACCOUNTS: Final = ("dora", "emil", "fred", "gwen", "hugo")
IDLE_ACCOUNT: Final = "ines"
IDLE_TOTAL_BYTES: Final = 7_654_321
BERLIN_START_MINUTE: Final = parse_hour("2026-01-01T00").first_minute


@dataclass(frozen=True, slots=True)
class DemoExporter:
    """A store file, the flavour to serve it with, and its entry of ``EXPORTER_SOURCES_JSON``.

    The caller adds ``base_url`` and a token to the entry.
    """

    store_file: Path
    flavour: Flavour
    source: dict[str, Any]


def write_demo_history(directory: Path, end: Hour, hours: int = HOURS) -> list[DemoExporter]:
    """Writes the history of the ``hours`` before ``end`` (exclusive), and a few minutes more.

    The nanosecond exporter ``demo-tokyo`` has a node restart and a bad sample; the minute
    exporter ``demo-berlin`` an idle account, an account that is born, and an outage of seven
    minutes. Every account has two inbounds; three accounts use both nodes.
    """
    minutes = range(
        end.first_minute - hours * MINUTES_PER_HOUR - LOOKBACK_MINUTES, end.first_minute
    )
    return [
        _write(directory, "demo-tokyo", "nanosecond", "jp", "jp-tokyo-1", _tokyo(minutes)),
        _write(directory, "demo-berlin", "minute", "de", "de-berlin-1", _berlin(minutes)),
    ]


def account_of(name: str) -> str:
    """The account uuid of a person of the demonstration."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.example.com"))


def guest_of(minute: int) -> str:
    """The account that is born in the pattern which contains a minute: another one each time."""
    return account_of(f"guest-{minute // PATTERN_MINUTES}")


def _write(
    directory: Path,
    source_id: str,
    flavour: Flavour,
    region: str,
    node_id: str,
    readings: Iterator[tuple[int, list[dict[str, Any]]]],
) -> DemoExporter:
    snapshots = [
        {
            "collected_at": format_instant_ns(instant_ns),
            "node_id": node_id,
            "env": ENV,
            "samples": samples,
        }
        for instant_ns, samples in readings
    ]
    store_file = directory / f"{source_id}.json"
    store_file.write_text(json.dumps(snapshots, separators=(",", ":")), "utf-8")
    source = {
        "source_id": source_id,
        "expected_node_id": node_id,
        "expected_env": ENV,
        "region": region,
    }
    return DemoExporter(store_file, flavour, source)


def _tokyo(minutes: range) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Restarts once in a pattern, so its totals count from there."""
    for minute in minutes:
        restarted = minute - (minute - RESTART_MINUTE) % PATTERN_MINUTES
        samples = []
        for name in TOKYO_ACCOUNTS:
            for tag in INBOUND_TAGS:
                totals = _bytes_between(restarted, minute, name, tag)
                samples.append(_sample(account_of(name), tag, *totals))
        if minute % PATTERN_MINUTES == BAD_SAMPLE_MINUTE:
            samples[0]["uplink_bytes_total"] = -1
        # Three seconds and something past the minute, a little different each time.
        jitter_ns = minute * 104_729 % 997 * 1_000_003
        yield minute * NS_PER_MINUTE + 3 * NS_PER_SECOND + jitter_ns, samples


def _berlin(minutes: range) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Never restarts: its totals count from the start of 2026."""
    for minute in minutes:
        if minute % PATTERN_MINUTES in OUTAGE_MINUTES:
            continue
        samples = []
        for tag in INBOUND_TAGS:
            for name in BERLIN_ACCOUNTS:
                totals = _bytes_between(BERLIN_START_MINUTE, minute, name, tag)
                samples.append(_sample(account_of(name), tag, *totals))
            samples.append(
                _sample(account_of(IDLE_ACCOUNT), tag, IDLE_TOTAL_BYTES, IDLE_TOTAL_BYTES)
            )
        born = minute - minute % PATTERN_MINUTES + BIRTH_MINUTE
        if minute >= born:
            for tag in INBOUND_TAGS:
                totals = _bytes_between(born - 1, minute, "guest", tag)
                samples.append(_sample(guest_of(minute), tag, *totals))
        yield minute * NS_PER_MINUTE, samples


def _sample(account: str, tag: str, uplink_bytes: int, downlink_bytes: int) -> dict[str, Any]:
    return {
        "uuid": account,
        "email": "unknown",
        "inbound_tag": tag,
        "uplink_bytes_total": uplink_bytes,
        "downlink_bytes_total": downlink_bytes,
    }


@cache
def _pattern(name: str, tag: str) -> list[tuple[int, int]]:
    """Sums of bytes up and down within the pattern; in about a third of the minutes none flow."""
    chance = random.Random(f"{name} {tag}")  # noqa: S311 - seeded: everyone gets the same history
    steps = [
        (chance.randrange(500_000), chance.randrange(5_000_000))
        if chance.random() < 0.7
        else (0, 0)
        for _ in range(PATTERN_MINUTES)
    ]
    return list(accumulate(steps, lambda sums, step: (sums[0] + step[0], sums[1] + step[1])))


def _bytes_between(after: int, until: int, name: str, tag: str) -> tuple[int, int]:
    """Bytes up and down of the minutes after one minute, up to and including another."""
    sums = _pattern(name, tag)

    def since_1970(minute: int, part: int) -> int:
        rounds, position = divmod(minute, PATTERN_MINUTES)
        return rounds * sums[-1][part] + sums[position][part]

    return (
        since_1970(until, 0) - since_1970(after, 0),
        since_1970(until, 1) - since_1970(after, 1),
    )
