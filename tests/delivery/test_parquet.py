"""Parquet files: types, cutting, bytes (delivery contract, "Parquet")."""

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fact_changes import CORRECTION, FIRST

from billing_etl.batches import Batch, Event, digest_of_ids
from billing_etl.batches.parquet import ParquetCutter, read_events, schema_of
from billing_etl.errors import MismatchError
from billing_etl.events import FactChange
from billing_etl.events.columns import COLUMNS, row

ROOT = Path(__file__).resolve().parents[2]
CHANGES = [
    replace(FIRST, minute=FIRST.minute + number, uplink_change=number) for number in range(7)
]


def cut(changes: list[FactChange], max_events: int = 100, rows_per_group: int = 3) -> list[Batch]:
    cutter = ParquetCutter(COLUMNS, max_events, rows_per_group)
    batches = [
        cutter.add(Event(change.event_id, change.usage, change.minute), row(change))
        for change in changes
    ]
    return [batch for batch in (*batches, cutter.finish()) if batch is not None]


def table(batch: Batch) -> pa.Table:
    return pq.read_table(io.BytesIO(batch.payload))


def test_columns_are_typed() -> None:
    (batch,) = cut([FIRST])
    assert table(batch).schema == schema_of(COLUMNS)
    assert {field.name: str(field.type) for field in schema_of(COLUMNS)} == {
        "event_id": "string", "revision": "int32", "corrects": "string", "event_type": "string",
        "minute": "timestamp[ms, tz=UTC]", "account_uuid": "string", "source_id": "string",
        "env": "string", "node_id": "string", "inbound_tag": "string", "region": "string",
        "uplink_bytes": "int64", "downlink_bytes": "int64", "usage": "int64",
        "usage_total": "int64",
    }  # fmt: skip
    optional = [field.name for field in schema_of(COLUMNS) if field.nullable]
    assert optional == ["corrects", "uplink_bytes", "downlink_bytes"]


def test_a_file_holds_the_rows_in_their_order_across_groups() -> None:
    (batch,) = cut(CHANGES)
    assert pq.ParquetFile(io.BytesIO(batch.payload)).num_row_groups == 3
    rows = table(batch).to_pylist()
    assert [each["event_id"] for each in rows] == [change.event_id for change in CHANGES]
    assert [each["usage"] for each in rows] == [change.usage for change in CHANGES]
    assert rows[2]["minute"].isoformat() == "2026-04-08T12:04:00+00:00"


def test_a_correction_is_a_row_with_its_difference_and_its_total() -> None:
    (batch,) = cut([CORRECTION])
    (only,) = table(batch).to_pylist()
    assert (only["usage"], only["usage_total"], only["corrects"]) == (-5, 95, FIRST.event_id)


def test_a_batch_counts_what_is_in_its_file() -> None:
    (batch,) = cut(CHANGES)
    assert batch.events == 7
    assert batch.usage == sum(change.usage for change in CHANGES)
    assert batch.first_minute == FIRST.minute
    assert batch.event_ids_sha256 == digest_of_ids(change.event_id for change in CHANGES)


def test_files_are_cut_by_events_and_by_their_sum() -> None:
    assert [batch.events for batch in cut(CHANGES, max_events=3)] == [3, 3, 1]
    assert cut([]) == []
    large = replace(FIRST, uplink_change=2**63 - 1, downlink_change=0)
    assert [batch.usage for batch in cut([large, FIRST])] == [2**63 - 1, 100]


def test_the_same_events_give_the_same_bytes() -> None:
    assert cut(CHANGES) == cut(CHANGES)
    assert cut(CHANGES) != cut(CHANGES[1:])


def test_columns_are_compressed_with_zstd() -> None:
    (batch,) = cut(CHANGES)
    group = pq.ParquetFile(io.BytesIO(batch.payload)).metadata.row_group(0)
    assert {group.column(number).compression for number in range(len(COLUMNS))} == {"ZSTD"}


def test_only_what_repeats_has_a_dictionary_and_nothing_is_arrows_own() -> None:
    (batch,) = cut(CHANGES)
    metadata = pq.ParquetFile(io.BytesIO(batch.payload)).metadata
    columns = [metadata.row_group(0).column(number) for number in range(len(COLUMNS))]
    plain = {each.path_in_schema for each in columns if not each.has_dictionary_page}
    assert plain == {"event_id", "corrects"}
    assert metadata.metadata is None


def test_events_are_read_back_in_their_order() -> None:
    (batch,) = cut([*CHANGES, CORRECTION])
    assert read_events(batch.payload) == [
        (each.event_id, each.account_uuid, each.usage) for each in [*CHANGES, CORRECTION]
    ]


def test_other_bytes_are_no_file_of_events() -> None:
    with pytest.raises(MismatchError) as refused:
        read_events(b"mine")
    assert str(refused.value) == (
        "batches: expected a Parquet file with event_id, account_uuid, usage, got one that cannot "
        "be read (ArrowInvalid)"
    )


def test_memory_holds_a_group_of_rows_not_the_file() -> None:
    cutter = ParquetCutter(COLUMNS, 1000, rows_per_group=3)
    for change in CHANGES:
        cutter.add(Event(change.event_id, change.usage, change.minute), row(change))
        assert len(cutter._rows) < 3


@pytest.mark.parametrize("module", ["billing_etl.cli", "billing_etl.pipeline.deliver"])
def test_who_writes_no_parquet_loads_no_pyarrow(module: str) -> None:
    code = f"import sys, {module}; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# --- ready statements ------------------------------------------------------------------------

ATHENA_TYPES = {
    "string": "string",
    "int32": "int",
    "int64": "bigint",
    "timestamp[ms, tz=UTC]": "timestamp",
}


def test_the_table_for_athena_has_the_columns_of_the_files() -> None:
    ddl = (ROOT / "sql/external/athena.sql").read_text("utf-8")
    columns = ddl.split("create external table traffic_bytes_files (", 1)[1].split("\n)", 1)[0]
    declared = [tuple(line.split()) for line in columns.replace("`", "").split(",\n")]
    assert declared == [(field.name, ATHENA_TYPES[str(field.type)]) for field in schema_of(COLUMNS)]


def test_the_view_for_athena_names_every_column() -> None:
    ddl = (ROOT / "sql/external/athena.sql").read_text("utf-8")
    view = ddl.split("create or replace view traffic_bytes as\nselect", 1)[1].split("from (", 1)[0]
    named = re.findall(r"\w+", view)
    assert named == [*(column.name for column in COLUMNS), "date", "hour"]


def test_athena_projects_the_directories_that_are_delivered() -> None:
    from billing_etl.batches import PARQUET_PATH

    ddl = (ROOT / "sql/external/athena.sql").read_text("utf-8")
    properties = dict(re.findall(r"'([\w.]+)' = '([^']*)'", ddl))
    root, _, template = properties["storage.location.template"].partition("/parquet/")
    assert f"location '{root}/parquet/traffic_bytes/'" in ddl
    filled = template.replace("${date}", "{year}-{month}-{day}").replace("${hour}", "{hour}")
    expected = PARQUET_PATH.replace("{event_type}", "traffic_bytes").removeprefix("parquet/")
    assert f"{filled}{{batch}}.parquet" == expected
    assert "partitioned by (`date` string, `hour` int)" in ddl
    assert (properties["projection.date.type"], properties["projection.date.format"]) == (
        "date", "yyyy-MM-dd",
    )  # fmt: skip
    assert (properties["projection.hour.type"], properties["projection.hour.range"]) == (
        "integer", "0,23",
    )  # fmt: skip
    assert properties["projection.hour.digits"] == "2"
    assert properties["projection.enabled"] == "true"
