"""The door for the provider's callbacks, and the window on what came through it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from pydantic_core import from_json

from app.api import lists
from app.api.edge import CALLBACKS
from app.api.keys import GuardedRoute, TheService, requires
from app.api.lists import CallbackQuery
from app.api.problems import may_answer
from app.api.schemas import NextCursor, Out, Time
from app.api.words import Verdict
from app.core.public import Json, time_text
from app.core.told import CallbackEvent
from app.provider.callbacks import event_of
from app.store.callbacks import Stored

router = APIRouter(tags=["callbacks"], route_class=GuardedRoute)
admin = requires("admin")

SENT: dict[str, Any] = {
    "requestBody": {
        "description": "As the provider sends it; the Content-Type is not looked at.",
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "additionalProperties": True}}},
    }
}


class CallbackOut(Out):
    """A callback as it arrived."""

    id: Annotated[str, Field(description="Opaque.")]
    received_at: Annotated[Time, Field(description="When it arrived.")]
    app_id: Annotated[int, Field(description="The app whose secret signed it.")]
    task_id: Annotated[str | None, Field(description="The task it tells of; null where it names none.")]
    event_type: Annotated[int | None, Field(description="The provider's number.")]
    event: Annotated[CallbackEvent, Field(description="What it tells.")]
    sequence: Annotated[int | None, Field(description="As the provider counts its callbacks of a task.")]
    verdict: Annotated[
        Verdict,
        Field(
            description="`repeat`: came before, word for word. "
            "`suspicious`: its signature came before with another body; its content counts for nothing."
        ),
    ]
    known: Annotated[bool, Field(description="The task is registered. If not, it is remembered for 4 days.")]
    body: Annotated[
        dict[str, Any] | str | None,
        Field(description="As sent; text if it is no JSON to show; null where the content counts for nothing."),
    ]


class CallbackPage(Out):
    """A page of callbacks, newest first."""

    items: Annotated[list[CallbackOut], Field(description="At most `limit`.")]
    next_cursor: NextCursor


@router.post(
    CALLBACKS,
    summary="The provider's callback",
    operation_id="receiveCallback",
    response_model=dict[str, Any],
    openapi_extra=may_answer("unauthenticated", "unreadable_body") | SENT,
)
async def receive_callback(request: Request, service: TheService) -> Response:
    """Give this address to the provider. Signed by the app's callback secret instead of a key; answered `{}` once it
    is stored. Its body is not signed, so it changes no state: the poll that it hurries does."""
    await service.callbacks.receive(await request.body())
    return Response(b"{}", media_type="application/json")


@router.get("/v1/callbacks", dependencies=[admin], summary="Callbacks that arrived", operation_id="listCallbacks")
async def list_callbacks(query: Annotated[CallbackQuery, Query()], service: TheService) -> CallbackPage:
    """Newest first, with their bodies. Those refused for their signature are not kept, only counted in `/v1/stats`."""
    query, place = lists.resume(query, lists.CALLBACK_PLACE)
    found = await service.callbacks.list_callbacks(
        query.to_filter(), before=place[1] if place else None, limit=query.limit
    )
    cursor = lists.next_cursor(query, found.more and ("callback", *found.more))
    return CallbackPage.model_validate({"items": [_json(one) for one in found.items], "next_cursor": cursor})


def _json(one: Stored) -> Json:
    return {
        "id": f"cb_{one.id}",
        "received_at": time_text(one.received_at),
        "app_id": one.app_id,
        "task_id": one.task_id,
        "event_type": one.event_type,
        "event": event_of(one.event_type).value,
        "sequence": one.sequence,
        "verdict": one.verdict,
        "known": one.known,
        "body": _body(one.body),
    }


def _body(text: str | None) -> dict[str, Any] | str | None:
    try:  # not by the standard library: it reads what no answer can show (half a surrogate pair, NaN, too deep nesting)
        body = from_json(text, allow_inf_nan=False) if text else None
    except ValueError:
        return text
    return body if isinstance(body, dict) else text
