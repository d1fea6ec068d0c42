"""What is asked for most, on its shortest way.

It is described, and answered in all other cases, by the routes themselves. The framework looks for a route twice, for
each parameter a request might have, and for what might be left open: several times what there is to do here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, get_origin

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import events, problems, tasks
from app.api.events import FeedQuery
from app.api.keys import Guard, GuardedRoute, guards_of
from app.api.lists import TaskQuery
from app.api.schemas import TASK_ID
from app.api.shown import gallery_of

_ONE = re.compile(r"/v1/tasks/([^/]*)")
_TASK_ID = re.compile(TASK_ID)


class Way(NamedTuple):
    """``path`` and ``guards`` are those of the route beside which it stands. ``answer`` gets what was found in the
    request, if it is looked at before, and the request; None: the framework is to answer."""

    path: str
    guards: Sequence[Guard]
    answer: Callable[..., Awaitable[Response | None]]


Find = Callable[[Scope], Any]
"""Looks at a request; None: it is not answered here."""


class Plain:
    """Answers what it can itself, and leaves all else to the application."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._reads: list[tuple[Find, Way]] = [
            (_task_id, _beside(tasks.router, tasks.get_task)._replace(answer=_one_task)),
            (_query("/v1/tasks", TaskQuery), _beside(tasks.router, tasks.list_tasks)),
            (_query("/v1/events", FeedQuery), _beside(events.router, events.list_events)),
        ]
        self._writes = {
            (method, route.path): Way(route.path_format, guards_of(route), route.plain)
            for route in routes
            if isinstance(route, GuardedRoute) and route.plain and not route.param_convertors
            for method in (route.methods or set()) - {"GET"}
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        way, *asked = found
        scope["route"] = way
        request = Request(scope, receive, send)
        answer = await _answer(way, asked, request)
        if answer is None:
            await self._app(scope, _again(await request.body(), receive), send)
        else:
            await answer(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[Any, ...] | None:
        """The way, and what its `Find` found."""
        if scope["method"] == "GET":
            return next(((way, asked) for find, way in self._reads if (asked := find(scope)) is not None), None)
        way = self._writes.get((scope["method"], scope["path"]))
        return way and (way,)


async def _answer(way: Way, asked: Sequence[Any], request: Request) -> Response | None:
    try:
        for guard in way.guards:
            guard.let_in(request.scope)
        return await way.answer(*asked, request)
    except Exception as error:  # noqa: BLE001 - what is no refusal is raised again
        return await problems.answer(request, error)


def _again(body: bytes, receive: Receive) -> Receive:
    """For whoever reads a request after its body was read."""
    first: list[Message] = [{"type": "http.request", "body": body}]

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again


def _beside(router: APIRouter, endpoint: Callable[..., Any]) -> Way:
    route = next(one for one in router.routes if isinstance(one, APIRoute) and one.endpoint is endpoint)
    return Way(route.path_format, guards_of(route), endpoint)


def _task_id(scope: Scope) -> str | None:
    """Of one task, without parameters."""
    found = None if scope["query_string"] else _ONE.fullmatch(scope["path"])
    return found[1] if found and _TASK_ID.fullmatch(found[1]) else None


async def _one_task(task_id: str, request: Request) -> Response:
    return await gallery_of(request).answer(task_id, request.headers.get("if-none-match"))


def _query(path: str, query: type[BaseModel]) -> Callable[[Scope], BaseModel | None]:
    """Of a page, if nothing is wrong with it; what is, FastAPI tells."""
    sets = {name for name, field in query.model_fields.items() if get_origin(field.annotation) is tuple}

    def find(scope: Scope) -> BaseModel | None:
        if scope["path"] != path:
            return None
        params = QueryParams(scope["query_string"])
        given = {name: params.getlist(name) if name in sets else params[name] for name in params}
        try:
            return query.model_validate(given)
        except ValidationError:
            return None

    return find
