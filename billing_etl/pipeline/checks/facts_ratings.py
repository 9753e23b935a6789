"""Facts against ratings: included + rated = quantity, no quota is exceeded (invariant 2), and
every fact has the rate and the included part that the price book gives it (R2, R3).

What is stale is rated. Where account-hours or the rating of facts were damaged, they are computed
again from the facts, if the ledger confirms that: what would change it is never done by itself.
"""

from typing import Final

from billing_etl.errors import TerminalError
from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.checks import counters_facts
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.pipeline.checks.rerating import (
    PRICE,
    expected_included,
    rate_differences,
    split_differences,
)
from billing_etl.pipeline.rate import rate_hours, rate_in
from billing_etl.rating import PriceBook, next_period, period_of
from billing_etl.reconciliation import Difference, Examination, Remedy, Value, total
from billing_etl.store import ratings, reconciliations
from billing_etl.store.reconciliations import AccountRating, PeriodUse

_MOST_USED: Final = 2**63 - 1
_STALE: Final = "stale ratings"
_DAMAGED: Final = "damaged ratings"


def examine(inspection: Inspection, hour: Hour) -> Examination:
    rows: list[AccountRating] = []
    due: list[Difference] = []
    damaged: list[Difference] = []
    notes: list[str] = []
    connection, settings = inspection.connection, inspection.settings
    anchor = ratings.anchor_day(connection, settings)
    period = period_of(hour, anchor)
    book = ratings.price_book(connection, settings.default_region)
    for meter in inspection.meters:
        found = reconciliations.facts_and_ratings(connection, hour, meter)
        of_period = (period, next_period(period, anchor))
        used = reconciliations.period_use(connection, hour, meter, *of_period)
        for row in found:
            damaged += _sum_differences(row)
            if row.is_due:
                wrong = Difference(row.account_uuid, "rating", "up to date", "due")
                (due if row.is_stale else damaged).append(wrong)
        damaged += _exceeded_quotas(book, period, used)
        damaged += _quota_differences(inspection, hour, period, book, found, used)
        damaged += rate_differences(inspection, hour, meter, book)
        waiting = sum(use.waits for use in used.values())
        if waiting:
            notes.append(f"{waiting} accounts have earlier hours of the period to rate")
        rows += found
    remedies = []
    if due:
        remedies.append(Remedy(_STALE, "rate what is stale", tuple(due)))
    # A price other than the one in the book was changed in place: nobody knows which is right.
    if damaged and not any(difference.measure == PRICE for difference in damaged):
        action = "compute the ratings again from facts and price book, if the ledger stays as it is"
        remedies.append(Remedy(_DAMAGED, action, tuple(damaged)))
    rated = [row for row in rows if not row.is_due]
    return Examination(
        measures=(
            total("quantity", (r.fact_quantity for r in rows), (r.quantity for r in rows)),
            total("included", (r.fact_included for r in rated), (r.included for r in rated)),
            total("account-hours to rate", (), (1 for r in rows if r.is_due)),
        ),
        differences=(*due, *damaged),
        notes=tuple(notes),
        remedies=tuple(remedies),
    )


def _sum_differences(row: AccountRating) -> list[Difference]:
    pairs: list[tuple[str, Value, Value]] = [("quantity", row.fact_quantity, row.quantity)]
    if not row.is_due:
        pairs += [
            ("included", row.fact_included, row.included),
            ("facts whose included part is not within their quantity", 0, row.bad_splits),
            ("facts without a rate", 0, row.facts_without_rate),
        ]
    if row.uplink is not None:
        pairs.append(("uplink", row.fact_uplink, row.uplink))
    return [
        Difference(row.account_uuid, measure, expected, actual)
        for measure, expected, actual in pairs
        if expected != actual
    ]


def _exceeded_quotas(book: PriceBook, period: Hour, used: dict[str, PeriodUse]) -> list[Difference]:
    return [
        Difference(account, f"quota used from {period}", f"at most {quota}", use.included)
        for account, use in sorted(used.items())
        if use.included > (quota := book.quota(account, period))
    ]


def _quota_differences(
    inspection: Inspection,
    hour: Hour,
    period: Hour,
    book: PriceBook,
    rows: list[AccountRating],
    used: dict[str, PeriodUse],
) -> list[Difference]:
    """Included parts, and the usage before that they were computed with, computed again."""
    rated = [
        row
        for row in rows
        if not row.is_due and row.account_uuid in used and not used[row.account_uuid].waits
    ]
    before = {row.account_uuid: min(used[row.account_uuid].before, _MOST_USED) for row in rated}
    quotas = {row.account_uuid: book.quota(row.account_uuid, period) for row in rated}
    differences: list[Difference] = []
    ending: list[AccountRating] = []
    for row in rated:
        account, quantity = row.account_uuid, int(row.fact_quantity)
        included = expected_included(quantity, before[account], quotas[account])
        if row.used_before is not None and row.used_before != before[account]:
            differences.append(Difference(account, "used before", before[account], row.used_before))
        if included != row.fact_included:
            differences.append(
                Difference(account, "included by quota", included, row.fact_included)
            )
        if 0 < included < quantity:
            ending.append(row)
    return differences + split_differences(inspection, hour, period, ending, before, quotas)


# --- repair ------------------------------------------------------------------------------------


def repair(inspection: Inspection, hour: Hour, subject: str) -> str:
    """Rates what is stale (R4, R5), or computes damaged ratings again.

    Raises:
        TerminalError: the ledger does not confirm what was computed again; nothing was written.
    """
    if subject == _DAMAGED:
        return _compute_again(inspection, hour)
    result = rate_hours(inspection.engine, HourRange.single(hour))
    return (
        f"{subject}: rated {result.account_hours} account-hours, {result.facts_changed} facts "
        f"changed, {result.charges} charges, {result.adjustments} adjustments, "
        f"{result.amount} in all"
    )


def _compute_again(inspection: Inspection, hour: Hour) -> str:
    engine = inspection.engine
    if counters_facts.examine(inspection, hour).differences:
        raise TerminalError(
            f"{hour}: expected facts that their counters explain, got others; "
            "ratings are not computed from them, see counters_facts"
        )
    with engine.connect() as connection:
        ratings.lock_rating(connection)
        for meter in inspection.meters:
            rows = reconciliations.facts_and_ratings(connection, hour, meter)
            keys = [row.account_key for row in rows]
            reconciliations.restore_account_hours(connection, hour, meter, keys)
        picked = ratings.pick(
            connection, HourRange.single(hour), ratings.anchor_day(connection, engine.settings)
        )
        result = rate_in(connection, engine, picked, "damage repaired", inspection.run_id)
        if result.charges or result.adjustments:
            raise TerminalError(
                f"{hour}: expected ratings that leave the ledger as it is, got "
                f"{result.charges} charges and {result.adjustments} adjustments of "
                f"{result.amount}; nothing was written, look at price book, facts and ledger"
            )
    return (
        f"computed {result.account_hours} account-hours again, {result.facts_changed} facts "
        "changed, the ledger confirms it"
    )


CHECK: Final = Check("facts_ratings", examine, repair)
