"""Restores which facts are sealed, and as which revision, from the sealed bodies.

That was lost when a fact's revision or sealing number was changed by hand, or when the rows of a
source-hour were deleted and collected again: without it the same events would be sent twice. It
is committed only when the facts then have the digest that was kept when they were sealed.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from billing_etl.errors import TerminalError
from billing_etl.events import event_id
from billing_etl.hours import Hour
from billing_etl.pipeline.checks.bodies import Bodies
from billing_etl.pipeline.checks.inspection import Inspection
from billing_etl.store import deliveries, reconciliations
from billing_etl.store.deliveries import Meter
from billing_etl.store.reconciliations import MarkedFact, SealedBatch


class EventIds(NamedTuple):
    """The ids of a fact's events; ``sent``: those of an account that was called otherwise then."""

    names: tuple[str, str, str, str, str, str, int]
    sent: Sequence[str] | None

    def __call__(self, revision: int) -> str:
        if self.sent is not None and revision < len(self.sent):
            return self.sent[revision]
        return event_id(*self.names, revision)


def restore_marks(inspection: Inspection, hour: Hour, meter: Meter) -> str:
    """Gives every fact of an hour the marks that the sealed events prove.

    Raises:
        TerminalError: a body is missing or damaged, or the facts do not get the digest that was
            kept when they were sealed; nothing was written.
    """
    with inspection.engine.connect() as connection:
        deliveries.lock(connection, hour, meter)
        batches = reconciliations.sealed_batches(connection, hour, meter)
        sealings = max((batch.sealing for batch in batches), default=0)
        usage, sealing_of = _events(inspection, batches)
        marked = [
            _marked(fact, meter, usage, sealing_of, sealings)
            for fact in reconciliations.marked_facts(connection, hour, meter)
        ]
        changed = [after for before, after in marked if before != after]
        as_sealed = [after for _, after in marked if after.sealing <= sealings]
        reconciliations.restore_marks(connection, hour, meter, sealings, changed, as_sealed)
        sealed = reconciliations.sealed_totals(connection, hour, meter)
        if sealed.digest != sealed.fact_digest:
            raise TerminalError(
                f"{hour} {meter.event_type}: expected facts that can be given the digest kept at "
                "sealing, got others; nothing was written, compare facts with events one by one"
            )
    return f"sealing marks of {len(changed)} facts restored, the digest kept at sealing confirms it"


def _events(
    inspection: Inspection, batches: list[SealedBatch]
) -> tuple[Counter[str], dict[str, int]]:
    """Usage and sealing of every sealed event, by its id."""
    bodies = Bodies(inspection)
    usage: Counter[str] = Counter()
    sealing_of: dict[str, int] = {}
    for batch in batches:
        if batch.kind != "events":
            continue
        body = bodies.known(batch)
        if body is None or hashlib.sha256(body).digest() != batch.sha256:
            raise TerminalError(
                f"{batch.place}: expected its sealed body, got none or a damaged one; "
                "which facts are sealed cannot be told from it"
            )
        for event in bodies.events(batch, body):
            usage[event.event_id] += event.usage
            sealing_of[event.event_id] = batch.sealing
    return usage, sealing_of


def _marked(
    fact: MarkedFact,
    meter: Meter,
    usage: Counter[str],
    sealing_of: dict[str, int],
    sealings: int,
) -> tuple[MarkedFact, MarkedFact]:
    """A fact as it is, and with the revision and sealing number that the events prove."""
    id_of = EventIds((*fact.names, meter.event_type, fact.minute), fact.sent_ids)
    revision, total = 0, 0
    while (each := id_of(revision + 1)) in sealing_of:
        revision += 1
        total += usage[each]
    if revision and total == fact.quantity:
        last = sealing_of[id_of(revision)]
        return fact, fact._replace(revision=revision, sealing=last)
    return fact, fact._replace(revision=revision + 1, sealing=sealings + 1)
