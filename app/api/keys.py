"""Who may enter: keys, their roles, and the guards of the routes."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Annotated, Any, NamedTuple, get_type_hints

import structlog
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Scope

from app.api.problems import Problem
from app.settings import ApiKey, Role
from app.tracking.audit import Caller
from app.wiring import Service

ROLES: tuple[Role, ...] = ("read", "write", "admin")
bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="`Authorization: Bearer SECRET`, with one of the keys in API_KEYS. Its role is `read`, `write` or "
    "`admin`; each includes those before it. A service without keys answers its own machine only, and needs none.",
)


def find_key(keys: Sequence[ApiKey], scope: Scope) -> ApiKey | None:
    """The key whose secret a request carries. Every key is compared, each in constant time."""
    authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, secret = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    digest = hashlib.sha256(secret.strip()).digest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


Described = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
"""Says in the API's description that a key is asked for; `find_key` reads it."""


async def is_known(request: Request, key: Described) -> bool:
    """Whether the caller has a key, of whatever role; without keys everybody on this machine is known."""
    keys = service_of(request).settings.api_keys
    return not keys or find_key(keys, request.scope) is not None


class Entered(NamedTuple):
    """Who came in: the name and the role of the key; without keys, anybody."""

    name: str | None
    role: Role


ANYBODY = Entered(None, "admin")
ENTERED, LIMITS = "entered", "limits"
"""Where a request's scope says who came in, and which headers tell of that caller's limits."""


class Guard:
    """A dependency that lets only keys of this role or a higher one pass, and none too often."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request, key: Described) -> None:
        self.let_in(request.scope)

    def let_in(self, scope: Scope) -> None:
        """Raises Problem."""
        entered = scope.get(ENTERED) or _enter(scope)
        if ROLES.index(entered.role) < ROLES.index(self.role):
            raise Problem("forbidden", f"the key {entered.name} has the role {entered.role}; this needs {self.role}")


def _enter(scope: Scope) -> Entered:
    """Look for the key and count the request, once for all guards of a route. Raises Problem."""
    service: Service = scope["app"].state.service
    entered, keys = ANYBODY, service.settings.api_keys
    if keys:  # else the service listens on loopback only
        key = find_key(keys, scope)
        if key is None:
            raise Problem("unauthenticated", "send a key as `Authorization: Bearer SECRET`")
        entered = Entered(key.name, key.role)
    if service.rate_limit:
        rate = service.rate_limit.rate
        left = service.rate_limit.take(entered.name, now=service.clock.monotonic())
        scope[LIMITS] = (
            (b"ratelimit-policy", b'"default";q=%d;w=1' % rate),
            (b"ratelimit", b'"default";r=%d;t=1' % (left or 0)),
        )
        if left is None:
            whose = f"the key {entered.name}" if entered.name else "this machine"
            advice = "wait a second, then ask less often: batches, lists and waiting (`wait`) need fewer requests"
            raise Problem(
                "rate_limited", f"{whose} asked more than {rate} times a second; {advice}", {"Retry-After": "1"}
            )
    scope[ENTERED] = entered
    return entered


def requires(role: Role) -> Any:
    """For the dependencies of a route of a GuardedRoute's router."""
    return Depends(Guard(role))


def guards_of(route: Any) -> list[Guard]:
    """Whom a route asks."""
    return [one.dependency for one in getattr(route, "dependencies", ()) if isinstance(one.dependency, Guard)]


def caller_of(request: Request) -> Caller:
    """Who asks, once a guard has let it in."""
    return Caller(request.scope[ENTERED].name, structlog.contextvars.get_contextvars().get("request_id"))


# For dependencies, coroutines: FastAPI would call plain functions in another thread.


async def _the_caller(request: Request) -> Caller:
    return caller_of(request)


TheCaller = Annotated[Caller, Depends(_the_caller)]


def service_of(request: Request) -> Service:
    """The parts, for the routes."""
    service: Service = request.app.state.service
    return service


async def _the_service(request: Request) -> Service:
    return service_of(request)


TheService = Annotated[Service, Depends(_the_service)]


class GuardedRoute(APIRoute):
    """Asks its guards before it reads the body: a stranger's is not worth parsing, nor is its fault told.

    An endpoint that answers with a Response of its own, and wants nothing but a body and PARTS, is given them at once
    (``plain``): FastAPI, which looks at each request for all that a parameter might be, only says what is wrong with a
    body, where that answers None.
    """

    plain: Callable[[Request], Awaitable[Response | None]] | None = None

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        solved, guards = super().get_route_handler(), guards_of(self)
        wanted = get_type_hints(self.endpoint)
        whole, body = wanted.pop("return", None), wanted.pop("body", None)
        parts = [(name, PARTS[name]) for name in wanted if name in PARTS]

        async def plain(request: Request) -> Response | None:
            given = {name: part(request) for name, part in parts}
            if body is not None:
                try:
                    given["body"] = body.model_validate(json.loads(await request.body()))
                except (ValueError, RecursionError):
                    return None
            answer: Response = await self.endpoint(**given)
            return answer

        if whole is Response and len(parts) == len(wanted) and len(guards) == len(self.dependencies):
            self.plain = plain

        async def guarded(request: Request) -> Response:
            for guard in guards:
                guard.let_in(request.scope)
            answer = await self.plain(request) if self.plain else None
            return answer or await solved(request)

        return guarded


PARTS: dict[str, Callable[[Request], Any]] = {
    "request": lambda request: request,
    "service": service_of,
    "caller": caller_of,
}
"""What an endpoint may want, by the name of its parameter."""
