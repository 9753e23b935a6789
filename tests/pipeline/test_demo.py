"""The three hours of the demonstration give exactly what the independent oracle computes."""

import json

from billing_etl.hours import Hour, parse_hour
from billing_etl.local.demo_history import write_demo_history
from pipeline.audited import assert_as_audited
from pipeline.harness import Line

END = parse_hour("2026-11-20T09")
HOURS = [str(Hour(END.index - back)) for back in (3, 2, 1)]


def demo(line: Line) -> dict[str, list[dict[str, object]]]:
    served = {}
    for exporter in write_demo_history(line.directory, END):
        snapshots = json.loads(exporter.store_file.read_text())
        source_id = exporter.source["source_id"]
        line.serve(snapshots, flavour=exporter.flavour, **exporter.source)
        served[source_id] = snapshots
    line.settings["initial_included_quota_bytes"] = 50_000_000
    return served


def test_collected_and_billed_as_audited(line: Line) -> None:
    served = demo(line)

    line.collected(*HOURS)
    line.rate(HOURS[0], str(END))

    result = assert_as_audited(line, served, dict.fromkeys(served, HOURS))
    # The demonstration holds what it promises, or this test would show little.
    kinds = {reset.reset_class for hour in result.hours.values() for reset in hour.resets}
    assert kinds == {"node_restart"}
    assert {gap.kind for hour in result.hours.values() for gap in hour.gaps} == {"exporter_down"}
    assert sum(hour.coverage.quarantined for hour in result.hours.values()) == 1
    closings = [c for hour in result.hours.values() for c in hour.closings.values()]
    assert "born" in {closing.first_kind for closing in closings}
    assert sum(rating.included for rating in result.bill.ratings.values()) > 0
    assert sum(rating.rated for rating in result.bill.ratings.values()) > 0


def test_the_hours_in_reverse_give_the_same(line: Line) -> None:
    served = demo(line)

    for hour in reversed(HOURS):
        line.collected(hour)
        line.rate(HOURS[0], str(END))

    assert_as_audited(line, served, dict.fromkeys(served, HOURS))
