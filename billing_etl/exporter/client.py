"""Fetches the snapshots of a window from one exporter, page by page, over HTTP."""

import logging
import ssl
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from itertools import islice
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import certifi
import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from billing_etl.errors import BillingError, RetryableError, TerminalError, UsageError
from billing_etl.exporter.contract import (
    Fail,
    KnownText,
    Page,
    Retry,
    Use,
    Verdict,
    classify_answer,
    decode_page,
)
from billing_etl.exporter.pagination import (
    TARGET_PAGE_BYTES,
    Paginator,
    Question,
    fitting_limit,
)
from billing_etl.hours import NS_PER_SECOND, format_instant_ns
from billing_etl.masking import without_emails
from billing_etl.records import Snapshot
from billing_etl.settings import Source

MAX_ATTEMPTS: Final = 5
MAX_RETRY_SECONDS: Final = 180.0
_PATH: Final = "/v1/snapshots/window"
_QUOTED_BODY_BYTES: Final = 1000
_DAY_NS: Final = 86_400 * NS_PER_SECOND

# What OpenSSL calls it when a certificate is trusted and wrong all the same.
_REMEDIES: Final = {
    9: "it is not valid yet: check both clocks",
    10: "it has expired: renew it",
    62: "it is of another host: correct base_url, or the names of the certificate",
    64: "it is of another address: correct base_url, or the names of the certificate",
}
# Handshakes that end the same way every time: no or another client certificate, an old TLS.
_REFUSALS: Final = (
    "ALERT_CERTIFICATE", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "ALERT_ACCESS_DENIED",
    "ALERT_HANDSHAKE_FAILURE", "ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL",
)  # fmt: skip

# Both log every request at a level that deployments switch on for other reasons.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_log = logging.getLogger(__name__)
_exponential: Final = wait_random_exponential(multiplier=0.5, max=30)


@dataclass(slots=True)
class FetchReport:
    """What one window cost so far.

    ``date_ns`` is the newest ``Date`` header of its answers: the exporter's own present, against
    which snapshots from the future are found (C1).
    """

    pages: int = 0
    page_bytes: int = 0
    reread_snapshots: int = 0
    retries: int = 0
    date_ns: int | None = None


class _AgainError(Exception):
    """This attempt failed in a way that another one may not."""

    def __init__(self, got: str, after_seconds: float | None = None) -> None:
        super().__init__(got)
        self.after_seconds = after_seconds


class _TooLargeError(Exception):
    """The answer went beyond what was wanted of it; the rest was not read.

    ``page_bytes``: how large it is, as far as the exporter said so beforehand; else 0.
    """

    def __init__(self, page_bytes: int = 0) -> None:
        super().__init__(page_bytes)
        self.page_bytes = page_bytes


class ExporterClient:
    """Reads one source; use it as a context manager, or call ``close``.

    Args:
        source: which exporter, and how to reach it.
        token: bearer token instead of the source's own.
        sleep: how to wait before another attempt, in seconds.

    Raises:
        UsageError: the source has no credential here, or a certificate file cannot be used.
    """

    def __init__(
        self,
        source: Source,
        token: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.source = source
        self.report = FetchReport()
        self._sleep = sleep
        self._known = KnownText()
        self._token = token or source.token
        if not self._token and not source.client_cert:
            raise UsageError(
                f"source {source.source_id}: expected a token, got none; set token_env or "
                "INTERNAL_SERVICE_TOKEN (an Airflow connection_id is read inside Airflow only)"
            )
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        headers["User-Agent"] = "billing-etl"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        self._http = httpx.Client(
            headers=headers,
            timeout=source.timeout_seconds,
            verify=_tls_context(source),
            follow_redirects=False,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def snapshots(
        self, since_ns: int, until_ns: int, *, expected_samples: int = 0
    ) -> Iterator[Snapshot]:
        """The snapshots in ``[since_ns, until_ns)``, in time order, read page by page.

        ``report`` is that of this window from the first snapshot on.

        Args:
            since_ns, until_ns: the window.
            expected_samples: samples of a snapshot, where that is known: of large snapshots the
                first page asks for no more than fit into one of the usual size, too.

        Raises:
            RetryableError: the exporter could not be reached, was overloaded, or cut an answer
                off, also after several attempts.
            TerminalError: it refused, or answered with something else than the contract's pages.
        """
        first_limit = min(self.source.page_size, fitting_limit(expected_samples))
        return self._pages(since_ns, until_ns, first_limit)

    def first_snapshots(self, since_ns: int, limit: int) -> list[Snapshot]:
        """The first ``limit`` snapshots from ``since_ns`` on (inclusive), up to the present.

        Tells what is still served, and whether anything came after an hour (C12).

        Raises: as ``snapshots``.
        """
        until_ns = max(since_ns, time.time_ns()) + _DAY_NS
        with closing(self._pages(since_ns, until_ns, min(limit + 1, 1000))) as snapshots:
            return list(islice(snapshots, limit))

    def _pages(
        self, since_ns: int, until_ns: int, page_size: int
    ) -> Generator[Snapshot, None, None]:
        report = self.report = FetchReport()
        paginator = Paginator(since_ns, until_ns, page_size)
        while (question := paginator.question()) is not None:
            try:
                settled = self._ask(paginator, question, report)
            except BillingError as error:
                raise type(error)(
                    f"source {self.source.source_id}, window [{format_instant_ns(since_ns)}, "
                    f"{format_instant_ns(until_ns)}), page since {question.since} "
                    f"limit {question.limit}: {self._without_secrets(str(error))}"
                ) from None
            report.pages, report.page_bytes = paginator.pages, paginator.page_bytes
            report.reread_snapshots = paginator.reread_snapshots
            yield from settled

    def _ask(self, paginator: Paginator, question: Question, report: FetchReport) -> list[Snapshot]:
        """Asks one page, several times if need be; returns the snapshots that it settles."""

        def before_sleep(state: RetryCallState) -> None:
            report.retries += 1
            _log.warning(
                "source %s, page since %s: got %s; trying again in %.1f s",
                self.source.source_id,
                question.since,
                self._without_secrets(str(state.outcome and state.outcome.exception())),
                state.upcoming_sleep,
            )

        retrying = Retrying(
            retry=retry_if_exception_type(_AgainError),
            stop=stop_after_attempt(MAX_ATTEMPTS) | stop_before_delay(MAX_RETRY_SECONDS),
            wait=_wait_seconds,
            sleep=self._sleep,
            before_sleep=before_sleep,
            reraise=True,
        )
        try:
            page, page_bytes = retrying(
                self._attempt, question, report, self._most_bytes(paginator)
            )
        except _TooLargeError as error:
            paginator.too_large(error.page_bytes)
            return []
        except _AgainError as error:
            attempts = retrying.statistics["attempt_number"]
            raise RetryableError(
                f"expected an answer, got {error} (attempt {attempts}); "
                "check that the exporter is up and reachable, then run again"
            ) from None
        return paginator.take(page, page_bytes)

    def _most_bytes(self, paginator: Paginator) -> int:
        """Of an answer: a page that can be asked for in parts is held in parts."""
        most = self.source.max_page_bytes
        return min(most, 2 * TARGET_PAGE_BYTES) if paginator.can_ask_for_less else most

    def _attempt(
        self, question: Question, report: FetchReport, most_bytes: int
    ) -> tuple[Page, int]:
        """One request; the page and the bytes of its body."""
        url = self.source.base_url.rstrip("/") + _PATH
        # The client escapes the values; an unescaped `+` would be read as a space (point 6).
        parameters = httpx.QueryParams(
            since=question.since, until=question.until, limit=question.limit
        )
        body, end = bytearray(), 0
        try:
            with self._http.stream("GET", url, params=parameters) as response:
                report.date_ns = _newest(report.date_ns, response.headers.get("Date", ""))
                usable = isinstance(_verdict(response, b""), Use)
                wanted = most_bytes if usable else _QUOTED_BODY_BYTES
                length = response.headers.get("Content-Length", "")
                if usable and length.isdecimal():
                    if int(length) > wanted:
                        raise _TooLargeError(int(length))
                    body = bytearray(int(length))  # a growing one is copied time and again
                for chunk in response.iter_bytes():
                    body[end : end + len(chunk)] = chunk
                    end += len(chunk)
                    if end > wanted:
                        break
        except httpx.RequestError as error:
            raise self._transport_error(error) from None
        if usable and end > wanted:
            raise _TooLargeError
        del body[end:]
        match _verdict(response, bytes(body[:_QUOTED_BODY_BYTES])):
            case Retry(got, after_seconds):
                raise _AgainError(got, after_seconds)
            case Fail(got, remedy):
                raise TerminalError(f"expected a JSON page, got {got}; {remedy}")
        try:
            return decode_page(body, self._known), len(body)
        except RetryableError:
            raise _AgainError(f"a page cut off after {len(body)} bytes") from None

    def _transport_error(self, error: httpx.RequestError) -> _AgainError | TerminalError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return TerminalError(
                    f"expected a trusted TLS certificate at {self.source.base_url}, got one that "
                    f"fails verification ({cause.verify_message}); "
                    + _REMEDIES.get(cause.verify_code, "give its authority as ca_file")
                )
            reason = (isinstance(cause, ssl.SSLError) and cause.reason) or ""
            if any(word in reason for word in _REFUSALS):
                return TerminalError(
                    f"expected TLS 1.2 or later with {self.source.base_url}, and its consent to "
                    f"this client, got {reason}; check client_cert and the exporter's TLS settings"
                )
            cause = cause.__cause__ or cause.__context__
        text = str(error) or "no answer in time"
        return _AgainError(f"{type(error).__name__} from {self.source.base_url} ({text})")

    def _without_secrets(self, text: str) -> str:
        return without_emails(text.replace(self._token, "***") if self._token else text)


def _verdict(response: httpx.Response, body: bytes) -> Verdict:
    return classify_answer(
        response.status_code,
        response.headers.get("Content-Type", ""),
        response.headers.get("Retry-After", ""),
        body,
        time.time_ns(),
    )


def _wait_seconds(state: RetryCallState) -> float:
    """Jittered exponential backoff, and never less than what the exporter asked for."""
    error = state.outcome.exception() if state.outcome else None
    asked_for = error.after_seconds if isinstance(error, _AgainError) else None
    return max(_exponential(state), asked_for or 0.0)


def _newest(date_ns: int | None, header: str) -> int | None:
    try:
        seen_ns = int(parsedate_to_datetime(header).timestamp()) * NS_PER_SECOND
    except ValueError:
        return date_ns
    return seen_ns if date_ns is None else max(date_ns, seen_ns)


def _tls_context(source: Source) -> ssl.SSLContext:
    """Verifies always; ``ca_file`` adds an authority, ``client_cert`` is shown to the exporter.

    Reading the authorities takes longer than many an answer, so it is done where they are needed.
    """
    is_https = urlsplit(source.base_url).scheme == "https"  # in lower case, however it was written
    if is_https and not source.ca_file and not source.client_cert:
        return _usual_authorities()
    # One of its own; that of plain HTTP trusts nobody, but the files must be readable all the same.
    context = (
        _usual_authorities.__wrapped__() if is_https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    try:
        if source.ca_file:
            context.load_verify_locations(cafile=source.ca_file)
        if source.client_cert:
            certificate, _, key = source.client_cert.partition(",")
            # A key that needs a password is refused: nobody is there to be asked for one.
            context.load_cert_chain(certificate.strip(), key.strip() or None, password="")
    except (OSError, ValueError) as error:  # a path with a NUL is no path
        raise UsageError(
            f"source {source.source_id}: expected readable PEM files in ca_file and client_cert, "
            f"got {getattr(error, 'strerror', None) or error}"
        ) from None
    return context


@cache
def _usual_authorities() -> ssl.SSLContext:
    """Read once: authorities of the system that were rotated are seen at the next process start."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
