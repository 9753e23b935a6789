"""Who may call: guards, and the one that takes the service's bearer token only."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from fastapi import HTTPException, Request, status
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

# Routes that anyone may call: what runs, and whether it goes well. They tell nothing else.
OPEN_ROUTES: Final = frozenset({"/api/ping", "/healthz"})

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
