"""Facts as a file that is kept instead of them: what it says, and what is read back."""

import hashlib
import io
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from billing_etl.batches.archive import SCHEMA, Read, written
from billing_etl.errors import MismatchError, TerminalError
from billing_etl.store.facts import FACT

MIDNIGHT = datetime(2026, 4, 8, tzinfo=UTC)
FIRST_MINUTE = int(MIDNIGHT.timestamp()) // 60


class Fact(NamedTuple):
    """A fact as the table has it; minutes count from midnight."""

    minute: int
    series_id: int
    uplink: int
    downlink: int
    included: int = 0
    rate_id: int = 0
    spans_minutes: int = 1
    revision: int = 1
    sealing: int = 1
    is_reset: bool = False


def series(series_id: int, source_key: int = 1) -> dict[str, Any]:
    return {
        "series_id": series_id,
        "source_key": source_key,
        "event_type": "traffic_bytes",
        "account_uuid": f"account-{series_id}",
        "source_id": f"source-{source_key}",
        "env": "prod",
        "node_id": f"node-{series_id}",
        "inbound_tag": f"tag-{series_id}",
    }


def rate(rate_id: int, price: str, multiplier: str, version: str) -> dict[str, Any]:
    return {
        "rate_id": rate_id,
        "price_per_unit": Decimal(price),
        "multiplier": Decimal(multiplier),
        "amount_per_unit": Decimal(price) * Decimal(multiplier),
        "price_version": version,
    }


SERIES = [series(4), series(7, source_key=2), series(9)]
RATES = [rate(3, "0.5", "2", "spring"), rate(5, "0.000000000000000000000007", "1", "tiny")]
REGIONS = {
    1: [(FIRST_MINUTE + 1, "tokyo"), (FIRST_MINUTE + 3, "osaka")],
    2: [(FIRST_MINUTE - 9, "berlin")],
}
FACTS = [
    Fact(0, 4, 30, 70),
    Fact(0, 7, 1, 2, included=1, rate_id=5, spans_minutes=4, is_reset=True),
    Fact(1, 4, 30, 70, included=40, rate_id=3, revision=2, sealing=3),
    Fact(2, 9, 0, 6),
    Fact(3, 4, 2**62, 2**62 - 1, included=2**62),
]


def file_of(
    facts: list[Fact] = FACTS,
    rates: list[dict[str, Any]] = RATES,
    regions: dict[int, list[tuple[int, str]]] = REGIONS,
) -> bytes:
    rows = np.zeros(len(facts), dtype=FACT)
    for place, fact in enumerate(facts):
        rows[place] = (
            fact.uplink, fact.downlink, fact.included, fact.series_id,
            FIRST_MINUTE + fact.minute, fact.rate_id, fact.spans_minutes, fact.revision,
            fact.sealing, fact.is_reset,
        )  # fmt: skip
    return written(rows, SERIES, rates, regions)


def rows_of(body: bytes) -> list[dict[str, Any]]:
    return list(pq.read_table(io.BytesIO(body)).to_pylist())


def column(name: str, body: bytes | None = None) -> list[Any]:
    return [row[name] for row in rows_of(body or file_of())]


# --- what the file says --------------------------------------------------------------------------


def test_a_row_says_all_that_its_fact_said() -> None:
    assert rows_of(file_of())[2] == {
        "minute": MIDNIGHT + timedelta(minutes=1),
        "event_type": "traffic_bytes",
        "account_uuid": "account-4",
        "source_id": "source-1",
        "env": "prod",
        "node_id": "node-4",
        "inbound_tag": "tag-4",
        "region": "tokyo",
        "uplink_bytes": 30,
        "downlink_bytes": 70,
        "total_bytes": 100,
        "included_bytes": 40,
        "rated_bytes": 60,
        "unit_price": Decimal("0.5"),
        "multiplier": Decimal(2),
        "amount": Decimal(60),
        "price_version": "spring",
        "spans_minutes": 1,
        "is_reset": False,
        "revision": 2,
        "sealing": 3,
        "series_id": 4,
        "rate_id": 3,
    }


def test_rows_keep_the_order_of_the_facts() -> None:
    assert column("minute") == [MIDNIGHT + timedelta(minutes=fact.minute) for fact in FACTS]
    assert column("series_id") == [fact.series_id for fact in FACTS]
    assert column("account_uuid") == [f"account-{fact.series_id}" for fact in FACTS]
    assert column("is_reset") == [fact.is_reset for fact in FACTS]
    assert column("spans_minutes") == [fact.spans_minutes for fact in FACTS]


def test_columns_are_typed_and_only_what_may_be_unknown_may_be_missing() -> None:
    schema = pq.read_table(io.BytesIO(file_of())).schema
    assert schema == SCHEMA
    assert [field.name for field in schema if field.nullable] == [
        "region", "unit_price", "multiplier", "amount", "price_version",
    ]  # fmt: skip


def test_a_fact_that_is_not_rated_has_no_price() -> None:
    unrated = file_of(FACTS[:1], rates=[])
    for name in ("unit_price", "multiplier", "amount", "price_version"):
        assert [value is None for value in column(name)] == [True, False, False, True, True]
        assert column(name, unrated) == [None]


def test_amounts_are_exact() -> None:
    assert column("amount")[1:3] == [Decimal("0.000000000000000000000014"), Decimal(60)]
    largest = file_of([Fact(0, 4, 2**63 - 1, 0, rate_id=5)])
    assert column("amount", largest) == [(2**63 - 1) * Decimal("0.000000000000000000000007")]
    dear = [rate(3, "99999999999999", "1", "dear")]
    assert column("amount", file_of([Fact(0, 4, 1, 0, rate_id=3)], dear)) == [10**14 - 1]


@pytest.mark.parametrize(
    ("price", "multiplier"),
    [
        ("0.0000000000000000000000001", "1"),
        ("100000000000000", "1"),
        ("1", "0.0000000000000000000000001"),
        ("0.0000000000000000000000005", "2"),  # their product would fit
        ("100000", "1"),  # fits, but not times a thousand million bytes
    ],
)
def test_an_amount_of_more_digits_is_refused_and_not_rounded(price: str, multiplier: str) -> None:
    facts = [Fact(0, 4, 10**9, 0, rate_id=3)]
    with pytest.raises(TerminalError) as refused:
        file_of(facts, [rate(3, price, multiplier, "other")])
    assert str(refused.value) == (
        "archive: expected prices and amounts of at most 14 digits before and 24 after the point, "
        "got others; these facts stay in the database"
    )


def test_a_region_applies_from_its_minute_on() -> None:
    facts = [Fact(minute, 4, 1, 0) for minute in range(5)]
    assert column("region", file_of(facts)) == [None, "tokyo", "tokyo", "osaka", "osaka"]


def test_each_source_has_its_own_regions() -> None:
    assert column("region") == [None, "berlin", "tokyo", "tokyo", "osaka"]
    reverse = dict(reversed(REGIONS.items()))
    assert column("region", file_of(regions=reverse)) == column("region")
    assert column("region", file_of(regions={})) == [None] * len(FACTS)


def test_the_same_facts_give_the_same_bytes() -> None:
    assert file_of() == file_of()
    assert file_of() != file_of(FACTS[1:])


def test_nothing_in_the_file_is_arrows_own() -> None:
    assert pq.ParquetFile(io.BytesIO(file_of())).metadata.metadata is None


def test_columns_are_compressed_with_zstd() -> None:
    group = pq.ParquetFile(io.BytesIO(file_of())).metadata.row_group(0)
    assert {group.column(number).compression for number in range(len(SCHEMA))} == {"ZSTD"}


def test_a_large_file_is_read_by_groups() -> None:
    facts = [Fact(0, 4, 1, 0)] * 100_001
    groups = pq.ParquetFile(io.BytesIO(file_of(facts))).metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [
        100_000, 1,
    ]  # fmt: skip


# --- what is read back ---------------------------------------------------------------------------


def test_totals_are_read_back_exactly() -> None:
    read = Read(file_of([*FACTS, FACTS[-1], FACTS[-1]]))
    assert read.facts == 7
    assert read.total("uplink_bytes") == 61 + 3 * 2**62
    assert read.total("downlink_bytes") == 148 + 3 * (2**62 - 1)
    assert read.total("included_bytes") == 41 + 3 * 2**62
    assert read.amount == Decimal("60.000000000000000000000014")


def test_an_amount_beyond_the_digits_of_one_is_still_exact() -> None:
    dear = [rate(3, "90000", "1", "dear")]
    read = Read(file_of([Fact(0, 4, 10**9, 0, rate_id=3)] * 5, dear))
    assert read.amount == 45 * 10**13


def test_what_is_not_rated_has_no_amount() -> None:
    assert Read(file_of(FACTS[:1])).amount == 0


def test_a_file_without_facts_has_no_totals() -> None:
    read = Read(written(np.zeros(0, dtype=FACT), [], [], {}))
    assert (read.facts, read.total("total_bytes")) == (0, 0)
    assert read.amount == 0
    assert read.facts_sha256 == hashlib.sha256().digest()
    assert read.names() == []


def test_the_digest_is_over_each_fact_as_the_server_writes_it() -> None:
    """Big-endian numbers in the order of ``sql/queries/archive/sums.sql``."""
    text = b"".join(
        struct.pack(
            ">iiqqqiihhB",
            fact.series_id, FIRST_MINUTE + fact.minute, fact.uplink, fact.downlink,
            fact.included, fact.rate_id, fact.spans_minutes, fact.revision, fact.sealing,
            fact.is_reset,
        )
        for fact in FACTS
    )  # fmt: skip
    assert Read(file_of()).facts_sha256 == hashlib.sha256(text).digest()


def test_names_of_every_series_are_read_back_once() -> None:
    expected = [
        {name: value for name, value in each.items() if name != "source_key"} for each in SERIES
    ]
    assert Read(file_of([*FACTS[::-1], *FACTS])).names() == expected


def _without_a_column(body: bytes) -> bytes:
    file = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(body)).drop_columns(["sealing"]), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("damage", "kinds"),
    [
        (lambda body: b"", {"ArrowInvalid"}),
        (lambda body: b"mine", {"ArrowInvalid"}),
        (lambda body: body[:-20], {"ArrowInvalid", "OSError"}),
        (_without_a_column, {"ValueError"}),
    ],
)
def test_another_file_is_refused(damage: Callable[[bytes], bytes], kinds: set[str]) -> None:
    with pytest.raises(MismatchError) as refused:
        Read(damage(file_of()))
    assert str(refused.value) in {
        f"archive: expected a Parquet file of facts, got one that cannot be read ({kind})"
        for kind in kinds
    }


def test_engines_can_hold_every_column() -> None:
    """38 digits at most, as DuckDB and Athena have."""
    assert all(field.type.precision <= 38 for field in SCHEMA if pa.types.is_decimal(field.type))
