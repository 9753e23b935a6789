"""The checks of reconciliation, in the order in which they build on each other.

A new check is a module with a ``CHECK``, and a line here.
"""

from typing import Final

from billing_etl.pipeline.checks import (
    counters_facts,
    exporter_collected,
    facts_events,
    facts_ratings,
    ratings_ledger,
    sealed_stored,
)
from billing_etl.pipeline.checks.inspection import Check, Inspection

CHECKS: Final[tuple[Check, ...]] = (
    exporter_collected.CHECK,
    counters_facts.CHECK,
    facts_ratings.CHECK,
    ratings_ledger.CHECK,
    facts_events.CHECK,
    sealed_stored.CHECK,
)

__all__ = ["CHECKS", "Check", "Inspection"]
