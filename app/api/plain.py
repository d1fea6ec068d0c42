"""The two reads that are asked for most, on their shortest way: one task, and a page of tasks.

They are described by the routes in app.api.tasks beside which they stand, and share their guards and what they answer;
with parameters of its own, one task is read there too. FastAPI looks for a route twice, and for each parameter that a
request might have, which takes several times what there is to do here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import get_origin

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from app.api import tasks
from app.api.keys import Guard, bearer, service_of
from app.api.lists import TaskQuery
from app.api.schemas import TASK_ID
from app.api.shown import gallery_of

_TASK = re.compile(rf"/v1/tasks/(?P<task_id>{TASK_ID.removeprefix('^').removesuffix('$')})")
_TASKS = re.compile(r"/v1/tasks")
_SETS = {name for name, field in TaskQuery.model_fields.items() if get_origin(field.annotation) is tuple}


class PlainRoute(BaseRoute):
    """GET of a path, behind the guards of the route beside which it stands."""

    def __init__(
        self, path: re.Pattern[str], answer: Callable[[Request], Awaitable[Response]], *, beside: APIRoute, query: bool
    ) -> None:
        self.path = self.path_format = beside.path_format
        self._path, self._answer, self._takes_query = path, answer, query
        self._guards = [one.dependency for one in beside.dependencies if isinstance(one.dependency, Guard)]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["method"] != "GET" or (scope["query_string"] and not self._takes_query):
            return Match.NONE, {}
        found = self._path.fullmatch(scope["path"])
        return (Match.FULL, {"route": self, "path_params": found.groupdict()}) if found else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        for guard in self._guards:
            await guard(request, await bearer(request))
        response = await self._answer(request)
        await response(scope, receive, send)


async def _one(request: Request) -> Response:
    service, gallery = service_of(request), gallery_of(request)
    return await tasks.shown_at_once(
        service, gallery, request.path_params["task_id"], request.headers.get("if-none-match")
    )


async def _page(request: Request) -> Response:
    given: dict[str, str | list[str]] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        given[name] = values if name in _SETS else values[-1]
    try:
        query = TaskQuery.model_validate(given)
    except ValidationError as error:
        faults = [{**one, "loc": ("query", *one["loc"])} for one in error.errors(include_url=False)]
        raise RequestValidationError(faults) from None
    return await tasks.list_tasks(query, service_of(request), gallery_of(request))


def routes() -> list[BaseRoute]:
    """To stand before all others."""
    return [
        PlainRoute(_TASK, _one, beside=tasks.route_of(tasks.get_task), query=False),
        PlainRoute(_TASKS, _page, beside=tasks.route_of(tasks.list_tasks), query=True),
    ]
