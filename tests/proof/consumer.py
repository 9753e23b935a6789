"""What a downstream consumer of the bucket knows: it dedups on id and sums (delivery contract)."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

JSON: TypeAlias = dict[str, Any]


class FactName(NamedTuple):
    """What one event is about."""

    source_id: str
    env: str
    node_id: str
    account: str
    inbound_tag: str
    minute: str  # RFC 3339, as in the event


@dataclass
class Consumer:
    """Reads every object once; an object that changes or disappears later is an error."""

    client: Any
    bucket: str
    prefix: str
    etags: dict[str, str] = field(default_factory=dict)
    usage: Counter[FactName] = field(default_factory=Counter)
    last_event: dict[FactName, tuple[str, int]] = field(default_factory=dict)  # -> id, revision
    ids: set[str] = field(default_factory=set)

    def read(self) -> int:
        """Takes up what is new; gives how many events came."""
        listed = self._listed()
        changed = {key: etag for key, etag in self.etags.items() if listed.get(key) != etag}
        assert not changed, f"delivered objects were changed or removed: {changed}"
        events: list[JSON] = []
        for key in sorted(listed.keys() - self.etags.keys()):
            if key.endswith(".jsonl"):
                body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
                assert body.endswith(b"\n")
                events += [json.loads(line) for line in body.splitlines()]
        self.etags = listed
        for event in sorted(events, key=lambda each: int(each["properties"]["revision"])):
            self._take(event)
        return len(events)

    def _listed(self) -> dict[str, str]:
        pages = self.client.get_paginator("list_objects_v2")
        return {
            entry["Key"]: entry["ETag"]
            for page in pages.paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
            for entry in page.get("Contents", ())
        }

    def _take(self, event: JSON) -> None:
        assert event["id"] not in self.ids, f"an event came twice: {event}"
        self.ids.add(event["id"])
        of = event["properties"]
        name = FactName(
            of["source_id"],
            of["env"],
            of["node_id"],
            of["resource_id"],
            of["inbound_tag"],
            event["timestamp"],
        )
        previous_id, revision = self.last_event.get(name, (None, 0))
        assert of["revision"] == revision + 1, event
        assert of.get("corrects") == previous_id, event
        self.usage[name] += of["usage"]
        if previous_id is not None:
            assert of["usage_total"] == self.usage[name], event
        assert of["uplink_bytes"] + of["downlink_bytes"] == of["usage"], event
        self.last_event[name] = (event["id"], of["revision"])
