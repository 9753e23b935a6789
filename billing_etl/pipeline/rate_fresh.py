"""Rating an hour while it is written, as far as that is final already (R4).

Facts are written once, with their rating. What that needs is read beforehand without the lock of
the one rating writer; whether it still holds is looked at under the lock, and every account-hour
of which it does not stays stale, for `rate` to do.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from billing_etl.counters import MinuteFacts, SeriesNames
from billing_etl.hours import Hour
from billing_etl.pipeline.engine import Engine
from billing_etl.rating import PriceBook, period_of, split_quota
from billing_etl.records import BoolArray, Int64Array
from billing_etl.store import ratings
from billing_etl.store.database import Connection
from billing_etl.store.ratings import AccountHour

# Usage of an account beyond this is left to `rate`: sums of it could wrap.
_LARGEST_USAGE = 2**62


class HourPrices:
    """What the price book says of an hour of one source; its rates are known to the database.

    Attributes:
        book: the price book.
        region_id: the source's region; 0 where it changes within the hour.
        rate_ids: per series, in the order of its name, its rate in the hour, or in each of the
            hour's 60 minutes; 0 where no price is in force.
    """

    def __init__(
        self,
        connection: Connection,
        engine: Engine,
        source_id: str,
        hour: Hour,
        names: SeriesNames,
    ) -> None:
        self._source_id = source_id
        self._mark = ratings.book_mark(connection, source_id)
        self.book = ratings.price_book(connection, engine.settings.default_region, source_id)
        region = self.book.region_within(source_id, hour)
        known_region = ratings.region_ids(connection, [region] if region is not None else [])
        self.region_id = known_region.get(region or "", 0)
        # One of each kind is asked for: accounts priced alike have the same rates in a tag.
        alone = [
            at if self.book.is_priced_alone(account) else -1
            for at, account in enumerate(names.accounts)
        ]
        kind = np.array(alone, dtype=np.int64)[names.account] * len(names.inbound_tags) + names.tag
        _, examples, kind_of = np.unique(kind, return_index=True, return_inverse=True)
        rates = [
            self.book.rates_within(each.account_uuid, source_id, each.inbound_tag, hour)
            for each in (names[at] for at in examples.tolist())
        ]
        known = ratings.rate_ids(connection, (rate for within in rates for rate in within))
        minutes = max(map(len, rates), default=1)
        ids = [[known[rate] for rate in within] * (minutes // len(within)) for within in rates]
        self.rate_ids = np.array(ids, dtype=np.int32).reshape(-1, minutes)[kind_of]

    def have_changed(self, connection: Connection) -> bool:
        """Whether another run has published something since they were read."""
        return ratings.book_mark(connection, self._source_id) != self._mark

    @classmethod
    def read(
        cls,
        connection: Connection,
        engine: Engine,
        source_id: str,
        hour: Hour,
        names: SeriesNames,
    ) -> "HourPrices | None":
        """None when there are no prices yet, or the environment contradicts them (R2)."""
        if not ratings.agrees_with_seeds(connection, engine.settings):
            return None
        return cls(connection, engine, source_id, hour, names)


class FreshRating:
    """Rates the facts of one source-hour, block by block, and posts what stayed final.

    Args:
        connection: the transaction that writes the hour.
        engine: settings.
        source_key, hour: which hour.
        prices: of that hour.
        names: the series, by their codes.
        account_keys: the account of each of them.
    """

    def __init__(
        self,
        connection: Connection,
        engine: Engine,
        source_key: int,
        hour: Hour,
        prices: HourPrices,
        names: SeriesNames,
        account_keys: Int64Array,
    ) -> None:
        self._connection, self._source_key, self._hour = connection, source_key, hour
        self._prices, self._names = prices, names
        self._anchor = ratings.anchor_day(connection, engine.settings)
        self._period = period_of(hour, self._anchor)
        self._accounts, first_at, self._account = np.unique(
            account_keys, return_index=True, return_inverse=True
        )
        self._used_before, self._is_final = self._before()
        # Facts of the others are rated too, as far as can be seen: mostly `rate` finds them right.
        self._is_rated = np.ones(len(self._accounts), dtype=np.bool_)
        self._used = self._used_before.copy()
        self._quota = _quotas(
            prices.book,
            [names.accounts[at] for at in names.account[first_at].tolist()],
            self._period,
        )
        # Place of each series' rates, one or one per minute of the hour, among all.
        self._rates = np.unique(prices.rate_ids)
        self._rate_place = np.searchsorted(self._rates, prices.rate_ids)
        # Per account and rate.
        self._included = np.zeros((len(self._accounts), len(self._rates)), dtype=np.int64)
        self._rated = np.zeros((len(self._accounts), len(self._rates)), dtype=np.int64)

    def _before(self) -> tuple[Int64Array, BoolArray]:
        """Usage of each account before the hour; whether that is final."""
        return ratings.used_and_final(
            self._connection, self._accounts.tolist(), self._source_key, self._hour, self._anchor
        )

    def of(self, facts: MinuteFacts) -> tuple[Int64Array, Int64Array]:
        """Included quantity and rate id of each fact of the next block; zeros: not rated."""
        account = self._account[facts.series]
        quantity = facts.uplink + facts.downlink
        self._leave_large(account, quantity)
        minute = (facts.minute - self._hour.first_minute) % np.shape(self._rate_place)[1]
        rate_place = self._rate_place[facts.series, minute]
        self._is_rated[account[self._rates[rate_place] == 0]] = False

        moved = np.zeros(len(self._accounts), dtype=np.int64)
        np.add.at(moved, account, quantity)
        left = self._quota - np.minimum(self._used, self._quota)
        included = np.where((moved <= left)[account], quantity, 0)
        crossing = np.flatnonzero(((left > 0) & (moved > left))[account])
        if len(crossing):
            included[crossing] = self._split(facts, crossing, account, quantity)
        is_rated = self._is_rated[account]
        included[~is_rated] = 0
        self._used = np.where(self._is_rated, self._used + moved, 0)
        np.add.at(self._included, (account, rate_place), included)
        np.add.at(self._rated, (account, rate_place), quantity - included)
        return included, np.where(is_rated, self._rates[rate_place], 0)

    def _leave_large(self, account: Int64Array, quantity: Int64Array) -> None:
        estimate = self._used + np.bincount(
            account, weights=quantity.astype(np.float64), minlength=len(self._accounts)
        )
        self._is_rated &= estimate < _LARGEST_USAGE

    def _split(
        self, facts: MinuteFacts, at: Int64Array, account: Int64Array, quantity: Int64Array
    ) -> Int64Array:
        """Included quantities where the quota ends within the block: in order of R3."""
        series, order_of = np.unique(facts.series[at], return_inverse=True)
        names = [self._names[code] for code in series.tolist()]
        # One source: node, inbound and env decide, in byte order.
        ordered = sorted(
            range(len(names)),
            key=lambda n: (
                names[n].node_id.encode(),
                names[n].inbound_tag.encode(),
                names[n].env.encode(),
            ),
        )
        rank = np.empty(len(names), dtype=np.int64)
        rank[ordered] = np.arange(len(names))
        order = np.lexsort((rank[order_of], facts.minute[at], account[at]))
        of = account[at][order]
        included = np.empty(len(at), dtype=np.int64)
        included[order] = split_quota(of, quantity[at][order], self._used[of], self._quota[of])
        return included

    def confirm(self, *, may_wait: bool) -> None:
        """Leaves to `rate` what changed meanwhile; everything when another run is rating.

        Asked before the account-hours are written, so that this transaction takes the locks of
        ratings and account-hours in the order in which every other one does. One that has made
        accounts must not wait: whoever rates may be waiting for these.
        """
        if not ratings.try_lock_rating(
            self._connection, may_wait=may_wait
        ) or self._prices.have_changed(self._connection):
            self._is_final[:] = False
            return
        used, is_final = self._before()
        self._is_final &= is_final & (used == self._used_before)

    def post(self, usage: Mapping[tuple[int, int], int], run_id: int) -> int:
        """Settles and posts the account-hours that hold nothing but what was rated here.

        Args:
            usage: the usage of account-hours (key, hour) as it is stored now.
            run_id: the run.

        Returns:
            The number of account-hours rated.
        """
        moved = self._included.sum(axis=1) + self._rated.sum(axis=1)
        final = self._final_in(usage, moved)
        for start in range(0, len(final), ratings.POSTED_AT_ONCE):
            at = final[start : start + ratings.POSTED_AT_ONCE]
            picked = [
                AccountHour(key, self._hour, self._period) for key in self._accounts[at].tolist()
            ]
            position, rate_place = np.nonzero((self._included[at] > 0) | (self._rated[at] > 0))
            sums = {
                "position": position.tolist(),
                "rate_id": self._rates[rate_place].tolist(),
                "included": self._included[at][position, rate_place].tolist(),
                "rated": self._rated[at][position, rate_place].tolist(),
            }
            used = self._used_before[at].tolist()
            regions = [self._prices.region_id] * len(picked)
            ratings.post(
                self._connection, picked, sums, used, regions, self._anchor, "usage", run_id
            )
        return len(final)

    def _final_in(self, usage: Mapping[tuple[int, int], int], moved: Int64Array) -> Int64Array:
        hour = self._hour.index
        is_alone: BoolArray = np.array(
            [
                usage.get((key, hour)) == quantity
                for key, quantity in zip(self._accounts.tolist(), moved.tolist(), strict=True)
            ],
            dtype=np.bool_,
        )
        return np.flatnonzero(self._is_final & self._is_rated & is_alone & (moved > 0))


def _quotas(book: PriceBook, accounts: Sequence[str], period: Hour) -> Int64Array:
    """The included quota of each account in the period; accounts priced alike are asked once."""
    of_all: list[int] = []
    quotas = []
    for account in accounts:
        if book.is_priced_alone(account):
            quotas.append(book.quota(account, period))
            continue
        if not of_all:
            of_all.append(book.quota(account, period))
        quotas.append(of_all[0])
    return np.array(quotas, dtype=np.int64)
