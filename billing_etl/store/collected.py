"""What collecting an hour stores beside facts: closings, snapshots, history, coverage."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from billing_etl.hours import Hour
from billing_etl.store.columns import Numbers, Rows, fetch_rows
from billing_etl.store.database import RECENT_HOURS, Connection, sql

CLOSING: Final = np.dtype(
    [
        ("first_ns", "i8"),
        ("first_uplink", "i8"),
        ("first_downlink", "i8"),
        ("last_ns", "i8"),
        ("last_uplink", "i8"),
        ("last_downlink", "i8"),
        ("prev_ns", "i8"),
        ("prev_uplink", "i8"),
        ("prev_downlink", "i8"),
        ("series_id", "i4"),
        ("hour", "i4"),
        ("first_kind", "i2"),
        ("reset_after_first", "?"),
        ("provisional", "?"),
    ]
)
INSTANT: Final = np.dtype(
    [
        ("node_key", "i4"),
        ("instant_ns", "i8"),
        ("hour", "i4"),
        ("samples", "i4"),
        ("compared", "i4"),
        ("fell", "i4"),
        ("quantity", "i8"),
        ("provisional", "?"),
        ("content_hash", "V16"),
    ]
)
INSTANT_WITH_PREVIOUS: Final = np.dtype(
    [
        ("node_key", "i4"),
        ("instant_ns", "i8"),
        ("compared", "i4"),
        ("fell", "i4"),
        ("quantity", "i8"),
        ("prev_ns", "i8"),
        ("samples", "i4"),
    ]
)
RESET: Final = np.dtype(
    [
        ("series_id", "i4"),
        ("instant_ns", "i8"),
        ("hour", "i4"),
        ("is_node_restart", "?"),
        ("uplink_before", "i8"),
        ("downlink_before", "i8"),
        ("uplink_after", "i8"),
        ("downlink_after", "i8"),
    ]
)
GAP: Final = np.dtype(
    [
        ("node_key", "i4"),
        ("series_id", "i4"),
        ("until_ns", "i8"),
        ("from_ns", "i8"),
        ("hour", "i4"),
        ("quantity", "i8"),
    ]
)
PREDECESSOR: Final = np.dtype(
    [("series_id", "i4"), ("last_ns", "i8"), ("last_uplink", "i8"), ("last_downlink", "i8")]
)


def stored(
    connection: Connection, name: str, source_key: int, hour: Hour, dtype: np.dtype[np.void]
) -> Rows:
    """Rows of one of the ``collect/*`` queries over a source-hour."""
    return fetch_rows(
        connection, sql(f"collect/{name}"), {"source_key": source_key, "hour": hour.index}, dtype
    )


def stored_closings(connection: Connection, source_key: int, hour: Hour) -> Rows:
    """Closings of a source-hour."""
    return stored(connection, "closings", source_key, hour, CLOSING)


def predecessors(connection: Connection, series_ids: Sequence[int], hour: Hour) -> Rows:
    """Newest closing before the hour, however old, of each series that has one (C4).

    Most are of the hour before. They are looked for first: every day of history that a query may
    reach makes it slower.
    """

    def found(wanted: Sequence[int], from_hour: int) -> Rows:
        parameters = {
            "series_ids": Numbers(wanted),
            "hour": hour.index,
            "from_hour": from_hour,
        }
        return fetch_rows(connection, sql("collect/predecessors"), parameters, PREDECESSOR)

    recent = found(list(series_ids), hour.index - RECENT_HOURS)
    missing = sorted(set(series_ids) - set(recent["series_id"].tolist()))
    return np.concatenate([recent, found(missing, 0)]) if missing else recent


def leaning_hours(
    connection: Connection, source_key: int, hour: Hour, node_keys: Sequence[int]
) -> list[Hour]:
    """Later hours whose first deltas lean on this one or on what stood before it (C14)."""
    rows = connection.execute(
        sql("collect/leaning_hours").encode(),
        {"source_key": source_key, "hour": hour.index, "node_keys": list(node_keys)},
    )
    return [Hour(int(index)) for (index,) in rows]


def drop_provisional(connection: Connection, node_keys: Sequence[int], hour: Hour) -> set[Hour]:
    """Removes look-back samples after the hour that nothing needs any more; gives their hours."""
    parameters = {"node_keys": list(node_keys), "hour": hour.index}
    return {
        Hour(int(index))
        for name in (
            "drop_provisional",
            "drop_provisional_instants",
            "drop_lookback_presence",
        )
        for (index,) in connection.execute(sql(f"collect/{name}").encode(), parameters)
    }


def replace_lookback_presence(
    connection: Connection,
    hour: Hour,
    node_keys: Sequence[int],
    rows: Iterable[tuple[int, int, str, str]],
) -> bool:
    """Makes the quarantined look-back samples of some nodes within an hour these (C7).

    Rows: node_key, instant_ns, account_uuid, inbound_tag. True when that changed something.
    """
    scope = {"hour": hour.index, "node_keys": list(node_keys)}
    stored = connection.execute(sql("collect/lookback_presence").encode(), scope).fetchall()
    wanted = sorted(rows)
    if sorted(stored) == wanted:
        return False
    connection.execute(
        "delete from billing_core.lookback_presence"
        " where hour = %(hour)s and node_key = any (%(node_keys)s)",
        scope,
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into billing_core.lookback_presence (hour, node_key, instant_ns, account_uuid,"
            " inbound_tag) values (%s, %s, %s, %s, %s)",
            [(hour.index, *row) for row in wanted],
        )
    return True


def forget_lookback_presence(connection: Connection, source_key: int, hour: Hour) -> None:
    """Leaves it to the hour's own quarantine."""
    connection.execute(
        sql("collect/forget_lookback_presence").encode(),
        {"source_key": source_key, "hour": hour.index},
    )


def appeared(
    connection: Connection, node_key: int, before_ns: int, except_ns: Iterable[int]
) -> bool:
    """Whether the node had a non-empty snapshot before an instant, other than the given ones."""
    row = connection.execute(
        sql("collect/appeared").encode(),
        {"node_key": node_key, "before_ns": before_ns, "except_ns": list(except_ns)},
    ).fetchone()
    return row is not None and bool(row[0])


def presence(connection: Connection, source_key: int, hour: Hour) -> dict[int, set[int]]:
    """Per series, the instants up to the hour at which it was served but quarantined (C7)."""
    instants: dict[int, set[int]] = {}
    rows = connection.execute(
        sql("collect/presence").encode(), {"source_key": source_key, "hour": hour.index}
    )
    for series_id, instant_ns in rows:
        instants.setdefault(int(series_id), set()).add(int(instant_ns))
    return instants


def source_hour_counts(connection: Connection, source_key: int, hour: Hour) -> dict[str, Any]:
    """State and counts of a stored source-hour; zeros and ``partial`` when there is none."""
    row = connection.execute(
        "select state, snapshots, samples, used, duplicates, baselines, quarantined"
        " from billing_core.source_hours where source_key = %s and hour = %s",
        (source_key, hour.index),
    ).fetchone()
    names = ("state", "snapshots", "samples", "used", "duplicates", "baselines", "quarantined")
    return dict(zip(names, row or ("partial", 0, 0, 0, 0, 0, 0), strict=True))


def stored_samples(connection: Connection, source_key: int, hour: Hour) -> int | None:
    """Samples with which a source-hour was collected before; None: never."""
    row = connection.execute(
        "select samples from billing_core.source_hours where source_key = %s and hour = %s",
        (source_key, hour.index),
    ).fetchone()
    return None if row is None else int(row[0])


def open_rate_findings(connection: Connection, source_key: int, hour: Hour) -> list[str]:
    """Subjects of the ``rate_exceeded`` findings of a source-hour that the data still shows."""
    rows = connection.execute(
        "select subject from billing_core.findings where kind = 'rate_exceeded'"
        " and source_key = %s and hour = %s and resolution is distinct from 'withdrawn'",
        (source_key, hour.index),
    )
    return [str(subject) for (subject,) in rows]


# --- small tables ----------------------------------------------------------------------------


def series_labels(connection: Connection, series_ids: Iterable[int]) -> dict[int, str]:
    """Names of series for messages."""
    rows = connection.execute(
        sql("collect/series_labels").encode(), {"series_ids": sorted(set(series_ids))}
    )
    return {int(series_id): str(label) for series_id, label in rows}


def replace_quarantine(
    connection: Connection, source_key: int, hour: Hour, rows: list[tuple[Any, ...]]
) -> None:
    """Makes the quarantine of a source-hour these rows; touches nothing when they are the same.

    Rows: node_key, instant_ns, account_uuid, inbound_tag, reason, raw_text, in served order.
    """
    scope = {"source_key": source_key, "hour": hour.index}
    numbered = [(ordinal, *row) for ordinal, row in enumerate(rows)]
    if connection.execute(sql("collect/quarantine").encode(), scope).fetchall() == numbered:
        return
    connection.execute(
        "delete from billing_core.quarantine where source_key = %(source_key)s and hour = %(hour)s",
        scope,
    )
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "copy billing_core.quarantine (source_key, hour, ordinal, node_key, instant_ns,"
            " account_uuid, inbound_tag, reason, raw_text) from stdin"
        ) as copy,
    ):
        for row in numbered:
            copy.write_row((source_key, hour.index, *row))


def replace_findings(
    connection: Connection,
    source_key: int,
    hour: Hour,
    run_id: int,
    findings: dict[tuple[str, str], dict[str, Any]],
    kinds: Sequence[str],
) -> int:
    """Makes the findings of some kinds of a source-hour these; gives how many opened.

    ``findings`` maps (kind, subject) to message, expected and actual. Findings that the data no
    longer shows are withdrawn; those that a person closed stay closed.
    """
    scope = {"source_key": source_key, "hour": hour.index, "run_id": run_id}
    rows = connection.execute(
        sql("collect/findings").encode(), {**scope, "kinds": list(kinds)}
    ).fetchall()
    known = {(str(row[0]), str(row[1])): (bool(row[2]), str(row[3])) for row in rows}
    opened = [
        (*key, values["message"], values["expected"], values["actual"])
        for key, values in findings.items()
        if known.get(key, (True, "withdrawn")) == (True, "withdrawn")
    ]
    if opened:
        names = ("kinds", "subjects", "messages", "expected", "actual")
        columns = dict(zip(names, map(list, zip(*opened, strict=True)), strict=True))
        connection.execute(sql("collect/open_findings").encode(), {**scope, **columns})
    gone = [key for key, (closed, _) in known.items() if not closed and key not in findings]
    if gone:
        kinds, subjects = map(list, zip(*gone, strict=True))
        connection.execute(
            sql("collect/withdraw_findings").encode(),
            {**scope, "kinds": kinds, "subjects": subjects},
        )
    return len(opened)


def upsert_source_hour(connection: Connection, values: dict[str, Any]) -> bool:
    """Stores the coverage of a source-hour; True when it was new or different."""
    return connection.execute(sql("collect/upsert_source_hour").encode(), values).rowcount > 0


def give_up_partial_hour(connection: Connection, source_key: int, hour: Hour, run_id: int) -> None:
    """Makes a partial hour lost: what is missing of it is not served any more (C12)."""
    connection.execute(
        "update billing_core.source_hours set state = 'lost', changed_at = clock_timestamp(),"
        " run_id = %s where source_key = %s and hour = %s and state = 'partial'",
        (run_id, source_key, hour.index),
    )


def recount_baselines(
    connection: Connection, source_key: int, hour: Hour, baselines: int, run_id: int
) -> None:
    """Corrects used and baselines of an hour that was judged again (C14)."""
    connection.execute(
        sql("collect/recount_baselines").encode(),
        {"source_key": source_key, "hour": hour.index, "baselines": baselines, "run_id": run_id},
    )


def expect_nodes_later(connection: Connection, source_key: int, hour: Hour, run_id: int) -> None:
    """Makes later hours expect the nodes of this one (C12)."""
    connection.execute(
        sql("collect/expect_nodes").encode(),
        {"source_key": source_key, "hour": hour.index, "run_id": run_id},
    )


def advance_checkpoint(connection: Connection, source_key: int, hour: Hour) -> None:
    """Sets the source's checkpoint from its hours (C12); the hour has not failed any more."""
    connection.execute(
        sql("collect/clear_failure").encode(), {"source_key": source_key, "hour": hour.index}
    )
    connection.execute(sql("collect/advance_checkpoint").encode(), {"source_key": source_key})


def open_hours(connection: Connection, source_id: str, before: Hour) -> list[Hour]:
    """Hours before the given one that are partial or were never collected since the first."""
    rows = connection.execute(
        sql("collect/open_hours").encode(), {"source_id": source_id, "before": before.index}
    )
    return [Hour(int(index)) for (index,) in rows]


def series_nodes(connection: Connection, series_ids: Sequence[int]) -> dict[int, int]:
    """The node of each series."""
    rows = connection.execute(
        "select series_id, node_key from billing_core.series where series_id = any (%s)",
        (list(series_ids),),
    )
    return {int(series_id): int(node_key) for series_id, node_key in rows}
