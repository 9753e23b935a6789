"""Kills of the real process at chosen moments; what recovers is what the oracle computes."""

import json
import random
from decimal import Decimal
from pathlib import Path

import pytest
from pipeline.harness import command

from billing_etl.hours import parse_hour
from proof.crash_fixtures import SEED
from proof.crash_site import (
    CLOSED,
    COLLECTED,
    POSTED,
    SEALED,
    CrashSite,
    Moment,
    Services,
    Wanted,
    the_nth,
)
from proof.crashes import Tally, ended_periods, run_world, without_late


def then(earlier: str, kind: str, containing: str = "") -> Wanted:
    """The first moment of that kind after one whose text contains the earlier one."""
    reached: list[Moment] = []
    wanted = the_nth(1, kind, containing)

    def follows(moment: Moment) -> bool:
        if reached:
            return wanted(moment)
        if earlier in moment.text:
            reached.append(moment)
        return False

    return follows


MOMENTS = {
    "in a message of the COPY of closings": the_nth(1, "copy", "billing_core.closings"),
    "in a message of the COPY of facts": the_nth(2, "copy", "billing_core.facts"),
    "between facts and coverage": the_nth(1, "transaction", COLLECTED),
    "before the COMMIT of a collection": then(COLLECTED, "transaction", "COMMIT"),
    "the COMMIT of a collection unanswered": the_nth(1, "commit_sent", COLLECTED),
    "between rated facts and ledger": the_nth(1, "transaction", POSTED),
    "the COMMIT of the ledger unanswered": the_nth(1, "commit_sent", POSTED),
    "between a sealed batch and its manifest": the_nth(2, "transaction", SEALED),
    "between seal and PUT, sealing unanswered": the_nth(1, "commit_sent", SEALED),
    "between seal and PUT, at the PUT": the_nth(1, "before_put"),
    "in the body of a PUT": the_nth(2, "inside_put"),
    "between PUT and its record, PUT unanswered": the_nth(1, "put_unrecorded"),
    "between PUT and its record, record not committed": then(".jsonl", "transaction", "COMMIT"),
}


@pytest.mark.parametrize("wanted", MOMENTS.values(), ids=MOMENTS.keys())
def test_killed(wanted: Wanted, site: CrashSite) -> None:
    trap = site.killed(wanted)
    assert trap.sprung is not None

    site.recover()

    site.assert_equal_to_the_oracle()


def test_killed_while_sealed_facts_are_corrected(site: CrashSite) -> None:
    """Snapshots turn up late: facts that were delivered change, and money with them."""
    snapshots = site.world.snapshots
    site.serve(without_late(site.world, random.Random(SEED)))
    site.recover()
    site.consumer.read()
    site.serve(snapshots)
    for wanted in (
        the_nth(1, "copy", "billing_core.sealed_facts"),
        the_nth(1, "transaction", "update billing_core.facts"),
        the_nth(1, "commit_sent", POSTED),
        the_nth(1, "put_unrecorded"),
    ):
        assert site.killed(wanted).sprung is not None

    site.recover()

    site.assert_equal_to_the_oracle()
    site.assert_again_changes_nothing()


def test_killed_while_a_price_is_published(site: CrashSite) -> None:
    """Into the past, so that hours are rated again. The second process had committed."""
    site.recover()
    hour = parse_hour(site.hours[1])
    price_file = site.directory / "price.json"
    version = {"price_version": "later", "from": f"{hour.start:%Y-%m-%dT%H:30:00Z}"}
    price_file.write_text(json.dumps({"versions": [version | {"price_per_byte": "3"}]}))
    publish = ("price", "publish", str(price_file))
    assert site.killed(the_nth(1, "transaction", POSTED), *publish).sprung is not None
    assert site.killed(the_nth(1, "commit_sent", POSTED), *publish).sprung is not None
    site.world.book["versions"].append(
        {"scope": "default", "key": None, "from_minute": hour.first_minute + 30}
        | {"price_per_byte": "3", "included_quota_bytes": None}
    )

    site.recover()

    site.assert_equal_to_the_oracle()


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        pytest.param(the_nth(1, "transaction", "COMMIT"), 0, id="before its COMMIT"),
        pytest.param(the_nth(1, "commit_sent", POSTED), 1, id="after its COMMIT"),
    ],
)
def test_a_credit_that_was_killed_is_in_the_ledger_or_not(
    wanted: Wanted, given: int, site: CrashSite
) -> None:
    """Nobody answered who gave it; the ledger tells whether to give it again."""
    account, reason = "3f2b0a1c-0000-4000-8000-00000000000a", "invoice 4711"
    credit = ("credit", "--account", account, "--amount", "12.50", "--reason", reason)

    assert site.killed(wanted, *credit).sprung is not None

    assert credits_in_ledger(site, account) == [(Decimal("12.5"), reason)] * given
    if not given:
        assert command(site.environment, *credit).code == 0
        assert credits_in_ledger(site, account) == [(Decimal("12.5"), reason)]
    assert balance(site, account) == Decimal(site.world.book["opening_balance"]) + Decimal("12.5")


def credits_in_ledger(site: CrashSite, account: str) -> list[tuple[Decimal, str]]:
    with site.connect() as connection:
        return connection.execute(
            "select amount, reason from billing.ledger"
            " where account_uuid = %s and entry_type = 'credit'",
            (account,),
        ).fetchall()


def balance(site: CrashSite, account: str) -> Decimal | None:
    with site.connect() as connection:
        row = connection.execute(
            "select balance from billing_core.account_balances"
            " join billing_core.accounts using (account_key) where account_uuid = %s",
            (account,),
        ).fetchone()
    return None if row is None else row[0]


def test_killed_while_a_period_is_closed(site: CrashSite) -> None:
    """It is open still, or it is closed; late bytes post in the next period, as R7 says."""
    snapshots = site.world.snapshots
    site.serve(without_late(site.world, random.Random(SEED)))
    site.recover()
    hour = parse_hour(site.hours[1])
    (label,) = ended_periods(site.world, [hour.first_minute])
    close = ("close", "--period", label)

    assert site.killed(the_nth(1, "transaction", "COMMIT"), *close).sprung is not None
    assert closed_periods(site) == 0
    assert site.killed(the_nth(1, "commit_sent", CLOSED), *close).sprung is not None
    assert closed_periods(site) == 1
    again = command(site.environment, *close)
    assert again.code == 2
    assert f"close: period {label} is closed already" in again.err

    site.serve(snapshots)
    site.recover()

    site.assert_equal_to_the_oracle()
    with site.connect() as connection:
        late = connection.execute(
            "select count(*) from billing.ledger where entry_type = 'adjustment'"
            " and period_start > hour"
        ).fetchone()
    assert late is not None
    assert late[0] > 0


def closed_periods(site: CrashSite) -> int:
    with site.connect() as connection:
        return len(connection.execute("select from billing_core.closed_periods").fetchall())


def test_killed_again_and_again_at_random(services: Services, tmp_path: Path) -> None:
    """What ``python -m proof.crashes`` does for long."""
    tally = Tally()

    run_world(services, SEED, 4, tmp_path, tally)

    assert (tally.kills.total(), tally.comparisons) == (4, 3)
