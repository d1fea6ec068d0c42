"""The reads that are asked for most, on their shortest way.

They are described, and answered in all other cases, by their routes in app.api.tasks and app.api.events. The framework
looks for a route twice, for each parameter a request might have, and for what might be left open, which takes several
times what there is to do here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, get_origin

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import events, problems, tasks
from app.api.events import FeedQuery
from app.api.keys import Guard, guards_of
from app.api.lists import TaskQuery
from app.api.schemas import TASK_ID
from app.api.shown import gallery_of

_ONE = re.compile(r"/v1/tasks/([^/]*)")
_TASK_ID = re.compile(TASK_ID)


class Read(NamedTuple):
    """GET of what ``find`` finds in a request; None: nothing that is answered here. ``path`` and ``guards`` are those
    of the route beside which it stands."""

    path: str
    guards: Sequence[Guard]
    find: Callable[[Scope], Any]
    answer: Callable[[Any, Request], Awaitable[Response]]


class Reads:
    """Answers these itself, and leaves all else to the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._reads = [
            _read(tasks.router, tasks.get_task, _task_id, _one_task),
            _read(tasks.router, tasks.list_tasks, _query("/v1/tasks", TaskQuery)),
            _read(events.router, events.list_events, _query("/v1/events", FeedQuery)),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            for read in self._reads:
                asked = read.find(scope)
                if asked is not None:
                    scope["route"] = read
                    answer = await _answer(read, asked, Request(scope, receive, send))
                    await answer(scope, receive, send)
                    return
        await self._app(scope, receive, send)


async def _answer(read: Read, asked: Any, request: Request) -> Response:
    try:
        for guard in read.guards:
            guard.let_in(request.scope)
        return await read.answer(asked, request)
    except Exception as error:  # noqa: BLE001 - what is no refusal is raised again
        return await problems.answer(request, error)


def _read(
    router: APIRouter,
    endpoint: Callable[..., Any],
    find: Callable[[Scope], Any],
    answer: Callable[[Any, Request], Awaitable[Response]] | None = None,
) -> Read:
    beside = next(one for one in router.routes if isinstance(one, APIRoute) and one.endpoint is endpoint)
    return Read(beside.path_format, guards_of(beside), find, answer or endpoint)


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


class Exactly:
    """Takes a request to the route whose path is just this; the framework would try one route after the other."""

    def __init__(self, router: APIRouter) -> None:
        self._router = router
        self._routes = {
            (method, route.path): route
            for route in router.routes
            if isinstance(route, APIRoute) and not route.param_convertors
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._router(scope, receive, send)
        else:
            scope.update(router=self._router, route=route, endpoint=route.endpoint, path_params={})
            await route.app(scope, receive, send)
