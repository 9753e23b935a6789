"""The object store: put, head and list; nothing about events or the database.

Source of the rules: delivery contract, "Integrity" and "Credentials".
"""

import base64
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

import boto3
import botocore.exceptions
from botocore.config import Config

from billing_etl.errors import (
    BillingError,
    MismatchError,
    RetryableError,
    TerminalError,
    UsageError,
)
from billing_etl.settings import Settings

EVENTS_CONTENT_TYPE: Final = "application/x-ndjson"
MANIFEST_CONTENT_TYPE: Final = "application/json"
PARQUET_CONTENT_TYPE: Final = "application/vnd.apache.parquet"

# They log whole requests, session tokens too, at a level that is switched on for other reasons.
for _name in ("botocore", "boto3"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_RETRYABLE_STATUS: Final = frozenset({408, 409, 429, 500, 502, 503, 504})
_RETRYABLE_CODES: Final = frozenset(
    {"RequestTimeout", "BadDigest", "SlowDown", "RequestTimeTooSkewed", "IDPCommunicationError"}
)
_CREDENTIAL_ERRORS: Final = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.ProfileNotFound,
    botocore.exceptions.InvalidConfigError,
    botocore.exceptions.NoAuthTokenError,
    botocore.exceptions.TokenRetrievalError,
    # A file of the chain that is not there or may not be read; errors of the network are no
    # OSError once botocore has seen them.
    OSError,
)
_FAILURES: Final = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the server holds under a key; two of equal content are equal, whatever their ETags."""

    size_bytes: int
    sha256: bytes
    etag: str = field(compare=False)


class ListedObject(NamedTuple):
    """An object as a listing names it."""

    key: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """Puts objects that can be checked, and never overwrites one by accident.

    Safe to use from several threads. Every method raises RetryableError when the store did not
    answer or is overloaded, TerminalError when it refuses.

    Attributes:
        with_every_request: arguments of every request, such as the expected owner of the bucket.
        with_every_put: arguments of every put, such as encryption and tags.
    """

    client: Any
    with_every_request: Mapping[str, str] = field(default_factory=dict)
    with_every_put: Mapping[str, str] = field(default_factory=dict)

    def check_bucket(self, bucket: str) -> None:
        """Proves, before anything is sealed or sent, that the bucket is there and may be used.

        Buckets are never created here.
        """
        if not self.has_bucket(bucket):
            raise TerminalError(
                f"s3://{bucket}: expected an existing bucket, got 404; "
                "create it or correct BILLING_S3_BUCKET"
            )

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket is there; if so, it may be used.

        Raises:
            TerminalError: it may not be used.
        """
        try:
            self.client.head_bucket(Bucket=bucket, **self.with_every_request)
        except _FAILURES as error:
            status = _status_of(error, "HeadBucket")
            if status == 404:
                return False
            if status == 403:
                owner = self.with_every_request.get("ExpectedBucketOwner")
                of_owner = f" to a bucket of account {owner}" if owner else ""
                raise TerminalError(
                    f"s3://{bucket}: expected access{of_owner}, got 403; check the role or keys "
                    "of the AWS credential chain, the bucket's policy and its owner"
                ) from None
            raise _explained(error, f"s3://{bucket}", "head bucket") from error
        return True

    def put(self, bucket: str, key: str, payload: bytes, content_type: str, sha256: bytes) -> str:
        """Stores the payload under a key that is free, or holds exactly these bytes already.

        The server verifies the SHA-256. A lost answer is therefore healed by putting again.

        Args:
            sha256: what the payload must have; it is not calculated here.

        Returns:
            The object's ETag.

        Raises:
            MismatchError: the payload has another SHA-256, or the key holds other content; what
                lies there is left as it is.
        """
        try:
            return self._put(bucket, key, payload, sha256, content_type, {"IfNoneMatch": "*"})
        except _FAILURES as error:
            if _status_of(error, "PutObject") not in {409, 412}:
                got = hashlib.sha256(payload).digest()
                if got != sha256:
                    raise MismatchError(
                        f"s3://{bucket}/{key}: expected a payload with SHA-256 {sha256.hex()}, got "
                        f"{got.hex()}; it was damaged after it was sealed, restore it"
                    ) from None
                raise _explained(error, f"s3://{bucket}/{key}", "put") from error
        stored = self.head(bucket, key)
        if stored is None:
            raise RetryableError(
                f"s3://{bucket}/{key}: the put lost against another one that left nothing; "
                "run again"
            )
        if stored != StoredObject(len(payload), sha256, stored.etag):
            raise MismatchError(
                f"s3://{bucket}/{key}: expected {len(payload)} bytes with SHA-256 {sha256.hex()}, "
                f"got {stored.size_bytes} bytes with SHA-256 {stored.sha256.hex()}; someone else "
                "wrote this key: look at it, then run `billing-etl reconcile` to restore it"
            )
        return stored.etag

    def replace(self, bucket: str, key: str, payload: bytes, content_type: str) -> str:
        """Restores an object from its sealed payload whatever lies there; only for repairs.

        Returns:
            The object's ETag.
        """
        digest = hashlib.sha256(payload).digest()
        try:
            return self._put(bucket, key, payload, digest, content_type, {})
        except _FAILURES as error:
            raise _explained(error, f"s3://{bucket}/{key}", "replace") from error

    def _put(
        self,
        bucket: str,
        key: str,
        payload: bytes,
        digest: bytes,
        content_type: str,
        condition: dict[str, str],
    ) -> str:
        answer = self.client.put_object(
            Bucket=bucket,
            Key=key,
            Body=payload,
            ChecksumSHA256=base64.b64encode(digest).decode(),
            ContentType=content_type,
            **condition,
            **self.with_every_request,
            **self.with_every_put,
        )
        return _etag(answer)

    def head(self, bucket: str, key: str) -> StoredObject | None:
        """Size and SHA-256 of an object, None when there is none.

        An object that was stored without a SHA-256 is read and hashed.
        """
        try:
            answer = self.client.head_object(
                Bucket=bucket, Key=key, ChecksumMode="ENABLED", **self.with_every_request
            )
            checksum = answer.get("ChecksumSHA256")
            if checksum is not None and "-" not in checksum:  # "-": a checksum of parts
                return StoredObject(
                    answer["ContentLength"], base64.b64decode(checksum), _etag(answer)
                )
            return self._read_and_hash(bucket, key)
        except _FAILURES as error:
            if _status_of(error, "HeadObject", "GetObject") == 404:
                return None
            raise _explained(error, f"s3://{bucket}/{key}", "head") from error

    def _read_and_hash(self, bucket: str, key: str) -> StoredObject:
        digest = hashlib.sha256()
        size_bytes = 0
        answer = self.client.get_object(Bucket=bucket, Key=key, **self.with_every_request)
        for chunk in answer["Body"].iter_chunks(1 << 20):
            digest.update(chunk)
            size_bytes += len(chunk)
        return StoredObject(size_bytes, digest.digest(), _etag(answer))

    def get(self, bucket: str, key: str) -> bytes | None:
        """The body of an object, None when there is none."""
        try:
            answer = self.client.get_object(Bucket=bucket, Key=key, **self.with_every_request)
            return bytes(answer["Body"].read())
        except _FAILURES as error:
            if _status_of(error, "GetObject") == 404:
                return None
            raise _explained(error, f"s3://{bucket}/{key}", "get") from error

    def list_objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """All objects below a prefix, page after page, in the order of the store."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, **self.with_every_request
        )
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield ListedObject(entry["Key"], entry["Size"], _etag(entry))
        except _FAILURES as error:
            raise _explained(error, f"s3://{bucket}/{prefix}", "list") from error


def configured_bucket(settings: Settings) -> str:
    """The bucket that new batches are sealed for.

    Raises:
        UsageError: none is configured.
    """
    if settings.s3_bucket is None:
        raise UsageError("BILLING_S3_BUCKET: expected a bucket name, got nothing; set it")
    return settings.s3_bucket


def object_store_from(settings: Settings) -> ObjectStore:
    """A store with credentials from the standard AWS chain only; makes no request by itself."""
    if not settings.s3_enabled:
        raise TerminalError("delivery: BILLING_S3_ENABLED is off, no object store is used")
    config = Config(
        max_pool_connections=settings.s3_concurrency,
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 4},
        # The SHA-256 that is sent with every put is the checksum; no second one is wanted.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Names such as bucket.host do not resolve for a store of one's own.
        s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
    )
    try:
        # A session of its own: the shared one is not for threads and remembers old credentials.
        # AWS's own containers set AWS_REGION, of which boto3 knows nothing.
        session = boto3.session.Session(region_name=os.environ.get("AWS_REGION") or None)
        client = session.client("s3", endpoint_url=settings.s3_endpoint_url, config=config)
    except _FAILURES as error:
        raise _explained(error, "s3", "open") from error
    owner = {"ExpectedBucketOwner": settings.s3_bucket_owner}
    on_put = {
        "ServerSideEncryption": settings.s3_sse,
        "SSEKMSKeyId": settings.s3_sse_kms_key_id,
        "Tagging": urlencode(settings.s3_tags),
    }
    return ObjectStore(client, _given(owner), _given(on_put))


def _given(arguments: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in arguments.items() if value}


def _etag(answer: Mapping[str, Any]) -> str:
    """The ETag without its quotes, as object listings can be compared with it."""
    return str(answer["ETag"]).strip('"')


def _status_of(error: Exception, *operations: str) -> int | None:
    """The status that one of these operations was answered; a role is asked for on the way."""
    if not isinstance(error, botocore.exceptions.ClientError):
        return None
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) and error.operation_name in operations else None


def _explained(error: Exception, place: str, action: str) -> BillingError:
    """One line without credentials: a client error's own text may quote a key id."""
    if isinstance(error, _CREDENTIAL_ERRORS):
        return TerminalError(
            f"{place}: no usable credentials in the AWS chain ({type(error).__name__}); "
            "give the process a role, a web identity token file, a profile or keys"
        )
    if isinstance(error, botocore.exceptions.ClientError):
        return _refused(error, place, action)
    endpoint = urlsplit(getattr(error, "kwargs", {}).get("endpoint_url") or "")
    from_where = f" from {endpoint.scheme}://{endpoint.netloc}" if endpoint.hostname else ""
    return RetryableError(
        f"{place}: {action} got no answer{from_where} ({type(error).__name__}); "
        "run again when it can be reached"
    )


def _refused(error: botocore.exceptions.ClientError, place: str, action: str) -> BillingError:
    operation = error.operation_name
    status = _status_of(error, operation)
    code = error.response.get("Error", {}).get("Code", "unknown")
    is_retryable = status in _RETRYABLE_STATUS or code in _RETRYABLE_CODES
    if operation.startswith("AssumeRole"):
        line = f"{place}: no credentials for {action}, {operation} was answered {status} ({code})"
        if is_retryable:
            return RetryableError(f"{line}; run again")
        return TerminalError(
            f"{line}; check AWS_ROLE_ARN, the web identity token and the role's trust policy"
        )
    line = f"{place}: {action} was answered {status} ({code} on {operation})"
    if is_retryable:
        return RetryableError(f"{line}; run again, the same bytes go to the same key")
    return TerminalError(f"{line}; check bucket, region, role and policy")
