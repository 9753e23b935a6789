"""Every way in which an hour is damaged on purpose: what is done, and what becomes of it."""

from dataclasses import dataclass

from billing_rows import ACCOUNT, HOUR, OTHER_ACCOUNT

from reconciliation.line import IDLE_ACCOUNT, TOTALS, Harm, Line

_FACT = (
    "(series_id, minute) = (select series_id, %s from billing_core.series"
    " join billing_core.accounts using (account_key) where account_uuid = %s)"
)


@dataclass(frozen=True)
class Damage:
    """One damage.

    Attributes:
        name: as it stands in docs/reconciliation.md.
        check: the check that finds it first.
        is_repaired: else it stays an open finding, and the run fails.
        needs_deep: only reading bodies shows it.
        restores: the repair brings back what was, and not something newer.
    """

    name: str
    harm: Harm
    check: str
    is_repaired: bool
    needs_deep: bool = False
    restores: bool = True


# --- the object store --------------------------------------------------------------------------


def _delete_object(line: Line) -> None:
    line.s3.delete_object(Bucket=line.bucket, Key=line.keys()[0])


def _truncate_object(line: Line) -> None:
    key = line.keys()[0]
    line.put(key, line.body(key)[:-10])


def _swap_objects(line: Line) -> None:
    one, other = line.keys()[:2]
    bodies = line.body(one), line.body(other)
    line.put(one, bodies[1])
    line.put(other, bodies[0])


def _add_object(line: Line) -> None:
    line.put(line.keys()[0].rpartition("/")[0] + "/stray.jsonl", b"{}\n")


def _change_manifest(line: Line) -> None:
    (key,) = line.keys("manifest")
    line.put(key, line.body(key).replace(b'"events": 2', b'"events": 3', 1))


def _change_object_with_its_etag(line: Line) -> None:
    key = line.keys()[0]
    etag = line.put(key, line.body(key).replace(b'"usage":40', b'"usage":41', 1))
    line.change("update billing_core.batches set etag = %s where object_key = %s", etag, key)


# --- collected ---------------------------------------------------------------------------------


def _serve_other_history(line: Line) -> None:
    line.serve(TOTALS | {"12:09:03": TOTALS["12:09:03"] | {ACCOUNT: (10, 21)}})


def _drop_closing(line: Line) -> None:
    line.change(
        "delete from billing_core.closings where hour = %s and series_id = (select series_id"
        " from billing_core.series join billing_core.accounts using (account_key)"
        " where account_uuid = %s)",
        HOUR.index,
        ACCOUNT,
    )


def _drop_idle_closing(line: Line) -> None:
    line.change(
        "delete from billing_core.closings where hour = %s and series_id = (select series_id"
        " from billing_core.series join billing_core.accounts using (account_key)"
        " where account_uuid = %s)",
        HOUR.index,
        IDLE_ACCOUNT,
    )


def _change_closing(line: Line) -> None:
    line.change(
        "update billing_core.closings set last_uplink = last_uplink + 1 where hour = %s"
        " and last_uplink > 0 and first_uplink = 510",
        HOUR.index,
    )


def _change_instant(line: Line) -> None:
    line.change(
        "update billing_core.node_instants set content_hash = '\\x00'"
        " where hour = %s and instant_ns = (select min(instant_ns)"
        " from billing_core.node_instants where hour = %s and not provisional)",
        HOUR.index,
        HOUR.index,
    )


def _move_instant(line: Line) -> None:
    line.change(
        "update billing_core.node_instants set instant_ns = instant_ns + 1000000000"
        " where hour = %s and instant_ns = (select max(instant_ns)"
        " from billing_core.node_instants where hour = %s and not provisional)",
        HOUR.index,
        HOUR.index,
    )


def _change_record(line: Line) -> None:
    line.change(
        "update billing_core.source_hours set snapshots = snapshots + 1 where hour = %s",
        HOUR.index,
    )


def _lose_source_hour(line: Line) -> None:
    for table in ("source_hours", "node_instants", "closings", "account_hours"):
        line.change(f"delete from billing_core.{table} where hour = %s", HOUR.index)
    line.change("delete from billing_core.facts where minute / 60 = %s", HOUR.index)


# --- facts, ratings, ledger --------------------------------------------------------------------


def _change_fact(line: Line) -> None:
    line.change(
        f"update billing_core.facts set uplink_quantity = uplink_quantity + 5 where {_FACT}",
        HOUR.first_minute + 9,
        ACCOUNT,
    )


def _move_bytes(line: Line) -> None:
    for minute, change in ((2, -5), (9, 5)):
        line.change(
            f"update billing_core.facts set uplink_quantity = uplink_quantity + %s where {_FACT}",
            change,
            HOUR.first_minute + minute,
            ACCOUNT,
        )


def _change_split(line: Line) -> None:
    for minute, change in ((2, -10), (3, 10)):
        line.change(
            "update billing_core.facts set included_quantity = included_quantity + %s"
            f" where {_FACT}",
            change,
            HOUR.first_minute + minute,
            ACCOUNT,
        )


def _change_rate_of_fact(line: Line) -> None:
    line.change(
        "insert into billing_core.rates (price_version_id, price_per_unit, region_multiplier,"
        " line_multiplier, time_multiplier)"
        " select price_version_id, price_per_unit, 3, 1, 1 from billing_core.price_versions"
    )
    line.change(
        "update billing_core.facts set rate_id = (select max(rate_id) from billing_core.rates)"
        f" where {_FACT}",
        HOUR.first_minute + 9,
        ACCOUNT,
    )


def _change_account_hour(line: Line) -> None:
    line.change(
        "update billing_core.account_hours set quantity = quantity + 1000, amount = amount + 1"
        " where hour = %s and account_key ="
        " (select account_key from billing_core.accounts where account_uuid = %s)",
        HOUR.index,
        ACCOUNT,
    )


def _delete_account_hour(line: Line) -> None:
    line.change(
        "delete from billing_core.account_hours where hour = %s and account_key ="
        " (select account_key from billing_core.accounts where account_uuid = %s)",
        HOUR.index,
        OTHER_ACCOUNT,
    )


def _change_price(line: Line) -> None:
    line.change("update billing_core.price_versions set price_per_unit = 3")


def _change_rate(line: Line) -> None:
    line.change("update billing_core.rates set price_per_unit = 3")


def _change_quota(line: Line) -> None:
    line.change("update billing_core.price_versions set included_quota = 110")


def _delete_entry(line: Line) -> None:
    line.change(
        "delete from billing_core.ledger_entries where hour = %s and amount > 0", HOUR.index
    )


def _change_entry(line: Line) -> None:
    line.change(
        "update billing_core.ledger_entries set amount = amount - 0.000001"
        " where hour = %s and amount > 0",
        HOUR.index,
    )


# --- sealed ------------------------------------------------------------------------------------


def _change_revision(line: Line) -> None:
    line.change(
        f"update billing_core.facts set revision = 2 where {_FACT}", HOUR.first_minute + 9, ACCOUNT
    )


def _change_sealing(line: Line) -> None:
    line.change(
        f"update billing_core.facts set sealing = 2 where {_FACT}", HOUR.first_minute + 9, ACCOUNT
    )


def _change_sealings(line: Line) -> None:
    line.change("update billing_core.deliveries set sealings = 0 where hour = %s", HOUR.index)


def _change_payload(line: Line) -> None:
    line.change(
        "update billing_core.batches set payload = set_byte(payload, 20, get_byte(payload, 20) # 1)"
        " where object_key = %s",
        line.keys()[0],
    )


def _change_batch(line: Line) -> None:
    line.change(
        "update billing_core.batches set net_quantity = net_quantity + 1 where object_key = %s",
        line.keys()[0],
    )


def _change_digest_of_ids(line: Line) -> None:
    line.change(
        "update billing_core.batches set event_ids_sha256 = '\\x00' where object_key = %s",
        line.keys()[0],
    )


def _delete_batches(line: Line) -> None:
    line.change("delete from billing_core.batches where object_key = %s", line.keys()[0])


def _rename_account(line: Line) -> None:
    line.change(
        "update billing_core.accounts set account_uuid = %s where account_uuid = %s",
        OTHER_ACCOUNT.replace("b", "c"),
        OTHER_ACCOUNT,
    )


DAMAGES = (
    Damage("an object is deleted", _delete_object, "sealed_stored", True),
    Damage("an object is truncated", _truncate_object, "sealed_stored", True),
    Damage("two objects are swapped", _swap_objects, "sealed_stored", True),
    Damage("a foreign object is added", _add_object, "sealed_stored", False),
    Damage("a manifest is changed", _change_manifest, "sealed_stored", True),
    Damage(
        "an object is changed, and the ETag that is kept of it", _change_object_with_its_etag,
        "sealed_stored", True, needs_deep=True,
    ),
    Damage(
        "the exporter serves changed history", _serve_other_history, "exporter_collected", True,
        restores=False,
    ),
    Damage("a snapshot's stored content is changed", _change_instant, "exporter_collected", True),
    Damage("a stored snapshot is moved in time", _move_instant, "exporter_collected", False),
    Damage("the record of a source-hour is changed", _change_record, "exporter_collected", True),
    Damage("all rows of a source-hour are lost", _lose_source_hour, "exporter_collected", True),
    Damage("a closing is dropped", _drop_closing, "exporter_collected", True),
    Damage("a closing without bytes is dropped", _drop_idle_closing, "exporter_collected", True),
    Damage("a closing is changed", _change_closing, "exporter_collected", True),
    Damage("a fact's bytes are changed", _change_fact, "counters_facts", False),
    Damage("bytes are moved from one minute to another", _move_bytes, "facts_events", False),
    Damage("an included split is changed", _change_split, "facts_ratings", True),
    Damage("a fact's rate is changed", _change_rate_of_fact, "facts_ratings", True),
    Damage("an account-hour is changed", _change_account_hour, "facts_ratings", True),
    Damage("an account-hour is deleted", _delete_account_hour, "facts_ratings", True),
    Damage("a price is changed in place", _change_price, "facts_ratings", False),
    Damage("a quota is changed in place", _change_quota, "facts_ratings", False),
    Damage("a rate is changed in place", _change_rate, "facts_ratings", False),
    Damage("a ledger entry is deleted", _delete_entry, "ratings_ledger", False),
    Damage("a ledger entry is changed", _change_entry, "ratings_ledger", False),
    Damage("a fact's revision is changed", _change_revision, "facts_events", True),
    Damage("a fact's sealing number is changed", _change_sealing, "facts_events", True),
    Damage("an hour's count of sealings is changed", _change_sealings, "facts_events", True),
    Damage("an account is renamed", _rename_account, "exporter_collected", False),
    Damage("a sealed payload is damaged in the database", _change_payload, "sealed_stored", True),
    Damage("a batch's row is changed", _change_batch, "facts_events", False),
    Damage(
        "a batch's digest of ids is changed", _change_digest_of_ids, "sealed_stored", False,
        needs_deep=True,
    ),
    Damage("a batch's row is deleted", _delete_batches, "facts_events", False),
)  # fmt: skip
