"""The edge of the API: who may enter, what a request must look like, and how every error is shown."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.clock import Clock
from app.errors import DatabaseUnavailable, Fault, Refusal
from app.settings import LOOPBACK, ApiKey, Role
from app.wiring import Service

STATUS_OF = {
    "invalid_request": 422,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "app_conflict": 409,
    "not_pollable": 409,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "unavailable": 503,
    "internal": 500,
}
TITLES = {
    "invalid_request": "The request breaks a rule",
    "unauthenticated": "A valid key is needed",
    "forbidden": "This key may not do that",
    "not_found": "There is no such thing",
    "method_not_allowed": "This method is not offered here",
    "app_conflict": "The task belongs to another app",
    "not_pollable": "The task cannot be polled",
    "precondition_failed": "The task has changed meanwhile",
    "too_large": "The body is too large",
    "unsupported_media_type": "The body must be JSON",
    "unavailable": "Not available for now",
    "internal": "Our own fault",
}
_CODE_OF_STATUS = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
                   413: "too_large", 415: "unsupported_media_type", 503: "unavailable"}  # fmt: skip

ADVICE = {
    "invalid_request": "Each fault stands in `errors` with its place; mend it, nothing was changed.",
    "unauthenticated": "Send `Authorization: Bearer SECRET` with one of the configured keys.",
    "forbidden": "Use a key with the role the operation needs; a service without keys answers its own machine only.",
    "not_found": "Check the address and the id; ids are case-sensitive.",
    "method_not_allowed": "See the documentation for the methods of this address.",
    "app_conflict": "The id is registered already under another app_id.",
    "not_pollable": "The task is untracked, its app is not configured, or its 3-day query window has closed.",
    "precondition_failed": "Get the task again, look at what changed, and repeat with its new ETag.",
    "too_large": "Bodies are at most 1 MiB, batches 8 MiB; send several.",
    "unsupported_media_type": "Send the body as JSON with Content-Type: application/json.",
    "unavailable": "The database was away for a moment; nothing was changed. Try again after Retry-After.",
    "internal": "Tell the operators the request_id.",
}

ROLES: tuple[Role, ...] = ("read", "write", "admin")
RETRY_AFTER = 5
"""Seconds after which asking again makes sense when the database was away."""


class Problem(HTTPException):
    """An error of the edge itself, by its problem code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(STATUS_OF[code], detail)
        self.code = code


# -- errors


def problem(
    code: str, detail: str, *, faults: Sequence[Fault] = (), headers: dict[str, str] | None = None
) -> JSONResponse:
    """An RFC 9457 answer."""
    status = STATUS_OF[code]
    body: dict[str, Any] = {
        "type": f"/docs/problems#{code}",
        "title": TITLES[code],
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": structlog.contextvars.get_contextvars().get("request_id"),
    }
    if status == 422:
        body["errors"] = [{"pointer": fault.pointer, "detail": fault.detail} for fault in faults]
    extra = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status == 503:
        extra["Retry-After"] = str(RETRY_AFTER)
    return JSONResponse(body, status, extra | (headers or {}), media_type="application/problem+json")


def add_error_answers(app: FastAPI) -> None:
    """One table from errors to answers, the framework's own errors included."""

    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return problem(error.code, error.detail, faults=error.faults)

    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [fault_of(fault) for fault in error.errors()]
        first = faults[0]
        return problem("invalid_request", f"{first.pointer or 'body'}: {first.detail}", faults=faults)

    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = getattr(error, "code", None) or _CODE_OF_STATUS.get(error.status_code, "invalid_request")
        faults = [Fault("", str(error.detail))]  # of the whole body: the framework could not read it
        return problem(code, str(error.detail), faults=faults, headers=dict(error.headers or {}))

    async def down(request: Request, error: DatabaseUnavailable) -> JSONResponse:
        structlog.get_logger(__name__).warning("database unavailable", error=str(error))
        return problem("unavailable", "the database is not available; nothing was changed, try again")

    handlers: dict[type[Exception], Callable[[Request, Any], Awaitable[JSONResponse]]] = {
        Refusal: refused,
        RequestValidationError: invalid,
        HTTPException: http,
        DatabaseUnavailable: down,
    }
    for kind, answer in handlers.items():
        app.add_exception_handler(kind, answer)


def fault_of(fault: Mapping[str, Any]) -> Fault:
    """One of the framework's faults in our words."""
    if fault["type"] == "json_invalid":  # its place is a number of characters, not a pointer
        return Fault("", f"is not JSON: {fault['ctx']['error']} at character {fault['loc'][-1]}")
    return Fault(pointer(fault["loc"]), str(fault["msg"]))


def pointer(place: Sequence[str | int]) -> str:
    """Where a fault lies: a JSON pointer into the body, or the parameter's name."""
    source, *rest = place
    if source != "body":
        return str(rest[0]) if rest else str(source)
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in rest)


# -- who may enter

_bearer = HTTPBearer(auto_error=False, description="One of the keys in API_KEYS")


def find_key(keys: Sequence[ApiKey], secret: str) -> ApiKey | None:
    """The key with this secret, as it stood in a header. Every key is compared, each in constant time."""
    digest = hashlib.sha256(secret.encode("latin-1")).digest()  # headers are decoded so: these are the bytes sent
    found = None
    for key in keys:
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def is_known(request: Request, credentials: Credentials) -> bool:
    """Whether the caller has a key, of whatever role; without keys everybody on this machine is known."""
    keys = service_of(request).settings.api_keys
    return not keys or (credentials is not None and find_key(keys, credentials.credentials) is not None)


class Guard:
    """A dependency that lets only keys of this role or a higher one pass."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request, credentials: Credentials) -> None:
        keys = service_of(request).settings.api_keys
        if not keys:  # then the service listens on loopback only
            return
        key = find_key(keys, credentials.credentials) if credentials else None
        if key is None:
            raise Problem("unauthenticated", "send a key as `Authorization: Bearer SECRET`")
        if ROLES.index(key.role) < ROLES.index(self.role):
            raise Problem("forbidden", f"the key {key.name} has the role {key.role}; this needs {self.role}")


def requires(role: Role) -> Any:
    """For the dependencies of a route of a GuardedRoute's router."""
    return Depends(Guard(role))


class GuardedRoute(APIRoute):
    """Asks its guards before it reads the body: a stranger's is not worth parsing, nor is its fault told."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        guards = [one.dependency for one in self.dependencies if isinstance(one.dependency, Guard)]

        async def guarded(request: Request) -> Response:
            for guard in guards:
                await guard(request, await _bearer(request))
            return await answer(request)

        return guarded


def service_of(request: Request) -> Service:
    """The parts, for the routes."""
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(service_of)]


# -- what a request must look like

BODY_LIMIT = 1024 * 1024
"""Bytes of a request's body, where BODY_LIMITS says nothing else."""

BODY_LIMITS = {"/v1/tasks/batch": 8 * 1024 * 1024}

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,64}")


class Edge:
    """Plain ASGI around everything: request ids, crashes, the size and media type of bodies, and the guard of a
    service without keys."""

    def __init__(self, app: ASGIApp, *, clock: Clock, keyless: bool) -> None:
        self._app, self._clock, self._keyless = app, clock, keyless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = self._clock.token()

        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                refusal = self._refusal(scope, headers)
                await (refusal or self._app)(scope, _limited(receive, _limit(scope)), send_with_id)
            except Exception:
                if started:
                    raise
                # The framework's own answer comes from outside: without the request's id, in its answer and in its log.
                structlog.get_logger(__name__).exception("request crashed", method=scope["method"], path=scope["path"])
                crashed = problem("internal", "the request failed; the log has more under this request_id")
                await crashed(scope, receive, send_with_id)

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        if self._keyless and (reason := foreign(headers)):
            return problem("forbidden", f"{reason}; a service without API_KEYS answers this machine only")
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > _limit(scope):
            return problem("too_large", f"a body may have {_limit(scope)} bytes here")
        if scope["method"] in ("POST", "PATCH", "PUT") and _has_body(headers):
            media = headers.get("content-type", "").partition(";")[0].strip().lower()
            if not re.fullmatch(r"application/([a-z0-9.-]+\+)?json", media):
                return problem("unsupported_media_type", "send Content-Type: application/json")
        return None


def _limit(scope: Scope) -> int:
    return BODY_LIMITS.get(scope["path"], BODY_LIMIT)


def _limited(receive: Receive, limit: int) -> Receive:
    """For a body that does not say how long it is."""
    taken = 0

    async def receive_up_to() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise Problem("too_large", f"a body may have {limit} bytes here")
        return message

    return receive_up_to


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def foreign(headers: Headers) -> str | None:
    """Why a request does not come from this machine's own user: another site's page, or a proxy, sent it."""
    host = headers.get("host", "")
    if _host_name(host) not in LOOPBACK:
        return f"the Host {host!r} is not this machine"
    origin = headers.get("origin")
    if origin is not None and _host_name(re.sub(r"^https?://", "", origin)) not in LOOPBACK:
        return f"the Origin {origin!r} is another site"
    proxied = [name for name in headers if name == "forwarded" or name.startswith("x-forwarded-")]
    return f"a proxy sent it ({proxied[0]})" if proxied else None


def _host_name(host: str) -> str:
    return re.sub(r":\d+$", "", host).strip("[]").lower()
