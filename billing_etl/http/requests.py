"""What a request for a job asks for, from its query and its JSON body."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from billing_etl.errors import UsageError
from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.pipeline.jobs import RECONCILE, JobRequest, chosen_sources
from billing_etl.settings import Settings

WAIT_SECONDS: Final = 300
MAX_WAIT_SECONDS: Final = 3600
# A year: more would be a slip of the pen, and backfills go over any range.
MAX_HOURS: Final = 8784

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_PARAMETERS: Final = ("from_hour", "to_hour", "sources", "dry_run", "wait", "wait_seconds")


@dataclass(frozen=True, slots=True)
class Asked:
    """A job, and for how many seconds its end is waited for; 0: not at all."""

    job: JobRequest
    wait_seconds: int


def read_request(
    job: str, query: Iterable[tuple[str, str]], body: object, settings: Settings, now: datetime
) -> Asked:
    """Reads and checks a request; a parameter stands in the query or in the body.

    Args:
        job: name of the job.
        query: names and values, in their order; ``sources`` may come several times.
        body: the decoded JSON body; None: there is none.
        settings: the known sources.
        now: the wall clock.

    Raises:
        UsageError: a parameter is unknown, given twice, or not what it should be.
    """
    given = _given(query, body)
    for name in given:
        if name not in _PARAMETERS:
            raise UsageError(f"{name[:40]!r}: expected one of {', '.join(_PARAMETERS)}, got that")
    sources = tuple(_sources(given))
    if sources and job == RECONCILE:
        raise UsageError(
            "sources: expected none, as reconcile compares whole hours; leave them out, or run "
            "collect-and-rate for them"
        )
    chosen_sources(settings, sources)
    dry_run = _boolean(given, "dry_run", default=False)
    if dry_run and job == RECONCILE:
        raise UsageError(
            "dry_run: expected none, as it is for collect-and-rate; what reconcile would repair is "
            "told by `billing-etl reconcile --no-repair`, or the Param `repair` of its DAG"
        )
    hours = _hours(_one(given, "from_hour"), _one(given, "to_hour"), now)
    return Asked(JobRequest(job, hours, sources, dry_run), _wait_seconds(given))


def _given(query: Iterable[tuple[str, str]], body: object) -> dict[str, list[Any]]:
    given: dict[str, list[Any]] = {}
    for name, value in query:
        given.setdefault(name, []).append(value)
    if body is None:
        return given
    if not isinstance(body, dict):
        raise UsageError(f"body: expected a JSON object, got {type(body).__name__}")
    for name, value in body.items():
        if name in given:
            raise UsageError(f"{name[:40]!r}: expected it once, got it in the query and the body")
        if value is not None:
            given[name] = value if isinstance(value, list) else [value]
    return given


def _one(given: dict[str, list[Any]], name: str) -> Any:
    values = given.get(name, [])
    if len(values) > 1:
        raise UsageError(f"{name}: expected one value, got {len(values)}")
    return values[0] if values else None


def _sources(given: dict[str, list[Any]]) -> list[str]:
    sources = []
    for value in given.get("sources", []):
        if not isinstance(value, str):
            raise UsageError(f"sources: expected ids of sources, got {_shown(value)}")
        sources += [part.strip() for part in value.split(",") if part.strip()]
    return sorted(set(sources))


def _hours(start: object, end: object, now: datetime) -> HourRange | None:
    if start is None and end is None:
        return None
    if not isinstance(start, str) or not isinstance(end, str):
        raise UsageError(
            f"hours: expected from_hour and to_hour together, got {_shown(start)} and "
            f"{_shown(end)}; one hour is from_hour=2026-04-08T12 and to_hour=2026-04-08T13"
        )
    first, until = _hour(start), _hour(end)
    if until <= first:
        raise UsageError(
            f"hours: expected a to_hour after from_hour {first}, got {until}; it is left out itself"
        )
    hours = HourRange(first, until).begun(now)
    if len(hours) > MAX_HOURS:
        raise UsageError(f"hours: expected at most {MAX_HOURS} of them, got {len(hours)}")
    return hours


def _hour(text: str) -> Hour:
    try:
        return parse_hour(text)
    except UsageError as error:
        if " " in text:  # what a + in a query is read as
            raise UsageError(f"{error}; in a query + is written as %2B") from None
        raise


def _wait_seconds(given: dict[str, list[Any]]) -> int:
    wait = _boolean(given, "wait", default=True)
    limit = _one(given, "wait_seconds")
    seconds = WAIT_SECONDS if limit is None else str(limit)
    if isinstance(seconds, str):
        is_number = seconds.isascii() and seconds.isdecimal() and len(seconds) < 6
        if not is_number or int(seconds) > MAX_WAIT_SECONDS:
            raise UsageError(
                f"wait_seconds: expected a whole number from 0 to {MAX_WAIT_SECONDS}, "
                f"got {_shown(limit)}"
            )
    return int(seconds) if wait else 0


def _boolean(given: dict[str, list[Any]], name: str, *, default: bool) -> bool:
    value = _one(given, name)
    if value is None:
        return default
    text = str(value).lower()
    if text not in _BOOLEANS:
        raise UsageError(f"{name}: expected true or false, got {_shown(value)}")
    return _BOOLEANS[text]


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:80]
