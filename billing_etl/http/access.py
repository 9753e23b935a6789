"""Who may call: guards, and the one that takes the service's bearer token only."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from fastapi import HTTPException, Request, status
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

# Routes that anyone may call: what runs, and whether it goes well. They tell nothing else. The page
# and its files are the same for everybody and hold no data: it asks guarded routes for that.
OPEN_ROUTES: Final = frozenset({"/api/ping", "/healthz", "/", "/page/{name:path}"})

# The name of who calls with the service token.
SERVICE: Final = "service token"

Guard: TypeAlias = Callable[..., Any]
_AnyGuard = TypeVar("_AnyGuard", bound=Guard)
_MARK: Final = "__is_billing_guard__"


class Guards(Protocol):
    """Who may do what. Each guard is a FastAPI dependency that gives the caller's name."""

    def read(self) -> Guard:
        """Who may look at everything."""

    def run(self, job: str) -> Guard:
        """Who may start a job."""

    def may_run(self, job: str) -> Guard:
        """Gives whether the caller may start a job; refuses nobody, so it guards nothing."""


def guard(dependency: _AnyGuard) -> _AnyGuard:
    """Marks a dependency as one that refuses callers, for ``unguarded``."""
    setattr(dependency, _MARK, True)
    return dependency


def unguarded(routes: list[BaseRoute]) -> list[str]:
    """The paths of routes that are neither open on purpose nor guarded."""
    return [
        str(getattr(route, "path", route))
        for route in routes
        if getattr(route, "path", None) not in OPEN_ROUTES and not _is_guarded(route)
    ]


def _is_guarded(route: BaseRoute) -> bool:
    if not isinstance(route, APIRoute):
        return False
    waiting = list(route.dependant.dependencies)
    while waiting:
        dependant = waiting.pop()
        if getattr(dependant.call, _MARK, False):
            return True
        waiting += dependant.dependencies
    return False


def is_service(authorization: str | None, token: str | None) -> bool:
    """Whether a header ``Authorization`` carries the service token; never without a token."""
    scheme, _, given = (authorization or "").partition(" ")
    if not token or scheme.lower() != "bearer":
        return False
    # The bytes that were sent: headers are read as latin-1.
    return hmac.compare_digest(given.strip().encode("latin-1"), token.encode())


def refuse_forged(request: Request) -> None:
    """Refuses a request that another site may have had a browser make with the user's cookie.

    A caller with a token in its headers is no such browser. One without must come from this very
    site, as far as the browser tells, and send JSON, which another site cannot without being asked
    first (CORS).

    Raises:
        HTTPException: 403, or 415.
    """
    if request.headers.get("Authorization"):
        return
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise HTTPException(
            status.HTTP_403_FORBIDDEN,
            "expected a request from a page of this site, got one of another site",
        )
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(
            status.HTTP_415_UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/json, as the caller is known by a cookie, got "
            f"{kind[:60] or 'none'}; send the parameters as JSON",
        )


def unauthorized() -> HTTPException:
    """The answer to one who has not said who they are, or not rightly."""
    return HTTPException(
        status.HTTP_401_UNAUTHORIZED,
        "expected a valid bearer token, got none",
        {"WWW-Authenticate": "Bearer"},
    )


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """Guards that take the service token, for everything."""

    token: str

    def read(self) -> Guard:
        @guard
        def takes_service_token(request: Request) -> str:
            if not is_service(request.headers.get("Authorization"), self.token):
                raise unauthorized()
            return SERVICE

        return takes_service_token

    def run(self, job: str) -> Guard:
        return self.read()

    def may_run(self, job: str) -> Guard:
        def may(request: Request) -> bool:
            return is_service(request.headers.get("Authorization"), self.token)

        return may
