"""C12: one hour of one source: its nodes together, and how much of it was seen."""

from dataclasses import dataclass

from oracle.counting import collect_node, timeline
from oracle.terms import (
    DAY_NS,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    STATES_BEST_FIRST,
    Coverage,
    Finding,
    Instant,
    Node,
    Settings,
    SourceHour,
)


@dataclass
class Known:
    """Everything that the hours of one source are computed from."""

    nodes: dict[Node, list[Instant]]
    collected: set[int]
    looked_back: dict[Node, list[Instant]]
    served: dict[Node, list[int]]  # every instant that the exporter still serves
    served_now_ns: int

    def timeline(self, source: Settings, node: Node, hour: int) -> list[Instant]:
        return timeline(
            self.nodes[node],
            hour,
            self.collected,
            source.get("lookback_minutes", 10),
            self.looked_back.get(node, []),
        )


def collect_hour(source: Settings, known: Known, hour: int) -> SourceHour:
    out = SourceHour()
    for node in sorted(known.nodes):
        collect_node(out, source, node, known.timeline(source, node, hour), hour)
    out.facts = {key: fact for key, fact in out.facts.items() if fact.up + fact.down > 0}  # C10
    for node, instants in out.node_instants.items():  # C1
        for at_ns in instants:
            if at_ns > known.served_now_ns + 5 * MINUTE_NS:
                out.findings.append(Finding("clock_ahead", node, at_ns))
    at_all = [at_ns for instants in out.node_instants.values() for at_ns in instants]
    if at_all:
        out.coverage.first_ns, out.coverage.last_ns = min(at_all), max(at_all)
    cover(out.coverage, source, known, hour)
    return out


def cover(coverage: Coverage, source: Settings, known: Known, hour: int) -> None:
    """C12. Decision: the nodes considered are those seen in H, or in the 72 h before H in what was
    collected by then, or looked back from an hour in which the node was seen.
    """
    start_ns, end_ns = hour * HOUR_NS, (hour + 1) * HOUR_NS
    interval_seconds = source.get("interval_seconds", 60)
    # Decision: a slot is one interval, but never less than a minute.
    slot_ns = max(interval_seconds, 60) * SECOND_NS
    served = [at_ns for instants in known.served.values() for at_ns in instants]
    oldest_served_ns = min(served, default=None)
    slots = range(-(-HOUR_NS // slot_ns))
    missing_somewhere: set[int] = set()
    states = []
    for node, instants in known.nodes.items():
        known_ns = {
            instant.instant_ns
            for known_hour in known.collected
            if known_hour <= hour and any(i.instant_ns // HOUR_NS == known_hour for i in instants)
            for instant in known.timeline(source, node, known_hour)
        }
        if not any(start_ns - 3 * DAY_NS <= at_ns < end_ns for at_ns in known_ns):
            continue
        all_ns = [instant.instant_ns for instant in instants]
        own_ns = [at_ns for at_ns in known_ns if start_ns <= at_ns < end_ns]
        slots_seen = {(at_ns - start_ns) // slot_ns for at_ns in own_ns}
        missing = [slot for slot in slots if slot not in slots_seen]
        missing_somewhere.update(missing)
        # "In the hour's last interval, or any later snapshot": served now, or collected before.
        # Decision: lost, when a whole missing slot lies before the oldest snapshot still served.
        last_interval_ns = end_ns - interval_seconds * SECOND_NS
        if oldest_served_ns is not None and any(
            start_ns + (slot + 1) * slot_ns <= oldest_served_ns for slot in missing
        ):
            states.append("lost")
        elif any(at_ns >= last_interval_ns for at_ns in (*known.served[node], *all_ns)):
            states.append("complete")
        else:
            states.append("partial")
    # Decision: without any node, as many as one would take, and all of the hour is missing.
    coverage.expected_snapshots = max(1, round(3600 / interval_seconds)) * max(1, len(states))
    missing_ns = (len(missing_somewhere) if states else len(slots)) * slot_ns
    coverage.missing_minutes = min(60, round(missing_ns / MINUTE_NS))
    if not states:  # Decision for a source without any node
        if oldest_served_ns is not None and oldest_served_ns >= end_ns:
            states.append("lost")
        else:
            states.append("complete" if any(at_ns >= end_ns for at_ns in served) else "partial")
    coverage.state = max(states, key=STATES_BEST_FIRST.index)
    if known.served_now_ns < end_ns:  # Decision: an hour that has not ended is always partial
        coverage.state = "partial"
