"""Settings: every value is read exactly, every wrong one is named in one line."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing_etl import settings as room
from billing_etl.errors import UsageError
from billing_etl.settings import RETENTION, SETTINGS, SOURCE_KEYS, Settings, Source

SECRET = "t0p-s3cret"
TEMPLATE = "{event_type}/{year}/{month}/{day}/{hour}/{minute}/{uuid}.jsonl"
SOURCE: dict[str, Any] = {"source_id": "jp-1", "base_url": "https://exporter.example.com:8443"}


def sources(*entries: object, **env: str) -> dict[str, str]:
    return {
        "INTERNAL_SERVICE_TOKEN": SECRET,
        "EXPORTER_SOURCES_JSON": json.dumps(entries),
        **env,
    }


def test_an_empty_environment_is_complete() -> None:
    settings = Settings.from_environment({})

    assert settings == Settings()
    assert (settings.sources, settings.price_per_byte) == ((), None)
    assert (settings.collect_interval, settings.seal_grace) == (timedelta(hours=1),) * 2
    assert (settings.s3_max_events, settings.s3_max_bytes) == (50, 2_097_152)
    assert settings.payload_retention == timedelta(days=35)
    assert (settings.billing_period_anchor_day, settings.default_region) == (1, "default")
    assert (settings.s3_enabled, settings.event_types, settings.product) == (False, None, "network")


def test_every_setting_is_read() -> None:
    settings = Settings.from_environment(
        {
            "DATABASE_URL": "postgresql://u:p@db/billing",
            "EXPORTER_SOURCES_JSON": json.dumps([SOURCE]),
            "INTERNAL_SERVICE_TOKEN": SECRET,
            "DEFAULT_REGION": "jp",
            "SOURCE_REVISION": "abc123",
            "PRICE_PER_BYTE": "0.000000000000000000002",
            "INITIAL_INCLUDED_QUOTA_BYTES": "1073741824",
            "INITIAL_BALANCE": "-12.50",
            "COLLECT_INTERVAL": "5m",
            "BILLING_PERIOD_ANCHOR_DAY": "28",
            "BILLING_S3_ENABLED": "TRUE",
            "BILLING_ENV": "prod",
            "BILLING_S3_PREFIX": "/usage/",
            "BILLING_S3_PATH_TEMPLATE": TEMPLATE,
            "BILLING_S3_ENDPOINT_URL": "http://127.0.0.1:8333",
            "BILLING_S3_BUCKET_OWNER": "123456789012",
            "BILLING_S3_SSE": "aws:kms",
            "BILLING_S3_SSE_KMS_KEY_ID": "alias/billing",
            "BILLING_S3_TAGS": "team=billing, cost center = a=b ,empty=,",
            "BILLING_S3_FORMATS": "jsonl, parquet",
            "BILLING_S3_MAX_EVENTS": "5000",
            "BILLING_S3_MAX_BYTES": "1e6",
            "BILLING_ENVELOPE": "cloudevents",
            "BILLING_EVENT_TYPES": "traffic_bytes, traffic_bytes,",
            "BILLING_PRODUCT": "vpn",
            "BILLING_SEAL_GRACE": "90m",
            "BILLING_DELIVERY_ALERT": "3h",
            "BILLING_PAYLOAD_RETENTION": "400d",
            "BILLING_RETENTION": "runs=36h, findings = keep,",
            "BILLING_ARREARS_GRACE": "14d",
            "BILLING_ALERT_FACT_LAG": "6h",
            "BILLING_ALERT_UNDELIVERED_AGE": "off",
            "BILLING_ALERT_OPEN_FINDINGS": "3",
            "BILLING_ALERT_RETENTION_USED": "0.25",
            "BILLING_ALERT_UNATTRIBUTED_SHARE": "off",
            "BILLING_ALERT_DEADLINE": "45m",
            "BILLING_ALERT_REMINDER": "4h",
            "BILLING_ALERT_CONNECTIONS": "billing_alerts, on_call,billing_alerts",
            "IMAGE": "registry/billing:1",
            "LISTEN_ADDR": "[::1]:9000",
        }
    )

    assert settings == Settings(
        database_url="postgresql://u:p@db/billing",
        sources=(Source("jp-1", "https://exporter.example.com:8443", region="jp"),),
        internal_service_token=SECRET,
        default_region="jp",
        source_revision="abc123",
        price_per_byte=Decimal("0.000000000000000000002"),
        initial_included_quota_bytes=1073741824,
        initial_balance=Decimal("-12.50"),
        collect_interval=timedelta(minutes=5),
        billing_period_anchor_day=28,
        s3_enabled=True,
        s3_bucket="serverless-usage-prod",
        s3_prefix="usage",
        s3_path_template=TEMPLATE,
        s3_endpoint_url="http://127.0.0.1:8333",
        s3_bucket_owner="123456789012",
        s3_sse="aws:kms",
        s3_sse_kms_key_id="alias/billing",
        s3_tags=(("team", "billing"), ("cost center", "a=b"), ("empty", "")),
        s3_formats=frozenset({"jsonl", "parquet"}),
        s3_max_events=5000,
        s3_max_bytes=1_000_000,
        envelope="cloudevents",
        event_types=frozenset({"traffic_bytes"}),
        product="vpn",
        seal_grace=timedelta(minutes=90),
        delivery_alert=timedelta(hours=3),
        payload_retention=timedelta(days=400),
        retention=RETENTION | {"runs": timedelta(hours=36), "findings": None},
        arrears_grace=timedelta(days=14),
        alert_fact_lag=timedelta(hours=6),
        alert_undelivered_age=None,
        alert_open_findings=Decimal(3),
        alert_retention_used=Decimal("0.25"),
        alert_unattributed_share=None,
        alert_deadline=timedelta(minutes=45),
        alert_reminder=timedelta(hours=4),
        alert_connections=("billing_alerts", "on_call"),
        image="registry/billing:1",
        listen_addr=("::1", 9000),
    )
    assert settings.require_database_url() == "postgresql://u:p@db/billing"


def test_a_bucket_name_goes_before_the_environments_bucket() -> None:
    settings = Settings.from_environment({"BILLING_S3_BUCKET": "mine", "BILLING_ENV": "dev"})

    assert settings.s3_bucket == "mine"


def test_no_event_types_is_not_all_event_types() -> None:
    assert Settings.from_environment({"BILLING_EVENT_TYPES": ""}).event_types == frozenset()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://u:p@db/billing"),
        ("LISTEN_ADDR", "8081"),
        ("LISTEN_ADDR", "127.0.0.1:65536"),
        ("LISTEN_ADDR", "http://127.0.0.1:80"),
        ("EXPORTER_SOURCES_JSON", "{"),
        ("EXPORTER_SOURCES_JSON", "{}"),
        ("EXPORTER_SOURCES_JSON", "[7]"),
        ("EXPORTER_BASE_URL", "exporter.example.com"),
        ("PRICE_PER_BYTE", "cheap"),
        ("PRICE_PER_BYTE", "NaN"),
        ("PRICE_PER_BYTE", "Infinity"),
        ("PRICE_PER_BYTE", "1e99"),
        ("PRICE_PER_BYTE", "1e-99"),
        ("PRICE_PER_BYTE", "1_000"),
        ("PRICE_PER_BYTE", "-0.1"),
        ("PRICE_PER_BYTE", "0,1"),
        ("INITIAL_INCLUDED_QUOTA_BYTES", "1.5"),
        ("INITIAL_INCLUDED_QUOTA_BYTES", "-1"),
        ("INITIAL_INCLUDED_QUOTA_BYTES", "9223372036854775808"),
        ("INITIAL_BALANCE", "ten"),
        ("COLLECT_INTERVAL", "1 hour"),
        ("COLLECT_INTERVAL", "2h"),
        ("COLLECT_INTERVAL", "0m"),
        ("BILLING_PERIOD_ANCHOR_DAY", "29"),
        ("BILLING_PERIOD_ANCHOR_DAY", "0"),
        ("BILLING_S3_ENABLED", "yes"),
        ("BILLING_ENV", "staging"),
        ("BILLING_S3_ENDPOINT_URL", "127.0.0.1:8333"),
        ("BILLING_S3_ENDPOINT_URL", "http://"),
        ("BILLING_S3_ENDPOINT_URL", "http://s3 example"),
        ("BILLING_S3_ENDPOINT_URL", "http://my_store:9000"),
        ("BILLING_S3_ENDPOINT_URL", "http://s3.example.com:99999"),
        ("BILLING_S3_ENDPOINT_URL", "https://[::1"),
        ("BILLING_S3_ENDPOINT_URL", "https://s3.example.com/?region=x"),
        ("BILLING_S3_BUCKET", "a b"),
        ("BILLING_S3_BUCKET", "bucket/prefix"),
        ("BILLING_S3_PREFIX", "usage//prod"),
        ("BILLING_S3_PREFIX", "../prod"),
        ("BILLING_S3_PREFIX", "usage/{year}"),
        ("BILLING_S3_PREFIX", "usage\x1b[0m"),
        ("BILLING_S3_PREFIX", "p" * 256),
        ("BILLING_S3_PATH_TEMPLATE", "{event_type}/{year}/{month}/{day}/{hour}/{node}/{batch}"),
        ("BILLING_S3_PATH_TEMPLATE", "{event_type}/{year}/{month}/{day}/{hour}/{batch"),
        ("BILLING_S3_PATH_TEMPLATE", "{event_type}/{year}/{month}/{day}/{batch}"),
        ("BILLING_S3_PATH_TEMPLATE", "{event_type}/{year}/{month}/{day}/{hour}/{batch}\udcff"),
        ("BILLING_EVENT_TYPES", "requests"),
        ("BILLING_EVENT_TYPES", "traffic_bytes,traffic-bytes"),
        ("BILLING_PRODUCT", "network\n"),
        ("SOURCE_REVISION", "abc\x00"),
        ("DEFAULT_REGION", "jp\n"),
        ("INTERNAL_SERVICE_TOKEN", SECRET + "\n"),
        ("BILLING_S3_FORMATS", "parquet"),
        ("BILLING_S3_FORMATS", "jsonl,csv"),
        ("BILLING_S3_FORMATS", "jsonl,"),
        ("BILLING_ENVELOPE", "invoice"),
        ("BILLING_S3_BUCKET_OWNER", "12345678901"),
        ("BILLING_S3_BUCKET_OWNER", "1234567890123"),
        ("BILLING_S3_BUCKET_OWNER", "12345678901x"),
        ("BILLING_S3_SSE", "aes256"),
        ("BILLING_S3_SSE_KMS_KEY_ID", "alias/billing"),
        ("BILLING_S3_TAGS", "team"),
        ("BILLING_S3_TAGS", "=billing"),
        ("BILLING_S3_TAGS", "team=a,team=b"),
        ("BILLING_S3_TAGS", "AWS:team=a"),
        ("BILLING_S3_TAGS", "team=aws:a"),
        ("BILLING_S3_TAGS", "team=a&b"),
        ("BILLING_S3_TAGS", "t" * 129 + "=a"),
        ("BILLING_S3_TAGS", "team=" + "a" * 257),
        ("BILLING_S3_TAGS", ",".join(f"t{number}=a" for number in range(11))),
        ("BILLING_S3_MAX_EVENTS", "0"),
        ("BILLING_S3_MAX_BYTES", "many"),
        ("BILLING_SEAL_GRACE", "-1h"),
        ("BILLING_SEAL_GRACE", "36501d"),
        ("BILLING_DELIVERY_ALERT", "soon"),
        ("BILLING_ALERT_FACT_LAG", "never"),
        ("BILLING_ALERT_OPEN_FINDINGS", "0.5"),
        ("BILLING_ALERT_OPEN_FINDINGS", "-1"),
        ("BILLING_ALERT_RETENTION_USED", "50%"),
        ("BILLING_ALERT_UNATTRIBUTED_SHARE", "1.01"),
        ("BILLING_ALERT_DEADLINE", "1"),
        ("BILLING_ALERT_REMINDER", "off"),
        ("BILLING_ALERT_CONNECTIONS", "on call"),
        ("BILLING_PAYLOAD_RETENTION", "0d"),
        ("BILLING_PAYLOAD_RETENTION", "5w"),
        ("BILLING_PAYLOAD_RETENTION", "35"),
        ("BILLING_RETENTION", "runs"),
        ("BILLING_RETENTION", "runs=23h"),
        ("BILLING_RETENTION", "facts=95h"),
        ("BILLING_RETENTION", "runs=999999d"),
        ("BILLING_RETENTION", "runs=for ever"),
        ("BILLING_RETENTION", "ledger=90d"),
        ("BILLING_ARREARS_GRACE", "two weeks"),
    ],
)
def test_a_malformed_value_is_named_in_one_line(name: str, value: str) -> None:
    env = {"INTERNAL_SERVICE_TOKEN": SECRET, name: value}
    with pytest.raises(UsageError, match=rf"^{name}.*expected .*got [^\n]+$") as caught:
        Settings.from_environment(env)

    assert SECRET not in str(caught.value)


def test_tags_as_long_and_as_many_as_s3_takes_them() -> None:
    tags = {f"{number}" + "é" * 127: "ü" * 256 for number in range(10)}
    text = ",".join(f"{name}={value}" for name, value in tags.items())

    assert Settings.from_environment({"BILLING_S3_TAGS": text}).s3_tags == tuple(tags.items())


@pytest.mark.parametrize(
    ("enabled", "types", "exported"),
    [
        ("1", None, True),
        ("1", "", False),
        ("1", " , ", False),
        ("1", "traffic_bytes", True),
        ("0", "traffic_bytes", False),
    ],
)
def test_what_is_exported(enabled: str, types: str | None, exported: bool) -> None:
    env = {"BILLING_S3_ENABLED": enabled, "BILLING_S3_BUCKET": "b"}
    if types is not None:
        env["BILLING_EVENT_TYPES"] = types

    assert Settings.from_environment(env).exports("traffic_bytes") is exported


def test_a_key_of_sse_goes_into_a_header() -> None:
    env = {"BILLING_S3_SSE": "aws:kms", "BILLING_S3_SSE_KMS_KEY_ID": "alias/größe"}
    with pytest.raises(UsageError, match=r"^BILLING_S3_SSE_KMS_KEY_ID: expected .*got 'alias/gr"):
        Settings.from_environment(env)


def test_unknown_event_types_name_those_that_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_environment({"BILLING_EVENT_TYPES": "traffic_bytes,trafic"})

    assert str(caught.value) == (
        "BILLING_EVENT_TYPES: expected some of traffic_bytes, comma-separated, or nothing to "
        "export none, got 'trafic'"
    )


def test_s3_needs_a_bucket() -> None:
    with pytest.raises(UsageError, match=r"^BILLING_S3_BUCKET: expected .*BILLING_ENV"):
        Settings.from_environment({"BILLING_S3_ENABLED": "1"})


def test_the_database_is_asked_for_only_by_what_needs_it() -> None:
    with pytest.raises(UsageError, match=r"^DATABASE_URL: expected .*got nothing"):
        Settings.from_environment({}).require_database_url()


def test_one_source_by_its_address_alone() -> None:
    env = {"EXPORTER_BASE_URL": "http://127.0.0.1:9000", "INTERNAL_SERVICE_TOKEN": SECRET}

    (source,) = Settings.from_environment(env).sources

    assert source == Source("default", "http://127.0.0.1:9000")
    assert source.token == SECRET


def test_every_source_key_is_read() -> None:
    entry = {
        **SOURCE,
        "kind": "counter_exporter",
        "expected_node_id": "jp-xhttp-1",
        "expected_env": "prod",
        "enabled": True,
        "timeout_seconds": 5,
        "token_env": "JP_TOKEN",
        "connection_id": None,
        "region": "jp",
        "interval_seconds": 30,
        "page_size": 25,
        "max_page_bytes": 1_000_000,
        "first_sight": "charge",
        "lookback_minutes": 5,
        "max_bits_per_second": 10_000_000_000,
        "allow_http": True,
        "ca_file": "/etc/ca.pem",
        "client_cert": "/etc/cert.pem,/etc/key.pem",
        "shared_node": True,
    }
    assert set(entry) == set(SOURCE_KEYS)

    (source,) = Settings.from_environment(sources(entry, JP_TOKEN="jp")).sources

    assert source == Source(**entry)
    assert source.token == "jp"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"source_id": None}, "'source_id'"),
        ({"source_id": "a b"}, "'source_id'"),
        ({"source_id": ""}, "'source_id'"),
        ({"source_id": "jp-1\n"}, "'source_id'"),
        ({"base_url": None}, "'base_url'"),
        ({"base_url": "ftp://exporter"}, "base_url"),
        ({"base_url": "https://exporter?x=1"}, "base_url"),
        ({"base_url": "https://[::1"}, "base_url"),
        ({"base_url": "https://exporter:99999"}, "base_url"),
        ({"base_url": "https://exporter example.com"}, "base_url"),
        ({"region": "jp\x00"}, "'region'"),
        ({"region": "r" * 256}, "'region'"),
        ({"expected_node_id": "\ud800"}, "'expected_node_id'"),
        ({"ca_file": "/etc/ca\n.pem"}, "'ca_file'"),
        ({"first_sight": ""}, "'first_sight'"),
        ({"kind": "log_reader"}, "'kind'"),
        ({"enabled": "yes"}, "'enabled'"),
        ({"timeout_seconds": 0}, "'timeout_seconds'"),
        ({"timeout_seconds": True}, "'timeout_seconds'"),
        ({"page_size": 0}, "'page_size'"),
        ({"page_size": 1001}, "'page_size'"),
        ({"page_size": "25"}, "'page_size'"),
        ({"interval_seconds": 0.5}, "'interval_seconds'"),
        ({"first_sight": "always"}, "'first_sight'"),
        ({"lookback_minutes": -1}, "'lookback_minutes'"),
        ({"max_bits_per_second": 2**63}, "'max_bits_per_second'"),
        ({"pagesize": 25}, "'pagesize'"),
    ],
)
def test_a_malformed_source_is_named_with_its_key(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=r"^EXPORTER_SOURCES_JSON: source ") as caught:
        Settings.from_environment(sources({**SOURCE, **changed}))

    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_text_counts_as_not_given() -> None:
    texts = {
        "expected_node_id", "expected_env", "token_env", "connection_id", "region", "ca_file",
        "client_cert",
    }  # fmt: skip
    (source,) = Settings.from_environment(sources(SOURCE | dict.fromkeys(texts, ""))).sources

    assert source == Source(**SOURCE)


def test_a_token_in_the_wrong_place_is_not_shown() -> None:
    for wrong in (
        {"token": SECRET},
        {"base_url": f"https://user:{SECRET}@exporter"},
        {"base_url": f"https://exporter/?token={SECRET}"},
        {"base_url": f"https://exporter#{SECRET}"},
        {"base_url": f"exporter?token={SECRET}"},
    ):
        with pytest.raises(UsageError) as caught:
            Settings.from_environment(sources({**SOURCE, **wrong}))

        assert SECRET not in str(caught.value)
    for address in (f"https://s3?sig={SECRET}", f"https://s3/#{SECRET}", f"https://{SECRET}@s3"):
        with pytest.raises(UsageError) as caught:
            Settings.from_environment({"BILLING_S3_ENDPOINT_URL": address})

        assert SECRET not in str(caught.value)


def test_two_sources_of_one_name() -> None:
    with pytest.raises(UsageError, match="each source_id once, got 'jp-1' twice"):
        Settings.from_environment(sources(SOURCE, SOURCE))


def test_both_ways_of_naming_sources() -> None:
    with pytest.raises(UsageError, match="EXPORTER_SOURCES_JSON: expected either"):
        Settings.from_environment(sources(SOURCE, EXPORTER_BASE_URL="https://other"))


@pytest.mark.parametrize(
    ("base_url", "allow_http", "accepted"),
    [
        ("https://exporter.example.com", False, True),
        ("http://127.0.0.1:9000", False, True),
        ("http://127.8.9.1:9000", False, True),
        ("http://[::1]:9000", False, True),
        ("http://localhost:9000", False, True),
        ("http://10.0.0.7:9000", False, False),
        ("http://localhost.example.com", False, False),
        ("http://127.0.0.1.example.com", False, False),
        ("http://10.0.0.7:9000", True, True),
    ],
)
def test_plain_http_is_for_loopback_or_on_purpose(
    base_url: str, allow_http: bool, accepted: bool
) -> None:
    env = sources({**SOURCE, "base_url": base_url, "allow_http": allow_http})
    if accepted:
        assert Settings.from_environment(env).sources[0].base_url == base_url
        return
    with pytest.raises(UsageError, match=f"jp-1, base_url: expected https.*{re.escape(base_url)}"):
        Settings.from_environment(env)


class TestTokens:
    def test_a_missing_token_variable_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"^JP_TOKEN \(token_env.*jp-1\): .*got nothing"):
            Settings.from_environment(sources({**SOURCE, "token_env": "JP_TOKEN"}))

    def test_a_source_without_any_token_names_the_service_token(self) -> None:
        with pytest.raises(UsageError, match=r"^INTERNAL_SERVICE_TOKEN .*jp-1.*got nothing"):
            Settings.from_environment(sources(SOURCE, INTERNAL_SERVICE_TOKEN=""))

    def test_a_client_certificate_needs_no_token(self) -> None:
        entry = {**SOURCE, "client_cert": "/etc/cert.pem"}

        (source,) = Settings.from_environment(sources(entry, INTERNAL_SERVICE_TOKEN="")).sources

        assert source.token is None

    def test_a_disabled_source_needs_no_token(self) -> None:
        entry = {**SOURCE, "enabled": False, "token_env": "JP_TOKEN"}

        settings = Settings.from_environment(sources(entry, INTERNAL_SERVICE_TOKEN=""))

        assert len(settings.sources) == 1
        assert settings.enabled_sources == ()

    def test_a_connection_gives_the_token_and_the_service_token_never_stands_in(self) -> None:
        env = sources({**SOURCE, "connection_id": "jp"})

        inside = Settings.from_environment(env, {"jp": "from-airflow"}.get)
        outside = Settings.from_environment(env)

        assert inside.sources[0].token == "from-airflow"
        assert outside.sources[0].token is None

    def test_a_connection_without_password_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"Airflow connection jp .*jp-1.*got none"):
            Settings.from_environment(sources({**SOURCE, "connection_id": "jp"}), lambda _: None)

    def test_two_credentials_are_one_too_many(self) -> None:
        with pytest.raises(UsageError, match="either token_env or connection_id"):
            Settings.from_environment(
                sources({**SOURCE, "connection_id": "jp", "token_env": "JP_TOKEN"})
            )

    @pytest.mark.parametrize("token", ["two words", "line\nend", "süß"])
    def test_a_token_that_no_header_can_carry(self, token: str) -> None:
        with pytest.raises(UsageError, match="printable ASCII") as caught:
            Settings.from_environment(sources(SOURCE, INTERNAL_SERVICE_TOKEN=token))

        assert token not in str(caught.value)

    def test_secrets_stay_out_of_reprs(self) -> None:
        settings = Settings.from_environment(
            sources(SOURCE, DATABASE_URL=f"postgresql://u:{SECRET}@db/x")
        )

        assert SECRET not in repr(settings)


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="expected one of jp-1, got 'jp-2'"):
        Settings.from_environment(sources(SOURCE)).source("jp-2")


def test_the_documented_settings_are_those_that_are_read() -> None:
    class Recording(dict[str, str]):
        def __getitem__(self, name: str) -> str:
            self.setdefault(name, "")
            return ""

        def get(self, name: str, default: Any = None) -> Any:
            self.setdefault(name, "")
            return default

    env = Recording()
    Settings.from_environment(env)

    assert set(env) == set(SETTINGS)
    assert room.SOURCE_KEYS.keys() == {*Source.__dataclass_fields__} - {"token"}


def test_a_process_that_asks_no_source_needs_no_tokens() -> None:
    env = sources(SOURCE | {"token_env": "TOKEN_JP1"})

    settings = Settings.from_environment(env, with_tokens=False)

    assert [source.token for source in settings.sources] == [None]
    with pytest.raises(UsageError, match="TOKEN_JP1"):
        Settings.from_environment(env)
