"""Rating: prices, included quota and ledger of account-hours (R1-R7), one transaction."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from billing_etl.hours import Hour, HourRange
from billing_etl.pipeline.engine import Engine
from billing_etl.rating import PriceBook, Rate, split_quota
from billing_etl.records import Int64Array
from billing_etl.store import archives, ratings
from billing_etl.store.columns import Rows, rows_of
from billing_etl.store.database import Connection
from billing_etl.store.ratings import AccountHour, SeriesNames
from billing_etl.store.sources import account_uuids


@dataclass(frozen=True, slots=True)
class RateResult:
    """What rating did; ``amount`` is the net change of the ledger."""

    account_hours: int
    facts_changed: int
    charges: int
    adjustments: int
    amount: Decimal

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"amount": f"{self.amount:f}"}


def rate_hours(engine: Engine, hours: HourRange) -> RateResult:
    """Rates the unrated account-hours of a range, stale ones anywhere, and what follows them (R4).

    Raises:
        UsageError: there is no price, or the environment contradicts what was taken first.
        ArchivedError: the range begins in archived hours.
        RetryableError: another run is rating for longer than the lock wait.
    """
    with engine.run("rate", hours) as run:
        with engine.connect() as connection:
            archives.refuse(connection, hours.start, "rate")
            ratings.lock_rating(connection)
            ratings.seed(connection, engine.settings, run.run_id)
            anchor = ratings.anchor_day(connection, engine.settings)
            picked = ratings.pick(connection, hours, anchor)
            result = rate_in(connection, engine, picked, "usage changed", run.run_id)
        run.counts.update(result.as_dict())
    return result


def rate_until(engine: Engine, end: Hour) -> RateResult:
    """Rates whatever waits before an hour, however old; see ``rate_hours``."""
    with engine.connect() as connection:
        start = archives.end(connection)
        if end <= start:
            archives.refuse(connection, end.previous, "rate")
    return rate_hours(engine, HourRange(start, end))


def ensure_price(engine: Engine) -> None:
    """Takes the environment's first price, or says at once that there is none.

    Raises:
        UsageError: there is no price, or the environment contradicts what was taken first.
    """
    with engine.run("seed prices") as run, engine.connect() as connection:
        ratings.lock_rating(connection)
        ratings.seed(connection, engine.settings, run.run_id)


def rate_in(
    connection: Connection,
    engine: Engine,
    picked: Sequence[AccountHour],
    reason: str,
    run_id: int,
) -> RateResult:
    """Rates within the caller's transaction, which holds the rating lock and what it picked.

    Args:
        connection: the transaction.
        engine: settings.
        picked: locked account-hours, in key order, with all that follow in their periods.
        reason: reason of the adjustments that come of it.
        run_id: the run.
    """
    if not picked:  # mostly: what collecting could rate is rated
        return RateResult(0, 0, 0, 0, Decimal(0))
    # Whoever asks, such as a price for the past: an hour without its facts would cost nothing.
    archives.refuse(connection, min(item.hour for item in picked), "rate")
    anchor = ratings.anchor_day(connection, engine.settings)
    book = ratings.price_book(connection, engine.settings.default_region)
    rater = _Rater(connection, book)
    changed = charges = adjustments = 0
    amount = Decimal(0)
    # In key order, so that balances run on from chunk to chunk.
    for start in range(0, len(picked), ratings.POSTED_AT_ONCE):
        chunk = picked[start : start + ratings.POSTED_AT_ONCE]
        used = ratings.used_before(connection, chunk)
        differing, sums, regions = rater.rate(chunk, used)
        ratings.write_ratings(connection, differing)
        posted = ratings.post(connection, chunk, sums, used, regions, anchor, reason, run_id)
        changed += len(differing)
        charges += posted.charges
        adjustments += posted.adjustments
        amount += posted.amount
    return RateResult(len(picked), changed, charges, adjustments, amount)


class _Rater:
    """Rates chunks of account-hours with one price book."""

    def __init__(self, connection: Connection, book: PriceBook) -> None:
        self.connection = connection
        self.book = book
        self._within: dict[tuple[str, str, str, Hour], Int64Array] = {}
        self._rate_ids: dict[Rate | None, int] = {None: 0}

    def rate(
        self, chunk: Sequence[AccountHour], used_before: Sequence[int]
    ) -> tuple[Rows, dict[str, list[int]], list[int]]:
        """The ratings that differ from the stored ones.

        And sums per account-hour and rate, and the region of each account-hour.
        """
        facts = ratings.facts_of(self.connection, chunk)
        names = ratings.series_names(self.connection, np.unique(facts["series_id"]).tolist())
        facts = facts[consumption_order(facts, names)]
        position = facts["position"].astype(np.int64) - 1
        uuids = account_uuids(self.connection, sorted({item.account_key for item in chunk}))
        used = np.array(used_before, dtype=np.int64)
        quota = self._quotas(chunk, uuids)
        included = split_quota(position, facts["quantity"], used[position], quota[position])
        rate_id = self._fact_rates(facts, names)
        differs = (included != facts["included_quantity"]) | (rate_id != facts["rate_id"])
        differing = rows_of(
            ratings.RATING,
            {
                "series_id": facts["series_id"],
                "minute": facts["minute"],
                "included_quantity": included,
                "rate_id": rate_id,
            },
        )[differs]
        sums = _sums(len(chunk), position, rate_id, included, facts["quantity"])
        return differing, sums, self._regions(len(chunk), position, facts, names)

    def _regions(
        self, count: int, position: Int64Array, facts: Rows, names: dict[int, SeriesNames]
    ) -> list[int]:
        """The one region of each account-hour's facts; 0: several, or no fact."""
        hours = facts["minute"].astype(np.int64) // 60
        sources = {name.source_id for name in names.values()}
        place = {source_id: at for at, source_id in enumerate(sorted(sources))}
        source_of = {series: place[name.source_id] for series, name in names.items()}
        source = np.array([source_of[s] for s in facts["series_id"].tolist()], dtype=np.int64)
        keys, key = np.unique(source + hours * len(place), return_inverse=True)
        found = [
            self.book.region_within(source_id, Hour(hour))
            for hour, source_id in (
                (int(each) // len(place), sorted(sources)[int(each) % len(place)]) for each in keys
            )
        ]
        known = ratings.region_ids(self.connection, (name for name in found if name is not None))
        region = np.array([known.get(name or "", 0) for name in found], dtype=np.int64)[key]
        least, most = np.full(count, 2**15), np.zeros(count, dtype=np.int64)
        np.minimum.at(least, position, region)
        np.maximum.at(most, position, region)
        return np.where(least == most, most, 0).tolist()  # type: ignore[no-any-return]

    def _quotas(self, chunk: Sequence[AccountHour], uuids: dict[int, str]) -> Int64Array:
        known: dict[tuple[int, Hour], int] = {}
        for item in chunk:
            key = (item.account_key, item.period)
            if key not in known:
                known[key] = self.book.quota(uuids[item.account_key], item.period)
        return np.array([known[(item.account_key, item.period)] for item in chunk], dtype=np.int64)

    def _fact_rates(self, facts: Rows, names: dict[int, SeriesNames]) -> Int64Array:
        """The rate of each fact; one look-up per series and hour where it cannot change within."""
        result = np.zeros(len(facts), dtype=np.int64)
        if not len(facts):
            return result
        hour = facts["minute"] // 60
        order = np.lexsort((hour, facts["series_id"]))
        series = facts["series_id"][order]
        starts = np.flatnonzero(
            (np.diff(series, prepend=-1) != 0) | (np.diff(hour[order], prepend=-1) != 0)
        )
        for start, end in zip(starts, np.append(starts[1:], len(order)), strict=True):
            at = order[start:end]
            whole = Hour(int(hour[at[0]]))
            name = names[int(series[start])]
            ids = self._rates_within(name, whole)
            result[at] = ids[(facts["minute"][at] - whole.first_minute) % len(ids)]
            for minute in facts["minute"][at][result[at] == 0].tolist():
                self.book.rate(name.account_uuid, name.source_id, name.inbound_tag, minute)
        return result

    def _rates_within(self, name: SeriesNames, hour: Hour) -> Int64Array:
        """Rate ids of a series in an hour: one, or one per minute."""
        account = name.account_uuid if self.book.is_priced_alone(name.account_uuid) else ""
        key = (account, name.source_id, name.inbound_tag, hour)
        if key not in self._within:
            rates = self.book.rates_within(
                name.account_uuid, name.source_id, name.inbound_tag, hour
            )
            # The same few rates hold for hours and hours.
            if not self._rate_ids.keys() >= set(rates):
                self._rate_ids |= ratings.rate_ids(self.connection, rates)
            self._within[key] = np.array([self._rate_ids[rate] for rate in rates], dtype=np.int64)
        return self._within[key]


def consumption_order(facts: Rows, names: dict[int, SeriesNames]) -> Int64Array:
    """Facts by account-hour, then minute, node, inbound, env, source in byte order (R3)."""
    ordered = sorted(names, key=lambda series: [part.encode() for part in names[series][:4]])
    ranks = {series: rank for rank, series in enumerate(ordered)}
    rank = np.array([ranks[series] for series in facts["series_id"].tolist()], dtype=np.int64)
    return np.lexsort((rank, facts["minute"], facts["position"]))


def _sums(
    count: int,
    position: Int64Array,
    rate_id: Int64Array,
    included: Int64Array,
    quantity: Int64Array,
) -> dict[str, list[int]]:
    """Included and rated quantity per account-hour and rate; zeros where there is no fact."""
    order = np.lexsort((rate_id, position))
    position, rate_id = position[order], rate_id[order]
    included, rated = included[order], (quantity[order] - included[order])
    starts = np.flatnonzero(
        (np.diff(position, prepend=-1) != 0) | (np.diff(rate_id, prepend=-1) != 0)
    )
    empty = np.setdiff1d(np.arange(count), position).tolist()
    zeros = [0] * len(empty)
    if not len(starts):
        return {"position": empty, "rate_id": zeros, "included": zeros, "rated": zeros}
    return {
        "position": position[starts].tolist() + empty,
        "rate_id": rate_id[starts].tolist() + zeros,
        "included": np.add.reduceat(included, starts).tolist() + zeros,
        "rated": np.add.reduceat(rated, starts).tolist() + zeros,
    }
