"""Ratings computed again: rates from the price book, the included quota from usage before.

What collecting and rating wrote is not asked; only the facts, the price book and the usage that
the account-hours of the billing period sum up to (R2 to R4).
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from billing_etl.hours import Hour, minute_start
from billing_etl.pipeline.checks.inspection import Inspection
from billing_etl.pipeline.rate import consumption_order
from billing_etl.rating import PriceBook, Rate, split_quota
from billing_etl.reconciliation import Difference
from billing_etl.store import ratings, reconciliations
from billing_etl.store.deliveries import Meter
from billing_etl.store.ratings import AccountHour, SeriesNames
from billing_etl.store.reconciliations import AccountRating

PRICE: Final = "price"

# Expected and found rate, the number of facts that have it, and the first series of theirs.
_Pairs: TypeAlias = dict[tuple[Rate | None, Rate | None], tuple[int, str]]


def rate_differences(
    inspection: Inspection, hour: Hour, meter: Meter, book: PriceBook
) -> list[Difference]:
    """Facts that were rated otherwise than the price book says, one per pair of rates."""
    connection = inspection.connection
    uses = reconciliations.facts_by_rate(connection, hour, meter)
    if not uses:
        return []
    names = ratings.series_names(connection, sorted({use.series_id for use in uses}))
    rates = reconciliations.rates(connection, sorted({use.rate_id for use in uses}))
    known: dict[tuple[str, str, str], list[Rate | None]] = {}
    pairs: _Pairs = {}
    by_minute: list[int] = []
    for use in uses:
        within = _rates_within(book, known, names[use.series_id], hour)
        if len(within) > 1:
            by_minute.append(use.series_id)
        else:
            _add(pairs, within[0], rates.get(use.rate_id), use.facts, names[use.series_id])
    for series_id, minute, rate_id in (
        reconciliations.rates_by_minute(connection, hour, sorted(set(by_minute)))
        if by_minute
        else ()
    ):
        within = _rates_within(book, known, names[series_id], hour)
        expected = within[minute - hour.first_minute]
        _add(pairs, expected, rates.get(rate_id), 1, names[series_id])
    return [
        Difference(series, _measure(expected, found), _shown(expected), _shown(found, facts))
        for (expected, found), (facts, series) in sorted(pairs.items(), key=lambda pair: pair[1][1])
    ]


def _measure(expected: Rate | None, found: Rate | None) -> str:
    """Whether a fact has another rate, or its rate another price than its version."""
    if expected is None or found is None:
        return "rate"
    same_but_price = expected._replace(price_per_unit=found.price_per_unit) == found
    return PRICE if same_but_price else "rate"


def _rates_within(
    book: PriceBook,
    known: dict[tuple[str, str, str], list[Rate | None]],
    name: SeriesNames,
    hour: Hour,
) -> list[Rate | None]:
    account = name.account_uuid if book.is_priced_alone(name.account_uuid) else ""
    key = (account, name.source_id, name.inbound_tag)
    if key not in known:
        known[key] = book.rates_within(name.account_uuid, name.source_id, name.inbound_tag, hour)
    return known[key]


def _add(
    pairs: _Pairs, expected: Rate | None, found: Rate | None, facts: int, name: SeriesNames
) -> None:
    if expected != found:
        of, series = pairs.get((expected, found), (0, _series(name)))
        pairs[expected, found] = (of + facts, min(series, _series(name)))


def _series(name: SeriesNames) -> str:
    return f"{name.source_id} {name.env} {name.node_id} {name.account_uuid} {name.inbound_tag}"


def _shown(rate: Rate | None, facts: int = 0) -> str | None:
    if rate is None:
        return None
    factors = (rate.region_multiplier, rate.line_multiplier, rate.time_multiplier)
    text = " x ".join(f"{factor:f}" for factor in (rate.price_per_unit, *factors))
    return f"version {rate.price_version_id}: {text}" + (f" on {facts} facts" if facts else "")


def expected_included(quantity: int, used_before: int, quota: int) -> int:
    """The part of an account-hour that its quota covers (R3)."""
    left = max(quota - used_before, 0)
    return min(quantity, left)


def split_differences(
    inspection: Inspection,
    hour: Hour,
    period: Hour,
    rows: Sequence[AccountRating],
    used_before: Mapping[str, int],
    quotas: Mapping[str, int],
) -> list[Difference]:
    """Facts of account-hours in which the quota ends whose included part is another (R3).

    Where all of an account-hour is included, or nothing is, its sums prove it for every fact.
    """
    if not rows:
        return []
    connection = inspection.connection
    picked = [AccountHour(row.account_key, hour, period) for row in rows]
    facts = ratings.facts_of(connection, picked)
    if not len(facts):
        return []
    names = ratings.series_names(connection, np.unique(facts["series_id"]).tolist())
    facts = facts[consumption_order(facts, names)]
    position = facts["position"].astype(np.int64) - 1
    used = np.array([used_before[row.account_uuid] for row in rows], dtype=np.int64)
    quota = np.array([quotas[row.account_uuid] for row in rows], dtype=np.int64)
    included = split_quota(position, facts["quantity"], used[position], quota[position])
    at = np.flatnonzero(included != facts["included_quantity"])
    return [
        Difference(
            f"{_series(names[int(facts['series_id'][n])])} "
            f"{minute_start(int(facts['minute'][n])):%Y-%m-%dT%H:%MZ}",
            "included",
            int(included[n]),
            int(facts["included_quantity"][n]),
        )
        for n in at.tolist()
    ]
