"""Accounts are suspended when their arrears outlast the grace, and free when they have paid."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from pipeline.harness import DAY, A, B, Line, command, row_versions, sample, snapshot

from billing_etl.pipeline.accounts import add_credit
from billing_etl.pipeline.arrears import sweep
from billing_etl.pipeline.maintain import StepResult, run_step

GRACE = timedelta(days=14)
SINCE = datetime(2026, 4, 8, 12, tzinfo=UTC)  # the hour that took A below zero
DUE = SINCE + GRACE


@pytest.fixture
def owing(line: Line) -> Line:
    """A owes 140; B has used its quota and owes nothing."""
    line.settings["arrears_grace"] = GRACE
    line.serve(
        [
            snapshot("12:00:03", sample(A, 0, 0), sample(B, 0, 0)),
            snapshot("12:01:03", sample(A, 70, 100), sample(B, 50, 50)),
        ]
    )
    line.collected("12")
    line.rate()
    return line


def arrears(line: Line, now: datetime, *, dry_run: bool = False) -> StepResult:
    return run_step(line.engine, "arrears", now=now, dry_run=dry_run)


def states(line: Line) -> dict[str, tuple[Any, ...]]:
    return {
        str(account): tuple(rest)
        for account, *rest in line.rows(
            "select account_uuid, suspend_state, throttle_state, arrears"
            " from account_read_model.account_quota_states"
        )
    }


def history(line: Line) -> list[tuple[Any, ...]]:
    return line.rows(
        "select account_uuid::text, state, effective_at, ended_at, arrears_since, balance"
        " from billing.suspensions order by suspension_id"
    )


def test_not_before_the_grace_is_over(owing: Line) -> None:
    before = row_versions(owing, "runs")

    assert arrears(owing, DUE - timedelta(seconds=1)).counts == {"suspended": 0}

    assert row_versions(owing, "runs") == before
    assert states(owing) == {
        A: ("active", "throttled", True),
        B: ("active", "normal", False),
    }


def test_when_the_grace_is_over_and_dated_by_it(owing: Line) -> None:
    late = DUE + timedelta(days=3)

    assert arrears(owing, late).counts == {"suspended": 1}

    assert states(owing)[A] == ("suspended", "throttled", True)
    assert states(owing)[B] == ("active", "normal", False)
    assert history(owing) == [(A, "suspended", DUE, None, SINCE, Decimal(-140))]
    ((reason, counts),) = owing.rows(
        "select s.reason, r.counts from billing.suspensions s"
        " join billing_core.runs r using (run_id) where r.command = 'maintain arrears'"
    )
    assert "14 days" in reason
    assert counts == {"suspended": 1}


def test_a_second_sweep_changes_nothing(owing: Line) -> None:
    arrears(owing, DUE)
    before = row_versions(owing, "runs")

    for now in (DUE, DUE + timedelta(days=100), DUE - timedelta(days=1)):
        assert arrears(owing, now).counts == {"suspended": 0}

    assert row_versions(owing, "runs") == before


def test_a_credit_that_pays_all_frees_at_once_and_less_does_not(owing: Line) -> None:
    arrears(owing, DUE)

    add_credit(owing.engine, A, Decimal("139.999"), "paid nearly all")
    assert states(owing)[A][0] == "suspended"

    began = datetime.now(UTC)
    add_credit(owing.engine, A, Decimal("0.001"), "paid the rest")
    assert states(owing)[A] == ("active", "normal", False)
    (_, suspended), (account, state, since, ended, arrears_since, balance) = (
        (row[0], row[1]) if index == 0 else row for index, row in enumerate(history(owing))
    )
    assert (suspended, account, state) == ("suspended", A, "active")
    assert began <= since <= datetime.now(UTC)
    assert (ended, arrears_since, balance) == (None, None, Decimal(0))
    assert history(owing)[0][3] == since


def test_a_corrected_bill_frees_too(owing: Line) -> None:
    arrears(owing, DUE)

    owing.publish(
        versions=[
            {"price_version": "free", "price_per_byte": "0", "from": f"{DAY}T00:00:00Z",
             "included_quota_bytes": 100}
        ]
    )  # fmt: skip

    assert states(owing)[A] == ("active", "normal", False)
    assert [row[1] for row in history(owing)] == ["suspended", "active"]


def test_arrears_after_that_have_a_grace_of_their_own(owing: Line) -> None:
    arrears(owing, DUE)
    add_credit(owing.engine, A, Decimal(150), "paid")
    owing.serve(
        [
            snapshot("12:00:03", sample(A, 0, 0), sample(B, 0, 0)),
            snapshot("12:01:03", sample(A, 70, 100), sample(B, 50, 50)),
            snapshot("18:01:03", sample(A, 170, 200), sample(B, 50, 50)),
        ]
    )
    owing.collected("18")
    owing.rate()
    again = SINCE + timedelta(hours=6)

    assert arrears(owing, again + GRACE - timedelta(seconds=1)).counts == {"suspended": 0}
    assert arrears(owing, again + GRACE).counts == {"suspended": 1}
    assert [(row[1], row[2]) for row in history(owing)][0::2] == [
        ("suspended", DUE),
        ("suspended", again + GRACE),
    ]


def test_without_a_grace_nobody_is_suspended_and_nobody_is_released(owing: Line) -> None:
    owing.settings["arrears_grace"] = None
    assert arrears(owing, DUE + timedelta(days=999)).counts == {"suspended": 0}

    owing.settings["arrears_grace"] = GRACE
    arrears(owing, DUE)
    owing.settings["arrears_grace"] = None
    arrears(owing, DUE)
    assert states(owing)[A][0] == "suspended"


def test_an_account_that_began_below_zero_is_in_arrears_since_then(owing: Line) -> None:
    owing.settings["initial_balance"] = Decimal(-5)
    other = "3f2b0a1c-0000-4000-8000-0000000000ff"
    add_credit(owing.engine, other, Decimal(1), "paid a part")
    ((made,),) = owing.rows(
        "select created_at from billing_core.accounts where account_uuid = %s", other
    )

    arrears(owing, made + GRACE - timedelta(seconds=1))
    assert states(owing)[other][0] == "active"
    arrears(owing, made + GRACE)
    assert states(owing)[other][0] == "suspended"


def test_a_dry_run_tells_and_writes_nothing(owing: Line) -> None:
    before = row_versions(owing)

    result = arrears(owing, DUE, dry_run=True)

    assert result.counts == {"suspended": 1}
    assert result.details == [{"account_uuid": A, "balance": "-140", "arrears_since": SINCE}]
    assert row_versions(owing) == before


def test_a_transaction_is_bounded(owing: Line) -> None:
    owing.execute(
        "insert into billing_core.accounts (account_uuid)"
        " select gen_random_uuid() from generate_series(1, 6);"
        "insert into billing_core.account_balances"
        " (account_key, balance, arrears_since, throttle_state, suspend_state)"
        " select account_key, -1, %s, 'throttled', 'active'"
        " from billing_core.accounts where account_key > 2".replace("%s", f"'{SINCE}'")
    )

    count, shown = sweep(owing.engine, DUE, 1, most=3)

    assert (count, len(shown)) == (7, 7)
    assert owing.rows("select count(distinct xmin::text) from billing_core.suspensions") == [(3,)]


def test_the_history_cannot_be_changed(owing: Line) -> None:
    arrears(owing, DUE)
    for statement in (
        "update billing_core.suspensions set state = 'active'",
        "delete from billing_core.suspensions",
        "truncate billing_core.suspensions",
    ):
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            owing.execute(statement)


def test_the_command_shows_who_would_be_suspended(owing: Line) -> None:
    environment = owing.environment(BILLING_ARREARS_GRACE="14d")

    dry = command(environment, "maintain", "--step", "arrears", "--dry-run", "--json")
    assert dry.code == 0, dry.err
    (step,) = dry.document["steps"]
    assert dry.document["dry_run"] is True
    assert [(each["account_uuid"], each["balance"]) for each in step["details"]] == [(A, "-140")]
    assert states(owing)[A][0] == "active"

    shown = command(environment, "maintain", "--step", "arrears")
    assert shown.code == 0
    assert A[-12:] in shown.out.replace("\n", "")
    assert states(owing)[A][0] == "suspended"
