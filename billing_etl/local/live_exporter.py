"""A live development source: this machine's own network interface counters.

Samples ``/proc/net/dev`` once at start and then once per interval into a store file, which the
development exporter serves. A restart goes on from the file; it keeps 72 hours, as exporters do.

``python -m billing_etl.local.live_exporter --store FILE --listen HOST:PORT``, with the token in
``EXPORTER_TOKEN``.
"""

import argparse
import json
import logging
import os
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Final

from billing_etl.errors import BillingError, UsageError
from billing_etl.hours import NS_PER_HOUR, format_instant_ns, parse_instant_ns
from billing_etl.local.exporter_server import ExporterServer, required_token, stop_signal

ENV: Final = "live"
RETENTION_NS: Final = 72 * NS_PER_HOUR
COUNTERS: Final = Path("/proc/net/dev")

_log = logging.getLogger(__name__)


def take_sample(store_file: Path, instant_ns: int, counters: Path = COUNTERS) -> None:
    """Appends what the interface counters read at an instant to the store, in one replacement.

    Raises:
        UsageError: the counters or the store cannot be read.
    """
    stored = _read_store(store_file)
    stored.append(snapshot(_read_text(counters), socket.gethostname(), instant_ns))
    oldest_ns = instant_ns - RETENTION_NS
    kept = [each for each in stored if parse_instant_ns(each["collected_at"]) >= oldest_ns]
    beside = store_file.with_suffix(".new")
    beside.write_text(json.dumps(kept, separators=(",", ":")), "utf-8")
    os.replace(beside, store_file)


def snapshot(counters_text: str, host: str, instant_ns: int) -> dict[str, Any]:
    """One snapshot: each interface is an account, sent bytes are uplink, received downlink."""
    samples = []
    for line in counters_text.splitlines()[2:]:  # two lines of headings
        interface, _, columns = line.partition(":")
        values = columns.split()
        samples.append(
            {
                "uuid": str(account_of(host, interface.strip())),
                "email": "unknown",
                "inbound_tag": interface.strip(),
                "uplink_bytes_total": int(values[8]),
                "downlink_bytes_total": int(values[0]),
            }
        )
    return {
        "collected_at": format_instant_ns(instant_ns),
        "node_id": host,
        "env": ENV,
        "samples": samples,
    }


def account_of(host: str, interface: str) -> uuid.UUID:
    """The account that stands for an interface of a host, the same for ever."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, f"{interface}.{host}")


def serve_live(
    store_file: Path, listen: str, token: str | None = None, interval_seconds: float = 60
) -> None:
    """Samples and serves until SIGTERM or SIGINT.

    Raises:
        UsageError: the counters or the store cannot be read, or the address is not free.
    """
    stop = stop_signal()
    take_sample(store_file, time.time_ns())
    started, samples = time.monotonic(), 1
    with ExporterServer(store_file, listen, required_token(token)) as server:
        _log.info("live exporter of %s on %s", COUNTERS, server.base_url)
        # Each wait aims at the start plus whole intervals, so that delays do not add up.
        while not stop.wait(max(0.0, started + samples * interval_seconds - time.monotonic())):
            take_sample(store_file, time.time_ns())
            samples += 1


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UsageError(
            f"live exporter: expected to read {path}, got {error.strerror}; it needs Linux"
        ) from None


def _read_store(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"store {path}: expected a JSON array, got {error}") from None
    if not isinstance(stored, list):
        raise UsageError(f"store {path}: expected a JSON array, got {type(stored).__name__}")
    return stored


def main() -> int:
    parser = argparse.ArgumentParser(description="serve this machine's interface counters")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--interval-seconds", type=float, default=60)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    try:
        serve_live(arguments.store, arguments.listen, interval_seconds=arguments.interval_seconds)
    except BillingError as error:
        _log.error("%s", error)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
