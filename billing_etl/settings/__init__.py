"""Settings, read once from the environment; a wrong value is named in one line at start.

Names are the same for the commands and for Airflow deployments; ``SETTINGS`` and
``SOURCE_KEYS`` list them with what they mean. An empty variable counts as not set, except
``BILLING_EVENT_TYPES``, where empty means "export nothing".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Final

from billing_etl.errors import UsageError
from billing_etl.settings import delivery, values
from billing_etl.settings.delivery import EVENT_TYPES, EnvelopeName
from billing_etl.settings.sources import (
    SOURCE_KEYS,
    ConnectionToken,
    FirstSight,
    Source,
    is_loopback,
    read_service_token,
    read_sources,
)

__all__ = [
    "EVENT_TYPES",
    "RETENTION",
    "SETTINGS",
    "SOURCE_KEYS",
    "ConnectionToken",
    "EnvelopeName",
    "FirstSight",
    "Settings",
    "Source",
    "is_loopback",
]

SETTINGS: Final[dict[str, str]] = {
    "DATABASE_URL": "PostgreSQL address of facts, ledger and run records",
    "EXPORTER_SOURCES_JSON": "JSON array of sources, see SOURCE_KEYS",
    "EXPORTER_BASE_URL": "address of the one source `default`, instead of EXPORTER_SOURCES_JSON",
    "INTERNAL_SERVICE_TOKEN": "bearer token of sources without one, and of callers over HTTP",
    "DEFAULT_REGION": "region of sources that name none",
    "SOURCE_REVISION": "revision of the code that runs",
    "PRICE_PER_BYTE": "seeds the first default price, an exact decimal",
    "INITIAL_INCLUDED_QUOTA_BYTES": "seeds the included bytes per account and billing period",
    "INITIAL_BALANCE": "opening balance of a new account, an exact decimal",
    "COLLECT_INTERVAL": "how often to collect; below 1h the running hour is collected too",
    "BILLING_PERIOD_ANCHOR_DAY": "day of the month, 1 to 28, on which a billing period starts",
    "BILLING_S3_ENABLED": "whether hours are delivered to S3",
    "BILLING_S3_BUCKET": "bucket to deliver to",
    "BILLING_ENV": "dev, test or prod: names the bucket when BILLING_S3_BUCKET is not set",
    "BILLING_S3_PREFIX": "key prefix inside the bucket",
    "BILLING_S3_PATH_TEMPLATE": "path of an object below the prefix",
    "BILLING_S3_ENDPOINT_URL": "address of an S3 server other than AWS",
    "BILLING_S3_BUCKET_OWNER": "AWS account that must own the bucket, 12 digits",
    "BILLING_S3_SSE": "server-side encryption to ask for: AES256 or aws:kms",
    "BILLING_S3_SSE_KMS_KEY_ID": "key of aws:kms, when it is not the bucket's own",
    "BILLING_S3_TAGS": "tags of every object, `name=value,name=value`",
    "BILLING_S3_CONCURRENCY": "requests to S3 at the same time",
    "BILLING_S3_FORMATS": "forms of the events: jsonl, or jsonl and parquet",
    "BILLING_S3_MAX_EVENTS": "most events per object",
    "BILLING_S3_MAX_BYTES": "most bytes per object",
    "BILLING_ENVELOPE": "envelope of the lines: billing_event, cloudevents or usage_event",
    "BILLING_EVENT_TYPES": "comma-separated event types to export; not set: all, empty: none",
    "BILLING_PRODUCT": "`product` of every event",
    "BILLING_SEAL_GRACE": "how long after its end an hour waits for open sources",
    "BILLING_PAYLOAD_RETENTION": "how long sealed payloads stay once delivered and reconciled",
    "BILLING_RETENTION": "how long rows stay that nobody needs any more, `name=duration,...`",
    "BILLING_ARREARS_GRACE": "how long an account may be in arrears before it is suspended",
    "BILLING_DELIVERY_ALERT": "how long events may wait while nothing is delivered",
    "BILLING_ALERT_FACT_LAG": "how far the facts of a source may be behind",
    "BILLING_ALERT_UNDELIVERED_AGE": "how long events may wait for delivery",
    "BILLING_ALERT_OPEN_FINDINGS": "how many findings of a kind may be open",
    "BILLING_ALERT_RETENTION_USED": "part of what an exporter serves that may be unsettled",
    "BILLING_ALERT_UNATTRIBUTED_SHARE": "part of a day's samples that may be on nobody's bill",
    "BILLING_ALERT_DEADLINE": "how long after it was queued a scheduled run may take",
    "BILLING_ALERT_REMINDER": "how often an alert that stays open is told again",
    "BILLING_ALERT_CONNECTIONS": "comma-separated Airflow connections that alerts are sent to",
    "IMAGE": "container image that runs",
    "LISTEN_ADDR": "where `billing-etl serve` listens, host:port",
}

# How long rows stay by BILLING_RETENTION; None: for ever. What each name is: docs/maintenance.md.
RETENTION: Final[dict[str, timedelta | None]] = {
    "facts": None,
    "runs": timedelta(days=400),
    "findings": timedelta(days=400),
    "quarantine": timedelta(days=400),
    "alerts": timedelta(days=400),
}

# Exporters serve 72 hours: an hour that may be collected again is not archived.
_SHORTEST_DAYS: Final = {"facts": 4}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the environment decides; see ``SETTINGS`` for the meaning of each value.

    Money is exact (R1). ``price_per_byte`` is None when not given: the price book must then
    have been published. ``event_types`` None means all.
    """

    database_url: str | None = field(default=None, repr=False)
    sources: tuple[Source, ...] = ()
    internal_service_token: str | None = field(default=None, repr=False)
    default_region: str = "default"
    source_revision: str = ""
    price_per_byte: Decimal | None = None
    initial_included_quota_bytes: int = 0
    initial_balance: Decimal = Decimal(0)
    collect_interval: timedelta = timedelta(hours=1)
    billing_period_anchor_day: int = 1
    s3_enabled: bool = False
    s3_bucket: str | None = None
    s3_prefix: str = ""
    s3_endpoint_url: str | None = None
    s3_path_template: str | None = None
    s3_bucket_owner: str | None = None
    s3_sse: str | None = None
    s3_sse_kms_key_id: str | None = None
    s3_tags: tuple[tuple[str, str], ...] = ()
    s3_concurrency: int = 8
    s3_formats: frozenset[str] = frozenset({"jsonl"})
    s3_max_events: int = 50
    s3_max_bytes: int = 2_097_152
    envelope: EnvelopeName = "billing_event"
    event_types: frozenset[str] | None = None
    product: str = "network"
    seal_grace: timedelta = timedelta(hours=1)
    payload_retention: timedelta = timedelta(days=35)
    retention: Mapping[str, timedelta | None] = field(default_factory=lambda: dict(RETENTION))
    arrears_grace: timedelta | None = None
    delivery_alert: timedelta = timedelta(hours=2)
    alert_fact_lag: timedelta | None = timedelta(hours=3)
    alert_undelivered_age: timedelta | None = timedelta(hours=3)
    alert_open_findings: Decimal | None = Decimal(0)
    alert_retention_used: Decimal | None = Decimal("0.5")
    alert_unattributed_share: Decimal | None = Decimal("0.01")
    alert_deadline: timedelta | None = timedelta(hours=1)
    alert_reminder: timedelta = timedelta(days=1)
    alert_connections: tuple[str, ...] = ("billing_alerts",)
    image: str = ""
    listen_addr: tuple[str, int] = ("127.0.0.1", 8081)

    @classmethod
    def from_environment(
        cls,
        env: Mapping[str, str],
        connection_token: ConnectionToken | None = None,
        *,
        with_tokens: bool = True,
    ) -> "Settings":
        """Reads and checks every setting.

        Args:
            env: the environment, usually ``os.environ``.
            connection_token: gives the token of an Airflow connection; without it, sources with
                a ``connection_id`` are known but cannot be asked.
            with_tokens: False for a process that asks no source and need not hold their tokens.

        Raises:
            UsageError: a value is missing or malformed; the message names the variable.
        """
        region = values.text(env, "DEFAULT_REGION", "default")
        token = read_service_token(env)
        s3_enabled = values.boolean(env, "BILLING_S3_ENABLED", False)
        return cls(
            database_url=_database_url(env),
            sources=read_sources(env, region, token, connection_token, with_tokens),
            internal_service_token=token,
            default_region=region,
            source_revision=values.text(env, "SOURCE_REVISION"),
            price_per_byte=_price(env),
            initial_included_quota_bytes=values.whole_number(
                env, "INITIAL_INCLUDED_QUOTA_BYTES", 0, minimum=0, maximum=values.MAX_BIGINT
            ),
            initial_balance=values.decimal(env, "INITIAL_BALANCE") or Decimal(0),
            collect_interval=values.duration(
                env, "COLLECT_INTERVAL", timedelta(hours=1), longest="1h"
            ),
            billing_period_anchor_day=values.whole_number(
                env, "BILLING_PERIOD_ANCHOR_DAY", 1, minimum=1, maximum=28
            ),
            s3_enabled=s3_enabled,
            s3_bucket=delivery.bucket(env, s3_enabled),
            s3_prefix=delivery.prefix(env),
            s3_endpoint_url=delivery.endpoint_url(env),
            s3_path_template=delivery.path_template(env),
            s3_bucket_owner=delivery.bucket_owner(env),
            s3_sse=delivery.sse(env),
            s3_sse_kms_key_id=delivery.sse_kms_key_id(env),
            s3_tags=delivery.tags(env),
            s3_concurrency=values.whole_number(
                env, "BILLING_S3_CONCURRENCY", 8, minimum=1, maximum=256
            ),
            s3_formats=delivery.formats(env),
            s3_max_events=values.whole_number(
                env, "BILLING_S3_MAX_EVENTS", 50, minimum=1, maximum=1_000_000
            ),
            s3_max_bytes=values.whole_number(
                env, "BILLING_S3_MAX_BYTES", 2_097_152, minimum=1, maximum=5 * 1024**3
            ),
            envelope=delivery.envelope(env),
            event_types=delivery.event_types(env),
            product=values.text(env, "BILLING_PRODUCT", "network"),
            seal_grace=values.duration(env, "BILLING_SEAL_GRACE", timedelta(hours=1)),
            payload_retention=values.duration(env, "BILLING_PAYLOAD_RETENTION", timedelta(days=35)),
            retention=_retention(env),
            arrears_grace=_arrears_grace(env),
            delivery_alert=values.duration(env, "BILLING_DELIVERY_ALERT", timedelta(hours=2)),
            alert_fact_lag=values.duration_or_off(
                env, "BILLING_ALERT_FACT_LAG", timedelta(hours=3)
            ),
            alert_undelivered_age=values.duration_or_off(
                env, "BILLING_ALERT_UNDELIVERED_AGE", timedelta(hours=3)
            ),
            alert_open_findings=values.threshold(
                env, "BILLING_ALERT_OPEN_FINDINGS", Decimal(0), None
            ),
            alert_retention_used=values.threshold(
                env, "BILLING_ALERT_RETENTION_USED", Decimal("0.5"), 1
            ),
            alert_unattributed_share=values.threshold(
                env, "BILLING_ALERT_UNATTRIBUTED_SHARE", Decimal("0.01"), 1
            ),
            alert_deadline=values.duration_or_off(
                env, "BILLING_ALERT_DEADLINE", timedelta(hours=1)
            ),
            alert_reminder=values.duration(env, "BILLING_ALERT_REMINDER", timedelta(days=1)),
            alert_connections=values.names(env, "BILLING_ALERT_CONNECTIONS", "billing_alerts"),
            image=env.get("IMAGE", ""),
            listen_addr=_listen_addr(env),
        )

    @property
    def enabled_sources(self) -> tuple[Source, ...]:
        return tuple(source for source in self.sources if source.enabled)

    def exports(self, event_type: str) -> bool:
        """Whether such events are to be sealed and sent at all (delivery contract, "Switch")."""
        return self.s3_enabled and (self.event_types is None or event_type in self.event_types)

    def require_database_url(self) -> str:
        """The database address, for what cannot work without one.

        Raises:
            UsageError: ``DATABASE_URL`` is not set.
        """
        if self.database_url is None:
            raise UsageError(
                "DATABASE_URL: expected an address such as postgresql://user@host/billing, "
                "got nothing; set it"
            )
        return self.database_url

    def source(self, source_id: str) -> Source:
        """The source of that name.

        Raises:
            UsageError: there is none; the message lists the known ones.
        """
        for source in self.sources:
            if source.source_id == source_id:
                return source
        known = ", ".join(source.source_id for source in self.sources) or "none"
        raise UsageError(f"source: expected one of {known}, got {source_id!r}")


def _database_url(env: Mapping[str, str]) -> str | None:
    url = env.get("DATABASE_URL")
    if not url:
        return None
    if not url.startswith(("postgresql://", "postgres://")):
        expected = "an address that starts with postgresql://"
        raise values.wrong("DATABASE_URL", expected, "another one")
    return url


def _price(env: Mapping[str, str]) -> Decimal | None:
    price = values.decimal(env, "PRICE_PER_BYTE")
    if price is not None and price < 0:
        raise values.wrong("PRICE_PER_BYTE", "a price that is not negative", str(price))
    return price


def _retention(env: Mapping[str, str]) -> dict[str, timedelta | None]:
    """The defaults with what is named; ``keep`` is for ever."""
    retention = dict(RETENTION)
    for part in (env.get("BILLING_RETENTION") or "").split(","):
        if not part.strip():
            continue
        name, _, text = (piece.strip() for piece in part.partition("="))
        if name not in RETENTION:
            known = "one of " + ", ".join(RETENTION) + " before each ="
            raise values.wrong("BILLING_RETENTION", known, repr(part.strip()))
        where = f"BILLING_RETENTION, {name}"
        keep = None if text == "keep" else values.duration({where: text}, where, timedelta(0))
        shortest = timedelta(days=_SHORTEST_DAYS.get(name, 1))
        if keep is not None and keep < shortest:
            expected = f"keep, or a duration of at least {shortest.days}d"
            raise values.wrong(where, expected, repr(text))
        retention[name] = keep
    return retention


def _arrears_grace(env: Mapping[str, str]) -> timedelta | None:
    name = "BILLING_ARREARS_GRACE"
    return values.duration(env, name, timedelta(0)) if env.get(name) else None


def _listen_addr(env: Mapping[str, str]) -> tuple[str, int]:
    """Host and port; without a host, as in ``:8081``, every address of the machine."""
    text = env.get("LISTEN_ADDR") or "127.0.0.1:8081"
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]*)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise values.wrong("LISTEN_ADDR", "host:port such as 127.0.0.1:8081 or :8081", repr(text))
    return match[1] or match[2] or "0.0.0.0", int(match[3])  # noqa: S104 - asked for
