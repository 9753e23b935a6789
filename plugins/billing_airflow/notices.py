"""Sends alerts through Airflow notifiers; where to, and with which secrets, stands in connections.

The type of a connection decides the form: ``http`` gets the whole message as JSON, ``slackwebhook``
its line of text, ``smtp`` a mail. What is raised, and so logged and kept, names the connection and
an HTTP status or the kind of error, never an address.
"""

import html
import logging
import os
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from airflow.sdk import BaseNotifier, Connection
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied

from billing_etl.errors import BillingError, RetryableError, UsageError
from billing_etl.pipeline.alerts import send_notices
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings, is_loopback

_TIMEOUT_SECONDS: Final = 10
_SLACK: Final = "https://hooks.slack.com/services"
_MAY_BE_MISSING: Final = Settings().alert_connections
_TYPES: Final = ("http", "https", "slackwebhook", "smtp")

_log = logging.getLogger(__name__)


def usable(connection_ids: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Those of the connections that can be read, and what is wrong with those that cannot.

    Only the default may be missing: an alert is then on record only. Airflow takes one that cannot
    be read for one that is missing; whoever named it believes that somebody is told.

    The callback of a deadline may read those of the environment only: Airflow 3.3 gives its
    process no right to the others. They are told by the next run of `watch`.
    """
    found: list[str] = []
    errors: dict[str, str] = {}
    for each in connection_ids:
        variable = f"AIRFLOW_CONN_{each.upper()}"
        try:
            connection = _connection(each)
        except AirflowSecretsBackendAccessDenied:
            _log.info("connection %s cannot be read here; the DAG watch sends to it", each)
            continue
        if connection is not None:
            found.append(each)
        elif os.environ.get(variable):
            errors[each] = (
                f"connection {each}: expected JSON or an address in {variable}, got what Airflow "
                "cannot read; correct it"
            )
        elif each not in _MAY_BE_MISSING:
            errors[each] = (
                f"connection {each}: expected one, got none that Airflow can read; add it, or take "
                "it out of BILLING_ALERT_CONNECTIONS"
            )
    return found, errors


def _connection(connection_id: str) -> Connection | None:
    try:
        connection: Connection = Connection.get(connection_id)
        return connection
    except AirflowNotFoundException:
        return None


def send_pending(engine: Engine, connection_ids: Sequence[str]) -> dict[str, str]:
    """Sends what was not sent yet; gives the error of each connection that did not take it."""
    return send_notices(engine, connection_ids, send)


def send(connection_id: str, message: dict[str, Any]) -> None:
    """Sends one message.

    Raises:
        UsageError: the connection cannot be used as it is.
        RetryableError: it did not take the message.
    """
    connection = _connection(connection_id)
    if connection is None:
        raise UsageError(f"connection {connection_id}: expected one, got none")
    try:
        notifier_of(connection, message).notify({})
    except BillingError:
        raise
    except Exception as error:
        # Its text may hold the address or what the server said about a password.
        raise RetryableError(f"connection {connection_id}: {type(error).__name__}") from None


def notifier_of(connection: Connection, message: dict[str, Any]) -> BaseNotifier:
    """The notifier that sends the message to a connection of this type.

    Raises:
        UsageError: no notifier sends to connections of this type, or a value is missing.
    """
    if connection.conn_type in {"http", "https"}:
        return WebhookNotifier(connection, message)
    if connection.conn_type == "slackwebhook":
        return WebhookNotifier(connection, {"text": message["text"]})
    if connection.conn_type == "smtp":
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        to = connection.extra_dejson.get("to_email")
        if not to:
            raise UsageError(
                f"connection {connection.conn_id}: expected to_email in its extra, got nothing"
            )
        return SmtpNotifier(
            to=to,
            subject=f"[billing] {message['kind']}: {message['rule']} {message['subject']}",
            html_content=f"<p>{html.escape(message['text'])}</p><p>{message['id']}</p>",
            smtp_conn_id=connection.conn_id,
        )
    raise UsageError(
        f"connection {connection.conn_id}: expected a type of {', '.join(_TYPES)}, "
        f"got {connection.conn_type!r}"
    )


class WebhookNotifier(BaseNotifier):
    """Posts a JSON document to the address of a connection; any 2xx answer has taken it.

    Host, schema (https) and port make the address; a host may be a whole address. A login goes
    with its password as basic authentication, a password alone as a bearer token; of type
    ``slackwebhook`` it is the secret end of the address.

    Raises:
        UsageError: the address is none, or plain HTTP to another machine without ``allow_http``.
    """

    template_fields = ()

    def __init__(self, connection: Connection, document: dict[str, Any]) -> None:
        super().__init__()
        self._connection_id = connection.conn_id
        self._document = document
        self._url = _address(connection)
        self._headers = {"Idempotency-Key": document["id"]} if "id" in document else {}
        self._auth: httpx.Auth | None = None
        if connection.conn_type == "slackwebhook":
            self._url = f"{self._url}/{(connection.password or '').lstrip('/')}"
        elif connection.login:
            self._auth = httpx.BasicAuth(connection.login, connection.password or "")
        elif connection.password:
            self._headers["Authorization"] = f"Bearer {connection.password}"

    def notify(self, context: Any) -> None:
        """Posts it.

        Raises:
            RetryableError: no answer, or another one than 2xx; redirects are not followed.
        """
        with (
            httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False, auth=self._auth) as client,
            # The status says it all: a body that is long or never ends is not waited for.
            client.stream("POST", self._url, json=self._document, headers=self._headers) as answer,
        ):
            status = answer.status_code
        if not 200 <= status < 300:
            raise RetryableError(f"connection {self._connection_id}: expected 2xx, got {status}")


def _address(connection: Connection) -> str:
    host = (connection.host or "").rstrip("/")
    if connection.conn_type == "slackwebhook" and not host:
        host = _SLACK
    if host and "://" not in host:
        scheme = connection.schema if connection.schema in {"http", "https"} else "https"
        host = f"{scheme}://{host}" + (f":{connection.port}" if connection.port else "")
    url = urlsplit(host)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise UsageError(
            f"connection {connection.conn_id}: expected a host such as hooks.example.com, "
            "got none that can be used"
        )
    allowed = connection.extra_dejson.get("allow_http") is True
    if url.scheme == "http" and not allowed and not is_loopback(url.hostname):
        raise UsageError(
            f"connection {connection.conn_id}: expected https for an address that is not "
            "loopback, got http; use https, or set allow_http to true in its extra"
        )
    return host
