"""The read that is asked for most, on its shortest way: one task.

It is described, and answered in all other cases, by its route in app.api.tasks. FastAPI looks for a route twice and for
each parameter a request might have, which takes several times what there is to do here.
"""

from __future__ import annotations

import re

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from app.api.keys import guards_of, let_in
from app.api.schemas import TASK_ID
from app.api.shown import gallery_of

_ONE = re.compile(r"/v1/tasks/([^/]*)")
_TASK_ID = re.compile(TASK_ID)


class PlainRoute(BaseRoute):
    """GET of one task without parameters. Its guard is that of the route beside which it stands."""

    def __init__(self, beside: APIRoute) -> None:
        self.path = self.path_format = beside.path_format
        self._guards = guards_of(beside)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"]:
            return Match.NONE, {}
        found = _ONE.fullmatch(scope["path"])
        if found is None or not _TASK_ID.fullmatch(found[1]):
            return Match.NONE, {}
        return Match.FULL, {"route": self, "path_params": {"task_id": found[1]}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        await let_in(request, self._guards)
        known = request.headers.get("if-none-match")
        response = await gallery_of(request).answer(scope["path_params"]["task_id"], known)
        await response(scope, receive, send)
