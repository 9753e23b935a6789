"""The development exporter answers as the recorded exporters did."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from billing_etl.errors import UsageError
from billing_etl.local.exporter_server import ExporterServer, Flavour, required_token

CAPTURES = Path(__file__).parents[1] / "captures"
TOKEN = "t0ken"
QUIRKS: dict[str, Any] = json.loads((CAPTURES / "nanosecond-exporter-quirks.json").read_text())
MINUTE: dict[str, Any] = json.loads((CAPTURES / "minute-exporter.json").read_text())
THREE_PAGES: list[Any] = json.loads((CAPTURES / "nanosecond-exporter-three-pages.json").read_text())


def snapshots_of(*captures: dict[str, Any]) -> list[Any]:
    return [each for capture in captures for each in json.loads(capture["body"])["snapshots"]]


def assert_answers_as_recorded(base_url: str, capture: dict[str, Any]) -> None:
    authorization = {None: None, "Bearer ***": f"Bearer {TOKEN}"}.get(
        capture["request"]["authorization"], "Bearer wrong"
    )
    answer = httpx.get(
        base_url + capture["request"]["path"],
        headers={"Authorization": authorization} if authorization else {},
    )

    assert (answer.status_code, answer.text) == (capture["status"], capture["body"])
    for name, value in capture["headers"].items():
        assert answer.headers[name] == value


def exporter(
    tmp_path: Path, snapshots: list[Any], flavour: Flavour = "nanosecond"
) -> ExporterServer:
    store = tmp_path / "store.json"
    store.write_text(json.dumps(snapshots, separators=(",", ":")))
    return ExporterServer(store, "127.0.0.1:0", TOKEN, flavour)


@pytest.mark.parametrize("name", sorted(set(QUIRKS) - {"empty_store", "latest_of_empty_store"}))
def test_recorded_answers_of_the_nanosecond_exporter(tmp_path: Path, name: str) -> None:
    captures = QUIRKS[name] if isinstance(QUIRKS[name], list) else [QUIRKS[name]]
    with exporter(tmp_path, snapshots_of(QUIRKS["whole_window"])) as server:
        for capture in captures:
            assert_answers_as_recorded(server.base_url, capture)


@pytest.mark.parametrize("name", ["empty_store", "latest_of_empty_store"])
def test_recorded_answers_of_an_empty_store(tmp_path: Path, name: str) -> None:
    with exporter(tmp_path, []) as server:
        assert_answers_as_recorded(server.base_url, QUIRKS[name])


def test_three_recorded_pages(tmp_path: Path) -> None:
    with exporter(tmp_path, snapshots_of(*THREE_PAGES)) as server:
        for capture in THREE_PAGES:
            assert_answers_as_recorded(server.base_url, capture)


@pytest.mark.parametrize("name", sorted(set(MINUTE) - {"healthz"}))
def test_recorded_answers_of_the_minute_exporter(tmp_path: Path, name: str) -> None:
    pages = MINUTE["limit_1_pages_later_same_minutes_may_have_changed"]
    stored = snapshots_of(*pages)
    for snapshot, second in zip(stored, ("03.5", "59.999999999", "00"), strict=True):
        snapshot["collected_at"] = snapshot["collected_at"].replace(":00Z", f":{second}Z")
    captures = MINUTE[name] if isinstance(MINUTE[name], list) else [MINUTE[name]]
    with exporter(tmp_path, stored, "minute") as server:
        for capture in captures:
            # The first read was made before these minutes existed.
            if name == "first_read":
                (tmp_path / "store.json").write_text(json.dumps([{**stored[0], **LONG_AGO}]))
            assert_answers_as_recorded(server.base_url, capture)


LONG_AGO = {"collected_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("flavour", "query", "status", "snapshots"),
    [
        ("nanosecond", "limit=0", 200, 1000),
        ("nanosecond", "limit=many", 200, 1000),
        ("nanosecond", "limit=5000", 200, 1000),
        ("nanosecond", "", 200, 1000),
        ("minute", "", 200, 120),
        ("minute", "limit=5000", 200, 1440),
        ("minute", "limit=0", 400, None),
        ("minute", "limit=many", 400, None),
        ("minute", "limit=5&cursor=garbage", 400, None),
    ],
)
def test_limits(
    tmp_path: Path, flavour: Flavour, query: str, status: int, snapshots: int | None
) -> None:
    minutes = [
        {
            "collected_at": f"2026-04-{8 + n // 1440:02d}T{n // 60 % 24:02d}:{n % 60:02d}:00Z",
            "node_id": "n",
            "env": "prod",
            "samples": None,
        }
        for n in range(1500)
    ]
    with exporter(tmp_path, minutes, flavour) as server:
        answer = httpx.get(
            f"{server.base_url}/v1/snapshots/window?since=2026-04-08T00:00:00Z"
            f"&until=2026-04-30T00:00:00Z&{query}",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )

    assert answer.status_code == status
    if snapshots is not None:
        assert len(answer.json()["snapshots"]) == snapshots
        assert answer.json()["has_more"]


def test_the_spelling_of_the_store_is_served(tmp_path: Path) -> None:
    store = tmp_path / "store.json"
    store.write_text(
        '[{"collected_at":"2026-04-08T12:00:00Z","node_id":"n","env":"prod",'
        '"samples":[{"uuid":7,"uplink_bytes_total":1.50e3}]}]'
    )
    with ExporterServer(store, "127.0.0.1:0", TOKEN) as server:
        answer = httpx.get(
            f"{server.base_url}/v1/snapshots/latest", headers={"Authorization": f"Bearer {TOKEN}"}
        )

    assert '"samples":[{"uuid":7,"uplink_bytes_total":1.50e3}]' in answer.text


def test_a_changed_store_is_read_again(tmp_path: Path) -> None:
    latest = QUIRKS["latest"]
    with exporter(tmp_path, []) as server:
        assert_answers_as_recorded(server.base_url, QUIRKS["latest_of_empty_store"])
        (tmp_path / "store.json").write_text(f"[{latest['body']}]")
        assert_answers_as_recorded(server.base_url, latest)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '[{"node_id":"n"}]', '[{"collected_at":"today","node_id":"n","env":"e"}]'],
)
def test_a_store_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    store = tmp_path / "store.json"
    store.write_text(text)
    with pytest.raises(UsageError, match=r"store .*: expected a JSON array of snapshots"):
        ExporterServer(store, "127.0.0.1:0", TOKEN)


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    with exporter(tmp_path, []) as server:
        taken = server.base_url.removeprefix("http://")
        with pytest.raises(UsageError, match=f"listen: expected a free HOST:PORT, got '{taken}'"):
            ExporterServer(tmp_path / "store.json", taken, TOKEN)


def test_the_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPORTER_TOKEN", "from-environment")
    assert required_token("given") == "given"
    assert required_token(None) == "from-environment"
    monkeypatch.delenv("EXPORTER_TOKEN")
    with pytest.raises(UsageError, match="--token or EXPORTER_TOKEN"):
        required_token(None)


def test_a_signal_ends_a_served_exporter(tmp_path: Path) -> None:
    store = tmp_path / "store.json"
    store.write_text("[]")
    code = (
        "import logging, sys; logging.basicConfig(level='INFO')\n"
        "from pathlib import Path; from billing_etl.local.exporter_server import serve\n"
        "serve(Path(sys.argv[1]), '127.0.0.1:0')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EXPORTER_TOKEN": TOKEN},
    ) as process:
        assert process.stderr is not None
        base_url = process.stderr.readline().split()[-1]
        assert httpx.get(f"{base_url}/healthz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
