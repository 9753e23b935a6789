"""What facts take on disk, and how long a backup of them reads, by arithmetic."""

from dataclasses import dataclass

from benchmarks.scaling.costs import UnitCosts
from benchmarks.scaling.load import Load


@dataclass(frozen=True, slots=True)
class Kept:
    """Facts of so many days, all in the database, or the older ones as columns elsewhere.

    Attributes:
        hot_bytes: in the database, all tables and indexes.
        cold_bytes: as compressed columns.
        backup_seconds: to read what is in the database once, on one connection.
    """

    facts: float
    hot_bytes: float
    cold_bytes: float
    backup_seconds: float


def kept(costs: UnitCosts, load: Load, days: float, hot_days: float) -> Kept:
    """Args:
    days: of history that is kept.
    hot_days: of these in the database.
    """
    per_day = 24 * load.sources * load.facts
    hot = per_day * min(days, hot_days)
    cold = per_day * max(0.0, days - hot_days)
    is_sparse = load.active < 0.5
    fact_bytes = costs.sparse_fact_bytes if is_sparse else costs.fact_bytes
    return Kept(
        facts=hot + cold,
        hot_bytes=hot * fact_bytes,
        cold_bytes=cold * costs.cold_fact_bytes,
        backup_seconds=hot / costs.copy_facts_per_second,
    )
