"""Six checks over an hour that went through the whole line; then one thing is spoilt at a time.

The hour is the worked example of docs/semantics.md: 170 bytes, an amount of 140.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from billing_rows import ACCOUNT, HOUR, Rows

from billing_etl.hours import HourRange
from billing_etl.local.exporter_server import ExporterServer
from billing_etl.pipeline.collect import collect_hour
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rate import rate_hours
from billing_etl.pipeline.reconcile import reconcile_hours
from billing_etl.reconciliation import CheckResult
from billing_etl.settings import Settings, Source

HOURS = HourRange.single(HOUR)
CHECKS = [
    "exporter_collected",
    "counters_facts",
    "facts_ratings",
    "ratings_ledger",
    "facts_events",
    "sealed_stored",
]
TOTALS = {
    "11:59:03": (500, 1000),
    "12:00:03": (510, 1030),
    "12:01:03": (510, 1030),
    "12:02:03": (540, 1100),
    "12:03:03": (7, 13),
    "12:09:03": (10, 20),
    "13:00:03": (10, 20),
}
LATE = {"12:04:03": (8, 15)}


class Exporter:
    """A served store whose snapshots a test may change."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def serves(self, totals: dict[str, tuple[int, int]]) -> None:
        snapshots = [
            {
                "collected_at": f"2026-04-08T{at}Z",
                "node_id": "node-1",
                "env": "prod",
                "samples": [
                    {
                        "uuid": ACCOUNT,
                        "email": "unknown",
                        "inbound_tag": "tcp",
                        "uplink_bytes_total": up,
                        "downlink_bytes_total": down,
                    }
                ],
            }
            for at, (up, down) in totals.items()
        ]
        self.path.write_text(json.dumps(snapshots))


@pytest.fixture
def exporter(tmp_path: Path) -> Exporter:
    exporter = Exporter(tmp_path / "store.json")
    exporter.serves(TOTALS)
    return exporter


@pytest.fixture
def line(settings: Settings, exporter: Exporter) -> Iterator[Engine]:
    """The worked example, collected, rated and delivered, with its exporter still there."""
    with ExporterServer(exporter.path, "127.0.0.1:0", "secret") as server:
        engine = Engine(
            replace(
                settings,
                sources=(Source("jp-1", server.base_url, token="secret", region="tokyo"),),
                price_per_byte=Decimal(2),
                initial_included_quota_bytes=100,
            )
        )
        collect_hour(engine, engine.settings.sources[0], HOUR)
        rate_hours(engine, HOURS)
        deliver_hours(engine, HOURS)
        yield engine


def reconcile(engine: Engine, *, repair: bool = True) -> dict[str, CheckResult]:
    result = reconcile_hours(engine, HOURS, repair=repair)
    assert [check.check for check in result.checks] == CHECKS
    assert result.clean == all(check.status != "different" for check in result.checks)
    return {check.check: check for check in result.checks}


def statuses(engine: Engine, *, repair: bool = True) -> dict[str, str]:
    return {name: check.status for name, check in reconcile(engine, repair=repair).items()}


def all_clean(**others: str) -> dict[str, str]:
    return dict.fromkeys(CHECKS, "clean") | others


def open_findings(rows: Rows) -> list[str]:
    """The checks that have one."""
    return [
        check
        for (check,) in rows.all(
            "select distinct check_name from billing_core.findings"
            " where kind = 'reconciliation' and closed_at is null order by 1"
        )
    ]


# --- a clean hour ----------------------------------------------------------------------------


def test_a_clean_hour_says_what_was_compared(line: Engine, rows: Rows) -> None:
    checks = reconcile(line)
    assert {name: (check.status, check.expected) for name, check in checks.items()} == {
        "exporter_collected": ("clean", "snapshots 5, samples 5"),
        "counters_facts": ("clean", "uplink bytes 50, downlink bytes 120"),
        "facts_ratings": ("clean", "quantity 170, included 100, account-hours to rate 0"),
        "ratings_ledger": (
            "clean",
            "rated quantity 70, amount 140, amount of the account-hour 140",
        ),
        "facts_events": ("clean", "events 4, net usage 170, not sealed yet 0"),
        "sealed_stored": ("clean", checks["sealed_stored"].expected),
    }
    assert all(check.actual == check.expected for check in checks.values())
    assert all(check.difference == "none" for check in checks.values())
    assert open_findings(rows) == []
    stored = rows.all("select check_name, status from billing_core.reconciliations order by 1")
    assert stored == sorted((name, "clean") for name in CHECKS)


def test_reconciling_again_changes_nothing_but_when_it_was_checked(
    line: Engine, rows: Rows
) -> None:
    def state() -> list[Any]:
        tables = ("facts", "closings", "account_hours", "ledger_entries", "deliveries", "batches",
                  "sealed_facts", "findings")  # fmt: skip
        return [
            rows.all(f"select xmin::text, t::text from billing_core.{table} t order by 2")
            for table in tables
        ]

    reconcile(line)
    before = state()
    reconcile(line)
    assert state() == before


def test_results_are_ready_for_json(line: Engine) -> None:
    document = json.loads(json.dumps(reconcile_hours(line, HOURS).as_dict()))
    assert document["clean"] is True
    assert [check["check"] for check in document["checks"]] == CHECKS


# --- exporter and collected ------------------------------------------------------------------


def test_a_late_snapshot_is_collected_rated_and_delivered(
    line: Engine, exporter: Exporter, rows: Rows
) -> None:
    exporter.serves(TOTALS | LATE)
    checks = reconcile(line)
    assert {name: check.status for name, check in checks.items()} == all_clean(
        exporter_collected="repaired", facts_ratings="repaired", facts_events="repaired"
    )
    assert checks["exporter_collected"].repaired.startswith("jp-1 collected again: collected")
    minutes = rows.all(
        "select minute - %s, uplink_quantity + downlink_quantity from billing_core.facts"
        " order by 1",
        HOUR.first_minute,
    )
    assert minutes == [(0, 40), (2, 100), (3, 20), (4, 3), (9, 7)]
    assert statuses(line) == all_clean()


def test_without_repair_the_difference_is_told_and_stays_open(
    line: Engine, exporter: Exporter, rows: Rows
) -> None:
    exporter.serves(TOTALS | LATE)
    check = reconcile(line, repair=False)["exporter_collected"]
    assert check.status == "different"
    assert check.difference.startswith(
        "snapshots -1, less than expected; samples -1, less than expected; "
    )
    assert "jp-1 prod/node-1 2026-04-08T12:04:03Z: samples expected 1, got nothing" in check.details
    assert open_findings(rows) == ["exporter_collected"]
    reconcile(line)
    assert open_findings(rows) == []


def test_a_snapshot_that_changed_is_collected_again(line: Engine, exporter: Exporter) -> None:
    exporter.serves(TOTALS | {"12:09:03": (10, 21), "13:00:03": (10, 21)})
    checks = reconcile(line)
    assert checks["exporter_collected"].status == "repaired"
    assert checks["counters_facts"].expected == "uplink bytes 50, downlink bytes 121"
    assert checks["facts_events"].actual == "events 5, net usage 171, not sealed yet 0"


@pytest.mark.parametrize(
    ("kept", "status"),
    [
        pytest.param([], "skipped", id="everything"),
        pytest.param(["12:09:03", "13:00:03"], "clean", id="the beginning"),
    ],
)
def test_what_the_exporter_forgot_is_no_difference(
    line: Engine, exporter: Exporter, kept: list[str], status: str
) -> None:
    exporter.serves({at: TOTALS[at] for at in kept})
    assert statuses(line) == all_clean(exporter_collected=status)


def test_an_exporter_that_cannot_be_reached_is_a_difference_until_it_can(
    line: Engine, exporter: Exporter, rows: Rows
) -> None:
    (source,) = line.settings.sources
    wrong = Engine(replace(line.settings, sources=(replace(source, token="wrong"),)))
    check = reconcile(wrong)["exporter_collected"]
    assert check.status == "different"
    assert check.details[0].startswith(
        "exporter of jp-1: answer expected one, got source jp-1, window"
    )
    assert open_findings(rows) == ["exporter_collected"]
    assert statuses(line) == all_clean()
    assert open_findings(rows) == []


def test_an_hour_before_the_sources_first_is_not_asked_for(line: Engine) -> None:
    (check, *_) = reconcile_hours(line, HourRange.single(HOUR.previous)).checks
    assert (check.status, check.details) == ("skipped", ["no source takes part in the hour"])


def test_an_hour_that_was_never_collected_is_collected(line: Engine) -> None:
    result = reconcile_hours(line, HourRange.single(HOUR.next))
    assert result.checks[0].status == "repaired"
    assert result.clean


# --- counters, facts, ratings, ledger --------------------------------------------------------


def spoil(rows: Rows, statement: str) -> None:
    assert rows.connection.execute(statement.encode()).rowcount > 0


def test_a_fact_that_its_counters_do_not_explain_stays_different(line: Engine, rows: Rows) -> None:
    spoil(rows, "update billing_core.facts set uplink_quantity = uplink_quantity + 5"
          f" where minute = {HOUR.first_minute + 9}")  # fmt: skip
    check = reconcile(line)["counters_facts"]
    assert check.status == "different"
    assert check.difference == (
        "uplink bytes +5, more than expected; 1 in detail, first: jp-1 prod node-1 "
        f"{ACCOUNT} tcp: uplink bytes expected 50, got 55 (+5, more than expected)"
    )
    assert check.repaired == ""
    number = rows.all("select expected, actual, difference from billing.findings"
                      " where check_name = 'counters_facts'")  # fmt: skip
    assert number == [(50, 55, "+5, more than expected")]


def test_a_lost_fact_is_found(line: Engine, rows: Rows) -> None:
    spoil(rows, "delete from billing_core.facts")
    checks = reconcile(line)
    assert checks["counters_facts"].actual == "uplink bytes 0, downlink bytes 0"
    assert checks["ratings_ledger"].difference.startswith(
        "rated quantity +70, more than expected; amount +140, more than expected"
    )


def test_a_fact_without_counters_is_found(line: Engine, rows: Rows) -> None:
    spoil(rows, "delete from billing_core.closings where not provisional")
    assert reconcile(line, repair=False)["counters_facts"].difference.startswith(
        "uplink bytes +50, more than expected"
    )


def test_a_stale_rating_is_rated_again(line: Engine, rows: Rows) -> None:
    spoil(rows, "update billing_core.facts set included_quantity = 0, rate_id = 0")
    spoil(rows, "update billing_core.account_hours set stale = true")
    assert statuses(line, repair=False)["facts_ratings"] == "different"
    check = reconcile(line)["facts_ratings"]
    assert check.status == "repaired"
    assert check.repaired.startswith(
        "stale ratings: rated 1 account-hours, 4 facts changed, 0 charges"
    )


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        pytest.param(
            "update billing_core.facts set included_quantity = included_quantity + 1000",
            "facts whose included part is not within their quantity expected 0, got 4",
            id="more included than there is",
        ),
        pytest.param(
            "update billing_core.facts set included_quantity = 0",
            "included expected 0, got 100",
            id="included lost",
        ),
        pytest.param(
            "update billing_core.account_hours set quantity = quantity + 1",
            "quantity expected 170, got 171",
            id="account-hour",
        ),
        pytest.param(
            "update billing_core.facts set rate_id = 0", "facts without a rate expected 0, got 4",
            id="rate lost",
        ),
        pytest.param(
            "update billing_core.account_hours set included_quantity = 101",
            "quota used from 2026-04-01T00 expected at most 100, got 101",
            id="quota exceeded",
        ),
    ],
)  # fmt: skip
def test_a_spoilt_rating_is_found(
    line: Engine, rows: Rows, statement: str, difference: str
) -> None:
    spoil(rows, statement)
    check = reconcile(line, repair=False)["facts_ratings"]
    assert check.status == "different"
    assert any(difference in detail for detail in check.details)


def test_a_ledger_entry_that_no_fact_explains_stays_different(line: Engine, rows: Rows) -> None:
    spoil(rows, "insert into billing_core.ledger_entries (account_key, meter_id, hour, period_hour,"
          " entry_type, rated_quantity, amount, balance_after, reason, run_id)"
          " select account_key, meter_id, hour, period_hour, 'adjustment', 0, 0.000000001, 0, 'x',"
          " run_id from billing_core.ledger_entries limit 1")  # fmt: skip
    check = reconcile(line)["ratings_ledger"]
    assert check.status == "different"
    assert check.difference.startswith("amount +0.000000001, more than expected")


# --- facts and events ------------------------------------------------------------------------


def test_events_that_wait_for_a_reason_are_pending_and_no_difference(
    line: Engine, rows: Rows
) -> None:
    rows.fact(rows.one("select series_id from billing_core.series"), 9, 11, 20)
    off = Engine(replace(line.settings, s3_enabled=False))
    check = reconcile(off)["facts_events"]
    assert (check.status, check.details) == (
        "clean",
        ["1 traffic_bytes events pending: BILLING_S3_ENABLED is off"],
    )


def test_a_sealed_event_that_is_lost_is_found(line: Engine, rows: Rows) -> None:
    spoil(rows, "delete from billing_core.batches where kind = 'events'")
    check = reconcile(line)["facts_events"]
    assert check.status == "different"
    assert check.difference.startswith("events -4, less than expected; net usage -170")


def test_a_fact_that_changed_without_a_new_revision_is_found(line: Engine, rows: Rows) -> None:
    spoil(rows, "update billing_core.facts set uplink_quantity = uplink_quantity + 5"
          f" where minute = {HOUR.first_minute + 9}")  # fmt: skip
    check = reconcile(line)["facts_events"]
    assert (
        f"jp-1 prod node-1 {ACCOUNT} tcp 2026-04-08T12:09Z: net usage expected 15, got 10 "
        "(-5, less than expected)"
    ) in check.details


def test_a_revision_that_was_never_sealed_is_found(line: Engine, rows: Rows) -> None:
    spoil(rows, f"update billing_core.facts set revision = 2 where minute = {HOUR.first_minute}")
    check = reconcile(line, repair=False)["facts_events"]
    assert check.difference.startswith("events -1, less than expected")


# --- sealed and stored -----------------------------------------------------------------------


@pytest.fixture
def keys(line: Engine, rows: Rows) -> dict[str, str]:
    """The objects of the hour by kind."""
    return dict(rows.all("select kind, object_key from billing_core.batches"))


@pytest.mark.parametrize("kind", ["events", "manifest"])
def test_a_missing_object_is_sent_again(
    line: Engine, s3: Any, bucket: str, keys: dict[str, str], kind: str
) -> None:
    before = s3.get_object(Bucket=bucket, Key=keys[kind])["Body"].read()
    s3.delete_object(Bucket=bucket, Key=keys[kind])
    assert statuses(line, repair=False)["sealed_stored"] == "different"
    check = reconcile(line)["sealed_stored"]
    assert check.status == "repaired"
    assert check.repaired == f"s3://{bucket}/{keys[kind]} sent again"
    assert s3.get_object(Bucket=bucket, Key=keys[kind])["Body"].read() == before
    assert statuses(line) == all_clean()


@pytest.mark.parametrize("spoilt", ["truncated", "changed in place", "without a checksum"])
def test_a_damaged_object_is_sent_again(
    line: Engine, s3: Any, bucket: str, keys: dict[str, str], spoilt: str
) -> None:
    key = keys["events"]
    before = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    body = {
        "truncated": before[:-10],
        "changed in place": before.replace(b'"usage":40', b'"usage":41'),
        "without a checksum": before,
    }[spoilt]
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    expected = "clean" if spoilt == "without a checksum" else "repaired"
    assert statuses(line) == all_clean(sealed_stored=expected)
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == before


def test_a_foreign_object_stays_different_until_it_is_gone(
    line: Engine, s3: Any, bucket: str, keys: dict[str, str], rows: Rows
) -> None:
    foreign = keys["events"].rsplit("/", 1)[0] + "/stray.jsonl"
    s3.put_object(Bucket=bucket, Key=foreign, Body=b"{}\n")
    check = reconcile(line)["sealed_stored"]
    assert check.status == "different"
    assert check.difference == (
        f"objects +1, more than expected; 1 in detail, first: s3://{bucket}/{foreign}: "
        "foreign objects expected 0, got 1 (+1, more than expected)"
    )
    s3.delete_object(Bucket=bucket, Key=foreign)
    assert statuses(line) == all_clean()
    assert open_findings(rows) == []


def test_a_damaged_sealed_payload_is_never_sent(
    line: Engine, s3: Any, bucket: str, keys: dict[str, str], rows: Rows
) -> None:
    spoil(rows, "update billing_core.batches set sha256 = '\\x00' where kind = 'events'")
    s3.delete_object(Bucket=bucket, Key=keys["events"])
    check = reconcile(line)["sealed_stored"]
    assert check.status == "different"
    assert check.repaired == ""
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix=keys["events"])


def test_a_manifest_that_names_other_batches_is_found(line: Engine, rows: Rows) -> None:
    spoil(rows, "update billing_core.batches set net_quantity = 1 where kind = 'events'")
    check = reconcile(line)["sealed_stored"]
    assert check.status == "different"
    assert "entry of " in check.difference


def test_a_sealed_batch_that_was_not_delivered_is_sent(
    line: Engine, s3: Any, bucket: str, keys: dict[str, str], rows: Rows
) -> None:
    s3.delete_object(Bucket=bucket, Key=keys["events"])
    spoil(rows, "update billing_core.batches set delivered_at = null where kind = 'events'")
    assert statuses(line) == all_clean(sealed_stored="repaired")
    assert rows.all("select 1 from billing_core.batches where delivered_at is null") == []


def test_with_s3_off_stored_objects_are_not_asked_for(line: Engine) -> None:
    off = Engine(replace(line.settings, s3_enabled=False, s3_endpoint_url="http://127.0.0.1:1"))
    assert statuses(off) == all_clean(sealed_stored="skipped")


def test_a_store_that_cannot_be_reached_is_a_difference(line: Engine) -> None:
    missing = Engine(replace(line.settings, s3_bucket="no-such-bucket-here"))
    check = reconcile(missing)["sealed_stored"]
    assert check.status == "different"
    assert "s3://no-such-bucket-here" in check.difference
