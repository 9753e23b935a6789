"""The Billing page: its files, which anyone may load, and its data, which readers may.

The files lie in ``billing_etl/http/page``: plain HTML, CSS and JavaScript modules, served as they
are. Nothing of another host is loaded, and no script or style that is not one of these files.
"""

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache
from mimetypes import guess_type
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from billing_etl.errors import UsageError
from billing_etl.hours import Hour, HourRange, parse_hour
from billing_etl.http.answers import answer
from billing_etl.http.site import Site
from billing_etl.pipeline import page
from billing_etl.pipeline.jobs import COLLECT_AND_RATE
from billing_etl.pipeline.page import MAX_HOURS

FILES: Final = Path(__file__).with_name("page")
_HEADERS: Final = {
    # Only files of this site, and framed by pages of this site only: Airflow's UI.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Asked for each time and sent only when changed: a new version shows at once, as a whole.
    "Cache-Control": "no-cache",
}
MAX_SOURCE_ID: Final = 200


def page_routes() -> APIRouter:
    """The page itself and the files that it is made of. They hold no data."""
    router = APIRouter()

    @router.get("/")
    def page(request: Request) -> Response:
        return _file("index.html", request)

    @router.get("/page/{name:path}")
    def file(name: str, request: Request) -> Response:
        return _file(name, request)

    return router


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Content, type and tag by name. Only what is listed here is served, whatever is asked for."""
    return {
        str(path.relative_to(FILES).as_posix()): _content(path.read_bytes(), path.name)
        for path in FILES.rglob("*")
        if path.is_file() and path.suffix in {".html", ".css", ".js", ".svg"}
    }


def _content(content: bytes, name: str) -> tuple[bytes, str, str]:
    # Not what this machine's registry of types says of JavaScript: modules need this one.
    kind = "text/javascript" if name.endswith(".js") else guess_type(name)[0] or "text/plain"
    return content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _file(name: str, request: Request) -> Response:
    if name not in _files():
        raise HTTPException(404, "expected a file of the page, got another name")
    content, kind, tag = _files()[name]
    headers = _HEADERS | {"ETag": tag}
    if request.headers.get("If-None-Match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


def data_routes(site: Site) -> APIRouter:
    """What the page shows. Each answer is bounded in hours and in rows."""
    router = APIRouter(prefix="/v1/page", dependencies=[Depends(site.guards.read())])
    may_collect = site.guards.may_run(COLLECT_AND_RATE)

    @router.get("/coverage")
    def coverage(
        request: Request, can_collect: Annotated[bool, Depends(may_collect)]
    ) -> JSONResponse:
        now = datetime.now(UTC)
        found = page.coverage(site.engine(), _window(request, now), now)
        run_link = site.runner.run_link(COLLECT_AND_RATE, "{run_id}")
        return answer(200, asdict(found) | {"can_collect": can_collect, "run_link": run_link})

    @router.get("/usage")
    def usage(request: Request) -> JSONResponse:
        return answer(200, page.usage(site.engine(), _window(request, datetime.now(UTC))))

    @router.get("/work")
    def work(request: Request) -> JSONResponse:
        now = datetime.now(UTC)
        return answer(200, page.work(site.engine(), _window(request, now), now))

    @router.get("/hour")
    def hour(request: Request) -> JSONResponse:
        asked = _parameters(request, "source", "hour")
        source_id, at = asked.get("source", ""), _hour("hour", asked.get("hour", ""))
        if not 0 < len(source_id) <= MAX_SOURCE_ID or "\0" in source_id:
            raise HTTPException(400, f"source: expected an id of up to {MAX_SOURCE_ID} characters")
        found = page.hour_details(site.engine(), source_id, at)
        return answer(200, asdict(found) | _logs(site, found))

    return router


def _logs(site: Site, found: page.HourDetails) -> dict[str, str | None]:
    """Where the logs are of the runs that wrote the hour, and that failed to."""
    known = found.known
    if known is None:
        return {"log_link": None, "failed_log_link": None}
    links = [
        None if external_id is None else site.runner.log_link(external_id)
        for external_id in (known.external_id, known.failed_external_id)
    ]
    return {"log_link": links[0], "failed_log_link": links[1]}


def _window(request: Request, now: datetime) -> HourRange:
    """The hours that are looked at: ``hours`` of them, the last one before ``until``."""
    asked = _parameters(request, "hours", "until")
    text = asked.get("hours", str(MAX_HOURS))
    count = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    if not 0 < count <= MAX_HOURS:
        raise HTTPException(400, f"hours: expected a number from 1 to {MAX_HOURS}, got {text[:40]}")
    end = _hour("until", asked["until"]) if "until" in asked else Hour.of(now).next
    if not MAX_HOURS <= end.index <= Hour.of(now + timedelta(days=366)).index:
        raise HTTPException(400, f"until: expected an hour of these times, got {end}")
    return HourRange(Hour(end.index - count), end)


def _hour(name: str, text: str) -> Hour:
    try:
        return parse_hour(text[:40])
    except UsageError as error:
        raise HTTPException(400, f"{name}: {error}") from None


def _parameters(request: Request, *names: str) -> dict[str, Any]:
    for name in request.query_params:
        if name not in names:
            raise HTTPException(400, f"{name[:40]!r}: expected {' or '.join(names)}, got that")
    return dict(request.query_params)
