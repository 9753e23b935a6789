"""Where events are delivered to, and in which form."""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from billing_etl.batches.keys import ObjectKeys, is_path
from billing_etl.settings import values

EnvelopeName: TypeAlias = Literal["billing_event", "cloudevents", "usage_event"]

# What is metered; a new meter is a row of `billing_core.meters` and a name here.
EVENT_TYPES: Final = ("traffic_bytes",)

# What S3 clients ask at all: other names fail there, each time again.
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:[!-~]{1,2000}")
_KEY_ID: Final = re.compile("[!-~]{1,2048}")  # it goes into a header
_HOST: Final = re.compile(
    r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?"
)


def bucket(env: Mapping[str, str], s3_enabled: bool) -> str | None:
    environment = env.get("BILLING_ENV")
    if environment and environment not in {"dev", "test", "prod"}:
        raise values.wrong("BILLING_ENV", "dev, test or prod", repr(environment))
    bucket = env.get("BILLING_S3_BUCKET")
    if bucket:
        if not _BUCKET.fullmatch(bucket):
            raise values.wrong(
                "BILLING_S3_BUCKET", "a bucket name, or the ARN of one", repr(bucket)
            )
        return bucket
    if environment:
        return f"serverless-usage-{environment}"
    if s3_enabled:
        raise values.wrong(
            "BILLING_S3_BUCKET", "a bucket name, or BILLING_ENV, as S3 is enabled", "nothing"
        )
    return None


def endpoint_url(env: Mapping[str, str]) -> str | None:
    url = env.get("BILLING_S3_ENDPOINT_URL")
    if url and "@" in url:  # shown to nobody: it would be in every error that names the address
        raise values.wrong(
            "BILLING_S3_ENDPOINT_URL",
            "an address without user name and password",
            "one with them; keys belong into the AWS credential chain",
        )
    if url and ("?" in url or "#" in url):
        raise values.wrong(
            "BILLING_S3_ENDPOINT_URL",
            "an address without parameters",
            "one with them; keys belong into the AWS credential chain",
        )
    if url and not _is_server(url):
        raise values.wrong("BILLING_S3_ENDPOINT_URL", "an http or https address", repr(url))
    return url or None


def _is_server(url: str) -> bool:
    """Whether it is an address that S3 clients take; some have a path."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        named = bool(_HOST.fullmatch(host)) if "[" not in parts.netloc else host != ""
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and named


def prefix(env: Mapping[str, str]) -> str:
    """Without slashes around it; fields belong into the template."""
    name = "BILLING_S3_PREFIX"
    path = values.text(env, name).strip("/")
    if (path and not is_path(path)) or set("{}") & set(path):
        raise values.wrong(name, "directories such as usage/prod, without fields", repr(path))
    return path


def path_template(env: Mapping[str, str]) -> str | None:
    """None: the one that belongs to the envelope."""
    template = values.text(env, "BILLING_S3_PATH_TEMPLATE")
    return ObjectKeys("", template).template if template else None


def bucket_owner(env: Mapping[str, str]) -> str | None:
    owner = env.get("BILLING_S3_BUCKET_OWNER")
    if owner and not re.fullmatch("[0-9]{12}", owner):
        raise values.wrong("BILLING_S3_BUCKET_OWNER", "an AWS account of 12 digits", repr(owner))
    return owner or None


def sse(env: Mapping[str, str]) -> str | None:
    sse = env.get("BILLING_S3_SSE")
    if sse and sse not in {"AES256", "aws:kms"}:
        raise values.wrong("BILLING_S3_SSE", "AES256 or aws:kms", repr(sse))
    if env.get("BILLING_S3_SSE_KMS_KEY_ID") and sse != "aws:kms":
        raise values.wrong(
            "BILLING_S3_SSE_KMS_KEY_ID", "BILLING_S3_SSE=aws:kms beside it", repr(sse or "")
        )
    return sse or None


def sse_kms_key_id(env: Mapping[str, str]) -> str | None:
    key_id = env.get("BILLING_S3_SSE_KMS_KEY_ID")
    if key_id and not _KEY_ID.fullmatch(key_id):
        raise values.wrong(
            "BILLING_S3_SSE_KMS_KEY_ID", "the id, alias or ARN of a key", repr(key_id)
        )
    return key_id or None


def tags(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
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
            raise values.wrong("BILLING_S3_TAGS", expected, repr(part.strip()))
        if "aws:" in (name[:4].lower(), value[:4].lower()) or name in tags:
            expected = "each name once, and nothing that begins with aws:"
            raise values.wrong("BILLING_S3_TAGS", expected, repr(part.strip()))
        tags[name] = value
    if len(tags) > 10:
        raise values.wrong("BILLING_S3_TAGS", "at most 10 tags", str(len(tags)))
    return tuple(tags.items())


def _utf16_length(text: str) -> int:
    """The characters that S3 counts."""
    return len(text.encode("utf-16-le")) // 2


def envelope(env: Mapping[str, str]) -> EnvelopeName:
    text = env.get("BILLING_ENVELOPE") or "billing_event"
    names: dict[str, EnvelopeName] = {name: name for name in get_args(EnvelopeName)}
    if text not in names:
        raise values.wrong("BILLING_ENVELOPE", "one of " + ", ".join(names), repr(text))
    return names[text]


def formats(env: Mapping[str, str]) -> frozenset[str]:
    """JSON lines are never left out: they are what is sealed, counted and compared."""
    text = env.get("BILLING_S3_FORMATS") or "jsonl"
    formats = frozenset(part.strip() for part in text.split(","))
    if "jsonl" not in formats or not formats <= {"jsonl", "parquet"}:
        raise values.wrong("BILLING_S3_FORMATS", "jsonl, or jsonl,parquet", repr(text))
    return formats


def event_types(env: Mapping[str, str]) -> frozenset[str] | None:
    """None: all; empty: none, which no other setting can say."""
    text = env.get("BILLING_EVENT_TYPES")
    if text is None:
        return None
    given = frozenset(part.strip() for part in text.split(",") if part.strip())
    for unknown in sorted(given - set(EVENT_TYPES)):
        expected = f"some of {', '.join(EVENT_TYPES)}, comma-separated, or nothing to export none"
        raise values.wrong("BILLING_EVENT_TYPES", expected, repr(unknown))
    return given
