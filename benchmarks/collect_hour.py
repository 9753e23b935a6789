"""Samples per second from HTTP to rated facts, and peak memory, for one source-hour.

2,500 accounts x 2 inbounds x 60 minutes = 300,000 samples, every series changing every minute,
served by a process of its own from prebuilt bytes. The pipeline runs in a process of its own as
well, so that its peak memory is its own. The stored bytes and money are checked against sums
made here, not by the pipeline.

``python -m benchmarks.collect_hour [--accounts N]``
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import psycopg

from billing_etl.hours import HourRange, parse_hour
from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.local.processes import HOST, ManagedProcess, free_ports
from billing_etl.pipeline.collect import collect_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rate import rate_hours
from billing_etl.settings import Settings
from billing_etl.store.database import migrate

HOUR = parse_hour("2026-04-08T12")
TAGS = ("tcp", "xhttp-premium")
PRICE = Decimal("0.000000002")
TOKEN = "benchmark"


def write_history(path: Path, accounts: int) -> int:
    """Writes look-back and hour; gives the bytes that flow within the hour."""
    rng = random.Random(1)
    uuids = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(accounts)]
    totals = [[rng.randrange(10**9), rng.randrange(10**9)] for _ in range(accounts * len(TAGS))]
    flowed = 0
    with path.open("w") as file:
        file.write("[")
        for minute in range(-2, 60):
            if minute > -2:
                file.write(",")
            for series in totals:
                grown = rng.randrange(1, 1_000_000)
                series[0] += grown
                series[1] += 3 * grown
                flowed += 4 * grown if minute >= 0 else 0
            file.write(json.dumps(_snapshot(minute, uuids, totals), separators=(",", ":")))
        file.write("]")
    return flowed


def _snapshot(minute: int, uuids: list[str], totals: list[list[int]]) -> dict[str, object]:
    second_of_hour = HOUR.index * 3600 + minute * 60 + 3
    collected_at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second_of_hour)) + ".123456789Z"
    return {
        "collected_at": collected_at,
        "node_id": "bench-1",
        "env": "bench",
        "samples": [
            {
                "uuid": account,
                "email": "unknown",
                "inbound_tag": tag,
                "uplink_bytes_total": totals[len(TAGS) * at + place][0],
                "downlink_bytes_total": totals[len(TAGS) * at + place][1],
            }
            for at, account in enumerate(uuids)
            for place, tag in enumerate(TAGS)
        ],
    }


def run_pipeline() -> None:
    """The measured process: collects and rates the hour, then again, and prints figures as JSON."""
    engine = Engine(Settings.from_environment(os.environ))
    hours = HourRange.single(HOUR)
    figures: dict[str, float] = {}
    for name in ("first", "replay"):
        started = time.perf_counter()
        summary = collect_hours(engine, engine.settings.sources, hours)
        assert not summary.failures, summary.failures
        figures[f"{name}_collect_seconds"] = time.perf_counter() - started
        rate_hours(engine, hours)
        figures[f"{name}_seconds"] = time.perf_counter() - started
        figures["samples"] = summary.results[0].samples
    figures["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures))


def measure(accounts: int) -> Iterator[str]:
    """Runs the benchmark; gives the lines to print."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory.chmod(0o711)
        store = directory / "store.json"
        flowed = write_history(store, accounts)
        postgres = stack.enter_context(EmbeddedPostgres(directory / "postgres"))
        postgres.create_database("billing")
        url = postgres.url("billing")
        migrate(url)
        (port,) = free_ports(1)
        base_url = f"http://{HOST}:{port}"
        command = [sys.executable, "-m", "billing_etl", "exporter"]
        command += ["--store", str(store), "--listen", f"{HOST}:{port}"]
        environment = dict(os.environ) | {"EXPORTER_TOKEN": TOKEN}
        stack.enter_context(
            ManagedProcess(command, log=directory / "exporter.log", environment=environment)
        )
        _wait_for(base_url)
        figures = json.loads(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.collect_hour", "--child"],
                env=dict(os.environ)
                | {
                    "DATABASE_URL": url,
                    "EXPORTER_BASE_URL": base_url,
                    "INTERNAL_SERVICE_TOKEN": TOKEN,
                    "PRICE_PER_BYTE": str(PRICE),
                },
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        _check(url, flowed)
    samples = int(figures["samples"])
    yield f"{samples:,} samples of one source-hour, HTTP to rated facts and ledger"
    for name in ("first", "replay"):
        seconds, collect = figures[f"{name}_seconds"], figures[f"{name}_collect_seconds"]
        yield (
            f"{name:8}{samples / seconds:>12,.0f} samples/s  ({seconds:.2f} s, of it collecting "
            f"{collect:.2f} s)"
        )
    yield f"peak    {figures['peak_megabytes']:>12,.0f} MB"


def _wait_for(base_url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{base_url}/v1/snapshots/latest", timeout=5)
        except urllib.error.HTTPError:
            return  # it wants a token: it is up
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the exporter did not come up")


def _check(url: str, flowed: int) -> None:
    """Bytes and money against sums made without the pipeline."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select sum(total_bytes), (select sum(amount) from billing.ledger)"
            " from billing.usage_minutes"
        ).fetchone()
    assert row == (flowed, flowed * PRICE), (row, flowed, flowed * PRICE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=2500)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_pipeline()
        return
    for line in measure(arguments.accounts):
        print(line, flush=True)


if __name__ == "__main__":
    main()
