"""Every route is open on purpose or guarded."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from billing_etl.errors import UsageError
from billing_etl.http.access import OPEN_ROUTES, ServiceToken, is_service, unguarded
from billing_etl.http.app import create_app
from billing_etl.http.local_jobs import LocalJobs
from billing_etl.http.site import Site
from billing_etl.pipeline.engine import Engine
from billing_etl.settings import Settings


def application() -> FastAPI:
    settings = Settings()
    jobs = LocalJobs(settings, lambda engine, request: None)
    return create_app(Site({}, lambda: Engine(settings), ServiceToken("t"), jobs))


def test_every_route_is_open_on_purpose_or_guarded() -> None:
    app = application()
    paths = {str(getattr(route, "path", "")) for route in app.routes}
    assert paths == {
        "/api/ping", "/healthz", "/readyz", "/v1/status",
        "/v1/jobs/collect-and-rate", "/v1/jobs/reconcile",
        "/", "/page/{name:path}",
        "/v1/page/coverage", "/v1/page/usage", "/v1/page/work", "/v1/page/hour",
    }  # fmt: skip
    assert unguarded(app.routes) == []
    assert paths >= OPEN_ROUTES


def test_every_route_is_in_the_document() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs/http.md").read_text("utf-8")
    for route in application().routes:
        assert isinstance(route, APIRoute)
        (method,) = route.methods
        assert f"| `{method} {route.path}` |" in document


def test_a_new_route_without_a_guard_is_found() -> None:
    app = application()

    @app.get("/v1/new")
    def new() -> None:
        raise UsageError("never called")

    app.mount("/files", StaticFiles(directory="."))
    assert any(isinstance(route, Mount) for route in app.routes)
    assert unguarded(app.routes) == ["/v1/new", "/files"]


def test_an_empty_token_lets_nobody_in() -> None:
    assert is_service("Bearer t", "t")
    assert is_service("bearer  t", "t")
    for header in (None, "", "Bearer", "Bearer ", "Bearer x", "Basic t"):
        assert not is_service(header, "t"), header
        assert not is_service(header, ""), header
        assert not is_service(header, None), header
