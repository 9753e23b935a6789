"""Corrections downstream (delivery contract): what was delivered stays, differences follow it."""

import json
from collections import defaultdict
from typing import Any

import pytest
from pipeline.harness import DAY, JSON, A, hour_of, readings

from billing_etl.hours import HourRange
from billing_etl.local.object_store import EmbeddedObjectStore
from billing_etl.pipeline.deliver import deliver_hours
from scenarios.case import Case, Record, assert_shows, seen

DIRECTORY = "traffic_bytes/2026/04/08"


class Downstream:
    """A consumer of the bucket, with a client of its own."""

    def __init__(self, case: Case, s3: Any, bucket: str) -> None:
        self.case, self.s3, self.bucket = case, s3, bucket

    def deliver(self) -> list[str]:
        """Delivers hours 12 and 13; gives what became of each."""
        hours = HourRange(hour_of("12"), hour_of("14"))
        return [result.outcome for result in deliver_hours(self.case.line.engine, hours)]

    def objects(self) -> dict[str, tuple[bytes, str, Any]]:
        """Body, ETag and time of every object: an object sent again has a later time."""
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ())
        return {
            each["Key"]: (
                self.s3.get_object(Bucket=self.bucket, Key=each["Key"])["Body"].read(),
                each["ETag"],
                each["LastModified"],
            )
            for each in listed
        }

    def _events(self) -> list[JSON]:
        bodies = [body for key, (body, *_) in self.objects().items() if key.endswith(".jsonl")]
        return [json.loads(line) for body in bodies for line in body.splitlines()]

    def events(self) -> list[Record]:
        """Every event, by minute and revision; an id is shown as the minute and revision it is of.

        Two events of one id would be shown alike, and fail.
        """
        events = sorted(
            self._events(), key=lambda each: (each["timestamp"], each["properties"]["revision"])
        )
        assert len({each["id"] for each in events}) == len(events)
        names = {
            each["id"]: f"{each['timestamp'][11:16]} #{each['properties']['revision']}"
            for each in events
        }
        return [
            {
                "event": names[each["id"]],
                "usage": str(properties["usage"]),
                "up": str(properties["uplink_bytes"]),
                "down": str(properties["downlink_bytes"]),
                "total": str(properties.get("usage_total", "-")),
                "corrects": names[properties["corrects"]] if "corrects" in properties else "-",
            }
            for each in events
            for properties in [each["properties"]]
        ]

    def usage(self) -> dict[str, int]:
        """Bytes per minute, for a consumer who keeps each id once and sums; zeros left out."""
        sums: dict[str, int] = defaultdict(int)
        for properties, at in {
            each["id"]: (each["properties"], each["timestamp"][11:16]) for each in self._events()
        }.values():
            sums[at] += properties["usage"]
        return {at: total for at, total in sorted(sums.items()) if total}

    def manifest(self, hour: str, number: int) -> JSON:
        key = f"{DIRECTORY}/{hour}/_manifest-{number}.json"
        document: JSON = json.loads(self.objects()[key][0])
        return document


@pytest.fixture
def downstream(case: Case, s3: Any, bucket: str, object_store: EmbeddedObjectStore) -> Downstream:
    case.line.settings |= {
        "s3_enabled": True,
        "s3_bucket": bucket,
        "s3_endpoint_url": object_store.endpoint_url,
    }
    return Downstream(case, s3, bucket)


SERVED = [
    seen("12:57:03", A=0),
    seen("12:58:03", A=100),
    seen("13:00:03", A=150),
    seen("13:01:03", A=160),
]


def test_a_late_snapshot_goes_out_as_signed_differences_in_new_batches(
    case: Case, downstream: Downstream
) -> None:
    """30 bytes move from hour 13 to hour 12, of which alone the exporter still serves anything."""
    case.serve(SERVED)
    case.bill("12", "13")
    assert downstream.deliver() == ["sealed", "sealed"]
    first = downstream.objects()
    assert len(first) == 4  # a batch and a manifest of each hour

    case.serve([*SERVED[:2], seen("12:59:03", A=130)])
    case.bill("12")
    assert downstream.deliver() == ["sealed", "sealed"]

    assert_shows(
        downstream.events(),
        """
        event    | usage | up  | down | total | corrects
        12:58 #1 | 100   | 100 | 0    | -     | -
        12:59 #1 | 30    | 30  | 0    | -     | -
        13:00 #1 | 50    | 50  | 0    | -     | -
        13:00 #2 | -30   | -30 | 0    | 20    | 13:00 #1
        13:01 #1 | 10    | 10  | 0    | -     | -
        """,
    )
    objects = downstream.objects()
    assert {key: objects[key] for key in first} == first
    assert len(objects) == 8
    for hour, usage in (("12", 130), ("13", 30)):
        manifest = downstream.manifest(hour, 2)
        batches = [key for key in objects if key.endswith(".jsonl") and f"/{hour}/" in key]
        assert sorted(each["key"] for each in manifest["batches"]) == sorted(batches)
        assert (manifest["totals"]["batches"], manifest["totals"]["usage"]) == (2, usage)
        assert len(downstream.manifest(hour, 1)["batches"]) == 1

    assert downstream.deliver() == ["nothing_new", "nothing_new"]
    case.assert_settled()
    assert downstream.deliver() == ["nothing_new", "nothing_new"]
    assert downstream.objects() == objects


def test_a_fact_down_to_zero_and_back_goes_on_counting_revisions(
    case: Case, downstream: Downstream
) -> None:
    """Other values of one instant move bytes between two minutes, down and up apart."""

    def serve(up: int, down: int) -> None:
        case.serve(
            readings(("12:57:03", 0, 0), ("12:58:03", up, down), ("12:59:03", 100, 40))
            + readings(("13:00:03", 100, 40))
        )
        case.bill("12", "13")
        downstream.deliver()

    for up, down in ((60, 0), (0, 0), (0, 0), (60, 40), (100, 0)):
        before = downstream.objects()
        serve(up, down)
        assert before.items() <= downstream.objects().items()

    assert_shows(
        downstream.events(),
        """
        event    | usage | up  | down | total | corrects
        12:58 #1 | 60    | 60  | 0    | -     | -
        12:58 #2 | -60   | -60 | 0    | 0     | 12:58 #1
        12:58 #3 | 100   | 60  | 40   | 100   | 12:58 #2
        12:58 #4 | 0     | 40  | -40  | 100   | 12:58 #3
        12:59 #1 | 80    | 40  | 40   | -     | -
        12:59 #2 | 60    | 60  | 0    | 140   | 12:59 #1
        12:59 #3 | -100  | -60 | -40  | 40    | 12:59 #2
        12:59 #4 | 0     | -40 | 40   | 40    | 12:59 #3
        """,
    )
    assert downstream.usage() == {"12:58": 100, "12:59": 40}
    assert len(downstream.manifest("12", 4)["batches"]) == 4
    case.assert_settled()


def test_several_changes_between_two_sealings_are_one_revision(
    case: Case, downstream: Downstream
) -> None:
    def serve(total: int) -> None:
        case.serve([seen("12:58:03", A=0), seen("12:59:03", A=total), seen("13:00:03", A=500)])
        case.bill("12", "13")

    serve(100)
    downstream.deliver()
    for total in (0, 300, 250):
        serve(total)
    downstream.deliver()

    assert_shows(
        downstream.events(),
        """
        event    | usage | total | corrects
        12:59 #1 | 100   | -     | -
        12:59 #2 | 150   | 250   | 12:59 #1
        13:00 #1 | 400   | -     | -
        13:00 #2 | -150  | 250   | 13:00 #1
        """,
    )
    case.assert_settled()


def test_a_change_of_rating_alone_makes_no_event(case: Case, downstream: Downstream) -> None:
    """A price and a quota move money, in the ledger; events carry bytes."""
    case.serve(SERVED)
    case.bill("12", "13")
    downstream.deliver()
    sent = downstream.objects()

    change = {
        "price_version": "other",
        "from": f"{DAY}T12:59:00Z",
        "price_per_byte": "0.5",
    }
    quota = {
        "price_version": "own",
        "scope": "account",
        "scope_key": A,
        "price_per_byte": "3",
        "included_quota_bytes": 120,
    }
    case.publish(versions=[change, quota])

    assert_shows(
        case.ledger(),
        """
        hour  | type           | bytes | amount | reason
        12:00 | traffic_charge | 100   | 200    | usage
        13:00 | traffic_charge | 60    | 120    | usage
        12:00 | adjustment     | -100  | -200   | prices changed
        13:00 | adjustment     | -20   | 0      | prices changed
        """,
    )
    assert downstream.deliver() == ["nothing_new", "nothing_new"]
    assert downstream.objects() == sent
    case.assert_settled()
