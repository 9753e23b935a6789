"""What one answer means: C11's bad samples, unreadable pages, use-retry-fail."""

import json
from typing import Any

import pytest

from billing_etl.errors import RetryableError, TerminalError
from billing_etl.exporter.contract import (
    QUARANTINE_REASONS,
    Fail,
    KnownText,
    Retry,
    Use,
    classify_answer,
    decode_page,
)
from billing_etl.hours import parse_instant_ns

UUID = "028c6630-89a1-508f-be9b-1e30b4e0de51"
GOOD = (
    f'{{"uuid":"{UUID}","email":"a@x.test","inbound_tag":"tcp",'
    '"uplink_bytes_total":1,"downlink_bytes_total":2}'
)
NOW_NS = parse_instant_ns("2026-04-08T12:00:00Z")


def page(*samples: str) -> bytes:
    return (
        '{"node_id":"page-node","env":"page-env","snapshots":[{"collected_at":'
        '"2026-04-08T12:00:03.123456417Z","node_id":"jp-1","env":"prod","samples":['
        + ",".join(samples)
        + ']}],"has_more":false}'
    ).encode()


def sample(**changed: str) -> str:
    """The good sample with fields replaced by JSON text; an empty text removes the field."""
    fields = {name: json.dumps(value) for name, value in json.loads(GOOD).items()} | changed
    return "{" + ",".join(f'"{name}":{text}' for name, text in fields.items() if text) + "}"


def test_a_page_is_read_by_the_snapshots_own_time_node_and_environment() -> None:
    read = decode_page(page(GOOD))

    assert (read.has_more, read.next_cursor) == (False, None)
    (snapshot,) = read.snapshots
    assert snapshot.instant_ns == parse_instant_ns("2026-04-08T12:00:03.123456417Z")
    assert (snapshot.node_id, snapshot.env) == ("jp-1", "prod")
    assert (snapshot.accounts, snapshot.inbound_tags) == ([UUID], ["tcp"])
    assert (snapshot.uplink_bytes_total, snapshot.downlink_bytes_total) == ([1], [2])
    assert snapshot.bad_samples == []


@pytest.mark.parametrize(
    "usable",
    [
        pytest.param(sample(inbound_tag='""'), id="empty tag"),
        pytest.param(sample(inbound_tag=json.dumps("ü" * 127)), id="tag of 254 bytes"),
        pytest.param(sample(email=""), id="no email"),
        pytest.param(sample(email="null"), id="null email"),
        pytest.param(sample(email='"\\ud800"'), id="email with half a surrogate pair"),
        pytest.param(sample(extra='{"a":[1,2.5]}'), id="unknown field"),
        pytest.param(
            sample(uplink_bytes_total=str(2**63 - 1), downlink_bytes_total="0"), id="largest sum"
        ),
    ],
)
def test_usable_samples(usable: str) -> None:
    (snapshot,) = decode_page(page(usable, GOOD)).snapshots

    assert (len(snapshot.accounts), snapshot.bad_samples) == (2, [])


def test_uuids_are_stored_in_lower_case() -> None:
    (snapshot,) = decode_page(page(sample(uuid=f'"{UUID.upper()}"'), GOOD)).snapshots

    assert snapshot.accounts == [UUID, UUID]


BAD_SAMPLES = [
    ("uuid_malformed", "uuid without dashes", sample(uuid=f'"{UUID.replace("-", "")}"')),
    ("uuid_malformed", "uuid in braces", sample(uuid=f'"{{{UUID}}}"')),
    ("uuid_malformed", "uuid with a line end", sample(uuid=f'"{UUID}\\n"')),
    ("uuid_malformed", "uuid with foreign digits", sample(uuid=f'"{UUID[:-1]}\\u0663"')),
    ("uuid_malformed", "uuid a number", sample(uuid="7")),
    ("uuid_malformed", "uuid null", sample(uuid="null")),
    ("total_negative", "negative uplink", sample(uplink_bytes_total="-1")),
    ("total_negative", "negative downlink", sample(downlink_bytes_total="-9223372036854775809")),
    ("total_not_integer", "float", sample(uplink_bytes_total="1024.0")),
    ("total_not_integer", "exponent", sample(uplink_bytes_total="1e3")),
    ("total_not_integer", "boolean", sample(uplink_bytes_total="true")),
    ("total_not_integer", "text", sample(downlink_bytes_total='"7"')),
    ("total_not_integer", "null", sample(downlink_bytes_total="null")),
    ("total_not_integer", "object", sample(downlink_bytes_total="{}")),
    ("total_too_large", "total 2^63", sample(uplink_bytes_total=str(2**63))),
    ("total_too_large", "sum 2^63", sample(uplink_bytes_total=str(2**63 - 1))),
    ("total_too_large", "5000 digits", sample(uplink_bytes_total="9" * 5000)),
    ("field_missing", "no uuid", sample(uuid="")),
    ("field_missing", "no tag", sample(inbound_tag="")),
    ("field_missing", "no uplink", sample(uplink_bytes_total="")),
    ("field_missing", "no downlink", sample(downlink_bytes_total="")),
    ("tag_too_long", "tag of 256 bytes, 128 characters", sample(inbound_tag=f'"{"ü" * 128}"')),
    ("tag_not_text", "tag a number", sample(inbound_tag="5")),
    ("tag_not_text", "tag null", sample(inbound_tag="null")),
    ("tag_not_text", "tag with NUL", sample(inbound_tag='"a\\u0000b"')),
    ("tag_not_text", "tag with half a surrogate pair", sample(inbound_tag='"\\ud83d!"')),
    ("tag_not_text", "tag ends in half a surrogate pair", sample(inbound_tag='"\\uDC00"')),
    ("sample_not_object", "number", "3"),
    ("sample_not_object", "null", "null"),
    ("sample_not_object", "array", f"[{GOOD}]"),
]


@pytest.mark.parametrize(
    ("reason", "bad"),
    [pytest.param(reason, bad, id=case) for reason, case, bad in BAD_SAMPLES],
)
def test_a_bad_sample_is_put_aside_and_the_rest_is_used(reason: str, bad: str) -> None:
    (snapshot,) = decode_page(page(GOOD, bad, GOOD)).snapshots

    assert [sample.reason for sample in snapshot.bad_samples] == [reason]
    assert snapshot.accounts == [UUID, UUID]
    assert snapshot.samples == 3
    assert "a@x.test" not in snapshot.bad_samples[0].raw_text


def test_every_reason_is_documented_and_shown_by_a_case() -> None:
    assert {reason for reason, _, _ in BAD_SAMPLES} == set(QUARANTINE_REASONS)


def test_the_raw_text_keeps_the_spelling_and_drops_the_email() -> None:
    note = r'"write to c@x.test, or d\u0040x.test"'
    bad = sample(uplink_bytes_total="1.50e3", Email='"b@x.test"', note=note)

    (snapshot,) = decode_page(page(bad)).snapshots

    assert snapshot.bad_samples[0].raw_text == (
        f'{{"uuid":"{UUID}","inbound_tag":"tcp","uplink_bytes_total":1.50e3,'
        '"downlink_bytes_total":2,"note":"write to ***, or ***"}'
    )


def test_a_bad_sample_names_its_series_as_far_as_it_can_be_read() -> None:
    shouted = sample(uuid=f'"{UUID.upper()}"', uplink_bytes_total="-1")
    (snapshot,) = decode_page(
        page(shouted, sample(uuid='"x"'), sample(inbound_tag="5"), "7")
    ).snapshots

    assert [(bad.account_uuid, bad.inbound_tag) for bad in snapshot.bad_samples] == [
        (UUID, "tcp"),
        (None, "tcp"),
        (UUID, None),
        (None, None),
    ]


def test_invalid_utf_8_in_a_tag_is_one_bad_sample() -> None:
    body = page(sample(inbound_tag='"BYTES"'), GOOD).replace(b"BYTES", b"\xff\xfe")

    (snapshot,) = decode_page(body).snapshots

    assert [bad.reason for bad in snapshot.bad_samples] == ["tag_not_text"]
    assert snapshot.samples == 2


def test_escapes_that_are_no_lone_surrogates_are_left_alone() -> None:
    tags = ['"\\ud83d\\ude00"', '"\\\\ud800"', '"\\u00e9"']
    bad = sample(uplink_bytes_total="-1")  # so that the page is read sample by sample

    (snapshot,) = decode_page(page(bad, *(sample(inbound_tag=tag) for tag in tags))).snapshots

    assert snapshot.inbound_tags == ["\U0001f600", "\\ud800", "é"]


def test_what_was_checked_before_is_still_checked() -> None:
    known = KnownText()
    decode_page(page(GOOD), known)

    (snapshot,) = decode_page(page(GOOD, sample(uuid='"x"')), known).snapshots

    assert (snapshot.accounts, len(snapshot.bad_samples)) == ([UUID], 1)


@pytest.mark.parametrize(
    ("body", "snapshots", "samples"),
    [
        ('{"node_id":"","env":"","snapshots":[],"has_more":false}', 0, 0),
        ('{"node_id":"node-b","env":"prod","snapshots":null,"has_more":false}\n', 0, 0),
        (page().decode().replace('"samples":[]', '"samples":null'), 1, 0),
        (page().decode().replace(',"samples":[]', ""), 1, 0),
        (page().decode(), 1, 0),
    ],
    ids=["no snapshot", "snapshots null", "samples null", "samples missing", "samples empty"],
)
def test_empty_pages_and_empty_snapshots(body: str, snapshots: int, samples: int) -> None:
    read = decode_page(body.encode())

    assert len(read.snapshots) == snapshots
    assert sum(snapshot.samples for snapshot in read.snapshots) == samples


WHOLE = page(GOOD).decode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("{}", id="empty object"),
        pytest.param('{"error":"database is down"}', id="another service's JSON"),
        pytest.param("[]", id="array"),
        pytest.param("null", id="null"),
        pytest.param("<html></html>", id="html"),
        pytest.param(WHOLE + "x", id="trailing text"),
        pytest.param(WHOLE.replace('"snapshots":[', '"snapshots":[null,'), id="null snapshot"),
        pytest.param(WHOLE.replace('"samples":[', '"samples":7,"x":['), id="samples a number"),
        pytest.param(WHOLE.replace('"has_more":false', '"has_more":"no"'), id="has_more text"),
        pytest.param(WHOLE.replace("2026-04-08T", "yesterday "), id="collected_at unreadable"),
        pytest.param(WHOLE.replace("417Z", "417"), id="collected_at without offset"),
        pytest.param(WHOLE.replace('"node_id":"jp-1",', ""), id="no node in the snapshot"),
        pytest.param(WHOLE.replace('"jp-1"', "null"), id="null node in the snapshot"),
        pytest.param(WHOLE.replace('"env":"prod",', ""), id="no environment in the snapshot"),
        pytest.param(WHOLE.replace("jp-1", "jp\\u00001"), id="node with NUL"),
        pytest.param(WHOLE.replace("jp-1", "j" * 256), id="node too long"),
        pytest.param('{"snapshots":' + "[" * 100_000 + "]" * 100_000 + "}", id="nested deeply"),
    ],
)
def test_an_unreadable_page_is_terminal(body: str) -> None:
    with pytest.raises(TerminalError, match="expected"):
        decode_page(body.encode())


@pytest.mark.parametrize("kept", [0, 1, 60, 200, len(WHOLE) - 1])
def test_a_body_that_ends_in_the_middle_can_be_asked_for_again(kept: int) -> None:
    with pytest.raises(RetryableError, match=f"cut off after {kept} bytes"):
        decode_page(WHOLE.encode()[:kept])


JSON = "application/json"


@pytest.mark.parametrize(
    ("status", "content_type", "verdict"),
    [
        (200, JSON, Use),
        (200, "Application/JSON; charset=utf-8", Use),
        (200, "text/html", Fail),
        (200, "", Fail),
        (204, JSON, Fail),
        (301, JSON, Fail),
        (307, JSON, Fail),
        (400, "text/plain", Fail),
        (401, "text/plain", Fail),
        (403, JSON, Fail),
        (404, "text/plain", Fail),
        (408, "text/plain", Fail),
        (418, "text/plain", Fail),
        (429, "text/plain", Retry),
        (500, "text/html", Retry),
        (503, "", Retry),
    ],
)
def test_answers_are_used_retried_or_failed(
    status: int, content_type: str, verdict: type[Any]
) -> None:
    assert isinstance(classify_answer(status, content_type, "", b"", NOW_NS), verdict)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("Wed, 08 Apr 2026 12:01:30 GMT", 90.0),
        ("Wed, 08 Apr 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("9" * 500, 999999999.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert classify_answer(429, "", header, b"", NOW_NS) == Retry(
        "status 429 without content type", seconds
    )


def test_a_quoted_body_is_one_short_line_without_emails() -> None:
    body = b"denied for a@x.test \x1b[31m" + b"x" * 500 + b"\nsecond line"

    verdict = classify_answer(403, "text/plain", "", body, NOW_NS)

    assert isinstance(verdict, Fail)
    assert "denied for *** ?[31mxxx" in verdict.got
    assert "second" not in verdict.got
    assert len(verdict.got) < 150
