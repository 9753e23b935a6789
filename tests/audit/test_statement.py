"""A statement of the worked example's day, to the digit; what a signed one is worth."""

from decimal import Decimal
from typing import Any

import psycopg
import pytest
from pipeline.harness import DAY, JSON, Line, command, snapshot

from audit.settled import LATE, Settled

HOUR_12 = "2026-04-08T12"


def links(document: JSON, part: str = "chain") -> dict[str, tuple[Any, Any]]:
    return {
        step["link"]: (step["left_value"], step["right_value"])
        for step in document[part]
        if step["difference"] in {0, "0"} and not step["differing"]
    }


# --- what it says ------------------------------------------------------------------------------


def test_the_worked_example_to_the_digit(settled: Settled) -> None:
    document = settled.document()

    assert (document["balanced"], document["final"]) == (True, True), document["open"]
    assert links(document) == {
        "snapshots": (5, 5),
        "samples": (5, 5),
        "use of samples": (5, 5),
        "quarantine": (0, 0),
        "uplink": (50, 50),
        "downlink": (120, 120),
        "account-hours": (170, 170),
        "included": (100, 100),
        "split": (170, 170),
        "amount": ("140", "140"),
        "ledger": ("140", "140"),
        "events": (4, 4),
        "usage": (170, 170),
    }
    assert document["sources"] == [
        {
            "source_id": "jp-1", "hours": 12, "complete": 12, "lost": 0, "open": 0,
            "missing_minutes": 11 * 60 + 55, "snapshots": 5, "samples": 5, "used": 5,
            "duplicates": 0, "baselines": 0, "quarantined": 0,
        }
    ]  # fmt: skip
    assert document["usage"] == {
        "facts": 4, "series": 1, "account_hours": 1, "uplink_bytes": 50, "downlink_bytes": 120,
        "total_bytes": 170, "included_bytes": 100, "rated_bytes": 70, "unrated_bytes": 0,
        "amount": "140",
    }  # fmt: skip
    assert document["prices"] == [
        {"price_version": "initial", "included_bytes": 100, "rated_bytes": 70, "amount": "140"}
    ]
    assert document["ledger"] == [
        {
            "entry_type": "traffic_charge", "posted": "in its own period", "entries": 1,
            "rated_bytes": 70, "amount": "140",
        }
    ]  # fmt: skip
    assert document["pending"] == []
    delivery = links(document, "delivery")
    assert delivery["delivered events"] == (4, 4)
    assert delivery["delivered objects"] == (13, 13)  # one batch, a manifest for every hour
    assert delivery["delivered bytes"][0] > 0
    assert {check["check_name"]: check["clean"] for check in document["checks"]} == dict.fromkeys(
        [c["check_name"] for c in document["checks"]], 12
    )
    assert document["notable"] == [
        {"what": "reset", "kind": "node_restart", "cases": 1, "bytes": 20},
        {"what": "gap", "kind": "exporter_down", "cases": 1, "bytes": 10},
    ]
    assert len(document["by_hour"]) == 24


def test_people_get_tables_of_at_most_100_columns(settled: Settled) -> None:
    answer = settled.statement()

    assert answer.code == 0, answer.err
    for words in ("balanced, final", "digest of all inputs", "jp-1", "initial", "net of ledger"):
        assert words in answer.out
    assert max(map(len, answer.out.splitlines())) <= 100


def test_an_empty_day_is_balanced_and_can_be_signed(line: Line) -> None:
    day = Settled(line)

    document = day.sign()

    assert (document["balanced"], document["final"]) == (True, True)
    assert document["sources"] == []
    assert {int(step["left_value"]) for step in document["chain"]} == {0}
    assert day.verify(code=0)["unchanged"] is True


def test_a_lost_source_is_final_and_says_what_is_missing(settled: Settled) -> None:
    """`us-1` was down until the next day; nothing of this one is served any more."""
    settled.line.serve([snapshot("2026-04-09T03:00:03Z", node="node-2")], source_id="us-1")
    settled.line.collected(HOUR_12)
    settled.settle()

    document = settled.document()

    (lost,) = (s for s in document["sources"] if s["source_id"] == "us-1")
    assert (lost["hours"], lost["lost"], lost["missing_minutes"]) == (12, 12, 12 * 60)
    assert document["incomplete"] == [
        {
            "source_id": "us-1", "state": "lost", "from": HOUR_12, "to": "2026-04-09T00",
            "hours": 12, "missing_minutes": 12 * 60,
        }
    ]  # fmt: skip
    assert (document["balanced"], document["final"]) == (True, True), document["open"]


def test_a_month_is_the_billing_period_that_starts_in_it(settled: Settled) -> None:
    document = settled.document("--month", "2026-04")

    assert (document["from"], document["to"]) == ("2026-04-01T00", "2026-05-01T00")
    assert links(document)["ledger"] == ("140", "140")
    assert document["final"] is False  # later hours were not collected


def test_a_month_follows_the_anchor_day(line: Line) -> None:
    line.settings["billing_period_anchor_day"] = 9
    day = Settled(line)
    day.serve()
    line.collected(HOUR_12)
    line.rate()
    environment = line.environment(BILLING_PERIOD_ANCHOR_DAY="9")

    march = command(environment, "statement", "--month", "2026-03", "--json")
    april = command(environment, "statement", "--month", "2026-04", "--json")

    assert march.document["to"] == april.document["from"] == "2026-04-09T00"
    assert april.document["to"] == "2026-05-09T00"
    assert links(march.document)["ledger"] == ("140", "140")
    assert links(april.document)["ledger"] == ("0", "0")


def test_what_was_posted_later_for_a_closed_period_is_told_apart(settled: Settled) -> None:
    assert command(settled.line.environment(), "close", "--period", "2026-04").code == 0
    settled.serve(LATE)
    settled.settle()

    assert [(e["posted"], e["entry_type"], e["amount"]) for e in settled.document()["ledger"]] == [
        ("in a later period", "adjustment", "60"),
        ("in its own period", "traffic_charge", "140"),
    ]


def test_what_is_not_rated_and_not_sealed_is_pending_and_no_imbalance(line: Line) -> None:
    day = Settled(line)
    day.serve()
    line.collected(HOUR_12)
    line.execute("update billing_core.account_hours set stale = true")

    document = day.document()

    assert document["balanced"] is True
    assert document["final"] is False
    assert document["usage"]["unrated_bytes"] == 170
    assert document["pending"] == [
        {
            "reason": "BILLING_S3_ENABLED is off", "hours": 1, "objects": 0, "events": 4,
            "net_usage": 170,
        }
    ]  # fmt: skip
    assert "1 account-hours are not rated" in document["open"]


def test_bytes_beyond_64_bits_are_exact(line: Line) -> None:
    """Two series whose facts are the largest there can be."""
    line.execute(
        "select billing_core.ensure_day_partition(20551);"
        "insert into billing_core.sources (source_id, kind, enabled, interval_seconds)"
        " values ('jp-1', 'counter_exporter', false, 60);"
        "insert into billing_core.nodes (source_key, env, node_id, shared)"
        " values (1, 'e', 'n', false);"
        "insert into billing_core.accounts (account_uuid)"
        " values ('3f2b0a1c-0000-4000-8000-00000000000a');"
        "insert into billing_core.series (node_key, account_key, inbound_tag, meter_id)"
        " values (1, 1, 'a', 1), (1, 1, 'b', 1);"
        "insert into billing_core.facts (uplink_quantity, downlink_quantity, series_id, minute)"
        " select 9223372036854775807, 0, s, 20551 * 1440 from generate_series(1, 2) s"
    )

    document = Settled(line).document(code=1)

    assert document["usage"]["total_bytes"] == 2 * (2**63 - 1)
    (uplink,) = (d for d in document["differences"] if d["link"] == "uplink")
    assert uplink["hour"] == "2026-04-08T00"
    assert (uplink["difference"], uplink["differing"]) == (2 * (2**63 - 1), 2)


# --- signing -----------------------------------------------------------------------------------


def test_a_signed_statement_stands_and_is_not_signed_twice(settled: Settled) -> None:
    first = settled.sign()
    again = settled.sign()

    assert (first["signed_now"], again["signed_now"]) == (True, False)
    assert first["statement_id"] == again["statement_id"]
    ((label, root, balanced, final, despite, command_),) = settled.line.rows(
        "select label, root, is_balanced, is_final, despite, command"
        " from billing.statements join billing_core.runs using (run_id)"
    )
    assert (label, root, balanced, final, despite) == (DAY, first["root"], True, True, None)
    assert command_ == "statement sign"
    verdict = settled.verify(code=0)
    assert (verdict["unchanged"], verdict["changes"]) == (True, [])


@pytest.mark.parametrize(
    "statement",
    [
        "update billing_core.statements set root = 'x'",
        "delete from billing_core.statements",
        "truncate billing_core.statements",
    ],
)
def test_the_database_refuses_to_change_a_signed_statement(
    settled: Settled, statement: str
) -> None:
    settled.sign()

    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        settled.line.execute(statement)


def test_what_is_not_final_is_signed_only_despite_that(line: Line) -> None:
    day = Settled(line)
    day.serve()
    line.collected(HOUR_12)
    line.rate()

    refused = day.statement("--sign")
    assert refused.code == 1
    assert "4 events, 0 sealed objects pending: BILLING_S3_ENABLED is off" in refused.err
    assert "11 source-hours are open: jp-1 2026-04-08T13 missing" in refused.err
    assert "--despite" in refused.err
    assert refused.err.count("\n") == 1

    signed = day.sign("--despite", "nothing is delivered here")
    assert signed["despite"] == "nothing is delivered here"
    assert (signed["balanced"], signed["final"]) == (True, False)


def test_what_is_delivered_after_signing_is_no_change(settled: Settled) -> None:
    settled.line.execute("update billing_core.batches set delivered_at = null where ordinal = 1")
    settled.sign("--despite", "the store is away")
    settled.settle()

    assert settled.verify(code=0)["unchanged"] is True
    final = settled.sign()
    assert (final["final"], final["supersedes"], final["changes"]) == (True, 1, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--verify",), "expected a signed one to verify, got none"),
        (("--despite", "x"), "--sign"),
        (("--root", "00"), "--verify"),
        (("--sign", "--despite", " "), "expected a reason"),
        (("--day", "2026-04-31"), "expected a day such as 2026-04-08"),
        (("--month", "April"), "expected a month such as 2026-04"),
    ],
)
def test_bad_usage_is_one_line(line: Line, arguments: tuple[str, ...], message: str) -> None:
    answer = Settled(line).statement(*arguments)

    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1


# --- later changes -----------------------------------------------------------------------------


def test_a_legal_late_change_is_explained_and_superseded(settled: Settled) -> None:
    former = settled.sign()
    settled.serve(LATE)
    settled.settle()

    verdict = settled.verify(code=0)
    assert (verdict["unchanged"], verdict["explained"]) == (False, True)
    (change,) = verdict["changes"]
    assert change["hour"] == HOUR_12
    tables = {table["table"]: table["rows"] - table["signed_rows"] for table in change["tables"]}
    assert tables.items() >= {"facts": 1, "ledger_entries": 1, "batches": 2}.items()
    numbers = {number["number"]: number["difference"] for number in change["numbers"]}
    assert (numbers["fact_uplink"], numbers["fact_downlink"]) == (10, 20)
    assert (numbers["ledger_rated"], numbers["ledger_amount"]) == (30, "60")
    assert numbers["event_quantity"] == 30
    records = "\n".join(change["records"])
    assert "collected jp-1, hour 2026-04-08T12" in records
    assert "1 ledger entries, 30 bytes rated, 60" in records
    assert "sealing 2, 1 events, net usage 30" in records

    later = settled.sign()
    assert (later["supersedes"], later["root"] != former["root"]) == (former["statement_id"], True)
    assert [change["hour"] for change in later["changes"]] == [HOUR_12]
    assert settled.verify(code=0)["unchanged"] is True
    assert settled.line.rows(
        "select statement_id, supersedes, superseded_by from billing.statements order by 1"
    ) == [(1, None, 2), (2, 1, None)]


def test_a_price_published_into_the_past_is_explained(settled: Settled) -> None:
    settled.sign()
    since = {"price_version": "later", "from": "2026-04-08T12:05:00Z", "price_per_byte": "3"}
    settled.line.publish(versions=[since | {"included_quota_bytes": 100}])
    settled.settle()

    verdict = settled.verify(code=0)

    (change,) = verdict["changes"]
    assert {"facts", "rates", "ledger_entries"} <= {t["table"] for t in change["tables"]}
    assert "prices later, hour 2026-04-08T12" in "\n".join(change["records"])
    (prices,) = ([p["amount"] for p in settled.document()["prices"]],)
    assert prices == ["120", "30"]


def test_money_is_exact_in_a_signed_statement(settled: Settled) -> None:
    settled.line.publish(
        versions=[
            {
                "price_version": "fine",
                "price_per_byte": "0.000000000000000000000000000000000001",
                "included_quota_bytes": 100,
                "from": "2026-04-08T00:00:00Z",
            }
        ]
    )
    settled.settle()
    settled.sign()

    ((amount,),) = settled.line.rows("select document #>> '{usage,amount}' from billing.statements")
    assert Decimal(amount) == 70 * Decimal("0.000000000000000000000000000000000001")
    assert settled.verify(code=0)["unchanged"] is True


def test_parquet_beside_the_lines_says_the_same_events_once(settled: Settled) -> None:
    settled.line.settings["s3_formats"] = frozenset({"jsonl", "parquet"})
    settled.serve(LATE)
    settled.settle()

    document = settled.document()

    kinds = settled.line.rows(
        "select kind, sum(events)::int from billing_core.batches where sealing = 2 group by 1"
    )
    assert ("parquet", 1) in kinds
    assert (document["balanced"], document["final"]) == (True, True), document["open"]
    assert links(document)["usage"] == (200, 200)
    assert links(document, "delivery")["delivered events"] == (5, 5)
