"""Fixtures of reconciliation: those of delivery, and two hours that went through the whole line."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from billing_fixtures import (
    bucket,
    buckets,
    engine,
    engine_without_s3,
    other_bucket,
    rows,
    s3,
    settings,
)
from billing_rows import Rows

from billing_etl.local.exporter_server import ExporterServer
from billing_etl.pipeline.collect import collect_hours
from billing_etl.pipeline.deliver import deliver_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rate import rate_hours
from billing_etl.settings import Settings, Source
from reconciliation.line import HOURS, TOTALS, Line, serve

__all__ = [
    "bucket",
    "buckets",
    "engine",
    "engine_without_s3",
    "other_bucket",
    "rows",
    "s3",
    "settings",
]


@pytest.fixture
def line(settings: Settings, tmp_path: Path, rows: Rows, s3: Any, bucket: str) -> Iterator[Line]:
    store = tmp_path / "store.json"
    serve(store, TOTALS)
    with ExporterServer(store, "127.0.0.1:0", "secret") as server:
        engine = Engine(
            replace(
                settings,
                sources=(Source("jp-1", server.base_url, token="secret", region="tokyo"),),
                price_per_byte=Decimal(2),
                initial_included_quota_bytes=100,
                s3_max_events=2,
            )
        )
        assert not collect_hours(engine, engine.settings.sources, HOURS).failures
        rate_hours(engine, HOURS)
        deliver_hours(engine, HOURS)
        yield Line(engine, store, rows, s3, bucket)
