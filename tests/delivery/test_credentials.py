"""The standard AWS chain against a real S3 server and a token service ("Credentials")."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from billing_rows import ACCOUNT, HOUR, Rows
from sts_server import ROLE, TokenService, token_service

from billing_etl.errors import BillingError, RetryableError, TerminalError
from billing_etl.hours import HourRange
from billing_etl.pipeline.deliver import DeliverResult, deliver_hours
from billing_etl.pipeline.engine import Engine

TOKEN = "a-web-identity-token"
AFTER_GRACE = HOUR.end + timedelta(hours=1)


def deliver(engine: Engine) -> DeliverResult:
    (result,) = deliver_hours(engine, HourRange.single(HOUR), now=AFTER_GRACE)
    return result


@pytest.fixture
def no_credentials(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing in the chain, and a directory for its files."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def sts(
    s3_server: Any, no_credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TokenService]:
    """A web identity of the one role, as IRSA and other federations set it up."""
    (no_credentials / "token").write_text(TOKEN)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(no_credentials / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_ROLE_SESSION_NAME", "billing-test")
    with token_service((s3_server.access_key, s3_server.secret_key), TOKEN) as service:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
        yield service


@pytest.fixture
def fact(rows: Rows) -> int:
    """One event that waits."""
    rows.source("jp-1")
    rows.source_hour("jp-1")
    series = rows.series("jp-1", ACCOUNT)
    rows.fact(series, 0, 10, 30)
    return series


def test_static_keys(engine: Engine, s3: Any, fact: int) -> None:
    assert deliver(engine).events == 1


def test_a_profile(
    engine: Engine, s3_server: Any, no_credentials: Path, fact: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (no_credentials / "credentials").write_text(
        "[default]\naws_access_key_id = another\naws_secret_access_key = one\n"
        f"[billing]\naws_access_key_id = {s3_server.access_key}\n"
        f"aws_secret_access_key = {s3_server.secret_key}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "billing")
    assert deliver(engine).events == 1


def test_a_web_identity(engine: Engine, sts: TokenService, fact: int) -> None:
    assert deliver(engine).events == 1
    assert sts.roles_asked == [ROLE]


def test_a_web_identity_of_a_profile(
    engine: Engine, sts: TokenService, no_credentials: Path, fact: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name)
    (no_credentials / "config").write_text(
        f"[profile billing]\nrole_arn = {ROLE}\n"
        f"web_identity_token_file = {no_credentials / 'token'}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "billing")
    assert deliver(engine).events == 1
    assert sts.roles_asked == [ROLE]


def test_keys_that_expire_are_asked_for_again_during_a_run(
    engine: Engine, sts: TokenService, fact: int
) -> None:
    sts.lifetime = timedelta(minutes=5)  # less than what is left is renewed before each request
    assert deliver(engine).events == 1
    assert len(sts.roles_asked) > 1


def test_a_token_that_was_renewed_is_read_from_its_file(
    engine: Engine, rows: Rows, sts: TokenService, no_credentials: Path, fact: int
) -> None:
    deliver(engine)
    sts.tokens = {TOKEN: False, "the next one": True}
    (no_credentials / "token").write_text("the next one")
    rows.fact(fact, 1, 1, 1)
    assert deliver(engine).events == 1


# --- what cannot be used fails before anything is sealed -------------------------------------


def assert_refused(engine: Engine, rows: Rows, message: str, kind: type[BillingError]) -> None:
    with pytest.raises(kind, match=message) as caught:
        deliver(engine)
    said = str(caught.value)
    assert "\n" not in said
    assert TOKEN not in said
    assert rows.all("select 1 from billing_core.batches") == []
    assert rows.one("select sealings from billing_core.deliveries") == 0
    (recorded,) = rows.all("select status, error from billing_core.runs where command = 'export'")
    assert recorded == ("failed", said)


def test_a_role_that_may_not_be_assumed(
    engine: Engine, rows: Rows, sts: TokenService, fact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE + "-of-another")
    message = r"AssumeRoleWithWebIdentity was answered 403 \(AccessDenied\); check AWS_ROLE_ARN"
    assert_refused(engine, rows, message, TerminalError)


def test_a_token_that_expired(engine: Engine, rows: Rows, sts: TokenService, fact: int) -> None:
    sts.tokens[TOKEN] = False
    assert_refused(engine, rows, r"answered 400 \(ExpiredTokenException\)", TerminalError)


def test_a_token_of_an_unknown_issuer(
    engine: Engine, rows: Rows, sts: TokenService, fact: int
) -> None:
    del sts.tokens[TOKEN]
    assert_refused(engine, rows, r"answered 400 \(InvalidIdentityToken\)", TerminalError)


def test_a_token_file_that_is_not_there(
    engine: Engine, rows: Rows, sts: TokenService, no_credentials: Path, fact: int
) -> None:
    (no_credentials / "token").unlink()
    assert_refused(engine, rows, r"no usable credentials .* \(FileNotFoundError\)", TerminalError)


def test_a_token_without_a_role(
    engine: Engine, rows: Rows, sts: TokenService, fact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ROLE_ARN")
    assert_refused(engine, rows, r"no usable credentials .* \(InvalidConfigError\)", TerminalError)


def test_a_profile_that_is_not_there(
    engine: Engine, rows: Rows, no_credentials: Path, fact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "billing")
    assert_refused(engine, rows, r"no usable credentials .* \(ProfileNotFound\)", TerminalError)


def test_a_token_service_that_is_away(
    engine: Engine, rows: Rows, sts: TokenService, fact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    assert_refused(engine, rows, "no answer from http://127.0.0.1:1 ", RetryableError)


def test_keys_of_a_role_that_the_store_refuses(
    engine: Engine, rows: Rows, sts: TokenService, s3_server: Any, fact: int
) -> None:
    sts.keys = (s3_server.access_key, "wrong")
    assert_refused(engine, rows, "expected access, got 403", TerminalError)
