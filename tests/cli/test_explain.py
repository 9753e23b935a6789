"""``billing-etl explain``: the bill of the worked example, by hand and to the last digit."""

from decimal import Decimal
from typing import Any

import pytest
from pipeline.harness import (
    DAY,
    LATE_SNAPSHOT,
    A,
    Answer,
    B,
    Line,
    command,
    readings,
    sample,
    snapshot,
    worked_example,
)

HOUR = ("--hour", f"{DAY}T12")
APRIL = ("--period", "2026-04")


def explain(line: Line, *arguments: str, account: str = A, columns: int = 100) -> Answer:
    environment = line.environment(COLUMNS=str(columns))
    return command(environment, "explain", "--account", account, *arguments)


def document(line: Line, *arguments: str, account: str = A, code: int = 0) -> Any:
    answer = explain(line, *arguments, "--json", account=account)
    assert answer.code == code, answer.err
    return answer.document


def failing(document: Any) -> list[str]:
    return [
        link["lower"]
        for link in document["links"]
        if link["difference"] != "0" or link["differing"]
    ]


@pytest.fixture
def billed(line: Line) -> Line:
    """The worked example, billed; then a late snapshot came, and a third hour."""
    more = readings(("13:00:03", 20, 40), ("14:01:03", 25, 45))
    line.serve(worked_example() + more)
    line.collected("12")
    line.rate()
    line.serve(worked_example(LATE_SNAPSHOT) + more)
    line.collected("12", "13", "14")
    line.rate()
    return line


def test_a_period_is_its_hours_and_its_postings(billed: Line) -> None:
    found = document(billed, *APRIL)
    assert found["month"] == {
        "bytes": 210, "quota": 100, "used": 100, "remaining": 0, "amount": "220"
    }  # fmt: skip
    assert [
        (row["hour"], row["bytes"], row["used_before"], row["included_bytes"], row["rated_bytes"],
         row["amount"], row["ledger_amount"])
        for row in found["hours"]
    ] == [
        (f"{DAY}T12", 170, 0, 100, 70, "140", "140"),
        (f"{DAY}T13", 30, 170, 0, 30, "60", "60"),
        (f"{DAY}T14", 10, 200, 0, 10, "20", "20"),
    ]  # fmt: skip
    assert [(row["entry_type"], row["amount"]) for row in found["postings"]] == [
        ("traffic_charge", "220")
    ]
    assert found["balance"] == {
        "opening_balance": "0", "credits": "0", "charges": "220", "balance": "-220"
    }  # fmt: skip
    assert found["holds"]
    assert failing(found) == []


def test_an_hour_is_its_minutes_and_these_what_the_counters_moved(billed: Line) -> None:
    found = document(billed, *HOUR)
    minutes = [
        (row["minute"][11:], row["uplink_bytes"], row["downlink_bytes"], row["used_before"],
         row["included_bytes"], row["rated_bytes"], row["amount"], row["spans_minutes"])
        for row in found["minutes"]
    ]  # fmt: skip
    assert minutes == [
        ("12:00Z", 10, 30, 0, 40, 0, "0", 1),
        ("12:02Z", 30, 70, 40, 60, 40, "80", 1),
        ("12:03Z", 7, 13, 140, 0, 20, "40", 1),
        ("12:04Z", 1, 2, 160, 0, 3, "6", 1),
        ("12:09Z", 2, 5, 163, 0, 7, "14", 5),
    ]
    (counter,) = found["counters"]
    assert (counter["began_as"], counter["counted_from"]) == ("delta", f"{DAY}T11:59:03Z")
    assert (counter["uplink_from"], counter["downlink_from"]) == (500, 1000)
    assert (counter["uplink_before_resets"], counter["downlink_before_resets"]) == (540, 1100)
    assert (counter["uplink_last"], counter["downlink_last"]) == (10, 20)
    assert (counter["uplink_bytes"], counter["downlink_bytes"]) == (50, 120)
    assert (found["samples"], found["errors"]) == (None, [])
    assert found["holds"]
    assert failing(found) == []


def test_the_readings_add_up_by_hand(billed: Line) -> None:
    found = document(billed, *HOUR, "--samples")
    (series,) = found["samples"]
    assert [
        (reading["read_at"][11:19], reading["uplink_total"], reading["downlink_total"],
         reading["uplink_bytes"], reading["downlink_bytes"], reading["how"])
        for reading in series["readings"]
    ] == [
        ("12:00:03", 510, 1030, 10, 30, "difference"),
        ("12:01:03", 510, 1030, 0, 0, "difference"),
        ("12:02:03", 540, 1100, 30, 70, "difference"),
        ("12:03:03", 7, 13, 7, 13, "reset"),
        ("12:04:03", 8, 15, 1, 2, "difference"),
        ("12:09:03", 10, 20, 2, 5, "difference"),
    ]  # fmt: skip
    assert found["links"][-1]["lower"] == "differences of their readings"
    assert found["holds"]
    assert failing(found) == []


def test_first_sights_say_what_they_are_counted_from(line: Line) -> None:
    line.serve(
        [
            snapshot("12:00:03", sample(A, 500, 1000)),
            snapshot("12:01:03", sample(A, 510, 1030), sample(B, 4, 5)),
            snapshot("12:02:03", sample(A, 510, 1030), sample(B, 4, 9)),
        ]
    )
    line.collected("12")
    line.rate()
    began = {}
    for account in (A, B):
        found = document(line, *HOUR, "--samples", account=account)
        (counter,), (series,) = found["counters"], found["samples"]
        began[account] = (
            counter["began_as"], counter["counted_from"],
            counter["uplink_bytes"] + counter["downlink_bytes"],
            [reading["how"] for reading in series["readings"]],
        )  # fmt: skip
    assert began == {
        A: ("baseline", f"{DAY}T12:00:03Z", 40, ["baseline", "difference", "difference"]),
        B: ("born", None, 13, ["first sight", "difference"]),
    }


def test_multipliers_quota_and_corrections_are_shown(billed: Line) -> None:
    dearer = {"price_version": "tcp", "price_per_byte": "2.0000000000000000001",
              "line_multipliers": {"tcp": "1.5"}}  # fmt: skip
    billed.publish(versions=[dearer | {"from": f"{DAY}T12:03:00Z"}])
    found = document(billed, *HOUR)
    assert [row["entry_type"] for row in found["entries"]] == ["traffic_charge", "adjustment"]
    rates = {
        (row["price_version"], row["unit_price"], row["line_multiplier"], row["price_of_a_byte"])
        for row in found["minutes"]
    }
    assert rates == {
        ("initial", "2", "1", "2"),
        ("tcp", "2.0000000000000000001", "1.5", "3.00000000000000000015"),
    }
    assert found["account_hour"]["amount"] == "170.0000000000000000045"
    assert sum(Decimal(row["amount"]) for row in found["minutes"]) == Decimal(
        "170.0000000000000000045"
    )
    assert found["holds"]
    assert failing(found) == []
    assert "170.0000000000000000045" in explain(billed, *HOUR).out


def test_tables_fit_a_terminal(billed: Line) -> None:
    for arguments in ([*APRIL], [*HOUR, "--samples"]):
        answer = explain(billed, *arguments)
        assert answer.code == 0, answer.err
        assert max(map(len, answer.out.splitlines())) <= 100
        assert answer.out.endswith("every number agrees\n")


def test_what_was_edited_shows(billed: Line) -> None:
    billed.execute(
        "update billing_core.facts set uplink_quantity = uplink_quantity + 5"
        " where minute = (select max(minute) from billing_core.facts where minute / 60 ="
        " (select min(minute) / 60 from billing_core.facts))"
    )
    found = document(billed, *HOUR, "--samples", code=1)
    assert failing(found) == [
        "amount of its minutes",
        "rated bytes of its minutes",
        "bytes of its minutes",
        "last reading - counted from + before resets",
        "differences of their readings",
    ]
    assert "NUMBERS DIFFER" in explain(billed, *HOUR).out


def test_what_an_exporter_forgot_is_said(billed: Line) -> None:
    billed.serve(worked_example(LATE_SNAPSHOT)[3:])
    answer = explain(billed, *HOUR, "--samples", "--json")
    assert answer.code == 1
    assert "source jp-1, hour 2026-04-08T12: expected the 6 snapshots" in answer.err
    assert "got 4 served now" in answer.err
    # The rest is shown, and agrees.
    assert answer.document["holds"]
    assert answer.document["samples"] == []


def test_an_erased_account_is_found_among_what_is_served(billed: Line) -> None:
    erasing = ("erase", "--account", A, "--reason", "asked", "--yes")
    assert command(billed.environment(), *erasing).code == 0
    ((called,),) = billed.rows("select account_uuid::text from billing_core.accounts")
    assert called != A
    found = document(billed, *HOUR, "--samples", account=called)
    assert len(found["samples"][0]["readings"]) == 6
    assert found["holds"]
    assert A not in str(found)


def test_hours_that_wait_are_not_rated(line: Line) -> None:
    line.serve(worked_example())
    line.collected("12")
    line.execute("update billing_core.account_hours set rated = false, stale = true")
    assert "not rated" in explain(line, *APRIL).out
    assert document(line, *HOUR)["holds"]


def test_a_question_that_has_no_answer(billed: Line) -> None:
    for arguments, said in (
        (["--hour", f"{DAY}T09"], "expected an hour in which account"),
        (["--period", "2026-02"], "expected a billing period with usage or postings"),
        (["--period", "april"], "expected a period such as 2026-04"),
        (["--samples"], "name it with --hour"),
    ):
        answer = explain(billed, *arguments)
        assert (answer.code, said in answer.err) == (2, True), answer.err
    assert "expected an account that was seen" in explain(billed, account=B).err
    assert "expected an account uuid" in explain(billed, account="alma").err
