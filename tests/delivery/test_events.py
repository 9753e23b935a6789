"""Events: ids, fields and bytes (delivery contract, "Event" and "Corrections")."""

import json
import uuid
from dataclasses import replace

import pytest
from billing_rows import ACCOUNT
from fact_changes import CORRECTION, FIRST

from billing_etl.errors import MismatchError
from billing_etl.events import BillingEvent, ReadEvent, event_id

ENVELOPE = BillingEvent("network")


def test_first_sealing_of_a_fact_is_one_line_with_exactly_these_bytes() -> None:
    assert ENVELOPE.line(FIRST) == (
        b'{"id":"' + FIRST.event_id.encode() + b'","timestamp":"2026-04-08T12:02:00Z",'
        b'"product":"network","event_type":"traffic_bytes","properties":{"usage":100,'
        b'"region":"tokyo","resource_type":"account",'
        b'"resource_id":"3f2b0a1c-0000-4000-8000-00000000000a","uplink_bytes":30,'
        b'"downlink_bytes":70,"node_id":"node-1","env":"prod","inbound_tag":"tcp",'
        b'"source_id":"jp-1","revision":1}}\n'
    )


def test_correction_carries_the_signed_difference_the_total_and_what_it_corrects() -> None:
    properties = json.loads(ENVELOPE.line(CORRECTION))["properties"]
    assert properties["usage"] == -5
    assert (properties["uplink_bytes"], properties["downlink_bytes"]) == (-10, 5)
    assert properties["usage_total"] == 95
    assert properties["revision"] == 2
    assert properties["corrects"] == FIRST.event_id


def test_event_id_never_changes() -> None:
    # Recorded: another value would give every delivered event a second id.
    recorded = "6b7794d9-4443-53d6-8ce8-fa2f7cf2e57f"
    assert event_id("jp-1", "prod", "n", ACCOUNT, "tcp", "traffic_bytes", 29596320, 1) == recorded
    parts = f'["jp-1","prod","n","{ACCOUNT}","tcp","traffic_bytes",29596320,1]'
    assert str(uuid.uuid5(uuid.UUID("6f1d7a52-0b3e-5c49-9e0f-4f6d8a3c2b71"), parts)) == recorded


def test_an_event_id_is_the_uuid_of_version_5_of_its_parts() -> None:
    namespace = uuid.UUID("6f1d7a52-0b3e-5c49-9e0f-4f6d8a3c2b71")
    for minute in range(50):
        parts = f'["jp-1","prod","n","{ACCOUNT}","tcp","traffic_bytes",{minute},1]'
        found = event_id("jp-1", "prod", "n", ACCOUNT, "tcp", "traffic_bytes", minute, 1)
        assert found == str(uuid.uuid5(namespace, parts))


@pytest.mark.parametrize(
    "change",
    [
        {"source_id": "jp-2"},
        {"env": "test"},
        {"node_id": "node-2"},
        {"account_uuid": ACCOUNT.replace("a", "b")},
        {"inbound_tag": "udp"},
        {"event_type": "requests"},
        {"minute": FIRST.minute + 1},
        {"revision": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_event_id_differs_in_every_part_of_a_fact(change: dict[str, object]) -> None:
    assert replace(FIRST, **change).event_id != FIRST.event_id  # type: ignore[arg-type]


def test_event_id_is_not_fooled_by_parts_that_join_alike() -> None:
    left = replace(FIRST, env='prod","node', node_id="1")
    right = replace(FIRST, env="prod", node_id='node","1')
    assert left.event_id != right.event_id


def test_event_id_does_not_depend_on_the_quantity() -> None:
    assert replace(FIRST, uplink_change=1).event_id == FIRST.event_id


def test_tags_of_any_script_survive_in_one_line() -> None:
    line = ENVELOPE.line(replace(FIRST, inbound_tag='東京 "a"\n'))
    assert line.count(b"\n") == 1
    assert json.loads(line)["properties"]["inbound_tag"] == '東京 "a"\n'


def test_usage_keeps_every_bit_of_a_large_quantity() -> None:
    largest = 2**63 - 1
    line = ENVELOPE.line(replace(FIRST, uplink_change=largest, downlink_change=0))
    assert json.loads(line)["properties"]["usage"] == largest


def test_a_line_is_read_back() -> None:
    assert ENVELOPE.read(ENVELOPE.line(CORRECTION)) == ReadEvent(CORRECTION.event_id, ACCOUNT, -5)


def test_a_line_that_is_no_event_is_a_mismatch() -> None:
    with pytest.raises(MismatchError, match=r"expected a billing_event with id"):
        ENVELOPE.read(b'{"id": 1}\n')
