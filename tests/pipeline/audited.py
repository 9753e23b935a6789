"""The independent oracle, asked about what a line serves and has collected."""

import time
from collections.abc import Iterable, Mapping, Sequence

from oracle.oracle import audit
from oracle.terms import Result

from billing_etl.hours import NS_PER_MINUTE, format_instant_ns, parse_instant_ns
from pipeline.harness import JSON, Line, hour_of
from pipeline.world_harness import Found, assert_billed, assert_collected


def by_minute(snapshots: Iterable[JSON]) -> list[JSON]:
    """What a minute exporter makes of snapshots: per node the last of each, at the whole minute."""
    latest: dict[tuple[str, int], JSON] = {}
    for snapshot in sorted(snapshots, key=lambda each: parse_instant_ns(each["collected_at"])):
        minute = parse_instant_ns(snapshot["collected_at"]) // NS_PER_MINUTE
        at = format_instant_ns(minute * NS_PER_MINUTE)
        latest[snapshot["node_id"], minute] = snapshot | {"collected_at": at}
    return list(latest.values())


def audited(
    line: Line, served: Mapping[str, Sequence[JSON]], hours: Mapping[str, Sequence[str]]
) -> Result:
    """What must stand in the database. ``served`` and ``hours``: by source."""
    defaults = {"region": "default", "interval_seconds": 60, "lookback_minutes": 10}
    return audit(
        sources=[defaults | values for values in line.sources.values()],
        snapshots={source_id: list(snapshots) for source_id, snapshots in served.items()},
        collected_hours={
            source_id: {hour_of(hour).index for hour in of} for source_id, of in hours.items()
        },
        book={
            "versions": [
                {
                    "scope": "default",
                    "key": None,
                    "price_per_byte": str(line.settings["price_per_byte"]),
                    "included_quota_bytes": line.settings["initial_included_quota_bytes"],
                    "from_minute": 0,
                }
            ],
            "plan_members": [],
            "source_regions": [],
            "credits": [],
        },
        served_now_ns=time.time_ns(),
    )


def assert_as_audited(
    line: Line, served: Mapping[str, Sequence[JSON]], hours: Mapping[str, Sequence[str]]
) -> Result:
    """Facts, closings, resets, gaps, coverage, findings and bills are those of the oracle."""
    result, found = audited(line, served, hours), Found(line.database_url)
    assert_collected(result, found)
    assert_billed(result, found)
    return result
