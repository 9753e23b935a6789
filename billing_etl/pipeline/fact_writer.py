"""Writes the facts of an hour within its transaction."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from billing_etl.counters import HourDeltas, HourSamples, MinuteFacts, SampleBlock
from billing_etl.pipeline.early_facts import EarlyFacts
from billing_etl.pipeline.hour_rows import fact_rows
from billing_etl.pipeline.rate_fresh import FreshRating
from billing_etl.records import Int64Array
from billing_etl.store.columns import Difference, Rows
from billing_etl.store.database import Connection
from billing_etl.store.facts import (
    FactCopies,
    UsageChanges,
    change_facts,
    fact_difference,
    insert_facts,
)


class FactWriter:
    """New facts are written as they come; stored ones change once their account-hours are locked.

    Args:
        connection: the transaction.
        sealings: sealings made per hour, which are held off as long.

    Attributes:
        written: facts written or to be changed so far.
        unchanged: facts of the hour that stood already as they are.
    """

    def __init__(self, connection: Connection, sealings: dict[int, int]) -> None:
        self._connection, self._sealings = connection, sealings
        self._usage = UsageChanges()
        self._to_change: list[Difference] = []
        self.written = self.unchanged = 0

    def take(self, difference: Difference) -> None:
        """Writes what is new in a difference, and remembers the rest."""
        self._usage.add(difference)
        self.written += insert_facts(self._connection, difference.inserted, self._sealings)
        changed = len(difference.updated) + len(difference.deleted)
        if changed:
            self.written += changed
            self._to_change.append(difference)

    def take_hour(
        self,
        samples: HourSamples,
        series_ids: Int64Array,
        deltas: HourDeltas,
        stored: Callable[[SampleBlock], Rows],
        rating: FreshRating | None,
    ) -> None:
        """Writes an hour of which something is stored, block by block; new facts as rated."""
        for block in samples.blocks():
            rows = _rows(deltas.facts_of(block), series_ids, rating)
            difference = fact_difference(stored(block), rows)
            self.unchanged += len(rows) - len(difference.inserted) - len(difference.updated)
            self.take(difference)

    def take_new_hour(
        self,
        samples: HourSamples,
        series_ids: Int64Array,
        deltas: HourDeltas,
        rating: FreshRating | None,
    ) -> None:
        """Writes an hour of which nothing is stored: one block while the next is computed."""
        with ThreadPoolExecutor(1, "new-facts") as thread:
            copies = FactCopies(self._connection, self._sealings, thread)
            for block in samples.blocks():
                rows = _rows(deltas.facts_of(block), series_ids, rating)
                self._usage.add_new(rows)
                self.written += len(rows)
                copies.insert(rows)
            copies.wait()

    def take_early(self, early: EarlyFacts) -> None:
        """Takes an hour all of which was written early.

        Raises:
            GivenUpError: what was written early is not what is to be written.
        """
        self._take_early(early, early.whole_rows, early.whole_quantity)

    def take_rest(
        self, samples: HourSamples, series_ids: Int64Array, deltas: HourDeltas, early: EarlyFacts
    ) -> None:
        """Writes what was not written early of an hour of which nothing was stored before.

        Raises:
            GivenUpError: what was written early is not what is to be written.
        """
        is_early = early.wrote(len(samples.series_keys))
        rows = quantity = 0
        for block in samples.blocks():
            facts = deltas.facts_of(block)
            written = facts.at(is_early[facts.series])
            rows += len(written.series)
            quantity += written.total
            rest = fact_rows(series_ids, facts.at(~is_early[facts.series]))
            self._usage.add_new(rest)
            self.written += insert_facts(self._connection, rest, self._sealings)
        self._take_early(early, rows, quantity)

    def _take_early(self, early: EarlyFacts, rows: int, quantity: int) -> None:
        early.check(self._sealings, rows, quantity)
        self._usage.add_all(early.usage)
        self.written += rows

    def finish(self, who: str) -> dict[tuple[int, int], int]:
        """Locks account-hours, then changes stored facts.

        Returns:
            The usage of the changed account-hours (account key, hour) now.
        """
        usage = self._usage.write(self._connection, who)
        for difference in self._to_change:
            change_facts(self._connection, difference, self._sealings)
        return usage


def _rows(facts: MinuteFacts, series_ids: Int64Array, rating: FreshRating | None) -> Rows:
    rows = fact_rows(series_ids, facts)
    if rating is not None:
        rows["included_quantity"], rows["rate_id"] = rating.of(facts)
    return rows
