"""Every envelope against its published schema; CloudEvents also against the official SDK."""

import json
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from billing_rows import ACCOUNT
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from fact_changes import CORRECTION, FIRST
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from billing_etl.errors import MismatchError, TerminalError
from billing_etl.events import ENVELOPES, Envelope, FactChange, ReadEvent, envelope_named
from billing_etl.events.columns import COLUMNS, row
from billing_etl.settings import EnvelopeName

SCHEMAS = Path(__file__).resolve().parents[2] / "docs/schemas"
LARGEST = 2**63 - 1
REQUESTS = replace(
    FIRST, event_type="requests", unit="request", uplink_change=7, downlink_change=0,
    uplink_total=7, downlink_total=0,
)  # fmt: skip

names = pytest.mark.parametrize("name", list(ENVELOPES))
# Surrogates are no text, and NUL is refused when it is collected (C11).
tags = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@st.composite
def changes(draw: st.DrawFn) -> FactChange:
    revision = draw(st.integers(1, 32767))
    total = draw(st.integers(0, LARGEST))
    before = 0 if revision == 1 else draw(st.integers(0, LARGEST))
    return replace(
        FIRST,
        env=draw(tags),
        node_id=draw(tags),
        inbound_tag=draw(tags),
        region=draw(tags),
        unit=draw(st.sampled_from(["byte", "request"])),
        minute=draw(st.integers(0, 2**31 - 1)),
        uplink_change=total - before,
        downlink_change=0,
        uplink_total=total,
        downlink_total=0,
        revision=revision,
        corrects=None if revision == 1 else revision - 1,
    )


@cache
def validator(name: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_there_is_a_setting_and_a_schema_for_every_envelope() -> None:
    assert set(get_args(EnvelopeName)) == set(ENVELOPES)
    assert {path.stem for path in SCHEMAS.glob("*.json")} == set(ENVELOPES)
    assert {envelope_named(name, "network").name for name in ENVELOPES} == set(ENVELOPES)


@names
@given(change=changes())
def test_every_line_is_valid_and_read_back(name: str, change: FactChange) -> None:
    envelope = envelope_named(name, "network")
    line = envelope.line(change)
    validator(name).validate(json.loads(line))
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
    assert line == envelope.line(change)
    assert envelope.read(line) == ReadEvent(change.event_id, ACCOUNT, change.usage)


@names
@pytest.mark.parametrize("change", [FIRST, CORRECTION, REQUESTS], ids=["first", "again", "other"])
def test_the_schema_asks_for_every_field(name: str, change: FactChange) -> None:
    event = json.loads(envelope_named(name, "network").line(change))
    for path in list(paths(event)):
        spoilt = without(event, path)
        with pytest.raises(ValidationError):
            validator(name).validate(spoilt)


def paths(event: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every field, but those inside a field that has fields come after it."""
    found = []
    for key, value in event.items():
        found.append((*above, key))
        if isinstance(value, dict):
            found += paths(value, (*above, key))
    return found


def without(event: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    if len(path) == 1:
        return {key: value for key, value in event.items() if key != path[0]}
    return event | {path[0]: without(event[path[0]], path[1:])}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("billing_event", "a billing_event with id, resource_id and usage"),
        ("cloudevents", "one of cloudevents with id, subject and data.value"),
        ("usage_event", "a usage_event with idempotency_key, tenant_id and quantity"),
    ],
)
def test_a_line_of_another_envelope_is_a_mismatch(name: str, expected: str) -> None:
    said = rf"^events: expected {expected}, got a line that is none \(.+\)$"
    for other in ENVELOPES.keys() - {name}:
        with pytest.raises(MismatchError, match=said):
            envelope_named(name, "network").read(envelope_named(other, "network").line(FIRST))


def test_an_envelope_that_nobody_knows_is_named() -> None:
    with pytest.raises(TerminalError) as refused:
        envelope_named("x", "network")
    assert str(refused.value) == (
        "events: expected an envelope of billing_event, cloudevents, usage_event, got 'x'; "
        "run the version that sealed it"
    )


# --- cloudevents -----------------------------------------------------------------------------


def cloud_event(change: FactChange) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(envelope_named("cloudevents", "network").line(change))
    return event


def test_a_cloud_event_is_exactly_this() -> None:
    assert cloud_event(CORRECTION) == {
        "specversion": "1.0",
        "id": CORRECTION.event_id,
        "source": "urn:billing-etl:jp-1",
        "type": "traffic_bytes",
        "subject": ACCOUNT,
        "time": "2026-04-08T12:02:00Z",
        "datacontenttype": "application/json",
        "data": {
            "value": -5, "unit": "byte", "product": "network", "region": "tokyo",
            "resource_type": "account", "uplink_bytes": -10, "downlink_bytes": 5,
            "node_id": "node-1", "env": "prod", "inbound_tag": "tcp", "source_id": "jp-1",
            "revision": 2, "value_total": 95, "corrects": FIRST.event_id,
        },
    }  # fmt: skip


@pytest.mark.parametrize("change", [FIRST, CORRECTION, REQUESTS], ids=["first", "again", "other"])
def test_the_official_sdk_takes_every_line(change: FactChange) -> None:
    line = envelope_named("cloudevents", "network").line(change)
    message = HTTPMessage({"content-type": "application/cloudevents+json"}, line)
    event = from_structured_event(message, JSONFormat())
    assert event.get_specversion() == "1.0"
    assert (event.get_id(), event.get_subject()) == (change.event_id, ACCOUNT)
    assert (event.get_source(), event.get_type()) == ("urn:billing-etl:jp-1", change.event_type)
    time = event.get_time()
    assert time is not None
    assert time.isoformat() == "2026-04-08T12:02:00+00:00"
    data: Any = event.get_data()
    assert data["value"] == change.usage


def test_a_source_is_a_uri_whatever_its_name() -> None:
    source = cloud_event(replace(FIRST, source_id="tōkyō 1/2"))["source"]
    assert source == "urn:billing-etl:t%C5%8Dky%C5%8D%201%2F2"


# --- usage_event -----------------------------------------------------------------------------


def test_a_usage_event_is_exactly_this() -> None:
    event = json.loads(envelope_named("usage_event", "network").line(CORRECTION))
    assert event == {
        "schema_version": "1.0",
        "idempotency_key": CORRECTION.event_id,
        "tenant_id": ACCOUNT,
        "module_id": "network/tcp",
        "facility_id": "node-1",
        "event_type": "traffic_bytes",
        "quantity": -5,
        "resource_units": -5,
        "resource_unit_type": "byte",
        "environment": "prod",
        "timestamp": "2026-04-08T12:02:00Z",
        "correlation_id": FIRST.fact_id,
    }


def test_a_fact_correlates_its_own_changes_only() -> None:
    assert CORRECTION.fact_id == FIRST.fact_id
    others: dict[str, Any] = {
        "source_id": "jp-2", "env": "test", "node_id": "node-2", "inbound_tag": "udp",
        "account_uuid": ACCOUNT.replace("a", "b"), "event_type": "requests",
        "minute": FIRST.minute + 1,
    }  # fmt: skip
    ids = {replace(FIRST, **{part: value}).fact_id for part, value in others.items()}
    assert len(ids | {FIRST.fact_id, FIRST.event_id}) == len(others) + 2


# --- other meters and rows -------------------------------------------------------------------


@names
def test_only_bytes_go_up_and_down(name: str) -> None:
    def keys(envelope: Envelope, change: FactChange) -> set[str]:
        return {path[-1] for path in paths(json.loads(envelope.line(change)))}

    envelope = envelope_named(name, "network")
    assert keys(envelope, FIRST) - keys(envelope, REQUESTS) == (
        set() if name == "usage_event" else {"uplink_bytes", "downlink_bytes"}
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            FIRST,
            {"corrects": None, "uplink_bytes": 30, "downlink_bytes": 70, "usage": 100},
            id="first",
        ),
        pytest.param(
            CORRECTION,
            {
                "corrects": FIRST.event_id,
                "uplink_bytes": -10,
                "downlink_bytes": 5,
                "usage": -5,
                "usage_total": 95,
            },
            id="correction",
        ),
        pytest.param(REQUESTS, {"uplink_bytes": None, "downlink_bytes": None}, id="other meter"),
    ],
)
def test_a_row_says_what_the_line_says(change: FactChange, expected: dict[str, Any]) -> None:
    values = dict(zip((column.name for column in COLUMNS), row(change), strict=True))
    shared = {field.name for field in fields(FactChange)} & values.keys() - {"corrects"}
    assert {name: values[name] for name in shared} == {
        name: getattr(change, name) for name in shared
    }
    assert values["event_id"] == change.event_id
    assert values["usage"] == values["usage_total"] or change.corrects is not None
    assert values | expected == values
