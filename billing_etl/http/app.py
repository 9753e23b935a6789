"""The application: its routes, and how errors are told."""

import asyncio
import json
import logging
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from billing_etl.errors import BillingError, UsageError
from billing_etl.http.access import refuse_forged
from billing_etl.http.answers import answer
from billing_etl.http.image import identity_of
from billing_etl.http.page import data_routes, page_routes
from billing_etl.http.requests import read_request
from billing_etl.http.runner import BusyError, JobUnderWayError, RunState, UnknownJobError
from billing_etl.http.site import Site
from billing_etl.pipeline import job_reports
from billing_etl.pipeline.job_reports import JOB_NAMES, NEVER, JobReport, Status

POLL_SECONDS: Final = 0.5
MAX_BODY_BYTES: Final = 65_536
MAX_ERROR: Final = 1000  # of what was sent, an error repeats no more

_RUN_ID: Final = re.compile("[!-~]{1,250}")

_log = logging.getLogger(__name__)


def create_app(site: Site) -> FastAPI:
    """The application, to be mounted or served as it is. Every route is open or guarded by name."""
    # Without its own pages: they would be open, and load scripts from other hosts.
    app = FastAPI(title="Billing", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(_open_routes(site))
    app.include_router(_status_routes(site))
    app.include_router(page_routes())
    app.include_router(data_routes(site))
    for job in JOB_NAMES:
        app.include_router(_job_routes(site, job))
    _tell_errors(app)
    return app


def _open_routes(site: Site) -> APIRouter:
    router = APIRouter()
    started_at = datetime.now(UTC)
    # Anyone may ask, so all who ask at the same time get one answer: together they hold one
    # connection to the database at most.
    asking: asyncio.Task[tuple[bool, str]] | None = None

    @router.get("/api/ping")
    def ping() -> JSONResponse:
        return answer(200, identity_of(site.environment.get("IMAGE", "")))

    @router.get("/healthz")
    async def healthz() -> JSONResponse:
        nonlocal asking
        if asking is None or asking.done():
            asking = asyncio.create_task(run_in_threadpool(_health, site, started_at))
        is_ok, message = await asyncio.shield(asking)
        status = "ok" if is_ok else "degraded"
        return answer(200 if is_ok else 503, {"status": status, "message": message})

    return router


def _health(site: Site, started_at: datetime) -> tuple[bool, str]:
    try:
        engine = site.engine()
    except BillingError as error:
        _log.warning("health: %s", error)
        return False, "the configuration is not usable; see the log"
    return job_reports.health(engine, started_at, datetime.now(UTC))


def _status_routes(site: Site) -> APIRouter:
    router = APIRouter(dependencies=[Depends(site.guards.read())])

    @router.get("/readyz")
    def readyz() -> JSONResponse:
        try:
            job_reports.check_database(site.engine())
        except BillingError as error:
            return answer(503, {"status": "not ready", "message": str(error)})
        return answer(200, {"status": "ready", "message": ""})

    @router.get("/v1/status")
    def status(request: Request) -> JSONResponse:
        for name in request.query_params:
            if name != "run_id":
                raise HTTPException(400, f"{name[:40]!r}: expected run_id or nothing, got that")
        run_id = request.query_params.get("run_id")
        if run_id is not None and not _RUN_ID.fullmatch(run_id):
            raise HTTPException(400, "run_id: expected up to 250 characters without spaces")
        if run_id is None:
            report = job_reports.latest_job(site.engine(), datetime.now(UTC)).as_dict()
        else:
            report = _find(site, run_id)
        about = {
            "image": site.environment.get("IMAGE", ""),
            "source_revision": site.environment.get("SOURCE_REVISION", ""),
        }
        return answer(200, report | about)

    return router


def _find(site: Site, run_id: str) -> dict[str, Any]:
    for job in JOB_NAMES:
        state = site.runner.state(job, run_id)
        report = _report(site, job, run_id, state)
        if report is not None:
            return _as_dict(report, state)
    raise HTTPException(404, f"run_id: expected a run of a job, got {run_id!r}")


def _job_routes(site: Site, job: str) -> APIRouter:
    router = APIRouter()
    guard = site.guards.run(job)

    @router.post(f"/v1/jobs/{JOB_NAMES[job]}")
    async def run(request: Request, caller: Annotated[str, Depends(guard)]) -> JSONResponse:
        refuse_forged(request)
        settings = (await run_in_threadpool(site.engine)).settings
        query, now = request.query_params.multi_items(), datetime.now(UTC)
        try:
            asked = read_request(job, query, await _body(request), settings, now)
            run_id = await run_in_threadpool(site.runner.start, asked.job, caller)
        except UsageError as error:
            raise HTTPException(400, str(error)[:MAX_ERROR]) from None
        state = await _wait(site, job, run_id, asked.wait_seconds, request)
        report = await run_in_threadpool(_report, site, job, run_id, state)
        assert report is not None
        status = 202 if not state.ended else 503 if report.status == "error" else 200
        return answer(status, _as_dict(report, state))

    return router


async def _body(request: Request) -> object:
    text = b""
    async for part in request.stream():
        text += part
        if len(text) > MAX_BODY_BYTES:
            raise HTTPException(413, f"body: expected at most {MAX_BODY_BYTES} bytes, got more")
    if not text.strip():
        return None
    try:
        return json.loads(text, object_pairs_hook=_named_once)
    except (ValueError, RecursionError):
        raise UsageError("body: expected a JSON object, got text that is no JSON") from None


def _named_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    named = dict(pairs)
    if len(named) < len(pairs):
        raise UsageError("body: expected each name once, got one of them again")
    return named


async def _wait(site: Site, job: str, run_id: str, wait_seconds: int, request: Request) -> RunState:
    """Waits for the end of a run, until the limit, or as long as the caller does."""
    deadline = time.monotonic() + wait_seconds
    while True:
        state = await run_in_threadpool(site.runner.state, job, run_id) or RunState("queued")
        left = deadline - time.monotonic()
        if state.ended or left <= 0 or await request.is_disconnected():
            return state
        await asyncio.sleep(min(POLL_SECONDS, left))


def _report(site: Site, job: str, run_id: str, state: RunState | None) -> JobReport | None:
    """What is known of a run, from its steps and from what runs it."""
    report = job_reports.job_run(site.engine(), job, run_id, datetime.now(UTC))
    if state is None:
        return report
    if report is None:
        report = replace(NEVER, job=JOB_NAMES[job], run_id=run_id)
        if state.would_change is not None:
            return replace(report, status=_status_of_dry_run(state), error=state.note)
        if state.phase == "success":  # there was nothing to do
            return replace(report, status="ok", error=state.note)
    if state.phase == "failed" and report.status not in {"partial", "error"}:
        return replace(report, status="error", error=state.note or report.error)
    if state.ended:
        return report
    status: Status = "queued" if state.phase == "queued" else "running"
    return replace(report, status=status, error=state.note, finished_at=None)


def _status_of_dry_run(state: RunState) -> Status:
    assert state.would_change is not None
    if state.phase == "success":
        return "ok"
    return "partial" if state.would_change["source_hours"] else "error"


def _as_dict(report: JobReport, state: RunState | None) -> dict[str, Any]:
    """A report; that of a dry run says what would change, too."""
    if state is None or state.would_change is None:
        return report.as_dict()
    return report.as_dict() | {"would_change": state.would_change}


# --- answers and errors --------------------------------------------------------------------------


def _tell_errors(app: FastAPI) -> None:
    """Every error is JSON with one line ``detail``; none shows what a caller sent in headers."""

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> JSONResponse:
        response = answer(error.status_code, {"detail": error.detail})
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(BillingError)
    async def told(_: Request, error: BillingError) -> JSONResponse:
        content: dict[str, str] = {"detail": str(error)}
        if isinstance(error, JobUnderWayError):
            return answer(409, content | {"run_id": error.run_id})
        if isinstance(error, UnknownJobError):
            return answer(404, content)
        if isinstance(error, BusyError):
            return answer(429, content)
        return answer(503, content)

    @app.exception_handler(Exception)
    async def untold(_: Request, error: Exception) -> JSONResponse:
        return answer(500, {"detail": f"internal error ({type(error).__name__}); see the log"})
