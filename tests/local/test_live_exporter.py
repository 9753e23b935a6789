"""The live source: this machine's own interface counters, through the real client."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from billing_etl.errors import UsageError
from billing_etl.exporter import ExporterClient
from billing_etl.hours import NS_PER_HOUR, NS_PER_MINUTE
from billing_etl.local import live_exporter
from billing_etl.local.exporter_server import ExporterServer
from billing_etl.settings import Source

COUNTERS = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  100 1 0 0 0 0 0 0      200 1 0 0 0 0 0 0
  eth0:12345 1 0 0 0 0 0 0 67890 1 0 0 0 0 0 0
"""  # noqa: E501
NOON_NS = 492_804 * NS_PER_HOUR


def test_an_interface_is_an_account_that_sends_up_and_receives_down() -> None:
    read = live_exporter.snapshot(COUNTERS, "host-a", NOON_NS)

    assert (read["node_id"], read["env"]) == ("host-a", "live")
    assert [
        (s["inbound_tag"], s["uplink_bytes_total"], s["downlink_bytes_total"])
        for s in read["samples"]
    ] == [("lo", 200, 100), ("eth0", 67890, 12345)]
    assert read["samples"][0]["uuid"] == str(live_exporter.account_of("host-a", "lo"))
    assert live_exporter.account_of("host-a", "lo") != live_exporter.account_of("host-b", "lo")


def test_samples_add_up_in_the_store_and_are_forgotten_after_72_hours(tmp_path: Path) -> None:
    store = tmp_path / "live.json"
    instants = [NOON_NS, NOON_NS + NS_PER_MINUTE, NOON_NS + 72 * NS_PER_HOUR + 1]
    for instant_ns in instants:
        live_exporter.take_sample(store, instant_ns)

    with (
        ExporterServer(store, "127.0.0.1:0", "t") as server,
        ExporterClient(Source("live", server.base_url, token="t")) as reader,
    ):
        read = list(reader.snapshots(NOON_NS, NOON_NS + 100 * NS_PER_HOUR))
    assert [snapshot.instant_ns for snapshot in read] == instants[1:]
    assert read[0].node_id == socket.gethostname()
    assert "lo" in read[0].inbound_tags
    assert not any(snapshot.bad_samples for snapshot in read)


def test_a_machine_without_these_counters_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it needs Linux"):
        live_exporter.take_sample(tmp_path / "live.json", NOON_NS, tmp_path / "missing")


def test_the_process_samples_at_once_and_goes_on_from_its_file(tmp_path: Path) -> None:
    store = tmp_path / "live.json"
    arguments = ["--store", str(store), "--listen", "127.0.0.1:0"]
    for run in (1, 2):
        with subprocess.Popen(
            [sys.executable, "-m", "billing_etl.local.live_exporter", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "EXPORTER_TOKEN": "t"},
        ) as process:
            assert process.stderr is not None
            base_url = process.stderr.readline().split()[-1]
            with ExporterClient(Source("live", base_url, token="t")) as reader:
                now_ns = time.time_ns()
                served = list(reader.snapshots(now_ns - NS_PER_HOUR, now_ns))
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0
        assert len(served) == run
    assert len(json.loads(store.read_text())) == 2
