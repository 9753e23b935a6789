"""The price book: publishing dated versions, and what one would change before it does (R2)."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import psycopg

from billing_etl.errors import UsageError
from billing_etl.hours import END_OF_MINUTES, NS_PER_MINUTE, minute_start, parse_instant_ns
from billing_etl.masking import with_email
from billing_etl.pipeline.accounts import PREVIEW, change_as_dict
from billing_etl.pipeline.engine import Engine
from billing_etl.pipeline.rate import RateResult, rate_in
from billing_etl.rating import PriceVersion, is_exact
from billing_etl.store import ledger, prices, ratings
from billing_etl.store.database import Connection
from billing_etl.store.ledger import AccountChange
from billing_etl.store.prices import PlanMember, SourceRegion, Version
from billing_etl.store.sources import register_accounts

# Of a version, in bytes, as in the profiles that show it.
_LONGEST_NAME: Final = 255


class _Peak(msgspec.Struct, forbid_unknown_fields=True):
    hours: list[int]
    multiplier: Decimal
    offpeak_multiplier: Decimal = Decimal(1)
    time_zone: str = "UTC"


class _Version(msgspec.Struct, forbid_unknown_fields=True):
    price_version: str
    price_per_byte: Decimal
    scope: Literal["default", "plan", "account"] = "default"
    scope_key: str = ""
    from_: str | None = msgspec.field(default=None, name="from")
    included_quota_bytes: int | None = None
    region_multipliers: dict[str, Decimal] = {}
    line_multipliers: dict[str, Decimal] = {}
    peak: _Peak | None = None


class _PlanMember(msgspec.Struct, forbid_unknown_fields=True):
    account_uuid: str
    plan: str
    from_: str | None = msgspec.field(default=None, name="from")


class _SourceRegion(msgspec.Struct, forbid_unknown_fields=True):
    source_id: str
    region: str
    from_: str | None = msgspec.field(default=None, name="from")


class _PriceFile(msgspec.Struct, forbid_unknown_fields=True):
    versions: list[_Version] = []
    plan_members: list[_PlanMember] = []
    source_regions: list[_SourceRegion] = []


@dataclass(frozen=True, slots=True)
class PriceFile:
    """What a price file publishes, checked."""

    versions: list[Version]
    plan_members: list[PlanMember]
    source_regions: list[SourceRegion]


@dataclass(frozen=True, slots=True)
class PriceChange:
    """What publishing changed, or would change, of each account that it concerns.

    Attributes:
        published: what to show for each version, member and region.
        versions: as they are in the book; what a file leaves out of them is decided there.
        kept_quotas: names of those that go on with the quota of the version before them.
    """

    published: list[str]
    versions: list[Version]
    kept_quotas: set[str]
    rating: RateResult
    accounts: list[AccountChange]

    def as_dict(self) -> dict[str, Any]:
        return {
            "published": self.published,
            "versions": [
                _as_dict(version) | {"quota_as_before": version.price_version in self.kept_quotas}
                for version in self.versions
            ],
            "rating": self.rating.as_dict(),
            "accounts": [change_as_dict(change) for change in self.accounts],
        }


def read_price_file(path: Path) -> PriceFile:
    """Reads and checks a price file; see ``docs/prices.md`` for its form.

    Raises:
        UsageError: the file cannot be read, or a value is not what it must be.
    """
    try:
        parsed = msgspec.json.decode(path.read_bytes(), type=_PriceFile)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"price file {path}: {error}") from None
    where = f"price file {path}, plan_members"
    return PriceFile(
        versions=[_version(path, entry) for entry in parsed.versions],
        plan_members=[
            PlanMember(
                _uuid(where, entry.account_uuid),
                _name(where, "plan", entry.plan),
                _minute(path, entry.from_),
            )
            for entry in parsed.plan_members
        ],
        source_regions=[
            SourceRegion(entry.source_id, entry.region, _minute(path, entry.from_))
            for entry in parsed.source_regions
        ],
    )


def _version(path: Path, entry: _Version) -> Version:
    peak = entry.peak or _Peak(hours=[], multiplier=Decimal(1))
    where = f"price file {path}, version {entry.price_version!r}"
    multipliers = [*entry.region_multipliers.values(), *entry.line_multipliers.values()]
    multipliers += [peak.multiplier, peak.offpeak_multiplier, entry.price_per_byte]
    if any(not is_exact(value) or value < 0 for value in multipliers):
        raise UsageError(
            f"{where}: expected prices and multipliers of 0, or from 1e-40 to 1e40, got another"
        )
    if (entry.scope == "default") != (entry.scope_key == ""):
        raise UsageError(
            f"{where}: expected a scope_key for scope plan or account and none for default, "
            f"got scope {entry.scope!r} with scope_key {entry.scope_key!r}"
        )
    if not 0 < len(entry.price_version.encode()) <= _LONGEST_NAME:
        raise UsageError(f"{where}: expected a price_version of 1 to {_LONGEST_NAME} bytes")
    _name(where, "price_version", entry.price_version)
    if entry.scope == "plan":
        _name(where, "scope_key", entry.scope_key)
    if entry.included_quota_bytes is not None and not 0 <= entry.included_quota_bytes < 2**63:
        raise UsageError(
            f"{where}: expected included_quota_bytes from 0 to 2^63-1, "
            f"got {entry.included_quota_bytes}"
        )
    if any(not 0 <= hour <= 23 for hour in peak.hours):
        raise UsageError(f"{where}: expected peak hours from 0 to 23, got {peak.hours}")
    try:
        ZoneInfo(peak.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # such as America, a directory
        raise UsageError(f"{where}: expected a named time zone, got {peak.time_zone!r}") from None
    return Version(
        price_version=entry.price_version,
        scope=entry.scope,
        scope_key=_uuid(where, entry.scope_key) if entry.scope == "account" else entry.scope_key,
        from_minute=_minute(path, entry.from_),
        price_per_unit=entry.price_per_byte,
        included_quota=entry.included_quota_bytes,
        region_multipliers={name: str(value) for name, value in entry.region_multipliers.items()},
        line_multipliers={name: str(value) for name, value in entry.line_multipliers.items()},
        peak_multiplier=peak.multiplier,
        offpeak_multiplier=peak.offpeak_multiplier,
        peak_time_zone=peak.time_zone,
        peak_hours=sorted(set(peak.hours)),
    )


def _name(where: str, key: str, text: str) -> str:
    """A name that is kept for ever, so of no person."""
    if with_email(text):
        raise UsageError(f"{where}: expected a {key} without an email address, got one with it")
    return text


def _uuid(where: str, text: str) -> str:
    """As the database spells it: prices are looked up by this text."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise UsageError(f"{where}: expected an account uuid, got {text!r}") from None


def _minute(path: Path, text: str | None) -> int:
    """The minute from which something applies; absent: since ever."""
    if text is None:
        return 0
    expected = f"price file {path}: expected `from` on a whole minute such as 2026-05-01T00:00:00Z"
    try:
        instant_ns = parse_instant_ns(text)
    except ValueError:
        raise UsageError(f"{expected}, got {text!r}") from None
    minute, rest = divmod(instant_ns, NS_PER_MINUTE)
    if rest or minute >= END_OF_MINUTES:
        raise UsageError(f"{expected}, got {text!r}")
    return minute


def publish_prices(engine: Engine, file: PriceFile) -> PriceChange:
    """Publishes a price file; what lies in the past of its dates is rated again at once (R2, R4).

    Raises:
        UsageError: a version of that scope and date, or of that name, is published already.
    """
    with engine.run("price publish") as run, _publishing(engine, file, run.run_id) as change:
        run.counts.update(change[1].as_dict())
        return change[1]


def preview_prices(engine: Engine, file: PriceFile) -> PriceChange:
    """What publishing would change, in money per account; nothing is kept, no run record either.

    Raises:
        UsageError: as publishing would.
    """
    with engine.kept(), _publishing(engine, file, PREVIEW) as (connection, change):
        connection.rollback()
        return change


@contextmanager
def _publishing(
    engine: Engine, file: PriceFile, run_id: int
) -> Iterator[tuple[Connection, PriceChange]]:
    with engine.connect() as connection:
        ratings.lock_rating(connection)
        accounts = [member.account_uuid for member in file.plan_members]
        register_accounts(connection, accounts, engine.settings.initial_balance)
        try:
            versions = prices.publish(connection, file.versions, run_id)
            published = [version.price_version for version in file.versions]
            published += prices.add_plan_members(connection, file.plan_members, run_id)
        except psycopg.errors.UniqueViolation as error:
            detail = (error.diag.message_detail or "").rstrip(".")
            raise UsageError(
                f"price: published already, perhaps by a run that lost its connection: {detail}; "
                "see `billing-etl price list`; what is published is immutable, so publish another "
                "name or date"
            ) from None
        published += prices.add_source_regions(connection, file.source_regions)
        picked = prices.lock_touched(
            connection,
            file.versions,
            file.plan_members,
            file.source_regions,
            ratings.anchor_day(connection, engine.settings),
        )
        rating = rate_in(connection, engine, picked, "prices changed", run_id)
        unnamed = {each.price_version for each in file.versions if each.included_quota is None}
        kept = {each.price_version for each in versions if each.included_quota is not None}
        accounts_changed = ledger.changes_of_run(connection, run_id)
        yield (
            connection,
            PriceChange(published, versions, unnamed & kept, rating, accounts_changed),
        )


def _instant(minute: int) -> str:
    return minute_start(minute).strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_dict(version: Version | PriceVersion) -> dict[str, Any]:
    """What a version prices, ready for JSON; its multipliers apart."""
    return {
        "price_version": version.price_version,
        "scope": version.scope,
        "scope_key": version.scope_key,
        "from": _instant(version.from_minute),
        "price_per_byte": f"{version.price_per_unit:f}",
        "included_quota_bytes": version.included_quota,
    }


def list_prices(engine: Engine) -> list[dict[str, Any]]:
    """Every published version, ready for JSON."""
    with engine.connect() as connection:
        return [
            _as_dict(version)
            | {
                "region_multipliers": {k: f"{v:f}" for k, v in version.region_multipliers.items()},
                "line_multipliers": {k: f"{v:f}" for k, v in version.line_multipliers.items()},
                "peak": {
                    "time_zone": version.peak_time_zone,
                    "hours": list(version.peak_hours),
                    "multiplier": f"{version.peak_multiplier:f}",
                    "offpeak_multiplier": f"{version.offpeak_multiplier:f}",
                },
            }
            for version in ratings.price_versions(connection)
        ]
