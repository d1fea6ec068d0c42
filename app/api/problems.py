"""Every error as an RFC 9457 answer: the table from codes to statuses, and from errors to codes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from typing_extensions import TypeAliasType

from app.api.schemas import Out, one_of
from app.errors import DatabaseUnavailable, Fault, FeedPositionLost, Refusal

STATUS_OF = {
    "invalid_request": 422,
    "unreadable_body": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "app_conflict": 409,
    "not_pollable": 409,
    "name_conflict": 409,
    "feed_position_lost": 410,
    "precondition_failed": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "unavailable": 503,
    "internal": 500,
}
TITLES = {
    "invalid_request": "The request breaks a rule",
    "unreadable_body": "The body is no callback",
    "unauthenticated": "A valid key is needed",
    "forbidden": "This key may not do that",
    "not_found": "There is no such thing",
    "method_not_allowed": "This method is not offered here",
    "app_conflict": "The task belongs to another app",
    "not_pollable": "The task cannot be polled",
    "name_conflict": "The name is taken",
    "feed_position_lost": "The feed no longer holds this position",
    "precondition_failed": "The task has changed meanwhile",
    "too_large": "The body is too large",
    "unsupported_media_type": "The body must be JSON",
    "rate_limited": "Too many at once",
    "unavailable": "Not available for now",
    "internal": "Our own fault",
}
_CODE_OF_STATUS = {401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
                   413: "too_large", 415: "unsupported_media_type", 503: "unavailable"}  # fmt: skip

ADVICE = {
    "invalid_request": "Each fault stands in `errors` with its place; mend it, nothing was changed.",
    "unreadable_body": "A callback is a JSON object as the provider documents it, or one of its older forms.",
    "unauthenticated": "Send `Authorization: Bearer SECRET` with one of the configured keys. A callback needs the "
    "provider's signature by the app's callback secret, and a timestamp within 10 minutes of now.",
    "forbidden": "Use a key with the role the operation needs; a service without keys answers its own machine only.",
    "not_found": "Check the address and the id; ids are case-sensitive.",
    "method_not_allowed": "See the documentation for the methods of this address.",
    "app_conflict": "The id is registered already under another app_id.",
    "not_pollable": "The task is untracked, its app is not configured, or its 3-day query window has closed.",
    "name_conflict": "A subscription of this name has other settings: change it, or choose another name.",
    "feed_position_lost": "The position is older than what is kept, or of a history that a restored database does not "
    "have. Copy `GET /v1/tasks` again and follow from its `events_after`. `oldest` and `latest` are positions to go on "
    "from, should you know what you missed.",
    "precondition_failed": "Get the task again, look at what changed, and repeat with its new ETag.",
    "too_large": "Bodies are at most 1 MiB, batches 8 MiB; send several.",
    "unsupported_media_type": "Send the body as JSON with Content-Type: application/json.",
    "rate_limited": "Wait as long as Retry-After says, then try again.",
    "unavailable": "The database was away for a moment; nothing was changed. Try again after Retry-After.",
    "internal": "Tell the operators the request_id.",
}

RETRY_AFTER = 5
"""Seconds after which asking again makes sense when the database was away."""


ProblemCode = TypeAliasType(
    "ProblemCode", Annotated[str, one_of(STATUS_OF, "Why a request was refused or failed. More may come.")]
)


class ProblemFault(Out):
    """One thing wrong with a request."""

    pointer: Annotated[str, Field(description="JSON pointer into the body, or the parameter's name.")]
    detail: Annotated[str, Field(description="What is wrong, for people.")]


class ProblemOut(Out):
    """RFC 9457 problem details."""

    type: Annotated[str, Field(description="`/docs/problems#CODE`: what it means and what to do.")]
    title: Annotated[str, Field(description="The same for every problem of this code.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong this time, for people.")]
    code: Annotated[ProblemCode, Field(description="Stable: decide by it. More codes may come.")]
    request_id: Annotated[
        str | None, Field(description="The answer's X-Request-Id; name it when you ask the operators.")
    ]
    errors: Annotated[list[ProblemFault] | None, Field(description="With 422: each fault and its place.")] = None
    oldest: Annotated[str | None, Field(description="With `feed_position_lost`: the feed goes on from here …")] = None
    latest: Annotated[str | None, Field(description="… to here.")] = None


class Problem(HTTPException):
    """An error of the edge itself, by its problem code."""

    def __init__(self, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(STATUS_OF[code], detail, headers)
        self.code = code


def problem(
    code: str,
    detail: str,
    *,
    faults: Sequence[Fault] = (),
    headers: dict[str, str] | None = None,
    members: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An RFC 9457 answer; ``members`` are those of this code alone."""
    status = STATUS_OF[code]
    body: dict[str, Any] = {
        "type": f"/docs/problems#{code}",
        "title": TITLES[code],
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": structlog.contextvars.get_contextvars().get("request_id"),
    }
    body |= members or {}
    if status == 422:
        body["errors"] = [{"pointer": fault.pointer, "detail": fault.detail} for fault in faults]
    extra = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status in (429, 503):
        extra["Retry-After"] = str(RETRY_AFTER)
    return JSONResponse(body, status, extra | (headers or {}), media_type="application/problem+json")


async def _refused(request: Request, error: Refusal) -> Response:
    return problem(error.code, error.detail, faults=error.faults)


async def _position_lost(request: Request, error: FeedPositionLost) -> Response:
    bounds = {"oldest": str(error.oldest), "latest": str(error.latest)}
    return problem(error.code, error.detail, members=bounds)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    faults = [fault_of(fault) for fault in error.errors()]
    first = faults[0]
    return problem("invalid_request", f"{first.pointer or 'body'}: {first.detail}", faults=faults)


async def _http(request: Request, error: HTTPException) -> Response:
    code = getattr(error, "code", None) or _CODE_OF_STATUS.get(error.status_code, "invalid_request")
    faults = [Fault("", str(error.detail))]  # of the whole body: the framework could not read it
    headers = dict(error.headers or {}) | ({"Allow": _allowed(request)} if error.status_code == 405 else {})
    return problem(code, str(error.detail), faults=faults, headers=headers)


async def _down(request: Request, error: DatabaseUnavailable) -> Response:
    structlog.get_logger(__name__).warning("database unavailable", error=str(error))
    return problem("unavailable", "the database is not available; nothing was changed, try again")


ANSWERS: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
    Refusal: _refused,
    FeedPositionLost: _position_lost,
    RequestValidationError: _invalid,
    HTTPException: _http,
    DatabaseUnavailable: _down,
}
"""One table from errors to answers, the framework's own errors included."""


async def answer(request: Request, error: Exception) -> Response:
    """The answer to a request that ended so. Raises the error itself if it is none of ours."""
    found = next((ANSWERS[kind] for kind in type(error).__mro__ if kind in ANSWERS), None)
    if found is None:
        raise error
    return await found(request, error)


def _allowed(request: Request) -> str:
    """The methods of an address. The framework names those of its first route alone, though others may offer more."""
    routes = list(iter_route_contexts(request.app.routes))
    path = next((one.path for one in routes if one.matches(request.scope)[0] is not Match.NONE), None)
    return ", ".join(sorted({method for one in routes if one.path == path for method in one.methods or ()}))


def fault_of(fault: Mapping[str, Any]) -> Fault:
    """One of the framework's faults in our words."""
    if fault["type"] == "json_invalid":  # its place is a number of characters, not a pointer
        return Fault("", f"is not JSON: {fault['ctx']['error']} at character {fault['loc'][-1]}")
    return Fault(pointer(fault["loc"]), str(fault["msg"]).removeprefix("Value error, "))


def pointer(place: Sequence[str | int]) -> str:
    """Where a fault lies: a JSON pointer into the body, or the parameter's name."""
    source, *rest = place
    if source != "body":
        return str(rest[0]) if rest else str(source)
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in rest)


def may_answer(*codes: str) -> dict[str, Any]:
    """For an operation's ``openapi_extra``: the problem codes of its own. Those that follow from its form (a key, a
    body, parameters) are not named; app.api.openapi knows them."""
    assert all(code in STATUS_OF for code in codes)
    return {CODES: sorted(codes)}


CODES = "x-problem-codes"
