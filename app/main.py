"""The web application: the routes on the wired service."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from app.api import (
    apps,
    audit,
    callbacks,
    edge,
    events,
    files,
    introduction,
    openapi,
    ops,
    pages,
    plain,
    problems,
    registration,
    shown,
    statistics,
    subscriptions,
    tasks,
)
from app.api.keys import guards_of
from app.api.task_schemas import EventDataOut, WebhookOut
from app.imports import without_extras
from app.settings import Role
from app.wiring import Service

DOORS = (registration, tasks, files, events, subscriptions, callbacks, statistics, apps, audit)
"""What a process that answers has beside its probes."""


class Api(FastAPI):
    """FastAPI, but its description is whole, and it stands behind our own edge."""

    def build_middleware_stack(self) -> ASGIApp:
        framework = self.framework()
        return edge.Edge(framework if self.state.service.role == "worker" else plain.Plain(framework, self.routes))

    def framework(self) -> ASGIApp:
        """The routes, and of the framework's own layers what they need: the edge answers crashes and bounds bodies."""
        return ExceptionMiddleware(AsyncExitStackMiddleware(self.router), problems.ANSWERS)

    def openapi(self) -> dict[str, Any]:
        """The API's description, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.finish(super().openapi(), self._roles())
            # The framework would want a package of its own to read a mail address.
            self.openapi_schema["info"]["contact"] = self.state.contact
        return self.openapi_schema

    def _roles(self) -> dict[str, Role]:
        """The roles that guarded operations need, by operationId."""
        routes = (route for route in self.routes if isinstance(route, APIRoute))
        return {str(route.operation_id): guard.role for route in routes for guard in guards_of(route)}


def create_app(service: Service) -> Api:
    """The application on a service that somebody else opened and will close. A worker answers probes only."""
    answers = service.role != "worker"
    app = _doors(answers, service.settings.public_url, service.settings.api_contact)
    connect(app, service)
    if answers:
        app.router.routes += pages.router.routes
        app.mount("/assets", pages.Assets(), name="assets")
    return app


def connect(app: FastAPI, service: Service) -> None:
    """Let the application answer for this service."""
    app.state.service = service
    app.state.gallery = shown.Gallery(service.tasks)


def description(public_url: str | None = None, contact: str | None = None) -> dict[str, Any]:
    """The OpenAPI description, without a service."""
    return _doors(True, public_url, contact).openapi()


def _doors(answers: bool, public_url: str | None, contact: str | None) -> Api:
    app = Api(
        title=introduction.TITLE,
        version=introduction.VERSION,
        summary=introduction.SUMMARY,
        description=introduction.TEXT,
        license_info=introduction.LICENCE,
        openapi_tags=introduction.TAGS,
        servers=[{"url": public_url or "/", "description": "This service"}],
        redirect_slashes=False,
        openapi_url="/openapi.json" if answers else None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.contact = introduction.contact(contact)
    # As they are: `include_router` would build each route once more, and look for it in two steps at every request.
    for door in (*(DOORS if answers else ()), ops):
        app.router.routes += door.router.routes

    # So that these schemas are described; app.api.webhook_description and app.api.openapi tell the rest.
    with without_extras():  # the other routes were made while importing, which hides them too
        for shape in (WebhookOut, EventDataOut, problems.ProblemOut):
            app.webhooks.add_api_route(shape.__name__, _nothing, methods=["POST"], response_model=shape)

    return app


async def _nothing() -> None:
    """Is never called."""
