"""Where objects lie in a bucket (delivery contract, the path and its limits)."""

import re
import uuid
from dataclasses import dataclass
from typing import Final

from billing_etl.batches.cutting import Batch
from billing_etl.errors import UsageError
from billing_etl.hours import Hour, minute_start

PARQUET_PATH: Final = "parquet/{event_type}/date={year}-{month}-{day}/hour={hour}/{batch}.parquet"
_EXAMPLE: Final = "{event_type}/{year}/{month}/{day}/{hour}/{batch}.jsonl"
_BATCH_NAMESPACE: Final = uuid.UUID("0d4f4f0e-6a57-5f0c-8a53-92f1c7b1d6ce")
_FIELD: Final = re.compile(r"\{(\w+)\}")
_HOUR_FIELDS: Final = frozenset({"event_type", "year", "month", "day", "hour"})
_BATCH_FIELDS: Final = frozenset({"tenant", "minute", "batch", "uuid"})


@dataclass(frozen=True, slots=True)
class ObjectKeys:
    """Where objects of one form lie.

    ``template`` may use {event_type}, {year}, {month}, {day}, {hour}; {tenant}, the account of
    all events of the batch; {minute}, that of the batch's oldest event; {batch}, a name that
    sorts in sealing order; {uuid}, the same name as a UUID. Its directories before the first of
    the last four are the hour's own: manifests lie there.

    Raises:
        UsageError: the template would not give every hour and every batch a place of its own.
    """

    prefix: str
    template: str

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise UsageError(
                f"BILLING_S3_PATH_TEMPLATE: expected a path such as {_EXAMPLE}, with "
                "event type, year, month, day and hour as directories and {batch} or {uuid} after "
                f"them, got {self.template}: {fault}"
            )

    def _fault(self) -> str:
        """Why the template is of no use; empty when it is."""
        fields = set(_FIELD.findall(self.template))
        if unknown := fields - _HOUR_FIELDS - _BATCH_FIELDS:
            return f"{{{min(unknown)}}} is no field"
        if set("{}") & set(_FIELD.sub("", self.template)):
            return "a brace encloses no field"
        if missing := _HOUR_FIELDS - set(_FIELD.findall(self._directory_template)):
            return f"{{{min(missing)}}} is in no directory, so hours or event types would be mixed"
        if not fields & {"batch", "uuid"}:
            return "batches would share an object"
        return "" if is_path(self.template) else "a directory has no name"

    @property
    def is_by_tenant(self) -> bool:
        """Whether events of different accounts may not share an object."""
        return "{tenant}" in self.template

    @property
    def _directory_template(self) -> str:
        directory = ""
        for segment in self.template.split("/")[:-1]:
            if _BATCH_FIELDS & set(_FIELD.findall(segment)):
                break
            directory += f"{segment}/"
        return directory

    def directory(self, event_type: str, hour: Hour) -> str:
        """What the keys of an hour and event type share, ending in a slash."""
        return self._path(self._directory_template, _hour_fields(event_type, hour))

    def batch(self, event_type: str, hour: Hour, sealing: int, ordinal: int, batch: Batch) -> str:
        """Deterministic: a second run that seals the same bytes names them alike."""
        digest = batch.sha256.hex()
        place = f"{event_type}/{hour}/{sealing}/{ordinal}/{digest}"
        fields = {
            "tenant": batch.tenant,
            "minute": minute_start(batch.first_minute).strftime("%M"),
            "batch": f"{sealing:03d}-{ordinal:05d}-{digest[:12]}",
            "uuid": str(uuid.uuid5(_BATCH_NAMESPACE, place)),
        }
        return self._path(self.template, _hour_fields(event_type, hour) | fields)

    def manifest(self, event_type: str, hour: Hour, sealing: int) -> str:
        return f"{self.directory(event_type, hour)}_manifest-{sealing}.json"

    def _path(self, template: str, fields: dict[str, str]) -> str:
        path = _FIELD.sub(lambda match: fields[match[1]], template)
        return "/".join(part for part in (self.prefix.strip("/"), path) if part)


def is_path(text: str) -> bool:
    """Whether every directory has a name that stores take as it is."""
    return not {"", ".", ".."} & set(text.split("/"))


def _hour_fields(event_type: str, hour: Hour) -> dict[str, str]:
    year, month, day, hour_of_day = hour.start.strftime("%Y %m %d %H").split()
    return {
        "event_type": event_type,
        "year": year,
        "month": month,
        "day": day,
        "hour": hour_of_day,
    }
