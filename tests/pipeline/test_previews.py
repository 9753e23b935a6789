"""Credits and closing say what they would do before they do it, and then do exactly that."""

from decimal import Decimal
from typing import Any

import pytest

from pipeline.harness import (
    A,
    Answer,
    B,
    Line,
    balances,
    command,
    net,
    row_versions,
    sample,
    snapshot,
    worked_example,
)

NEXT = {"collected_at": "2026-04-08T13:00:03Z", "node_id": "node-1", "env": "prod", "samples": []}
CREDIT = ("credit", "--account", A, "--amount", "150", "--reason", "goodwill")
CLOSE = ("close", "--period", "2026-04")


@pytest.fixture
def billed(line: Line) -> Line:
    """Account A owes 140."""
    line.serve([*worked_example(), NEXT])
    line.collected("11", "12")
    line.rate()
    return line


def run(line: Line, *arguments: str) -> Answer:
    return command(line.environment(), *arguments)


def previewed(line: Line, *arguments: str) -> Any:
    """The document of a preview, which wrote nothing: no row is another, none is more."""
    before = row_versions(line)
    answer = run(line, *arguments, "--preview", "--json")
    assert answer.code == 0, answer.err
    assert row_versions(line) == before
    return answer.document


@pytest.mark.parametrize(
    ("amount", "after", "arrears_after"),
    [("150", "10", "0"), ("0.5", "-139.5", "139.5"), ("140", "0", "0")],
)
def test_a_credit_does_what_its_preview_said(
    billed: Line, amount: str, after: str, arrears_after: str
) -> None:
    arguments = ("credit", "--account", A, "--amount", amount, "--reason", "goodwill")
    preview = previewed(billed, *arguments)
    done = run(billed, *arguments, "--json").document

    assert preview == done | {"entry_id": None}
    assert done["entry_id"] is not None
    shown = {name: Decimal(done[name]) for name in done if name.startswith(("bal", "arr"))}
    assert shown == {
        "balance_before": Decimal(-140),
        "balance_after": Decimal(after),
        "arrears_before": Decimal(140),
        "arrears_after": Decimal(arrears_after),
    }
    assert balances(billed)[A] == Decimal(after)
    assert billed.rows("select arrears from billing_core.account_balances") == [
        (Decimal(arrears_after),)
    ]


def test_a_mistyped_account_shows_as_new_before_it_is_credited(billed: Line) -> None:
    arguments = ("credit", "--account", B, "--amount", "1", "--reason", "goodwill")
    preview = previewed(billed, *arguments)
    assert (preview["account"], preview["balance_before"]) == ("new", "0")
    assert B not in balances(billed)
    assert run(billed, *arguments, "--json").document["account"] == "new"
    assert previewed(billed, *arguments)["account"] == "known"


def test_closing_does_what_its_preview_said(billed: Line) -> None:
    # A credit posts in the period that runs now: none of it belongs to the one that is closed.
    assert run(billed, *CREDIT).code == 0
    preview = previewed(billed, *CLOSE)
    sums = preview.pop("account_sums")
    assert preview.pop("preview") is True
    before = balances(billed)
    done = run(billed, *CLOSE, "--json").document

    assert preview == done
    assert balances(billed) == before
    assert done == {
        "period": "2026-04",
        "period_start": "2026-04-01T00:00:00+00:00",
        "period_end": "2026-05-01T00:00:00+00:00",
        "later_differences_post_in": "2026-05-01T00:00:00+00:00",
        "accounts": 1,
        "accounts_in_arrears": 0,
        "rated_bytes": 70,
        "charges": "140",
        "credits": "0",
        "arrears": "0",
    }
    assert sums == [
        {
            "account_uuid": A, "rated_bytes": 70, "charges": "140", "credits": "0",
            "balance_before": "10", "balance_after": "10",
            "arrears_before": "0", "arrears_after": "0",
        }
    ]  # fmt: skip


def test_where_a_difference_would_post_follows_what_is_closed(billed: Line) -> None:
    assert run(billed, "close", "--period", "2026-05").code == 0
    assert previewed(billed, *CLOSE)["later_differences_post_in"].startswith("2026-06-01")


@pytest.mark.parametrize(
    "arguments",
    [
        ("credit", "--account", "bob", "--amount", "1", "--reason", "r"),
        ("credit", "--account", A, "--amount", "0", "--reason", "r"),
        ("credit", "--account", A, "--amount", "1", "--reason", " "),
        ("close", "--period", "April"),
        ("close", "--period", "2199-01"),
    ],
)
def test_a_preview_refuses_what_would_be_refused(billed: Line, arguments: tuple[str, ...]) -> None:
    before = row_versions(billed)
    preview = run(billed, *arguments, "--preview")
    assert row_versions(billed) == before
    assert (preview.code, preview.err) == (2, run(billed, *arguments).err)


def test_a_period_with_usage_that_is_not_rated_is_refused_in_the_preview(billed: Line) -> None:
    billed.execute("update billing_core.account_hours set stale = true")
    preview = run(billed, *CLOSE, "--preview")
    assert preview.code == 2
    assert "run `billing-etl rate` for it first" in preview.err


def test_people_see_tables(billed: Line) -> None:
    credit = run(billed, *CREDIT, "--preview").out
    for word in ("Would credit, nothing is kept", "balance before", A, "-140"):
        assert word in credit
    closing = run(billed, *CLOSE, "--preview").out
    for word in ("Would close, nothing is kept", "charges", "140", A):
        assert word in closing
    price = {"price_version": "p", "price_per_byte": "3", "from": "2026-04-08T12:00:00Z"}
    shown = run(billed, "price", "preview", str(billed.price_file(versions=[price]))).out
    assert all(word in shown for word in ("accounts: 1, their arrears from 140 to 210", A, "-140"))


@pytest.mark.parametrize(
    "named", [A, f"moved from {B}", f"of {B.upper()}", f"of {B.replace('-', '')}"]
)
def test_a_reason_in_the_ledger_names_no_account(billed: Line, named: str) -> None:
    """Neither this one nor another: what is appended there could not be erased."""
    for preview in ((), ("--preview",)):
        refused = run(
            billed, "credit", "--account", A, "--amount", "1", "--reason", named, *preview
        )
        assert refused.code == 2
        assert "expected a reason that names no account" in refused.err
    assert len(balances(billed)) == 1


def test_replaying_quarantine_does_what_its_preview_said(line: Line) -> None:
    """Two hours of one source have bad samples, the other source and the hour between none."""
    steps = [(f"{hour}:0{minute}:03", 100 * hour + 10 * minute) for hour in (10, 11, 12, 13)
             for minute in (0, 1, 2)]  # fmt: skip

    def served(*bad: str, account: str = A) -> list[Any]:
        return [
            snapshot(at, sample(account, -1 if at in bad else up, 0), node=f"node-of-{account}")
            for at, up in steps
        ]

    line.serve(served("10:01:03", "12:01:03", "12:02:03"))
    line.serve(served(account=B), source_id="us-1")
    line.collected("10", "11", "12")
    line.rate()
    replay = ("quarantine", "replay")

    # The exporter has put right what it served.
    line.serve(served())
    preview = previewed(line, *replay)
    before, owed = net(line), balances(line)
    assert run(line, *replay).code == 0
    line.rate()

    assert preview["source_hours"] == 2
    changed = {
        (change["account_uuid"], change["hour"][-2:]): Decimal(change["amount_difference"])
        for change in preview["changes"]
    }
    after = net(line)
    assert changed == {
        (account, hour[:2]): amount - before[account, hour][1]
        for (account, hour), (_, amount) in after.items()
        if amount != before[account, hour][1]
    }
    assert balances(line)[A] == owed[A] - Decimal(preview["amount_difference"])
    assert previewed(line, *replay)["source_hours"] == 0
    assert run(line, *replay, "--preview").out.startswith("Would change, per hour: nothing")
