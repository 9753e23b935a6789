"""Facts against ratings: included + rated = quantity, and no quota is exceeded (invariant 2)."""

from typing import Final

from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.checks.inspection import Check, Inspection
from billing_etl.pipeline.rate import rate_hours
from billing_etl.rating import period_of
from billing_etl.reconciliation import Difference, Examination, Value, total
from billing_etl.store import ratings, reconciliations
from billing_etl.store.deliveries import Meter
from billing_etl.store.reconciliations import AccountRating

_LONGEST_PERIOD_HOURS: Final = 31 * 24


def examine(inspection: Inspection, hour: Hour) -> Examination:
    rows: list[AccountRating] = []
    differences: list[Difference] = []
    for meter in inspection.meters:
        found = reconciliations.facts_and_ratings(inspection.connection, hour, meter)
        for row in found:
            differences += _differences(row)
        rows += found
        differences += _exceeded_quotas(inspection, hour, meter)
    due = [row for row in rows if row.is_due]
    rated = [row for row in rows if not row.is_due]
    return Examination(
        measures=(
            total("quantity", (r.fact_quantity for r in rows), (r.quantity for r in rows)),
            total("included", (r.fact_included for r in rated), (r.included for r in rated)),
            total("account-hours to rate", (), (1 for _ in due)),
        ),
        differences=tuple(differences),
        to_repair=("stale ratings",) if due else (),
    )


def _differences(row: AccountRating) -> list[Difference]:
    pairs: list[tuple[str, Value, Value]] = [("quantity", row.fact_quantity, row.quantity)]
    if row.is_due:
        return [
            *_unequal(row.account_uuid, pairs),
            Difference(row.account_uuid, "rating", "up to date", "due"),
        ]
    pairs += [
        ("included", row.fact_included, row.included),
        ("facts whose included part is not within their quantity", 0, row.bad_splits),
        ("facts without a rate", 0, row.facts_without_rate),
    ]
    return _unequal(row.account_uuid, pairs)


def _unequal(subject: str, pairs: list[tuple[str, Value, Value]]) -> list[Difference]:
    return [
        Difference(subject, measure, expected, actual)
        for measure, expected, actual in pairs
        if expected != actual
    ]


def _exceeded_quotas(inspection: Inspection, hour: Hour, meter: Meter) -> list[Difference]:
    connection, settings = inspection.connection, inspection.settings
    anchor = ratings.anchor_day(connection, settings)
    period = period_of(hour, anchor)
    end = period_of(Hour(period.index + _LONGEST_PERIOD_HOURS), anchor)
    book = ratings.price_book(connection, settings.default_region)
    used = reconciliations.used_quota(connection, hour, meter, period, end)
    return [
        Difference(account, f"quota used from {period}", f"at most {quota}", quantity)
        for account, quantity in sorted(used.items())
        if quantity > (quota := book.quota(account, period))
    ]


def repair(inspection: Inspection, hour: Hour, subject: str) -> str:
    """Rates what is unrated or stale; the ledger gets what comes of it (R4, R5)."""
    result = rate_hours(inspection.engine, HourRange.single(hour))
    return (
        f"{subject}: rated {result.account_hours} account-hours, {result.facts_changed} facts "
        f"changed, {result.charges} charges, {result.adjustments} adjustments, "
        f"{result.amount} in all"
    )


CHECK: Final = Check("facts_ratings", examine, repair)
