"""The semantics (C1-C14, R1-R6) written a second time, as an auditor would check a bill by hand.

It shares nothing with ``billing_etl``, on purpose: lists, dicts and ``Fraction`` only, and always
the whole history instead of checkpoints. An hour is a pure function of what is served and of the
hours that were collected, so every hour is computed from its own timeline, from the beginning.

Its rooms, in the order in which an auditor would read them: ``terms``, ``reading``, ``counting``,
``covering``, ``money``; ``audit`` at the end puts them together.
"""

from collections import defaultdict
from collections.abc import Mapping

from oracle.covering import Known, collect_hour
from oracle.money import rate
from oracle.reading import read_served
from oracle.terms import (
    Result,
    Settings,
    SourceHour,
)


def audit(
    sources: list[Settings],
    snapshots: Mapping[str, list[Settings]],
    collected_hours: Mapping[str, set[int]],
    book: Settings,
    served_now_ns: int,
    lookback: Mapping[str, list[Settings]] | None = None,
    served: Mapping[str, list[Settings]] | None = None,
) -> Result:
    """Everything that must stand in the database once these hours are collected and rated.

    ``snapshots`` is everything that was ever served, unless that changed while hours were being
    collected: then it is what each collected hour was last collected with (C13), ``lookback``
    what was read before the hours that were looked back from, and ``served`` what is served now.
    """
    hours: dict[tuple[str, int], SourceHour] = {}
    checkpoints: dict[str, int | None] = {}
    for source in sources:
        source_id = source["source_id"]
        collected = set(collected_hours.get(source_id, set()))
        nodes = read_served(source_id, snapshots.get(source_id, []))
        still = nodes if served is None else read_served(source_id, served[source_id])
        known = Known(
            nodes,
            collected,
            read_served(source_id, (lookback or {}).get(source_id, [])),
            defaultdict(list, {n: [i.instant_ns for i in of] for n, of in still.items()}),
            served_now_ns,
        )
        for hour in sorted(collected):
            hours[source_id, hour] = collect_hour(source, known, hour)
        checkpoint = min(collected, default=None)  # C12: contiguous complete-or-lost hours
        while (
            checkpoint is not None
            and checkpoint in collected
            and hours[source_id, checkpoint].coverage.state != "partial"
        ):
            checkpoint += 1
        checkpoints[source_id] = checkpoint
    facts = {key: fact for hour_of in hours.values() for key, fact in hour_of.facts.items()}
    return Result(hours, checkpoints, rate(book, sources, facts))
