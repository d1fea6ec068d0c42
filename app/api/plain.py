"""The reads that are asked for most, on their shortest way.

They are described, and answered in all other cases, by their routes in app.api.tasks and app.api.events. FastAPI looks
for a route twice and for each parameter a request might have, which takes several times what there is to do here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, get_origin

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from app.api import events, tasks
from app.api.events import FeedQuery
from app.api.keys import guards_of, let_in
from app.api.lists import TaskQuery
from app.api.schemas import TASK_ID
from app.api.shown import gallery_of

_ONE = re.compile(r"/v1/tasks/([^/]*)")
_TASK_ID = re.compile(TASK_ID)
_ASKED = "asked"


class PlainRoute(BaseRoute):
    """GET of what `find` finds in a request; None: nothing that is answered here. Its guards are those of the route
    beside which it stands."""

    def __init__(
        self,
        beside: APIRoute,
        find: Callable[[Scope], Any],
        answer: Callable[[Any, Request], Awaitable[Response]],
    ) -> None:
        self.path = self.path_format = beside.path_format
        self._guards, self._find, self._answer = guards_of(beside), find, answer

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["method"] != "GET" or (asked := self._find(scope)) is None:
            return Match.NONE, {}
        return Match.FULL, {"route": self, "path_params": {}, _ASKED: asked}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        await let_in(request, self._guards)
        response = await self._answer(scope[_ASKED], request)
        await response(scope, receive, send)


def routes() -> list[BaseRoute]:
    """All of them."""
    return [
        PlainRoute(_beside(tasks.router, tasks.get_task), _task_id, _one_task),
        _page(_beside(tasks.router, tasks.list_tasks), TaskQuery),
        _page(_beside(events.router, events.list_events), FeedQuery),
    ]


def _task_id(scope: Scope) -> str | None:
    """Of one task, without parameters."""
    found = None if scope["query_string"] else _ONE.fullmatch(scope["path"])
    return found[1] if found and _TASK_ID.fullmatch(found[1]) else None


async def _one_task(task_id: str, request: Request) -> Response:
    return await gallery_of(request).answer(task_id, request.headers.get("if-none-match"))


def _page(beside: APIRoute, query: type[BaseModel]) -> PlainRoute:
    """A page, if nothing is wrong with the query; what is, FastAPI tells."""
    sets = {name for name, field in query.model_fields.items() if get_origin(field.annotation) is tuple}

    def find(scope: Scope) -> BaseModel | None:
        if scope["path"] != beside.path_format:
            return None
        params = QueryParams(scope["query_string"])
        given = {name: params.getlist(name) if name in sets else params[name] for name in params}
        try:
            return query.model_validate(given)
        except ValidationError:
            return None

    return PlainRoute(beside, find, beside.endpoint)


def _beside(router: APIRouter, endpoint: Callable[..., Any]) -> APIRoute:
    return next(one for one in router.routes if isinstance(one, APIRoute) and one.endpoint is endpoint)
