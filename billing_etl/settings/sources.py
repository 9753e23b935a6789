"""Sources: which exporters are asked, with which credentials."""

import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Final, Literal, TypeAlias, get_type_hints
from urllib.parse import urlsplit

import msgspec

from billing_etl.errors import UsageError
from billing_etl.settings import values

FirstSight: TypeAlias = Literal["auto", "charge", "baseline"]
ConnectionToken: TypeAlias = Callable[[str], str | None]

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

_SOURCE_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z"

_Count = Annotated[int, msgspec.Meta(ge=1, le=values.MAX_BIGINT)]


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
    region: Annotated[str, msgspec.Meta(max_length=255)] = "default"
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
        if "?" in self.base_url or "#" in self.base_url:
            raise UsageError(
                f"{where}: expected an address without parameters, got one with them; a token "
                "belongs into token_env or connection_id"
            )
        is_address = url.scheme in {"http", "https"}
        if not host or not is_address or any(letter.isspace() for letter in self.base_url):
            raise UsageError(
                f"{where}: expected an address such as https://exporter.example.com:8443, "
                f"got {self.base_url!r}"
            )
        if url.scheme == "http" and not self.allow_http and not is_loopback(host):
            raise UsageError(
                f"{where}: expected https for an address that is not loopback, "
                f"got {self.base_url!r}; use https, or set allow_http for this source"
            )


# Texts that a source may do without.
_TEXTS: Final = {key.name for key in fields(Source) if key.default is None} | {"region"}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself; a name counts only when it is localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_sources(
    env: Mapping[str, str],
    default_region: str,
    service_token: str | None,
    connection_token: ConnectionToken | None,
    with_tokens: bool,
) -> tuple[Source, ...]:
    """The sources by the environment; ``with_tokens``: see ``Settings.from_environment``."""
    entries, setting = _source_entries(env)
    sources: dict[str, Source] = {}
    for position, entry in enumerate(entries):
        given = _source_values(setting, position, entry)
        given.setdefault("region", default_region)
        if with_tokens:
            given["token"] = _token(setting, given, env, service_token, connection_token)
        try:
            source = Source(**given)
        except UsageError as error:
            raise UsageError(f"{setting}: {error}") from None
        if source.source_id in sources:
            raise values.wrong(setting, "each source_id once", f"{source.source_id!r} twice")
        sources[source.source_id] = source
    return tuple(sources.values())


def _source_entries(env: Mapping[str, str]) -> tuple[list[Any], str]:
    """The raw entries, and the name of the variable that they come from."""
    text, base_url = env.get("EXPORTER_SOURCES_JSON"), env.get("EXPORTER_BASE_URL")
    if text and base_url:
        raise values.wrong(
            "EXPORTER_SOURCES_JSON", "either it or EXPORTER_BASE_URL", "both; remove one of them"
        )
    if base_url:
        return [{"source_id": "default", "base_url": base_url}], "EXPORTER_BASE_URL"
    try:
        entries = json.loads(text or "[]")
    except (ValueError, RecursionError) as error:
        raise values.wrong("EXPORTER_SOURCES_JSON", "a JSON array of objects", str(error)) from None
    if not isinstance(entries, list):
        got = type(entries).__name__
        raise values.wrong("EXPORTER_SOURCES_JSON", "a JSON array of objects", got)
    return entries, "EXPORTER_SOURCES_JSON"


def _source_values(setting: str, position: int, entry: object) -> dict[str, Any]:
    """The checked values of one entry; JSON null means "not given", and so does an empty text."""
    if not isinstance(entry, dict):
        raise values.wrong(f"{setting}[{position}]", "an object", type(entry).__name__)
    where = f"{setting}: source {entry.get('source_id', f'number {position}')!r}"
    # An unknown key's value is not shown: it may be a token put in the wrong place.
    for key in entry.keys() - SOURCE_KEYS.keys():
        known = "a known key: " + ", ".join(SOURCE_KEYS)
        raise values.wrong(f"{where}, key {key!r}", known, "that one")
    given = {
        key: value
        for key, value in entry.items()
        if value is not None and not (value == "" and key in _TEXTS)
    }
    for required in (f.name for f in fields(Source) if f.default is MISSING):
        if required not in given:
            raise values.wrong(f"{where}, key {required!r}", SOURCE_KEYS[required], "nothing")
    types = get_type_hints(Source, include_extras=True)
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, str) and not values.is_readable(value):
            raise values.wrong(f"{where}, key {key!r}", "text of one line", "another one")
        try:
            checked[key] = msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            shown = "an address" if key == "base_url" else repr(value)
            raise UsageError(f"{where}, key {key!r}: {error}, got {shown}") from None
    return checked


def _token(
    setting: str,
    given: dict[str, Any],
    env: Mapping[str, str],
    service_token: str | None,
    connection_token: ConnectionToken | None,
) -> str | None:
    """The token of a source: its own variable, its Airflow connection, or the service token."""
    if not given.get("enabled", True):
        return None
    where = f"{setting}: source {given['source_id']}"
    token_env, connection_id = given.get("token_env"), given.get("connection_id")
    if token_env and connection_id:
        raise values.wrong(where, "either token_env or connection_id", "both; remove one of them")
    if connection_id:
        # The service token never stands in for it: that would hand it to another endpoint.
        token = connection_token(connection_id) if connection_token else None
        if connection_token and not token:
            connection = f"Airflow connection {connection_id} ({where})"
            raise values.wrong(connection, "a password", "none")
    elif token_env:
        token = env.get(token_env)
        if not token:
            raise values.wrong(f"{token_env} (token_env, {where})", "the bearer token", "nothing")
    else:
        token = service_token
        if not token and not given.get("client_cert"):
            raise values.wrong(
                f"INTERNAL_SERVICE_TOKEN ({where})",
                "a bearer token, as the source has no token_env, connection_id or client_cert",
                "nothing",
            )
    return token if token is None else _usable(where, token)


def read_service_token(env: Mapping[str, str]) -> str | None:
    """The token of sources without one, which callers over HTTP give, too."""
    token = env.get("INTERNAL_SERVICE_TOKEN")
    return _usable("INTERNAL_SERVICE_TOKEN", token) if token else None


def _usable(where: str, token: str) -> str:
    """A token that a header can carry; what it is is never told."""
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise values.wrong(where, "a token of printable ASCII without spaces", "another one")
    return token
