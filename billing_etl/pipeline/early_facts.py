"""Facts that are written, or read again, while the hour is still being read.

Of most series it is known what stands before the hour, so their facts can be computed block by
block, and the database can store one block while the next is read. This only begins the
transaction that `HourWriter` ends: it writes what is left, or gives up what was begun.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from billing_etl.counters import (
    CounterPolicy,
    LastSamples,
    MinuteFacts,
    SampleBlock,
    SeriesNames,
    SeriesTable,
)
from billing_etl.hours import Hour
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.fetch import ServedHour
from billing_etl.pipeline.first_sight import JudgedHour, known_context
from billing_etl.pipeline.hour_rows import fact_rows
from billing_etl.pipeline.rate_fresh import FreshRating, HourPrices
from billing_etl.records import BoolArray
from billing_etl.store.collected import PREDECESSOR, stored_closings
from billing_etl.store.columns import Rows
from billing_etl.store.database import Connection
from billing_etl.store.facts import FactCopies, UsageChanges, sealings_from, stored_facts
from billing_etl.store.sources import NodeContext, RegisteredSeries, known_series

# Smaller hours are read at once: nothing could be done meanwhile.
LEAST_SAMPLES = 100_000
# Facts of so many samples are held in memory, about 20 MB.
MOST_SAMPLES: Final = 400_000


class GivenUpError(Exception):
    """What was written early is not what is to be written; nothing of it may stay."""


@dataclass(frozen=True, slots=True)
class EarlyHour:
    """Which hour: what `HourWriter` knows of it, too."""

    engine: Engine
    source_id: str
    source_key: int
    hour: Hour
    contexts: Sequence[NodeContext]
    interval_seconds: int

    @property
    def expected_samples(self) -> int:
        """Samples of an hour like the one before."""
        snapshots = 3600 // self.interval_seconds
        return sum(node.prev_samples for node in self.contexts) * snapshots


@dataclass(frozen=True, slots=True)
class WholeHour:
    """An hour of known series only, judged from what was read while it was being fetched."""

    series: RegisteredSeries
    judged: JudgedHour


class KnownSeries:
    """The series whose predecessors are known before the hour is read (C4).

    Args:
        connection: a transaction.
        of: the hour.

    Attributes:
        names, series_ids, account_keys: of each.
        codes: its position, by the code that the hour's samples give to a series; -1: not known.
        last: the samples that their first deltas are measured from.
    """

    def __init__(self, connection: Connection, of: EarlyHour) -> None:
        self._contexts = of.contexts
        nodes = [node for node in of.contexts if node.has_closing]
        known, self.names = known_series(connection, nodes, of.hour)
        self.series_ids = known["series_id"].astype(np.int64)
        self.account_keys = known["account_key"].astype(np.int64)
        self.codes = np.zeros(0, dtype=np.int64)
        self.last = LastSamples(
            *(known[name].astype(np.int64) for name in ("last_ns", "last_uplink", "last_downlink"))
        )
        self._predecessors = known[list(PREDECESSOR.names or ())].astype(PREDECESSOR)
        self._table = SeriesTable.of(self.names)

    def take(self, new_series: SeriesNames) -> None:
        """Takes the series of the hour's samples that follow those taken before."""
        self.codes = np.concatenate([self.codes, self._table.find(new_series)])

    def judge(self, served: ServedHour, policy: CounterPolicy) -> WholeHour | None:
        """Judges an hour whose series were all taken (C4, C7); None: not all of them are known.

        Each of its first deltas has a predecessor, so nothing else is to be asked for.
        """
        samples, codes = served.samples, self.codes
        node_keys = {(node.env, node.node_id): node.node_key for node in self._contexts}
        known = len(codes) == len(samples.series_keys) and bool((codes >= 0).all())
        # Of a node without samples, too: its snapshots before the hour are read with the hour.
        looked_back = len(served.lookback.snapshot_ns) > 0
        if not known or looked_back or not node_keys.keys() >= set(samples.nodes):
            return None
        series = RegisteredSeries(self.series_ids[codes], self.account_keys[codes], are_new=False)
        context = known_context(
            self._contexts, samples, node_keys, series.series_ids, self._predecessors[codes]
        )
        return WholeHour(series, JudgedHour.of(samples, context, policy))


class EarlyFacts:
    """Writes the facts of known series of an hour that was not collected before.

    Args:
        connection: the transaction.
        of: the hour.
        thread: the one thread that uses the connection until the hour is read.

    Attributes:
        usage: what the facts add to account-hours.
        rating: how they were rated; None: not at all.
        rows, quantity: what was written; see ``MinuteFacts.total``.
        copies: how it is written.
        whole: the hour, where nothing is in it that was not known before, and
            ``whole_rows``, ``whole_quantity``: its facts and their bytes.
    """

    def __init__(self, connection: Connection, of: EarlyHour, thread: ThreadPoolExecutor) -> None:
        self._hour = of.hour
        known = self._known = KnownSeries(connection, of)
        prices = HourPrices.read(connection, of.engine, of.source_id, of.hour, known.names)
        connection.commit()  # nobody who rates may wait for this transaction to know a rate
        self._sealings = sealings_from(connection, of.hour)
        self.copies = FactCopies(connection, self._sealings, thread)
        self.usage = UsageChanges()
        self.rating: FreshRating | None = None
        if prices is not None:
            self.rating = FreshRating(
                connection,
                of.engine,
                of.source_key,
                of.hour,
                prices,
                known.names,
                known.account_keys,
            )
        self.rows = self.quantity = 0
        self.whole: WholeHour | None = None
        self.whole_rows = self.whole_quantity = 0

    def take(self, block: SampleBlock, new_series: SeriesNames) -> None:
        """Writes the facts of a block's known series."""
        known = self._known
        known.take(new_series)
        deltas = known.last.deltas(block.recoded(known.codes))
        self._write(deltas.facts(lambda code: str(known.names[code])))

    def _write(self, facts: MinuteFacts) -> None:
        rows = fact_rows(self._known.series_ids, facts)
        if self.rating is not None:
            rows["included_quantity"], rows["rate_id"] = self.rating.of(facts)
        self.usage.add_new(rows)
        self.rows += len(rows)
        self.quantity += facts.total
        self.copies.insert(rows)

    def wrote(self, series: int) -> BoolArray:
        """Whether its facts are written, per series of the hour's samples."""
        result: BoolArray = np.zeros(series, dtype=np.bool_)
        result[: len(self._known.codes)] = self._known.codes >= 0
        return result

    def judge(self, served: ServedHour, policy: CounterPolicy) -> None:
        """Judges an hour of known series while the database is still writing."""
        self.whole = self._known.judge(served, policy)
        if self.whole is None:
            return
        for block in served.samples.blocks():
            facts = self.whole.judged.deltas.facts_of(block)
            self.whole_rows += len(facts.series)
            self.whole_quantity += facts.total

    def check(self, sealings: dict[int, int], rows: int, quantity: int) -> None:
        """Compares with what is to be written, once the whole hour is known and locked.

        Raises:
            GivenUpError: it is something else, or the hour was sealed meanwhile.
        """
        hour = self._hour.index
        if sealings.get(hour, 0) != self._sealings.get(hour, 0):
            raise GivenUpError(f"hour {self._hour} was sealed meanwhile")
        if (rows, quantity) != (self.rows, self.quantity):
            raise GivenUpError(
                f"hour {self._hour}: expected {rows} facts of {quantity} bytes, "
                f"got {self.rows} of {self.quantity}"
            )


class Writing:
    """Gives blocks to `EarlyFacts`, once that has read what stands before the hour.

    Facts are computed by the thread that reads the hour: Python runs one thread at a time, and two
    that compute keep each other, and so the database, waiting.
    """

    def __init__(self, connection: Connection, of: EarlyHour, thread: ThreadPoolExecutor) -> None:
        self._facts = thread.submit(EarlyFacts, connection, of, thread)

    def take(self, block: SampleBlock, new_series: SeriesNames) -> None:
        """Gets a block written, after those before it."""
        self._facts.result().take(block, new_series)

    def finish(self, served: ServedHour, policy: CounterPolicy) -> EarlyFacts:
        """Waits until everything is written; from then on the connection is the caller's again."""
        facts = self._facts.result()
        facts.judge(served, policy)
        facts.copies.wait()
        return facts


@contextmanager
def writing_early(connection: Connection, of: EarlyHour) -> Iterator[Writing]:
    """Writes facts on a connection within the block, which reads the hour."""
    with ThreadPoolExecutor(1, "early-facts") as thread:
        yield Writing(connection, of, thread)


class StoredHour:
    """What is stored of an hour and known of its series, read while it is being fetched.

    Args:
        connection: the transaction.
        of: the hour.

    Attributes:
        closings: the stored ones; nobody else changes those of a source whose lock is held.
    """

    def __init__(self, connection: Connection, of: EarlyHour) -> None:
        first = of.hour.first_minute
        self._rows = stored_facts(connection, of.source_key, of.hour, first, first + 60)
        self._minute = np.ascontiguousarray(self._rows["minute"])
        self._known = KnownSeries(connection, of)
        self.closings = stored_closings(connection, of.source_key, of.hour)

    def facts_of(self, block: SampleBlock) -> Rows:
        """Those of the block's minutes."""
        is_in = (self._minute >= block.from_minute) & (self._minute < block.until_minute)
        return self._rows.compress(is_in)

    def judge(self, served: ServedHour, policy: CounterPolicy) -> WholeHour | None:
        """As ``KnownSeries.judge``."""
        self._known.take(served.samples.series_keys)
        return self._known.judge(served, policy)


@contextmanager
def reading_early(
    connection: Connection, of: EarlyHour, samples: int
) -> Iterator[Future[StoredHour | None]]:
    """Reads what is stored of an hour within the block, which reads what is served for it.

    None for an hour of very many samples: that one is compared part by part.
    """
    with ThreadPoolExecutor(1, "stored-hour") as pool:
        if samples > MOST_SAMPLES:
            yield pool.submit(lambda: None)
            return
        yield pool.submit(StoredHour, connection, of)
