"""The web application: the routes on the wired service."""

from __future__ import annotations

from fastapi import FastAPI

from app.api import (
    apps,
    callbacks,
    edge,
    events,
    files,
    ops,
    pages,
    problems,
    registration,
    statistics,
    subscriptions,
    tasks,
)
from app.wiring import Service

DESCRIPTION = """
Is the recording over, and where are its files? Register a ZEGOCLOUD Cloud Recording `TaskId` once; from then on its
state is queryable here, kept up to date within the provider's limits.

* **Register** with `POST /v1/tasks` (or `/v1/tasks/batch`); repeating is harmless.
* **Ask** with `GET /v1/tasks/{task_id}`: while `tracking` is `active` the task is being followed; `settled` means it
  is over and every file has reached its end. Judge by `outcome`, not by `status`.
* **Follow** with `GET /v1/events`: every change in one order; whoever passes back `next_after` misses none.
* **Errors** are RFC 9457 problem details with a stable `code`; a 422 names each fault by JSON pointer.
"""


def create_app(service: Service) -> FastAPI:
    """The application on a service that somebody else opened and will close. A worker answers probes only."""
    app = FastAPI(
        title="recording-status",
        version="1",
        description=DESCRIPTION,
        redirect_slashes=False,
        openapi_url=None if service.role == "worker" else "/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    answering = (registration, tasks, files, events, subscriptions, callbacks, statistics, apps, pages)
    for door in (*(answering if service.role != "worker" else ()), ops):
        app.include_router(door.router)
    if service.role != "worker":
        app.mount("/assets", pages.Assets(directory=pages.WEB), name="assets")
    problems.add_error_answers(app)
    app.add_middleware(edge.Edge, clock=service.clock, keyless=not service.settings.api_keys)
    return app
