"""Archives facts of old days to S3 and drops them here, a day at a time, oldest first.

A day goes when its statement is balanced and final. Its facts are frozen, written to Parquet
files, and each file is read back and held against the database; only then are they dropped, in
the transaction that records it. Killed anywhere, the next run goes on from what is recorded: the
same facts make the same bytes under the same keys. What it means for everything else is in
docs/maintenance.md.
"""

import hashlib
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import psycopg

from billing_etl.delivery import (
    PARQUET_CONTENT_TYPE,
    ObjectStore,
    configured_bucket,
    object_store_from,
)
from billing_etl.errors import MismatchError, TerminalError, UsageError
from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.pipeline.collect import open_hours
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.shut_out import shutting_out
from billing_etl.pipeline.statement.document import Made, Span, read_span
from billing_etl.statement import Digest, stated
from billing_etl.store import archives, attention, statements
from billing_etl.store.archives import Archive, ArchivedObject, Sums
from billing_etl.store.database import Connection

FACTS_PER_OBJECT: Final = 500_000
# Days of one run: what is left is taken up by the next.
MOST_DAYS: Final = 31
HELD: Final = "archive_held"
_REASONS_SHOWN: Final = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArchivedDay:
    """What became of a day.

    Attributes:
        held: why it stays, empty when it went, or would.
        is_passing: the next run tries again; nobody need do anything.
    """

    day: str
    facts: int = 0
    objects: int = 0
    bytes: int = 0
    place: str = ""
    held: str = ""
    is_passing: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def archive_days(engine: Engine, now: datetime, run_id: int | None) -> list[ArchivedDay]:
    """Archives the days that are older than the retention of facts; what became of each.

    The first that cannot go holds up those after it: a late hour of its own would rate them again.

    Args:
        engine: settings and database.
        now: the wall clock.
        run_id: the run this belongs to; None: nothing is changed, only told.

    Raises:
        BillingError: the store or the database is away, or a stored object is not what it must
            be; the facts are still here.
    """
    settings = engine.settings
    keep = settings.retention["facts"]
    if keep is None:
        return []
    if not settings.s3_enabled:
        raise UsageError(
            "BILLING_RETENTION, facts: expected BILLING_S3_ENABLED, as facts are archived to S3 "
            "before they go, got it off; switch it on or keep the facts"
        )
    # Imported here: no other step needs an object store.
    store = object_store_from(settings)
    done: list[ArchivedDay] = []
    with engine.connect() as connection:
        connection.autocommit = True
        due = [
            day
            for day in archives.fact_days(connection)
            if _span(day).hours.end.start <= now - keep
        ]
        if due and run_id is not None:
            store.check_bucket(configured_bucket(settings))
        for day in due[:MOST_DAYS]:
            archiving = _Archiving(engine, connection, store, day, now, run_id)
            done.append(archiving.run())
            _log.info("archive: %s", done[-1].as_dict())
            if done[-1].held:
                break
    return done


def note_held(engine: Engine, days: list[ArchivedDay], run_id: int) -> None:
    """Keeps a finding of the day that waits for a person, and withdraws those of days that do not.

    Nobody else tells: such a day may have been collected, rated and delivered without a failure.
    """
    with engine.connect() as connection:
        for day in days:
            if day.held and not day.is_passing:
                hours = _span(parse_hour(f"{day.day}T00").index // 24).hours
                message = (
                    f"archive: day {day.day} and those after it stay here: {day.held}; "
                    f"`billing-etl reconcile --from {hours.start} --to {hours.end}` says what is "
                    "left"
                )
                attention.keep_finding(connection, HELD, day.day, message, run_id)
        still = [day.day for day in days if day.held]
        attention.withdraw_findings(connection, HELD, still, run_id)


@dataclass(slots=True)
class _Archiving:
    """One day on its way into the archive; ``connection`` is in autocommit."""

    engine: Engine
    connection: Connection
    store: ObjectStore
    day: int
    now: datetime
    run_id: int | None
    _who: str = field(init=False)

    def __post_init__(self) -> None:
        self._who = f"archive of {_span(self.day).label}"

    def run(self) -> ArchivedDay:
        frozen = archives.of_day(self.connection, self.day)
        if frozen is None:
            made = self._statement()
            reasons = self._open_hours() or _reasons(made)
            if reasons:
                more = len(reasons) - _REASONS_SHOWN
                told = "; ".join(reasons[:_REASONS_SHOWN]) + (f"; {more} more" if more > 0 else "")
                return ArchivedDay(_span(self.day).label, held=told)
        if self.run_id is None:
            counted = sum(
                facts for _, facts in archives.facts_per_minute(self.connection, self.day)
            )
            parts = len(list(_parts(archives.facts_per_minute(self.connection, self.day))))
            return ArchivedDay(_span(self.day).label, counted, parts)
        if frozen is None:
            held = self._freeze(made.document["root"], self.run_id)
            if held:
                return ArchivedDay(_span(self.day).label, held=held, is_passing=True)
            frozen = archives.of_day(self.connection, self.day)
        assert frozen is not None
        # Of facts that do not change any more; what was read before they were frozen may have.
        made = self._statement()
        if made.document["root"] != frozen.root.hex():
            return self._changed(frozen, made.document["root"])
        objects = self._objects(frozen, self.run_id)
        self._drop(made)
        return ArchivedDay(
            _span(self.day).label,
            sum(each.facts for each in objects),
            len(objects),
            sum(each.size_bytes for each in objects),
            frozen.place,
        )

    def _statement(self) -> Made:
        # A connection of its own: a statement is one long transaction.
        with self.engine.connect() as connection:
            moment = statements.begin_snapshot(connection)
            span, settings = _span(self.day), self.engine.settings
            return read_span(connection, settings, span, moment, self.now, {}, lambda: None)

    def _open_hours(self) -> list[str]:
        """Hours up to here that a run would still collect; a day without facts may have some."""
        reasons = []
        for source in self.engine.settings.enabled_sources:
            waiting = open_hours(self.engine, source, before=_span(self.day).hours.end)
            if waiting:
                more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
                reasons.append(f"{source.source_id} {waiting[0]}{more} is open, collect it")
        return reasons

    def _freeze(self, root: str, run_id: int) -> str:
        """Holds the facts as they are; why not, when somebody writes them."""
        settings = self.engine.settings
        directory = f"archive/facts/date={_span(self.day).label}/"
        prefix = "/".join(part for part in (settings.s3_prefix, directory) if part)
        try:
            archives.freeze(
                self.connection, self.day, configured_bucket(settings), prefix, root, run_id
            )
        except psycopg.errors.LockNotAvailable:
            return "its facts are being written; the next run tries again"
        return ""

    def _changed(self, frozen: Archive, root: str) -> ArchivedDay:
        """Something of the day was written between the look at it and the freeze."""
        if archives.objects(self.connection, self.day):
            raise TerminalError(
                f"{self._who}: expected the digest {frozen.root.hex()} that it was frozen with, "
                f"got {root}; something of it was changed by hand, its facts stay in the database"
            )
        archives.thaw(self.connection, self.day)
        held = "it changed while it was looked at; the next run tries again"
        return ArchivedDay(_span(self.day).label, held=held, is_passing=True)

    # --- objects ---------------------------------------------------------------------------------

    def _objects(self, frozen: Archive, run_id: int) -> list[ArchivedObject]:
        """Every object of the day, verified by this run or an earlier one, and there now."""
        known = {each.ordinal: each for each in archives.objects(self.connection, self.day)}
        found = []
        parts = _parts(archives.facts_per_minute(self.connection, self.day))
        for ordinal, minutes in enumerate(parts, start=1):
            if ordinal in known:
                self._look_again(frozen, known[ordinal])
                found.append(known[ordinal])
            else:
                found.append(self._put(frozen, ordinal, minutes, run_id))
        return found

    def _look_again(self, frozen: Archive, known: ArchivedObject) -> None:
        stored = self.store.head(frozen.bucket, known.object_key)
        got = None if stored is None else (stored.size_bytes, stored.sha256)
        if got != (known.size_bytes, known.sha256):
            shown = "nothing" if stored is None else f"{stored.size_bytes} bytes"
            raise MismatchError(
                f"s3://{frozen.bucket}/{known.object_key}: expected {known.size_bytes} bytes with "
                f"SHA-256 {known.sha256.hex()}, got {shown}; it was verified before, restore it, "
                "the facts are still in the database"
            )

    def _put(self, frozen: Archive, ordinal: int, minutes: range, run_id: int) -> ArchivedObject:
        """Writes one object, reads it back, and records it once it holds what is here."""
        # Imported here: pyarrow is heavy, and most commands write no file.
        from billing_etl.batches import archive

        connection = self.connection
        facts = archives.facts(connection, minutes)
        names = archives.series(connection, np.unique(facts["series_id"]))
        rate_ids = np.unique(facts["rate_id"])
        prices = archives.rates(connection, rate_ids[rate_ids != 0])
        body = archive.written(facts, names, prices, archives.regions(connection))
        key = f"{frozen.prefix}part-{ordinal:05d}.parquet"
        place = f"s3://{frozen.bucket}/{key}"
        sha256 = hashlib.sha256(body).digest()
        try:
            etag = self.store.put(frozen.bucket, key, body, PARQUET_CONTENT_TYPE, sha256)
        except MismatchError:
            # Left by a run that was killed before it recorded it, with another library perhaps.
            stored = self.store.head(frozen.bucket, key)
            if stored is None:
                raise
            sha256, etag = stored.sha256, stored.etag
        held = self.store.get(frozen.bucket, key)
        if held is None or hashlib.sha256(held).digest() != sha256:
            raise MismatchError(
                f"{place}: expected an object with SHA-256 {sha256.hex()}, got another one when it "
                "was read back; the facts are still in the database, look at it and run again"
            )
        expected = archives.sums(connection, minutes)
        self._verify(place, archive.Read(held), expected, names)
        done = ArchivedObject(ordinal, key, expected.facts, len(held), sha256)
        archives.add_object(connection, self.day, minutes, done, expected, etag, run_id)
        _log.info("archive: %s holds %d facts", place, expected.facts)
        return done

    def _verify(self, place: str, found: Any, expected: Sums, names: list[dict[str, Any]]) -> None:
        """Every fact, every sum and every name of a file as it was read back.

        Raises:
            MismatchError: something is not as it is here.
        """
        got = Sums(
            found.facts,
            found.total("uplink_bytes"),
            found.total("downlink_bytes"),
            found.total("included_bytes"),
            found.amount,
            found.facts_sha256,
        )
        wanted = [{key: row[key] for key in row if key != "source_key"} for row in names]
        if got != expected or found.names() != wanted:
            raise MismatchError(
                f"{place}: expected {_told(expected)}, got {_told(got)} when it was read back; the "
                "facts are still in the database; remove the object if it is of another database, "
                "and run again"
            )

    # --- the end ---------------------------------------------------------------------------------

    def _drop(self, made: Made) -> None:
        kept = {}
        for hour in _span(self.day).hours:
            label = str(hour)
            numbers = {name: stated(value) for name, value in made.numbers[label].items()}
            inputs = {name: _digest(digest) for name, digest in made.inputs[label].items()}
            kept[hour] = (numbers, inputs, made.amounts[label])
        shutting_out(
            lambda: archives.drop_facts(self.connection, self.day, kept),
            f"{self._who}: verified and not dropped",
            "facts",
        )


def _span(day: int) -> Span:
    start = Hour(day * 24)
    return Span("day", str(start)[:10], HourRange(start, Hour(start.index + 24)))


def _reasons(made: Made) -> list[str]:
    """Why a day may not go; what is kept from delivery by a setting holds nothing up."""
    by_choice = "is not in BILLING_EVENT_TYPES"
    return [reason for reason in made.reasons if not reason.endswith(by_choice)]


def _parts(facts_per_minute: list[tuple[int, int]]) -> list[range]:
    """The minutes of each object; a minute is never cut."""
    parts: list[range] = []
    facts = 0
    for minute, count in facts_per_minute:
        if not parts or facts + count > FACTS_PER_OBJECT:
            parts.append(range(minute, minute + 1))
            facts = 0
        parts[-1] = range(parts[-1].start, minute + 1)
        facts += count
    return parts


def _digest(digest: Digest) -> dict[str, Any]:
    return {"rows": digest.rows, "sha256": digest.sha256}


def _told(sums: Sums) -> str:
    return (
        f"{sums.facts} facts, {sums.uplink} bytes up, {sums.downlink} down, {sums.included} "
        f"included, amount {sums.amount:f}, SHA-256 {sums.facts_sha256.hex()}"
    )
