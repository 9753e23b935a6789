"""Settings, read once from the environment; a wrong value is named in one line at start.

Names are the same for the commands and for Airflow deployments; ``SETTINGS`` and
``SOURCE_KEYS`` list them with what they mean. An empty variable counts as not set, except
``BILLING_EVENT_TYPES``, where empty means "export nothing".
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec

from billing_etl.errors import UsageError

FirstSight: TypeAlias = Literal["auto", "charge", "baseline"]
EnvelopeName: TypeAlias = Literal["billing_event", "cloudevents", "usage_event"]
ConnectionToken: TypeAlias = Callable[[str], str | None]

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

SOURCE_KEYS: Final[dict[str, str]] = {
    "source_id": "name of the source, stable for ever",
    "kind": "kind of source; `counter_exporter` is the one there is",
    "base_url": "address of the exporter",
    "expected_node_id": "refuse snapshots of another node (C2)",
    "expected_env": "refuse snapshots of another environment (C2)",
    "enabled": "whether the source is collected",
    "timeout_seconds": "limit of connecting and of each wait for data",
    "token_env": "environment variable that holds the bearer token",
    "connection_id": "Airflow connection whose password is the bearer token",
    "region": "region that prices are looked up for",
    "interval_seconds": "seconds between two snapshots of a node",
    "page_size": "the first `limit` sent, 1 to 1000; later pages adapt to about 16 MiB",
    "max_page_bytes": "hard bound on the bytes of one page",
    "first_sight": "auto, charge or baseline (C7)",
    "lookback_minutes": "minutes before a node's first hour that are read for predecessors (C4)",
    "max_bits_per_second": "fastest rate believed of one series (C7)",
    "allow_http": "allow plain HTTP to an address that is not loopback",
    "ca_file": "PEM file of a private certificate authority to trust as well",
    "client_cert": "mTLS certificate: a PEM file with its key, or `cert.pem,key.pem`",
    "shared_node": "this source may serve a node that another source serves too (C15)",
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

_SOURCE_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z"
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_DURATION_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# What S3 clients ask at all: other names fail there, each time again.
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[!-~]{1,2000}")
_HOST: Final = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?"
)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_MAX_BIGINT: Final = 2**63 - 1

_Count = Annotated[int, msgspec.Meta(ge=1, le=_MAX_BIGINT)]


@dataclass(frozen=True, slots=True)
class Source:
    """One exporter endpoint with its own address, credential and expectations.

    ``token`` is the resolved bearer token; it stays out of ``repr`` and comparison.

    Raises:
        UsageError: the address is no http(s) address, carries credentials, or is plain HTTP
            to another machine without ``allow_http``.
    """

    source_id: Annotated[str, msgspec.Meta(pattern=_SOURCE_ID, max_length=100)]
    base_url: str
    kind: Literal["counter_exporter"] = "counter_exporter"
    expected_node_id: str | None = None
    expected_env: str | None = None
    enabled: bool = True
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0
    token_env: str | None = None
    connection_id: str | None = None
    region: str = "default"
    interval_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 60
    page_size: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 120
    max_page_bytes: _Count = 256 * 1024 * 1024
    first_sight: FirstSight = "auto"
    lookback_minutes: Annotated[int, msgspec.Meta(ge=0, le=72 * 60)] = 10
    max_bits_per_second: _Count = 1_000_000_000
    allow_http: bool = False
    ca_file: str | None = None
    client_cert: str | None = None
    shared_node: bool = False
    token: str | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        where = f"source {self.source_id}, base_url"
        try:
            url = urlsplit(self.base_url)
            host, _ = url.hostname, url.port
        except ValueError:
            url, host = urlsplit(""), None
        # The value is shown only once it is known to carry no credentials.
        if "@" in url.netloc or "@" in self.base_url:
            raise UsageError(
                f"{where}: expected an address without user name and password, got one with them; "
                "use token_env, connection_id or client_cert"
            )
        if url.scheme not in {"http", "https"} or not host or url.query or url.fragment:
            raise UsageError(
                f"{where}: expected an address such as https://exporter.example.com:8443, "
                f"got {self.base_url!r}"
            )
        if url.scheme == "http" and not self.allow_http and not is_loopback(host):
            raise UsageError(
                f"{where}: expected https for an address that is not loopback, "
                f"got {self.base_url!r}; use https, or set allow_http for this source"
            )


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
        region = env.get("DEFAULT_REGION") or "default"
        service_token = env.get("INTERNAL_SERVICE_TOKEN") or None
        s3_enabled = _boolean(env, "BILLING_S3_ENABLED", False)
        return cls(
            database_url=_database_url(env),
            sources=_sources(env, region, service_token, connection_token, with_tokens),
            internal_service_token=service_token,
            default_region=region,
            source_revision=env.get("SOURCE_REVISION", ""),
            price_per_byte=_price(env),
            initial_included_quota_bytes=_whole_number(
                env, "INITIAL_INCLUDED_QUOTA_BYTES", 0, minimum=0, maximum=_MAX_BIGINT
            ),
            initial_balance=_decimal(env, "INITIAL_BALANCE") or Decimal(0),
            collect_interval=_duration(
                env, "COLLECT_INTERVAL", timedelta(hours=1), longest=timedelta(hours=1)
            ),
            billing_period_anchor_day=_whole_number(
                env, "BILLING_PERIOD_ANCHOR_DAY", 1, minimum=1, maximum=28
            ),
            s3_enabled=s3_enabled,
            s3_bucket=_bucket(env, s3_enabled),
            s3_prefix=env.get("BILLING_S3_PREFIX", "").strip("/"),
            s3_endpoint_url=_endpoint_url(env),
            s3_path_template=env.get("BILLING_S3_PATH_TEMPLATE") or None,
            s3_bucket_owner=_bucket_owner(env),
            s3_sse=_sse(env),
            s3_sse_kms_key_id=env.get("BILLING_S3_SSE_KMS_KEY_ID") or None,
            s3_tags=_tags(env),
            s3_concurrency=_whole_number(env, "BILLING_S3_CONCURRENCY", 8, minimum=1, maximum=256),
            s3_formats=_formats(env),
            s3_max_events=_whole_number(
                env, "BILLING_S3_MAX_EVENTS", 50, minimum=1, maximum=1_000_000
            ),
            s3_max_bytes=_whole_number(
                env, "BILLING_S3_MAX_BYTES", 2_097_152, minimum=1, maximum=5 * 1024**3
            ),
            envelope=_envelope(env),
            event_types=_event_types(env),
            product=env.get("BILLING_PRODUCT") or "network",
            seal_grace=_duration(env, "BILLING_SEAL_GRACE", timedelta(hours=1)),
            payload_retention=_duration(env, "BILLING_PAYLOAD_RETENTION", timedelta(days=35)),
            retention=_retention(env),
            arrears_grace=_arrears_grace(env),
            delivery_alert=_duration(env, "BILLING_DELIVERY_ALERT", timedelta(hours=2)),
            alert_fact_lag=_duration_or_off(env, "BILLING_ALERT_FACT_LAG", timedelta(hours=3)),
            alert_undelivered_age=_duration_or_off(
                env, "BILLING_ALERT_UNDELIVERED_AGE", timedelta(hours=3)
            ),
            alert_open_findings=_threshold(env, "BILLING_ALERT_OPEN_FINDINGS", Decimal(0), None),
            alert_retention_used=_threshold(env, "BILLING_ALERT_RETENTION_USED", Decimal("0.5"), 1),
            alert_unattributed_share=_threshold(
                env, "BILLING_ALERT_UNATTRIBUTED_SHARE", Decimal("0.01"), 1
            ),
            alert_deadline=_duration_or_off(env, "BILLING_ALERT_DEADLINE", timedelta(hours=1)),
            alert_reminder=_duration(env, "BILLING_ALERT_REMINDER", timedelta(days=1)),
            alert_connections=_names(env, "BILLING_ALERT_CONNECTIONS", "billing_alerts"),
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


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself; a name counts only when it is localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _wrong(name: str, expected: str, got: str) -> UsageError:
    return UsageError(f"{name}: expected {expected}, got {got}")


# --- sources ---------------------------------------------------------------------------------


def _sources(
    env: Mapping[str, str],
    default_region: str,
    service_token: str | None,
    connection_token: ConnectionToken | None,
    with_tokens: bool,
) -> tuple[Source, ...]:
    entries, setting = _source_entries(env)
    sources: dict[str, Source] = {}
    for position, entry in enumerate(entries):
        values = _source_values(setting, position, entry)
        values.setdefault("region", default_region)
        if with_tokens:
            values["token"] = _token(setting, values, env, service_token, connection_token)
        try:
            source = Source(**values)
        except UsageError as error:
            raise UsageError(f"{setting}: {error}") from None
        if source.source_id in sources:
            raise _wrong(setting, "each source_id once", f"{source.source_id!r} twice")
        sources[source.source_id] = source
    return tuple(sources.values())


def _source_entries(env: Mapping[str, str]) -> tuple[list[Any], str]:
    """The raw entries, and the name of the variable that they come from."""
    text, base_url = env.get("EXPORTER_SOURCES_JSON"), env.get("EXPORTER_BASE_URL")
    if text and base_url:
        raise _wrong(
            "EXPORTER_SOURCES_JSON", "either it or EXPORTER_BASE_URL", "both; remove one of them"
        )
    if base_url:
        return [{"source_id": "default", "base_url": base_url}], "EXPORTER_BASE_URL"
    try:
        entries = json.loads(text or "[]")
    except (ValueError, RecursionError) as error:
        raise _wrong("EXPORTER_SOURCES_JSON", "a JSON array of objects", str(error)) from None
    if not isinstance(entries, list):
        raise _wrong("EXPORTER_SOURCES_JSON", "a JSON array of objects", type(entries).__name__)
    return entries, "EXPORTER_SOURCES_JSON"


def _source_values(setting: str, position: int, entry: object) -> dict[str, Any]:
    """The checked values of one entry; JSON null means "not given"."""
    if not isinstance(entry, dict):
        raise _wrong(f"{setting}[{position}]", "an object", type(entry).__name__)
    where = f"{setting}: source {entry.get('source_id', f'number {position}')!r}"
    # An unknown key's value is not shown: it may be a token put in the wrong place.
    for key in entry.keys() - SOURCE_KEYS.keys():
        raise _wrong(f"{where}, key {key!r}", "a known key: " + ", ".join(SOURCE_KEYS), "that one")
    given = {key: value for key, value in entry.items() if value is not None}
    for required in (f.name for f in fields(Source) if f.default is MISSING):
        if required not in given:
            raise _wrong(f"{where}, key {required!r}", SOURCE_KEYS[required], "nothing")
    types = get_type_hints(Source, include_extras=True)
    values: dict[str, Any] = {}
    for key, value in given.items():
        try:
            values[key] = msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            shown = "an address" if key == "base_url" else repr(value)
            raise UsageError(f"{where}, key {key!r}: {error}, got {shown}") from None
    return values


def _token(
    setting: str,
    values: dict[str, Any],
    env: Mapping[str, str],
    service_token: str | None,
    connection_token: ConnectionToken | None,
) -> str | None:
    """The token of a source: its own variable, its Airflow connection, or the service token."""
    if not values.get("enabled", True):
        return None
    where = f"{setting}: source {values['source_id']}"
    token_env, connection_id = values.get("token_env"), values.get("connection_id")
    if token_env and connection_id:
        raise _wrong(where, "either token_env or connection_id", "both; remove one of them")
    if connection_id:
        # The service token never stands in for it: that would hand it to another endpoint.
        token = connection_token(connection_id) if connection_token else None
        if connection_token and not token:
            raise _wrong(f"Airflow connection {connection_id} ({where})", "a password", "none")
    elif token_env:
        token = env.get(token_env)
        if not token:
            raise _wrong(f"{token_env} (token_env, {where})", "the bearer token", "nothing")
    else:
        token = service_token
        if not token and not values.get("client_cert"):
            raise _wrong(
                f"INTERNAL_SERVICE_TOKEN ({where})",
                "a bearer token, as the source has no token_env, connection_id or client_cert",
                "nothing",
            )
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise _wrong(where, "a token of printable ASCII without spaces", "another one")
    return token


# --- single values ---------------------------------------------------------------------------


def _database_url(env: Mapping[str, str]) -> str | None:
    url = env.get("DATABASE_URL")
    if not url:
        return None
    if not url.startswith(("postgresql://", "postgres://")):
        raise _wrong("DATABASE_URL", "an address that starts with postgresql://", "another one")
    return url


def _boolean(env: Mapping[str, str], name: str, default: bool) -> bool:
    text = env.get(name)
    if not text:
        return default
    if text.lower() not in _BOOLEANS:
        raise _wrong(name, "true, false, 1 or 0", repr(text))
    return _BOOLEANS[text.lower()]


def _decimal(env: Mapping[str, str], name: str) -> Decimal | None:
    text = env.get(name)
    if not text:
        return None
    if not _DECIMAL.fullmatch(text) or abs(Decimal(text).adjusted()) > 40:
        raise _wrong(name, "an exact decimal such as 0.000000002", repr(text))
    return Decimal(text)


def _price(env: Mapping[str, str]) -> Decimal | None:
    price = _decimal(env, "PRICE_PER_BYTE")
    if price is not None and price < 0:
        raise _wrong("PRICE_PER_BYTE", "a price that is not negative", str(price))
    return price


def _whole_number(
    env: Mapping[str, str], name: str, default: int, *, minimum: int, maximum: int
) -> int:
    value = _decimal(env, name)
    if value is None:
        return default
    if value != value.to_integral_value() or not minimum <= value <= maximum:
        raise _wrong(name, f"a whole number from {minimum} to {maximum}", repr(env[name]))
    return int(value)


def _duration(
    env: Mapping[str, str], name: str, default: timedelta, longest: timedelta | None = None
) -> timedelta:
    text = env.get(name)
    if not text:
        return default
    match = _DURATION.fullmatch(text)
    duration = timedelta(**{_DURATION_UNITS[match[2]]: int(match[1])}) if match else None
    if duration is None or (longest is not None and duration > longest):
        bound = f" of at most {longest}" if longest is not None else ""
        raise _wrong(name, f"a duration{bound} such as 35d, 1h, 90m or 30s", repr(text))
    return duration


def _retention(env: Mapping[str, str]) -> dict[str, timedelta | None]:
    """The defaults with what is named; ``keep`` is for ever."""
    retention = dict(RETENTION)
    for part in (env.get("BILLING_RETENTION") or "").split(","):
        if not part.strip():
            continue
        name, _, text = (piece.strip() for piece in part.partition("="))
        if name not in RETENTION:
            known = "one of " + ", ".join(RETENTION) + " before each ="
            raise _wrong("BILLING_RETENTION", known, repr(part.strip()))
        where = f"BILLING_RETENTION, {name}"
        keep = None if text == "keep" else _duration({where: text}, where, timedelta(0))
        shortest = timedelta(days=_SHORTEST_DAYS.get(name, 1))
        if keep is not None and keep < shortest:
            expected = f"keep, or a duration of at least {shortest.days}d"
            raise _wrong(where, expected, repr(text))
        retention[name] = keep
    return retention


def _arrears_grace(env: Mapping[str, str]) -> timedelta | None:
    name = "BILLING_ARREARS_GRACE"
    return _duration(env, name, timedelta(0)) if env.get(name) else None


def _duration_or_off(env: Mapping[str, str], name: str, default: timedelta) -> timedelta | None:
    return None if env.get(name) == "off" else _duration(env, name, default)


def _threshold(
    env: Mapping[str, str], name: str, default: Decimal, most: int | None
) -> Decimal | None:
    """The most that is fine: a count, or a share up to ``most``; None: off."""
    if env.get(name) == "off":
        return None
    value = _decimal(env, name)
    if value is None:
        return default
    if value < 0 or (value > most if most is not None else value != value.to_integral_value()):
        expected = "a whole number from 0 on" if most is None else f"a share from 0 to {most}"
        raise _wrong(name, f"{expected}, or off", repr(env[name]))
    return value


def _names(env: Mapping[str, str], name: str, default: str) -> tuple[str, ...]:
    """Names of Airflow connections, each once."""
    names = [part.strip() for part in (env.get(name) or default).split(",") if part.strip()]
    for each in names:
        if not re.fullmatch(r"[A-Za-z0-9_.:/-]{1,200}", each):
            raise _wrong(name, "connection ids, comma-separated", repr(each))
    return tuple(dict.fromkeys(names))


def _bucket(env: Mapping[str, str], s3_enabled: bool) -> str | None:
    environment = env.get("BILLING_ENV")
    if environment and environment not in {"dev", "test", "prod"}:
        raise _wrong("BILLING_ENV", "dev, test or prod", repr(environment))
    bucket = env.get("BILLING_S3_BUCKET")
    if bucket:
        if not _BUCKET.fullmatch(bucket):
            raise _wrong("BILLING_S3_BUCKET", "a bucket name, or the ARN of one", repr(bucket))
        return bucket
    if environment:
        return f"serverless-usage-{environment}"
    if s3_enabled:
        raise _wrong(
            "BILLING_S3_BUCKET", "a bucket name, or BILLING_ENV, as S3 is enabled", "nothing"
        )
    return None


def _endpoint_url(env: Mapping[str, str]) -> str | None:
    url = env.get("BILLING_S3_ENDPOINT_URL")
    if url and "@" in url:  # shown to nobody: it would be in every error that names the address
        raise _wrong(
            "BILLING_S3_ENDPOINT_URL",
            "an address without user name and password",
            "one with them; keys belong into the AWS credential chain",
        )
    if url and not _is_server(url):
        raise _wrong("BILLING_S3_ENDPOINT_URL", "an http or https address", repr(url))
    return url or None


def _is_server(url: str) -> bool:
    """Whether it is an address that S3 clients take; some have a path."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        named = bool(_HOST.fullmatch(host)) if "[" not in parts.netloc else host != ""
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and named and not parts.query + parts.fragment


def _bucket_owner(env: Mapping[str, str]) -> str | None:
    owner = env.get("BILLING_S3_BUCKET_OWNER")
    if owner and not re.fullmatch("[0-9]{12}", owner):
        raise _wrong("BILLING_S3_BUCKET_OWNER", "an AWS account of 12 digits", repr(owner))
    return owner or None


def _sse(env: Mapping[str, str]) -> str | None:
    sse = env.get("BILLING_S3_SSE")
    if sse and sse not in {"AES256", "aws:kms"}:
        raise _wrong("BILLING_S3_SSE", "AES256 or aws:kms", repr(sse))
    if env.get("BILLING_S3_SSE_KMS_KEY_ID") and sse != "aws:kms":
        raise _wrong(
            "BILLING_S3_SSE_KMS_KEY_ID", "BILLING_S3_SSE=aws:kms beside it", repr(sse or "")
        )
    return sse or None


def _tags(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """As S3 takes them: ten at most, names of 1 to 128 characters, values of up to 256."""
    tags: dict[str, str] = {}
    for part in (env.get("BILLING_S3_TAGS") or "").split(","):
        if not part.strip():
            continue
        name, equals, value = (text.strip() for text in part.partition("="))
        usable = all(letter.isalnum() or letter in " +-=._:/@" for letter in name + value)
        fits = 1 <= _utf16_length(name) <= 128 and _utf16_length(value) <= 256
        if not (equals and usable and fits):
            expected = (
                "name=value with names of 1 to 128 and values of up to 256 letters, digits, "
                "spaces and + - = . _ : / @"
            )
            raise _wrong("BILLING_S3_TAGS", expected, repr(part.strip()))
        if "aws:" in (name[:4].lower(), value[:4].lower()) or name in tags:
            expected = "each name once, and nothing that begins with aws:"
            raise _wrong("BILLING_S3_TAGS", expected, repr(part.strip()))
        tags[name] = value
    if len(tags) > 10:
        raise _wrong("BILLING_S3_TAGS", "at most 10 tags", str(len(tags)))
    return tuple(tags.items())


def _utf16_length(text: str) -> int:
    """The characters that S3 counts."""
    return len(text.encode("utf-16-le")) // 2


def _envelope(env: Mapping[str, str]) -> EnvelopeName:
    text = env.get("BILLING_ENVELOPE") or "billing_event"
    names: dict[str, EnvelopeName] = {name: name for name in get_args(EnvelopeName)}
    if text not in names:
        raise _wrong("BILLING_ENVELOPE", "one of " + ", ".join(names), repr(text))
    return names[text]


def _formats(env: Mapping[str, str]) -> frozenset[str]:
    """JSON lines are never left out: they are what is sealed, counted and compared."""
    text = env.get("BILLING_S3_FORMATS") or "jsonl"
    formats = frozenset(part.strip() for part in text.split(","))
    if "jsonl" not in formats or not formats <= {"jsonl", "parquet"}:
        raise _wrong("BILLING_S3_FORMATS", "jsonl, or jsonl,parquet", repr(text))
    return formats


def _listen_addr(env: Mapping[str, str]) -> tuple[str, int]:
    """Host and port; without a host, as in ``:8081``, every address of the machine."""
    text = env.get("LISTEN_ADDR") or "127.0.0.1:8081"
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]*)):([0-9]{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise _wrong("LISTEN_ADDR", "host:port such as 127.0.0.1:8081 or :8081", repr(text))
    return match[1] or match[2] or "0.0.0.0", int(match[3])  # noqa: S104 - asked for


def _event_types(env: Mapping[str, str]) -> frozenset[str] | None:
    text = env.get("BILLING_EVENT_TYPES")
    if text is None:
        return None
    return frozenset(part.strip() for part in text.split(",") if part.strip())
