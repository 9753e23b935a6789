"""Sources, nodes, accounts and series: the dimensions that collecting grows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain, islice
from typing import Final, NamedTuple

import numpy as np
import psycopg

from billing_etl.counters import NodeKey, SeriesNames
from billing_etl.errors import MismatchError
from billing_etl.hours import Hour
from billing_etl.masking import without_emails
from billing_etl.records import Int64Array
from billing_etl.settings import Source
from billing_etl.store.columns import Numbers, Rows, fetch_rows
from billing_etl.store.database import (
    RECENT_HOURS,
    Connection,
    array_literal,
    one_row,
    sql,
    take_lock,
)

TRAFFIC_METER_ID: Final = 1
# Looked for at once: bounds memory where a source has very many.
_SERIES_AT_ONCE: Final = 10_000

# What names a series within a source: env, node, account uuid, inbound tag.
SeriesName = tuple[str, str, str, str]
_SERIES_ID: Final = np.dtype([("series_id", "i4"), ("account_key", "i4")])
KNOWN_SERIES: Final = np.dtype(
    [
        ("last_ns", "i8"),
        ("last_uplink", "i8"),
        ("last_downlink", "i8"),
        ("series_id", "i4"),
        ("account_key", "i4"),
        ("node_key", "i4"),
        ("tag", "i4"),
    ]
)


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What is stored of a node around an hour; zero stands for none."""

    node_key: int
    env: str
    node_id: str
    has_closing: bool
    first_nonempty_ns: int
    prev_ns: int
    seen_later: bool
    prev_samples: int


class RegisteredSeries(NamedTuple):
    """Series and their accounts, parallel; ``are_new``: some of them were made just now."""

    series_ids: Int64Array
    account_keys: Int64Array
    are_new: bool


def lock_source(connection: Connection, source_id: str, hour: Hour | None = None) -> None:
    """Makes this connection the one writer of a source until it closes (C15).

    Args:
        connection: the connection.
        source_id: the source.
        hour: what is to be written, to name it while waiting.

    Raises:
        RetryableError: another run holds the source longer than the lock wait.
    """
    take_lock(
        connection,
        "select pg_advisory_lock(hashtextextended('billing_etl source ' || %s, 0))",
        (source_id,),
        who=f"source {source_id}" if hour is None else f"source {source_id}, hour {hour}",
        waits_for="another run of this source",
    )


def register_source(connection: Connection, source: Source) -> int:
    """Makes a configured source known; gives its key."""
    connection.execute(
        sql("collect/register_source").encode(),
        {
            "source_id": source.source_id,
            "kind": source.kind,
            "enabled": source.enabled,
            "interval_seconds": source.interval_seconds,
        },
    )
    (source_key,) = one_row(
        connection,
        "select source_key from billing_core.sources where source_id = %(source_id)s",
        {"source_id": source.source_id},
    )
    return int(source_key)


def prepare_hour(connection: Connection, hour: Hour, lookback_minutes: int) -> None:
    """Makes the partitions from an hour's look-back to the day after it, and its delivery row."""
    first_day = (hour.first_minute - lookback_minutes) // (24 * 60)
    for day in range(first_day, hour.index // 24 + 2):
        connection.execute("select billing_core.ensure_day_partition(%s)", (day,))
    connection.execute(
        "insert into billing_core.deliveries (hour, meter_id) values (%s, %s)"
        " on conflict do nothing",
        (hour.index, TRAFFIC_METER_ID),
    )


def node_contexts(connection: Connection, source_key: int, hour: Hour) -> list[NodeContext]:
    """What is stored of a source's nodes around an hour."""
    rows = connection.execute(
        sql("collect/node_context").encode(),
        {
            "source_key": source_key,
            "hour": hour.index,
            "from_hour": hour.index - RECENT_HOURS,
            "start_ns": hour.start_ns,
            "end_ns": hour.end_ns,
        },
    )
    contexts = [NodeContext(*row) for row in rows]
    unclear = [each.node_key for each in contexts if each.prev_ns and not each.has_closing]
    if not unclear:
        return contexts
    older = {
        int(node_key)
        for (node_key,) in connection.execute(
            sql("collect/nodes_with_closing").encode(),
            {"node_keys": unclear, "hour": hour.index},
        )
    }
    return [
        replace(each, has_closing=each.has_closing or each.node_key in older) for each in contexts
    ]


def register_nodes(
    connection: Connection, source: Source, source_key: int, nodes: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Keys of nodes by (env, node_id), made where missing.

    Raises:
        MismatchError: another source already delivers a node and this one does not say that
            it shares it (C15).
    """
    wanted = sorted(set(nodes))
    envs, node_ids = [env for env, _ in wanted], [node_id for _, node_id in wanted]
    parameters = {"source_key": source_key, "envs": envs, "node_ids": node_ids}
    known = _node_keys(connection, parameters)
    missing = [node for node in wanted if node not in known]
    if not missing:
        return known
    if not source.shared_node:
        _refuse_foreign_nodes(connection, source, parameters | _parallel(missing))
    try:
        connection.execute(
            "insert into billing_core.nodes (source_key, env, node_id, shared)"
            " select %(source_key)s, env, node_id, %(shared)s"
            " from unnest(%(envs)s::text[], %(node_ids)s::text[]) as w (env, node_id)",
            parameters | _parallel(missing) | {"shared": source.shared_node},
        )
    except psycopg.errors.UniqueViolation:
        raise MismatchError(
            f"source {source.source_id}: another source registered one of its nodes at the same "
            "moment; one node under two sources would bill twice, set shared_node if that is meant"
        ) from None
    return _node_keys(connection, parameters)


def _parallel(nodes: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    return {"envs": [env for env, _ in nodes], "node_ids": [node_id for _, node_id in nodes]}


def _node_keys(connection: Connection, parameters: dict[str, object]) -> dict[tuple[str, str], int]:
    rows = connection.execute(
        "select n.env, n.node_id, n.node_key from billing_core.nodes n"
        " join unnest(%(envs)s::text[], %(node_ids)s::text[]) as w (env, node_id)"
        " using (env, node_id) where n.source_key = %(source_key)s",
        parameters,
    )
    return {(str(env), str(node_id)): int(key) for env, node_id, key in rows}


def _refuse_foreign_nodes(
    connection: Connection, source: Source, parameters: dict[str, object]
) -> None:
    owners = connection.execute(sql("collect/node_owners").encode(), parameters).fetchall()
    if owners:
        env, node_id, owner = owners[0]
        raise MismatchError(
            f"source {source.source_id}: expected nodes of its own, got {env}/{node_id}, which "
            f"source {owner} already delivers; billing it twice is refused, remove one source or "
            "set shared_node on this one"
        )


def register_series(
    connection: Connection,
    node_keys: dict[tuple[str, str], int],
    names: Sequence[Iterable[SeriesName]],
    opening_balance: Decimal,
) -> RegisteredSeries:
    """Ids of series and keys of their accounts, in the order of their names; made where missing.

    Names may come in several groups, which are iterated more than once.
    """

    def in_parts() -> Iterator[dict[str, object]]:
        left = chain.from_iterable(names)
        while part := list(islice(left, _SERIES_AT_ONCE)):
            yield _series_parameters(node_keys, part)

    ids = _series_ids(connection, in_parts())
    are_new = bool((ids["series_id"] == 0).any())
    if are_new:
        accounts = dict.fromkeys(name[2] for name in chain.from_iterable(names))
        register_accounts(connection, list(accounts), opening_balance)
        for parameters in in_parts():
            connection.execute(sql("collect/register_series").encode(), parameters)
        ids = _series_ids(connection, in_parts())
    return RegisteredSeries(
        ids["series_id"].astype(np.int64), ids["account_key"].astype(np.int64), are_new
    )


def _series_ids(connection: Connection, parts: Iterable[dict[str, object]]) -> Rows:
    statement = sql("collect/series_ids")
    found = [fetch_rows(connection, statement, part, _SERIES_ID) for part in parts]
    return np.concatenate([np.empty(0, dtype=_SERIES_ID), *found])


def _series_parameters(
    node_keys: dict[tuple[str, str], int], names: Sequence[SeriesName]
) -> dict[str, object]:
    tags = {tag: at for at, tag in enumerate(dict.fromkeys(name[3] for name in names), start=1)}
    return {
        "node_keys": Numbers([node_keys[name[0], name[1]] for name in names]),
        "accounts": array_literal(name[2] for name in names),
        "tags": list(tags),
        "tag_of": Numbers([tags[name[3]] for name in names]),
        "meter_id": TRAFFIC_METER_ID,
    }


def known_series(
    connection: Connection, nodes: Sequence[NodeContext], hour: Hour
) -> tuple[Rows, SeriesNames]:
    """The series of nodes that were seen not long before an hour (C4), and their names.

    Rows of ``KNOWN_SERIES``: each with its newest closing, in the order of their ids.
    """
    of = {node.node_key: (node.env, node.node_id) for node in nodes}
    of_nodes = {"node_keys": list(of), "meter_id": TRAFFIC_METER_ID}
    tags = [
        str(tag)
        for (tag,) in connection.execute(
            "select distinct inbound_tag from billing_core.series"
            " where node_key = any (%(node_keys)s) and meter_id = %(meter_id)s",
            of_nodes,
        )
    ]
    rows = fetch_rows(
        connection,
        sql("collect/known_series"),
        of_nodes | {"hour": hour.index, "from_hour": hour.index - RECENT_HOURS, "tags": tags},
        KNOWN_SERIES,
    )
    account_keys, account = np.unique(rows["account_key"], return_inverse=True)
    node_keys, node = np.unique(rows["node_key"], return_inverse=True)
    uuids = account_uuids(connection, account_keys.tolist())
    names = SeriesNames(
        [NodeKey(*of[key]) for key in node_keys.tolist()],
        [uuids[key] for key in account_keys.tolist()],
        tags,
        node,
        account,
        rows["tag"].astype(np.int64) - 1,
    )
    return rows, names


def account_uuids(connection: Connection, account_keys: Sequence[int]) -> dict[int, str]:
    """The uuid of each account; in one row, as one row each costs five times as much."""
    keys, uuids = one_row(
        connection,
        "select array_agg(account_key order by account_key),"
        " string_agg(account_uuid::text, ',' order by account_key)"
        " from billing_core.accounts where account_key = any (%(account_keys)s)",
        {"account_keys": Numbers(account_keys)},
    )
    return {} if keys is None else dict(zip(keys, uuids.split(","), strict=True))


def register_accounts(
    connection: Connection, accounts: Sequence[str], opening_balance: Decimal
) -> None:
    """Makes accounts known, all in one order.

    A transaction does this before it locks account-hours: two that lock both then never hold each
    other up for good.
    """
    take_lock(
        connection,
        sql("collect/register_accounts"),
        {"accounts": array_literal(accounts), "opening_balance": opening_balance},
        who="new accounts",
        waits_for="another run that adds the same accounts",
    )


def note_failure(
    connection: Connection, source_id: str, hour: Hour, run_id: int, error: str
) -> None:
    """Keeps the last error of a source, and that the hour is open."""
    connection.execute(
        sql("collect/note_failure").encode(),
        {
            "source_id": source_id,
            "hour": hour.index,
            "run_id": run_id,
            "error": without_emails(error),
        },
    )
