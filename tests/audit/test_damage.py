"""What a superuser changes behind the triggers shows in --verify, with hour and table."""

import pytest

from audit.settled import LATE, Settled

HOUR_12 = "2026-04-08T12"
FACT = "minute = (select min(minute) from billing_core.facts)"

DAMAGES = {
    "a fact": (
        f"update billing_core.facts set uplink_quantity = uplink_quantity + 5 where {FACT}",
        {HOUR_12: ["facts"]},
        "before resets, up 50, uplink bytes of facts 55, difference +5, 1 series differ",
    ),
    "bytes from one fact to another": (
        "update billing_core.facts set uplink_quantity = uplink_quantity"
        f" + case when {FACT} then 1 else -1 end where minute in"
        " (select minute from billing_core.facts order by minute limit 2)",
        {HOUR_12: ["facts"]},
        "nothing recorded since signing explains it",
    ),
    "a fact that is gone": (
        f"delete from billing_core.facts where {FACT}",
        {HOUR_12: ["facts"]},
        "events: revisions of sealed facts 3, events sealed 4, difference +1",
    ),
    "a closing": (
        "update billing_core.closings set last_uplink = last_uplink - 1 where not provisional",
        {HOUR_12: ["closings"]},
        "before resets, up 49, uplink bytes of facts 50, difference +1, 1 series differ",
    ),
    "a series given to another account": (
        "insert into billing_core.accounts (account_uuid)"
        " values ('3f2b0a1c-0000-4000-8000-00000000000b');"
        "update billing_core.series set account_key = (select max(account_key)"
        " from billing_core.accounts)",
        {HOUR_12: ["closings"]},
        "account-hours: bytes of facts 170, bytes of account-hours 170, difference 0, 2 accounts",
    ),
    "a snapshot": (
        "update billing_core.node_instants set samples = samples + 1 where instant_ns ="
        " (select max(instant_ns) from billing_core.node_instants where not provisional)",
        {HOUR_12: ["node_instants"]},
        "samples: samples fetched 5, samples of the stored snapshots 6, difference +1",
    ),
    "a reset": (
        "delete from billing_core.counter_resets",
        {HOUR_12: ["counter_resets"]},
        "difference +540, 1 series differ",
    ),
    "a gap": (
        "delete from billing_core.usage_gaps",
        {HOUR_12: ["usage_gaps"]},
        "nothing recorded since signing explains it",
    ),
    "a ledger entry": (
        "update billing_core.ledger_entries set amount = 100",
        {HOUR_12: ["ledger_entries"]},
        "ledger_entries: the 1 signed rows are not as they were signed",
    ),
    "a ledger entry that is gone": (
        "delete from billing_core.ledger_entries",
        {HOUR_12: ["ledger_entries"]},
        "net of ledger entries 0, difference -140, 1 accounts differ",
    ),
    "the reason of a ledger entry": (
        "update billing_core.ledger_entries set reason = 'because'",
        {HOUR_12: ["ledger_entries"]},
        "ledger_entries: the 1 signed rows are not as they were signed",
    ),
    "a sealed batch": (
        "update billing_core.batches set sha256 = '\\x00' where kind = 'events'",
        {HOUR_12: ["batches"]},
        "batches: the 2 signed rows are not as they were signed",
    ),
    "the envelope of a sealed batch": (
        "update billing_core.batches set envelope = 'usage_event' where kind = 'events'",
        {HOUR_12: ["batches"]},
        "batches: the 2 signed rows are not as they were signed",
    ),
    "a sealed batch that is gone": (
        "delete from billing_core.batches where kind = 'events'",
        {HOUR_12: ["batches"]},
        "usage: bytes of facts 170, net usage of events + not sealed yet 0, difference -170",
    ),
    "a manifest of another hour": (
        "delete from billing_core.batches where hour ="
        " (select max(hour) from billing_core.batches)",
        {"2026-04-08T23": ["batches"]},
        "batches: the 1 signed rows are not as they were signed",
    ),
    "an account-hour": (
        "update billing_core.account_hours set amount = 141",
        {HOUR_12: ["account_hours"]},
        "amount: amount of rated facts 140, amount of account-hours 141, difference +1",
    ),
    "a price in place": (
        "update billing_core.rates set price_per_unit = 1",
        {HOUR_12: ["rates"]},
        "amount: amount of rated facts 70, amount of account-hours 140, difference +70",
    ),
    "a price version that changed no amount": (
        "update billing_core.price_versions set included_quota = 1000",
        {HOUR_12: ["rates"]},
        "rates: a rate or price version is not as it was signed",
    ),
    "a source-hour": (
        "update billing_core.source_hours set missing_minutes = 0 where hour = (select max(hour)"
        " from billing_core.source_hours)",
        {"2026-04-08T23": ["source_hours"]},
        "nothing recorded since signing explains it",
    ),
}


@pytest.mark.parametrize(("statement", "tables", "problem"), DAMAGES.values(), ids=DAMAGES)
def test_damage_shows_with_hour_and_table(
    settled: Settled, statement: str, tables: dict[str, list[str]], problem: str
) -> None:
    settled.sign()
    settled.damage(statement)

    verdict = settled.verify(code=1)

    assert (verdict["unchanged"], verdict["explained"]) == (False, False)
    assert settled.changed(verdict) == tables
    (change,) = verdict["changes"]
    assert any(problem in each for each in change["problems"]), change["problems"]
    refused = settled.statement("--sign")
    assert refused.code == 1
    assert "not signed" in refused.err


def test_damage_beside_a_legal_change_is_not_hidden_by_it(settled: Settled) -> None:
    settled.sign()
    settled.serve(LATE)
    settled.settle()
    settled.damage("update billing_core.ledger_entries set amount = 139 where amount = 140")

    verdict = settled.verify(code=1)

    (change,) = verdict["changes"]
    assert "ledger_entries: the 1 signed rows are not as they were signed" in change["problems"]
    assert settled.statement("--sign", "--despite", "looked into").code == 0


def test_a_change_in_the_signed_statement_itself_shows(settled: Settled) -> None:
    signed = settled.sign()
    settled.damage(
        "update billing_core.statements set document ="
        " jsonb_set(document, '{by_hour,2026-04-08T12,numbers,ledger_amount}', '\"13\"')"
    )
    verdict = settled.verify(code=1)
    assert verdict["altered"] == [
        "2026-04-08T12: the statement says ledger_amount 13, its inputs 140"
    ]

    settled.damage("update billing_core.statements set root = sha256('other')")
    (altered, *_) = settled.verify(code=1)["altered"]
    assert altered.startswith("statement 1: root ")
    assert signed["root"] in altered


def test_a_statement_signed_anew_over_damage_has_another_root(settled: Settled) -> None:
    """Who can do everything to the database can sign again; the root handed over shows it."""
    handed_over = settled.sign()["root"]
    settled.damage("update billing_core.ledger_entries set reason = 'because'")
    settled.sign("--despite", "nobody will notice")

    assert settled.verify(code=0)["unchanged"] is True
    answer = settled.statement("--verify", "--root", handed_over)
    assert answer.code == 1
    assert f"ALTERED root: handed over {handed_over}" in answer.out
