"""The edge of the API: what every request must look like before a route sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import metrics
from app.api.keys import LIMITS
from app.api.problems import Problem, problem
from app.settings import LOOPBACK
from app.wiring import Service

BODY_LIMIT = 1024 * 1024
"""Bytes of a request's body, where BODY_LIMITS says nothing else."""

BATCH = "/v1/tasks/batch"
BODY_LIMITS = {BATCH: 8 * 1024 * 1024}

CALLBACKS = "/v1/callbacks/zego"

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Every answer's, errors' too, but where it says something else: pages and what they are made of do."""

Header = tuple[bytes, bytes]
_HEADERS: list[Header] = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

NO_STORE = "/v1/"
"""What lies there is data, and is kept by nobody on the way, whatever the framework says of streams."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,64}")


class Edge:
    """Plain ASGI around everything: request ids, headers of every answer, crashes, the size and media type of bodies,
    and the guard of a service without keys."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service: Service = scope["app"].state.service
        clock = service.clock
        headers = dict(reversed(scope["headers"]))  # the first of a name counts
        request_id = headers.get(b"x-request-id", b"")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = clock.token().encode()

        started, status, began_at = False, 0, clock.monotonic()

        async def send_with_id(message: Message) -> None:
            nonlocal started, status
            started = True
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _complete(message["headers"], scope, request_id)
            await send(message)

        context = structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        try:
            refusal = _refusal(scope, headers, keyless=not service.settings.api_keys)
            await (refusal or self._app)(scope, _limited(receive, _limit(scope)), send_with_id)
        except ClientDisconnect:
            # It hung up before its request was here whole: nobody is left to answer, and nothing is wrong with us.
            structlog.get_logger(__name__).info("client hung up", method=scope["method"], path=scope["path"])
        except Exception:
            if started:
                raise
            structlog.get_logger(__name__).exception("request crashed", method=scope["method"], path=scope["path"])
            crashed = problem("internal", "the request failed; the log has more under this request_id")
            await crashed(scope, receive, send_with_id)
        finally:
            structlog.contextvars.reset_contextvars(**context)
            _count(scope, status, clock.monotonic() - began_at)


# Looking for them takes longer than counting.
_requests, _seconds = cache(metrics.HTTP_REQUESTS.labels), cache(metrics.HTTP_SECONDS.labels)


def _count(scope: Scope, status: int, seconds: float) -> None:
    method, route = scope["method"] if scope["method"] in METHODS else "(other)", _template(scope)
    _requests(method, route, status or "(none)").inc()
    if b"wait=" not in scope["query_string"] and not route.endswith("/stream"):
        _seconds(method, route).observe(seconds)


def _refusal(scope: Scope, headers: Mapping[bytes, bytes], *, keyless: bool) -> ASGIApp | None:
    if keyless and (reason := foreign(Headers(scope=scope))):
        return problem("forbidden", f"{reason}; a service without API_KEYS answers this machine only")
    if scope["path"] == BATCH and scope["method"] != "POST":  # else "batch" would pass for a task's id, a wrong one
        return problem("method_not_allowed", "Method Not Allowed", headers={"Allow": "POST"})
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > _limit(scope):
        return problem("too_large", f"a body may have {_limit(scope)} bytes here")
    of_ours = scope["path"] != CALLBACKS  # the provider's Content-Type is not documented, and not to be trusted
    has_body = declared != b"0" or b"transfer-encoding" in headers
    if of_ours and has_body and scope["method"] in ("POST", "PATCH", "PUT"):
        media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if not re.fullmatch(rb"application/([a-z0-9.-]+\+)?json", media):
            return problem("unsupported_media_type", "send Content-Type: application/json")
    return None


def _complete(headers: Sequence[Header], scope: Scope, request_id: bytes) -> list[Header]:
    """The headers of an answer, with those of every answer."""
    if scope["path"].startswith(NO_STORE):
        headers = [one for one in headers if one[0] != b"cache-control"]
    given = {name for name, _ in headers}
    own = [one for one in _HEADERS if one[0] not in given]
    return [*headers, *own, (b"x-request-id", request_id), *scope.get(LIMITS, ())]


def _template(scope: Scope) -> str:
    """The route's path as it is declared, so that no caller can make up ever more of them."""
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    return scope.get("root_path") or "(unknown)"


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
